"""What another grading changed: old and new points by student, lab and exercise."""

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

from scripts.course.report import Row, safe
from scripts.interp.base.files import write_atomically

MOST_LINES = 20  # of the table on the screen; the file has all


WAITING, GONE = "waiting", "no result"  # for a person; of this exercise


class Change(NamedTuple):
    """Points of one exercise or written answer that are others now."""

    student: str
    lab: str
    exercise: str
    old: float
    new: float | str  # points, or WAITING, or GONE


def changes(before: list[Row], after: list[Row]) -> list[Change]:
    """What had points before and has others now, in the order of `before`.

    Points that there were none of are no change: a lab handed in since, a written answer that has waited.
    """
    now = {(row.student, row.lab): {**row.scores, **row.manual} for row in after}
    found = []
    for row in before:
        points = now.get((row.student, row.lab), {})
        had = {**row.scores, **row.manual} if row.graded else {}
        found += [
            Change(row.student, row.lab, name, old, WAITING if new is None else new)
            for name, old in had.items()
            if old is not None and old != (new := points.get(name, GONE))
        ]
    return found


def changes_table(found: list[Change]) -> str:
    """The changes for the screen, the first `MOST_LINES` of them; "" if there is none."""
    if not found:
        return ""
    lines = [("student", "lab", "exercise", "old", "new")]
    lines += [(c.student, c.lab, c.exercise, f"{c.old:g}", _new(c)) for c in found[:MOST_LINES]]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    table = ["  ".join([*(cell.ljust(width) for cell, width in zip(line, widths)), line[4]]) for line in lines]
    more = len(found) - MOST_LINES
    return "\n".join([f"Changed since the last report: {len(found)}", *table, *[f"… and {more} more"] * (more > 0)])


def changes_csv(found: list[Change]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["student", "lab", "exercise", "old", "new"])
    writer.writerows([safe(c.student), c.lab, c.exercise, f"{c.old:g}", _new(c)] for c in found)
    return file.getvalue()


def write_changes(out: Path, after: list[Row]) -> list[Change]:
    """Compare with the rows of the last report in `out`, and keep these for the next one.

    `out`/changes.csv is written if something changed, and otherwise left: it says what changed last.
    """
    kept = out / "course" / "rows.json"
    try:
        before = [Row(**row) for row in json.loads(kept.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):  # there is none yet, or another version of this program wrote it
        before = []
    found = changes(before, after)
    if found:  # the byte order mark is for spreadsheet programs, as in grades.csv
        write_atomically(out / "changes.csv", "\ufeff" + changes_csv(found))
    write_atomically(kept, json.dumps([row._asdict() for row in after], indent=1, ensure_ascii=False))
    return found


def _new(change: Change) -> str:
    return change.new if isinstance(change.new, str) else f"{change.new:g}"
