"""Shapes in annotations are checked in every call that a test makes: what a function took and gave must fit them.

Annotations are jaxtyping's; beartype compares. Only calls that succeed are checked: bad input is refused by the functions
themselves, in a sentence, and tests look at that sentence.
"""

import functools
import importlib.abc
import importlib.machinery
import inspect
import sys
import typing

from beartype.door import is_bearable
from jaxtyping import jaxtyped


class WrongShape(AssertionError):
    """An argument or a result does not fit its annotation."""


def checked(function):
    """The function, raising WrongShape after a call whose arguments or result do not fit their annotations."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        result = function(*args, **kwargs)
        with jaxtyped("context"):  # one size for one name, in this call
            for name, value in {**given, "return": result}.items():
                expected = hints().get(name)
                if expected is not None and not is_bearable(value, expected):
                    what = f"shape {list(value.shape)}, {value.dtype}" if hasattr(value, "shape") else repr(value)[:200]
                    raise WrongShape(f"{function.__module__}.{function.__qualname__}: {name} is {what}, not {expected}")
        return result

    @functools.cache
    def hints() -> dict:
        found = typing.get_type_hints(function)
        variadic = {p.name for p in signature.parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        return {name: hint for name, hint in found.items() if name not in variadic}

    return call


class _Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        for name, value in list(vars(module).items()):
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            if own and not name.startswith("_") and not inspect.isgeneratorfunction(inspect.unwrap(value)):
                setattr(module, name, checked(value))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, package: str):
        self.package = package

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith(self.package + "."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader)
        return spec


def check_shapes_in(package: str) -> None:
    """From now on, modules of this package are imported with their public functions checked."""
    sys.meta_path.insert(0, _Finder(package))
