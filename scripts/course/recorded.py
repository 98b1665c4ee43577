"""The checks that students see: an exercise's functions against recorded values.

A check cell computes no right answer. `make release` runs the solution and writes into data/checks/ what was called,
with which inputs, what came out, and what the anticipated mistakes give (`scripts/course/recording.py`); here the same
calls are made of a student's functions. A record is a list of calls of `scripts/course/checks.py`: its numbers and
texts stand in `<lab>.json`, its tensors in `<lab>.safetensors`.
"""

import builtins
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch

from scripts.course import checks
from scripts.course.streams import Stream
from scripts.interp.base.paths import ROOT

RECORDS = ROOT / "data" / "checks"
# the functions of scripts/course/checks.py that a record may call; the results of `answer` go to the others
VOCABULARY = (
    "answer",
    "expect_close",
    "expect_equal",
    "expect_kind",
    "expect_length",
    "expect_keys",
    "expect_between",
    "expect_no_nan",
    "expect_error",
    "expect_no_error",
    "expect_own_generator",
    "expect_unchanged",
    "expect_gradients",
    "expect_new_tensors",
)


class Record(NamedTuple):
    """What is recorded of one lab."""

    exercises: dict[str, list[dict]]  # the calls by exercise
    tensors: dict[str, torch.Tensor]


def check(name: str, *functions: Callable, **given: Any) -> None:
    """Hold an exercise's functions against what is recorded of it, and say if they pass.

    name: lab and exercise, such as "01/ex1-second-mention"
    functions: what the exercise's text asks for
    given: models and other objects that can't be recorded, by the names with which the record calls them
    Raises `CheckFailed` with the first hint.
    """
    replay(name, functions, given, checks)
    print(f"passed: {', '.join(getattr(function, '__name__', 'the function') for function in functions)}")


def replay(name: str, functions: tuple[Callable, ...], given: dict[str, Any], tools: Any) -> None:
    """Make the recorded calls. tools: has the functions of `VOCABULARY`."""
    lab, _, exercise = name.partition("/")
    if not (RECORDS / f"{lab}.json").exists() or exercise not in read_record(lab).exercises:
        raise checks.CheckFailed(
            f"There is no record of {name!r} in {RECORDS}: take that folder from a fresh copy of the labs."
        )
    record = read_record(lab)
    results = []
    world = SimpleNamespace(functions=functions, given=given, results=results, tensors=record.tensors)
    for call in record.exercises[exercise]:
        args = [decoded(each, world) for each in call["args"]]
        kwargs = {key: decoded(each, world) for key, each in call.get("kwargs", {}).items()}
        result = getattr(tools, call["call"])(*args, **kwargs)
        if call["call"] == "answer":
            results.append(result)


@cache
def read_record(lab: str, folder: Path = RECORDS) -> Record:
    """The record of a lab, such as "01"."""
    from safetensors.torch import load_file

    with open(folder / f"{lab}.json", encoding="utf-8") as file:
        return Record(json.load(file), load_file(folder / f"{lab}.safetensors"))


def decoded(node: Any, world: SimpleNamespace) -> Any:
    """A value from its node: numbers, texts and lists as they are, everything else as {kind: what}.

    world: has the functions that are checked, what was given, the results so far, and the record's tensors
    """
    if isinstance(node, list):
        return [decoded(each, world) for each in node]
    if not isinstance(node, dict):
        return node
    kind, value = next(iter(node.items()))
    match kind:
        case "tensor":
            return world.tensors[value].clone()
        case "tuple":
            return tuple(decoded(each, world) for each in value)
        case "dict":
            return {key: decoded(each, world) for key, each in value.items()}
        case "pairs":
            return {decoded(key, world): decoded(each, world) for key, each in value}
        case "function":
            return world.functions[value]
        case "result":
            return _found(world.results[value], node["path"])
        case "given":
            found = world.given[value]
            return getattr(found, node["field"]) if "field" in node else found
        case "stream":
            return Stream([decoded(each, world) for each in value])
        case "dtype":
            return getattr(torch, value)
        case "error":
            return getattr(builtins, value)
    raise ValueError(f"A record holds a value of an unknown kind, {kind!r}.")


def _found(result: Any, path: list[int | str]) -> Any:
    """An entry of what a student's function returned: a hint, if it is not there."""
    for step in path:
        try:
            result = result[step]
        except (LookupError, TypeError):
            raise checks.CheckFailed(
                f"What is returned has no entry {step!r}: see what the docstring asks for."
            ) from None
    return result
