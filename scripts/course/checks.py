"""Checks for exercises: compare an answer with the truth and say what was probably forgotten.

Every failed check raises `CheckFailed` with one readable hint. Graded cells call nothing else, so that feedback can
show the hint alone and never a hidden test. What students see of a check calls the same functions, with recorded
values (`scripts/course/recorded.py`).

One rule says which types of number count, in every exercise: a number is a Python number, a NumPy number or a tensor
with one entry; a tensor is in single or double precision, or a NumPy array. `answer` and `expect_close` turn NumPy's
into Python's and torch's, and values are compared in double precision. Only an exercise whose text asks for a type (an
`int`, a list of floats, a tensor that gradients flow through, the type that z has) checks it.
"""

import copy
import numbers
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from scripts.course.values import all_close, same, without_numpy

ROUNDING = 1e-5  # what a second call may differ by: LAPACK's least squares round by where in memory their numbers lie


class CheckFailed(AssertionError):
    """An exercise's check did not pass; the message is the hint for the student."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the hint, and not where in this file it was raised."""
        return [f"CheckFailed: {self}"]


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
        untouched = same((given, given_named), (args, kwargs))
        expect(untouched, f"{name} changed its input: {_how_to_leave_it(args)}, since others still use the original.")
    expect(
        same(results[0], results[1], ROUNDING),
        f"{name} gave another answer when called a second time with the same input: does it keep something?",
    )
    return results[0]


def expect_close(
    got: Any, expected: Any, what: str, mistakes: Mapping[str, Any] | None = None, atol: float = 1e-5
) -> None:
    """Raise `CheckFailed` unless `got` has the shape of `expected` and equals it to `atol` (absolute and relative).

    NaN is expected where `expected` has it, and nowhere else. Types of number do not matter.
    `mistakes` maps a hint to the value that this mistake gives: the first one that `got` equals is the hint shown.
    If `expected` is a list, `got` and the mistakes' values are lists as long as it, of what several calls gave: a hint
    is shown if its mistake explains all of them, which no single number can that equals another by chance.
    """
    several = isinstance(expected, list)
    if several:
        fits = isinstance(got, Sequence) and len(got) == len(expected)
        expect(fits, f"{what} should be a list with {len(expected)} entries.")
    pairs = list(zip(got, expected)) if several else [(got, expected)]
    tensors = [_as_tensor(each, right, what) for each, right in pairs]
    truth = [torch.as_tensor(right) for _, right in pairs]
    for hint, wrong in (mistakes or {}).items():
        wrong = [torch.as_tensor(each) for each in wrong] if several else [torch.as_tensor(wrong)]
        if all(each.isnan().all() and each.numel() for each in wrong):
            continue  # many mistakes end in NaN
        if not all_close(wrong, truth, atol) and all_close(tensors, wrong, atol):
            raise CheckFailed(hint)
    for tensor, right in zip(tensors, truth):
        expect(tensor.shape == right.shape, f"{what} has shape {_shape(tensor)}, expected {_shape(right)}.")
        tensor, right = tensor.detach().double().cpu(), right.detach().double().cpu()
        expect(not (tensor.isnan() & ~right.isnan()).any(), f"{what} contains NaN.")
        expect(
            not (right.isnan() & ~tensor.isnan()).any(), f"{what} has a number where there is none: NaN is expected."
        )
        if not all_close([tensor], [right], atol):
            if truth[0].dtype == torch.bool:
                raise CheckFailed(f"{what} is wrong in {int((tensor != right).sum())} of {right.numel()} entries.")
            error = (tensor - right).abs().nan_to_num(0).max().item()
            raise CheckFailed(f"{what} differs from the expected values by up to {error:.3g}.")


def expect_equal(got: Any, expected: Any, what: str, mistakes: Mapping[str, Any] | None = None) -> None:
    """Raise `CheckFailed` unless `got` is what is expected: a text, a whole number, a list or dictionary of them.

    A tensor with one entry is a number, in a list and a list of lists too. mistakes: as in `expect_close`
    """
    got = _one_entry_as_number(without_numpy(got))
    for hint, wrong in (mistakes or {}).items():
        expect(same(wrong, expected) or not same(got, wrong), hint)
    if same(got, expected):
        return
    if isinstance(got, list) and isinstance(expected, list) and len(got) == len(expected):
        place = next(i for i, pair in enumerate(zip(got, expected)) if not same(*pair))
        what, got, expected = f"{what}, entry {place}", got[place], expected[place]
    raise CheckFailed(f"{what}: expected {expected!r}, got {got!r}.")


KINDS = {
    "tensor": lambda got: isinstance(got, torch.Tensor),
    "number": lambda got: _is_number(got),
    "whole number": lambda got: _is_number(got) and not isinstance(got, bool) and float(got).is_integer(),
    "int": lambda got: isinstance(got, numbers.Integral),
    "text": lambda got: isinstance(got, str),
    "function": callable,
    "bool": lambda got: isinstance(got, bool) or isinstance(got, torch.Tensor) and got.dtype == torch.bool,
    "plain number": lambda got: isinstance(got, numbers.Real),
}


def expect_kind(got: Any, kind: str | torch.dtype, hint: str) -> None:
    """Raise `CheckFailed(hint)` unless `got` is of a kind of `KINDS`, or a tensor of a dtype.

    `{type}` in the hint becomes the type of `got`, or the dtype of the tensor that it is.
    """
    got = without_numpy(got)
    given = got.dtype if isinstance(kind, torch.dtype) and isinstance(got, torch.Tensor) else type(got).__name__
    fits = given == kind if isinstance(kind, torch.dtype) else KINDS[kind](got)
    expect(fits, hint.replace("{type}", str(given)))


def expect_length(got: Any, n: int, hint: str) -> None:
    """Raise `CheckFailed(hint)` unless `got` is a tuple or a list with n entries, or a tensor [n] of numbers."""
    listed = isinstance(got, (tuple, list)) or isinstance(got, torch.Tensor) and got.dim() == 1
    expect(listed and len(got) == n, hint)


def expect_keys(got: Any, keys: list[str], hint: str) -> None:
    """Raise `CheckFailed(hint)` unless `got` is a dictionary with exactly these keys."""
    expect(isinstance(got, dict) and set(got) == set(keys), hint)


def expect_between(got: Any, low: float, high: float, hint: str) -> None:
    """Raise `CheckFailed(hint)` unless the number `got` is one from low to high; `{got}` in the hint becomes it."""
    got = float(without_numpy(got))
    expect(low <= got <= high, hint.replace("{got}", f"{got:.3f}"))


def expect_no_nan(got: Any, hint: str) -> None:
    """Raise `CheckFailed(hint)` if there is a NaN in a number or tensor, or in one of a list of them."""
    several = got if isinstance(got, (list, tuple)) else [got]
    expect(not any(torch.as_tensor(without_numpy(each)).isnan().any() for each in several), hint)


def expect_error(error: type[Exception], hint: str, function: Callable, *args: Any, **kwargs: Any) -> None:
    """Raise `CheckFailed(hint)` unless the call stops with this error; `{got}` in the hint becomes what it gave."""
    stopped, result = _outcome(function, args, kwargs)
    expect(isinstance(stopped, error), hint.replace("{got}", repr(type(stopped).__name__ if stopped else result)))


def expect_no_error(error: type[Exception], hint: str, function: Callable, *args: Any, **kwargs: Any) -> None:
    """Raise `CheckFailed(hint)` if the call stops with this error; `{got}` in the hint becomes what it says.

    What else may be wrong is for `answer` to say, and that the function is not written yet.
    """
    stopped = _outcome(function, args, kwargs)[0]
    unwritten = isinstance(stopped, NotImplementedError) and error is not NotImplementedError
    expect(unwritten or not isinstance(stopped, error), hint.replace("{got}", str(stopped)))


def expect_own_generator(hint: str, function: Callable, *args: Any) -> None:
    """Raise `CheckFailed(hint)` if the call draws from torch's own generator, or seeds it."""
    state = torch.get_rng_state()
    _outcome(function, args, {})
    untouched = torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(state)
    expect(untouched, hint)


def expect_unchanged(hint: str, function: Callable, args: tuple, *later: Any, **named_later: Any) -> None:
    """Raise `CheckFailed(hint)` if the function that `function(*args)` returns changes one of `args` when called."""
    given = copy.deepcopy(args)
    _outcome(lambda *args, **kwargs: function(*given)(*args, **kwargs), later, named_later)
    expect(same(given, args), hint)


def expect_gradients(
    function: Callable,
    inputs: Mapping[str, Any],
    expected: Mapping[str, torch.Tensor],
    unreached: Mapping[str, str] | None = None,
    atol: float = 1e-4,
) -> None:
    """Raise `CheckFailed` unless gradients flow from the function's results to its inputs, and are the expected ones.

    inputs: arguments by name
    expected: by input, the gradient of the sum of the squares of all numbers that the function returns
    unreached: a hint of its own for an input that no gradient reaches
    """
    leave_out = "leave out .item(), .detach(), .data, numpy and torch.no_grad()."
    with torch.enable_grad():
        given = {name: copy.deepcopy(value) for name, value in inputs.items()}
        leaves = [given[name].requires_grad_() for name in expected]
        results = function(**given)
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        flows = all(isinstance(each, torch.Tensor) and each.requires_grad for each in results)
        expect(flows, f"No gradient flows through what you return: {leave_out}")
        gradients = torch.autograd.grad(sum(each.square().sum() for each in results), leaves, allow_unused=True)
    for (name, right), gradient in zip(expected.items(), gradients):
        hint = (unreached or {}).get(name, f"No gradient reaches {name}: {leave_out}")
        expect(gradient is not None, hint)
        expect_close(gradient, right, f"The gradient at {name}", atol=atol)


def expect_new_tensors(hint: str, function: Callable, *args: Any) -> None:
    """Raise `CheckFailed(hint)` if a tensor that the function returns shares its numbers with one of its arguments."""
    given = copy.deepcopy(args)
    results = function(*given)
    results = results if isinstance(results, (tuple, list)) else [results]
    places, new_places = (
        {each.untyped_storage().data_ptr() for each in several if isinstance(each, torch.Tensor) and each.numel()}
        for several in (given, results)
    )
    expect(not places & new_places, hint)


def _one_entry_as_number(value: Any) -> Any:
    if isinstance(value, list):
        return [_one_entry_as_number(each) for each in value]
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def _how_to_leave_it(args: tuple) -> str:
    if any(isinstance(each, torch.nn.Module) for each in args):
        return "if you put hooks on the model, take them off again; of tensors, work on a copy (`.clone()`)"
    return "work on a copy (`.clone()`, or `.copy()` of a list or dictionary)"


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1 and value.dtype != torch.bool
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _outcome(function: Callable, args: tuple, kwargs: dict) -> tuple[Exception | None, Any]:
    """The error with which a call on copies of the arguments stops, or what it returns."""
    args, kwargs = copy.deepcopy((args, kwargs))
    try:
        return None, function(*args, **kwargs)
    except Exception as error:
        return error, None


def _as_tensor(got: Any, expected: Any, what: str) -> torch.Tensor:
    """A result as a tensor, if it can be compared with what is expected."""
    got = without_numpy(got)
    dimensions = torch.as_tensor(expected).dim()
    if isinstance(expected, torch.Tensor) and dimensions > 0:
        expect(isinstance(got, torch.Tensor), f"{what} should be a tensor, not {type(got).__name__}.")
    try:
        tensor = torch.as_tensor(got)
    except Exception as error:
        raise CheckFailed(f"{what} should be a tensor or a number, not {type(got).__name__}.") from error
    one_entry = dimensions == 0 and isinstance(got, torch.Tensor) and got.numel() == 1
    return tensor.reshape(()) if one_entry else tensor


def _shape(tensor: torch.Tensor) -> str:
    return str(list(tensor.shape))
