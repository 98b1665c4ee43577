"""Cross-entropies of next tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.base.precision import at_least_float32
from scripts.interp.runs.prompts import ready_rows

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def losses_of_logits(
    logits: Float[Tensor, "batch pos d_vocab"], targets: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos"]:
    """Cross-entropy in nats of target tokens [batch, pos], predicted by logits [batch, pos, d_vocab]: [batch, pos]."""
    losses = torch.nn.functional.cross_entropy(
        at_least_float32(logits).flatten(0, 1), targets.flatten(), reduction="none"
    )
    return losses.view_as(targets)


def next_token_losses(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos-1"]:
    """Cross-entropy in nats of every token but the first: tokens [batch, pos] to [batch, pos - 1].

    Entry i is the loss of the token at position i + 1, predicted from those before it. Raises ValueError for rows that
    `ready_rows` of `prompts.py` refuses.
    """
    tokens = ready_rows(model, tokens)
    with torch.no_grad():
        return losses_of_logits(model(tokens)[:, :-1], tokens[:, 1:])
