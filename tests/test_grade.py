"""One class of submissions, good, bad and hostile, graded in one run of the real command."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
from html import escape

import nbformat.v4
import psutil
import pytest
from nbgrader.api import Gradebook

from scripts.course import release
from scripts.course.assignments import grade_book
from scripts.course.cells import Exercise, UnreadableNotebook, hidden_lines, read_notebook
from scripts.course.grade import main
from scripts.course.grading import by_hand
from scripts.course.grading.tampering import Instrumented
from scripts.course.judging import clean
from scripts.course.judging.execute import execute
from scripts.course.pages import remote_parts
from scripts.course.report import for_the_screen, report, safe
from scripts.interp.base.paths import ROOT
from tests.fixtures import tiny_lab
from tests.fixtures.files import put
from tests.fixtures.kinds import (
    CELL_SECONDS,
    HOSTILE,
    KINDS,
    LEFT_BEHIND,
    MARKER,
    MEMORY_GB,
    PROBES,
    SECRET,
    Given,
    files_of,
)  # fmt: skip
from tests.fixtures.tiny_lab import LAB, cell_of, filled
from tests.fixtures.whole_labs import JOBS

# More of them, against the canaries alone: a cell that comes before the tests.
KERNEL_TRICKS = {
    "custom exception handler": "get_ipython().set_custom_exc((Exception,), lambda *a, **k: None)",
    "cells are not run": """
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult
def run_cell(self, raw_cell, *a, **k):
    self.execution_count += 1
    return ExecutionResult(ExecutionInfo(raw_cell, False, False, True, None))
async def run_cell_async(self, raw_cell, *a, **k):
    return run_cell(self, raw_cell)
type(get_ipython()).run_cell = run_cell
type(get_ipython()).run_cell_async = run_cell_async
""",
    "checks renamed away": "expect_close = expect = lambda *a, **k: None",
    "recorded checks renamed away": "check = lambda *a, **k: None",
    "checks patched": "import scripts.course.checks as c\nc.all_close = lambda *a, **k: True",
    "errors shown with another text": """
import IPython
show = get_ipython()._showtraceback
get_ipython()._showtraceback = lambda kind, value, lines: show(kind, kind("all is well"), lines)
""",
}
# Functions that try to pass the test of exercise 1 in the clean process.
TAMPERING = {
    "patches the comparison and hides it": """
def row_means(x):
    import scripts.course.checks as checks
    real = checks.all_close
    def close(*a):
        checks.all_close = real
        return True
    checks.all_close = close
    return torch.zeros(x.shape[0])
""",
    "replaces what replays a record": """
def row_means(x):
    import scripts.course.recorded as recorded
    recorded.replay = lambda *a, **k: None
    return torch.zeros(x.shape[0])
""",
    "changes the code of a check": """
def row_means(x):
    import scripts.course.checks as checks
    checks.expect_close.__code__ = (lambda got, expected, what, mistakes=None, atol=0.0: None).__code__
    return torch.zeros(x.shape[0])
""",
    "makes random fixtures predictable": """
def row_means(x):
    torch.randn = lambda *shape, **k: torch.zeros(shape)
    return torch.tensor([2.0, 5.0]) if x.shape == (2, 3) else torch.zeros(len(x))
""",
    "replaces a method of tensors": """
def row_means(x):
    Tensor.double = lambda self: torch.zeros(())
    return torch.zeros(x.shape[0])
""",
    "intercepts torch": """
from torch.overrides import TorchFunctionMode
class Mode(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return True if function is torch.allclose else function(*args, **(kwargs or {}))
def row_means(x):
    Mode().__enter__()
    return torch.zeros(x.shape[0])
""",
    "writes the verdict itself": """
def row_means(x):
    import json
    json.dumps = lambda *a, **k: '{"passed": true, "visible": true}'
    return torch.zeros(x.shape[0])
""",
    "patches in a class body": """
class Patch:
    import scripts.course.checks as checks
    setattr(checks, "answer", lambda f, *a: checks.torch.zeros(2))
def row_means(x):
    return torch.zeros(x.shape[0])
""",
}
NO_POINTS = {
    "ends the process": ("def row_means(x):\n    import os\n    os._exit(0)", "ended its Python process"),
    "ends it with a forged verdict": (
        """
def row_means(x):
    import os
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b'{"passed": true, "visible": true}\\n')
        except OSError:
            pass
    os._exit(0)
""",
        "ended its Python process",
    ),
    "never ends": ("def row_means(x):\n    while True:\n        pass", "took longer than 3 s"),
    "a tensor that equals everything": (
        """
class Close(Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.allclose:
            return True
        return super().__torch_function__(function, types, args, kwargs or {})
def row_means(x):
    return torch.zeros(x.shape[0]).as_subclass(Close)
""",
        "should return an ordinary tensor, not a Close",
    ),
    "an object that equals everything": (
        """
class Yes:
    def __eq__(self, other):
        return True
def row_means(x):
    return [Yes(), Yes()]
""",
        "not a Yes of your own",
    ),
    "replaces the checks in its own namespace": (
        """
def row_means(x):
    globals().update(expect=print, expect_close=print)
    return torch.zeros(x.shape[0])
""",
        "differs from the expected values",
    ),
    "an error with half an emoji": ("def row_means(x):\n    raise ValueError(chr(0xD83D))", "ValueError: \ufffd"),
    "exits": ("def row_means(x):\n    raise SystemExit", "SystemExit"),
    "leans on a name of the notebook": (
        "total = torch.tensor(3)\ndef row_means(x):\n    return x.sum(-1) / totl",
        "NameError",
    ),
    "does not parse": ("def row_means(x)\n    return x", "SyntaxError: expected ':'"),
    "renamed": ("def mean_of_rows(x):\n    return x.mean(-1)", "is not defined: is its cell deleted"),
}
ALL_POINTS = {
    "a helper and a constant": "AXIS = -1\ndef _n(x):\n    return x.shape[AXIS]\n"
    "def row_means(x):\n    return x.sum(AXIS) / _n(x)",
    "a lambda": "row_means = lambda x: x.mean(-1)",
    "a partial": "from functools import partial\nrow_means = partial(torch.mean, dim=-1)",
    "a cell magic": "%%time\ndef row_means(x):\n    return x.mean(-1)",
    "a line magic and a shell line": "%precision 3\n!true\ndef row_means(x):\n    return x.mean(-1)",
    "a compiled or wrapped function": "@torch.no_grad()\ndef row_means(x):\n    return x.mean(-1)",
    "a name of the set-up overwritten": "answer = 3\ndef row_means(x):\n    return x.mean(-1)",
    "torch's defaults touched": "def row_means(x):\n    torch.set_grad_enabled(True)\n"
    "    torch.manual_seed(0)\n    return x.mean(-1)",
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The output folder, and the rows of grades.csv by student."""
    folder = tmp_path_factory.mktemp("class")
    tiny_lab.write(folder / "solutions" / f"{LAB}.ipynb", tiny_lab.solved_lab())
    (path,) = release.release(folder)
    (folder / "solutions" / MARKER).write_text("for instructors")
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.MonkeyPatch.context() as patch:
        given = Given(read_notebook(path), folder, listening.getsockname()[1])
        for kind in KINDS:
            put(folder / "handed in", files_of(kind, given))
        patch.setenv(SECRET, "of the instructor's shell")
        code = main(
            [
                str(folder / "handed in"),
                str(folder / "handed in" / "out"),
                "--solutions",
                str(folder / "solutions"),
                "--jobs",
                JOBS,
                "--timeout",
                str(CELL_SECONDS),
                "--memory",
                str(MEMORY_GB),
            ]
        )
    assert code == 1  # some are unreadable, some tampered with
    return folder / "handed in" / "out", rows_of(folder / "handed in" / "out")


def rows_of(out):
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def points(row):
    return float(row["ex1-row-means"]), float(row["ex2-last-true"])


def page(graded, student):
    return (graded[0] / "feedback" / student / f"{LAB}.html").read_text()


def test_good_has_all_points_and_a_written_answer_that_waits(graded):
    row = graded[1]["good"]
    assert points(row) == (10, 20)
    assert (row["automatic_points"], row["awaiting_manual_points"], row["max_points"], row["status"]) == (
        "30",
        "5",
        "35",
        "ok",
    )


def test_wrong_loses_its_points_and_gets_the_hints(graded):
    row = graded[1]["wrong"]
    assert points(row) == (0, 0) and row["status"] == "ok"
    assert "This is the mean of each column" in page(graded, "wrong")
    assert "The position in a longer list differs" in page(graded, "wrong")  # the hint of a hidden test


def test_stub_scores_nothing_and_its_written_answer_waits_for_nobody(graded):
    row = graded[1]["stub"]
    assert points(row) == (0, 0) and row["awaiting_manual_points"] == "0" and row["status"] == "ok"
    assert "not written yet" in page(graded, "stub")


NOT_CONTAINED = pytest.mark.xfail(strict=True, reason="student code runs with the instructor's rights")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=kind.what.replace(" ", "_"), marks=[NOT_CONTAINED] if kind.student == "probes" else [])
        for kind in KINDS
    ],
)
def test_each_kind_gets_its_row(graded, kind):
    """What is broken is named and costs only its own points; what could be graded is."""
    row = graded[1][kind.student]
    assert re.search(kind.status, row["status"]), row["status"]
    assert points(row) == kind.points


def test_nobody_else_has_a_row(graded):
    assert list(graded[1]) == sorted(kind.student for kind in KINDS)


@NOT_CONTAINED
@pytest.mark.parametrize("probe", PROBES)
def test_student_code_gets_at_nothing_outside(graded, probe):
    notebook = read_notebook(graded[0] / "course" / "autograded" / "probes" / LAB / f"{LAB}.ipynb")
    (looked,) = [output.text for output in notebook.cells[2].outputs]
    assert not json.loads(looked)[probe]
    assert not (graded[0].parent.parent / "written-outside.txt").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere orphans do not come to the worker")
def test_what_a_submission_leaves_running_is_ended(graded):
    assert [p.pid for p in psutil.process_iter(["cmdline"]) if LEFT_BEHIND in (p.info["cmdline"] or [])] == []


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
    secret = [
        line
        for name in ("test-ex1-row-means", "test-ex2-last-true")
        for line in hidden_lines(cell_of(lab, name).source)
        if len(line) > 8
    ]
    assert len(secret) >= 4
    pages = list((graded[0] / "feedback").rglob("*.html"))
    assert len(pages) == len(graded[1])
    for path in pages:
        text = path.read_text()
        assert not [line for line in secret if line in text or escape(line) in text], path
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
    assert compared >= 12


def test_what_the_formgrader_shows_holds_no_flood(graded):
    assert (graded[0] / "course" / "autograded" / "flood" / LAB / f"{LAB}.ipynb").stat().st_size < 100_000


def test_points_given_by_hand_belong_to_the_text_they_were_given_for(graded, tmp_path):
    """They reach the CSV and survive another grading of the same text; a new text is graded anew, and that is said."""
    out, before = graded
    with Gradebook(grade_book(out / "course")) as book:
        give(book, "good", "written-why", 4, "Say what the length does.")
        give(book, "edited", "test-ex2-last-true", 7)
        give(book, "warns", "written-why", 5, "Well put.")
        give(book, "warns", "test-ex1-row-means", 8)

    def check():
        row = rows_of(out)["good"]
        assert (row["automatic_points"], row["manual_points"], row["awaiting_manual_points"]) == ("30", "4", "0")
        assert "4 of 5 points" in page(graded, "good") and "Say what the length does." in page(graded, "good")

    report(out)
    check()
    assert points(rows_of(out)["edited"]) == (10, 7) and rows_of(out)["warns"]["manual_points"] == "5"

    released = read_notebook(out.parent.parent / "notebooks" / f"{LAB}.ipynb")
    late = tmp_path / "late"
    (late / "duplicate").mkdir(parents=True)
    (late / "duplicate" / "report.pdf").touch()  # this lab was handed in earlier, and that stays
    (late / "good").symlink_to(out.parent / "good")
    tiny_lab.write(late / "EDITED.ipynb", filled(released))
    tiny_lab.write(late / "warns" / f"{LAB}.ipynb", filled(released, ex1=before_of(out, "warns")))
    named = os.path.relpath(late)  # as one types it; those who grade run in other folders
    assert main([named, str(out), "--solutions", str(out.parent.parent / "solutions")]) == 0
    check()
    rows = rows_of(out)
    assert rows.keys() == before.keys() and rows["duplicate"] == before["duplicate"]  # the others' results stay

    assert points(rows["edited"]) == (10, 20)
    said = "ex2-last-true has another text than the one that got 7 points by hand (taken back)"
    assert rows["edited"]["status"] == f"the notebook was renamed to EDITED.ipynb; {said}"
    row = rows["warns"]  # the same exercise 1, and no written answer any more
    assert (row["manual_points"], row["awaiting_manual_points"], points(row)) == ("0", "0", (8, 20))
    assert "written-why has another text than the one that got 5 points" in row["status"]
    assert "0 of 5 points" in page(graded, "warns") and "On an earlier text: Well put." in page(graded, "warns")
    with Gradebook(grade_book(out / "course")) as book:  # nobody has to look at these again
        assert not book.find_grade("test-ex1-row-means", LAB, LAB, "warns").needs_manual_grade
        assert not book.find_grade("written-why", LAB, LAB, "good").needs_manual_grade


def give(book, student: str, name: str, points: float, comment: str = "") -> None:
    """What the Formgrader does when a person grades."""
    grade = book.find_grade(name, LAB, LAB, student)
    grade.manual_score, grade.needs_manual_grade = points, False
    if comment:
        book.find_comment(name, LAB, LAB, student).manual_comment = comment
    book.db.commit()


def before_of(out, student: str) -> str:
    """The answer to exercise 1 that was graded, with other space at the line ends."""
    notebook = read_notebook(out / "course" / "submitted" / student / LAB / f"{LAB}.ipynb")
    return cell_of(notebook, "ex1-row-means").source.replace("\n", "  \n") + "\n"


def test_points_by_hand_that_the_tests_now_contradict_are_named(graded):
    """The text is the same, but for instance a helper in another cell, or the lab's test, was mended."""
    out = graded[0]
    text = read_notebook(out / "course" / "submitted" / "wrong" / LAB / f"{LAB}.ipynb")
    with Gradebook(grade_book(out / "course")) as book:
        give(book, "wrong", "test-ex1-row-means", 7)
        notes, kept = by_hand.take_back(book, LAB, "wrong", text, text)
        assert notes == [] and list(kept) == ["test-ex1-row-means"]
        book.find_grade("test-ex1-row-means", LAB, LAB, "wrong").auto_score = 10
        assert by_hand.compare(book, LAB, "wrong", kept) == [
            "ex1-row-means keeps the 7 points given by hand, though the tests now give 10 instead of 0"
        ]
        assert by_hand.take_back(book, LAB, "nobody", None, text) == ([], {})
        notes, kept = by_hand.take_back(book, LAB, "wrong", None, text)  # what it was given for is lost
        assert len(notes) == 1 and not kept


def test_the_csv_is_read_by_spreadsheet_programs(graded):
    assert (graded[0] / "grades.csv").read_bytes().startswith(b"\xef\xbb\xbfstudent,lab,")
    for text in ("=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "＝1", "Li;=1+1", "Li,=1", "a\n=1"):
        cell = safe(text)
        assert cell.replace("'", "") == text and not re.search(r"(^|[;,\t\r\n])[=+\-@＝]", cell), cell
    for name in ("Zoë", "李雷", "O'Neil", "a=b", "x-1", "ok; a-b"):
        assert safe(name) == name


def named(source: str, number: int) -> str:
    return source.replace("row_means", f"row_means_{number}")


@pytest.fixture(scope="module")
def judged():
    """Verdicts of the clean process on answers to exercise 1, by the name of the answer."""
    groups = {**{name: source for name, (source, _) in NO_POINTS.items()}, **ALL_POINTS, **TAMPERING}
    # definitions run before every exercise, so an answer that tampers there stays alone
    alone = {"patches in a class body", "a name of the set-up overwritten"}
    together = [name for name in groups if name not in alone]
    verdicts = {}
    for names in (together, *([name] for name in alone)):
        cells = [(named(groups[name], number), name) for number, name in enumerate(names)]
        exercises = [
            Exercise(name, name, 10, named(tiny_lab.EX1, number), named(tiny_lab.TEST1, number))
            for number, name in enumerate(names)
        ]
        verdicts.update(clean.run(tiny_lab.SETUP, cells, exercises, seconds=3))
    return verdicts


@pytest.mark.parametrize("name", TAMPERING)
def test_the_clean_process_sees_tampering(judged, name):
    assert judged[name].tampered and not judged[name].passed, judged[name]


@pytest.mark.parametrize("name", NO_POINTS)
def test_the_clean_process_is_not_fooled(judged, name):
    assert not judged[name].passed and not judged[name].tampered, judged[name]
    assert NO_POINTS[name][1] in judged[name].hint


@pytest.mark.parametrize("name", ALL_POINTS)
def test_the_clean_process_takes_what_a_student_may_write(judged, name):
    assert judged[name].passed and not judged[name].hint, judged[name]


def test_a_broken_set_up_cell_is_not_the_students_fault():
    with pytest.raises(clean.SetupBroken, match="ModuleNotFoundError"):
        clean.run("import no_such_module", [], [], seconds=3)


@pytest.mark.parametrize("name", ["none", *KERNEL_TRICKS])
def test_canaries_see_tampering_in_the_kernel(name):
    notebook = tiny_lab.solved_lab()
    notebook.cells = [cell for cell in notebook.cells if "ex1" in cell.id or cell.id == "setup"]
    notebook.cells.insert(1, nbformat.v4.new_code_cell(KERNEL_TRICKS.get(name, "%xmode Minimal\nexpect = 5")))
    instrumented = Instrumented(notebook)
    assert "secret_matrix" not in "".join(cell.source for cell in instrumented.notebook.cells)
    findings = instrumented.findings(execute(instrumented.notebook, cell_seconds=60))
    assert bool(findings) == (name != "none"), findings


def test_the_kernel_is_limited():
    sources = [
        "print(1)",
        "while True:\n    pass",
        "for i in range(10**9):\n    print('a line of text', i)",
        "print(2)",
        "from IPython.display import display as d\nwhile True:\n    d({'text/plain': 'x' * 10**6}, raw=True)",
        "raise ValueError('x' * 10**6)",
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    time.sleep(1)",
        "print(3)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    incidents = execute(notebook, cell_seconds=3)
    assert incidents == {
        1: "took longer than 3 s and was stopped",
        2: "wrote too much output and was stopped",
        4: "wrote too much output and was stopped",
        6: "took longer than 3 s and could not be interrupted",
    }
    assert [cell.outputs[0].text for cell in notebook.cells if cell.source in ("print(1)", "print(2)")] == [
        "1\n",
        "2\n",
    ]
    assert notebook.cells[7].execution_count is None
    assert len(nbformat.writes(notebook)) < 25_000_000


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"cells": {"a": 1}, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        "[" * 10_000,
        "\x00\xff",
        '{"cells": [{"cell_type": "code"}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        '{"cells": [{"cell_type": "code", "source": "1", "metadata": 5}], "nbformat": 4}',
        '{"cells": [{"cell_type": "odd", "source": "1", "metadata": {}}], "nbformat": 4, "metadata": {}}',
    ],
)
def test_files_that_are_no_notebooks_get_a_sentence(tmp_path, content):
    (tmp_path / "x.ipynb").write_text(content, encoding="latin-1")
    with pytest.raises(UnreadableNotebook, match="x.ipynb is not a valid notebook"):
        read_notebook(tmp_path / "x.ipynb")


@pytest.mark.parametrize(
    "make, said", [(lambda folder: None, "There is no folder"), (lambda folder: folder.mkdir(), "holds no folders")]
)
def test_wrong_folders_get_a_sentence(tmp_path, make, said):
    make(tmp_path / "in")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.course.grade", str(tmp_path / "in"), str(tmp_path / "out")],
        text=True,
        capture_output=True,
        cwd=ROOT,
    )
    assert done.returncode == 2 and said in done.stdout and not done.stderr


def test_labs_without_points_are_not_graded(tmp_path, capsys):
    notebook = tiny_lab.solved_lab()
    for cell in notebook.cells:
        if "points" in cell.metadata.get("nbgrader", {}):
            cell.metadata["nbgrader"]["points"] = 0
    tiny_lab.write(tmp_path / "solutions" / f"{LAB}.ipynb", notebook)
    (tmp_path / "in" / "somebody").mkdir(parents=True)
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "--solutions", str(tmp_path / "solutions")]) == 2
    assert "holds no solved labs to grade against" in capsys.readouterr().out


def test_the_instructor_gets_an_overview_what_needs_a_look_and_what_changed(graded):
    out, _ = graded
    rows = report(out)
    with (out / "overview.csv").open(encoding="utf-8-sig", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["exercise"] == "ex1-row-means" and int(first["graded"]) > int(first["passed"]) > 5
    assert "Needs a look" in (out / "overview.html").read_text()
    assert (out / "similar.csv").read_text(encoding="utf-8-sig") == "lab,exercise,function,nodes,students\n"
    for_the_screen(out, rows)
    changed = [
        row._replace(scores={**row.scores, "ex2-last-true": 1.0}) if row.student == "good" else row for row in rows
    ]
    said = for_the_screen(out, changed)
    assert re.search(r"Changed since the last report: 1\n.*\ngood +00-tiny +ex2-last-true +20 +1\n", said)
    look = said.partition("Needs a look:\n")[2]
    named = {line.partition(", 00-tiny: ")[0] for line in look.splitlines()}
    unreadable = {"corrupt", "no-metadata", "empty", "page", "conflict", "another"}
    assert unreadable | {"prints-tests", *HOSTILE} == named
