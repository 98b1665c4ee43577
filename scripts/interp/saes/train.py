"""Training an SAE on stored activations, by sae-lens' trainer or in a way of the project's own, and saving it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAE
from safetensors.torch import load_file, save_file
from torch import Tensor

from scripts.interp.base.files import write_atomically
from scripts.interp.saes.monosemanticity import DictionaryRecipe, train_dictionary
from scripts.interp.saes.recipes import Settings, check_architecture, check_numbers, sparsity_settings, training_classes
from scripts.interp.saes.split import USUAL, How, check_how
from scripts.interp.saes.stored_activations import StoredActivations, shuffled_batches
from scripts.interp.saes.train_sparse import train_sparsely
from scripts.interp.saes.train_with_sae_lens import train_with_sae_lens
from scripts.interp.saes.untrained import mean_l0
from scripts.interp.training import loop

if TYPE_CHECKING:
    from sae_lens import TrainingSAE

SAMPLE = 4  # batches of the training activations on which L0 is measured and BatchTopK's threshold is set
CLOSE = 0.05  # how far from k the L0 of a saved BatchTopK SAE may be there, as a share of k


def train(
    settings: Settings, activations: StoredActivations, work: Path, progress: bool | None, how: How = USUAL
) -> tuple[TrainingSAE, dict[str, Any]]:
    """Train an SAE on stored activations, from the last checkpoint in `work` if there is one.

    Where several processes train it, each calls this; the first one alone reads and writes the checkpoint.

    Returns it, with the scale of the activations folded in, and a record of the run. BatchTopK is saved with a
    threshold in the place of k; where the one that sae-lens has found gives another L0 than k, it is set anew.

    Raises ValueError for an unknown architecture, for an impossible number, where the activations do not fill a batch,
    and where the SAE can't be trained in the way of `how`.
    """
    check_architecture(settings.architecture)
    check_numbers(settings)
    check_how(settings, how)
    n_tokens, d_sae = len(activations.values), settings.width * activations.values.shape[1]
    if settings.k > d_sae and "k" in sparsity_settings(settings.architecture):
        raise ValueError(f"--k is {settings.k} of {d_sae} latents: give {d_sae} or less, or a larger --width.")
    steps = round(settings.passes * (n_tokens // settings.batch))
    if n_tokens < settings.batch:
        raise ValueError(f"{n_tokens} tokens do not fill one batch of {settings.batch}: give more, or a smaller batch.")
    if steps < 1:
        raise ValueError(f"--passes is {settings.passes:g}, less than one batch of {settings.batch}: give more.")
    name = hashlib.sha256(json.dumps(asdict(settings)).encode()).hexdigest()[:12]
    train_it = OWN_RECIPES.get(settings.architecture, train_with_sae_lens)
    sae, record = train_it(settings, activations.values, steps, work / f"{name}.pt", progress, how)
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
        "processes": how.processes.count,
        "accumulate": how.accumulate,
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
    settings: Settings,
    values: Float[np.ndarray, "n_tokens d_in"],
    steps: int,
    checkpoint: Path,
    progress: bool | None,
    how: How = USUAL,
) -> tuple[TrainingSAE, dict[str, Any]]:
    """The recipe of "Towards Monosemanticity" on activations [n_tokens, d_in]; what it gives is a standard SAE."""
    d_in, d_sae = values.shape[1], settings.width * values.shape[1]
    recipe = DictionaryRecipe(
        d_sae, settings.sparsity, steps, settings.batch, settings.learning_rate, seed=settings.seed
    )
    dictionary, record = train_dictionary(values, recipe, checkpoint, progress, how.watch)
    sae_class, config_class = training_classes()["standard"]
    sae = sae_class(config_class(d_in=d_in, d_sae=d_sae))
    sae.load_state_dict(dictionary._asdict())
    return sae, record


OWN_RECIPES: dict[str, Callable] = {
    "monosemanticity": train_as_monosemanticity,
    "topk": train_sparsely,
    "hybrid": train_sparsely,
}


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
