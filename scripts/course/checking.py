"""Run a student's notebook and its visible tests, and say for each exercise what to look at."""

import sys
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.utils import compute_checksum

from scripts.course.cells import (
    Exercise,
    UnreadableNotebook,
    exercises_of,
    grade_id,
    grading,
    is_answer,
    is_graded,
    is_test,
    place_of,
    read_notebook,
    setup_of,
    student_code,
    written_of,
)
from scripts.course.judging import clean
from scripts.course.judging.clean_process import ENDED
from scripts.course.judging.execute import error_of, execute
from scripts.course.judging.statements import names_set, names_tested


class NothingToCheck(ValueError):
    """The check can't start; the message says why and what to do."""


def check(path: Path, seconds: float) -> int:
    """Print the report on a notebook. Returns 0 if all visible tests pass, 1 if not, 2 if nothing could be checked."""
    try:
        notebook = read_notebook(path)
        exercises = whole(notebook)
        print(f"Checking {path.name}: {len(exercises)} exercises. The whole notebook runs once.", flush=True)
        incidents, installs = run(notebook, seconds)
        found = clean.run(setup_of(notebook), student_code(notebook), exercises, seconds)
    except (NothingToCheck, UnreadableNotebook) as error:
        print(error)
        return 2
    except clean.SetupBroken as error:
        print(f"Nothing could be checked: {error}. Run `make doctor`.")
        return 2

    passed = 0
    for exercise in exercises:
        hint = judge(exercise, notebook, incidents, found[exercise.id])
        passed += not hint
        print(f"\n{exercise.title}\n  {hint or 'passed'}")
    print()
    for line in only_in_the_notebook(notebook, exercises, found):
        print(line)
    for index, command in installs:
        where = place_of(notebook, index)
        print(f"{where} asked for `{command}`, which runs neither here nor in grading: use the labs' packages.")
    for index, incident in incidents.items():
        after = ": the cells after it did not run." if incident == ENDED else "."
        print(f"{place_of(notebook, index)} {incident}{after}")
    errors = dict(other_errors(notebook))
    waiting = [index for index, message in errors.items() if message.startswith("NotImplementedError")]
    if waiting:
        print("These use answers that are not written yet:")
    for index in waiting:
        print(f"  {place_of(notebook, index)}")
    for index, message in errors.items():
        if index not in waiting:
            print(f"{place_of(notebook, index)} stopped with {message}")
    for cell in edited_tests(notebook):
        print(
            f"{grade_id(cell)} was changed. Grading uses the original; to get it back, copy it from a fresh notebook."
        )
    more = (
        "pass the tests you can see. Grading adds hidden tests, which try other inputs."
        if is_graded(notebook)
        else "pass their tests. This notebook is not graded."
    )
    print(f"{passed} of {len(exercises)} exercises {more}")
    if written_of(notebook):
        print("Written answers are graded by a person and are not checked here.")
    return 0 if passed == len(exercises) else 1


def whole(notebook: NotebookNode) -> list[Exercise]:
    """The exercises of a notebook that has all its marked cells. Raises `NothingToCheck` if one is gone."""
    expected = notebook.metadata.get("marked_cells") or ["setup"]
    present = [grade_id(cell) for cell in notebook.cells]
    gone = [name for name in expected if name not in present]
    restore = "Grading puts tests back, but not answers: copy your work into a fresh notebook of this lab."
    if gone:
        raise NothingToCheck(f"The cell {', '.join(gone)} is gone (deleted, or its marks were lost). {restore}")
    try:
        setup_of(notebook)
        return exercises_of(notebook)
    except ValueError as error:
        raise NothingToCheck(f"The notebook's graded cells are damaged: {error}. {restore}") from error


def run(notebook: NotebookNode, seconds: float) -> tuple[dict[int, str], list[tuple[int, str]]]:
    """Execute the notebook, showing where it is.

    Returns what went wrong beyond ordinary errors, by cell index, and the commands for installers that did nothing.
    """
    installs = []
    of = len(notebook.cells)

    def show(index: int) -> None:
        name = grade_id(notebook.cells[index])
        if sys.stdout.isatty():
            print(f"\r  cell {index + 1} of {of} {name:40.40}", end="", flush=True)
        elif name.startswith("test-"):
            print(f"  cell {index + 1} of {of}: {name}", flush=True)

    try:
        incidents = execute(notebook, seconds, show=show, installs=lambda *asked: installs.append(asked))
        return incidents, list(dict.fromkeys(installs))
    finally:
        if sys.stdout.isatty():
            print("\r" + " " * 70, end="\r")


def judge(exercise: Exercise, notebook: NotebookNode, incidents: dict[int, str], alone: clean.Verdict) -> str:
    """What to look at in an exercise, or "" if it passes by itself, as in grading."""
    index, test = next((i, cell) for i, cell in enumerate(notebook.cells) if grade_id(cell) == f"test-{exercise.id}")
    written, tested = error_of(next(cell for cell in notebook.cells if grade_id(cell) == exercise.id)), error_of(test)
    if alone.passed:
        return ""
    if alone.unwritten:
        return "not written yet"
    if index in incidents:
        return f"its test cell {incidents[index]}"
    if test.execution_count is not None and tested is None:
        return f"it passes in the notebook, but not by itself, as in grading: {alone.hint or alone.tampered}"
    if tested and tested.ename == "CheckFailed":
        return tested.evalue
    if written and written.ename in ("SyntaxError", "IndentationError", "TabError"):
        return f"{written.ename}: {written.evalue}"
    return alone.hint or alone.tampered


def only_in_the_notebook(
    notebook: NotebookNode, exercises: list[Exercise], found: dict[str, clean.Verdict]
) -> list[str]:
    """What keeps the notebook's checks from saying what counts, in sentences."""
    said = [
        f"{place_of(notebook, index)} gives `{name}` another meaning, and the checks use that name: rename yours."
        for index, name in taken_names(notebook)
    ]
    for exercise in exercises:
        test = next(cell for cell in notebook.cells if grade_id(cell) == f"test-{exercise.id}")
        error = error_of(test)
        if error and found[exercise.id].passed:
            said.append(
                f"{grade_id(test)} stopped in the notebook with {error.ename}: {error.evalue[:200]}. "
                "What counts is that the answer passes by itself."
            )
    return said


def taken_names(notebook: NotebookNode) -> list[tuple[int, str]]:
    """Names of the set-up cell that checks use and that a student's cell sets too, with that cell's index."""
    used = {name for cell in notebook.cells if is_test(cell) for name in names_tested(cell.source)}
    used &= names_set(setup_of(notebook))
    return [
        (index, name)
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and not is_test(cell) and grade_id(cell) != "setup"
        for name in sorted(used & names_set(clean.plain_python(cell.source), imports=False))
    ]


def other_errors(notebook: NotebookNode) -> list[tuple[int, str]]:
    """Cells outside the exercises that stopped with an error, by index."""
    return [
        (index, f"{error_of(cell).ename}: {error_of(cell).evalue[:200]}")
        for index, cell in enumerate(notebook.cells)
        if error_of(cell) and not is_answer(cell) and not is_test(cell)
    ]


def edited_tests(notebook: NotebookNode) -> list[NotebookNode]:
    return [
        cell
        for cell in notebook.cells
        if grading(cell).get("locked") and grading(cell).get("checksum") not in (None, compute_checksum(cell))
    ]
