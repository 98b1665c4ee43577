"""The runs of a scaling law: SAEs trained on a model's stored activations, saved, loaded again and judged."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor

from scripts.interp.base.paths import outputs_folder
from scripts.interp.runs.at_hooks import hook_activations
from scripts.interp.runs.through_sae import through_sae
from scripts.interp.saes.make import activations_to_train_on
from scripts.interp.saes.recipes import Settings
from scripts.interp.saes.scaling_plan import Plan, Run
from scripts.interp.saes.stored_activations import BATCH_ROWS, StoredActivations, store_activations
from scripts.interp.saes.train import train
from scripts.interp.text.corpus import load_corpus, packed_tokens
from scripts.interp.training import loop

WORK = "scaling"  # folder of the outputs for what a run needs while it runs
AT_ONCE = 4096  # tokens that an SAE reads at once when it is judged


def settings_of(plan: Plan, run: Run, n_stored: int = 0) -> Settings:
    """The settings of a run on so many stored activations, of which it sees each at most once.

    Raises ValueError where there are fewer than it should see.
    """
    if n_stored and run.tokens > n_stored:
        raise ValueError(f"{run.tokens:,} tokens are wanted and there are {n_stored:,}: give a plan with fewer.")
    steps_in_a_pass = max(1, n_stored // plan.batch)
    return Settings(
        model=plan.model, hook_name=plan.hook_name, architecture=plan.architecture, width=run.width, k=run.k,
        passes=run.tokens // plan.batch / steps_in_a_pass, batch=plan.batch, learning_rate=run.learning_rate,
        seed=run.seed,
    )  # fmt: skip


def stored(plan: Plan, model: Any, rows: tuple[int, int] | None = None) -> tuple[StoredActivations, Tensor]:
    """What SAEs are trained on, and what they are judged on, [n, d_in]: of the training and validation splits.

    rows: how many rows of text of each, for a quick look; by default all, and then what `scripts.train_sae` has
        stored is taken
    """
    context = min(Settings().context, model.cfg.n_ctx)
    wanted = Settings(plan.model, plan.hook_name, context=context, tokens=rows[0] * context if rows else 0)
    name = f"{plan.model}-{plan.hook_name}" + (f"-{rows[0]}" if rows else "")
    activations = activations_to_train_on(wanted, model, [plan.hook_name], name, 4.0)[plan.hook_name]
    text = packed_tokens(load_corpus("validation"), model.tokenizer, context)[: rows and rows[1]]
    folder = outputs_folder("activations") / f"{name}-validation"
    values = store_activations(model, [plan.hook_name], text, folder)[plan.hook_name].values[:: plan.one_in]
    held_out = torch.from_numpy(values.copy()).float()
    return activations, held_out[held_out.norm(dim=1) <= activations.norm_limit]


def about(plan: Plan, model: Any) -> dict[str, Any]:
    """Where the runs are made, and how many seconds of one core storing the activations takes, from a few rows."""
    context = min(Settings().context, model.cfg.n_ctx)
    n_rows = 0
    for split in ("train", "validation"):
        rows = packed_tokens(load_corpus(split), model.tokenizer, context)
        n_rows += len(rows)
    began = time.process_time()
    hook_activations(model, rows[:BATCH_ROWS], [plan.hook_name])
    seconds = (time.process_time() - began) / BATCH_ROWS * n_rows
    return {"seconds_to_store": round(seconds), **loop.where_it_ran(), "versions": loop.versions("torch", "sae_lens")}


def bench(plan: Plan, activations: StoredActivations, held_out: Float[Tensor, "n d_in"]) -> Callable[[Run], dict]:
    """A function that trains and judges a run, from its start if it was killed, so that its seconds are all of them."""
    variance = held_out.double().var(dim=0, correction=0).sum().item()

    def measure(run: Run) -> dict[str, Any]:
        began = time.process_time()
        work = outputs_folder(WORK) / "-".join(str(value) for value in run)
        shutil.rmtree(work, ignore_errors=True)
        sae, record = train(settings_of(plan, run, len(activations.values)), activations, work, None)
        with torch.no_grad():
            sae.save_inference_model(work / "sae")
        found = judged(SAE.load_from_disk(work / "sae", dtype="float32"), held_out)
        row = {
            "fvu": found["mse"] / variance, **found, "steps": record["steps"], "recall": least_recall(record["curve"]),
            "seconds": round(time.process_time() - began, 1),
        }  # fmt: skip
        shutil.rmtree(work)
        return row

    return measure


def judged(sae: SAE, x: Float[Tensor, "n d_in"]) -> dict[str, float]:
    """Mean squared error of a token of x [n, d_in] (summed over its numbers), L0, and share of latents that are 0."""
    error, active = 0.0, 0
    alive = torch.zeros(sae.cfg.d_sae, dtype=torch.bool)
    with torch.no_grad():
        for part in x.split(AT_ONCE):
            latents, rebuilt = through_sae(sae, part)
            error += (part - rebuilt).double().square().sum().item()
            active += int((latents != 0).sum())
            alive |= (latents != 0).any(dim=0)
    return {"mse": error / len(x), "l0": active / len(x), "dead_fraction": 1 - alive.float().mean().item()}


def least_recall(curve: list[dict[str, Any]]) -> float | None:
    """The smallest share of the exact top k that the candidates of Hybrid had; None where nothing ranked."""
    return min((row["recall"] for row in curve if row.get("recall") is not None), default=None)
