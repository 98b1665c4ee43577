"""What goes out: grades.csv with what roster and late policy add to it, and files for Canvas and Moodle to import.

`exports/canvas-<lab>.csv` and `exports/moodle-<lab>.csv` hold final points only, one lab in each file: both platforms
take an empty cell for "no grade" and delete the one they have, so whoever has no final points must be left out of a
file, which a second lab's column would prevent. `exports/left-out.csv` says who and why. A roster says who is who;
without one there are no exports. Points are those of the labs, whatever a late policy proposes.

What Canvas takes is read from its `lib/gradebook_importer.rb`, what Moodle takes from `grade/import/csv` (a user that
it can't find ends its import; a row without one would count for the user before) and `mod/assign/feedback/offline`.
"""

import csv
import io
from pathlib import Path
from typing import NamedTuple

from scripts.course import late, roster
from scripts.course.late import HandIn
from scripts.course.look import TAMPERING
from scripts.course.report import Row, csv_text, safe
from scripts.course.roster import Match, Person, Roster
from scripts.interp.base.files import write_atomically

_MOODLE_USERS = {"Email address": "email", "Identifier": "number", "ID number": "id", "Username": "login"}


class LeftOut(NamedTuple):
    """A result that is in no export."""

    student: str
    lab: str
    why: str


class Final(NamedTuple):
    """A result that is."""

    person: Person
    row: Row


def write_tables(out: Path, rows: list[Row], exercises: list[str], times: dict) -> None:
    """Write grades.csv, and the exports if there is a roster.

    times: when it was handed in by student and lab, in UTC; None or missing where nothing says it
    """
    people, policy = roster.kept_roster(out), late.kept_policy(out)
    matches = roster.match([row.student for row in rows], people) if people else {}
    missing = roster.absent(people, rows, matches) if people else []
    every = rows + [row for _, row in missing]
    owners = [matches.get(row.student) for row in rows] + [Match(person, roster.NOTHING) for person, _ in missing]
    more: list[dict[str, str]] = [{} for _ in every]
    if people:
        for cells, owner in zip(more, owners):
            cells.update(_who(owner))
    if policy:
        pairs = [(row, owner) for row, owner in zip(every, owners) if row.handed_in]
        days = late.lateness([_hand_in(row, owner, times) for row, owner in pairs], policy)
        for cells, row in zip(more, every):
            cells.update(late.columns(days.get((row.student, row.lab)) if row.handed_in else None, policy.zone))
    order = sorted(range(len(every)), key=lambda i: (every[i].lab, every[i].student))
    text = csv_text([every[i] for i in order], exercises, [more[i] for i in order])
    # spreadsheet programs take a file without a byte order mark for the machine's old alphabet, and garble names
    write_atomically(out / "grades.csv", "\ufeff" + text)
    files = _exports(rows, matches, missing, people) if people else {}
    for name, content in files.items():
        write_atomically(out / "exports" / name, content)
    for path in (out / "exports").glob("*.csv"):  # of an earlier roster
        if path.name not in files:
            path.unlink()


def remarks(out: Path, rows: list[Row]) -> str:
    """For the screen: which columns of the roster were recognised, and which submissions are nobody's on it."""
    people = roster.kept_roster(out)
    if not people:
        return ""
    said = roster.remarks(roster.match([row.student for row in rows], people))
    return "\n".join([people.said, *(["On the roster:", *said] if said else []), f"exports: {out / 'exports'}"])


def _exports(rows: list[Row], matches: dict[str, Match], missing: list, people: Roster) -> dict[str, str]:
    final, left = finals(rows, matches)
    left += [LeftOut(row.student, row.lab, row.status) for _, row in missing]
    files = {}
    for lab, points in {row.lab: row.max for row in rows}.items():
        of_lab = [found for found in final if found.row.lab == lab]
        if people.platform != "Moodle":
            files[f"canvas-{lab}.csv"] = canvas_csv(lab, of_lab, points, people)
        if people.platform != "Canvas":
            files[f"moodle-{lab}.csv"], unknown = moodle_csv(of_lab)
            left += unknown
    # for spreadsheet programs, as grades.csv
    return files | {"left-out.csv": "\ufeff" + _table(["student", "lab", "why"], sorted(left))}


def finals(rows: list[Row], matches: dict[str, Match]) -> tuple[list[Final], list[LeftOut]]:
    """Whose points are final, and who is left out of the exports."""
    handed: dict[tuple, list[str]] = {}
    for row in rows:
        if row.handed_in:
            handed.setdefault((matches[row.student].person, row.lab), []).append(row.student)
    final, left = [], []
    for row in rows:
        match = matches[row.student]
        others = [name for name in handed.get((match.person, row.lab), []) if name != row.student]
        if not row.handed_in and others:  # under another name of the same person
            continue
        why = match.how if not match.person else not_final(row)
        if not why and others:
            why = f"{match.person.label} handed this lab in as {' and '.join([row.student, *others])}"
        left += [LeftOut(row.student, row.lab, why)] if why else []
        final += [] if why else [Final(match.person, row)]
    return sorted(final, key=lambda found: found.person), left


def not_final(row: Row) -> str:
    """Why a person has to decide before these points are a grade, or ""."""
    if not row.handed_in:
        return roster.NOTHING
    if not row.graded:
        return f"not graded: {row.status}"
    if row.outdated:
        return "graded as an earlier version of the lab"
    if waiting := [name for name, given in row.manual.items() if given is None]:
        return f"waits for a person: {', '.join(waiting)}"
    return "tampering: a person decides" if TAMPERING in row.status else ""


def canvas_csv(lab: str, final: list[Final], points: float, people: Roster) -> str:
    """For Canvas, Grades → Import. The lab's column has Canvas's own title, "lab (4711)", if the roster has one."""
    own = [title for title in people.titles if title.rpartition(" (")[0].strip().casefold() == lab.casefold()]
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", own[0] if own else lab]
    lines = [["    Points Possible", "", "", "", "", number(points)]]
    for person, row in final:
        lines.append([person.name, person.number, person.id, person.login, person.section, number(row.total)])
    return _table(head, lines)


def moodle_csv(final: list[Final]) -> tuple[str, list[LeftOut]]:
    """For Moodle: the gradebook's import of CSV, or the upload of a grading worksheet in the assignment.

    Users are told apart by columns that have no gap, because Moodle would give the points of a row without a user to
    the user before. If each has gaps, by the one with the fewest, and whoever has none is returned.
    """
    filled = {title: sum(1 for f in final if getattr(f.person, field)) for title, field in _MOODLE_USERS.items()}
    titles = [title for title, count in filled.items() if count == max(filled.values())]
    titles = titles if filled[titles[0]] == len(final) else titles[:1]
    fields = [_MOODLE_USERS[title] for title in titles]
    lines, left = [], []
    for person, row in final:
        who = [getattr(person, field) for field in fields]
        if not all(who):
            left.append(
                LeftOut(row.student, row.lab, f"the roster has no {titles[0]}, by which Moodle could find them")
            )
            continue
        who = [f"Participant {cell}" if title == "Identifier" else cell for title, cell in zip(titles, who)]
        lines.append([*who, person.name, number(row.total), number(row.max), "", feedback(row)])
    head = [*titles, "Full name", "Grade", "Maximum grade", "Last modified (grade)", "Feedback comments"]
    return _table(head, lines), left


def feedback(row: Row) -> str:
    """Points by exercise and what a person said; no hints, for they are on the pages."""
    points = {**row.scores, **row.manual}
    said = [f"{name}: {number(given or 0)}" for name, given in points.items()]
    return ", ".join(said) + "".join(f". On {name}: {comment}" for name, comment in row.comments.items())


def number(value: float) -> str:
    return f"{round(value, 2):.15g}"


def _who(owner: Match) -> dict[str, str]:
    person = owner.person or Person("")
    cells = {"id": person.id or person.number, "name": person.name, "email": person.email, "roster": owner.how}
    return {name: safe(text) for name, text in cells.items()}


def _hand_in(row: Row, owner: Match | None, times: dict) -> HandIn:
    """A platform may give one person several numbers: free days are the person's."""
    whose = owner.person.label if owner and owner.person else row.student
    return HandIn(row.student, row.lab, whose, times.get((row.student, row.lab)), row.total, row.max)


def _table(head: list[str], lines: list) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([safe(cell) for cell in line] for line in lines)
    return file.getvalue()
