"""Half precision, where it is too coarse."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """bfloat16 and float16 as float32; what is more precise already stays as it is.

    For sums and differences of what a model computed: a logit of 20 in bfloat16 has steps of 0.125.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def multiplies_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether the device multiplies matrices in bfloat16 by instructions of its own, and so faster than in float32."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    questions = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # of torch.cpu; which it has, differs
    return any(getattr(torch.cpu, name, lambda: False)() for name in questions)
