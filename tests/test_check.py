"""`make check`: what a student is told about a notebook, exercise by exercise."""

import os
import re

import nbformat
import pytest

from scripts.course import release
from scripts.course.cells import exercises_of, grade_id, grading, place_of, read_notebook, setup_of, written_of
from scripts.course.check import main
from scripts.course.checking import taken_names
from scripts.course.judging.statements import names_set, names_tested
from scripts.interp.base.paths import ROOT
from tests.fixtures import tiny_lab
from tests.fixtures.tiny_lab import HARD_CODED2, RIGHT1, RIGHT2, WRONG1, cell_of, filled


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    tiny_lab.write(folder / "solutions" / f"{tiny_lab.LAB}.ipynb", tiny_lab.solved_lab())
    return read_notebook(release.release(folder)[0])


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
    notebook = filled(released, ex2=HARD_CODED2 + " + no_such_name")
    cell_of(notebook, "end").source = RIGHT2  # a later cell may hold the answer, as long as the exercise fails without
    status, said = check(notebook)
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
    assert 'These use answers that are not written yet:\n  The cell under "Why a mean?"\n' in said


def test_errors_are_shown_and_an_answer_that_leans_on_the_notebook_is_told_before_grading(check, released):
    first = "width = int(torch.tensor(3))\n1 / 0"
    leaning = "def row_means(x):\n    return x.sum(-1) / width"
    status, said = check(filled(released, ex1=leaning, ex2="def last_true(flags)\n    return 2", first=first))
    assert status == 1
    assert "Exercise 1: means\n  it passes in the notebook, but not by itself" in said
    assert "'width' is not defined" in said
    assert "Exercise 2: positions\n  SyntaxError" in said
    assert 'Code cell 2 under "A tiny lab" stopped with ZeroDivisionError' in said


def test_a_killed_kernel_is_named_and_exercises_are_judged_all_the_same(check, released):
    """By what ran now: below the cell that ended the kernel, nothing takes the place of what an earlier run left."""
    notebook = filled(released, ex2=HARD_CODED2, first="import os; os._exit(1)")
    old = nbformat.v4.new_output("error", ename="CheckFailed", evalue="an old hint", traceback=["an old hint"])
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[old], execution_count=7)
    status, said = check(notebook)
    assert 'Code cell 2 under "A tiny lab" ended its Python process: the cells after it did not run.' in said
    assert said.count("  passed") == 2 and "old hint" not in said and "stopped" not in said


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


def test_names_that_the_checks_use_and_failing_tries_cost_nothing_and_are_named(check, released):
    mine = f"{RIGHT2}\nexpect_close = expect = None\nlast_true(no_such_name)"
    status, said = check(filled(released, ex1=WRONG1 + "\nno_such_name", ex2=mine, first="answer = 3"))
    assert status == 1 and "Exercise 1: means\n  This is the mean of each column" in said
    assert "Exercise 2: positions\n  passed" in said and "1 of 2 exercises" in said
    renamed = "gives `answer` another meaning, and the checks use that name: rename yours."
    assert f'Code cell 2 under "A tiny lab" {renamed}' in said and "gives `torch`" not in said
    assert 'Code cell 1 under "Exercise 2: positions" gives `expect_close` another meaning' in said
    assert "test-ex2-last-true stopped in the notebook with TypeError" in said


def test_a_cell_is_found_by_the_heading_above_it():
    """By headings as they are on the screen: a student's own count, and lines of code that look like one do not."""
    code, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    cells = [
        code("1"), text("# A lab\n\n## Set-up"), code("# no heading"), text("more text"), text("## A `name`"),
        code("2"), code("3"), text("### Mine"), code("4"), text("## The end"),
    ]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=cells)
    places = {int(cell.source): place_of(notebook, i) for i, cell in enumerate(cells) if cell.source.isdigit()}
    assert places == {
        1: "The cell before the first heading", 2: 'Code cell 1 under "A `name`"', 3: 'Code cell 2 under "A `name`"',
        4: 'The cell under "Mine"',
    }  # fmt: skip
    assert place_of(notebook, 2) == 'The cell under "Set-up"'


@pytest.mark.parametrize("path", sorted((ROOT / "solutions").glob("*.ipynb")), ids=lambda path: path.stem)
def test_checks_use_the_set_up_and_what_their_exercise_defines_and_no_lab_takes_their_names(path):
    notebook = read_notebook(path)
    assert taken_names(notebook) == []
    for exercise in exercises_of(notebook):
        tested = names_tested(exercise.test) - names_set(setup_of(notebook))
        assert tested and tested <= names_set(exercise.solution), exercise.id


# Commands that would change nothing if they did run
INSTALLS = {
    "%pip install --dry-run --no-index nothing": "pip install --dry-run --no-index nothing",
    "!pip install --dry-run --no-index nothing": "pip install --dry-run --no-index nothing",
    "%%bash\npip3 uninstall --no-such-option 'a b'": "pip3 uninstall --no-such-option a b",
    "%%sh\nsudo apt-get install --no-such-option": "sudo apt-get install --no-such-option",
    "%uv pip install --dry-run --offline nothing": "uv pip install --dry-run --offline nothing",
    "!uv add --no-such-option": "uv add --no-such-option",
    "!conda install --no-such-option": "conda install --no-such-option",
    "get_ipython().system('mamba update --no-such-option')": "mamba update --no-such-option",
    "import os\nos.system('pip install --no-such-option')": "pip install --no-such-option",
    "import subprocess, sys\n"
    "subprocess.run([sys.executable, '-m', 'pip', 'install', '--no-such-option'], check=True)": (
        "pip install --no-such-option"
    ),
    "!{sys.executable} -I -m pip install --no-such-option": "pip install --no-such-option",
    "import pip._internal.cli.main\npip._internal.cli.main.main(['install', '--no-such-option'])": (
        "pip install --no-such-option"
    ),
    "!{os.path.dirname(sys.executable)}/pip install --no-such-option": "pip install --no-such-option",
    "!{sys.executable} -m ensurepip --no-such-option install": "ensurepip --no-such-option install",
    "!pip --version": None,  # changes nothing
}


def test_commands_for_installers_do_nothing_and_are_named(check, released):
    for end in os.openpty():  # IPython runs `!` and `%pip` in a terminal; a bare chroot has none, and stops here
        os.close(end)
    notebook = filled(released)
    for source in reversed(INSTALLS):
        notebook.cells.insert(2, nbformat.v4.new_code_cell(source))
    notebook.cells.insert(2 + len(INSTALLS), nbformat.v4.new_code_cell("assert False, os.environ['PATH']"))
    status, said = check(notebook)
    place = r'Code cell (\d+) under "A tiny lab"'
    asked = dict(re.findall(rf"{place} asked for `(.*)`, which runs neither here nor in grading", said))
    assert asked == {str(n): command for n, command in enumerate(INSTALLS.values(), start=2) if command}
    assert status == 0 and re.findall(f"{place} stopped with", said) == [str(2 + len(INSTALLS))], said
