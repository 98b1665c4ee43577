"""`make check`: what a student is told about a notebook, exercise by exercise."""

import pytest

from scripts.course import release
from scripts.course.cells import grade_id, grading, read_notebook, written_of
from scripts.course.check import main
from tests.fixtures import tiny_lab
from tests.fixtures.tiny_lab import HARD_CODED2, RIGHT1, RIGHT2, WRONG1, cell_of, filled


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    tiny_lab.write(folder / "solutions" / f"{tiny_lab.LAB}.ipynb", tiny_lab.solved_lab())
    return read_notebook(release.release(folder / "solutions", folder / "notebooks")[0])


@pytest.fixture
def check(tmp_path, capsys):
    """Check a notebook; returns the exit status and what was printed."""

    def run(content, lab="00"):
        path = tmp_path / f"{tiny_lab.LAB}.ipynb"
        if isinstance(content, str):
            path.write_text(content)
        else:
            tiny_lab.write(path, content)
        status = main([lab, "--notebooks", str(tmp_path), "--timeout", "20"])
        return status, capsys.readouterr().out

    return run


def test_right_answers_pass_and_the_limits_of_the_check_are_told(check, released):
    status, said = check(filled(released))
    assert status == 0
    assert said.count("  passed") == 2 and "2 of 2 exercises" in said
    assert "hidden tests" in said and "graded by a person" in said


def test_a_wrong_answer_affects_its_own_exercise_only_and_an_edited_test_is_named(check, released):
    notebook = filled(released, ex1=WRONG1, ex2=HARD_CODED2)
    cell_of(notebook, "test-ex2-last-true").source += "\nprint('mine')"
    status, said = check(notebook)
    assert status == 1
    assert "Exercise 1: means\n  This is the mean of each column" in said
    assert "Exercise 2: positions\n  passed" in said  # hard-coded for the visible test: only grading will tell
    assert "test-ex2-last-true was changed" in said and "ex1-row-means was changed" not in said


def test_the_released_notebook_is_not_written_yet(check, released):
    status, said = check(released)
    assert status == 1 and said.count("  not written yet") == 2


def test_errors_are_shown_and_an_answer_that_leans_on_the_notebook_is_told_before_grading(check, released):
    first = "width = int(torch.tensor(3))\n1 / 0"
    leaning = "def row_means(x):\n    return x.sum(-1) / width"
    status, said = check(filled(released, ex1=leaning, ex2="def last_true(flags)\n    return 2", first=first))
    assert status == 1
    assert "Exercise 1: means\n  it passes in the notebook, but not by itself" in said
    assert "'width' is not defined" in said
    assert "Exercise 2: positions\n  SyntaxError" in said
    assert "Cell 3 stopped with ZeroDivisionError" in said


def test_a_killed_kernel_is_named_and_exercises_are_judged_all_the_same(check, released):
    status, said = check(filled(released, ex2=HARD_CODED2, first="import os; os._exit(1)"))
    assert "Cell 3 ended its Python process: the cells after it did not run." in said
    assert said.count("  passed") == 2


@pytest.mark.parametrize(
    "lose", [["test-ex1-row-means"], ["ex1-row-means", "test-ex1-row-means"], ["setup"]], ids="-".join
)
def test_a_deleted_graded_cell_is_named(check, released, lose):
    notebook = filled(released, RIGHT1, RIGHT2)
    notebook.cells = [cell for cell in notebook.cells if cell.id not in lose]
    status, said = check(notebook)
    assert status == 2 and f"The cell {', '.join(sorted(lose))} is gone" in said


@pytest.mark.parametrize("lab, said_", [("07", "0 labs begin with '07'"), ("", "Say which lab")])
def test_no_such_lab(check, released, lab, said_):
    status, said = check(released, lab)
    assert status == 2 and said_ in said and tiny_lab.LAB in said


def test_a_file_that_is_no_notebook(check):
    status, said = check('{"cells": [')
    assert status == 2 and "is not a valid notebook" in said


def test_a_notebook_without_points_says_that_it_is_not_graded(check, released):
    notebook = filled(released)
    notebook.cells = [cell for cell in notebook.cells if not written_of(type(notebook)(cells=[cell]))]
    notebook.metadata["marked_cells"] = [grade_id(cell) for cell in notebook.cells if grade_id(cell)]
    for cell in notebook.cells:
        if "points" in grading(cell):
            cell.metadata["nbgrader"]["points"] = 0
    status, said = check(notebook)
    assert status == 0
    assert "2 of 2 exercises pass their tests. This notebook is not graded." in said and "hidden" not in said
