"""Train a sparse autoencoder on one hook point of a model; a killed run goes on where it was.

    python -m scripts.train_sae --sweep 9 12 15 18 21 --tokens 200000 --width 4 --k 32 --passes 6    # to choose a layer
    python -m scripts.train_sae blocks.12.hook_resid_post    # hours; the one that Lab 4 loads
    python -m scripts.train_sae blocks.0.mlp.hook_post --model toy-mlp-1l --architecture monosemanticity --folder toy-mlp-1l-8x

The corpus's training split goes through the model once, and its activations stay on disk; the SAE takes several passes
over them, each in another order. sae-lens trains and saves, so `SAE.load_from_disk` opens the result; the architecture
"monosemanticity" is trained by the project's own loop in scripts/interp/saes/monosemanticity.py. It is judged on the
test split and on documentation of the Python library, never on the training split; the strongest contexts of every
feature come from the validation split.
"""

import argparse
import hashlib
import json
import math
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sae_lens
import torch
from sae_lens import (
    SAE,
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAEConfig,
    StandardTrainingSAEConfig,
    TopKTrainingSAEConfig,
    TrainingSAE,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.registry import get_sae_training_class
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import outputs_folder
from scripts.interp.features.contexts import sae_latents, save_contexts, top_contexts
from scripts.interp.features.matching import best_feature, feature_f1, named_positions
from scripts.interp.features.predicates import PREDICATES
from scripts.interp.models.load import EMBEDDED, load_model
from scripts.interp.saes.evaluate import evaluate_sae
from scripts.interp.saes.load import SAE_FOLDER, load_sae
from scripts.interp.saes.monosemanticity import DictionaryRecipe, train_dictionary
from scripts.interp.saes.stored_activations import StoredActivations, shuffled_batches, store_activations
from scripts.interp.text.chat import chat_rows
from scripts.interp.text.corpus import Document, library_documentation, load_corpus, packed_tokens

CHECKPOINT_EVERY, RECORD_EVERY = 200, 50  # steps
SWEEP_ROWS = 12  # of held-out text, on which the SAEs of a sweep are judged
PREDICATE_ROWS, LEAST_NAMED = 32, 20  # of text on which predicates are tried; tokens that one must name to count


class Settings(NamedTuple):
    """What a run is; two runs with equal settings give the same SAE."""

    model: str
    hook_name: str
    architecture: str = "batchtopk"
    width: int = 8  # latents per dimension of the activation
    k: int = 40  # latents above zero per token, where the architecture sets it
    sparsity: float = 1.0  # weight of the sparsity loss, where it does not
    tokens: int = 0  # of the training split; 0 is all of them
    passes: float = 3.0
    batch: int = 2048
    learning_rate: float = 1e-3
    seed: int = 0
    context: int = 256  # tokens in a row of text; no more than the model's n_ctx
    judged_rows: int = 40  # of held-out text, on which cross-entropy is measured
    chat: bool = False  # conversations through the model's chat template, whose own tokens are left out


def sae_config(settings: Settings, d_in: int, steps: int) -> Any:
    """The sae-lens configuration of one of the architectures. Raises ValueError for another."""
    shared = {"d_in": d_in, "d_sae": settings.width * d_in, "normalize_activations": "expected_average_only_in"}
    warm_up = steps // 10
    makers = {
        "batchtopk": lambda: BatchTopKTrainingSAEConfig(**shared, k=settings.k),
        "topk": lambda: TopKTrainingSAEConfig(**shared, k=settings.k, use_sparse_activations=False),
        "standard": lambda: StandardTrainingSAEConfig(**shared, l1_coefficient=settings.sparsity, l1_warm_up_steps=warm_up),
        "monosemanticity": lambda: StandardTrainingSAEConfig(d_in=d_in, d_sae=settings.width * d_in),
        "gated": lambda: GatedTrainingSAEConfig(**shared, l1_coefficient=settings.sparsity, l1_warm_up_steps=warm_up),
        "jumprelu": lambda: JumpReLUTrainingSAEConfig(**shared, l0_coefficient=settings.sparsity, l0_warm_up_steps=warm_up),
    }  # fmt: skip
    if settings.architecture not in makers:
        raise ValueError(f"There is no architecture {settings.architecture!r}: give one of {', '.join(makers)}.")
    return makers[settings.architecture]()


def train(
    settings: Settings, activations: StoredActivations, work: Path, progress: bool
) -> tuple[TrainingSAE, dict[str, Any]]:
    """Train an SAE on stored activations, from the last checkpoint in `work` if there is one.

    Returns it, with the scale of the activations folded in, and a record of the run.
    """
    values = activations.values
    d_in, per_pass = values.shape[1], len(values) // settings.batch
    steps = round(settings.passes * per_pass)
    name = hashlib.sha256(json.dumps(settings._asdict()).encode()).hexdigest()[:12]
    if steps < 1:
        raise ValueError(
            f"{len(values)} tokens do not fill one batch of {settings.batch}: give more, or a smaller batch."
        )
    shared_record = {
        "settings": settings._asdict(),
        "tokens": len(values),
        "tokens_special": activations.n_special,
        "tokens_massive": activations.n_massive,
        "norm_limit": activations.norm_limit,
        "versions": {"torch": torch.__version__, "sae_lens": sae_lens.__version__},
    }
    if settings.architecture == "monosemanticity":
        recipe = DictionaryRecipe(
            settings.width * d_in, settings.sparsity, steps, settings.batch, settings.learning_rate, seed=settings.seed
        )
        dictionary, record = train_dictionary(values, recipe, work / f"{name}.pt", progress)
        sae = get_sae_training_class("standard")[0](sae_config(settings, d_in, steps))
        sae.load_state_dict(dictionary._asdict())
        return sae, shared_record | record
    torch.manual_seed(settings.seed)
    config = sae_config(settings, d_in, steps)
    sae = get_sae_training_class(settings.architecture)[0](config)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=steps * settings.batch, train_batch_size_samples=settings.batch,
            lr=settings.learning_rate, lr_end=settings.learning_rate / 10, lr_warm_up_steps=steps // 20, lr_decay_steps=steps // 3,
            dead_feature_window=max(10, steps // 20), feature_sampling_window=steps + 1,
        ),
        sae, iter(()),
    )  # fmt: skip
    sample = next(shuffled_batches(values, min(len(values), 20_000), settings.seed))
    trainer.activation_scaler.scaling_factor = math.sqrt(d_in) / sample.norm(dim=-1).mean().item()
    with torch.no_grad():  # the mean is what an SAE without any latent should give
        sae.b_dec.copy_(sample.mean(dim=0) * trainer.activation_scaler.scaling_factor)

    step, seconds, record, running = 0, 0.0, [], []
    checkpoints = sorted(work.glob(f"{name}-*[0-9]"))
    if checkpoints:
        state = json.loads((checkpoints[-1] / "record.json").read_text())
        sae.load_state_dict(load_file(checkpoints[-1] / "sae.safetensors"))
        trainer.load_trainer_state(checkpoints[-1])
        step, seconds, record, running = (state[key] for key in ("step", "seconds", "record", "running"))

    began, data = time.monotonic(), shuffled_batches(values, settings.batch, settings.seed, step)
    with tqdm(total=steps, initial=step, desc=settings.hook_name, disable=not progress) as bar:
        while step < steps:
            trainer.n_training_steps = step
            output = trainer.step(next(data))
            step += 1
            loss = output.losses["mse_loss"].item()
            if not math.isfinite(loss):
                raise ValueError(f"The loss is {loss} at step {step}: give a lower --learning-rate.")
            centred = output.sae_in - output.sae_in.mean(dim=0)
            running.append(
                (
                    loss / centred.square().sum(dim=-1).mean().item(),
                    (output.feature_acts > 0).sum(dim=-1).float().mean().item(),
                )
            )
            bar.update()
            if step % RECORD_EVERY == 0 or step == steps:
                fvu, l0 = (sum(column) / len(column) for column in zip(*running))
                running = []
                dead = trainer.dead_neurons.float().mean().item()
                record.append({"step": step, "fvu": round(fvu, 4), "l0": round(l0, 2), "dead": round(dead, 4)})
                bar.set_postfix(fvu=record[-1]["fvu"], l0=record[-1]["l0"], dead=record[-1]["dead"])
                if not progress:
                    print(f"{settings.hook_name}, step {step} of {steps}: {record[-1]}", flush=True)
            if step % CHECKPOINT_EVERY == 0:
                now = time.monotonic()
                seconds, began = seconds + now - began, now
                checkpoint = work / f"{name}-{step:08}"
                new = work / f"{name}.new"  # becomes a checkpoint when it is whole
                shutil.rmtree(new, ignore_errors=True)
                new.mkdir(parents=True)
                trainer.n_training_steps = step
                trainer.save_trainer_state(new)
                save_file(sae.state_dict(), new / "sae.safetensors")
                state = {"step": step, "seconds": seconds, "record": record, "running": running}
                (new / "record.json").write_text(json.dumps(state))
                new.rename(checkpoint)
                for old in set(work.glob(f"{name}-*[0-9]")) - {checkpoint}:
                    shutil.rmtree(old)
    sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    return sae, shared_record | {
        "steps": steps,
        "seconds": round(seconds + time.monotonic() - began),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "curve": record,
    }


def save_in_half_precision(sae: TrainingSAE, settings: Settings, limit: float, folder: Path) -> None:
    """Write the SAE in sae-lens' folder format; weights in half precision, to be computed with in single."""
    metadata = sae.cfg.metadata
    metadata.model_name, metadata.hook_name = settings.model, settings.hook_name
    metadata.prepend_bos, metadata.context_size, metadata.norm_limit = True, settings.context, limit
    with torch.no_grad():
        sae.save_inference_model(folder)
    weights = {name: value.half() for name, value in load_file(folder / "sae_weights.safetensors").items()}
    config = json.loads((folder / "cfg.json").read_text()) | {"dtype": "float32", "device": "cpu"}
    save_file(weights, folder / "sae_weights.safetensors")
    write_atomically(folder / "cfg.json", json.dumps(config, indent=1) + "\n")


def rows_of(documents: Sequence[Document], tokenizer: Any, settings: Settings) -> tuple[Tensor, Tensor | None]:
    """Token rows [n_rows, context] of documents, and which of their positions count; None where all do."""
    if settings.chat:
        rows = chat_rows(documents, tokenizer, settings.context)
        return rows.tokens, rows.is_content
    return packed_tokens(documents, tokenizer, settings.context), None


def train_and_judge(settings: Settings, model: Any, activations: StoredActivations, folder: Path) -> dict[str, Any]:
    """Train, save to `folder`, judge what was saved; write metrics.json and a model card. Returns what metrics.json holds."""
    sae, record = train(settings, activations, outputs_folder("saes"), progress=sys.stderr.isatty())
    limit = activations.norm_limit
    save_in_half_precision(sae, settings, limit, folder)
    single = outputs_folder("saes") / f"single-precision-{folder.name}"
    with torch.no_grad():
        sae.save_inference_model(single)
    texts = {"test": load_corpus("test"), "library": library_documentation()}
    rows = {name: rows_of(documents, model.tokenizer, settings) for name, documents in texts.items()}

    def judge(saved: Path, name: str, n_rows: int | None = None) -> dict[str, Any]:
        mine, wanted = (each if each is None else each[:n_rows] for each in rows[name])
        n_spliced = min(len(mine), settings.judged_rows)
        return evaluate_sae(
            model, SAE.load_from_disk(saved), settings.hook_name, mine, limit, n_spliced, wanted
        )._asdict()

    result = {
        **record,
        "held_out": {name: judge(folder, name) for name in rows},
        "predicate_f1": predicate_f1(model, SAE.load_from_disk(folder), settings.context, "validation", "test"),
        "precision": {
            name: judge(saved, "test", settings.judged_rows) for name, saved in (("single", single), ("half", folder))
        },
    }
    write_atomically(folder / "metrics.json", json.dumps(result, indent=1) + "\n")
    write_atomically(folder / "README.md", model_card(folder.name, result))
    return result


def predicate_f1(model: Any, sae: SAE, context: int, chosen_on: str, reported_on: str) -> float:
    """How well features fit the fixed predicates: mean F1 on one split of those that fit best on another.

    Predicates that name fewer than LEAST_NAMED tokens of either are left out.
    """
    active, named = {}, {}
    for split in (chosen_on, reported_on):
        rows = packed_tokens(load_corpus(split), model.tokenizer, context)
        rows = rows[:: max(1, len(rows) // PREDICATE_ROWS)][:PREDICATE_ROWS]  # from all over the split
        active[split] = torch.cat([sae_latents(model, sae, batch).flatten(0, 1) > 0 for batch in rows.split(8)])
        named[split] = {
            name: named_positions(predicate, model.tokenizer, rows).flatten() for name, predicate in PREDICATES.items()
        }
    scores = []
    for name in PREDICATES:
        if min(named[split][name].sum() for split in named) >= LEAST_NAMED:
            feature = best_feature(active[chosen_on], named[chosen_on][name]).feature
            scores.append(feature_f1(active[reported_on][:, [feature]], named[reported_on][name]).item())
    if not scores:
        raise ValueError(f"No predicate names {LEAST_NAMED} tokens in both splits.")
    return sum(scores) / len(scores)


def model_card(name: str, result: dict[str, Any]) -> str:
    """What the SAE is, how it was made, how good it is; every number from the result."""
    settings = Settings(**result["settings"])

    def row(what: str, key: str) -> str:
        cells = []
        for metrics in result["held_out"].values():
            value = metrics[key]
            cells.append(
                f"{value:.3f}"
                if isinstance(value, float)
                else "{:.3f} [{:.3f}, {:.3f}]".format(*value)
                if isinstance(value, (list, tuple))
                else f"{value:,}"
            )
        return f"| {what} | {' | '.join(cells)} |\n"

    table = "".join(
        row(what, key)
        for what, key in {
            "cross-entropy recovered, against mean ablation": "recovered_mean",
            "cross-entropy recovered, against zero ablation": "recovered_zero",
            "fraction of variance unexplained": "fvu",
            "L0": "l0",
            "share of latents that are above zero on no token": "dead_fraction",
            "cross-entropy, model untouched (nats)": "ce_clean",
            "cross-entropy, SAE spliced in": "ce_spliced",
            "cross-entropy, mean ablation": "ce_mean",
            "cross-entropy, zero ablation": "ce_zero",
            "tokens for FVU, L0 and dead latents": "n_tokens",
            "tokens left out: special": "n_special",
            "tokens left out: norm": "n_massive",
            "tokens whose cross-entropy was measured": "n_predicted",
        }.items()
    )
    seen = result["steps"] * settings.batch
    sparsity = (
        f"k {settings.k}" if "topk" in settings.architecture else f"weight of the sparsity loss {settings.sparsity:g}"
    )
    usual = Settings(EMBEDDED, settings.hook_name)
    options = [
        f"--{field.replace('_', '-')}" + ("" if value is True else f" {value}")
        for field, value in settings._asdict().items()
        if value != getattr(usual, field) and field != "context"
    ]
    options += [f"--folder {name}"] * (name != f"{settings.model}-{settings.hook_name}")
    lost = {
        key: abs(result["precision"]["half"][key][0] - result["precision"]["single"][key][0])
        for key in ("fvu", "recovered_mean")
    }
    return f"""# {name}

A sparse autoencoder ({settings.architecture}) for `{settings.hook_name}` of {settings.model}, trained by this project for its lab on
features. `SAE.load_from_disk` of sae-lens {result["versions"]["sae_lens"]} opens this folder.

- **Data**: {result["tokens"]:,} activations of the training split of `data/corpus.jsonl.xz`, which {EMBEDDED} wrote, in rows of {settings.context}
  tokens that start with BOS; {settings.passes:g} passes, each in another order. Left out: {result["tokens_special"]:,} special tokens and
  {result["tokens_massive"]:,} tokens with a norm above {result["norm_limit"]:.0f}, ten times the median.
- **Training**: {result["steps"]:,} steps of {settings.batch:,} tokens ({seen:,} in all), width {settings.width}×, {sparsity}, learning rate
  {settings.learning_rate:g} with warm-up and decay, seed {settings.seed}; {result["seconds"] / 60:.0f} minutes with {result["threads"]} thread(s) on
  {result["machine"]}, torch {result["versions"]["torch"]}. `python -m scripts.train_sae {" ".join([settings.hook_name, *options])}` does it again.
- **Stored** in half precision, computed with in single: that changes the fraction of variance unexplained by {lost["fvu"]:.1e} and
  the share of cross-entropy recovered by {lost["recovered_mean"]:.1e}. `metrics.json` has the training curve and what follows.

Judged on text that it was not trained on, with 95 % intervals over rows of text: the corpus's test split, and documentation of
the Python library, which was written by people. Positions that were left out keep their activations.

| | test split | library documentation |
|---|---|---|
{table}
Licence: as the project's.
"""


def sweep(layers: list[int], settings: Settings, model: Any, rows: Tensor, budget_gb: float) -> list[dict[str, Any]]:
    """A small SAE for every layer's resid_post, trained and judged alike, on few rows. Returns what the sweep's file holds.

    Judged on the validation split: what chooses must not be what the SAE that is chosen is judged on.
    """
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in layers]
    stored = store_activations(model, hooks, rows, outputs_folder("activations") / "sweep", budget_gb)
    held_out = packed_tokens(load_corpus("validation"), model.tokenizer, settings.context)[:SWEEP_ROWS]
    results = []
    for hook_name in hooks:
        mine, limit = settings._replace(hook_name=hook_name), stored[hook_name].norm_limit
        folder = outputs_folder("saes") / f"sweep-{hook_name}"
        sae, record = train(mine, stored[hook_name], outputs_folder("saes"), progress=sys.stderr.isatty())
        save_in_half_precision(sae, mine, limit, folder)
        saved = SAE.load_from_disk(folder)
        judged = evaluate_sae(model, saved, hook_name, held_out, limit, len(held_out))
        fits = predicate_f1(model, saved, settings.context, "train", "validation")
        results.append({**record, "held_out": {"validation": judged._asdict()}, "predicate_f1": fits})
        print(
            f"{hook_name}: recovered {judged.recovered_mean.value:.3f} (mean), {judged.recovered_zero.value:.3f} (zero), FVU {judged.fvu.value:.3f}, "
            f"L0 {judged.l0.value:.1f}, dead {judged.dead_fraction:.3f}, mean F1 of predicates {fits:.2f}",
            flush=True,
        )
        write_atomically(SAE_FOLDER / f"{settings.model}-sweep.json", json.dumps(results, indent=1) + "\n")
    return results


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.train_sae", description=__doc__.splitlines()[0])
    parser.add_argument("hook_name", nargs="?", help="for example blocks.12.hook_resid_post")
    parser.add_argument(
        "--sweep", nargs="+", type=int, metavar="LAYER", help="train a small SAE for resid_post of each layer instead"
    )
    parser.add_argument("--model", default=EMBEDDED, help="as load_model knows it (%(default)s)")
    for field, default in Settings._field_defaults.items():
        kind = {"action": "store_true"} if default is False else {"type": type(default), "default": default}
        parser.add_argument(f"--{field.replace('_', '-')}", **kind, help="(%(default)s)")
    parser.add_argument("--folder", help="in checkpoints/saes, for the result (the model's and the hook point's name)")
    parser.add_argument(
        "--no-contexts", dest="contexts", action="store_false", help="leave the features' strongest contexts out"
    )
    parser.add_argument("--budget-gb", type=float, default=4.0, help="disk space for activations (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (%(default)s)")
    options = parser.parse_args(arguments)
    if bool(options.hook_name) == bool(options.sweep):
        parser.error("give a hook point, or layers to --sweep")
    torch.set_num_threads(options.threads)
    settings = Settings(**{field: getattr(options, field) for field in Settings._fields})
    try:
        sae_config(settings, d_in=1, steps=1)  # a wrong architecture is found before hours of work
        model = load_model(options.model)
        settings = settings._replace(context=min(settings.context, model.cfg.n_ctx))
        rows, wanted = rows_of(load_corpus("train"), model.tokenizer, settings)
        if settings.tokens:
            n_rows = max(1, settings.tokens // settings.context)
            rows, wanted = rows[:n_rows], wanted if wanted is None else wanted[:n_rows]
        if options.sweep:
            sweep(options.sweep, settings, model, rows, options.budget_gb)
        else:
            name = f"{settings.model}-{settings.hook_name}"
            stored = store_activations(
                model,
                [settings.hook_name],
                rows,
                outputs_folder("activations") / (name + "-chat" * settings.chat),
                options.budget_gb,
                wanted,
            )
            folder = SAE_FOLDER / (options.folder or name)
            train_and_judge(settings, model, stored[settings.hook_name], folder)
            if options.contexts:
                held_out = packed_tokens(load_corpus("validation"), model.tokenizer, settings.context)
                save_contexts(folder / "contexts.safetensors", top_contexts(model, load_sae(model, folder), held_out))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
