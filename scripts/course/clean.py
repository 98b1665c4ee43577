"""Run a student's functions and their tests in a clean process: its verdict is the one that counts.

A notebook's kernel belongs to the student's code: any cell may change how later cells are run or shown. Here nothing
runs but the lab's own set-up cell, the student's definitions (imports, functions, classes, simple assignments; no
other statements) and the lab's own test cell. The hidden tests run nowhere else, so no notebook can print them.

The process imports the set-up cell once and forks for every exercise. The test has a namespace of its own, which gets
only the exercise's functions; before every verdict it checks that nothing the verdict rests on was replaced.

What this cannot catch: a function written against this very file, which looks for the expected values in the frames
above it or forges its process's answer. Whoever wants that prevented must read the code or let the functions run on
another machine; here it is only made harder than solving the exercise.
"""

import ast
import builtins
import copy
import inspect
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import NamedTuple

from IPython.core.inputtransformer2 import TransformerManager

from scripts.course.cells import Exercise, visible_part
from scripts.course.kernel import ENDED, SETUP_SECONDS, environment

MAX_HINT = 600  # characters; the text of an error may be the student's own


class Verdict(NamedTuple):
    """What the clean process found for one exercise."""

    passed: bool
    hint: str = ""  # what to look at; "" if passed
    visible: bool = False  # whether the tests that students see passed
    unwritten: bool = False  # the stub is still there
    stopped: bool = False  # it ran too long or ended its process
    tampered: str = ""  # what the student's code replaced, "" if nothing


class SetupBroken(RuntimeError):
    """The lab's own set-up cell fails: nothing can be graded on this machine."""


def run(setup: str, cells: list[tuple[str, bool]], exercises: list[Exercise], seconds: float) -> dict[str, Verdict]:
    """Verdicts by exercise id.

    setup: source of the set-up cell; cells: sources of the student's code cells in order, each with whether it is an
    answer cell; seconds: limit for one exercise. Raises `SetupBroken`.
    """
    job = {"setup": setup, "cells": cells, "exercises": exercises, "seconds": seconds}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.course.clean"], text=True, encoding="utf-8", cwd=scratch,
            env=environment(scratch), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        killer = threading.Timer(SETUP_SECONDS + 2 * seconds * (len(exercises) + 1), process.kill)
        killer.start()
        try:
            output, errors = process.communicate(json.dumps(job))
        finally:
            killer.cancel()
    try:
        found = json.loads(output)
    except ValueError:
        reason = errors.strip().rpartition("\n")[2] or f"exit status {process.returncode}"
        raise SetupBroken(f"the process that runs the tests stopped: {reason}") from None
    if "setup_error" in found:
        raise SetupBroken(f"the lab's set-up cell fails on this machine: {found['setup_error']}")
    return {name: Verdict(**verdict) for name, verdict in found.items()}


def definitions(source: str, answer_cell: bool) -> list[ast.stmt]:
    """The statements of a cell that may run here. Raises SyntaxError.

    Assignments count if they assign to names; outside answer cells only if they call nothing, since they could load a
    model or change something.
    """
    lines = source.splitlines()
    if lines and lines[0].startswith("%%"):
        lines[0] = ""  # a cell magic such as %%time; what another language's cell holds does not parse
    kept = []
    for statement in ast.parse(TransformerManager().transform_cell("\n".join(lines))).body:
        if isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            kept.append(statement)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names_only = all(isinstance(node, (ast.Name, ast.Tuple, ast.List, ast.Store)) for t in targets for node in ast.walk(t))
            calls = any(isinstance(node, (ast.Call, ast.Await)) for node in ast.walk(statement.value))
            if names_only and (answer_cell or not calls):
                kept.append(statement)
    return kept


def defined_names(source: str) -> set[str]:
    """Names that the top level of a cell defines; empty if it does not parse."""
    try:
        statements = definitions(source, answer_cell=True)
    except SyntaxError:
        return set()
    names = {statement.name for statement in statements if hasattr(statement, "name")}
    stored = (node for statement in statements if isinstance(statement, (ast.Assign, ast.AnnAssign)) for node in ast.walk(statement))
    return names | {node.id for node in stored if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


# ---------------------------------------------------------------- in the clean process


class _Tampered(BaseException):
    """Not an Exception, so that no test's own `except` swallows it."""


def main() -> None:
    """Read a job from stdin and write verdicts to stdout. Whatever else is printed goes nowhere."""
    job = json.load(sys.stdin)
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    namespace = {"__name__": "__main__"}
    try:
        exec(compile(job["setup"], "<set-up>", "exec"), namespace)
    except Exception as error:
        found = {"setup_error": f"{type(error).__name__}: {error}"}
    else:
        os.dup2(nowhere, 2)
        found = {}
        for fields in job["exercises"]:
            exercise = Exercise(*fields)
            found[exercise.id] = _in_a_fork(namespace, job["cells"], exercise, job["seconds"], results)._asdict()
    json.dump(found, results)
    results.close()


def _in_a_fork(namespace: dict, cells: list, exercise: Exercise, seconds: float, results) -> Verdict:
    token = secrets.token_hex(16).encode()  # a stray write to the pipe is not taken for a verdict
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.close(reading)
            os.close(results.fileno())
            verdict = _judge(namespace, cells, exercise)
            os.write(writing, token + json.dumps(verdict._asdict()).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writing)
    received, deadline = b"", time.monotonic() + seconds
    late = False
    while not received.endswith(b"\n"):
        ready, _, _ = select.select([reading], [], [], max(0, deadline - time.monotonic()))
        late = not ready
        chunk = b"" if late else os.read(reading, 65536)
        received += chunk
        if not chunk or len(received) > 10**6:
            break
    os.close(reading)
    try:
        os.killpg(child, signal.SIGKILL)  # and what it may have started
    except (ProcessLookupError, PermissionError):
        pass  # it ended by itself, or before it led its own group
    os.waitpid(child, 0)
    if received.startswith(token) and received.endswith(b"\n"):
        return Verdict(**json.loads(received[len(token):]))
    hint = f"took longer than {seconds:g} s and was stopped" if late else ENDED
    return Verdict(False, hint, stopped=True)


def _judge(setup: dict, cells: list, exercise: Exercise) -> Verdict:
    changed = _watch(setup)
    student = dict(setup)
    first_error = {}  # by name that a statement should have defined
    for source, answer_cell in cells:
        _define(source, answer_cell, student, first_error)
    if changed():
        return Verdict(False, "", tampered=changed())
    own = defined_names(exercise.solution)
    guarded = _guard(setup, changed)
    for visible, source in ((False, visible_part(exercise.test)), (True, exercise.test)):
        namespace = {**setup, **guarded, **{name: student[name] for name in own if name in student}}
        try:
            exec(compile(source, "<test>", "exec"), namespace)
        except _Tampered as found:
            return Verdict(False, "", visible, tampered=str(found))
        except BaseException as error:
            if changed():
                return Verdict(False, "", visible, tampered=changed())
            hint = _hint(error, sorted(own - student.keys()), first_error)
            return Verdict(False, hint, visible, unwritten=_is_stub(error))
    return Verdict(True, visible=True)


def _define(source: str, answer_cell: bool, namespace: dict, first_error: dict) -> None:
    try:
        statements = definitions(source, answer_cell)
    except SyntaxError as error:
        if answer_cell:
            first_error[""] = f"SyntaxError: {error.msg} (line {error.lineno} of an answer cell)"
        return
    for statement in statements:
        try:
            exec(compile(ast.Module([statement], []), "<notebook>", "exec"), namespace)
        except BaseException as error:
            first_error.setdefault(getattr(statement, "name", ""), f"{type(error).__name__}: {error}")


def _hint(error: BaseException, missing: list[str], first_error: dict) -> str:
    if missing:
        reason = first_error.get(missing[0]) or first_error.get("")
        return f"`{missing[0]}` is not defined" + (f": {reason}" if reason else ": is its cell deleted or renamed?")[:MAX_HINT]
    text = str(error) if type(error).__name__ == "CheckFailed" else f"{type(error).__name__}: {error}"
    causes = [error, error.__cause__, error.__context__]
    if any(isinstance(cause, NameError) for cause in causes):
        text += " (A graded function sees its arguments, the set-up cell's imports and your other functions, nothing else.)"
    return text if len(text) <= MAX_HINT else text[:MAX_HINT] + "…"


def _is_stub(error: BaseException) -> bool:
    return isinstance(error, NotImplementedError) or isinstance(error.__cause__, NotImplementedError)


def _watch(setup: dict):
    """A function that says what was replaced since now among the things that tests rest on, or ""."""
    import torch
    from torch import Tensor, nn

    from scripts.course import checks

    modules = [checks, builtins, copy, torch, nn.functional, *(m for m in setup.values() if inspect.ismodule(m))]
    before = [(module, dict(vars(module))) for module in {id(m): m for m in modules}.values()]
    functions = [value for value in vars(checks).values() if inspect.isfunction(value)]
    code = [(f, f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions]
    tensor = {name: inspect.getattr_static(Tensor, name) for name in dir(Tensor)}

    def modes():  # a function or dispatch mode sees, and may answer, every later call of torch
        return torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()

    modes_before = modes()

    def changed() -> str:
        for module, values in before:
            now = vars(module)
            for name, value in values.items():
                if now.get(name) is not value and not name.startswith("__"):
                    return f"{module.__name__}.{name} was replaced"
        for function, *parts in code:
            if any(a is not b for a, b in zip((function.__code__, function.__defaults__, function.__kwdefaults__), parts)):
                return f"checks.{function.__name__} was changed"
        for name, value in tensor.items():
            if inspect.getattr_static(Tensor, name, None) is not value:
                return f"Tensor.{name} was replaced"
        if modes() != modes_before:
            return "a mode that intercepts torch's functions was left on"
        if sys.gettrace() or sys.getprofile():
            return "a trace function was set"
        return ""

    return changed


def _guard(setup: dict, changed) -> dict:
    """The checks that the set-up cell imported, each looking for changes right before it decides."""
    from torch import Tensor, nn

    from scripts.course import checks

    def unchanged():
        what = changed()
        if what:
            raise _Tampered(what)

    def answer(function, *args, **kwargs):
        result = checks.answer(function, *args, **kwargs)
        unchanged()
        _plain(result, (Tensor, nn.Parameter), getattr(function, "__name__", "the function"))
        return result

    def expect(condition, hint):
        unchanged()
        checks.expect(condition, hint)

    def expect_close(got, *args, **kwargs):
        unchanged()
        _plain(got, (Tensor, nn.Parameter), "your function")
        checks.expect_close(got, *args, **kwargs)

    guards = {checks.answer: answer, checks.expect: expect, checks.expect_close: expect_close}
    return {name: guards[value] for name, value in setup.items() if inspect.isfunction(value) and value in guards}


def _plain(value, tensors: tuple, who: str) -> None:
    """Refuse results that decide by themselves what they are equal to."""
    from scripts.course.checks import CheckFailed

    kind = type(value)
    if isinstance(value, tensors[0]):
        if kind not in tensors:
            raise CheckFailed(f"{who} should return an ordinary tensor, not a {kind.__name__}.")
    elif kind in (list, tuple, set, frozenset):
        for entry in value:
            _plain(entry, tensors, who)
    elif kind is dict:
        for entry in value.values():
            _plain(entry, tensors, who)
    elif getattr(sys.modules.get(kind.__module__), kind.__name__, None) is not kind and any(
        name in vars(parent) for parent in kind.__mro__[:-1] for name in ("__eq__", "__ne__", "__torch_function__", "__class__")
    ):
        raise CheckFailed(f"{who} should return numbers, tensors, lists or dictionaries, not a {kind.__name__} of your own.")


if __name__ == "__main__":
    main()
