"""Points and comments that a person gave: they belong to the text they were given for.

nbgrader keeps them in the grade book whatever is handed in later. Where the text is the same they stay. Another written
answer waits for a person again, who sees the earlier points; until then they count for nothing. Points given for an
exercise are taken back, because its tests give new ones. A comment then says that it is an older one.
"""

from typing import NamedTuple

from nbformat import NotebookNode
from nbgrader.api import Grade, Gradebook, MissingEntry

from scripts.course.cells import grade_id

OLDER = "On an earlier text: "  # before a comment


class Kept(NamedTuple):
    """Points given by hand that stay in the grade book."""

    points: float
    automatic: float | None  # what the tests gave then; None for a written answer
    waits: bool  # whether a person was to look at it again
    replaced: bool = False  # whether the written answer is another one than the points were given for


def take_back(
    book: Gradebook, lab: str, student_id: str, before: NotebookNode | None, after: NotebookNode
) -> tuple[list[str], dict[str, Kept]]:
    """Before answers are graded, take back what was given for exercises that have another text now.

    before: what was graded then, None if that is lost; after: what will be graded. Returns a note for each exercise
    whose points were taken back, and what stays, by the name of the graded cell, for `compare`.
    """
    try:
        submission = book.find_submission_notebook(lab, lab, student_id)
    except MissingEntry:
        return [], {}
    old, new = (_answers(notebook) if notebook else {} for notebook in (before, after))
    notes, kept = [], {}
    for grade in submission.grades:
        name = grade.name.removeprefix("test-")
        if grade.manual_score is None and not grade.extra_credit:
            continue
        same = name in old and old[name] == new.get(name)
        written = name == grade.name
        if grade.manual_score is not None and (same or written):
            replaced = written and (not same or grade.needs_manual_grade)
            kept[grade.name] = Kept(grade.manual_score, grade.auto_score, grade.needs_manual_grade, replaced)
        elif not same:
            notes.append(_take_back(grade, name))
    for comment in submission.comments:
        changed = old.get(comment.name) != new.get(comment.name)
        if comment.manual_comment and changed and not comment.manual_comment.startswith(OLDER):
            comment.manual_comment = OLDER + comment.manual_comment
    book.db.commit()
    return notes, kept


def compare(book: Gradebook, lab: str, student_id: str, kept: dict[str, Kept]) -> list[str]:
    """After the grading: who has to look at what again, and a note for each answer where that is so.

    nbgrader says it of everything that has points by hand; answers of the same text with the same tests need no look.
    """
    notes = []
    for grade in book.find_submission_notebook(lab, lab, student_id).grades:
        if grade.name not in kept:
            continue
        before, name = kept[grade.name], grade.name.removeprefix("test-")
        if before.replaced and grade.auto_score is None:
            grade.needs_manual_grade = True
            notes.append(f"{_another_text(grade, name)} (it waits for new ones)")
        elif before.replaced:  # by nothing
            notes.append(_take_back(grade, name))
        elif name == grade.name or grade.auto_score == before.automatic:
            grade.needs_manual_grade = before.waits
        else:
            now = f"the tests now give {grade.auto_score:g} instead of {before.automatic:g}"
            notes.append(f"{name} keeps the {before.points:g} points given by hand, though {now}")
    book.db.commit()
    return notes


def _take_back(grade: Grade, name: str) -> str:
    note = f"{_another_text(grade, name)} (taken back)"
    grade.manual_score = grade.extra_credit = None
    grade.needs_manual_grade = grade.auto_score is None
    return note


def _another_text(grade: Grade, name: str) -> str:
    points = (grade.manual_score or 0) + (grade.extra_credit or 0)
    return f"{name} has another text than the one that got {points:g} points by hand"


def _answers(notebook: NotebookNode) -> dict[str, tuple]:
    """What stands in the marked cells, by grade_id: the text but for blank space at line ends, and the pictures."""
    return {
        grade_id(cell): ("\n".join(map(str.rstrip, cell.source.strip().splitlines())), cell.get("attachments") or {})
        for cell in notebook.cells
        if grade_id(cell)
    }
