"""What a sparse autoencoder costs on a model of a given shape: parameters, operations, memory, hours, money.

Counted from the model's configuration (see `scripts/interp/models/costs.py`) and from a rate of operations that was
measured or assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scripts.interp.models.costs import flops_per_token, running_gb

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Site(NamedTuple):
    """A place of a layer's MLP where an SAE can be trained."""

    hook_name: str
    d_in: int  # width of the activation


class SaeCost(NamedTuple):
    """What `sae_cost` counts."""

    n_latents: int
    n_parameters: int
    activations_gb: float  # all tokens on disk, in half precision
    training_gb: float  # weights, gradients and Adam's two moments in float32, and one batch of activations and latents
    saved_gb: float  # the SAE in half precision
    flops_per_token: float  # of training: forward 2, backward 4 for each parameter


class Machine(NamedTuple):
    """Where to run it."""

    name: str
    flops: float  # operations a second that it reaches, not its peak
    memory_gb: float
    dollars_per_hour: float | None  # None where nothing is rented


class Plan(NamedTuple):
    """What `plan` computes."""

    activation_hours: float  # the model over all tokens once, up to the site
    training_hours: float  # the SAE over all tokens, `passes` times
    memory_gb: float  # of the larger of the two steps, which follow one another
    fits: bool  # whether the machine has that
    dollars: float | None


def mlp_sites(config: PretrainedConfig, layer: int) -> dict[str, Site]:
    """The two candidates in a gated MLP: what enters `down_proj`, and what leaves it for the residual stream."""
    return {
        "input of down_proj": Site(f"blocks.{layer}.mlp.hook_post", config.intermediate_size),
        "output of the MLP": Site(f"blocks.{layer}.hook_mlp_out", config.hidden_size),
    }


def sae_cost(d_in: int, width: int, n_tokens: int, batch: int = 4096) -> SaeCost:
    """What an SAE with width times d_in latents costs on n_tokens activations of width d_in."""
    n_latents = width * d_in
    parameters = 2 * d_in * n_latents + n_latents + d_in
    training = 16 * parameters + 4 * batch * (2 * d_in + 2 * n_latents)
    return SaeCost(
        n_latents, parameters, 2 * d_in * n_tokens / 1e9, training / 1e9, 2 * parameters / 1e9, 6.0 * parameters
    )


def plan(
    config: PretrainedConfig,
    site: Site,
    width: int,
    n_tokens: int,
    passes: float,
    context: int,
    machine: Machine,
    dtype: str = "bfloat16",
) -> Plan:
    """Hours, memory and money for an SAE at a site of the model's last layer, on one machine.

    n_tokens: different tokens that the model reads once; the SAE goes over their activations `passes` times
    """
    cost = sae_cost(site.d_in, width, n_tokens)
    activation_hours = n_tokens * flops_per_token(config, context) / machine.flops / 3600
    training_hours = passes * n_tokens * cost.flops_per_token / machine.flops / 3600
    memory = max(running_gb(config, dtype), cost.training_gb)
    dollars = (
        None if machine.dollars_per_hour is None else machine.dollars_per_hour * (activation_hours + training_hours)
    )
    return Plan(activation_hours, training_hours, memory, memory <= machine.memory_gb, dollars)
