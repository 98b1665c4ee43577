"""Attention heads as arguments: pairs (layer, head), counted from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.interp.base.numbers import check_index
from scripts.interp.runs.prompts import check_layer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]  # (layer, head)


def n_heads_of(model: TransformerBridge, kind: str) -> int:
    """How many heads a kind of activation has: keys and values may have fewer than queries."""
    shared = model.cfg.n_key_value_heads if kind in ("k", "v") else None
    return shared or model.cfg.n_heads


def check_head(model: TransformerBridge, head: Head, what: str = "head", kind: str = "z") -> Head:
    """`head` as a pair of ints (layer, head); raise ValueError unless it is one of the model's.

    what: what the message calls it; kind: of the activation, whose heads may be fewer (see `n_heads_of`)
    """
    layer, number = head
    whose = {"q": "query", "k": "key and value", "v": "key and value"}.get(kind, "a layer's")
    return check_layer(model, layer), check_index(what, number, n_heads_of(model, kind), f"{whose} heads")
