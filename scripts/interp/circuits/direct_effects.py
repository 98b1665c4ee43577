"""What each head says about the answer by itself: its output, read as the unembedding reads it.

A head writes z · W_O into the residual stream, and the logits are a linear function of the stream once the final
norm's scale is held fixed. In some architectures more lies on that way: a norm after attention (Gemma-2 and -3, GLM-4,
OLMo-2), a residual multiplier or a scale of the logits (Granite), a soft cap (Gemma-2). Which of them a model has is
found out by comparing with what the model computes, once; what fits none of them is refused.
Source: Elhage et al., "A Mathematical Framework for Transformer Circuits" (2021).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.base.precision import at_least_float32
from scripts.interp.circuits.prompt_pairs import PromptPairs, ready_pairs
from scripts.interp.runs.read_out import follow_up, logits_follow, relative_difference, rounding

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.model_bridge.generalized_components import NormalizationBridge

FINAL_SCALE = "ln_final.hook_scale"
NORMS_AFTER = ("ln1_post", "ln1")  # what TransformerLens calls a norm between attention and the stream


class Way(NamedTuple):
    """What lies between a model's heads and its logits."""

    norms: list[str | None]
    """For every layer the norm after attention."""
    factors: list[float]
    """For every layer the multiplier of what attention writes."""
    final_weight: bool
    """Whether the final norm has a weight that is not folded into the unembedding."""
    final_centres: bool
    """Whether the final norm subtracts a mean that heads write."""
    follow_up: bool
    """Whether unembedded logits are scaled or capped."""


_ways: weakref.WeakKeyDictionary[TransformerBridge, Way] = weakref.WeakKeyDictionary()


def head_direct_effects(
    model: TransformerBridge, pairs: PromptPairs, means: Float[Tensor, "n_layers pos n_heads d_head"] | None = None
) -> Float[Tensor, "batch n_layers n_heads"]:
    """What each head's output at the last position adds to the logit difference by itself: [batch, n_layers, n_heads].

    Of the clean prompts, in logits, the scales of the final norm and of norms after attention held fixed; what later
    components make of the output is not in it. Where a model caps its logits softly, what the difference loses if the
    output is left out of the last residual stream. means: as in `ablate_heads`; with them, what the difference from its
    mean adds, and otherwise what all of it adds. In float32 for models in half precision.

    Raises ValueError for prompts that `ready_pairs` refuses, and for a model whose residual stream is not the sum of
    what its layers write or whose logits come about in a way that we don't know (compared once a model).
    """
    pairs = ready_pairs(model, pairs)
    way, layers = _way(model, pairs.clean[:1]), range(model.cfg.n_layers)
    end = f"blocks.{layers[-1]}.hook_resid_post"
    scales = [f"blocks.{layer}.{norm}.hook_scale" for layer, norm in enumerate(way.norms)]
    kept = {*(f"blocks.{layer}.attn.hook_z" for layer in layers), *scales, FINAL_SCALE, end}
    with torch.no_grad():
        _, cache = model.run_with_cache(pairs.clean, names_filter=lambda name: name in kept)
        z = torch.stack([cache[f"blocks.{layer}.attn.hook_z"][:, -1] for layer in layers], dim=1)
        if means is not None:
            z = z - means[:, -1].to(z)
        W_O, W_U = torch.stack([block.attn.W_O for block in model.blocks]), model.unembed.W_U
        written = at_least_float32(torch.einsum("blhe,lhed->blhd", z, W_O))
        for layer, (norm, factor) in enumerate(zip(way.norms, way.factors)):
            if norm is not None:
                weight = norm_weight(model, getattr(model.blocks[layer], norm))
                written[:, layer] *= (weight / cache[scales[layer]][:, -1])[:, None]
            if factor != 1:
                written[:, layer] *= factor

        def effects(columns: Tensor) -> Tensor:
            """What the heads add to logits with these columns of W_U, [d_model, batch]: [batch, n_layers, n_heads]."""
            direction = columns.T
            if way.final_weight:
                direction = direction * norm_weight(model, model.ln_final)
            if way.final_centres:
                direction = direction - direction.mean(dim=-1, keepdim=True)
            if FINAL_SCALE in cache:  # a toy may have no norm
                direction = direction / cache[FINAL_SCALE][:, -1]
            return torch.einsum("blhd,bd->blh", written, direction)

        answers, wrong = (at_least_float32(W_U[:, tokens]) for tokens in (pairs.answers, pairs.wrong_answers))
        if not way.follow_up:
            return effects(answers - wrong)
        raw = at_least_float32(model.unembed(model.ln_final(cache[end][:, -1:]))[:, 0])

        def follow(tokens: Tensor, without: Tensor | int = 0) -> Tensor:
            return follow_up(model, raw.gather(1, tokens[:, None])[:, :, None] - without)

        of_answers, of_wrong = effects(answers), effects(wrong)
        whole = follow(pairs.answers) - follow(pairs.wrong_answers)
        return whole - (follow(pairs.answers, of_answers) - follow(pairs.wrong_answers, of_wrong))


def norm_weight(model: TransformerBridge, norm: NormalizationBridge) -> Float[Tensor, " d_model"]:
    """What a norm multiplies by, [d_model], read off what it does: architectures store it in different ways."""
    probe = 1.0 - 2.0 * (torch.arange(model.cfg.d_model, device=model.cfg.device) % 2)
    probe = probe - probe.mean()
    probe = probe / probe.square().mean().sqrt()
    large = (64 * probe).to(model.cfg.dtype)[None, None]  # so large that the norm's epsilon does not matter
    # Not `norm(large)`: after that the bridge holds a layer's input until its own attention has run.
    return at_least_float32(norm.forward(large) - norm.forward(-large))[0, 0] / (2 * probe)


def _way(model: TransformerBridge, tokens: Int[Tensor, "1 pos"]) -> Way:
    """What lies between this model's heads and its logits; looked at once a model. Raises ValueError if unknown."""
    if model not in _ways:
        with torch.no_grad():
            _ways[model] = _find_way(model, tokens)
    return _ways[model]


def _find_way(model: TransformerBridge, tokens: Tensor) -> Way:
    def refuse(why: str) -> ValueError:
        return ValueError(
            f"What a head adds to the logits of {model.cfg.model_name} can't be told: {why}. The architecture "
            f"{model.cfg.architecture} does something that we don't know, or a hook does; ablate_heads works anyway."
        )

    parts = ["hook_resid_pre", "hook_attn_out", *([] if model.cfg.attn_only else ["hook_mlp_out"])]
    parts += ["hook_resid_post", "attn.hook_z"]
    logits, cache = model.run_with_cache(
        tokens, names_filter=lambda name: name == FINAL_SCALE or name.split(".", 2)[-1] in parts
    )
    norms, factors = [], []
    for layer in range(model.cfg.n_layers):
        names = [f"blocks.{layer}.{part}" for part in parts]
        missing = [name for name in names if name not in cache]
        if missing:
            raise refuse(f"it has no {missing[0]}")
        *added, after, z = (cache[name] for name in names)
        tolerance = rounding(after.dtype)
        if not relative_difference(sum(added), after) <= tolerance:
            raise refuse(f"{' + '.join(names[:-2])} is not {names[-2]}")
        norm, factor = _after_heads(model, layer, z, added[1], tolerance)
        if factor is None:
            raise refuse(f"the sum of z · W_O of layer {layer}'s heads is not {names[1]}, with or without a norm")
        norms.append(norm)
        factors.append(factor)
    end, final = after, model.ln_final
    weight, centres, normed = False, False, at_least_float32(end)
    if FINAL_SCALE in cache:
        w = norm_weight(model, final)
        weight = (w - 1).abs().max().item() > 1e-5
        centres = not final.uses_rms_norm and any(_writes_a_mean(block.attn.W_O) for block in model.blocks)
        x = (
            at_least_float32(end)
            if final.uses_rms_norm
            else at_least_float32(end) - at_least_float32(end).mean(dim=-1, keepdim=True)
        )
        bias = at_least_float32(final.forward(torch.zeros_like(end)))
        normed = x * w / cache[FINAL_SCALE] + bias
    raw, b_U = model.unembed(final(end)), model.unembed.b_U
    some = slice(1000)  # of the vocabulary: all of it in float32 would take gigabytes
    linear = normed @ at_least_float32(model.unembed.W_U[:, some])
    linear = linear if b_U is None else linear + at_least_float32(b_U[some])
    if not relative_difference(linear, raw[..., some]) <= rounding(raw.dtype):
        raise refuse("what ln_final and unembed make of the residual stream is not its norm times W_U")
    return Way(norms, factors, weight, centres, logits_follow(model, raw, logits))


def _writes_a_mean(W_O: Tensor) -> bool:
    """Whether anything written by way of W_O has a mean over d_model; compatibility mode takes it away."""
    return W_O.mean(dim=-1).abs().max().item() > 1e-5 * W_O.abs().max().item()


def _after_heads(
    model: TransformerBridge, layer: int, z: Tensor, attn_out: Tensor, tolerance: float
) -> tuple[str | None, float | None]:
    """The norm and the factor that make of a layer's z what attention writes; the factor is None if nothing does."""
    block = model.blocks[layer]
    try:
        heads = torch.einsum("bphe,hed->bpd", z, block.attn.W_O)
    except (AttributeError, NotImplementedError, RuntimeError):  # no W_O, or one for something else than z
        return None, None
    bias = getattr(block.attn, "b_O", None)
    heads = heads if bias is None else heads + bias
    for name in (None, *NORMS_AFTER):
        norm = getattr(block, name, None) if name else None
        if name and not getattr(norm, "uses_rms_norm", False):  # a mean that it takes off would be lost
            continue
        x, y = at_least_float32(heads if norm is None else norm.forward(heads)), at_least_float32(attn_out)
        size = x.square().sum().item()
        factor = (x * y).sum().item() / size if size > 0 else 1.0
        factor = 1.0 if abs(factor - 1) < tolerance else factor
        if relative_difference(factor * x, y) <= tolerance:
            return name, factor
    return None, None
