"""How sure a number is: bootstrap intervals, rank correlation, agreement between prompts, shuffled groups."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Real
from torch import Tensor

from scripts.interp.base.precision import at_least_float32


def bootstrap_weights(n: int, n_resamples: int = 2000, seed: int = 0) -> Float[Tensor, "n_resamples n"]:
    """How much each of n prompts counts when n are drawn with replacement: [n_resamples, n], rows sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n, (n_resamples, n), generator=generator)
    return torch.zeros(n_resamples, n).scatter_add_(1, drawn, torch.ones(n_resamples, n)) / n


def bootstrap_interval(values: Real[Tensor, " n"], level: float = 0.95, n_resamples: int = 2000) -> tuple[float, float]:
    """Bootstrap interval of the mean of values [n]: lower and upper bound.

    Raises ValueError for fewer than two values, and for NaN or infinity among them.
    """
    if values.dim() != 1 or len(values) < 2:
        raise ValueError(f"values has shape {tuple(values.shape)}: give at least two numbers, [n].")
    _check_finite("values", values)
    means = bootstrap_weights(len(values), n_resamples) @ values.detach().float().cpu()
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail])).tolist()
    return low, high


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


def ratio(numerator: Float[Tensor, " n"], denominator: Float[Tensor, " n"]) -> Estimate:
    """The ratio of two sums over the same n cases (which is that of their means), with its bootstrap interval."""
    numerator, denominator = numerator.detach().cpu().double(), denominator.detach().cpu().double()
    weights = bootstrap_weights(len(numerator)).double()
    resampled = (weights @ numerator) / (weights @ denominator)
    low, high = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return Estimate((numerator.sum() / denominator.sum()).item(), low, high)


def rank_correlation(a: Real[Tensor, "*shape"], b: Real[Tensor, "*shape"]) -> float:
    """Spearman's rank correlation of two tensors of equal shape, ties sharing their mean rank; -1 to 1.

    Raises ValueError for different shapes, for NaN or infinity, and for a tensor whose numbers are all equal: they have
    no order that the other's could agree with.
    """
    if a.shape != b.shape or a.numel() < 2:
        raise ValueError(
            f"The shapes are {tuple(a.shape)} and {tuple(b.shape)}: give two equal ones, 2 numbers or more."
        )
    for name, x in (("a", a), ("b", b)):
        _check_finite(name, x)
        if (x == x.flatten()[0]).all():
            raise ValueError(
                f"All {x.numel()} numbers of {name} are {x.flatten()[0].item():g}: they have no order, so their rank "
                "correlation with anything is undefined; give numbers that differ."
            )
    ranks = [_ranks(x.detach().double().cpu().flatten()) for x in (a, b)]
    centred = [rank - rank.mean() for rank in ranks]
    return float((centred[0] @ centred[1]) / (centred[0].norm() * centred[1].norm()))


def _check_finite(name: str, values: Tensor) -> None:
    if not values.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinity: find out where they come from, or leave those out.")


def _ranks(values: Tensor) -> Tensor:
    """The ranks of each row's numbers from 0, equal ones sharing their mean. values: [..., n]"""
    ordered = values.sort(dim=-1).values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + up_to - 1).double() / 2


def rank_agreement(effects: Real[Tensor, "n_prompts n_heads"]) -> float:
    """How much several prompts agree on which heads matter: their rank correlation, averaged over pairs of prompts.

    effects: [n_prompts, n_heads], at least two prompts. 1 is the same order in all prompts, about 0 no agreement.
    A prompt on which all heads have the same effect agrees with none. Ranks, because a few heads with large effects of
    either sign would decide a mean by themselves. Raises ValueError for other shapes, and for NaN or infinity.
    """
    if effects.dim() != 2 or len(effects) < 2:
        raise ValueError(f"effects has shape {tuple(effects.shape)}: give [n_prompts, n_heads], two prompts or more.")
    _check_finite("effects", effects)
    n = len(effects)
    ranks = _ranks(effects.detach().double().cpu().contiguous())
    ranks = ranks - ranks.mean(dim=1, keepdim=True)
    ranks = ranks / ranks.norm(dim=1, keepdim=True).clamp(min=1e-9)
    n_varied = (ranks.norm(dim=1) > 0).sum()
    agreement = float(((ranks @ ranks.T).sum() - n_varied) / (n * (n - 1)))
    return round(agreement, 12)  # so that the order of summing can't break a tie between equal agreements


def largest_mean_p(effects: Real[Tensor, "n_prompts n_heads"], n_shuffles: int, seed: int = 0) -> float:
    """A tempting test that finds circuits in random weights: is the largest mean effect larger than shuffled ones?

    effects: [n_prompts, n_heads]; each prompt's are shuffled over the heads on their own, n_shuffles times
    Returns the p-value. Where heads of some layers have larger effects of either sign than others, shuffling mixes
    them, the largest shuffled mean is too small, and so is p. Notebook 02 asks for agreement between prompts instead.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(n_shuffles, *effects.shape, generator=generator).argsort(dim=-1)
    shuffled = effects.detach().cpu().expand(n_shuffles, -1, -1).gather(-1, order)
    largest = shuffled.mean(dim=1).abs().amax(dim=-1)
    as_large = (largest >= effects.mean(dim=0).abs().max().cpu()).sum().item()
    return (as_large + 1) / (n_shuffles + 1)


def shuffled_distances(
    first: Float[Tensor, "n_first d"], second: Float[Tensor, "n_second d"], n_shuffles: int, seed: int = 0
) -> tuple[float, Float[Tensor, " n_shuffles"]]:
    """How far the means of two groups of vectors lie apart, and how far when their members are shuffled."""
    members = at_least_float32(torch.cat([first, second]).cpu())
    side = torch.cat([torch.full((len(first),), 1 / len(first)), torch.full((len(second),), -1 / len(second))])
    generator = torch.Generator().manual_seed(seed)
    sides = torch.stack([side[torch.randperm(len(side), generator=generator)] for _ in range(n_shuffles)])
    side, sides = side.to(members.dtype), sides.to(members.dtype)
    return (side @ members).norm().item(), (sides @ members).norm(dim=1)
