"""Write a class's results: grades.csv, files for learning platforms (`scripts.course.exports`), a feedback page for
each student and lab, an overview; a table on the screen.

    .venv/bin/python -m scripts.course.report OUT

`make grade` does this at its end. Run it again after grading written answers by hand (with the Formgrader of
a JupyterLab started in OUT/course): points given there, and comments, are then in the CSV and on the pages.
"""

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.interp.base.files import write_atomically

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

    from scripts.course.cells import Exercise, Written


class Row(NamedTuple):
    """One student's result in one lab."""

    student: str
    lab: str
    scores: dict[str, float]  # points by exercise
    manual: dict[str, float | None]  # points by written answer; None if it waits for a person
    comments: dict[str, str]  # of the person who graded, by exercise and written answer
    of: float  # points that can be had automatically
    awaiting: float  # points of written answers that wait for a person
    max: float
    status: str
    hints: dict[str, str]
    earlier: dict[str, float] = {}  # points that an earlier text got, by written answer that waits again
    handed_in: bool = True
    graded: bool = True
    outdated: tuple[str, ...] = ()  # exercises that the lab did not have yet when this was graded

    @property
    def automatic(self) -> float:
        return sum(self.scores.values())

    @property
    def by_hand(self) -> float:
        return sum(given or 0 for given in self.manual.values())

    @property
    def total(self) -> float:
        """So far: what waits for a person counts for nothing."""
        return self.automatic + self.by_hand


def report(out: Path) -> list[Row]:
    """Write everything from the results and the grade book in `out`/course. Returns the rows of the table."""
    # takes seconds: a wrong argument is answered without it
    from nbgrader.api import Gradebook

    from scripts.course.assignments import grade_book, released_path
    from scripts.course.cells import exercises_of, grade_id, read_notebook, written_of
    from scripts.course.exports import write_tables
    from scripts.course.grading.feedback import feedback_page
    from scripts.course.late import kept_time
    from scripts.course.overview import overview_csv, overview_page, results as by_exercise
    from scripts.course.similarity import similar, similar_csv

    course = out / "course"
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(course.glob("results/*/*.json"))]
    used = {result["lab"] for result in results if result["handed_in"]}  # labs that nobody handed in are no failures
    results = [result for result in results if result["lab"] in used or not used]
    results.sort(key=lambda result: (result["lab"], result["student"]))
    labs = {}
    for lab in dict.fromkeys(result["lab"] for result in results):
        source = read_notebook(course / "source" / lab / f"{lab}.ipynb")
        labs[lab] = exercises_of(source), written_of(source)

    rows = []
    with Gradebook(grade_book(course)) as book:
        for result in results:
            rows.append(row_of(book, result, *labs[result["lab"]]))
    submitted = {(r["student"], r["lab"]): course / "submitted" / r["student_id"] / r["lab"] for r in results}
    times = {whose: kept_time(folder) for whose, folder in submitted.items()}
    write_tables(out, rows, [e.id for exercises, _ in labs.values() for e in exercises], times)
    answered = {lab: {} for lab in labs}
    for row, result in zip(rows, results):
        path = course / "autograded" / result["student_id"] / row.lab / f"{row.lab}.ipynb"
        answers = read_notebook(path) if result["graded"] else None
        page = feedback_page(row, *labs[row.lab], answers)
        write_atomically(out / "feedback" / row.student / f"{row.lab}.html", page)
        if answers:
            answered[row.lab][row.student] = {grade_id(cell): cell.source for cell in answers.cells}
    alike = []
    for lab, (exercises, _) in labs.items():
        stubs = {grade_id(cell): cell.source for cell in read_notebook(released_path(course, lab)).cells}
        alike += similar(lab, answered[lab], {e.id: [e.solution, stubs.get(e.id, "")] for e in exercises})
    write_atomically(out / "similar.csv", "\ufeff" + similar_csv(alike))
    write_atomically(out / "overview.csv", "\ufeff" + overview_csv(by_exercise(rows, labs)))
    write_atomically(out / "overview.html", overview_page(rows, labs, alike))
    return rows


def for_the_screen(out: Path, rows: list[Row]) -> str:
    """The table, what changed since this was called last for `out`, and what needs a look."""
    from scripts.course.changes import changes_table, write_changes
    from scripts.course.exports import remarks
    from scripts.course.look import needs_a_look

    look = needs_a_look(rows)
    parts = [table(rows), changes_table(write_changes(out, rows)), "\n".join(["Needs a look:", *look] if look else [])]
    parts.append(remarks(out, rows))
    return "\n\n".join(part for part in parts if part)


def row_of(book: "Gradebook", result: dict, exercises: "list[Exercise]", written: "list[Written]") -> Row:
    """A result with what the grade book says about it: nbgrader's points of a cell are a person's, or else the tests',
    and extra credit on top."""
    scores = {exercise.id: 0.0 for exercise in exercises}
    manual: dict[str, float | None] = {answer.id: 0.0 for answer in written}
    comments, earlier = {}, {}
    status, new = result["status"], []
    if result["graded"]:
        submission = book.find_submission_notebook(result["lab"], result["lab"], result["student_id"])
        for grade in submission.grades:
            name, extra = grade.name.removeprefix("test-"), grade.extra_credit or 0
            given = grade.manual_score if grade.manual_score is not None else grade.auto_score
            if name in scores:
                scores[name] = (given or 0) + extra
            elif name in manual and grade.needs_manual_grade:
                manual[name] = None
                if grade.manual_score is not None:
                    earlier[name] = grade.manual_score + extra
            elif name in manual:
                manual[name] = None if given is None else given + extra
        for comment in submission.comments:
            # nbgrader's own "No response." says of an exercise what its hint says
            said = comment.comment if comment.name in manual else comment.manual_comment
            if said:
                comments[comment.name.removeprefix("test-")] = said
        new = [name for name in scores if name not in result["hints"]]
    if new:
        status = f"was graded before {', '.join(new)} was part of the lab: grade it again; {status}".removesuffix(
            "; ok"
        )
    points = {answer.id: answer.points for answer in written}
    return Row(
        result["student"],
        result["lab"],
        scores,
        manual,
        comments,
        of=sum(exercise.points for exercise in exercises),
        awaiting=sum(points[name] for name, given in manual.items() if given is None),
        max=sum(exercise.points for exercise in exercises) + sum(points.values()),
        status=status,
        hints={**dict.fromkeys(new, ""), **result.get("hints", {})},
        earlier=earlier,
        handed_in=result["handed_in"],
        graded=result["graded"],
        outdated=tuple(new),
    )


def csv_text(rows: list[Row], exercises: list[str], more: list[dict[str, str]] | None = None) -> str:
    """more: further cells of each row by the name of their column, the same ones for all rows"""
    more = more or [{} for _ in rows]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            "student",
            "lab",
            *exercises,
            "automatic_points",
            "manual_points",
            "awaiting_manual_points",
            "max_points",
            "total_points",
            "percent",
            *(more[0] if more else ()),
            "status",
        ]
    )
    for row, cells in zip(rows, more):
        numbers = [row.scores.get(name, "") for name in exercises]
        numbers += [row.automatic, row.by_hand, row.awaiting, row.max, row.total]
        numbers.append(round(100 * row.total / row.max, 1) if row.max else "")
        texts = [f"{number:g}" if number != "" else "" for number in numbers]
        writer.writerow([safe(row.student), row.lab, *texts, *cells.values(), safe(row.status)])
    return file.getvalue()


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: names and messages come from students.

    Where numbers have a comma, a spreadsheet may end a cell at a semicolon: what follows one is guarded as well.
    """
    return re.sub(r"(^|[;,\t\r\n])(?=[=+\-@＝＋－＠\t\r])", r"\1'", text)


def table(rows: list[Row]) -> str:
    """The results for the screen."""
    lines = [("student", "lab", "points", "by hand", "status")]
    for row in rows:
        waiting = f"{row.awaiting:g} waiting" if row.awaiting else f"{row.by_hand:g}"
        lines.append((row.student, row.lab, f"{row.automatic:g} of {row.of:g}", waiting, row.status))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths)), line[4]]) for line in lines)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "course").is_dir():
        sys.exit("usage: .venv/bin/python -m scripts.course.report OUT   (the OUT of an earlier `make grade`)")
    print(for_the_screen(Path(sys.argv[1]), report(Path(sys.argv[1]))))
