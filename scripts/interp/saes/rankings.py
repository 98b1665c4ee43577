"""Ranking all latents of an SAE by scores that cost less than their exact pre-activations.

Whoever has a ranking computes the exact pre-activations of the few latents that it puts first, and keeps the best of
those. That gives what ranking by exact values gives wherever the first few hold all of the exact best: their recall.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.base.precision import multiplies_bfloat16
from scripts.interp.saes.bags import bag_dots

Kind = Literal["bfloat16", "low_rank"]
KINDS = get_args(Kind)
RANK = 128  # of a low-rank ranking, where nobody says another one
AT_ONCE = 2**26  # bytes of scores
BLOCK = 8  # scores of which only the largest is looked at first


class LowPrecision:
    """Scores by weights and activations in bfloat16, which processors with AMX or AVX512-BF16 multiply much faster."""

    def __init__(self, d_sae: int, d_in: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16):
        self.rows = torch.empty(d_sae, d_in, dtype=dtype, device=device)
        self.bias = torch.empty(d_sae, dtype=dtype, device=device)

    def refresh(self, latents: slice, rows: Float[Tensor, "some d_in"], bias: Float[Tensor, " some"]) -> None:
        """Take new weights [some, d_in] and biases [some] of some latents."""
        self.rows[latents], self.bias[latents] = rows, bias

    def scores(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """The scores of all latents for activations x [n, d_in]."""
        return torch.addmm(self.bias, x.to(self.rows.dtype), self.rows.T)


class LowRank:
    """Scores from a projection of the activations on the `rank` directions that matter most for all pre-activations.

    Of all maps through `rank` numbers, `fit` finds the one whose scores are nearest to the pre-activations of the
    activations that it has seen, in the mean square. Switch SAEs (arXiv 2410.08201) send a token to one group of
    latents, KronSAE (arXiv 2505.22255) makes a pre-activation of two factors: there the cheap path is a part of what
    the SAE is. Here it only proposes candidates, and the exact pre-activations decide.
    """

    def __init__(self, d_sae: int, d_in: int, rank: int, device: torch.device | str = "cpu"):
        self.rank = rank
        self.dtype = torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
        self.second_moment = torch.zeros(d_in, d_in, device=device)
        self.down = torch.zeros(d_in, rank, device=device)  # of activations
        self.basis = torch.zeros(d_in, rank, device=device)  # of the encoder's rows
        self.up = torch.zeros(d_sae, rank, dtype=self.dtype, device=device)
        self.bias = torch.zeros(d_sae, dtype=self.dtype, device=device)

    def fitted(self) -> tuple[Tensor, Tensor, Tensor]:
        """What `fit` has chosen, and by which second moments; it can be written over to go on from somewhere else."""
        return self.second_moment, self.down, self.basis

    def fit(self, x: Float[Tensor, "n d_in"], rows: Float[Tensor, "d_sae d_in"], decay: float = 0.9) -> None:
        """Choose the directions, by the second moments of x [n, d_in] and of what was given before; then `refresh`."""
        seen = bool(self.second_moment.any())
        mine = x.T @ x / len(x)
        self.second_moment.copy_(torch.lerp(mine, self.second_moment, decay) if seen else mine)
        # |X W' - X down up'| is smallest for the leading left singular vectors of root' W', where root root' = X'X / n
        values, vectors = torch.linalg.eigh(self.second_moment.double())
        root = vectors * values.clamp(min=values[-1] * 1e-7).sqrt()
        weighted = root.T @ (rows.T @ rows).double() @ root
        leading = torch.linalg.eigh(weighted).eigenvectors[:, -self.rank :]
        self.down.copy_(torch.linalg.solve(root.T, leading))
        self.basis.copy_(root @ leading)

    def refresh(self, latents: slice, rows: Float[Tensor, "some d_in"], bias: Float[Tensor, " some"]) -> None:
        """Take new weights [some, d_in] and biases [some] of some latents."""
        self.up[latents], self.bias[latents] = (rows @ self.basis).to(self.dtype), bias

    def scores(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """The scores of all latents for activations x [n, d_in]."""
        return torch.addmm(self.bias, (x @ self.down).to(self.dtype), self.up.T)


def new_ranking(
    kind: str | None, d_sae: int, d_in: int, rank: int = RANK, device: torch.device | str = "cpu"
) -> LowPrecision | LowRank | None:
    """The ranking of this kind; None for None, and for bfloat16 where that takes the device longer than float32.

    Raises ValueError for another kind.
    """
    if kind == "low_rank":
        return LowRank(d_sae, d_in, min(rank, d_in), device)
    if kind not in (None, *KINDS):
        raise ValueError(f"There is no ranking {kind!r}: give one of {', '.join(KINDS)}.")
    return LowPrecision(d_sae, d_in, device) if kind and multiplies_bfloat16(device) else None


def largest(scores: Float[Tensor, "n width"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest scores of every row and where they are, in no order: two [n, k].

    They lie in the k blocks with the largest maxima, and to find those is less work where k is small.
    """
    n, width = scores.shape
    if width % BLOCK or width < 4 * BLOCK * k:
        return scores.topk(k, sorted=False)
    n_blocks = (
        width // BLOCK
    )  # block i has the scores i, i + n_blocks, i + 2 n_blocks ...: maxima of whole rows are fast
    blocks = scores.view(n, BLOCK, n_blocks).amax(dim=1).topk(k, sorted=False).indices
    places = blocks[:, None] + n_blocks * torch.arange(BLOCK, device=scores.device)[:, None]
    values, at = scores.gather(1, places.flatten(1)).topk(k, sorted=False)
    return values, places.flatten(1).gather(1, at)


def best_of(
    ranking: LowPrecision | LowRank | None,
    x: Float[Tensor, "n d_in"],
    rows: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    norms: Float[Tensor, " d_sae"] | None,
    k: int,
    n_candidates: int,
) -> tuple[Int[Tensor, "n k"], Float[Tensor, "n k"]]:
    """The k latents with the largest pre-activations for every token, and these exact values: two [n, k].

    ranking: whose first `n_candidates` latents are looked at; None looks at all latents
    rows, bias: of the encoder, [d_sae, d_in] and [d_sae]
    norms: what pre-activations are multiplied by before they are compared, [d_sae]; None is 1
    """
    chosen, values = [], []
    for part in x.split(max(1, AT_ONCE // (4 * len(rows)))):
        if ranking is None:
            scores = torch.addmm(bias, part, rows.T)  # so large that a second tensor of them would count
            best, latents = largest(scores if norms is None else scores.mul_(norms), k)
            chosen.append(latents)
            values.append(best if norms is None else best / norms[latents])
            continue
        _, candidates = largest(ranking.scores(part), n_candidates)
        exact = bag_dots(part, candidates, rows) + bias[candidates]
        best = (exact if norms is None else exact * norms[candidates]).topk(k, sorted=False).indices
        chosen.append(candidates.gather(1, best))
        values.append(exact.gather(1, best))
    return torch.cat(chosen).int(), torch.cat(values)


def recall(found: Int[Tensor, "n k"], wanted: Int[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """The share of each token's wanted latents that were found, [n]; no latent twice in a row of either."""
    return (found[:, :, None] == wanted[:, None, :]).any(dim=1).float().mean(dim=1)
