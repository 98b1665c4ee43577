"""Shapes in annotations are checked in every call that a test makes: what a function took and gave must fit them.

Annotations are jaxtyping's; beartype compares. In one call one name of a dimension has one size, and so it has in the
fields of one named tuple. Of a long list, beartype looks at one item a call. Annotations without a shape are left
alone: an int for a float, a list for a tuple or a test's stand-in is fine. Only calls that succeed are checked: bad
input is refused by the functions themselves, in a sentence, and tests look at that sentence.
"""

import builtins
import functools
import importlib.abc
import importlib.machinery
import inspect
import random
import sys
import typing
import warnings

from beartype import BeartypeConf
from beartype.door import is_bearable
from jaxtyping import AbstractArray, jaxtyped

NUMBERS = BeartypeConf(is_pep484_tower=True)  # an int is a float too


class WrongShape(AssertionError):
    """An argument, a result or a field does not fit its annotation."""


def checked(function):
    """The function, raising WrongShape after a call whose arguments or result do not fit their annotations."""
    signature = inspect.signature(function)
    named = [p.name for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]

    @functools.wraps(function)
    def call(*args, **kwargs):
        result = function(*args, **kwargs)  # first: a call that does not fit the signature fails as it always does
        given = signature.bind(*args, **kwargs).arguments
        values = {name: given[name] for name in named if name in given} | {"return": result}
        _compare(values, hints(), f"{function.__module__}.{function.__qualname__}")
        return result

    @functools.cache
    def hints() -> dict:
        return _hints(function, inspect.unwrap(function).__globals__)  # of `torch.no_grad` and the like

    return call


def _compare(values: dict, hints: dict, where: str) -> None:
    if hints:
        state = random.getstate()  # beartype draws the item of a list that it looks at
        try:
            _compare_annotated(values, hints, where)
        finally:
            random.setstate(state)
    for value in values.values():
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            _compare(value._asdict(), _fields(type(value)), f"{type(value).__qualname__}, in {where}")


def _compare_annotated(values: dict, hints: dict, where: str) -> None:
    with jaxtyped("context"):  # one size for one name
        for name, value in values.items():
            if name in hints and not is_bearable(value, hints[name], conf=NUMBERS):
                others = ", ".join(f"{other} {list(v.shape)}" for other, v in values.items() if hasattr(v, "shape"))
                got = f"{value.dtype} {list(value.shape)}" if hasattr(value, "shape") else repr(value)[:200]
                raise WrongShape(f"{where}: {name} is {got} and not {hints[name]}; all shapes: {others or 'none'}")


@functools.cache
def _fields(kind: type) -> dict:
    """The annotations of a named tuple's fields."""
    return _hints(kind, vars(sys.modules[kind.__module__]))


def _hints(annotated, names: dict) -> dict:
    """The annotations with a shape in them, evaluated where these names are known."""
    known = _Names(names)  # typing.get_type_hints would copy it from Python 3.14 on, and lose what is in its class
    hints = {
        name: eval(hint, names, known) if isinstance(hint, str) else hint
        for name, hint in annotated.__annotations__.items()
    }
    return {name: hint for name, hint in hints.items() if _has_shape(hint)}


def _has_shape(hint) -> bool:
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return True
    return any(map(_has_shape, typing.get_args(hint)))


class _UnknownModule:
    """What only type checkers import, such as `go` in `go.Figure`: everything in it may be anything."""

    def __getattr__(self, name: str):
        return typing.Any


class _Names(dict):
    """A module's names, to evaluate annotations with: what only type checkers import may be anything."""

    def __missing__(self, name: str):
        if name.startswith("__"):  # asked for by whoever shows the traceback of an annotation that can't be evaluated
            raise KeyError(name)
        return getattr(builtins, name, _UnknownModule() if name.islower() else typing.Any)


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        for value in list(vars(module).values()):
            if inspect.isclass(value) and value.__module__ == module.__name__:
                _check_functions_of(value, module)
        _check_functions_of(module, module)


def _check_functions_of(owner, module) -> None:
    """Put checked functions into the place of the public ones that a module, or a class of it, defines."""
    for name, value in list(vars(owner).items()):
        own = inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if own and not inspect.isgeneratorfunction(inspect.unwrap(value)):
            setattr(owner, name, checked(value))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, package: str):
        self.package = package

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith(self.package + "."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _not_counting_checks(warn):
    """`warnings.warn`, not counting calls of this file: a warning names the line that it names without checks."""

    @functools.wraps(warn)
    def counting(message, category=None, stacklevel=1, source=None, **options):
        level, frame = 1, sys._getframe(1)
        while frame is not None and stacklevel > 0:
            level += 1
            stacklevel -= frame.f_code.co_filename != __file__
            frame = frame.f_back
        return warn(message, category, level + stacklevel, source, **options)

    return counting


def check_shapes_in(package: str) -> None:
    """From now on, modules of this package are imported with their public functions and methods checked.

    Raises RuntimeError if some of them have been imported already: those would go unchecked.
    """
    early = sorted(name for name in sys.modules if name.startswith(package + "."))
    if early:
        raise RuntimeError(f"{', '.join(early)} would go unchecked: call check_shapes_in before importing them.")
    sys.meta_path.insert(0, _Finder(package))
    warnings.warn = _not_counting_checks(warnings.warn)
