"""Running a transformer only where a patch can change something.

A patched run differs from the run it is patched into at the patch and after it: not in the layers below, not at
the positions before (attention looks back only), and only the last position's logits are asked for. So a run is
stored once, as a `Run`, and `finish` takes many patched residual streams of it, each at its own layer, to the end in
one batch. Everything is computed by the model's own modules, in its own precision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.circuits.attention_routes import Attention

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class Run(NamedTuple):
    """What one run computed, a list over layers each; positions from the run's first one on.

    Lists that were not asked for are empty. `q` and `k` are rotated where the model rotates them, which `hook_q` and
    `hook_k` are not.
    """

    resid_pre: list[Float[Tensor, "batch pos d_model"]]  # one more than layers: the last one is the final resid_post
    resid_mid: list[Float[Tensor, "batch pos d_model"]]
    attn_out: list[Float[Tensor, "batch pos d_model"]]
    mlp_out: list[Float[Tensor, "batch pos d_model"]]
    q: list[Float[Tensor, "batch pos n_heads d_head"]]
    k: list[Float[Tensor, "batch pos n_key_value_heads d_head"]]
    v: list[Float[Tensor, "batch pos n_key_value_heads d_head"]]
    z: list[Float[Tensor, "batch pos n_heads d_head"]]


OPTIONAL = ("q", "z", "attn_out", "mlp_out")  # of a run: what only some patches need


def run(
    model: TransformerBridge,
    attention: Attention,
    tokens: Int[Tensor, "batch pos"],
    before: Run | None = None,
    start: int = 0,
    keep: Collection[str] = OPTIONAL,
) -> Run:
    """Run the model on token ids and keep what it computed.

    With `before`, the run of other tokens that are the same up to position `start` (excluded), only the
    positions from `start` on are computed and kept; the keys and values before them are those of `before`.

    keep: which of OPTIONAL to keep; the other fields of `Run` always are
    """
    stored = Run(*([] for _ in Run._fields))
    resid = embed(model, tokens)[:, start:]
    for layer, block in enumerate(model.blocks):
        stored.resid_pre.append(resid)
        q, k, v = project(model, attention, layer, resid, start)
        stored.k.append(k)
        stored.v.append(v)
        if before is not None:
            k = torch.cat([before.k[layer][:, :start], k], dim=1)
            v = torch.cat([before.v[layer][:, :start], v], dim=1)
        z = mix(attention, q, k, v)
        attn_out = block.attn.o(z.flatten(-2))
        resid = resid + attn_out
        stored.resid_mid.append(resid)
        mlp_out = mlp(model, layer, resid)
        resid = resid + mlp_out
        for name, value in (("q", q), ("z", z), ("attn_out", attn_out), ("mlp_out", mlp_out)):
            if name in keep:
                getattr(stored, name).append(value)
    stored.resid_pre.append(resid)
    return stored


def finish(
    model: TransformerBridge,
    attention: Attention,
    base: Run,
    start: int,
    entries: Mapping[tuple[int, str], Float[Tensor, "_n batch rest d_model"]],
    edit: Callable[[int, Tensor, Tensor, Tensor], None] | None = None,
) -> Float[Tensor, "all_n batch d_model"]:
    """Take patched residual streams of `base` to the end: the final resid_post at the last position.

    entries: for (layer, "pre") and (layer, "mid"), the residual streams that replace `resid_pre` or
        `resid_mid` of that layer, [n, batch, pos from start on, d_model]; (n_layers, "pre") is after the last layer
    edit: is called with (layer, q, k, v) of every layer, before and after rotation as in `Run`, each
        [n · batch, pos from start on, heads, d_head], and may change them in place

    Returns [all n together, batch, d_model], entries in the order of their layers, "pre" before "mid".
    """
    batch, length, d_model = base.resid_pre[0].shape
    n_layers = len(base.resid_mid)
    rows = base.resid_pre[0].new_empty(0, length - start, d_model)

    def joined(rows: Tensor, layer: int, site: str) -> Tensor:
        entry = entries.get((layer, site))
        if entry is None:
            return rows
        entry = entry[:, :, -rows.shape[1] :].flatten(0, 1)
        return entry if not len(rows) else torch.cat([rows, entry])

    for layer in range(min(layer for layer, _ in entries), n_layers):
        rows = joined(rows, layer, "pre")
        if len(rows):
            q, k, v = project(model, attention, layer, rows, start)
            if edit is not None:
                edit(layer, q, k, v)
            variants = len(rows) // batch
            k = torch.cat([base.k[layer][:, :start].repeat(variants, 1, 1, 1), k], dim=1)
            v = torch.cat([base.v[layer][:, :start].repeat(variants, 1, 1, 1), v], dim=1)
            if layer == n_layers - 1:
                q, rows = q[:, -1:], rows[:, -1:]
            rows = rows + model.blocks[layer].attn.o(mix(attention, q, k, v).flatten(-2))
        elif layer == n_layers - 1:
            rows = rows[:, -1:]
        rows = joined(rows, layer, "mid")
        if len(rows):
            rows = rows + mlp(model, layer, rows)
    rows = joined(rows, n_layers, "pre")
    return rows[:, -1].unflatten(0, (-1, batch))


def embed(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """What enters the first layer."""
    resid = model.embed(tokens)
    if model.cfg.positional_embedding_type == "standard":
        resid = resid + model.pos_embed(torch.arange(tokens.shape[1], device=tokens.device)[None])
    return resid


def project(
    model: TransformerBridge, attention: Attention, layer: int, resid: Float[Tensor, "rows pos d_model"], start: int
) -> tuple[
    Float[Tensor, "rows pos n_heads d_head"],
    Float[Tensor, "rows pos n_key_value_heads d_head"],
    Float[Tensor, "rows pos n_key_value_heads d_head"],
]:
    """q, k, v of a residual stream whose first position is `start`; q and k rotated."""
    block = model.blocks[layer]
    # Not `ln1(resid)`: after that the bridge holds every layer's input until its own attention has run.
    x = block.ln1.forward(resid)
    q, k, v = (part(x).unflatten(-1, (-1, model.cfg.d_head)) for part in (block.attn.q, block.attn.k, block.attn.v))
    return attention.rotate(q, start), attention.rotate(k, start), v


def mix(
    attention: Attention,
    q: Float[Tensor, "rows n n_heads d_head"],
    k: Float[Tensor, "rows pos n_key_value_heads d_head"],
    v: Float[Tensor, "rows pos n_key_value_heads d_head"],
) -> Float[Tensor, "rows n n_heads d_head"]:
    """z of the last n positions' queries, given all positions' keys and values."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    z = F.scaled_dot_product_attention(
        q, k, v, attn_mask=_sees(q, k), scale=attention.scale, enable_gqa=q.shape[1] != k.shape[1]
    )
    return z.transpose(1, 2)


def pattern(
    attention: Attention,
    q: Float[Tensor, "rows n n_heads d_head"],
    k: Float[Tensor, "rows pos n_key_value_heads d_head"],
) -> Float[Tensor, "rows n_heads n pos"]:
    """Attention weights of the last n positions' queries."""
    q, k = q.transpose(1, 2), k.transpose(1, 2)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = (q @ k.transpose(-2, -1) * attention.scale).masked_fill(~_sees(q, k), -torch.inf)
    return scores.softmax(dim=-1)


def mlp(
    model: TransformerBridge, layer: int, resid: Float[Tensor, "rows pos d_model"]
) -> Float[Tensor, "rows pos d_model"]:
    """What the layer's MLP adds to `resid_mid`; zero in an attention-only model."""
    if model.cfg.attn_only:
        return torch.zeros_like(resid)
    return model.blocks[layer].mlp(model.blocks[layer].ln2(resid))


def _sees(q: Tensor, k: Tensor) -> Tensor:
    """Which of the keys' positions each of the last positions' queries may look at: [n, pos]."""
    n, length = q.shape[2], k.shape[2]
    return torch.ones(n, length, dtype=torch.bool, device=q.device).tril(length - n)
