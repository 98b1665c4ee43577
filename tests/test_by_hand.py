"""Points, extra credit and comments that a person gave: kept with the text they were given for, shown, never lost."""

import nbformat
import pytest
from nbgrader.api import Gradebook

from scripts.course.assignments import grade_book, make_room, stage
from scripts.course.cells import exercises_of, read_notebook, written_of
from scripts.course.grading import by_hand
from scripts.course.grading.feedback import feedback_page
from scripts.course.look import needs_a_look, waiting
from scripts.course.report import row_of
from tests.fixtures import tiny_lab
from tests.fixtures.tiny_lab import LAB, cell_of, filled

ESSAY, TEST = "written-why", "test-ex1-row-means"
LAB_CELLS = tiny_lab.solved_lab()
RESULT = {
    "student": "anna",
    "student_id": "anna",
    "lab": LAB,
    "handed_in": True,
    "graded": True,
    "status": "ok",
    "hints": {"ex1-row-means": "", "ex2-last-true": "look"},
}


def handed_in(**answers) -> nbformat.NotebookNode:
    return filled(tiny_lab.solved_lab(), **{"written": "Because.", **answers})


@pytest.fixture(scope="module")
def empty_book(tmp_path_factory):
    """A course with a grade book that knows the tiny lab."""
    folder = tmp_path_factory.mktemp("course")
    tiny_lab.write(folder / "solutions" / f"{LAB}.ipynb", tiny_lab.solved_lab())
    stage(folder / "course", [folder / "solutions" / f"{LAB}.ipynb"], with_grade_book=True)
    return folder / "course"


@pytest.fixture
def book(empty_book):
    """The grade book with one submission: exercise 1 passed, 2 failed, and a written answer that waits."""
    with Gradebook(grade_book(empty_book)) as book:
        book.update_or_create_student("anna")
        book.add_submission(LAB, "anna")
        autograde(book)
        yield book
        book.remove_submission(LAB, "anna")


def autograde(book, essay: float | None = None, ex1: float = 10.0) -> None:
    """What nbgrader's SaveAutoGrades does."""
    for grade in book.find_submission_notebook(LAB, LAB, "anna").grades:
        grade.auto_score = {TEST: ex1, ESSAY: essay}.get(grade.name, 0.0)
        grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None
    book.db.commit()


def give(book, name: str, points: float | None, extra: float | None = None) -> None:
    """What the Formgrader does when a person grades."""
    grade = book.find_grade(name, LAB, LAB, "anna")
    grade.manual_score, grade.extra_credit = points, extra
    grade.needs_manual_grade = points is None and grade.auto_score is None
    book.db.commit()


def comment(book, name: str, text: str) -> None:
    book.find_comment(name, LAB, LAB, "anna").manual_comment = text
    book.db.commit()


def regrade(book, before, after, **points) -> list[str]:
    notes, kept = by_hand.take_back(book, LAB, "anna", before, after)
    autograde(book, **points)
    return notes + by_hand.compare(book, LAB, "anna", kept)


def row(book, lab=LAB_CELLS, **result):
    return row_of(book, {**RESULT, **result}, exercises_of(lab), written_of(lab))


def page(book, notebook=None) -> str:
    return feedback_page(row(book), exercises_of(LAB_CELLS), written_of(LAB_CELLS), notebook or handed_in())


def test_a_written_answer_that_was_replaced_waits_and_shows_its_earlier_points(book):
    give(book, ESSAY, 4)
    comment(book, ESSAY, "Say more.")
    said = "written-why has another text than the one that got 4 points by hand (it waits for new ones)"
    new = handed_in(written="Because of the length.")
    assert regrade(book, handed_in(), new) == [said]
    for notes in ([], regrade(book, new, new)):  # as often as it is graded again, until a person has looked
        found = row(book)
        assert (found.manual, found.earlier, found.awaiting) == ({ESSAY: None}, {ESSAY: 4}, 5)
        assert notes in ([], [said]) and waiting([found]) == [f"anna, {LAB}: written-why (5 points)"]
    shown = page(book, new)
    assert "not graded yet" in shown and "an earlier text got 4 points" in shown and "On an earlier text: Say" in shown
    give(book, ESSAY, 5)
    found = row(book)
    assert (found.manual, found.earlier, found.awaiting) == ({ESSAY: 5}, {}, 0) and not waiting([found])


def test_an_unchanged_written_answer_is_not_flagged_again(book):
    give(book, ESSAY, 4)
    for _ in range(2):
        assert regrade(book, handed_in(), handed_in()) == []
        assert not book.find_grade(ESSAY, LAB, LAB, "anna").needs_manual_grade
        assert row(book).manual == {ESSAY: 4}


def test_a_written_answer_that_was_taken_out_has_no_points(book):
    give(book, ESSAY, 4, extra=1)
    (note,) = regrade(book, handed_in(), handed_in(written="*Your answer here.*"), essay=0.0)
    assert note.endswith("got 5 points by hand (taken back)")
    assert row(book).manual == {ESSAY: 0} and not row(book).earlier


def test_points_for_an_exercise_with_another_text_are_the_tests_again(book):
    give(book, TEST, 7, extra=1)
    (note,) = regrade(book, handed_in(), handed_in(ex1="def row_means(x):\n    return x.mean(1)"))
    assert note == "ex1-row-means has another text than the one that got 8 points by hand (taken back)"
    assert row(book).scores["ex1-row-means"] == 10


def test_extra_credit_counts(book):
    give(book, TEST, None, extra=2)
    give(book, ESSAY, 5, extra=1.5)
    found = row(book)
    assert found.scores == {"ex1-row-means": 12, "ex2-last-true": 0} and found.manual == {ESSAY: 6.5}
    assert regrade(book, handed_in(), handed_in()) == [] and row(book) == found
    assert "12 of 10 points" in page(book) and "18.5 of 35 points" in page(book)


def test_comments_on_every_cell_reach_the_page(book):
    for name in (ESSAY, "ex1-row-means", "ex2-last-true"):
        comment(book, name, f"On {name}, <b>really</b>.")
    book.find_comment("ex2-last-true", LAB, LAB, "anna").auto_comment = "No response."
    shown = page(book)
    for name in (ESSAY, "ex1-row-means", "ex2-last-true"):
        assert f"On {name}, &lt;b&gt;really&lt;/b&gt;." in shown
    comment(book, "ex2-last-true", "")
    assert "No response" not in page(book)


def grown(lost: str = "") -> nbformat.NotebookNode:
    """The tiny lab with an exercise more, and perhaps one less."""
    lab = tiny_lab.solved_lab()
    for name in ("ex1-row-means", "test-ex1-row-means"):
        cell = nbformat.from_dict(cell_of(lab, name))
        cell.metadata.nbgrader.grade_id = cell.id = name.replace("ex1", "ex3")
        lab.cells.append(cell)
    lab.cells = [cell for cell in lab.cells if not lost or lost not in cell.id]
    return lab


def test_a_lab_that_gained_an_exercise_is_reported_and_can_be_graded_again(book, empty_book):
    lab = grown()
    give(book, ESSAY, 4)
    for made_room in (False, True):  # a grade book that does not know of it yet, and one that does
        if made_room:
            make_room(book, LAB, lab)
        found = row(book, lab)
        assert found.scores == {"ex1-row-means": 10, "ex2-last-true": 0, "ex3-row-means": 0} and found.of == 40
        assert found.manual == {ESSAY: 4} and found.outdated
        assert needs_a_look([found]) == [
            f"anna, {LAB}: was graded before ex3-row-means was part of the lab: grade it again"
        ]
        shown = feedback_page(found, exercises_of(lab), written_of(lab), handed_in())
        assert "was not part of the lab" in shown
    path = empty_book.parent / "grown" / f"{LAB}.ipynb"
    tiny_lab.write(path, lab)
    stage(empty_book, [path], with_grade_book=True)
    assert book.find_grade("test-ex3-row-means", LAB, LAB, "anna").auto_score == 0
    assert not row(book, lab, hints={**RESULT["hints"], "ex3-row-means": ""}).outdated


def test_a_lab_that_lost_an_exercise_is_refused_before_anything_is_written(book, empty_book):
    path = empty_book.parent / "lost" / f"{LAB}.ipynb"
    tiny_lab.write(path, grown(lost="ex2"))
    source = empty_book / "source" / LAB / f"{LAB}.ipynb"
    before = read_notebook(source)
    with pytest.raises(ValueError, match="lost ex2-last-true, test-ex2-last-true, for which .* into another OUT"):
        stage(empty_book, [path], with_grade_book=True)
    assert read_notebook(source) == before
