"""Points and comments that a person gave: they belong to the text they were given for.

nbgrader keeps them in the grade book whatever is handed in later. Where the text is the same they stay; where it is
another one the points are taken back, so that the answer is graded anew, and the comment says that it is an older one.
"""

from typing import NamedTuple

from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry

from scripts.course.cells import grade_id

OLDER = "On an earlier text: "  # before a comment


class Kept(NamedTuple):
    """Points given by hand that stay."""

    points: float
    automatic: float | None  # what the tests gave then; None for a written answer
    waits: bool  # whether a person was to look at it again


def take_back(
    book: Gradebook, lab: str, student_id: str, before: NotebookNode | None, after: NotebookNode
) -> tuple[list[str], dict[str, Kept]]:
    """Take back what was given for answers that have another text now, before they are graded.

    before: what was graded then, None if that is lost; after: what will be graded. Returns a note for each answer whose
    points were taken back, and what stays, by the name of the graded cell.
    """
    try:
        submission = book.find_submission_notebook(lab, lab, student_id)
    except MissingEntry:
        return [], {}
    old, new = (_answers(notebook) if notebook else {} for notebook in (before, after))
    notes, kept = [], {}
    for grade in submission.grades:
        name = grade.name.removeprefix("test-")
        if grade.manual_score is None:
            continue
        if name in old and old[name] == new.get(name):
            kept[grade.name] = Kept(grade.manual_score, grade.auto_score, grade.needs_manual_grade)
            continue
        notes.append(
            f"{name} has another text than the one that got {grade.manual_score:g} points by hand (taken back)"
        )
        grade.manual_score = None
    for comment in submission.comments:
        changed = old.get(comment.name) != new.get(comment.name)
        if comment.manual_comment and changed and not comment.manual_comment.startswith(OLDER):
            comment.manual_comment = OLDER + comment.manual_comment
    book.db.commit()
    return notes, kept


def compare(book: Gradebook, lab: str, student_id: str, kept: dict[str, Kept]) -> list[str]:
    """After the grading: a note for each answer whose text is the same, but to which the tests give other points now.

    The others need not be looked at again, although nbgrader says so.
    """
    notes = []
    for grade in book.find_submission_notebook(lab, lab, student_id).grades:
        if grade.name not in kept:
            continue
        before = kept[grade.name]
        if grade.auto_score == before.automatic:
            grade.needs_manual_grade = before.waits
        else:
            name = grade.name.removeprefix("test-")
            now = f"the tests now give {grade.auto_score:g} instead of {before.automatic:g}"
            notes.append(f"{name} keeps the {before.points:g} points given by hand, though {now}")
    book.db.commit()
    return notes


def _answers(notebook: NotebookNode) -> dict[str, tuple]:
    """What stands in the marked cells, by grade_id: the text but for blank space at line ends, and the pictures."""
    return {
        grade_id(cell): ("\n".join(map(str.rstrip, cell.source.strip().splitlines())), cell.get("attachments") or {})
        for cell in notebook.cells
        if grade_id(cell)
    }
