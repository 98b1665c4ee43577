"""How every training of an SAE starts, what it is told of time, and the loop that it runs in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from sae_lens.config import SAETrainerConfig
from sae_lens.training.optim import get_lr_scheduler
from torch import Tensor

from scripts.interp.saes.recipes import Settings, sae_config, training_classes
from scripts.interp.saes.split import USUAL, How
from scripts.interp.saes.stored_activations import shuffled_batches
from scripts.interp.training import loop
from scripts.interp.training.processes import from_first

if TYPE_CHECKING:
    from sae_lens import TrainingSAE

CHECKPOINT_EVERY, RECORD_EVERY = 200, 50  # steps


def new_sae(settings: Settings, values: Float[np.ndarray, "n_tokens d_in"], steps: int) -> tuple[TrainingSAE, float]:
    """An SAE of sae-lens to train on activations [n_tokens, d_in], and the factor that they are scaled by for it.

    The factor, and b_dec, which is the mean, come from a sample of them.
    """
    torch.manual_seed(settings.seed)
    d_in = values.shape[1]
    sae = training_classes()[settings.architecture][0](sae_config(settings, d_in, steps))
    sample = next(shuffled_batches(values, min(len(values), 20_000), settings.seed))
    scale = math.sqrt(d_in) / sample.norm(dim=-1).mean().item()
    with torch.no_grad():  # the mean is what an SAE without any latent should give
        sae.b_dec.copy_(sample.mean(dim=0) * scale)
    return sae, scale


def trainer_config(settings: Settings, steps: int, device: str = "cpu") -> SAETrainerConfig:
    """What sae-lens' trainer is told: how the learning rate goes, and when a latent counts as dead."""
    return SAETrainerConfig(
        total_training_samples=steps * settings.batch,
        train_batch_size_samples=settings.batch,
        lr=settings.learning_rate,
        lr_end=settings.learning_rate / 10,
        lr_warm_up_steps=steps // 20,
        lr_decay_steps=steps // 3,
        dead_feature_window=max(10, steps // 20),
        feature_sampling_window=steps + 1,
        device=device,
    )


def scheduler_for(cfg: SAETrainerConfig, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """The schedule that sae-lens' trainer gives its optimizer, for another one."""
    return get_lr_scheduler(
        cfg.lr_scheduler_name,
        optimizer=optimizer,
        training_steps=cfg.total_training_steps,
        lr=cfg.lr,
        warm_up_steps=cfg.lr_warm_up_steps,
        decay_steps=cfg.lr_decay_steps,
        lr_end=cfg.lr_end,
        num_cycles=cfg.n_restart_cycles,
    )


def learning_rates(cfg: SAETrainerConfig) -> list[float]:
    """The learning rate of every step, as sae-lens' trainer would have it."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=cfg.lr)
    scheduler, rates = scheduler_for(cfg, optimizer), []
    for _ in range(cfg.total_training_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def run_on(
    values: Float[np.ndarray, "n_tokens d_in"],
    settings: Settings,
    steps: int,
    checkpoint: Path,
    progress: bool | None,
    how: How = USUAL,
    *,
    step: Callable[[int, Tensor], loop.Step],
    row: Callable[[int, tuple[float, ...] | None], dict[str, Any]],
    state: Callable[[], dict[str, Any]],
    restore: Callable[[dict[str, Any]], None],
    encode: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Train in batches of the activations [n_tokens, d_in] by `step`. Returns the record of the run.

    step, row, state, restore: see `loop.Training`; of several processes each gives `step` its share of a batch
    encode: from activations [n, d_in] to latents [n, d_sae], as they are at that moment, for who watches
    """
    processes = how.processes
    is_first = processes.rank == 0

    def watch(rows: list[dict[str, Any]]) -> None:
        if how.watch is not None:
            with torch.no_grad():
                how.watch(rows, steps, encode)

    def agree(saved: dict[str, Any] | None) -> dict[str, Any] | None:
        saved = from_first(processes, saved)
        if saved is None and processes.count > 1:  # other machines may draw and average a little differently
            restore(from_first(processes, on_cpu(state())))
        return saved

    training = loop.Training(
        settings.hook_name,
        {**asdict(settings), "n_tokens": len(values), "d_in": values.shape[1]},
        steps,
        batches=lambda step: shuffled_batches(
            values, settings.batch, settings.seed, step, processes.rank, processes.count
        ),
        step=step,
        row=row,
        is_recorded=lambda step: step > 0 and step % RECORD_EVERY == 0 or step == steps,
        checkpoint_every=CHECKPOINT_EVERY,
        state=lambda: on_cpu(state()),
        restore=restore,
        line=lambda row: f"{settings.hook_name}, step {row['step']} of {steps}: {row}" * is_first,
        watch=watch,
        agree=agree,
    )
    outcome = loop.run(training, checkpoint if is_first else None, progress if is_first else False)
    return {"steps": steps, "seconds": outcome.seconds, **loop.where_it_ran(), "curve": outcome.rows}


def on_cpu(state: Any) -> Any:
    """The same with all tensors on the CPU, where every process and machine can read them."""
    if isinstance(state, dict):
        return {name: on_cpu(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(map(on_cpu, state))
    return state.cpu() if isinstance(state, Tensor) else state


def variance_of(x: Float[Tensor, "n d_in"]) -> float:
    """Mean squared distance of activations [n, d_in] from their mean."""
    return (x - x.mean(dim=0)).square().sum(dim=-1).mean().item()
