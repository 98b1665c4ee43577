"""One run of a comparison: an SAE trained in a process of its own, saved, loaded again and judged on held-out text."""

from __future__ import annotations

import ctypes
import multiprocessing
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sae_lens import SAE
from torch import Tensor

from scripts.interp.base.numbers import check_index
from scripts.interp.base.paths import outputs_folder
from scripts.interp.base.statistics import ratio
from scripts.interp.circuits.benchmark import measure
from scripts.interp.models.load import load_model
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, special_positions
from scripts.interp.runs.hooks import run_with_hooks
from scripts.interp.runs.losses import losses_of_logits
from scripts.interp.runs.through_sae import through_sae
from scripts.interp.saes.compare import Bench, Row, key_of, takes_k
from scripts.interp.saes.evaluate import BATCH_ROWS, reconstruction_of, splice
from scripts.interp.saes.experiment import Experiment
from scripts.interp.saes.recipes import Settings, check_architecture, revives_latents
from scripts.interp.saes.stored_activations import StoredActivations, store_activations
from scripts.interp.saes.train import OWN_RECIPES, save_in_half_precision, train
from scripts.interp.text.corpus import load_corpus, packed_tokens
from scripts.interp.training import loop

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

WORK = "sae_comparison"  # folder of the outputs for activations and for the checkpoint of the run in progress


class Spliced(NamedTuple):
    """Some rows of held-out text, what the model makes of them, and where an SAE may act."""

    tokens: Int[Tensor, "batch pos"]
    x: Float[Tensor, "batch pos d_in"]
    kept: Bool[Tensor, "batch pos"]
    predicted: Bool[Tensor, "batch pos"]  # tokens whose cross-entropy counts
    logits: Float[Tensor, "batch pos d_vocab"]  # of the untouched model


class HeldOut(NamedTuple):
    """The text that all SAEs are judged on, and what does not depend on them."""

    activations: list[Float[Tensor, "n d_in"]]  # for every row of text, those that count
    spliced: list[Spliced]
    losses: dict[str, Float[Tensor, " n_rows"]]  # cross-entropy summed over a row: "clean", "mean", "zero"


def apart(work: Callable[[], Any], forked: bool) -> Any:
    """What `work` returns, done in a fork of this process: neither its peak of memory nor its garbage stays.

    forked: False does it here. Raises what it raises, a ValueError or OSError as it was.
    """
    if not forked:
        return work()
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a killed comparison leaves no run behind
        try:
            theirs.send((True, work()))
        except (ValueError, OSError) as error:
            theirs.send((False, error))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    theirs.close()
    try:
        done, outcome = ours.recv()
    except EOFError:
        process.join()
        raise ChildProcessError(f"A run's process ended without a result (exit code {process.exitcode}).") from None
    except BaseException:
        process.terminate()
        raise
    process.join()
    if done:
        return outcome
    raise outcome


def trained_and_judged(
    settings: Settings, activations: StoredActivations, judge: Callable[[SAE], Row], forked: bool
) -> Row:
    """Train an SAE and judge what was saved of it: a row's numbers, or "error" where the loss became infinite.

    `seconds` are the processor's, of training alone, whatever else the machine does; `peak_mb` is by how much the
    process grew meanwhile. Both are of the whole training: one that was killed is done anew.
    """
    work = outputs_folder(WORK) / key_of(settings)
    shutil.rmtree(work, ignore_errors=True)  # the checkpoint of a run that was killed

    def run() -> Row:
        began = time.process_time()
        try:
            done = measure(lambda: train(settings, activations, work, progress=None))
        except ValueError as error:
            if "The loss is" not in str(error):
                raise
            return {"error": str(error)}
        seconds = time.process_time() - began
        sae, record = done.value
        with TemporaryDirectory() as folder:
            save_in_half_precision(sae, settings, activations.norm_limit, Path(folder))
            judged = judge(SAE.load_from_disk(folder, dtype="float32"))
        peak = None if done.megabytes is None else round(done.megabytes, 1)
        return judged | {
            "seconds": round(seconds, 2), "peak_mb": peak, "steps": record["steps"], "tokens": record["tokens"],
            "width": settings.width * activations.values.shape[1],
            "trainer": "project" if settings.architecture in OWN_RECIPES else "sae-lens",
            "revives": revives_latents(settings.architecture), "ranking_recall": record["curve"][-1].get("recall"),
        }  # fmt: skip

    row = apart(run, forked)
    row = {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()}
    shutil.rmtree(work, ignore_errors=True)
    return row


def about() -> dict[str, Any]:
    """Where and with what the runs were done."""
    return {**loop.versions("torch", "sae_lens"), **loop.where_it_ran(), "clock": "processor seconds", "unit": "token"}


def model_bench(experiment: Experiment) -> Bench:
    """Activations of a model's residual stream, stored once for all runs; the same held-out text for all.

    Raises ValueError for a layer, a number of latents or an architecture that there is not.
    """
    for name in (*experiment.architectures, *experiment.first_sparsity):
        check_architecture(name)
        if takes_k(name) and name in experiment.first_sparsity:
            raise ValueError(f"first_sparsity has a weight for {name}, whose L0 is set by k: leave it out there.")
    model = load_model(experiment.model)
    d_in = model.cfg.d_model
    check_index("layer", experiment.layer, model.cfg.n_layers, "this model's layers")
    if experiment.n_features % d_in:
        raise ValueError(f"n_features is {experiment.n_features}: give a multiple of {d_in}, the model's width.")
    if experiment.context > model.cfg.n_ctx:
        raise ValueError(f"context is {experiment.context}: this model reads {model.cfg.n_ctx} tokens at most.")
    texts = {split: packed_tokens(load_corpus(split), model.tokenizer, experiment.context) for split in SPLITS}
    needed = {"train": max(1, experiment.tokens // experiment.context), "validation": experiment.held_out_rows}
    for split, n_rows in needed.items():
        if n_rows > len(texts[split]):
            raise ValueError(
                f"The {split} split has {len(texts[split])} rows of text; {n_rows} are wanted: give fewer."
            )
    folder = f"activations-{experiment.model}-{experiment.hook_name}-{needed['train']}x{experiment.context}"
    stored = store_activations(
        model, [experiment.hook_name], texts["train"][: needed["train"]], outputs_folder(WORK) / folder
    )[experiment.hook_name]
    stored = stored._replace(values=np.array(stored.values))  # read once, not by every run
    held_out = read_held_out(
        model, experiment.hook_name, texts["validation"][: needed["validation"]], stored.norm_limit,
        experiment.spliced_rows,
    )  # fmt: skip
    forked = sys.platform == "linux" and str(model.cfg.device) == "cpu"
    judge = partial(judge_on, model, experiment.hook_name, held_out)
    usual = Settings(
        experiment.model, experiment.hook_name, width=experiment.n_features // d_in, tokens=experiment.tokens,
        passes=float(experiment.epochs), batch=experiment.batch_size, context=experiment.context,
        judged_rows=experiment.spliced_rows,
    )  # fmt: skip
    return Bench(
        settings=partial(settings_of, usual),
        measure=lambda settings: trained_and_judged(settings, stored, judge, forked),
        targets=experiment.l0,
        rates=experiment.learning_rates,
        sweep_target=experiment.sweep_l0,
    )


SPLITS = ("train", "validation")


def settings_of(usual: Settings, architecture: str, rate: float, amount: float, seed: int) -> Settings:
    """The settings of one run: `usual`, and what differs between runs; `amount` is k or the weight of sparsity."""
    sparsity = {"k": int(amount)} if takes_k(architecture) else {"sparsity": float(amount)}
    return Settings(**vars(usual) | {"architecture": architecture, "learning_rate": rate, "seed": seed} | sparsity)


def read_held_out(
    model: TransformerBridge, hook_name: str, rows: Int[Tensor, "n_rows pos"], limit: float, n_spliced_rows: int
) -> HeldOut:
    """Run the model over token rows [n_rows, pos]; the first n_spliced_rows are for cross-entropies."""
    activations, spliced = [], []
    with torch.no_grad():
        for at in range(0, len(rows), BATCH_ROWS):
            tokens = rows[at : at + BATCH_ROWS].to(model.cfg.device)
            x = hook_activations(model, tokens, [hook_name])[hook_name]
            is_special = special_positions(model, tokens)
            kept = kept_positions(x, is_special, limit)
            activations += [row[positions] for row, positions in zip(x, kept)]
            if (few := n_spliced_rows - at) > 0:
                mine = tokens[:few], x[:few], kept[:few], ~is_special[:few, 1:]
                spliced.append(Spliced(*mine, model(tokens[:few])))
        found = HeldOut(activations, spliced, {})
        mean = torch.cat(activations).mean(dim=0)
        return found._replace(
            losses={
                "clean": torch.cat([_losses(each.logits, each) for each in spliced]),
                "mean": _losses_with(model, hook_name, found, lambda x: mean),
                "zero": _losses_with(model, hook_name, found, lambda x: torch.zeros_like(mean)),
            }
        )


def _losses(logits: Float[Tensor, "batch pos d_vocab"], rows: Spliced) -> Float[Tensor, " batch"]:
    loss = losses_of_logits(logits[:, :-1].float(), rows.tokens[:, 1:])
    return (loss * rows.predicted).double().sum(dim=1)


def _losses_with(
    model: TransformerBridge, hook_name: str, held_out: HeldOut, instead: Callable[[Tensor], Tensor]
) -> Float[Tensor, " n_rows"]:
    """Cross-entropies, summed over rows, with something else in the place of the activations that count."""

    def of_batches() -> Iterator[Tensor]:
        for rows in held_out.spliced:
            hooks = [(hook_name, partial(splice(instead(rows.x), rows.kept), hook=None))]
            yield _losses(run_with_hooks(model, rows.tokens, hooks, clean_logits=rows.logits), rows)

    return torch.cat(list(of_batches()))


def judge_on(model: TransformerBridge, hook_name: str, held_out: HeldOut, sae: SAE) -> Row:
    """The measures of `evaluate_sae`, of an SAE on held-out text that was read before."""
    with torch.no_grad():
        found = reconstruction_of(sae, held_out.activations)
        spliced = _losses_with(model, hook_name, held_out, lambda x: through_sae(sae, x)[1])
    clean, mean, zero = (held_out.losses[name] for name in ("clean", "mean", "zero"))
    estimates = {
        "fvu": ratio(found.error, found.variance),
        "l0": ratio(found.active, found.n),
        "recovered_mean": ratio(mean - spliced, mean - clean),
        "recovered_zero": ratio(zero - spliced, zero - clean),
    }
    row = {name: estimate.value for name, estimate in estimates.items()}
    row |= {"dead_fraction": found.dead_fraction, "window": int(found.n.sum())}
    for name, estimate in estimates.items():
        row |= {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row
