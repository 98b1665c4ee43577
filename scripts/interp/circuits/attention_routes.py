"""What the exact patching engine has to know of an architecture: how queries meet keys.

The engine calls a model's own norms, projections and MLPs, so those need no knowledge here. Only the step between
queries and keys happens inside a library's attention function; `Attention` describes it. To add an architecture
whose blocks are `resid + attn(ln1(resid))`, then `resid + mlp(ln2(resid))`, write one function that returns an
`Attention`, or None for a configuration that differs (soft caps, sliding windows), and enter it in `ROUTES`. The
engine compares its logits with the model's own before it uses a route.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class Attention(NamedTuple):
    """Causal softmax attention: scores are `scale` times rotated queries times rotated keys."""

    scale: float
    rotate: Callable[[Tensor, int], Tensor]
    """rotate(x, start): queries or keys x [rows, pos, heads, d_head], the first of them at position `start`."""


def find_route(model: TransformerBridge) -> Attention | None:
    """How this model's attention works, or None if the engine does not know its architecture."""
    route = ROUTES.get(model.cfg.architecture)
    return route(model) if route else None


def _llama(model: TransformerBridge) -> Attention | None:
    rotary = model.original_model.model.rotary_emb
    rotary = getattr(rotary, "original_component", rotary)

    def rotate(x: Tensor, start: int) -> Tensor:
        positions = torch.arange(start, start + x.shape[1], device=x.device)[None]
        cos, sin = (table[:, :, None] for table in rotary(x, positions))
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

    return Attention(model.cfg.d_head**-0.5, rotate)


def _gpt2(model: TransformerBridge) -> Attention | None:
    config = model.original_model.config
    if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights:
        return None
    return Attention(model.cfg.d_head**-0.5, _stay)


def _native(model: TransformerBridge) -> Attention | None:
    """Toy models of `TransformerBridge.boot_native`."""
    cfg = model.cfg
    if cfg.attn_scores_soft_cap > 0 or cfg.output_logits_soft_cap > 0 or cfg.attention_dir != "causal":
        return None
    scale = cfg.attn_scale if cfg.use_attn_scale and cfg.attn_scale > 0 else cfg.d_head**0.5
    rotary = model.original_model.rotary
    if rotary is None:
        return Attention(1 / scale, _stay)

    def rotate(x: Tensor, start: int) -> Tensor:
        positions = torch.arange(start, start + x.shape[1], device=x.device)[None]
        turned, _ = rotary.apply_rope(x.transpose(1, 2), x.transpose(1, 2), position_ids=positions)
        return turned.transpose(1, 2)

    return Attention(1 / scale, rotate)


def _stay(x: Tensor, start: int) -> Tensor:
    """Where positions are in the embedding, nothing is rotated."""
    return x


ROUTES: dict[str, Callable[[TransformerBridge], Attention | None]] = {
    "LlamaForCausalLM": _llama,
    "GPT2LMHeadModel": _gpt2,
    "TransformerLensNative": _native,
}
