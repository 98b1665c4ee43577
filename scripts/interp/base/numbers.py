"""Whole numbers as arguments."""

from __future__ import annotations

import operator


def is_integer(value: object) -> bool:
    """Whether `value` is a whole number: an int, or an integer scalar of numpy or torch. True and False are not."""
    return _as_int(value) is not None


def check_positive(name: str, value: int) -> int:
    """`value` as an int; raise ValueError, naming the argument, unless it is a whole number, at least 1."""
    whole = _as_int(value)
    if whole is None or whole < 1:
        raise ValueError(f"{name} is {value!r}: give a whole number, at least 1.")
    return whole


def check_index(what: str, value: int, n: int, whose: str) -> int:
    """`value` as an int; raise ValueError unless it is a whole number from 0 to n - 1.

    what, whose: what the message calls it and the range, "layer" and "this model's layers" say
    """
    whole = _as_int(value)
    if whole is None or not 0 <= whole < n:
        raise ValueError(f"There is no {what} {value!r}: {whose} are 0 to {n - 1}.")
    return whole


def _as_int(value: object) -> int | None:
    """None for what is no whole number: 3.0 is none, and neither is True, of Python, numpy or torch."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")) or getattr(value, "shape", ()) != ():
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
