"""Checks for exercises: compare an answer with the truth and say what was probably forgotten.

Every failed check raises `CheckFailed` with one readable hint. Graded cells call nothing else, so that feedback can
show the hint alone and never a hidden test.

One rule says which types of number count, in every exercise: a number is a Python number, a NumPy number or a tensor
with one entry; a tensor is in single or double precision, or a NumPy array. `answer` and `expect_close` turn NumPy's
into Python's and torch's, and values are compared in double precision. Only an exercise whose text asks for a type (an
`int`, a list of floats, a tensor that gradients flow through, the type that z has) checks it.
"""

import copy
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch


class CheckFailed(AssertionError):
    """An exercise's check did not pass; the message is the hint for the student."""


def expect(condition: bool, hint: str) -> None:
    """Raise `CheckFailed(hint)` unless `condition` is true."""
    if not condition:
        raise CheckFailed(hint)


def answer(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call a student's function and return what it returns, with NumPy's numbers and arrays as Python's and torch's.

    The function is called twice, on copies of the arguments: an answer that stops with an error, returns nothing,
    changes its inputs, or remembers its first call fails here, with a hint that says so.
    """
    name = getattr(function, "__name__", "the function")
    results = []
    for _ in range(2):
        given, given_named = copy.deepcopy((args, kwargs))
        try:
            results.append(without_numpy(function(*given, **given_named)))
        except CheckFailed:
            raise
        except NotImplementedError as error:
            unwritten = traceback.extract_tb(error.__traceback__)[-1].name
            what = f"{name} is" if unwritten == name else f"{name} calls {unwritten}, which is"
            raise CheckFailed(f"{what} not written yet: replace its last line by your answer.") from error
        except Exception as error:
            raise CheckFailed(f"{name} stopped with {type(error).__name__}: {error}") from error
        expect(results[-1] is not None, f"{name} returned None: is the `return` missing?")
        expect(
            same((given, given_named), (args, kwargs)),
            f"{name} changed its input: work on a copy (`.clone()`), since others still use the original"
            + (
                "; if you put hooks on the model, take them off again."
                if any(isinstance(x, torch.nn.Module) for x in args)
                else "."
            ),
        )
    expect(
        same(results[0], results[1]),
        f"{name} gave another answer when called a second time with the same input: does it keep something?",
    )
    return results[0]


def expect_close(
    got: Any, expected: torch.Tensor | float, what: str, mistakes: Mapping[str, Any] | None = None, atol: float = 1e-5
) -> None:
    """Raise `CheckFailed` unless `got` has the shape of `expected` and equals it to `atol` (absolute and relative).

    NaN is expected where `expected` has it, and nowhere else. Types of number do not matter.
    `mistakes` maps a hint to the value that this mistake gives: the first one that `got` equals is the hint shown.
    """
    got = without_numpy(got)
    if isinstance(expected, torch.Tensor) and expected.dim() > 0:
        expect(isinstance(got, torch.Tensor), f"{what} should be a tensor, not {type(got).__name__}.")
    expected = torch.as_tensor(expected)
    try:
        tensor = torch.as_tensor(got)
    except Exception as error:
        raise CheckFailed(f"{what} should be a tensor or a number, not {type(got).__name__}.") from error
    if expected.dim() == 0 and isinstance(got, torch.Tensor) and got.numel() == 1:
        tensor = tensor.reshape(())
    for hint, wrong in (mistakes or {}).items():
        wrong = torch.as_tensor(wrong)
        if wrong.isnan().all() and wrong.numel():
            continue  # many mistakes end in NaN
        if not _close(wrong, expected, atol) and _close(tensor, wrong, atol):
            raise CheckFailed(hint)
    expect(tensor.shape == expected.shape, f"{what} has shape {_shape(tensor)}, expected {_shape(expected)}.")
    tensor, expected = (each.detach().double().cpu() for each in (tensor, expected))
    expect(not (tensor.isnan() & ~expected.isnan()).any(), f"{what} contains NaN.")
    expect(not (expected.isnan() & ~tensor.isnan()).any(), f"{what} has a number where there is none: NaN is expected.")
    if not _close(tensor, expected, atol):
        error = (tensor - expected).abs().nan_to_num(0).max().item()
        raise CheckFailed(f"{what} differs from the expected values by up to {error:.3g}.")


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


def same(left: Any, right: Any) -> bool:
    """Whether two nested structures of tensors, containers and plain values are equal; callables count as equal."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        left, right = without_numpy(left), without_numpy(right)
    if isinstance(left, torch.Tensor) or isinstance(right, torch.Tensor):
        return (
            isinstance(left, torch.Tensor)
            and isinstance(right, torch.Tensor)
            and left.shape == right.shape
            and torch.equal(torch.nan_to_num(left), torch.nan_to_num(right))
        )
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, torch.nn.Module) and isinstance(right, torch.nn.Module):
        hooks = [sum(len(module._forward_hooks) for module in model.modules()) for model in (left, right)]
        return hooks[0] == hooks[1] and same(left.state_dict(), right.state_dict())
    if callable(left) and callable(right):
        return True
    if isinstance(left, float) and isinstance(right, float) and left != left and right != right:
        return True  # NaN is not equal to itself
    try:
        if bool(left == right):
            return True
    except Exception:  # an object that can't be compared can't show a difference either
        return True
    if type(left) is not type(right) or type(left).__eq__ is not object.__eq__:
        return False
    # Objects without a comparison of their own equal only themselves; a copy of one is the same if it holds the same.
    return not hasattr(left, "__dict__") or same(vars(left), vars(right))


def _close(left: torch.Tensor, right: torch.Tensor, atol: float) -> bool:
    return left.shape == right.shape and torch.allclose(
        left.detach().double().cpu(), right.detach().double().cpu(), atol=atol, rtol=atol, equal_nan=True
    )


def _shape(tensor: torch.Tensor) -> str:
    return str(list(tensor.shape))
