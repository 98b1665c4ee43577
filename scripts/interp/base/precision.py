"""Half precision, where it is too coarse."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """bfloat16 and float16 as float32; what is more precise already stays as it is.

    For sums and differences of what a model computed: a logit of 20 in bfloat16 has steps of 0.125.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
