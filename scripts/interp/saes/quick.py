"""A small SAE in seconds, on activations that are at hand: what a lab trains while one watches."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.base.precision import at_least_float32
from scripts.interp.saes.recipes import Settings
from scripts.interp.saes.stored_activations import StoredActivations

if TYPE_CHECKING:  # importing sae-lens takes seconds, which only those who train should spend
    from sae_lens import SAE


def quick_sae(
    x: Float[Tensor, "n d_in"], architecture: str, steps: int, batch: int = 512, **settings: float | int
) -> tuple[SAE, dict[str, Any]]:
    """Train an SAE of an architecture (`Settings.architecture`) on activations [n, d_in], `steps` batches of them.

    settings: of `Settings`, such as width, k or sparsity, learning_rate, seed
    Returns it as it would be saved and loaded again, in the activations' own scale, on their device, and BatchTopK with
    a threshold; and the record of its training, as `train` does.

    Raises ValueError as `train` does, and where a setting has no such name.
    """
    from sae_lens import SAE

    from scripts.interp.saes.train import train

    unknown = settings.keys() - Settings.__dataclass_fields__.keys()
    if unknown:
        raise ValueError(f"There is no setting {sorted(unknown)[0]!r}: give some of {', '.join(vars(Settings()))}.")
    passes = steps / max(1, len(x) // batch)
    chosen = Settings("", "activations", architecture, batch=batch, passes=passes, **settings)
    stored = StoredActivations(at_least_float32(x).cpu().numpy(), float("inf"), 0, 0)
    with torch.random.fork_rng([]), torch.enable_grad(), TemporaryDirectory() as folder:
        sae, record = train(chosen, stored, Path(folder), None)
        with torch.no_grad():
            sae.save_inference_model(folder)
        return SAE.load_from_disk(folder, dtype="float32").to(x.device).eval().requires_grad_(False), record
