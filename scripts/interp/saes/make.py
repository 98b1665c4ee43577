"""Making an SAE that ships, with all that its folder holds, and the sweep that chooses its layer."""

import json
from dataclasses import asdict, replace
from typing import Any

import torch

from scripts.interp.base.command_line import RECIPE_FILE, recipe_text
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import outputs_folder
from scripts.interp.features.contexts import CONTEXTS_FILE, save_contexts, top_contexts
from scripts.interp.models.load import load_model
from scripts.interp.saes.cards import model_card
from scripts.interp.saes.judge import judge, judge_in_sweep, rows_of
from scripts.interp.saes.load import SAE_FOLDER, load_sae, sweep_file
from scripts.interp.saes.recipes import Options, Settings, check_architecture, check_numbers, check_sparsity, usual_name
from scripts.interp.saes.split import USUAL, How, check_how
from scripts.interp.saes.stored_activations import StoredActivations, open_activations, read_state, store_activations
from scripts.interp.saes.train import l0_of_saved, save_in_half_precision, train
from scripts.interp.text.corpus import load_corpus, packed_tokens
from scripts.interp.training.processes import Processes, from_first, leave


def prepare(settings: Settings, how: How = USUAL) -> tuple[Settings, Any]:
    """The model that these settings name, and the settings with a context that it can read.

    Raises ValueError for an unknown architecture or model, for an impossible number, for an option that does nothing,
    and for an SAE that can't be trained in the way of `how`, before anything takes hours.
    """
    check_architecture(settings.architecture)
    check_numbers(settings)
    check_sparsity(settings)
    check_how(settings, how)
    model = load_model(settings.model)
    return replace(settings, context=min(settings.context, model.cfg.n_ctx)), model


def activations_to_train_on(
    settings: Settings, model: Any, hook_names: list[str], folder: str, budget_gb: float
) -> dict[str, StoredActivations]:
    """The activations over the corpus's training split, or its first `settings.tokens`; in a folder of the outputs."""
    rows, wanted = rows_of(load_corpus("train", settings.corpus), model.tokenizer, settings)
    if settings.tokens:
        n_rows = max(1, settings.tokens // settings.context)
        rows, wanted = rows[:n_rows], wanted if wanted is None else wanted[:n_rows]
    return store_activations(model, hook_names, rows, outputs_folder("activations") / folder, budget_gb, wanted)


def name_of(settings: Settings, options: Options) -> str:
    """What the folder of an SAE is called."""
    return options.folder or usual_name(settings)


def make_sae(
    settings: Settings, options: Options, model: Any, progress: bool | None, how: How = USUAL
) -> dict[str, Any]:
    """Train, save, judge what was saved; write metrics.json, recipe.json, a model card and the contexts.

    Where several processes train, this is for the first one; the others call `take_part`.

    Returns what metrics.json holds.
    """
    name, stored = name_of(settings, options), f"{settings.model}-{settings.hook_name}" + "-chat" * settings.chat
    activations = activations_to_train_on(settings, model, [settings.hook_name], stored, options.budget_gb)
    from_first(how.processes, (settings, stored, read_state(outputs_folder("activations") / stored), how.accumulate))
    activations = activations[settings.hook_name]
    sae, record = train(settings, activations, outputs_folder("saes"), progress, how)
    leave()
    folder, single = SAE_FOLDER / name, outputs_folder("saes") / f"single-precision-{name}"
    limit = activations.norm_limit
    save_in_half_precision(sae, settings, limit, folder)
    with torch.no_grad():
        sae.save_inference_model(single)
    record["l0_saved"] = l0_of_saved(folder, settings, activations)
    result = record | judge(settings, model, limit, folder, single)
    write_atomically(folder / "metrics.json", json.dumps(result, indent=1) + "\n")
    write_atomically(folder / RECIPE_FILE, recipe_text(asdict(settings), options))
    write_atomically(folder / "README.md", model_card(name, result))
    if not options.no_contexts:
        held_out = packed_tokens(load_corpus("validation", settings.corpus), model.tokenizer, settings.context)
        save_contexts(folder / CONTEXTS_FILE, top_contexts(model, load_sae(model, folder), held_out))
    return result


def take_part(processes: Processes, device: str) -> None:
    """Train as one of several processes, with what the first one says, until the training is done.

    Raises ValueError where this process does not find the activations that the first one has written.
    """
    settings, stored, state, accumulate = from_first(processes)
    activations = open_activations(outputs_folder("activations") / stored, state)[settings.hook_name]
    train(settings, activations, outputs_folder("saes"), None, How(processes, accumulate, device))
    leave()


def sweep(
    settings: Settings, options: Options, model: Any, progress: bool | None, how: How = USUAL
) -> list[dict[str, Any]]:
    """Train and judge a small SAE for resid_post of every layer alike. Returns what the sweep's file holds."""
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in options.sweep]
    stored = activations_to_train_on(settings, model, hooks, "sweep", options.budget_gb)
    results = []
    for hook_name in hooks:
        mine, limit = replace(settings, hook_name=hook_name), stored[hook_name].norm_limit
        folder = outputs_folder("saes") / f"sweep-{hook_name}"
        sae, record = train(mine, stored[hook_name], outputs_folder("saes"), progress, how)
        save_in_half_precision(sae, mine, limit, folder)
        record["l0_saved"] = l0_of_saved(folder, mine, stored[hook_name])
        results.append(record | judge_in_sweep(mine, model, limit, folder))
        judged, fits = results[-1]["held_out"]["validation"], results[-1]["predicate_f1"]
        print(
            f"{hook_name}: recovered {judged['recovered_mean'].value:.3f} (mean), "
            f"{judged['recovered_zero'].value:.3f} (zero), FVU {judged['fvu'].value:.3f}, "
            f"L0 {judged['l0'].value:.1f}, dead {judged['dead_fraction']:.3f}, mean F1 of predicates {fits:.2f}",
            flush=True,
        )
        write_atomically(SAE_FOLDER / sweep_file(settings.model).name, json.dumps(results, indent=1) + "\n")
    recipe = recipe_text(asdict(settings), options)
    write_atomically(SAE_FOLDER / f"{settings.model}-sweep-{RECIPE_FILE}", recipe)
    return results
