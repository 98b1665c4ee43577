"""Toy models of superposition: more features than dimensions, and what a model does about it.

A feature is a number in [0, 1] that is zero with probability `sparsity`. The model maps n_features of them to d_hidden
dimensions and back, x' = ReLU(Wᵀ W x + b), and is trained to give every feature back, weighted by its importance.
Source: Elhage et al., "Toy Models of Superposition" (2022).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.base.progress import progress_bar


class SuperpositionModels(NamedTuple):
    """Several trained toys, one for each sparsity."""

    W: Float[Tensor, "n_models d_hidden n_features"]  # a column is the direction of a feature
    b: Float[Tensor, "n_models n_features"]
    loss: Float[Tensor, " n_models"]  # at the end of training, on new data


def reconstruct(
    W: Float[Tensor, "n_models d_hidden n_features"],
    b: Float[Tensor, "n_models n_features"],
    x: Float[Tensor, "n_models batch n_features"],
) -> Float[Tensor, "n_models batch n_features"]:
    """ReLU(Wᵀ W x + b)."""
    return (x @ W.transpose(-1, -2) @ W + b[:, None]).relu()


def sparse_features(
    sparsity: Float[Tensor, " n_models"], n_features: int, batch: int, generator: torch.Generator
) -> Float[Tensor, "n_models batch n_features"]:
    """Features in [0, 1], zero with probability `sparsity`."""
    shape = (len(sparsity), batch, n_features)
    present = torch.rand(shape, generator=generator) >= sparsity[:, None, None]
    return torch.rand(shape, generator=generator) * present


def train_superposition(
    n_features: int,
    d_hidden: int,
    sparsity: Float[Tensor, " n_models"],
    importance: Float[Tensor, " n_features"] | None = None,
    steps: int = 2000,
    batch: int = 512,
    learning_rate: float = 1e-2,
    seed: int = 0,
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> SuperpositionModels:
    """Train one toy for each sparsity, all at once; some seconds on a CPU.

    importance: weight of each feature's squared error; 1 for all by default
    loss_of: takes x and x' [n_models, batch, n_features] and importance; returns the loss of each, [n_models]. By
        default the mean over the batch of the weighted squared errors' sum over features
    """
    if importance is None:
        importance = torch.ones(n_features)
    if importance.shape != (n_features,) or sparsity.dim() != 1 or not ((sparsity >= 0) & (sparsity < 1)).all():
        raise ValueError(
            f"importance has shape {tuple(importance.shape)}, sparsity is {sparsity.tolist()}: give [n_features] = "
            f"[{n_features}], and a list of probabilities from 0 to below 1."
        )
    loss_of = loss_of or weighted_error
    generator = torch.Generator().manual_seed(seed)
    W = (torch.randn(len(sparsity), d_hidden, n_features, generator=generator) * n_features**-0.5).requires_grad_()
    b = torch.zeros(len(sparsity), n_features, requires_grad=True)
    optimizer = torch.optim.Adam([W, b], lr=learning_rate)
    with torch.enable_grad(), progress_bar(steps, "toy models") as bar:
        for step in range(steps):
            for group in optimizer.param_groups:  # constant, then down to zero
                group["lr"] = learning_rate * min(1, 2 * (1 - step / steps))
            x = sparse_features(sparsity, n_features, batch, generator)
            loss = loss_of(x, reconstruct(W, b, x), importance)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            bar.update()
    W, b = W.detach(), b.detach()
    x = sparse_features(sparsity, n_features, 8 * batch, generator)
    return SuperpositionModels(W, b, loss_of(x, reconstruct(W, b, x), importance))


def weighted_error(
    x: Float[Tensor, "n_models batch n_features"],
    reconstruction: Float[Tensor, "n_models batch n_features"],
    importance: Float[Tensor, " n_features"],
) -> Float[Tensor, " n_models"]:
    """Squared error by model, weighted, summed over features, averaged over the batch."""
    return ((x - reconstruction).square() * importance).sum(dim=-1).mean(dim=-1)


def feature_dimensionality(W: Float[Tensor, "*models d_hidden n_features"]) -> Float[Tensor, "*models n_features"]:
    """The share of a dimension that every feature has.

    |W_i|² / Σ_j (Ŵ_i · W_j)²: 1 for a feature with a dimension of its own, 1/2 for each of an antipodal pair, 2/5 in a
    pentagon, 0 for a feature that is not represented. Source: Elhage et al. (2022), "The geometry of superposition".
    """
    norms = W.norm(dim=-2)  # [..., n_features]
    directions = W / norms[..., None, :].clamp(min=1e-12)
    overlaps = (directions.transpose(-1, -2) @ W).square().sum(dim=-1)
    return norms.square() / overlaps.clamp(min=1e-12)
