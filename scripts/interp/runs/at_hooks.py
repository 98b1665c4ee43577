"""Activations at hook points, and which of their positions count.

BOS and other special tokens carry activations hundreds of times as large as the rest, and so do a few other tokens
("massive activations", Sun et al., 2024): a handful of them would decide what an SAE learns and what its error is. So
special tokens and tokens above ten times the median norm are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scripts.interp.runs.hooks import check_hooks
from scripts.interp.runs.prompts import ready_rows

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge import TransformerBridge

MASSIVE = 10  # times the median norm


def special_tokens(model: TransformerBridge) -> Int[Tensor, " n"]:
    """The ids of BOS, padding and the tokenizer's other special tokens, [n]."""
    return torch.tensor(sorted(model.tokenizer.all_special_ids), device=model.cfg.device)


def special_positions(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """Where token ids are special ones, bool [batch, pos], on the device that the ids are on."""
    return torch.isin(tokens, special_tokens(model).to(tokens.device))


def norm_limit(activations: Float[Tensor, "batch pos d_in"], is_special: Bool[Tensor, "batch pos"]) -> float:
    """Ten times the median norm of the tokens that are not special."""
    return MASSIVE * activations[~is_special.to(activations.device)].float().norm(dim=-1).median().item()


def kept_positions(
    activations: Float[Tensor, "batch pos d_in"], is_special: Bool[Tensor, "batch pos"], limit: float
) -> Bool[Tensor, "batch pos"]:
    """Which positions an SAE sees: no special token, and a norm of `limit` at most. On the activations' device."""
    return ~is_special.to(activations.device) & (activations.float().norm(dim=-1) <= limit)


def hook_activations(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hook_names: Sequence[str]
) -> dict[str, Float[Tensor, "batch pos _"]]:
    """The activations at these hook points, [batch, pos, d] each; layers above them are not computed.

    Those of heads, [batch, pos, n_heads, d_head], are laid side by side, [batch, pos, n_heads · d_head].

    Raises ValueError for a hook point that the model does not have or that has no vector at every position, such as an
    attention pattern, for activations that are not finite, and for rows that `ready_rows` of `prompts.py` refuses.
    """
    check_hooks(model, hook_names)
    last = max(layer_of(name) for name in hook_names)
    after_the_layers = [("ln_final.hook_in", _stop)]  # stop_at_layer does not stop after the last layer
    with torch.no_grad(), model.hooks(fwd_hooks=after_the_layers if last + 1 == model.cfg.n_layers else []):
        _, cache = model.run_with_cache(
            ready_rows(model, tokens), names_filter=list(hook_names), stop_at_layer=last + 1
        )
    for name in hook_names:
        if cache[name].shape[:2] != tokens.shape:
            raise ValueError(
                f"{name} is {tuple(cache[name].shape)} for tokens {tuple(tokens.shape)}: give a hook point that has a "
                "vector at every position."
            )
        if not cache[name].isfinite().all():
            raise ValueError(
                f"The activations at {name} hold NaN or infinity: run the model in float32 and check its weights."
            )
    return {name: cache[name].flatten(2) for name in hook_names}


def _stop(value: Tensor, hook: HookPoint) -> NoReturn:
    """End a run here, as `stop_at_layer` does."""
    from transformer_lens.model_bridge.exceptions import StopAtLayerException

    raise StopAtLayerException(value)


def layer_of(hook_name: str) -> int:
    """The layer of a hook point named blocks.<layer>.…"""
    parts = hook_name.split(".")
    if parts[0] != "blocks" or len(parts) < 3 or not parts[1].isdigit():
        raise ValueError(f"{hook_name!r} is not a layer's hook point: give one like 'blocks.3.hook_resid_post'.")
    return int(parts[1])
