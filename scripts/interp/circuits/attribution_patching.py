"""Attribution patching: a gradient's estimate of what patching every head would do, for two runs and one backward pass.

Source: Nanda, "Attribution Patching" (2023); the computation is `transformer_lens.tools.analysis.attribution_patch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.circuits.prompt_pairs import PromptPairs, ready_pairs
from scripts.interp.runs.hooks import cached_hook_dict
from scripts.interp.runs.logits import compute_logit_diff

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def attribute_heads(model: TransformerBridge, pairs: PromptPairs) -> Float[Tensor, "n_layers n_heads"]:
    """Estimated change of the logit difference if a head's output were patched clean into corrupted.

    Returns [n_layers, n_heads] in logits, the mean over pairs: a linear estimate of
    `patch_heads(model, pairs, normalise=False).effect`. It is good where a patch changes little and can be far off
    elsewhere, so compare the two, by `rank_correlation` say.

    Raises ValueError for prompts that `ready_pairs` refuses and for attention-only models, which TransformerLens'
    tool can't take.
    """
    from transformer_lens.tools.analysis import attribution_patching

    pairs = ready_pairs(model, pairs)
    if model.cfg.attn_only:
        raise ValueError(
            f"{model.cfg.model_name} has no MLPs, and TransformerLens' attribution patching needs them: "
            "use patch_heads."
        )
    estimate = torch.zeros(model.cfg.n_layers, model.cfg.n_heads)
    with _gradients(model), cached_hook_dict(model):
        for clean, corrupted, answer, wrong in zip(*pairs):

            def metric(logits: Tensor) -> Tensor:
                return compute_logit_diff(logits, answer[None], wrong[None])

            scores = attribution_patching.attribution_patch(model, clean[None], corrupted[None], metric).node_scores
            for node, score in scores.items():
                if node.kind == "attn_head_out":
                    estimate[node.layer, node.head] += score / len(pairs.clean)
    return estimate


@contextmanager
def _gradients(model: TransformerBridge) -> Iterator[None]:
    """Let activations have gradients, which labs turn off and `load_model` makes impossible by freezing."""
    embedding = next(model.embed.parameters())
    before = embedding.requires_grad
    embedding.requires_grad_(True)  # enough: every activation depends on the embedding
    try:
        with torch.enable_grad():
            yield
    finally:
        embedding.requires_grad_(before)
