"""Record the checks that students see from the solved labs: what `scripts/course/recorded.py` reads.

A test cell of a solved lab calls `check("01/ex1-…", function)`, and behind it, hidden from students, stands what is
recorded, between the lines BEGIN RECORDED TESTS and END RECORDED TESTS. That part calls the functions of
`scripts/course/checks.py` like any test. Here it is run with the solution, and every call is written down with its
arguments. What `answer` gives can only be indexed and handed to the others, so that a record is complete.
"""

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from scripts.course import checks, recorded
from scripts.course.cells import Exercise, exercises_of, read_notebook, recorded_part, setup_of, visible_part
from scripts.course.streams import Stream
from scripts.course.values import same
from scripts.interp.base.files import write_atomically

MAX_BYTES = 200_000  # of a lab's record: students download it with the notebooks
ATOL = 1e-5  # values that differ by less, relative to 1 or to themselves, come from another machine's rounding


class Got:
    """What the solution returned in a call, or an entry of it. Handed to checks, and nothing else."""

    def __init__(self, value: Any, call: int, path: tuple = ()):
        self.value, self.call, self.path = value, call, path

    def __getitem__(self, key: int | str) -> "Got":
        return Got(self.value[key], self.call, (*self.path, key))

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator["Got"]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        raise TypeError("a recorded test can't decide by what `answer` gives: hand it to a check")


class Recorder:
    """The calls of one exercise's recorded tests; `tensors` is shared by the exercises of a lab."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        self.tensors, self.calls, self._answers = tensors, [], 0
        self._functions, self._given = (), {}

    def check(self, name: str, *functions: Callable, **given: Any) -> None:
        """Take what the visible line hands over, instead of looking it up."""
        self.name, self._functions, self._given = name, functions, given

    def tools(self) -> dict[str, Callable]:
        """The functions of checks.py, each writing down how it is called, and `expect` for statements about cases."""
        return {name: self._tool(name) for name in recorded.VOCABULARY} | {"expect": checks.expect}

    def _tool(self, name: str) -> Callable:
        real = getattr(checks, name)

        def call(*args: Any, **kwargs: Any) -> Got | None:
            numbers = name in ("expect_close", "expect_equal")  # others get inputs, whose type counts
            node = {"call": name, "args": [self._node(each, numbers) for each in args]}
            if kwargs:
                node["kwargs"] = {key: self._node(each, numbers) for key, each in kwargs.items()}
            self.calls.append(node)
            result = real(*map(_value, args), **{key: _value(each) for key, each in kwargs.items()})
            if name != "answer":
                return None
            self._answers += 1
            return Got(result, self._answers - 1)

        return call

    def _node(self, value: Any, numbers: bool) -> Any:
        """The node of a value, see `recorded.decoded`. numbers: tensors without dimensions may become numbers."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, Got):
            return {"result": value.call, "path": list(value.path)}
        if isinstance(value, torch.Tensor):
            return value.item() if numbers and value.dim() == 0 else {"tensor": self._tensor(value)}
        if type(value) is list:
            return [self._node(each, numbers) for each in value]
        if type(value) is tuple:
            return {"tuple": [self._node(each, numbers) for each in value]}
        if type(value) is dict:
            if all(isinstance(key, str) for key in value):
                return {"dict": {key: self._node(each, numbers) for key, each in value.items()}}
            return {"pairs": [[self._node(key, numbers), self._node(each, numbers)] for key, each in value.items()]}
        if isinstance(value, Stream):
            return {"stream": [self._node(each, numbers) for each in value.batches]}
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if isinstance(value, type) and issubclass(value, Exception):
            return {"error": value.__name__}
        for index, function in enumerate(self._functions):
            if value is function:
                return {"function": index}
        return self._given_node(value)

    def _given_node(self, value: Any) -> dict:
        for name, thing in self._given.items():
            if type(thing) is type(value) and same(thing, value):
                return {"given": name}
            fields = getattr(thing, "_fields", None) or getattr(thing, "__dict__", ())
            for field in fields:
                entry = getattr(thing, field, None)
                if type(entry) is type(value) and same(entry, value):
                    return {"given": name, "field": field}
        raise ValueError(
            f"{self.name}: a {type(value).__name__} can't be recorded: give it to `check` as a named argument"
        )

    def _tensor(self, value: torch.Tensor) -> str:
        value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, known in self.tensors.items():
            if known.dtype == value.dtype and known.shape == value.shape and same_bytes(known, value):
                return name
        name = str(len(self.tensors))
        self.tensors[name] = value
        return name


def record_lab(path: Path) -> recorded.Record:
    """The record of a solved lab; empty if none of its exercises has recorded tests.

    Raises ValueError if a record can't be made, or is larger than `MAX_BYTES`.
    """
    notebook = read_notebook(path)
    exercises = [exercise for exercise in exercises_of(notebook) if recorded_part(exercise.test)]
    found = recorded.Record({}, {})
    if not exercises:
        return found
    setup = {"__name__": "__main__"}
    gradients = torch.is_grad_enabled()
    try:
        exec(setup_of(notebook), setup)
        for exercise in exercises:
            try:
                found.exercises[exercise.id] = record_exercise(exercise, setup, found.tensors, lab_of(path))
            except Exception as error:
                raise ValueError(f"{path.name}, {exercise.id}: {type(error).__name__}: {error}") from error
    finally:
        torch.set_grad_enabled(gradients)
    size = sum(map(len, written(found)))
    if size > MAX_BYTES:
        raise ValueError(f"{path.name}: its recorded checks take {size:,} bytes; {MAX_BYTES:,} are allowed.")
    return found


def record_exercise(
    exercise: Exercise, setup: dict[str, Any], tensors: dict[str, torch.Tensor], lab: str
) -> list[dict]:
    """The calls of one exercise's recorded tests, made with its solution."""
    recorder = Recorder(tensors)
    namespace = dict(setup)
    exec(exercise.solution, namespace)
    exec(check_line(exercise), namespace | {"check": recorder.check})
    if recorder.name != f"{lab}/{exercise.id}":
        raise ValueError(f"its visible part checks {recorder.name!r}; it must be '{lab}/{exercise.id}'")
    exec(recorded_part(exercise.test), namespace | recorder.tools())
    return recorder.calls


def check_line(exercise: Exercise) -> str:
    """The statement of a test's visible part that calls `check`. Raises ValueError unless there is exactly one."""
    found = [
        ast.unparse(line)
        for line in ast.parse(visible_part(exercise.test)).body
        if isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Call)
        and getattr(line.value.func, "id", "") == "check"
    ]
    if len(found) != 1:
        raise ValueError(f"its visible part calls `check` {len(found)} times; it must do so once")
    return found[0]


def lab_of(path: Path) -> str:
    """The number of a lab, such as "01", which its record is called by."""
    return path.stem.partition("-")[0]


def written(record: recorded.Record) -> tuple[bytes, bytes]:
    """A record as the bytes of its JSON and its safetensors file."""
    from safetensors.torch import save

    exercises = [  # a line for each call, so that a diff shows which ones changed
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(call, ensure_ascii=False) for call in calls) + "\n]"
        for name, calls in record.exercises.items()
    ]
    text = "{\n" + ",\n".join(exercises) + "\n}\n"
    return text.encode(), save(record.tensors)


def write_record(record: recorded.Record, folder: Path, lab: str) -> None:
    """Write a lab's record, unless what is there differs by another machine's rounding only."""
    if agrees(record, folder, lab):
        return
    text, tensors = written(record)
    write_atomically(folder / f"{lab}.json", text)
    write_atomically(folder / f"{lab}.safetensors", tensors)


def agrees(record: recorded.Record, folder: Path, lab: str) -> bool:
    """Whether a folder holds this record, up to rounding in the last digits."""
    try:
        known = recorded.read_record.__wrapped__(lab, folder)
    except OSError:
        return False
    return (
        close(record.exercises, known.exercises)
        and record.tensors.keys() == known.tensors.keys()
        and all(close(value, known.tensors[name]) for name, value in record.tensors.items())
    )


def close(left: Any, right: Any) -> bool:
    """Whether two nodes or tensors are the same up to rounding."""
    if isinstance(left, torch.Tensor):
        if left.dtype != right.dtype or left.shape != right.shape:
            return False
        if not left.is_floating_point():
            return torch.equal(left, right)
        return torch.allclose(left.double(), right.double(), atol=ATOL, rtol=ATOL, equal_nan=True)
    if isinstance(left, float) and isinstance(right, float):
        return close(torch.tensor(left), torch.tensor(right))
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(close(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(close, left, right))
    return left == right


def same_bytes(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.equal(left.view(-1).view(torch.uint8), right.view(-1).view(torch.uint8)) if left.numel() else True


def _value(thing: Any) -> Any:
    """The same with what `answer` gave in place of each `Got`, in lists too."""
    if isinstance(thing, Got):
        return thing.value
    return [_value(each) for each in thing] if type(thing) is list else thing
