"""How good a sparse autoencoder is, on text that it was not trained on: FVU, L0, dead latents, cross-entropy recovered.

All of it over the positions that the SAE was trained for (see `stored_activations`); the others keep their activations.
Intervals are bootstrap intervals over rows of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scripts.interp.base.progress import progress_bar
from scripts.interp.base.statistics import Estimate, ratio
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, special_positions
from scripts.interp.runs.hooks import run_with_hooks
from scripts.interp.runs.losses import losses_of_logits
from scripts.interp.runs.through_sae import check_by_trying, check_sae, on_its_part, part_for, through_sae

if TYPE_CHECKING:  # importing sae-lens takes seconds, which only those who load an SAE should spend
    from sae_lens import SAE
    from tqdm import tqdm
    from transformer_lens.model_bridge import TransformerBridge

BATCH_ROWS = 4


class SaeMetrics(NamedTuple):
    """What `evaluate_sae` measures."""

    fvu: Estimate  # fraction of variance unexplained: squared error over squared distance from the mean
    l0: Estimate  # latents per token that are not zero: above it, but for architectures with negative latents
    dead_fraction: float  # share of the latents that are zero on all of the tokens
    ce_clean: Estimate  # cross-entropy of the next token in nats, model untouched
    ce_spliced: Estimate  # with the SAE's reconstruction in place of the activation
    ce_mean: Estimate  # with the tokens' mean activation
    ce_zero: Estimate  # with zero
    recovered_mean: Estimate  # (ce_mean - ce_spliced) / (ce_mean - ce_clean): 1 is as good as untouched
    recovered_zero: Estimate  # the same against zero ablation
    n_tokens: int  # positions evaluated
    n_special: int  # left out: BOS and other special tokens
    n_massive: int  # left out: norm above the limit
    n_predicted: int  # tokens whose cross-entropy was measured


def splice(values: Float[Tensor, "... d_in"], where: Bool[Tensor, "batch pos"]) -> Callable[..., Tensor]:
    """A hook function that puts `values` in the place of an activation.

    values: [batch, pos, d_in], or [d_in] for the same everywhere; where: [batch, pos], True where to
    """

    def put(activation: Tensor, hook: object) -> Tensor:
        return torch.where(where[..., None].to(activation.device), values.to(activation), activation)

    return put


class Reconstruction(NamedTuple):
    """What an SAE's reconstructions are measured by: sums over the positions of a row that count, and two counts."""

    n: Float[Tensor, " n_rows"]  # positions that count
    mean: Float[Tensor, " d_in"]  # of their activations, over all rows
    variance: Float[Tensor, " n_rows"]  # squared distances from that mean
    error: Float[Tensor, " n_rows"]  # squared distances from the reconstructions
    active: Float[Tensor, " n_rows"]  # latents that are not zero
    dead_fraction: float  # share of the latents that are zero at all of the positions


def evaluate_sae(
    model: TransformerBridge,
    sae: SAE,
    hook_name: str,
    rows: Int[Tensor, "n_rows pos"],
    limit: float,
    n_spliced_rows: int,
    wanted: Bool[Tensor, "n_rows pos"] | None = None,
) -> SaeMetrics:
    """Measure an SAE on token rows [n_rows, pos] of held-out text.

    hook_name: also one that has heads, such as hook_z: they are laid side by side. Of an SAE for one head
        (`hook_head_index` in its metadata), the other heads stay as they are
    limit: the norm above which tokens are left out, the one of training
    n_spliced_rows: how many of the rows, from the first, the cross-entropies are measured on, two or more; they
        take four runs of the model
    wanted: positions that count, bool [n_rows, pos], such as those that no chat template wrote; the others are treated
        as special tokens are. Default: all

    An error term, which sae-lens can add to a reconstruction, is left out. Raises ValueError for fewer than two rows of
    either, where the SAE's width is not the activation's, and for what is no SAE (see `check_sae`).
    """
    check_sae(sae)
    check_by_trying(sae)
    if not 2 <= n_spliced_rows <= len(rows):
        raise ValueError(f"n_spliced_rows is {n_spliced_rows}: give 2 to the number of rows, {len(rows)}.")
    rows = rows.to(model.cfg.device)
    left_out = special_positions(model, rows)
    if wanted is not None:
        left_out |= ~wanted.to(model.cfg.device)
    with torch.no_grad(), progress_bar(len(rows) + 4 * n_spliced_rows, "evaluation") as bar:
        found = measure_reconstruction(model, sae, hook_name, rows, left_out, limit, bar)
        few, few_left_out = rows[:n_spliced_rows], left_out[:n_spliced_rows]
        ce = measure_cross_entropies(model, sae, hook_name, few, few_left_out, limit, found.mean.float(), bar)
    predicted = (~few_left_out[:, 1:]).sum(dim=1).double()
    n_tokens, n_special = int(found.n.sum()), int(left_out.sum())
    return SaeMetrics(
        fvu=ratio(found.error, found.variance),
        l0=ratio(found.active, found.n),
        dead_fraction=found.dead_fraction,
        ce_clean=ratio(ce["clean"], predicted),
        ce_spliced=ratio(ce["spliced"], predicted),
        ce_mean=ratio(ce["mean"], predicted),
        ce_zero=ratio(ce["zero"], predicted),
        recovered_mean=ratio(ce["mean"] - ce["spliced"], ce["mean"] - ce["clean"]),
        recovered_zero=ratio(ce["zero"] - ce["spliced"], ce["zero"] - ce["clean"]),
        n_tokens=n_tokens,
        n_special=n_special,
        n_massive=left_out.numel() - n_special - n_tokens,
        n_predicted=int(predicted.sum()),
    )


def measure_reconstruction(
    model: TransformerBridge,
    sae: SAE,
    hook_name: str,
    rows: Int[Tensor, "n_rows pos"],
    left_out: Bool[Tensor, "n_rows pos"],
    limit: float,
    bar: tqdm,
) -> Reconstruction:
    """How far reconstructions are from the activations of token rows [n_rows, pos], and how many latents they take.

    left_out: positions that do not count, bool [n_rows, pos]; neither do those with a norm above the limit
    """

    def those_that_count() -> Iterator[Tensor]:
        for tokens, is_left_out in zip(rows.split(BATCH_ROWS), left_out.split(BATCH_ROWS)):
            x = part_for(sae, hook_activations(model, tokens, [hook_name])[hook_name], hook_name)
            for row, kept in zip(x, kept_positions(x, is_left_out, limit)):
                yield row[kept]
            bar.update(len(tokens))

    return reconstruction_of(sae, those_that_count())


def reconstruction_of(sae: SAE, activations: Iterable[Float[Tensor, "n d_in"]]) -> Reconstruction:
    """The same of activations [n, d_in] that are given: for every row of text, those that count."""
    sums: dict[str, list[Tensor]] = {key: [] for key in ("n", "x", "x_squared", "error", "active")}
    alive = torch.zeros(sae.cfg.d_sae, dtype=torch.bool, device=sae.device)
    for x in activations:
        latents, rebuilt = through_sae(sae, x)
        alive |= (latents != 0).any(dim=0).to(alive.device)
        sums["n"].append(torch.tensor(len(x), device=x.device))
        sums["x"].append(x.double().sum(dim=0))
        sums["x_squared"].append(x.double().square().sum())
        sums["error"].append((x - rebuilt).double().square().sum())
        sums["active"].append((latents != 0).sum())
    n, x, x_squared, error, active = (torch.stack(sums[key]).double() for key in sums)
    mean = x.sum(dim=0) / n.sum()
    variance = x_squared - 2 * x @ mean + n * mean.square().sum()
    return Reconstruction(n, mean, variance, error, active, 1 - alive.float().mean().item())


def measure_cross_entropies(
    model: TransformerBridge,
    sae: SAE,
    hook_name: str,
    rows: Int[Tensor, "n_rows pos"],
    left_out: Bool[Tensor, "n_rows pos"],
    limit: float,
    mean: Float[Tensor, " d_in"],
    bar: tqdm,
) -> dict[str, Float[Tensor, " n_rows"]]:
    """Cross-entropies of token rows [n_rows, pos] in nats, summed over the tokens of a row that count, [n_rows] each.

    "clean": model untouched; "spliced", "mean", "zero": with reconstructions, the mean activation [d_in] or zero in the
    place of the activations that count.

    left_out: positions that do not count, bool [n_rows, pos]; those with a norm above the limit keep their activation
    """
    losses: dict[str, list[Tensor]] = {key: [] for key in ("clean", "spliced", "mean", "zero")}
    for tokens, is_left_out in zip(rows.split(BATCH_ROWS), left_out.split(BATCH_ROWS)):
        clean, cache = model.run_with_cache(tokens, names_filter=[hook_name])
        x = part_for(sae, cache[hook_name].flatten(2), hook_name)
        kept = kept_positions(x, is_left_out, limit)
        instead = {"spliced": through_sae(sae, x)[1], "mean": mean, "zero": torch.zeros_like(mean)}
        for key in losses:
            logits = clean
            if key in instead:
                hooks = [(hook_name, on_its_part(sae, partial(splice(instead[key], kept), hook=None)))]
                logits = run_with_hooks(model, tokens, hooks, clean_logits=clean)
            loss = losses_of_logits(logits[:, :-1].float(), tokens[:, 1:])
            losses[key].append((loss * ~is_left_out[:, 1:]).double().sum(dim=1))
            bar.update(len(tokens))
    return {key: torch.cat(values) for key, values in losses.items()}


def fvu_and_l0(sae: SAE, x: Float[Tensor, "n d_in"]) -> tuple[float, float]:
    """Fraction of variance unexplained, and latents per token that are not zero, on activations [n, d_in] alone.

    `evaluate_sae` gives both with intervals, and what the errors do to the model's predictions.
    """
    latents, rebuilt = through_sae(sae, x)
    error = (x - rebuilt).double().square().sum(dim=1).mean()
    return (error / x.double().var(dim=0, correction=0).sum()).item(), (latents != 0).double().sum(dim=1).mean().item()
