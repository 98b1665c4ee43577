"""Steering: generating text while a direction is added to the residual stream, or a feature is held at a value.

An intervention acts at every position that the SAE was trained for, so at the prompt's and at every generated one; BOS
and massive activations are left alone (see `at_hooks.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.runs.hooks import cached_hook_dict, check_hooks, put_in_place
from scripts.interp.runs.prompts import Prompt, prompt_tokens
from scripts.interp.runs.through_sae import check_sae, latent_and_direction, on_its_part

if TYPE_CHECKING:  # importing sae-lens takes seconds, which only those who load an SAE should spend
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge


def add_direction(direction: Float[Tensor, " d_model"], limit: float) -> Callable[[Tensor, object], Tensor]:
    """A hook function that adds `direction` [d_model] at every position with a norm of `limit` at most."""

    def add(activation: Tensor, hook: object) -> Tensor:
        kept = activation.float().norm(dim=-1, keepdim=True) <= limit
        return activation + kept * direction.to(activation)

    return add


def clamp_feature(sae: SAE, feature: int, value: float, limit: float) -> Callable[[Tensor, object], Tensor]:
    """A hook function that holds one latent at `value`; 0 ablates it.

    It adds (value - latent) times what the decoder makes of one unit of it: W_dec[feature], which an SAE that
    normalises at run time scales at every position. So what the SAE does not explain, and all other latents, stay.
    Positions with a norm above `limit` are left alone, and so are the other heads where the SAE is for one.

    Raises ValueError for a feature that the SAE does not have, and for what is no SAE (see `check_sae`).
    """
    check_sae(sae)
    if not 0 <= feature < sae.cfg.d_sae:
        raise ValueError(f"There is no feature {feature}: this SAE's are 0 to {sae.cfg.d_sae - 1}.")

    def clamp(x: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "batch pos d_in"]:
        kept = x.float().norm(dim=-1, keepdim=True) <= limit
        latent, direction = latent_and_direction(sae, x, feature)
        return torch.where(kept, x + (value - latent) * direction, x)

    return on_its_part(sae, clamp)


def generate(
    model: TransformerBridge,
    prompt: Prompt,
    n_new: int,
    hooks: Sequence[tuple[str, Callable]] = (),
    temperature: float = 0.7,
    seed: int = 0,
) -> Int[Tensor, "batch pos_plus_n_new"]:
    """Sample n_new tokens after each prompt, all hooks acting in every step: [batch, pos + n_new].

    prompt: as for the other helpers; hooks: pairs (name, function) as for `run_with_hooks`
    temperature: 0 takes the likeliest token every time; seed: of the sampling, the same gives the same text on the same
        kind of device (a GPU draws other random numbers than the CPU)

    Raises ValueError for a hook point that the model does not have or did not reach in every step.
    """
    tokens = prompt_tokens(model, prompt)
    names = check_hooks(model, [name for name, _ in hooks])
    calls = [0] * len(hooks)

    def counting(index: int, function: Callable) -> Callable:
        def counted(activation: Tensor, hook: object) -> Tensor:
            calls[index] += 1
            return put_in_place(names[index], activation, function(activation, hook=hook))

        return counted

    gpus = [tokens.device] if tokens.is_cuda else []  # sampling draws from the generator of the model's device
    with torch.no_grad(), torch.random.fork_rng(gpus), cached_hook_dict(model):
        torch.manual_seed(seed)
        with model.hooks(fwd_hooks=[(name, counting(i, function)) for i, (name, function) in enumerate(hooks)]):
            text = model.generate(
                tokens,
                max_new_tokens=n_new,
                do_sample=temperature > 0,
                temperature=temperature or 1.0,
                stop_at_eos=False,
                return_type="tokens",
                verbose=False,
            )
    if any(count != n_new for count in calls):
        raise ValueError(f"The hooks acted in {calls} of {n_new} steps: does the model compute anything there?")
    return text
