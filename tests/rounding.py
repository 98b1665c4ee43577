"""Printed numbers on another processor: the last digit may differ, because sums are taken in another order.

Text, counts and every digit but the last have to be the same. Found on two machines with the same packages: one
interval of 0.41 printed as 0.40, and a variance of 218746.227 as 218746.192.
"""

import math
import re
from collections.abc import Callable
from typing import Any

NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
RELATIVE = 1e-6  # of a number that is printed with more digits than single precision has


def same_but_for_rounding(got: str, expected: str) -> bool:
    """Whether two texts differ only in the last digit of decimals (or by a millionth of them), blank space aside."""
    if NUMBER.sub("#", got).split() != NUMBER.sub("#", expected).split():
        return False
    return all(map(close, NUMBER.findall(got), NUMBER.findall(expected)))


def close(got: str, expected: str) -> bool:
    """Whether two printed numbers are equal, or decimals one unit of the last printed digit or a millionth apart."""
    if "." not in expected or "." not in got:
        return got == expected
    last_digit = max(unit_of_last_digit(got), unit_of_last_digit(expected))
    a, b = (float(number.replace(",", "")) for number in (got, expected))
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1.01 * last_digit)


def unit_of_last_digit(number: str) -> float:
    digits, _, exponent = number.lower().partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


def take_rounding_for_equal(got: list, expected: list, sanitize: Callable[[str], str] = str) -> list:
    """Outputs of a cell as nbval compares them, those that are the same but for rounding replaced by what is expected.

    sanitize: what nbval does to every text before it compares
    """

    def same(mine: Any, theirs: Any) -> bool:
        return isinstance(mine, str) and same_but_for_rounding(sanitize(mine), sanitize(theirs))

    taken = []
    for mine, theirs in zip(got, expected):
        if "text" in mine and "text" in theirs and same(mine["text"], theirs["text"]):
            mine = type(mine)({**mine, "text": theirs["text"]})
        elif "data" in mine and "data" in theirs:
            plain = [data.get("text/plain") for data in (mine["data"], theirs["data"])]
            if plain[1] is not None and same(*plain):
                mine = type(mine)({**mine, "data": {**mine["data"], "text/plain": plain[1]}})
        taken.append(mine)
    return taken + got[len(taken) :]
