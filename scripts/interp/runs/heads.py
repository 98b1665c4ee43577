"""Attention heads as arguments and in tables: pairs (layer, head), counted from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Real
from torch import Tensor

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


def head_name(head: Head) -> str:
    """How a head is written: layer 3, head 1 is "L3H1"."""
    layer, number = head
    return f"L{layer}H{number}"


def strongest(values: Real[Tensor, "n_layers n_heads"], n: int | None = None) -> list[Head]:
    """The n heads with the largest absolute values as (layer, head), largest first; all of them without an n.

    values: one for each head, [n_layers, n_heads]; it may have any columns, positions say. No more are returned than
        there are
    """
    order = values.flatten().abs().argsort(descending=True, stable=True).tolist()
    return [divmod(i, values.shape[1]) for i in order[:n]]
