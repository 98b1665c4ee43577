"""One class of submissions, good, bad and hostile, graded in one run of the real command."""

import csv
import re
import subprocess
import sys

import pytest
from nbgrader.api import Gradebook

from scripts.course import release
from scripts.course.cells import hidden_lines, read_notebook
from scripts.course.course import grade_book
from scripts.course.grade import main
from scripts.course.pages import remote_parts
from scripts.course.report import report
from scripts.interp.paths import ROOT
from tests.fixtures import tiny_lab
from tests.fixtures.tiny_lab import HARD_CODED2, LAB, RIGHT1, RIGHT2, WRONG1, cell_of, filled

CELL_SECONDS, MEMORY_GB = 6, 3

PRINTS_TEN = """
from IPython.display import publish_display_data
ip = get_ipython()
def publish(*_):
    ip.display_pub.session.send(ip.kernel.iopub_socket, "execute_result", {"data": {"text/plain": "10"}, "metadata": {},
                                "execution_count": 1}, parent=ip.parent_header)
ip.events.register("post_run_cell", publish)
"""
DROPS_ASSERTS = """
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)
    visit_Raise = visit_Assert
    def visit_Expr(self, node):
        called = getattr(getattr(node.value, "func", None), "id", "")
        return ast.copy_location(ast.Pass(), node) if called.startswith("expect") else node
get_ipython().ast_transformers.append(Drop())
"""
# Every one of these answers is wrong, so that points could only come from tampering.
HOSTILE = {
    "hostile": dict(first=DROPS_ASSERTS),
    "hostile-showtraceback": dict(first="get_ipython().showtraceback = lambda *a, **k: None"),
    "hostile-custom-exc": dict(first="get_ipython().set_custom_exc((Exception,), lambda *a, **k: None)"),
    "hostile-run-cell": dict(first="""
from IPython.core.interactiveshell import InteractiveShell, ExecutionResult, ExecutionInfo
def run_cell(self, raw_cell, *a, **k):
    self.execution_count += 1
    return ExecutionResult(ExecutionInfo(raw_cell, False, False, True, None))
async def run_cell_async(self, raw_cell, *a, **k):
    return run_cell(self, raw_cell)
InteractiveShell.run_cell = run_cell
InteractiveShell.run_cell_async = run_cell_async
type(get_ipython()).run_cell = run_cell
type(get_ipython()).run_cell_async = run_cell_async
"""),
    "hostile-fake-result": dict(first=PRINTS_TEN),
    "hostile-no-op-check": dict(first="expect_close = lambda *a, **k: None"),
    "hostile-patched-checks": dict(first="import scripts.course.checks as c\nc._close = lambda *a, **k: True"),
    "hostile-patch-when-called": dict(ex1="""
def row_means(x):
    import scripts.course.checks as checks
    real = checks.expect, checks._close
    def close(*a):
        checks.expect, checks._close = real  # hides the traces
        return True
    checks._close = close
    return torch.zeros(x.shape[0])
"""),
    "hostile-predictable-fixtures": dict(ex1="""
torch.randn = lambda *shape, **k: torch.zeros(shape)
def row_means(x):
    torch.randn = lambda *shape, **k: torch.zeros(shape)
    return torch.tensor([2.0, 5.0]) if x.shape == (2, 3) else torch.zeros(len(x))
"""),
    "hostile-torch-mode": dict(ex1="""
from torch.overrides import TorchFunctionMode
class Yes(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return True if function is torch.allclose else function(*args, **(kwargs or {}))
def row_means(x):
    Yes().__enter__()
    return torch.zeros(x.shape[0])
"""),
}
# These get nothing for exercise 1 either, but are told why as a hint.
TRICKS = {
    "trick-tensor-class": """
class Yes(Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.allclose:
            return True
        return super().__torch_function__(function, types, args, kwargs or {})
def row_means(x):
    return torch.zeros(x.shape[0]).as_subclass(Yes)
""",
    "trick-global": "width = x_width()\ndef row_means(x):\n    return x.sum(-1) / width(x)",
    "trick-exit": "import os\ndef row_means(x):\n    os._exit(0)",
}


def duplicated(released):
    notebook = filled(released, ex1=RIGHT1)
    at = notebook.cells.index(cell_of(notebook, "ex1-row-means"))
    copy = type(notebook.cells[at])(notebook.cells[at])
    copy.source = "def row_means(x):\n    return x.mean(-1)  # second thoughts"
    notebook.cells.insert(at + 1, copy)
    notebook.cells.append(cell_of(notebook, "test-ex2-last-true"))
    return notebook


def without(released, *names):
    notebook = filled(released)
    notebook.cells = [cell for cell in notebook.cells if cell.id not in names]
    return notebook


def edited(released):
    notebook = filled(released, ex2=HARD_CODED2)
    test = cell_of(notebook, "test-ex2-last-true")
    test.source = "pass"
    test.metadata["nbgrader"]["points"] = 1000
    cell_of(notebook, "setup").source = "expect_close = print"
    return notebook


def no_metadata(released):
    notebook = filled(released)
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def submissions(released):
    """What each student handed in: a notebook, or the text of a file."""
    yield "good", filled(released, written="A sum depends on the length. <script src='http://x.org/a.js'></script>")
    yield "wrong", filled(released, ex1=WRONG1, ex2=HARD_CODED2)
    yield "stub", released
    yield "corrupt", '{"cells": [ {"cell_type": "code", '
    yield "not-a-notebook", '{"cells": {"a": 1}, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}'
    yield "slow", filled(released, ex1="def row_means(x):\n    while True:\n        pass")
    yield "slow-cell", filled(released, first="while True:\n    pass")
    yield "deaf", filled(released, first="import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass")
    yield "duplicate", duplicated(released)
    yield "deleted", without(released, "test-ex1-row-means", "ex2-last-true", "setup")
    yield "edited", edited(released)
    yield "memory", filled(released, first="hog = []\nwhile True:\n    hog.append(bytearray(100_000_000))")
    yield "flood", filled(released, first="print('x' * 100_000_000)")
    yield "flood-lines", filled(released, first="for i in range(100_000_000):\n    print('a long line of text', i)")
    yield "killed", filled(released, first="import os\nos.kill(os.getpid(), 9)")
    yield "no-metadata", no_metadata(released)
    yield "syntax", filled(released, ex1="def row_means(x)\n    return x")
    yield "warns", filled(released, ex1="import sys, warnings\ndef row_means(x):\n    warnings.warn('old')\n"
                          "    print('oops', file=sys.stderr)\n    return x.mean(-1)")
    yield "asks", filled(released, first="name = input('your name?')")
    yield "prints-tests", filled(released, ex1="def row_means(x):\n    print(x)\n    raise ValueError(f'{x}')")
    yield "Zoë (2nd try) [x]", filled(released)
    for name, how in HOSTILE.items():
        yield name, filled(released, **{"ex1": WRONG1, "ex2": HARD_CODED2, **how})
    for name, source in TRICKS.items():
        yield name, filled(released, ex1=source)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The output folder, and the rows of grades.csv by student."""
    folder = tmp_path_factory.mktemp("class")
    tiny_lab.write(folder / "solutions" / f"{LAB}.ipynb", tiny_lab.solved_lab())
    (path,) = release.release(folder / "solutions", folder / "notebooks")
    released = read_notebook(path)
    for student, content in submissions(released):
        target = folder / "handed in" / student / f"{LAB}.ipynb"
        if isinstance(content, str):
            target.parent.mkdir(parents=True)
            target.write_text(content)
        else:
            tiny_lab.write(target, content)
    tiny_lab.write(folder / "handed in" / "renamed" / "my final version (2).ipynb", filled(released))
    (folder / "handed in" / "missing").mkdir()
    code = main([str(folder / "handed in"), str(folder / "out"), "--solutions", str(folder / "solutions"), "--jobs", "2",
                 "--timeout", str(CELL_SECONDS), "--memory", str(MEMORY_GB)])
    assert code == 0
    return folder / "out", rows_of(folder / "out")


def rows_of(out):
    with (out / "grades.csv").open() as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def points(row):
    return float(row["ex1-row-means"]), float(row["ex2-last-true"])


def page(graded, student):
    return (graded[0] / "feedback" / student / f"{LAB}.html").read_text()


def test_good_has_all_points_and_a_written_answer_that_waits(graded):
    row = graded[1]["good"]
    assert points(row) == (10, 20)
    assert (row["automatic_points"], row["awaiting_manual_points"], row["max_points"], row["status"]) == ("30", "5", "35", "ok")


def test_wrong_loses_its_points_and_gets_the_hints(graded):
    row = graded[1]["wrong"]
    assert points(row) == (0, 0) and row["status"] == "ok"
    assert "This is the mean of each column" in page(graded, "wrong")
    assert "The position in a longer list differs" in page(graded, "wrong")  # the hint of a hidden test


def test_stub_scores_nothing_and_its_written_answer_waits_for_nobody(graded):
    row = graded[1]["stub"]
    assert points(row) == (0, 0) and row["awaiting_manual_points"] == "0" and row["status"] == "ok"
    assert "not written yet" in page(graded, "stub")


@pytest.mark.parametrize("student, said, scored", [
    ("corrupt", "not a valid notebook", (0, 0)),
    ("not-a-notebook", "not a valid notebook", (0, 0)),
    ("missing", "no notebook of this lab", (0, 0)),
    ("no-metadata", "lost its nbgrader metadata", (0, 0)),
    ("renamed", r"renamed to my final version \(2\).ipynb", (10, 20)),
    ("slow", "ex1-row-means took longer than 6 s", (0, 20)),
    ("slow-cell", "cell 3 took longer than 6 s", (10, 20)),
    ("deaf", "cell 3 took longer than 6 s and could not be interrupted", (10, 20)),
    ("duplicate", "ex1-row-means occurs 2 times.*test-ex2-last-true occurs 2 times", (10, 20)),
    ("deleted", "setup was deleted.*test-ex1-row-means was deleted.*ex2-last-true was deleted", (10, 0)),
    ("edited", "setup was edited.*test-ex2-last-true was edited", (10, 0)),
    ("memory", "cell 3 ran out of memory", (10, 20)),
    ("flood", "cell 3 wrote more than 10 MB", (10, 20)),
    ("flood-lines", "cell 3 wrote more than 10 MB", (10, 20)),
    ("killed", "cell 3 ended its Python process", (10, 20)),
    ("trick-global", "^ok$", (0, 20)),
    ("trick-exit", "ended its Python process", (0, 20)),
    ("trick-tensor-class", "passes in the notebook but not in a clean process", (0, 20)),
    ("syntax", "^ok$", (0, 20)),
    ("warns", "^ok$", (10, 20)),
    ("asks", "^ok$", (10, 20)),
    ("prints-tests", "^ok$", (0, 20)),
    ("Zoë (2nd try) [x]", "^ok$", (10, 20)),
])
def test_what_is_broken_is_named_and_costs_only_its_own_points(graded, student, said, scored):
    row = graded[1][student]
    assert re.search(said, row["status"]), row["status"]
    assert points(row) == scored


@pytest.mark.parametrize("student", HOSTILE)
def test_tampering_is_flagged_and_scores_nothing(graded, student):
    row = graded[1][student]
    assert "TAMPERING" in row["status"], row["status"]
    assert row["automatic_points"] == "0"
    assert "Passed." not in page(graded, student)


def test_nobody_else_is_accused(graded):
    accused = {student for student, row in graded[1].items() if "TAMPERING" in row["status"]}
    assert accused == set(HOSTILE)


def test_feedback_shows_no_hidden_test_and_loads_nothing(graded):
    lab = tiny_lab.solved_lab()
    secret = [line for name in ("test-ex1-row-means", "test-ex2-last-true") for line in hidden_lines(cell_of(lab, name).source)]
    assert len(secret) >= 4
    pages = list((graded[0] / "feedback").rglob("*.html"))
    assert len(pages) == len(graded[1])
    for path in pages:
        text = path.read_text()
        assert not [line for line in secret if line in text or line.replace('"', "&quot;") in text], path
        assert "secret_matrix" not in text and "BEGIN HIDDEN" not in text
        assert 'src="http' not in text and not re.search(r'import[^;\n]*"http', text) and not remote_parts(text), path
        assert len(text) < 1_000_000


def test_grade_book_and_csv_agree(graded):
    out, rows = graded
    compared = 0
    with Gradebook(grade_book(out / "course")) as book:
        for submission in book.assignment_submissions(LAB):
            row = rows.get(submission.student.id)
            if row:
                (notebook,) = submission.notebooks
                tests = {grade.name: grade.auto_score for grade in notebook.grades if grade.name.startswith("test-")}
                assert tests == {"test-ex1-row-means": points(row)[0], "test-ex2-last-true": points(row)[1]}
                compared += 1
    assert compared >= 20


def test_what_the_formgrader_shows_holds_no_flood(graded):
    for student in ("flood", "flood-lines"):
        assert (graded[0] / "course" / "autograded" / student / LAB / f"{LAB}.ipynb").stat().st_size < 200_000


def test_points_given_by_hand_reach_the_csv_and_the_page(graded, tmp_path):
    out = graded[0]
    with Gradebook(grade_book(out / "course")) as book:
        grade = book.find_grade("written-why", LAB, LAB, "good")
        grade.manual_score, grade.needs_manual_grade = 4, False
        book.find_comment("written-why", LAB, LAB, "good").manual_comment = "Say what the length does."
        book.db.commit()
    report(out)
    row = rows_of(out)["good"]
    assert (row["automatic_points"], row["manual_points"], row["awaiting_manual_points"]) == ("30", "4", "0")
    assert "4 of 5 points" in page(graded, "good") and "Say what the length does." in page(graded, "good")


@pytest.mark.parametrize("make, said", [
    (lambda folder: None, "There is no folder"),
    (lambda folder: folder.mkdir(), "holds no folders"),
])
def test_wrong_folders_get_a_sentence(tmp_path, make, said):
    make(tmp_path / "in")
    done = subprocess.run([sys.executable, "-m", "scripts.course.grade", str(tmp_path / "in"), str(tmp_path / "out")],
                          text=True, capture_output=True, cwd=ROOT)
    assert done.returncode == 2 and said in done.stdout and not done.stderr
