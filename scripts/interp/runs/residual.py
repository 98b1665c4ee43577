"""How long the residual stream is, layer by layer, and how far a rebuilt one is from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.runs.prompts import Prompt, single_prompt_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def get_residual_stream_norms(model: TransformerBridge, prompt: Prompt) -> Float[Tensor, "n_layers_plus_1 pos"]:
    """L2 norm of the residual stream at every position of one prompt, [n_layers + 1, pos].

    Row 0 is what enters the first layer (the embedding), row `i + 1` is `resid_post` of layer `i`. Trained
    models often have one position, usually the first, that is a hundred times longer than the others: look at
    it by itself.

    Raises ValueError for an empty prompt.
    """
    tokens = single_prompt_tokens(model, prompt)
    names = ["blocks.0.hook_resid_pre"]
    names += [f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers)]
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens[None], names_filter=names)
    return torch.stack([cache[name][0].float().norm(dim=-1) for name in names])


def relative_error(rebuilt: Float[Tensor, "*pos d"], exact: Float[Tensor, "*pos d"]) -> Float[Tensor, "*pos"]:
    """||rebuilt - exact|| / ||exact|| over the last axis: one number for each position of [pos, d_model]."""
    return (rebuilt - exact).norm(dim=-1) / exact.norm(dim=-1)
