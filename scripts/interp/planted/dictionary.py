"""Planted dictionaries: activations made of known features, how many of them were found, random SAEs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

if TYPE_CHECKING:  # importing sae-lens takes seconds, which only those who need an SAE should spend
    from sae_lens import SAE


class PlantedDictionary(NamedTuple):
    """Activations that are known to be sums of a few directions."""

    x: Float[Tensor, "n d_in"]  # activations
    coefficients: Float[Tensor, "n n_features"]  # how strongly each feature is present, zero mostly, never negative
    directions: Float[Tensor, "n_features d_in"]  # of unit norm, neither orthogonal nor a basis
    bias: Float[Tensor, " d_in"]  # in every activation


def planted_dictionary(
    n: int, n_features: int = 40, d_in: int = 20, present: float = 2.0, noise: float = 0.01, seed: int = 0
) -> PlantedDictionary:
    """n activations x = coefficients @ directions + bias + noise, with `present` of the features in each on average."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(n_features, d_in, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    is_present = torch.rand(n, n_features, generator=generator) < present / n_features
    coefficients = is_present * (1 + torch.rand(n, n_features, generator=generator))
    bias = torch.randn(d_in, generator=generator)
    x = coefficients @ directions + bias + noise * torch.randn(n, d_in, generator=generator)
    return PlantedDictionary(x, coefficients, directions, bias)


def match_directions(
    found: Float[Tensor, "n_found d_in"], planted: Float[Tensor, "n_planted d_in"]
) -> tuple[Int[Tensor, " n_planted"], Float[Tensor, " n_planted"]]:
    """For each planted direction, one row of `found`, no row twice, so that the sum of their cosines is largest.

    found: at least as many as planted
    Returns the rows' numbers and the cosines. Negative directions do not match.
    """
    if found.shape[1:] != planted.shape[1:] or len(found) < len(planted):
        raise ValueError(
            f"{tuple(found.shape)} directions were found for {tuple(planted.shape)} planted ones: give [n, d_in] each, "
            "of the same d_in and no fewer found."
        )
    unit = [
        rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
        for rows in (found.detach().float().cpu(), planted.float().cpu())
    ]
    cosines = unit[1] @ unit[0].T
    rows, columns = linear_sum_assignment(-cosines.numpy())
    return torch.as_tensor(columns), cosines[rows, columns]


def random_sae(d_in: int, d_sae: int, seed: int = 0) -> SAE:
    """An SAE of sae-lens' standard kind, all weights and biases random and large.

    Decoder rows have different norms and are not the encoder's columns: what a function gets wrong that only shows with
    those and with biases shows here.
    """
    from sae_lens import StandardSAEConfig
    from sae_lens.registry import get_sae_class

    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]), torch.no_grad():  # sae-lens draws weights too
        sae = get_sae_class("standard")[0](StandardSAEConfig(d_in=d_in, d_sae=d_sae))
        for name, size in (("W_enc", 1), ("b_enc", 1), ("W_dec", 2), ("b_dec", 1)):
            weight = getattr(sae, name)
            weight.copy_(size * torch.randn(weight.shape, generator=generator))
    return sae.eval().requires_grad_(False)
