"""Cells that read like a lab: they fit a screen, leave nothing behind that another run would meet, and stand alone.

That a cell gives the same when it is run twice is tried where the notebooks are executed (`conftest.py`); here it is
read off the code that nothing can stand in its way.
"""

import ast
import re
from pathlib import Path

import pytest
from nbformat import NotebookNode

from scripts.course.cells import grade_id, is_test, read_notebook, visible_part
from scripts.course.judging.statements import Statement, names_set, statements
from scripts.interp.base.paths import ROOT
from tests.fixtures.twice import LONG

LINES, COLUMNS, CHECK_LINES = 25, 110, 10
LABS = sorted((ROOT / "solutions").glob("*.ipynb"))
DRAWS = {"rand", "randn", "randint", "randperm", "multinomial", "bernoulli", "normal"}
GENERATORS = {"Generator", "manual_seed", "default_rng", "Random"}

each_lab = pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[NotebookNode]:
    """The code cells of a solved lab as students see their checks."""
    cells = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    for cell in cells:
        cell.source = visible_part(cell.source) if is_test(cell) else cell.source
    return cells


def name_of(cell: NotebookNode) -> str:
    return grade_id(cell) or cell.id


@each_lab
def test_cells_fit_a_screen(path):
    too_large = {}
    for cell in code_cells(path):
        lines = cell.source.split("\n")
        widest, most = max(map(len, lines)), CHECK_LINES if is_test(cell) else LINES
        if len(lines) > most or widest > COLUMNS:
            too_large[name_of(cell)] = f"{len(lines)} lines, {widest} columns"
    assert too_large == {}


@each_lab
def test_check_cells_leave_no_name_behind(path):
    left = {name_of(cell): names_set(cell.source) for cell in code_cells(path) if is_test(cell)}
    assert {name: names for name, names in left.items() if names} == {}


@each_lab
def test_what_a_cell_takes_from_others_has_one_source(path):
    """A name that two cells set makes a third one depend on which of them ran last."""
    assert two_sources(code_cells(path)) == {}


@each_lab
def test_an_exercise_needs_no_other_exercise(path):
    cells = code_cells(path)
    setters = {name: exercise_of(cell) for cell in cells for name in names_set(cell.source)}
    needed = {
        (name_of(cell), name): setters[name]
        for cell in cells
        for name in taken(cell)
        if exercise_of(cell) and setters.get(name) and setters[name] != exercise_of(cell)
    }
    assert needed == {}


@each_lab
def test_random_numbers_come_from_a_generator_of_their_cell(path):
    """A generator that another cell made goes on where it was when the cell is run again."""
    cells = code_cells(path)
    made = {name for cell in cells for s in statements(cell.source, 0, True) if makes_generator(s) for name in s.sets}
    shared = {name_of(cell): taken(cell) & made for cell in cells}
    without = {name_of(cell): draws_without(cell.source) for cell in cells}
    assert {name: names for name, names in shared.items() if names} == {}
    assert {name: calls for name, calls in without.items() if calls} == {}


def test_the_cells_that_are_run_once_exist():
    there = {path.stem: {cell.id for cell in code_cells(path)} for path in LABS}
    assert {lab: cells - there.get(lab, set()) for lab, cells in LONG.items() if cells - there.get(lab, set())} == {}


def two_sources(cells: list[NotebookNode]) -> dict[str, list[str]]:
    setters = {}
    for cell in cells:
        for name in names_set(cell.source):
            setters.setdefault(name, []).append(name_of(cell))
    wanted = {name for cell in cells for name in taken(cell)}
    return {name: setters[name] for name in sorted(wanted) if len(setters.get(name, [])) > 1 and name != "_"}


def taken(cell: NotebookNode) -> set[str]:
    """Names that a cell reads before it sets them itself."""
    found, own = set(), set()
    for statement in statements(cell.source, 0, True):
        itself = read_by_itself(statement)
        found |= (statement.reads | itself) - own - (statement.sets - itself)
        own |= statement.sets
    return found


def read_by_itself(statement: Statement) -> set[str]:
    """Names that a statement reads before it sets them: `total = total + 1`, `total += 1`."""
    node = statement.node
    if isinstance(node, ast.AugAssign):
        return {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
    if isinstance(node, ast.Assign):
        return {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)} & statement.reads
    return set()


def exercise_of(cell: NotebookNode) -> str:
    found = re.match(r"(?:test-)?(ex\d+)-", name_of(cell))
    return found[1] if found else ""


def makes_generator(statement: Statement) -> bool:
    """Whether a statement is `name = torch.Generator()`, with or without `.manual_seed(…)`, or the like."""
    value = statement.node.value if isinstance(statement.node, ast.Assign) else None
    return isinstance(value, ast.Call) and getattr(value.func, "attr", "") in GENERATORS


def draws_without(source: str) -> list[str]:
    """Calls that draw from torch's own generator."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in DRAWS
        and getattr(node.func.value, "id", "") == "torch"
        and "generator" not in {keyword.arg for keyword in node.keywords}
    ]


def cell_with(source: str, name: str) -> NotebookNode:
    return NotebookNode(id=name, cell_type="code", source=source, metadata={})


@pytest.mark.parametrize(
    "sources, found",
    [
        (["x = 1", "x = 2", "print(x)"], {"x": ["c0", "c1"]}),
        (["x = 1", "x = x + 1"], {"x": ["c0", "c1"]}),
        (["x = 1", "x += 1"], {"x": ["c0", "c1"]}),
        (["x = 1", "def f():\n    return x", "for x in range(3):\n    pass"], {"x": ["c0", "c2"]}),
        (["for x in range(3):\n    print(x)", "x = 2\nprint(x)"], {}),
        (["x = 1", "print(x)", "y = [x for x in range(3)]", "for x in range(2):\n    pass"], {"x": ["c0", "c3"]}),
        (["for x in range(3):\n    print(x)", "x = 2\nprint(x)", "y = [x for x in range(3)]"], {}),
    ],
)
def test_two_sources_are_seen(sources, found):
    assert two_sources([cell_with(source, f"c{i}") for i, source in enumerate(sources)]) == found


def test_draws_from_the_common_generator_are_seen():
    assert draws_without("torch.randn(3)\ntorch.randn(3, generator=g)\ntorch.randperm(4)") == [
        "torch.randn(3)",
        "torch.randperm(4)",
    ]
