"""From the residual stream to the logits: final norm, unembedding, and what some architectures do after it.

Granite divides the logits by a constant, Gemma-2 caps them softly (c · tanh(logits / c)); most models leave them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def relative_difference(a: Float[Tensor, "*batch d"], b: Float[Tensor, "*batch d"]) -> float:
    """The norm of a - b in that of b, at the position where it is largest; NaN if anything is NaN.

    Positions with a norm below a thousandth of the largest are measured by that.
    """
    a, b = a.float(), b.float()
    size = b.norm(dim=-1)
    return ((a - b).norm(dim=-1) / size.clamp(min=max(1e-3 * size.max().item(), 1e-12))).max().item()


def rounding(dtype: torch.dtype) -> float:
    """A relative difference that two ways of computing the same thing may have in this precision."""
    return 1e-3 if dtype in (torch.float32, torch.float64) else 0.03


def logits_follow(
    model: TransformerBridge, raw: Float[Tensor, "batch pos d_vocab"], logits: Float[Tensor, "batch pos d_vocab"]
) -> bool:
    """Whether `follow_up` makes the model's own `logits` of what `unembed` gave; False if they are that already.

    raw: `unembed(ln_final(resid_post))` of the last layer. Raises ValueError if the logits are neither of the two: then
    this model does something with its last residual stream that we don't know.
    """
    if torch.equal(raw, logits):
        return False
    plain = relative_difference(raw, logits)
    followed = relative_difference(follow_up(model, raw), logits)
    if not min(plain, followed) <= rounding(logits.dtype):
        raise ValueError(
            f"The last residual stream of {model.cfg.model_name}, normed and unembedded, gives logits that differ from "
            f"its own by {min(plain, followed):.2g} of their norm: the architecture {model.cfg.architecture} does "
            "something else in between (or a hook does), so its stream can't be read as logits."
        )
    return followed < plain


def follow_up(model: TransformerBridge, raw: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """The scale and soft cap that TransformerLens declares for the architecture, of logits that `unembed` gave."""
    return model.adapter.apply_output_logits_transform(raw)
