"""Training an SAE of any architecture that sae-lens knows by sae-lens' own trainer."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from scripts.interp.saes.recipes import Settings
from scripts.interp.saes.split import USUAL, How, batch_sums, measured, split_step
from scripts.interp.saes.start import new_sae, run_on, scheduler_for, trainer_config
from scripts.interp.training import loop

if TYPE_CHECKING:
    from sae_lens import TrainingSAE

REACH = 10.0  # how far JumpReLU's threshold can go in a run, where activations have a mean square of 1
LARGEST_THRESHOLD_RATE = 0.1


def train_with_sae_lens(
    settings: Settings,
    values: Float[np.ndarray, "n_tokens d_in"],
    steps: int,
    checkpoint: Path,
    progress: bool | None,
    how: How = USUAL,
) -> tuple[TrainingSAE, dict[str, Any]]:
    """Any architecture of sae-lens on activations [n_tokens, d_in]."""
    trainer = new_trainer(settings, values, steps, how.device)

    def step(number: int, batch: Float[Tensor, "batch d_in"]) -> loop.Step:
        trainer.n_training_steps = number
        if how.parts > 1:
            done = measured(split_step(trainer, batch, how.accumulate, how.processes))
        else:
            done = measured(batch_sums(trainer.step(batch)))
        return loop.Step(done.mse, (done.loss, done.fvu, done.l0))

    def row(step: int, averages: tuple[float, ...] | None) -> dict[str, float]:
        loss, fvu, l0 = averages
        dead = trainer.dead_neurons.float().mean().item()
        return {"loss": round(loss, 6), "fvu": round(fvu, 4), "l0": round(l0, 2), "dead": round(dead, 4)}

    def encode(x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        return trainer.sae.encode(trainer.activation_scaler(x.to(how.device))).cpu()

    record = run_on(
        values, settings, steps, checkpoint, progress, how,
        step=step, row=row, encode=encode,
        state=lambda: trainer_state(trainer), restore=lambda saved: restore_trainer(trainer, saved),
    )  # fmt: skip
    sae = trainer.sae.to("cpu")
    sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    return sae, record


def new_trainer(
    settings: Settings, values: Float[np.ndarray, "n_tokens d_in"], steps: int, device: str = "cpu"
) -> SAETrainer:
    """sae-lens' trainer for activations [n_tokens, d_in], with a new SAE."""
    sae, scale = new_sae(settings, values, steps)
    trainer = SAETrainer(trainer_config(settings, steps, device), sae.to(device), iter(()))
    if hasattr(sae, "threshold"):
        give_threshold_its_rate(trainer)
    trainer.activation_scaler.scaling_factor = scale
    return trainer


def give_threshold_its_rate(trainer: SAETrainer) -> None:
    """Let JumpReLU's threshold learn so fast that it can go as far as REACH in the whole run.

    The sparsity loss reaches the threshold alone, and Adam moves a parameter by about the learning rate a step. Latents
    are of the size of 1 where activations have a mean square of 1, as here: at a rate of 0.001 the threshold would not
    get past them in hundreds of steps, whatever the loss weighs.
    """
    cfg, threshold = trainer.cfg, trainer.sae.threshold
    rate = max(cfg.lr, min(REACH / cfg.total_training_steps, LARGEST_THRESHOLD_RATE))
    others = [parameter for parameter in trainer.sae.parameters() if parameter is not threshold]
    trainer.optimizer = torch.optim.Adam(
        [{"params": others}, {"params": [threshold], "lr": rate}], lr=cfg.lr, betas=(cfg.adam_beta1, cfg.adam_beta2)
    )
    trainer.lr_scheduler = scheduler_for(cfg, trainer.optimizer)


def trainer_state(trainer: SAETrainer) -> dict[str, dict[str, Tensor]]:
    """The SAE, and the files that sae-lens writes of the rest of its trainer, as bytes [n]."""
    with TemporaryDirectory() as folder:
        trainer.save_trainer_state(Path(folder))
        files = {
            file.name: torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8)
            for file in sorted(Path(folder).iterdir())
        }
    return {"sae": trainer.sae.state_dict(), "trainer": files}


def restore_trainer(trainer: SAETrainer, saved: dict[str, dict[str, Tensor]]) -> None:
    """The opposite of `trainer_state`."""
    trainer.sae.load_state_dict(saved["sae"])
    with TemporaryDirectory() as folder:
        for name, content in saved["trainer"].items():
            (Path(folder) / name).write_bytes(content.numpy().tobytes())
        trainer.load_trainer_state(folder)
