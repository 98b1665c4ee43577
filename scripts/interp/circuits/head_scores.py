"""Induction, measured: repeated random tokens, and which heads attend to what in them.

In a sequence of random tokens that comes twice, the token after the current one can be known only from the first time:
by attending to the token that followed. Sources: Elhage et al., "A Mathematical Framework for Transformer Circuits"
(2021); Olsson et al., "In-context Learning and Induction Heads" (2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.base.precision import at_least_float32
from scripts.interp.runs.caches import cache_filter
from scripts.interp.runs.prompts import ready_rows

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class HeadScores(NamedTuple):
    """The average attention weight of every head to three kinds of positions."""

    induction: Float[Tensor, "n_layers n_heads"]  # from the second time of a token to the token after its first time
    previous_token: Float[Tensor, "n_layers n_heads"]  # to the position before
    duplicate_token: Float[Tensor, "n_layers n_heads"]  # from the second time of a token to its first time


def repeat_scores(model: TransformerBridge, tokens: Int[Tensor, "batch pos"], period: int) -> HeadScores:
    """Every head's scores on BOS and random tokens that come twice: tokens [batch, 1 + 2 · period].

    Averages over the second half's positions, all prompts alike; a weight is a probability from 0 to 1.
    """
    start = tokens.shape[1] - period
    with torch.no_grad():
        _, cache = model.run_with_cache(ready_rows(model, tokens), names_filter=cache_filter(model, "pattern"))
    queries = torch.arange(start, tokens.shape[1])
    offsets = {"induction": period - 1, "previous_token": 1, "duplicate_token": period}
    patterns = [cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(model.cfg.n_layers)]
    return HeadScores(
        **{
            kind: torch.stack(
                [at_least_float32(pattern[:, :, queries, queries - offset]).mean(dim=(0, 2)) for pattern in patterns]
            )
            for kind, offset in offsets.items()
        }
    )
