"""Activation patching: put one activation of one run into another run and see how far the answer follows.

Two runs differ in what they ask for. **Denoising** patches an activation of the clean run into the corrupted one:
is it sufficient to bring the right answer back? **Noising** patches an activation of the corrupted run into the clean
one: is it necessary for the right answer? Sources: Wang et al., "Interpretability in the Wild" (2022); Heimersheim and
Nanda, "How to use and interpret activation patching" (2024).

The sweeps (the engine is in `sweeps.py`) give the numbers of `transformer_lens.patching`, computed only where a patch
can change something; `.venv/bin/python scripts/run_patching_benchmark.py` measures both.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.base.progress import progress_bar
from scripts.interp.base.statistics import bootstrap_weights
from scripts.interp.circuits.prompt_pairs import PromptPairs, ready_pairs
from scripts.interp.circuits.sweeps import (
    HEAD_KINDS,
    STREAM_KINDS,
    Direction,
    Metric,
    Sweep,
    check_choice,
    check_direction,
    exact_route,
    exact_sweep,
    plain_sweep,
    turned,
)
from scripts.interp.runs.heads import n_heads_of
from scripts.interp.runs.hooks import cached_hook_dict

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class PatchingResult(NamedTuple):
    """What a sweep measured."""

    effect: Float[Tensor, "*axes"]
    """One number a cell, axes as in `axes`. Normalised: 0 is the corrupted runs' logit difference and 1 the clean
    runs', whatever the direction, so "nothing changed" is 0 when denoising and 1 when noising; it is a ratio of
    means over the prompts and is never clamped. Not normalised: the mean change of the logit difference."""
    per_prompt: Float[Tensor, " batch *axes"]  # the patched runs' logit differences
    clean: Float[Tensor, " batch"]  # logit differences of the clean runs
    corrupted: Float[Tensor, " batch"]  # logit differences of the corrupted runs
    axes: tuple[str, ...]  # ("layer", "pos"), ("layer", "head") or ("layer", "pos", "head")
    direction: str
    normalise: bool

    def interval(
        self, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
    ) -> tuple[Float[Tensor, "*axes"], Float[Tensor, "*axes"]]:
        """Bootstrap interval of the effect over prompts: lower and upper bound, axes as in `axes`.

        Prompts are drawn anew with replacement; other templates or names are not covered by it. Raises
        ValueError for fewer than two prompts, which a metric of one's own counts as.
        """
        if len(self.per_prompt) < 2:
            raise ValueError("There is one value for all prompts: an interval over prompts needs at least two.")
        weights = bootstrap_weights(len(self.per_prompt), n_resamples, seed).to(self.per_prompt)
        clean, corrupted = weights @ self.clean, weights @ self.corrupted
        patched = weights @ self.per_prompt.flatten(1)
        effects = _effect(patched, clean[:, None], corrupted[:, None], self.direction, self.normalise)
        if self.normalise and (clean <= corrupted).any():
            raise ValueError(
                "In some of the resamples clean is no better than corrupted, so a normalised effect is undefined: "
                "take more prompts or normalise=False."
            )
        effects = effects.float()  # quantiles need it
        tail = (1 - level) / 2
        low, high = torch.quantile(effects, torch.tensor([tail, 1 - tail]).to(effects), dim=0)
        return low.view_as(self.effect), high.view_as(self.effect)


def patch_stream(
    model: TransformerBridge,
    pairs: PromptPairs,
    kind: Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"] = "resid_pre",
    direction: Direction = "denoising",
    *,
    normalise: bool = True,
    metric: Metric | None = None,
    plain: bool = False,
    progress: bool | None = None,
) -> PatchingResult:
    """Patch the residual stream, or what attention or the MLP adds to it, at one layer and position at a time.

    Returns effects [n_layers, pos]; all heads or neurons are patched together.

    direction: "denoising" patches clean into corrupted, "noising" corrupted into clean
    normalise: False gives the mean change of the logit difference in logits
    metric: replaces the logit difference: takes the last position's logits [batch, 1, d_vocab] of all prompts
        and returns one number as a tensor; there is then one value for all prompts
    plain: run the whole model again for every cell, as `transformer_lens.patching` does. Models whose
        architecture has no exact route (see `attention_routes.py`) are run like this anyway, and say so once
    progress: whether to show a progress bar; default: in a terminal or a notebook

    Raises ValueError for prompts that `ready_pairs` refuses, an unknown kind or direction, "mlp_out" of a model
    without MLPs, a metric that returns more than a number, and, with `normalise`, if the clean prompts do no better
    than the corrupted ones.
    """
    check_choice("kind", kind, STREAM_KINDS)
    if kind == "mlp_out" and model.cfg.attn_only:
        raise ValueError(f"{model.cfg.model_name} has no MLPs: there is no mlp_out to patch; choose another kind.")
    cells = [(layer, pos) for layer in range(model.cfg.n_layers) for pos in range(pairs.clean.shape[-1])]
    sweep = Sweep(model, pairs, kind, cells, ("layer", "pos"), direction, metric)
    return _swept(sweep, normalise, plain, progress)


def patch_heads(
    model: TransformerBridge,
    pairs: PromptPairs,
    kind: Literal["z", "q", "k", "v", "pattern"] = "z",
    direction: Direction = "denoising",
    *,
    by_position: bool = False,
    normalise: bool = True,
    metric: Metric | None = None,
    plain: bool = False,
    progress: bool | None = None,
) -> PatchingResult:
    """Patch one head at a time: its output "z", its queries, keys, values or attention pattern.

    Returns effects [n_layers, n_heads], all positions being patched together, or [n_layers, pos, n_heads] with
    `by_position`; a pattern's position is the one that looks. Where keys and values are shared by groups of
    heads, kinds "k" and "v" have n_key_value_heads heads, and patching one touches its whole group.

    The plain way can't change a pattern in models that only show it (`TransformerBridge.boot_native`): a warning
    says so. The exact one can. Everything else is as in `patch_stream`.
    """
    check_choice("kind", kind, HEAD_KINDS)
    heads, positions = range(n_heads_of(model, kind)), range(pairs.clean.shape[-1])
    if by_position:
        cells = [(layer, pos, head) for layer in range(model.cfg.n_layers) for pos in positions for head in heads]
    else:
        cells = [(layer, head) for layer in range(model.cfg.n_layers) for head in heads]
    axes = ("layer", "pos", "head") if by_position else ("layer", "head")
    sweep = Sweep(model, pairs, kind, cells, axes, direction, metric)
    return _swept(sweep, normalise, plain, progress)


def result(
    patched: Float[Tensor, " batch *axes"],
    clean: Float[Tensor, " batch"],
    corrupted: Float[Tensor, " batch"],
    axes: tuple[str, ...],
    direction: str,
    normalise: bool,
    hooks: str,
    stacklevel: int = 4,
) -> PatchingResult:
    """Put measurements together, logit differences all.

    hooks: what was patched, for the warning if that changed nothing at all; stacklevel: as in `exact_route`
    Raises ValueError if normalised effects are asked for and the clean runs are no better than the corrupted.
    """
    base, _ = turned(direction, clean, corrupted)
    if torch.equal(patched, base.view(-1, *[1] * (patched.dim() - 1)).expand_as(patched)):
        warnings.warn(
            f"Patching {hooks} changed the logits of no prompt, whichever was patched: does this model use what "
            "these hooks show, or only show it?",
            stacklevel=stacklevel,
        )
    if normalise and clean.mean() <= corrupted.mean():
        raise ValueError(
            f"The logit difference is {clean.mean():.3f} after the clean prompts and {corrupted.mean():.3f} after "
            "the corrupted ones: where clean is no better, a normalised effect is undefined; are the two "
            "exchanged? Otherwise take normalise=False."
        )
    effect = _effect(patched.mean(0), clean.mean(), corrupted.mean(), direction, normalise)
    return PatchingResult(effect, patched, clean, corrupted, axes, direction, normalise)


def _effect(patched: Tensor, clean: Tensor, corrupted: Tensor, direction: str, normalise: bool) -> Tensor:
    if normalise:
        return (patched - corrupted) / (clean - corrupted)
    return patched - turned(direction, clean, corrupted)[0]


def _swept(sweep: Sweep, normalise: bool, plain: bool, progress: bool | None) -> PatchingResult:
    check_direction(sweep.direction)
    sweep = sweep._replace(pairs=ready_pairs(sweep.model, sweep.pairs))
    attention = None if plain else exact_route(sweep.model, sweep.pairs.clean)
    bar = progress_bar(len(sweep.cells), f"patching {sweep.kind}", progress)
    with torch.no_grad(), cached_hook_dict(sweep.model), bar:
        measured = plain_sweep(sweep, bar) if attention is None else exact_sweep(sweep, attention, bar)
    patched, clean, corrupted = measured
    shape = [1 + max(column) for column in zip(*sweep.cells)]
    hooks = f"blocks.*.{'hook_' if sweep.kind in STREAM_KINDS else 'attn.hook_'}{sweep.kind}"
    return result(patched.unflatten(1, shape), clean, corrupted, sweep.axes, sweep.direction, normalise, hooks)
