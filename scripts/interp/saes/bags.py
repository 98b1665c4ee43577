"""Products with matrices of which few entries are not zero, as weighted sums of rows.

A TopK SAE needs k of its many latents for a token. PyTorch's `embedding_bag` reads those k rows of a matrix where they
lie; multiplying with the whole matrix, or copying the rows together first, costs many times as much.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def bag_sums(
    values: Float[Tensor, "n k"], chosen: Int[Tensor, "n k"], rows: Float[Tensor, "d_sae d"]
) -> Float[Tensor, "n d"]:
    """For every token the sum of its chosen rows, each times its value: [n, d]."""
    return F.embedding_bag(chosen, rows, per_sample_weights=values, mode="sum")


def bag_dots(
    x: Float[Tensor, "n d"], chosen: Int[Tensor, "n k"], rows: Float[Tensor, "d_sae d"]
) -> Float[Tensor, "n k"]:
    """The product of every token's x with each of its chosen rows: [n, k].

    That is how <x, bag_sums(values, chosen, rows)> changes with values, and PyTorch has it as this derivative only.
    """
    with torch.inference_mode(False), torch.enable_grad():  # inside of it there is no derivative
        chosen, rows = (each.clone() if each.is_inference() else each.detach() for each in (chosen, rows))
        values = torch.zeros(chosen.shape, dtype=rows.dtype, device=rows.device, requires_grad=True)
        return torch.autograd.grad(bag_sums(values, chosen, rows), values, x)[0]


class ByLatent(NamedTuple):
    """Pairs of a latent and a token, in the order of latents."""

    order: Int[Tensor, " n_pairs"]  # where a pair stood before
    starts: list[int]  # where the pairs of each group of latents begin, and where the last one ends
    offsets: Int[Tensor, " d_sae"]  # where each latent's pairs begin
    group: int  # latents in a group


def by_latent(latents: Int[Tensor, " n_pairs"], d_sae: int, group: int) -> ByLatent:
    """Pairs sorted by latent, and where the pairs of every latent, and of every group of latents, begin."""
    order = latents.sort(stable=True).indices
    ends = torch.bincount(latents, minlength=d_sae).cumsum(0)
    first = torch.cat([ends.new_zeros(1), ends[:-1]])
    starts = torch.cat([first[::group], ends[-1:]]).tolist()
    return ByLatent(order, starts, first.int(), group)


def latent_rows(
    sorted_pairs: ByLatent,
    number: int,
    values: Float[Tensor, " n_pairs"],
    tokens: Int[Tensor, " n_pairs"],
    x: Float[Tensor, "n d"],
) -> Float[Tensor, "group d"]:
    """For every latent of a group the sum of its tokens' x, each times the pair's value: [group, d].

    values, tokens: of the pairs as they stood before they were sorted
    """
    low, high = sorted_pairs.starts[number : number + 2]
    latents = slice(number * sorted_pairs.group, (number + 1) * sorted_pairs.group)
    mine = sorted_pairs.order[low:high]
    if low == high:
        return x.new_zeros(len(sorted_pairs.offsets[latents]), x.shape[1])
    return F.embedding_bag(
        tokens[mine], x, sorted_pairs.offsets[latents] - low, per_sample_weights=values[mine], mode="sum"
    )
