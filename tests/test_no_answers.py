"""No file that a student gets holds the answer to an exercise: neither written down nor as a function that gives it.

Written down: an expression of a solution, with every variable's name folded away, in a notebook or a helper. As a
function: one that passes everything that is recorded of an exercise (`scripts/course/recorded.py`), and its hidden
tests, whose inputs nobody has seen.
"""

import ast
import contextlib
import copy
import importlib
import inspect
import io
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.course import checks, recorded, recording
from scripts.course.cells import STUB, Exercise, grade_id, read_exercises, read_notebook, read_setup
from scripts.interp.base.paths import ROOT

LABS = sorted((ROOT / "solutions").glob("*.ipynb"))
EXERCISES = [(path, exercise) for path in LABS for exercise in read_exercises(path)]
IDS = [f"{recording.lab_of(path)}-{exercise.id}" for path, exercise in EXERCISES]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HELPERS = sorted(path for room in ("interp", "course") for path in (ROOT / "scripts" / room).rglob("*.py"))

DECISIVE = 9  # nodes of an expression's syntax tree: `x.mean(dim=0)` has fewer, and says nothing by itself

SECONDS = 3  # for a function that is tried, of which most stop at once; the solution has as long as it needs

# Functions that pass an exercise's record all the same, and why students have them.
FUNCTIONS_ALL_THE_SAME: dict[str, str] = {
    "04/ex6-clamp scripts.interp.runs.steering.clamp_feature": "what later cells and projects steer with, for any SAE",
    "05/ex1-dimensionality scripts.interp.planted.superposition.feature_dimensionality": "Notebook 04 shows the shares "
    "of planted features with it, and notebook 05 asks for the formula that its text states.",
}


class Folded(ast.NodeTransformer):
    """Names of variables, arguments and keywords' values are all called the same; attributes stay."""

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("_", ast.Load())

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg("_")


def folded(node: ast.AST) -> str:
    return ast.dump(Folded().visit(copy.deepcopy(node)))


def size(node: ast.AST) -> int:
    return sum(isinstance(each, (ast.expr, ast.comprehension, ast.keyword)) for each in ast.walk(node))


def expressions(tree: ast.AST) -> Iterator[ast.expr]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.expr) and size(node) >= DECISIVE)


def decisive(exercise: Exercise) -> dict[str, str]:
    """The expressions of a solution that stand by themselves in a statement, folded, with their text."""
    values = [
        value
        for node in ast.walk(ast.parse(exercise.solution))
        if isinstance(node, (ast.Return, ast.Assign, ast.AugAssign, ast.Expr, ast.If, ast.For))
        for value in [getattr(node, "value", None) or getattr(node, "test", None) or getattr(node, "iter", None)]
        if value is not None and not isinstance(value, ast.Constant)
    ]
    return {folded(value): ast.unparse(value) for value in values if size(value) >= DECISIVE}


def sources() -> Iterator[tuple[str, str]]:
    """Name and text of everything in Python that students get."""
    for path in NOTEBOOKS:
        for cell in read_notebook(path).cells:
            if cell.cell_type == "code":
                yield f"{path.stem}:{grade_id(cell) or cell.id}", cell.source.replace(STUB, "pass")
    for path in HELPERS:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def test_no_solution_is_written_down_in_what_students_get():
    known = {}
    for name, text in sources():
        for node in expressions(ast.parse(text)):
            known.setdefault(folded(node), (name, ast.unparse(node)))
    found = {
        f"{id}: {text}": known[expression][0]
        for (_, exercise), id in zip(EXERCISES, IDS)
        for expression, text in decisive(exercise).items()
        if expression in known
    }
    assert found == {}


def test_a_solution_with_other_names_would_be_found():
    exercise = next(exercise for _, exercise in EXERCISES if exercise.id == "ex7-direct-logit-attribution")
    renamed = "def helper(a, s, W):\n    return ((a / s) * W).sum(dim=-1)"
    found = {folded(node) for node in expressions(ast.parse(renamed))}
    assert found & decisive(exercise).keys()


def functions() -> Iterator[tuple[str, Callable]]:
    """Every function that students can import to compute something, or that a cell of theirs defines."""
    # scripts/course ends and starts processes; what measures costs takes long with whatever it is given, and a bucket
    # is asked over the network
    for path in (
        path
        for path in HELPERS
        if "interp" in path.parts and not {"benchmark", "neuronpedia", "costs"} & {path.stem, path.parent.name}
    ):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", value
    for path in NOTEBOOKS:
        namespace = {"__name__": "__main__"}
        exec(read_setup(path), namespace)
        for cell in read_notebook(path).cells:
            if cell.cell_type == "code" and not grade_id(cell):
                for node in ast.parse(cell.source).body:
                    if isinstance(node, ast.FunctionDef):
                        with contextlib.suppress(Exception):  # a default that needs another cell
                            exec(ast.unparse(node), namespace)
                            yield f"{path.stem}:{node.name}", namespace[node.name]


@pytest.fixture(scope="module")
def candidates() -> list[tuple[str, Callable]]:
    return list(functions())


@pytest.mark.parametrize("path, exercise", EXERCISES, ids=IDS)
def test_no_function_gives_the_answer(path: Path, exercise: Exercise, candidates, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"{recording.lab_of(path)}/{exercise.id}"
    given = given_to(path, exercise)
    first = recorded.read_record(recording.lab_of(path)).exercises[exercise.id][0]
    found = [
        candidate
        for candidate, function in candidates
        if takes(function, first) and passes(name, function, given) and passes_all(path, exercise, function)
    ]
    excused = [each.partition(" ")[2] for each in FUNCTIONS_ALL_THE_SAME if each.startswith(f"{name} ")]
    assert sorted(found) == sorted(excused)
    solution = solved(path, exercise)
    assert passes(name, solution, given, 300) and passes_all(path, exercise, solution), (
        "the solution itself must be found"
    )


def given_to(path: Path, exercise: Exercise) -> dict:
    """The models and objects that a check line hands over."""
    handed = {}
    namespace = {"__name__": "__main__"}
    exec(read_setup(path), namespace)
    namespace["check"] = lambda name, *functions, **given: handed.update(given)
    exec(exercise.solution, namespace)
    exec(recording.check_line(exercise), namespace)
    return handed


def solved(path: Path, exercise: Exercise) -> Callable:
    namespace = {"__name__": "__main__"}
    exec(read_setup(path), namespace)
    before = set(namespace)
    exec(exercise.solution, namespace)
    (name,) = namespace.keys() - before
    return namespace[name]


def takes(function: Callable, call: dict) -> bool:
    """Whether a function can be called with as many arguments, by position, as the exercise's."""
    values = call["args"][1:] if call["call"] == "answer" else call["args"][3:]
    try:
        inspect.signature(function).bind(*values, *call.get("kwargs", {}).values())
    except (TypeError, ValueError):
        return False
    return True


def passes(name: str, function: Callable, given: dict, seconds: int = SECONDS) -> bool:
    """Whether a function passes an exercise's record."""
    return stops_nowhere(lambda: recorded.replay(name, (function,), given, checks), seconds)


def passes_all(path: Path, exercise: Exercise, function: Callable, seconds: int = 300) -> bool:
    """Whether a function passes an exercise's whole test, as its answer."""
    namespace = {"__name__": "__main__"}
    exec(read_setup(path), namespace)
    namespace[solved(path, exercise).__name__] = function
    return stops_nowhere(lambda: exec(exercise.test, namespace), seconds)


def stops_nowhere(run: Callable[[], None], seconds: int) -> bool:
    def late(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return False
    finally:
        signal.alarm(0)
    return True
