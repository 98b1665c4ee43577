"""Training an SAE on stored activations, by sae-lens' trainer or by a recipe of the project's own, and saving it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAE
from sae_lens.config import SAETrainerConfig
from sae_lens.registry import get_sae_training_class
from sae_lens.training.optim import get_lr_scheduler
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file, save_file
from torch import Tensor

from scripts.interp.base.files import write_atomically
from scripts.interp.saes.monosemanticity import DictionaryRecipe, train_dictionary
from scripts.interp.saes.recipes import Settings, check_architecture, sae_config
from scripts.interp.saes.stored_activations import StoredActivations, shuffled_batches
from scripts.interp.saes.untrained import mean_l0
from scripts.interp.training import loop

if TYPE_CHECKING:
    from sae_lens import TrainingSAE

CHECKPOINT_EVERY, RECORD_EVERY = 200, 50  # steps
SAMPLE = 4  # batches of the training activations on which L0 is measured and BatchTopK's threshold is set
CLOSE = 0.05  # how far from k the L0 of a saved BatchTopK SAE may be there, as a share of k
REACH = 10.0  # how far JumpReLU's threshold can go in a run, where activations have a mean square of 1
LARGEST_THRESHOLD_RATE = 0.1


def train(
    settings: Settings, activations: StoredActivations, work: Path, progress: bool | None
) -> tuple[TrainingSAE, dict[str, Any]]:
    """Train an SAE on stored activations, from the last checkpoint in `work` if there is one.

    Returns it, with the scale of the activations folded in, and a record of the run. BatchTopK is saved with a
    threshold in the place of k; where the one that sae-lens has found gives another L0 than k, it is set anew.

    Raises ValueError for an unknown architecture, and where the activations do not fill a batch.
    """
    check_architecture(settings.architecture)
    n_tokens = len(activations.values)
    steps = round(settings.passes * (n_tokens // settings.batch))
    if steps < 1:
        raise ValueError(f"{n_tokens} tokens do not fill one batch of {settings.batch}: give more, or a smaller batch.")
    name = hashlib.sha256(json.dumps(asdict(settings)).encode()).hexdigest()[:12]
    train_it = OWN_RECIPES.get(settings.architecture, train_with_sae_lens)
    sae, record = train_it(settings, activations.values, steps, work / f"{name}.pt", progress)
    if hasattr(sae, "topk_threshold"):
        with TemporaryDirectory() as folder:
            sae.save_inference_model(folder)
            if abs(l0_of_saved(folder, settings, activations) - settings.k) > CLOSE * settings.k:
                set_threshold(sae, settings, activations)
    return sae, {
        "settings": asdict(settings),
        "tokens": n_tokens,
        "tokens_special": activations.n_special,
        "tokens_massive": activations.n_massive,
        "norm_limit": activations.norm_limit,
        "versions": loop.versions("torch", "sae_lens"),
        **record,
    }


def sample_of(settings: Settings, activations: StoredActivations) -> Float[Tensor, "n d_in"]:
    """Some of the activations that an SAE was trained on, [n, d_in]: whole batches."""
    n_batches = min(SAMPLE, len(activations.values) // settings.batch)
    return next(shuffled_batches(activations.values, n_batches * settings.batch, settings.seed))


def l0_of_saved(folder: Path | str, settings: Settings, activations: StoredActivations) -> float:
    """L0 of the SAE in a folder, on some of the activations that it was trained on."""
    return mean_l0(SAE.load_from_disk(folder, dtype="float32"), sample_of(settings, activations))


def set_threshold(sae: TrainingSAE, settings: Settings, activations: StoredActivations) -> None:
    """Set the threshold that BatchTopK is saved with such that k latents a token are above it.

    sae-lens keeps a running mean of every step's smallest latent above zero, which starts at 0: after a few hundred
    steps it is still far too low. This is the mean over a sample, by the finished weights.
    """
    with torch.no_grad():
        latents = [sae.encode(batch) for batch in sample_of(settings, activations).split(settings.batch)]
        smallest = torch.stack([each[each > 0].min() for each in latents])
        sae.topk_threshold.fill_(smallest.double().mean())


def train_as_monosemanticity(
    settings: Settings, values: Float[np.ndarray, "n_tokens d_in"], steps: int, checkpoint: Path, progress: bool | None
) -> tuple[TrainingSAE, dict[str, Any]]:
    """The recipe of "Towards Monosemanticity" on activations [n_tokens, d_in]; what it gives is a standard SAE."""
    d_in, d_sae = values.shape[1], settings.width * values.shape[1]
    recipe = DictionaryRecipe(
        d_sae, settings.sparsity, steps, settings.batch, settings.learning_rate, seed=settings.seed
    )
    dictionary, record = train_dictionary(values, recipe, checkpoint, progress)
    sae_class, config_class = get_sae_training_class("standard")
    sae = sae_class(config_class(d_in=d_in, d_sae=d_sae))
    sae.load_state_dict(dictionary._asdict())
    return sae, record


OWN_RECIPES: dict[str, Callable] = {"monosemanticity": train_as_monosemanticity}


def new_trainer(settings: Settings, values: Float[np.ndarray, "n_tokens d_in"], steps: int) -> SAETrainer:
    """sae-lens' trainer for activations [n_tokens, d_in], with a new SAE; scale and mean come from a sample of them."""
    torch.manual_seed(settings.seed)
    d_in = values.shape[1]
    sae = get_sae_training_class(settings.architecture)[0](sae_config(settings, d_in, steps))
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=steps * settings.batch,
            train_batch_size_samples=settings.batch,
            lr=settings.learning_rate,
            lr_end=settings.learning_rate / 10,
            lr_warm_up_steps=steps // 20,
            lr_decay_steps=steps // 3,
            dead_feature_window=max(10, steps // 20),
            feature_sampling_window=steps + 1,
        ),
        sae,
        iter(()),
    )
    if hasattr(sae, "threshold"):
        give_threshold_its_rate(trainer)
    sample = next(shuffled_batches(values, min(len(values), 20_000), settings.seed))
    trainer.activation_scaler.scaling_factor = math.sqrt(d_in) / sample.norm(dim=-1).mean().item()
    with torch.no_grad():  # the mean is what an SAE without any latent should give
        sae.b_dec.copy_(sample.mean(dim=0) * trainer.activation_scaler.scaling_factor)
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
    trainer.lr_scheduler = get_lr_scheduler(
        cfg.lr_scheduler_name,
        optimizer=trainer.optimizer,
        training_steps=cfg.total_training_steps,
        lr=cfg.lr,
        warm_up_steps=cfg.lr_warm_up_steps,
        decay_steps=cfg.lr_decay_steps,
        lr_end=cfg.lr_end,
        num_cycles=cfg.n_restart_cycles,
    )


def train_with_sae_lens(
    settings: Settings, values: Float[np.ndarray, "n_tokens d_in"], steps: int, checkpoint: Path, progress: bool | None
) -> tuple[TrainingSAE, dict[str, Any]]:
    """Any architecture of sae-lens on activations [n_tokens, d_in]."""
    trainer = new_trainer(settings, values, steps)

    def step(number: int, batch: Float[Tensor, "batch d_in"]) -> loop.Step:
        trainer.n_training_steps = number
        output = trainer.step(batch)
        loss = output.losses["mse_loss"].item()
        centred = output.sae_in - output.sae_in.mean(dim=0)
        fvu = loss / centred.square().sum(dim=-1).mean().item()
        return loop.Step(loss, (fvu, (output.feature_acts != 0).sum(dim=-1).float().mean().item()))

    def row(step: int, averages: tuple[float, ...] | None) -> dict[str, float]:
        fvu, l0 = averages
        return {"fvu": round(fvu, 4), "l0": round(l0, 2), "dead": round(trainer.dead_neurons.float().mean().item(), 4)}

    training = loop.Training(
        settings.hook_name,
        {**asdict(settings), "n_tokens": len(values), "d_in": values.shape[1]},
        steps,
        batches=lambda step: shuffled_batches(values, settings.batch, settings.seed, step),
        step=step,
        row=row,
        is_recorded=lambda step: step > 0 and step % RECORD_EVERY == 0 or step == steps,
        checkpoint_every=CHECKPOINT_EVERY,
        state=lambda: trainer_state(trainer),
        restore=lambda saved: restore_trainer(trainer, saved),
        line=lambda row: f"{settings.hook_name}, step {row['step']} of {steps}: {row}",
    )
    outcome = loop.run(training, checkpoint, progress)
    trainer.sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    return trainer.sae, {"steps": steps, "seconds": outcome.seconds, **loop.where_it_ran(), "curve": outcome.rows}


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


def save_in_half_precision(sae: TrainingSAE, settings: Settings, limit: float, folder: Path) -> None:
    """Write the SAE in sae-lens' folder format; weights in half precision, to be computed with in single.

    One for `hook_z` takes what is there, [..., n_heads, d_head], where it is loaded again.
    """
    metadata = sae.cfg.metadata
    metadata.model_name, metadata.hook_name = settings.model, settings.hook_name
    metadata.prepend_bos, metadata.context_size, metadata.norm_limit = True, settings.context, limit
    with torch.no_grad():
        sae.save_inference_model(folder)
    weights = {name: value.half() for name, value in load_file(folder / "sae_weights.safetensors").items()}
    config = json.loads((folder / "cfg.json").read_text()) | {"dtype": "float32", "device": "cpu"}
    if settings.hook_name.endswith(".hook_z"):
        config["reshape_activations"] = "hook_z"
    save_file(weights, folder / "sae_weights.safetensors")
    write_atomically(folder / "cfg.json", json.dumps(config, indent=1) + "\n")
