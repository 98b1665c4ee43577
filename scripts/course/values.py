"""What counts as the same value: types of number, nested structures, numbers that are close enough."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def without_numpy(value: Any) -> Any:
    """The same result with NumPy's numbers as Python's and its arrays as tensors, in lists, tuples and dicts as well.

    Arrays that hold no numbers (of text, of objects) stay what they are.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="), order="C"))  # a copy: writable
    if type(value) in (list, tuple):
        return type(value)(map(without_numpy, value))
    if type(value) is dict:
        return {key: without_numpy(entry) for key, entry in value.items()}
    return value


def same(left: Any, right: Any, rounding: float = 0.0) -> bool:
    """Whether two nested structures of tensors, containers and plain values are equal; callables count as equal.

    rounding: by how much numbers that are not whole may differ, absolute and relative
    """
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        left, right = without_numpy(left), without_numpy(right)
    if isinstance(left, torch.Tensor) or isinstance(right, torch.Tensor):
        return (
            isinstance(left, torch.Tensor)
            and isinstance(right, torch.Tensor)
            and left.shape == right.shape
            and (
                torch.equal(torch.nan_to_num(left), torch.nan_to_num(right))
                or left.is_floating_point()
                and all_close([left], [right], rounding)
            )
        )
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key], rounding) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(*pair, rounding) for pair in zip(left, right))
    if isinstance(left, torch.nn.Module) and isinstance(right, torch.nn.Module):
        hooks = [sum(len(module._forward_hooks) for module in model.modules()) for model in (left, right)]
        return hooks[0] == hooks[1] and same(left.state_dict(), right.state_dict())
    if callable(left) and callable(right):
        return True
    if isinstance(left, float) and isinstance(right, float) and left != left and right != right:
        return True  # NaN is not equal to itself
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, abs_tol=rounding, rel_tol=rounding)
    try:
        if bool(left == right):
            return True
    except Exception:  # an object that can't be compared can't show a difference either
        return True
    if type(left) is not type(right) or type(left).__eq__ is not object.__eq__:
        return False
    # Objects without a comparison of their own equal only themselves; a copy of one is the same if it holds the same.
    return not hasattr(left, "__dict__") or same(vars(left), vars(right))


def all_close(left: list[torch.Tensor], right: list[torch.Tensor], atol: float) -> bool:
    """Whether tensors have the same shapes and, one by one, equal entries to `atol` (absolute and relative)."""
    return all(
        a.shape == b.shape
        and torch.allclose(a.detach().double().cpu(), b.detach().double().cpu(), atol=atol, rtol=atol, equal_nan=True)
        for a, b in zip(left, right, strict=True)
    )
