"""What running a model of a given shape costs: its parameters, its operations, and how fast this machine is.

Everything is counted from the configuration of a Llama-like model (gated MLP, RMSNorm, rotary, grouped keys and values,
no biases), as transformers has it. A multiplication and an addition are two operations. 1 GB is 10^9 bytes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from scripts.interp.base.reference import reference_value

if TYPE_CHECKING:
    from transformers import PretrainedConfig

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


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
    """Operations of a forward pass for one token, averaged over a row of `context` tokens, up to the end of a layer.

    n_layers: of how many layers, default all of them; the unembedding is not counted, since an SAE does not need it
    """
    n_layers = config.num_hidden_layers if n_layers is None else n_layers
    width = config.num_attention_heads * _head_size(config)
    attention = 4 * width * (context + 1) / 2  # scores, and the sum of the values
    return n_layers * (2 * _matrices_of_a_layer(config) + attention)


def running_gb(config: PretrainedConfig, dtype: str = "bfloat16") -> float:
    """Memory in GB for running a model: its weights, and a fifth more for what it computes."""
    return 1.2 * n_parameters(config) * BYTES[dtype] / 1e9


def published_config(name: str) -> PretrainedConfig:
    """The configuration of a Llama-like model as its authors published it ("stheno-8b"); no download."""
    from transformers import LlamaConfig

    return LlamaConfig(**reference_value(f"{name}/config"))


def random_model(config: PretrainedConfig, device: str, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """A model of this shape with random weights, made where it is to run.

    For measuring speed and memory without a download.
    """
    from transformers import AutoModelForCausalLM

    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)


class Throughput(NamedTuple):
    """What `throughput` measures."""

    tokens_per_second: float
    flops: float  # operations a second
    peak_gb: float | None  # of GPU memory; None without a GPU


def throughput(
    model: nn.Module, config: PretrainedConfig, tokens: Int[Tensor, "batch pos"], repeats: int = 3
) -> Throughput:
    """How fast this machine runs a model over token ids, the fastest of some repeats after a first one.

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
