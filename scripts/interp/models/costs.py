"""What a sparse autoencoder costs on a model of a given shape: parameters, operations, memory, hours, money.

Everything is counted from the configuration of a Llama-like model (gated MLP, RMSNorm, rotary, grouped keys and values, no biases), as
transformers has it, and from a rate of operations that was measured or assumed. A multiplication and an addition are two operations.
1 GB is 10^9 bytes.
"""

import time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


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


def n_parameters(config: PretrainedConfig) -> int:
    """All parameters of the model; tied embeddings count once."""
    embeddings = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    norms = (2 * config.num_hidden_layers + 1) * config.hidden_size
    return embeddings + norms + config.num_hidden_layers * _matrices_of_a_layer(config)


def _head_size(config: PretrainedConfig) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _matrices_of_a_layer(config: PretrainedConfig) -> int:
    heads, keys = config.num_attention_heads * _head_size(config), config.num_key_value_heads * _head_size(config)
    return config.hidden_size * (2 * heads + 2 * keys) + 3 * config.hidden_size * config.intermediate_size


def flops_per_token(config: PretrainedConfig, context: int, n_layers: int | None = None) -> float:
    """Operations of a forward pass for one token, averaged over a row of `context` tokens, up to the end of layer n_layers - 1.

    n_layers: default all of them; the unembedding is not counted, since an SAE does not need it
    """
    n_layers = config.num_hidden_layers if n_layers is None else n_layers
    attention = (
        4 * config.num_attention_heads * _head_size(config) * (context + 1) / 2
    )  # scores, and the sum of the values
    return n_layers * (2 * _matrices_of_a_layer(config) + attention)


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
    memory = max(
        1.2 * n_parameters(config) * BYTES[dtype] / 1e9, cost.training_gb
    )  # a fifth more for what the model computes
    dollars = (
        None if machine.dollars_per_hour is None else machine.dollars_per_hour * (activation_hours + training_hours)
    )
    return Plan(activation_hours, training_hours, memory, memory <= machine.memory_gb, dollars)


def random_model(config: PretrainedConfig, device: str, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """A model of this shape with random weights, made where it is to run: for measuring speed and memory without a download."""
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)


class Throughput(NamedTuple):
    """What `throughput` measures."""

    tokens_per_second: float
    flops: float  # operations a second
    peak_gb: float | None  # of GPU memory; None without a GPU


def throughput(model: nn.Module, config: PretrainedConfig, tokens: Tensor, repeats: int = 3) -> Throughput:
    """How fast this machine runs a model over token ids [batch, pos], the fastest of some repeats after a first one.

    model: called with the tokens; it computes the unembedding as well, which is counted here
    """
    on_gpu = tokens.is_cuda
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    with torch.no_grad():
        for _ in range(repeats + 1):
            began = time.perf_counter()
            model(tokens)
            if on_gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
    per_token = flops_per_token(config, tokens.shape[1]) + 2 * config.vocab_size * config.hidden_size
    rate = tokens.numel() / min(seconds[1:])
    return Throughput(rate, rate * per_token, torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None)
