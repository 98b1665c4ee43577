"""Taking heads away: replace their outputs by a mean or by zero, one head or all heads outside a circuit.

A head's mean output over many prompts keeps what is the same in all of them ("a name stands here") and loses what
differs. Zero is a value that later layers may never have met. Source: Wang et al., "Interpretability in the Wild"
(2022), section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.runs.caches import cache_filter
from scripts.interp.runs.heads import Head, check_head
from scripts.interp.runs.hooks import cached_hook_dict, run_with_hooks
from scripts.interp.runs.prompts import Prompt, prompt_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def mean_head_outputs(model: TransformerBridge, prompts: Prompt) -> Float[Tensor, "n_layers pos n_heads d_head"]:
    """Every head's mean output z over several prompts, position by position: [n_layers, pos, n_heads, d_head].

    Give prompts of the one template that will be ablated, so that a position means the same in all of them, and
    vary what the ablation is to forget. Raises ValueError for prompts of different lengths.
    """
    tokens = prompt_tokens(model, prompts)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=cache_filter(model, "z"))
    return torch.stack([cache[f"blocks.{layer}.attn.hook_z"].mean(dim=0) for layer in range(model.cfg.n_layers)])


def ablate_heads(
    model: TransformerBridge,
    prompts: Prompt,
    heads: Iterable[Head],
    means: Float[Tensor, "n_layers pos n_heads d_head"] | None = None,
    *,
    clean_logits: Float[Tensor, "batch pos d_vocab"] | None = None,
) -> Float[Tensor, "batch pos d_vocab"]:
    """The logits [batch, pos, d_vocab] without these heads: their z is their mean, or zero where there are no means.

    heads: pairs (layer, head), at least one
    means: [n_layers, pos, n_heads, d_head] as `mean_head_outputs` gives it
    clean_logits: the same prompts' logits with all heads; giving them halves the time

    Position 0 stays as it is: in many models it holds BOS, where heads rest, and later layers rely on what is there.
    Warns if not a single logit changed. Raises ValueError for heads that the model does not have and means of
    another shape.
    """
    tokens = prompt_tokens(model, prompts)
    hooks = _replacements(model, tokens, heads, means)
    if not hooks:
        raise ValueError("There are no heads to ablate: give at least one pair (layer, head).")
    with torch.no_grad():
        return run_with_hooks(model, tokens, hooks, clean_logits=clean_logits)


def run_circuit(
    model: TransformerBridge,
    prompts: Prompt,
    circuit: Iterable[Head],
    means: Float[Tensor, "n_layers pos n_heads d_head"],
) -> Float[Tensor, "batch pos d_vocab"]:
    """The logits [batch, pos, d_vocab] if only the circuit's heads work and all others give their means.

    circuit: pairs (layer, head); may be empty. MLPs and norms work as always, on what they then get, and position 0
    stays as it is. Raises ValueError as `ablate_heads` does.
    """
    tokens = prompt_tokens(model, prompts)
    kept = _by_layer(model, circuit)
    heads = range(model.cfg.n_heads)
    others = [(layer, head) for layer in range(model.cfg.n_layers) for head in heads if head not in kept.get(layer, ())]
    hooks = _replacements(model, tokens, others, means)
    with torch.no_grad(), cached_hook_dict(model):
        # No warning if nothing changes: that would be a circuit that is all there is.
        return model.run_with_hooks(tokens, fwd_hooks=hooks)


def _replacements(
    model: TransformerBridge, tokens: Tensor, heads: Iterable[Head], means: Tensor | None
) -> list[tuple[str, Callable[[Tensor, object], Tensor]]]:
    """Hooks that replace these heads' z from position 1 on."""
    chosen = _by_layer(model, heads)
    if means is not None:
        cfg = model.cfg
        shape = (cfg.n_layers, tokens.shape[1], cfg.n_heads, cfg.d_head)
        if tuple(means.shape) != shape:
            raise ValueError(
                f"means has shape {tuple(means.shape)}: these prompts need {shape}, so take the means over prompts "
                "of the same length."
            )

    def replace(z: Tensor, hook: object, layer: int) -> Tensor:
        z = z.clone()
        z[:, 1:, chosen[layer]] = 0 if means is None else means[layer, 1:, chosen[layer]].to(z)
        return z

    return [(f"blocks.{layer}.attn.hook_z", partial(replace, layer=layer)) for layer in chosen]


def _by_layer(model: TransformerBridge, heads: Iterable[Head]) -> dict[int, list[int]]:
    chosen: dict[int, list[int]] = {}
    for pair in sorted(set(map(tuple, heads))):
        layer, head = check_head(model, pair)
        chosen.setdefault(layer, []).append(head)
    return chosen
