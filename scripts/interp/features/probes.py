"""Directions for a concept known beforehand: what a feature found without being told is to be compared with."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scripts.interp.base.precision import at_least_float32

PENALTY = 1e-3  # in units of the activations' root mean square


class Direction(NamedTuple):
    """A concept is said to be present where activation · vector > threshold."""

    vector: Float[Tensor, " d_in"]
    threshold: float


def difference_of_means(x: Float[Tensor, "n d_in"], named: Bool[Tensor, " n"]) -> Float[Tensor, " d_in"]:
    """The mean activation where a concept is present, minus the mean where it is not, [d_in].

    x: [n, d_in]; named: bool [n]. Raises ValueError where the concept is present everywhere or nowhere.
    """
    named = _checked(named, x)
    x = at_least_float32(x)
    return x[named].mean(dim=0) - x[~named].mean(dim=0)


def linear_probe(x: Float[Tensor, "n d_in"], named: Bool[Tensor, " n"]) -> Float[Tensor, " d_in"]:
    """The direction of a logistic regression that tells a concept's tokens from the others, [d_in].

    x: [n, d_in]; named: bool [n]

    Both classes weigh the same; PENALTY is on the squared weights. Its bias is left out: a threshold is chosen
    afterwards. Raises ValueError where the concept is present everywhere or nowhere.
    """
    named = _checked(named, x)
    x = at_least_float32(x)
    scale = x.square().mean().sqrt()
    centred, target = (x - x.mean(dim=0)) / scale, named.to(x)
    weight = torch.where(named, 0.5 / named.sum(), 0.5 / (~named).sum())
    with torch.enable_grad():
        vector = torch.zeros(x.shape[1]).to(x).requires_grad_(True)
        bias = torch.zeros(()).to(x).requires_grad_(True)
        optimizer = torch.optim.LBFGS([vector, bias], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            each = torch.nn.functional.binary_cross_entropy_with_logits(
                centred @ vector + bias, target, reduction="none"
            )
            total = (weight * each).sum() + PENALTY * vector.square().sum()
            total.backward()
            return total

        optimizer.step(loss)
    return vector.detach() / scale


def best_threshold(scores: Float[Tensor, " n"], named: Bool[Tensor, " n"]) -> float:
    """The threshold at which `scores > threshold` has the largest F1 with a concept.

    scores: [n]; named: bool [n]. Take it on other text than that on which F1 is reported.
    """
    named = _checked(named, scores)
    ordered, order = scores.sort(descending=True)
    hits = named[order].cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(scores) + 1, device=scores.device) + named.sum())
    f1[:-1][ordered[:-1] == ordered[1:]] = -1.0  # a threshold can't separate equal scores
    best = int(f1.argmax())
    if best == len(scores) - 1:
        return ordered[-1].item() - 1.0
    return (ordered[best].item() + ordered[best + 1].item()) / 2


def _checked(named: Tensor, x: Tensor) -> Tensor:
    """`named` on the device of x."""
    if named.all() or not named.any():
        raise ValueError(
            f"The concept is present at {int(named.sum())} of {len(named)} tokens: "
            "give text in which it is at some, and not at others."
        )
    return named.to(x.device)
