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

EARLY = (16, 48)  # first (included) and last (excluded) of the losses that an in-context score starts from


def losses_of_logits(
    logits: Float[Tensor, "batch pos d_vocab"], targets: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos"]:
    """Cross-entropy in nats of target tokens [batch, pos], predicted by logits [batch, pos, d_vocab]: [batch, pos].

    On the logits' device, wherever the targets are.
    """
    # text by text: logits without their last position can't be flattened but by copying all of them
    return torch.stack(
        [
            torch.nn.functional.cross_entropy(at_least_float32(text), wanted, reduction="none")
            for text, wanted in zip(logits, targets.to(logits.device))
        ]
    )


def next_token_losses(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos-1"]:
    """Cross-entropy in nats of every token but the first: tokens [batch, pos] to [batch, pos - 1].

    Entry i is the loss of the token at position i + 1, predicted from those before it. Raises ValueError for rows that
    `ready_rows` of `prompts.py` refuses.
    """
    tokens = ready_rows(model, tokens)
    with torch.no_grad():
        return losses_of_logits(model(tokens)[:, :-1], tokens[:, 1:])


def in_context_scores(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, " batch"]:
    """Mean loss of the last quarter of each text minus its mean loss at EARLY: [batch], in nats.

    The lower, the more the model makes of what it has read. Logits at position i are compared with the token after it.
    Source: Olsson et al., "In-context Learning and Induction Heads" (2022), who compare one late and one early token.
    Raises ValueError for texts so short that the last quarter begins before EARLY ends.
    """
    late = 3 * tokens.shape[1] // 4
    if late < EARLY[1]:
        raise ValueError(f"The texts have {tokens.shape[1]} tokens: give at least {4 * EARLY[1] // 3}.")
    losses = losses_of_logits(logits[:, :-1], tokens[:, 1:])
    return losses[:, late:].mean(dim=1) - losses[:, slice(*EARLY)].mean(dim=1)
