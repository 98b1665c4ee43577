"""The clean process: judge each exercise of a submission by itself. Started by `scripts.course.judging.clean` only.

From the student's cells only definitions run (imports, functions, classes), and what the exercise's own functions
rest on (`scripts.course.judging.statements`); outside answer cells only if it calls nothing. The process runs the
set-up cell once and forks for every exercise. A test has a namespace of its own, which gets only the exercise's
functions, and before every verdict it is checked that nothing which the verdict rests on was replaced.

What this cannot catch: a function written against this very file, which looks for the expected values in the
frames above it, or forges its process's answer. Here that is made harder than solving the exercise, not
impossible.
"""

import builtins
import copy
import inspect
import json
import os
import secrets
import select
import signal
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

from scripts.course.judging import hidden
from scripts.course.judging.definitions import Definitions, Notebook
from scripts.course.judging.statements import names_tested

MAX_HINT = 600  # characters; the text of an error may be the student's own
ENDED = "ended its Python process"
_THIS = sys.modules[__name__]
_SEES = "A graded function sees only its arguments, the set-up's imports, and what the answer cells define"


class _Tampered(BaseException):
    """Not an Exception, so that no test's own `except` swallows it."""


def main() -> None:
    """Read a job from stdin and write verdicts to stdout. Whatever else is printed goes nowhere."""
    job = json.load(sys.stdin)
    results = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    found = run_job(job, results)
    with os.fdopen(results, "wb") as file:
        file.write(found)


def run_job(job: dict, results: int) -> bytes:
    """The verdicts by exercise as JSON, or why the lab's set-up cell fails.

    results: descriptor on which they will be written; exercises don't get it
    """
    namespace = {"__name__": "__main__"}
    try:
        exec(compile(job["setup"], "<set-up>", "exec"), namespace)
    except Exception as error:
        found = {"setup_error": f"{type(error).__name__}: {error}"}
    else:
        os.dup2(1, 2)
        if (
            "scripts.mech_interp_utils" in sys.modules
        ):  # a test may import TransformerLens first, and that torch._dynamo,
            import torch._dynamo  # noqa: F401 # which puts functions of its own in torch's place: no student's doing
        found = {}
        notebook = Notebook(job["cells"], namespace)
        for exercise in job["exercises"]:
            found[exercise[0]] = _in_a_fork(job["seconds"], results, lambda: _judge(namespace, notebook, *exercise))
    return json.dumps(found).encode()


def _in_a_fork(seconds: float, results: int, judge: Callable[[], dict]) -> dict:
    """What `judge` returns, computed in a child process: the fields of a `scripts.course.judging.clean.Verdict`."""
    token = secrets.token_hex(16).encode()  # a stray write to the pipe is not taken for a verdict
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.close(reading)
            os.close(results)
            os.write(writing, token + json.dumps(judge()).encode() + b"\n")
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
        return json.loads(received[len(token) :])
    hint = f"took longer than {seconds:g} s and was stopped" if late else ENDED
    return {"passed": False, "hint": hint, "stopped": True}


def _judge(setup: dict, notebook: Notebook, name: str, visible_test: str, whole_test: str) -> dict:
    changed = _watch(setup)
    tests = (False, visible_test), (True, whole_test)  # each with whether the tests that students see have passed
    student = Definitions(notebook, names_tested(whole_test) - setup.keys(), setup)
    here, end = notebook.cells_until(name), len(notebook.sources)
    # First what the test cell finds in the notebook, where no later cell has run yet.
    student.run(0, here)
    found = _tested(student, setup, tests, changed)
    if found["passed"] or found.get("tampered") or not student.more_after(here):
        return found
    undefined = found["unwritten"] or student.missing
    student.run(here, end)
    later = _tested(student, setup, tests, changed)
    return later if later["passed"] or later.get("tampered") or undefined else found


def _tested(student: Definitions, setup: dict, tests: tuple, changed: Callable[[], str]) -> dict:
    if changed():
        return {"passed": False, "tampered": changed()}
    functions = {name: student.names[name] for name in student.own if name in student.names}
    for seen, source in tests:  # once the tests that students see have passed, the hidden ones run
        namespace = {**setup, **_guard(setup, changed, student.own if seen else None), **functions}
        try:
            exec(compile(source, "<test>", "exec"), namespace)
        except _Tampered as found:
            return {"passed": False, "visible": seen, "tampered": str(found)}
        except BaseException as error:
            hint = hidden.hint(error, __file__) if seen else _hint(error, student)
            return {"passed": False, "visible": seen, "hint": hint, "unwritten": _is_stub(error), "tampered": changed()}
    return {"passed": not changed(), "visible": True, "tampered": changed()}


def _hint(error: BaseException, student: Definitions) -> str:
    if student.missing:
        name = student.missing[0]
        why = student.why_missing(name) or "is its cell deleted, or the function renamed?"
        text = f"`{name}` is not defined: {why}"
    else:
        text = str(error) if type(error).__name__ == "CheckFailed" else f"{type(error).__name__}: {error}"
        stopped = error if type(error).__name__ != "CheckFailed" else error.__cause__  # of the student's code
        why = student.what_failed()
        if type(stopped) is NameError:
            why = (stopped.name and student.why_missing(stopped.name)) or why or _SEES
        elif stopped is not None and not isinstance(stopped, NotImplementedError):
            why = why or student.what_was_left_out()
        text += f" ({why}.)" if why else ""
    return text if len(text) <= MAX_HINT else text[:MAX_HINT] + "…"


def _is_stub(error: BaseException) -> bool:
    return isinstance(error, NotImplementedError) or isinstance(error.__cause__, NotImplementedError)


def _watch(setup: dict):
    """A function that says what was replaced since now among the things that tests rest on, or ""."""
    import torch  # already imported by the set-up cell
    from torch import Tensor, nn

    from scripts.course import checks, recorded, values

    modules = [checks, recorded, values, hidden, builtins, copy, json, os, torch, nn.functional, _THIS]
    modules += [value for value in setup.values() if inspect.ismodule(value)]
    before = [(module, dict(vars(module))) for module in {id(m): m for m in modules}.values()]
    functions = [
        f for module in (checks, recorded, values, hidden) for f in vars(module).values() if inspect.isfunction(f)
    ]
    code = [(f, f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions]
    tensor = {name: inspect.getattr_static(Tensor, name) for name in dir(Tensor)}

    def modes():  # a function or dispatch mode sees, and may answer, every later call of torch
        return torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()

    modes_before = modes()

    def changed() -> str:
        for module, known in before:
            now = vars(module)
            for name, value in known.items():
                if now.get(name) is not value:
                    return f"{module.__name__}.{name} was replaced"
        for function, *parts in code:
            if any(
                a is not b for a, b in zip((function.__code__, function.__defaults__, function.__kwdefaults__), parts)
            ):
                return f"{function.__module__}.{function.__name__} was changed"
        for name, value in tensor.items():
            if inspect.getattr_static(Tensor, name, None) is not value:
                return f"Tensor.{name} was replaced"
        if modes() != modes_before:
            return "a mode that intercepts torch's functions was left on"
        if sys.gettrace() or sys.getprofile():
            return "a trace function was set"
        return ""

    return changed


def _guard(setup: dict, changed, names: set[str] | None) -> dict:
    """The checks that the set-up cell imported, each looking for changes right before it decides.

    names: of the functions that are tested, if what a failed check says may hold nothing that student code made
    """
    from torch import Tensor, nn

    from scripts.course import checks, recorded

    def unchanged():
        what = changed()
        if what:
            raise _Tampered(what)

    def answer(function, *args, **kwargs):
        function = function if names is None else hidden.named(function, names)
        result = checks.answer(function, *args, **kwargs)
        unchanged()
        _plain(result, (Tensor, nn.Parameter), getattr(function, "__name__", "the function"), names is not None)
        return result

    def guarded(check):
        def guard(*args, **kwargs):
            unchanged()
            if next(iter(inspect.signature(check).parameters)) == "got":
                _plain(args[0], (Tensor, nn.Parameter), "your function", names is not None)
            if names is None:
                check(*args, **kwargs)
            else:
                hidden.call(check, *args, **kwargs)

        return guard

    def check(name, *functions, **given):
        recorded.replay(name, functions, given, tools)

    guards = {f: guarded(f) for name, f in vars(checks).items() if name.startswith("expect")} | {checks.answer: answer}
    tools = SimpleNamespace(**{f.__name__: guard for f, guard in guards.items()})
    guards[recorded.check] = check
    return {name: guards[value] for name, value in setup.items() if inspect.isfunction(value) and value in guards}


def _plain(value, tensors: tuple, who: str, unnamed: bool) -> None:
    """Refuse results that decide by themselves what they are equal to. unnamed: don't say what their class is called"""
    from scripts.course.checks import CheckFailed

    kind = type(value)
    called = "class" if unnamed else kind.__name__
    if isinstance(value, tensors[0]):
        if kind not in tensors:
            raise CheckFailed(f"{who} should return an ordinary tensor, not a {called} of your own.")
    elif kind in (list, tuple, set, frozenset):
        for entry in value:
            _plain(entry, tensors, who, unnamed)
    elif kind is dict:
        for entry in value.values():
            _plain(entry, tensors, who, unnamed)
    elif any(
        inspect.isfunction(vars(parent).get(method)) and not _belongs_to_a_library(parent)
        for parent in kind.__mro__
        for method in ("__eq__", "__ne__", "__torch_function__")
    ):
        raise CheckFailed(f"{who} should return numbers, tensors, lists or dictionaries, not a {called} of your own.")


def _belongs_to_a_library(kind: type) -> bool:
    return kind.__module__ != "__main__" and getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind


if __name__ == "__main__":
    main()
