"""sae-lens' own ways: its evaluator, an SAE attached to a model as it does that, a dictionary as its SAE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from scripts.interp.runs.at_hooks import special_tokens
from scripts.interp.runs.hooks import check_hooks
from scripts.interp.runs.through_sae import check_sae, heads_flattened
from scripts.interp.saes.monosemanticity import Dictionary

if TYPE_CHECKING:
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge


def sae_lens_losses(model: TransformerBridge, sae: SAE, tokens: Int[Tensor, "batch pos"]) -> dict[str, float]:
    """Cross-entropies that sae-lens' own evaluator gives: "clean", "spliced" and "zero", in nats.

    Its conventions differ from ours: the SAE at all tokens but special ones, massive activations included; zero at
    every position, BOS included; the mean over positions whose own token is not special (ours: whose next token is
    not).
    tokens: [batch, pos]
    """
    from sae_lens.evals import get_recons_loss
    from sae_lens.training.activation_scaler import ActivationScaler

    check_sae(sae)
    tokens = tokens.to(model.cfg.device)
    special = special_tokens(model)
    with torch.no_grad(), heads_flattened(sae):  # sae-lens flattens them itself here
        losses = get_recons_loss(
            sae,
            model,
            ActivationScaler(),
            tokens,
            compute_kl=False,
            compute_ce_loss=True,
            ignore_tokens=special.tolist(),
        )
    counted = ~torch.isin(tokens[:, :-1], special)
    names = {"clean": "ce_loss_without_sae", "spliced": "ce_loss_with_sae", "zero": "ce_loss_with_ablation"}
    return {name: losses[theirs][counted].float().mean().item() for name, theirs in names.items()}


def dictionary_as_sae(dictionary: Dictionary) -> SAE:
    """A dictionary that `train_dictionary` has trained as sae-lens' standard SAE, which computes the same."""
    from sae_lens import StandardSAE, StandardSAEConfig

    sae = StandardSAE(StandardSAEConfig(*dictionary.W_enc.shape))
    sae.load_state_dict(dictionary._asdict())
    return sae.eval().requires_grad_(False)


@contextmanager
def attached(model: TransformerBridge, sae: SAE) -> Iterator[None]:
    """Inside, the model is sae-lens' SAETransformerBridge with the SAE attached: at every position, BOS included.

    sae-lens makes such a bridge out of a TransformerBridge in this way, but only of one that it has loaded itself. An
    error term acts if the SAE has one (`sae.use_error_term`).

    Raises ValueError for what is no SAE (see `check_sae`), and for an SAE for one head: sae-lens would give it all.
    """
    from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge, get_deep_attr, set_deep_attr

    check_sae(sae)
    check_hooks(model, [sae.cfg.metadata.hook_name])
    if sae.cfg.metadata.hook_head_index is not None:
        raise ValueError(
            f"The SAE is for head {sae.cfg.metadata.hook_head_index} of {sae.cfg.metadata.hook_name}, and sae-lens can "
            "attach one to all heads together only: use `evaluate_sae` or `clamp_feature`."
        )
    before = model.__class__
    model.__class__, model._acts_to_saes, model._transcoder_output_hooks = SAETransformerBridge, {}, {}
    place = model._resolve_hook_name(sae.cfg.metadata.hook_name)
    hook_point = get_deep_attr(model, place)
    name = hook_point.name
    try:
        model.add_sae(sae)
        _as_the_model_has_it(model._acts_to_saes[sae.cfg.metadata.hook_name])
        yield
    finally:
        model.reset_saes()  # leaves a new hook point there, to which the place's other names don't lead
        set_deep_attr(model, place, hook_point)
        hook_point.name = name  # which setting the attribute has shortened
        model._hook_registry[place] = hook_point
        del model._acts_to_saes, model._transcoder_output_hooks
        model.__class__ = before


def _as_the_model_has_it(wrapper: torch.nn.Module) -> None:
    """Make sae-lens' wrapper take heads side by side, and give the model its own shape and precision back."""
    was = []

    def flatten(module: object, given: tuple[Tensor]) -> Tensor:
        was[:] = given
        return given[0].flatten(2)

    wrapper.register_forward_pre_hook(flatten)
    wrapper.register_forward_hook(lambda module, given, output: output.to(was[0].dtype).reshape(was[0].shape))
