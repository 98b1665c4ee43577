"""What is said when a hidden test fails: the lab's own hint or the kind of the error, no text that student code made.

A function can read the test that calls it and hand it on turned around, where no search finds it: as the text of an
error, as a text that it returns, as the name of a class or of a function. Those places are left out here.
"""

import builtins
import inspect
import re
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from scripts.course import checks, recorded, values

SOMETHING_ELSE = "What was returned is of another kind, or has another shape, than a test that you can't see expects."
_OURS = {checks.__file__, recorded.__file__, values.__file__, __file__, "<test>"}
_KINDS = {kind: name for name, kind in vars(builtins).items() if isinstance(kind, type)}
_LONG_NUMBER = re.compile(r"\d{12,}")  # the labs' numbers have fewer digits; a text can be written as a number


def hint(error: BaseException, ours: str) -> str:
    """The hint for an error that ended the hidden tests. ours: the file of the clean process"""
    if _is_our_own(error, ours):
        return _LONG_NUMBER.sub("…", error.args[0])
    stopped = error.__cause__ if type(error) is checks.CheckFailed and error.__cause__ else error
    kind = next(_KINDS[each] for each in type(stopped).__mro__ if each in _KINDS)
    return f"The answer stopped with {kind} in a test that you can't see."


def named(function: Callable, names: Iterable[str]) -> Callable:
    """The function under a name that the test knows: what `answer` says begins with it."""

    def run(*args, **kwargs):
        return function(*args, **kwargs)

    name = getattr(function, "__name__", None)
    run.__name__ = name if type(name) is str and name in names else "the function"
    return run


def call(check: Callable, *args: Any, **kwargs: Any) -> None:
    """Call an `expect…` of `scripts.course.checks`; what it says of a result holds no text of the result's."""
    given = inspect.signature(check).bind(*args, **kwargs)
    if check is checks.expect_error:
        given.arguments["hint"] = given.arguments["hint"].replace("{got}", "something else")
    if check is checks.expect_no_error:
        given.arguments["hint"] = given.arguments["hint"].replace("{got}", given.arguments["error"].__name__)
    try:
        check(*given.args, **given.kwargs)
    except checks.CheckFailed as error:
        said = error.args[0] if error.args else ""
        if said in (given.arguments.get("mistakes") or {}):
            raise
        if "got" in given.arguments and not _is_plain(given.arguments["got"]):
            raise checks.CheckFailed(SOMETHING_ELSE) from None
        if check is checks.expect_equal:
            raise checks.CheckFailed(said.partition(", got ")[0] + ".") from None
        raise


def _is_our_own(error: BaseException | None, ours: str) -> bool:
    """Whether this is a failed check, and no code but ours ran between the test and it."""
    if type(error) is not checks.CheckFailed or not error.args or type(error.args[0]) is not str:
        return False
    raised = [error, error.__cause__] if error.__cause__ else [error]
    return all(
        frame.f_code.co_filename in {*_OURS, ours}
        for each in raised
        for frame, _ in traceback.walk_tb(each.__traceback__)
    )


def _is_plain(value: Any, depth: int = 4) -> bool:
    """Whether neither the kind nor the shape of a result can be a text: Python's and torch's own, few dimensions."""
    kind = type(value)
    if kind in (list, tuple, set, frozenset, dict):
        each = [*value, *value.values()] if kind is dict else value
        return depth > 0 and all(_is_plain(one, depth - 1) for one in each)
    shape = getattr(value, "shape", ()) if kind in (checks.torch.Tensor, checks.torch.nn.Parameter) else ()
    known = kind in _KINDS or kind.__module__ in ("torch", "numpy") or inspect.isroutine(value)
    return known and len(shape) <= 8 and all(n < 10**6 for n in shape)
