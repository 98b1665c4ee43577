"""Whether a model as the labs load it still says what the original says.

A bridge computes attention anew, and compatibility mode folds weights into each other. Both are right for most
architectures and silently wrong for some, so that every number would be about another model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

N_TOKENS = 16  # enough for rotations, attention sinks and short windows to matter
ROUNDING = {torch.float64: 0.001, torch.float32: 0.02}  # nats; 6e-5 on the embedded model in float32
HALF_PRECISION = 2.0  # nats: in 16 bits folded weights are rounded differently, by 0.9 nats on the embedded model


def tried_log_probs(model: nn.Module, d_vocab: int) -> Float[Tensor, "pos d_vocab"]:
    """Log-probabilities in nats, float32 on the CPU, after each of 16 token ids spread over the vocabulary.

    model: what transformers loads, or a bridge; the ids are the same for both
    """
    tokens = (torch.arange(N_TOKENS) * 7919 + 11) % d_vocab
    with torch.no_grad():
        output = model(tokens[None].to(next(model.parameters()).device))
    logits = getattr(output, "logits", output)[0]
    return logits.float().cpu().log_softmax(dim=-1)


def disagreement(model: TransformerBridge, original: Float[Tensor, "pos d_vocab"]) -> float | None:
    """By how many nats the log-probabilities differ at most, or None where that is rounding.

    original: `tried_log_probs` of the model as transformers loads it. Not a number counts as infinitely far. In 16 bits
    rounding hides all but gross errors: whether an architecture is right shows in float32.
    """
    difference = (tried_log_probs(model, original.shape[1]) - original).abs().max().nan_to_num(torch.inf).item()
    return difference if difference > ROUNDING.get(model.cfg.dtype, HALF_PRECISION) else None
