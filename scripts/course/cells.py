"""What the cells of a lab notebook mean: its set-up, its exercises, its written answers, and what is hidden
in them.

Cells are marked by nbgrader's metadata. An exercise is a solution cell (`ex1-…`) and a test cell
(`test-ex1-…`); a written answer is one markdown cell (`written-…`) that a person grades.
"""

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from scripts.course.reading import MAX_NOTEBOOK_BYTES, mended, text_of, what_is_wrong

STUB = 'raise NotImplementedError("replace this line by your answer")'
TEXT_STUB = "*Your answer here.*"


class UnreadableNotebook(ValueError):
    """A file is no notebook; the message is one sentence that says why and what to do."""


class Exercise(NamedTuple):
    """One automatically graded exercise."""

    id: str  # grade_id of the solution cell, such as "ex1-second-mention"
    title: str  # the nearest heading above
    points: float
    solution: str  # source of the solution cell
    test: str  # source of the test cell, hidden tests included


class Written(NamedTuple):
    """One written answer, graded by a person."""

    id: str
    title: str
    points: float
    text: str


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook of any origin. Raises `UnreadableNotebook`, or `FileNotFoundError`."""
    called = mended(path.name)  # messages are written to files
    if path.stat().st_size > MAX_NOTEBOOK_BYTES:
        raise UnreadableNotebook(
            f"{called} is larger than {MAX_NOTEBOOK_BYTES // 10**6} MB: clear its outputs and save it."
        )
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about cell ids, which no student knows of
            notebook = nbformat.from_dict(mended(nbformat.reads(text_of(data), as_version=4)))
        well_formed = all(
            isinstance(cell.source, str)
            and isinstance(cell.metadata, dict)
            and cell.cell_type in ("code", "markdown", "raw")
            for cell in notebook.cells
        )
    except Exception as error:  # nbformat lets many kinds of errors through: the file may hold anything
        raise UnreadableNotebook(f"{called} is not a valid notebook {what_is_wrong(data, error)}") from error
    if not well_formed:
        raise UnreadableNotebook(
            f"{called} is not a valid notebook (a cell is malformed): copy the answers into a fresh copy of the lab."
        )
    return notebook


def grading(cell: NotebookNode) -> dict:
    """nbgrader's metadata of a cell; empty for an ordinary cell."""
    found = cell.metadata.get("nbgrader")
    return found if isinstance(found, dict) and isinstance(found.get("grade_id"), str) else {}


def grade_id(cell: NotebookNode) -> str:
    """The name of a marked cell, or "" for an ordinary cell."""
    return grading(cell).get("grade_id", "")


def is_test(cell: NotebookNode) -> bool:
    return bool(grading(cell).get("grade")) and not grading(cell).get("solution")


def is_answer(cell: NotebookNode) -> bool:
    """Whether students write in this marked cell: code of an exercise or a written answer."""
    return bool(grading(cell).get("solution"))


def read_setup(path: Path) -> str:
    """The source of a lab's set-up cell."""
    return setup_of(read_notebook(path))


def setup_of(notebook: NotebookNode) -> str:
    found = [cell.source for cell in notebook.cells if grade_id(cell) == "setup"]
    if len(found) != 1:
        raise ValueError(f"the notebook has {len(found)} cells with the grade_id 'setup'; it needs exactly one")
    return found[0]


def read_exercises(path: Path) -> list[Exercise]:
    """The exercises of a lab in order. Raises ValueError for a missing test cell or a name used twice."""
    return exercises_of(read_notebook(path))


def exercises_of(notebook: NotebookNode) -> list[Exercise]:
    marked = [grade_id(cell) for cell in notebook.cells if grade_id(cell)]
    twice = sorted({name for name in marked if marked.count(name) > 1})
    if twice:
        raise ValueError(f"the grade_id {twice[0]!r} occurs {marked.count(twice[0])} times; each must be unique")
    tests = {grade_id(cell): cell for cell in notebook.cells if is_test(cell)}
    found = []
    title = ""
    for cell in notebook.cells:
        title = heading(cell) or title
        if is_answer(cell) and not grading(cell).get("grade"):
            name = grade_id(cell)
            test = tests.pop(f"test-{name}", None)
            if test is None:
                raise ValueError(f"the test cell 'test-{name}' is missing")
            found.append(Exercise(name, title or name, float(grading(test)["points"]), cell.source, test.source))
    if tests:
        raise ValueError(f"the test cell {next(iter(tests))!r} has no answer cell of the same name without 'test-'")
    return found


def written_of(notebook: NotebookNode) -> list[Written]:
    """The written answers of a notebook, in order."""
    found = []
    title = ""
    for cell in notebook.cells:
        title = heading(cell) or title
        if is_answer(cell) and grading(cell).get("grade"):
            found.append(Written(grade_id(cell), title or grade_id(cell), float(grading(cell)["points"]), cell.source))
    return found


def student_code(notebook: NotebookNode) -> list[tuple[str, str]]:
    """The code that a student wrote, in order, each with the id of the exercise that it answers, "" for other cells."""
    return [
        (cell.source, grade_id(cell) if is_answer(cell) else "")
        for cell in notebook.cells
        if cell.cell_type == "code" and not is_test(cell) and (is_answer(cell) or not grading(cell))
    ]


def is_graded(notebook: NotebookNode) -> bool:
    """Whether there is a point to be had; the exercises of a notebook without one are checked only."""
    return any(grading(cell).get("points") for cell in notebook.cells)


def heading(cell: NotebookNode) -> str:
    """The last heading in a markdown cell, without its #, or ""."""
    if cell.cell_type != "markdown" or grade_id(cell):
        return ""
    found = re.findall(r"^#{1,6} +(.+?)\s*$", cell.source, flags=re.M)
    return found[-1] if found else ""


def place_of(notebook: NotebookNode, index: int) -> str:
    """How to find a cell of code, to begin a sentence with: JupyterLab shows headings, and no numbers of cells."""
    title, code = "", []  # the cells of code since the last heading
    for number, cell in enumerate(notebook.cells):
        if found := heading(cell):
            if number > index:
                break
            title, code = found, []
        if cell.cell_type == "code":
            code.append(number)
    at = f'under "{title}"' if title else "before the first heading"
    return f"The cell {at}" if code == [index] else f"Code cell {code.index(index) + 1} {at}"


def clear_outputs(notebook: NotebookNode) -> None:
    """Take out what an earlier run left, so that what stands there after the next one comes from that one."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)


def visible_part(test: str) -> str:
    """A test cell as students see it: without the lines between BEGIN HIDDEN TESTS and END HIDDEN TESTS."""
    return "\n".join(line for line, hidden in _lines(test) if not hidden)


def hidden_lines(test: str) -> list[str]:
    """The lines of a test cell that no student may see, stripped, without the markers and empty lines."""
    return [
        line.strip()
        for line, hidden in _lines(test)
        if hidden and line.strip() and not re.search("(BEGIN|END) (HIDDEN|RECORDED) TESTS", line)
    ]


def recorded_part(test: str) -> str:
    """The lines of a test cell between BEGIN RECORDED TESTS and END RECORDED TESTS, from which a record is made."""
    found = re.search(r"^### BEGIN RECORDED TESTS$\n(.*?)^### END RECORDED TESTS$", test, re.M | re.S)
    return found[1] if found else ""


def _lines(test: str):
    hidden = False
    for line in test.split("\n"):
        hidden = hidden or "BEGIN HIDDEN TESTS" in line
        yield line, hidden
        hidden = hidden and "END HIDDEN TESTS" not in line
