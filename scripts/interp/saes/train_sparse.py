"""Training TopK and Hybrid SAEs of sae-lens by `SparseTopK`: the same result, sooner and in less memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.saes.rankings import new_ranking
from scripts.interp.saes.recipes import Settings
from scripts.interp.saes.sparse_topk import SparseTopK
from scripts.interp.saes.split import USUAL, How
from scripts.interp.saes.start import learning_rates, new_sae, run_on, trainer_config, variance_of
from scripts.interp.training import loop

if TYPE_CHECKING:
    from sae_lens import TrainingSAE
    from sae_lens.config import SAETrainerConfig


def train_sparsely(
    settings: Settings,
    values: Float[np.ndarray, "n_tokens d_in"],
    steps: int,
    checkpoint: Path,
    progress: bool | None,
    how: How = USUAL,
) -> tuple[TrainingSAE, dict[str, Any]]:
    """TopK or Hybrid on activations [n_tokens, d_in]; the record of Hybrid has recall and number of candidates."""
    sae, scale = new_sae(settings, values, steps)
    cfg = trainer_config(settings, steps)
    rates, trainer = learning_rates(cfg), sparse_trainer(sae.to(how.device), cfg)

    def step(number: int, batch: Float[Tensor, "batch d_in"]) -> loop.Step:
        factors = trainer.step(batch.to(how.device) * scale, rates[number], how.accumulate, how.processes)
        error, auxiliary = factors.losses.mean(dim=0).tolist()
        l0 = (factors.values > 0).sum(dim=-1).float().mean().item()
        measured = (factors.recalls.sum().item(), len(factors.recalls))
        fvu = error / variance_of(factors.x)
        return loop.Step(error + auxiliary, (error + auxiliary, fvu, l0, *measured))

    def row(step: int, averages: tuple[float, ...] | None) -> dict[str, float]:
        loss, fvu, l0, recalls, n_measured = averages
        ranked = {}
        if trainer.ranking is not None:
            ranked["recall"] = round(recalls / n_measured, 5) if n_measured else None
            ranked["candidates"] = trainer.n_candidates
        dead = trainer.dead.float().mean().item()
        rounded = {"loss": round(loss, 6), "fvu": round(fvu, 4), "l0": round(l0, 2), "dead": round(dead, 4)}
        return rounded | ranked

    def give_weights() -> None:
        with torch.no_grad():
            for name, value in trainer.weights().items():
                getattr(sae, name).copy_(value)

    def encode(x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        give_weights()
        return sae.encode(x.to(how.device) * scale).cpu()

    record = run_on(
        values, settings, steps, checkpoint, progress, how,
        step=step, row=row, encode=encode, state=trainer.state, restore=trainer.restore,
    )  # fmt: skip
    give_weights()
    sae.to("cpu")
    if trainer.ranking is not None:
        sae.cfg.n_candidates = trainer.n_candidates
    sae.fold_activation_norm_scaling_factor(scale)
    return sae, record


def sparse_trainer(sae: TrainingSAE, cfg: SAETrainerConfig) -> SparseTopK:
    """The trainer of a TopK or Hybrid SAE in single precision, by the settings that sae-lens' own would have."""
    kind, rank = getattr(sae.cfg, "ranking", None), getattr(sae.cfg, "rank", 0)  # TopK has neither
    ranking = new_ranking(kind, sae.cfg.d_sae, sae.cfg.d_in, rank, sae.W_enc.device)
    return SparseTopK(
        sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, sae.cfg.k,
        ranking=ranking, n_candidates=getattr(sae, "n_candidates", 0),
        rescale=sae.cfg.rescale_acts_by_decoder_norm, center=sae.cfg.apply_b_dec_to_input,
        aux_coefficient=sae.cfg.aux_loss_coefficient, dead_after=cfg.dead_feature_window,
        betas=(cfg.adam_beta1, cfg.adam_beta2),
    )  # fmt: skip
