"""Who is in the class: a roster as learning platforms export it, and whose a submission is.

Understood are a gradebook of Canvas, a participants list, a gradebook or a grading worksheet of Moodle, and any CSV
with columns as in `COLUMNS`. A submission is matched by id, login, e-mail address, the platform's number or the name.
Where several people fit, none is taken.
"""

import csv
import io
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from scripts.course.report import Row
from scripts.interp.base.files import write_atomically

# What a column may be called, without case: the first line of a roster names its columns.
COLUMNS = {
    "name": ("name", "student", "full name", "student name"),
    "first": ("first name", "firstname", "given name"),
    "last": ("last name", "lastname", "surname", "family name"),
    "id": ("sis user id", "id number", "student id", "student number", "matriculation number"),
    "email": ("email address", "email", "e-mail", "e-mail address", "mail"),
    "login": ("sis login id", "username", "login", "user name"),
    "number": ("identifier",),  # the platform's own, which stands in the names of downloads; Canvas calls it "ID"
    "section": ("section", "group", "groups"),
}
NOTHING = "nothing was handed in"
_NO_PERSON = ("pointspossible", "studenttest")  # rows of Canvas, by `name_key`
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i"})  # letters that NFKD keeps


class BadRoster(ValueError):
    """The roster can't be used; the message says why and what to do."""


class Person(NamedTuple):
    """One line of a roster; "" for what it doesn't say."""

    name: str
    id: str = ""  # the institution's
    email: str = ""
    login: str = ""
    number: str = ""  # the platform's own
    section: str = ""

    @property
    def label(self) -> str:
        return f"{self.name or self.email or self.login} ({self.id or self.number or self.email or 'no id'})"


class Roster(NamedTuple):
    people: list[Person]
    titles: list[str]  # of all columns, as they stand there
    platform: str  # "Canvas", "Moodle", or "" where the columns' names don't say
    said: str  # which columns were recognised, in a sentence


class Match(NamedTuple):
    """Whose a submission is."""

    person: Person | None
    how: str  # "by e-mail", "nobody on the roster", …
    possible: tuple[Person, ...] = ()  # where several people fit


def read_roster(path: Path) -> Roster:
    """Raises BadRoster where this is no list of people."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadRoster(f"The roster {path} can't be read: {error.strerror}.") from None
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        return parse_roster(text, path.name)
    except (UnicodeError, csv.Error):
        advice = "save it as CSV in UTF-8 (spreadsheet programs offer that under Save as)"
        raise BadRoster(f"The roster {path} is no text that can be read: {advice}.") from None


def parse_roster(text: str, name: str = "roster") -> Roster:
    """A roster's people from the text of a CSV, separated by commas, semicolons or tabs."""
    first = text.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=first.count)
    lines = [line for line in csv.reader(io.StringIO(text.lstrip("\r\n")), delimiter=separator) if any(line)]
    titles = lines[0] if lines else []
    columns = _columns(titles)
    if not columns.keys() & {"id", "email", "login", "number"}:
        known = ", ".join(title for titles in COLUMNS.values() for title in titles[:1])
        raise BadRoster(
            f"The roster {name} names no column that tells people apart: its first line is {first.strip()[:80]!r}, and"
            f" should name columns as in id,name,email or as Canvas and Moodle export them ({known})."
        )
    people = [person for line in lines[1:] if (person := _person(line, columns))]
    if not people:
        raise BadRoster(f"The roster {name} has a first line, and nobody below it.")
    for field in ("id", "email", "login", "number"):
        values = [getattr(person, field).casefold() for person in people if getattr(person, field)]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise BadRoster(f"The roster {name} has {titles[columns[field]]} {twice[0]!r} twice: leave one of them.")
    recognised = ", ".join(f"{titles[place]} ({field})" for field, place in sorted(columns.items(), key=lambda c: c[1]))
    said = f"{name}: {len(people)} people; recognised columns: {recognised}"
    return Roster(people, titles, _platform(titles), said)


def _columns(titles: list[str]) -> dict[str, int]:
    """Where the fields are."""
    plain = _plain(titles)
    columns = {}
    for field, names in COLUMNS.items():
        places = [plain.index(name) for name in names if name in plain]
        if places:
            columns[field] = places[0]
    if "id" in plain:
        columns.setdefault("number" if _platform(titles) == "Canvas" else "id", plain.index("id"))
    return columns


def _platform(titles: list[str]) -> str:
    plain = _plain(titles)
    if {"student", "id", "section"} <= set(plain):
        return "Canvas"
    return "Moodle" if "email address" in plain else ""


def _plain(titles: list[str]) -> list[str]:
    return [" ".join(title.replace("_", " ").split()).casefold() for title in titles]


def _person(line: list[str], columns: dict[str, int]) -> Person | None:
    value = {field: line[place].strip() if place < len(line) else "" for field, place in columns.items()}
    first, last = value.pop("first", ""), value.pop("last", "")
    if not value.get("name"):
        value["name"] = ", ".join(part for part in (last, first) if part)
    if "number" in value:  # Moodle's worksheet has "Participant 1234"
        value["number"] = re.sub(r"\D+(?=\d+$)", "", value["number"])
    told = any(value.get(field) for field in ("id", "email", "login", "number"))
    # Canvas has a row with the points and one with a student for trying things out
    return Person(**value) if told and name_key(value["name"]) not in _NO_PERSON else None


def name_key(name: str) -> str:
    """A name's letters and digits alone: without case, accents, blanks and signs."""
    plain = unicodedata.normalize("NFKD", name.casefold()).translate(_PLAIN)
    return "".join(letter for letter in plain if letter.isalnum())


def _name_keys(name: str) -> set[str]:
    """A name's keys with any of its words first: Canvas writes "doejane", Moodle "Jane Doe", a roster "Doe, Jane"."""
    words = [key for word in re.split(r"[\s,._]+", name) if (key := name_key(word))]
    return {"".join(words[place:] + words[:place]) for place in range(len(words))}


def match(students: list[str], roster: Roster) -> dict[str, Match]:
    """Whose the submissions are.

    students: as the grader calls them: a folder's name, or a name and the platform's number ("doejane_12345")
    """
    by_name: dict[str, list[Person]] = {}
    for person in roster.people:
        for key in _name_keys(person.name):
            by_name.setdefault(key, []).append(person)
    return {student: _match(student, roster.people, by_name) for student in students}


def _match(student: str, people: list[Person], by_name: dict[str, list[Person]]) -> Match:
    whole = student.casefold()
    for how, field in (("by id", "id"), ("by e-mail", "email"), ("by login", "login")):
        if found := [person for person in people if getattr(person, field).casefold() == whole]:
            return Match(found[0], how)
    name, _, number = student.rpartition("_")
    if not (name and number.isdigit()):
        name, number = student, ""
    # Moodle counts anew for each assignment, so that its number may be somebody else's on another list
    numbered = [person for person in people if number and number in (person.number, person.id)]
    named = by_name.get(name_key(name), [])
    both = [person for person in numbered if person in named]
    if len(both) == 1:
        return Match(both[0], "by number and name")
    if len(named) == 1 and not numbered:
        return Match(named[0], "by name")
    if len(numbered) == 1 and not named and numbered[0].number == number:
        return Match(numbered[0], "by number")
    if possible := list(dict.fromkeys([*named, *numbered])):
        return Match(None, f"could be {' or '.join(person.label for person in possible)}", tuple(possible))
    return Match(None, "nobody on the roster")


def remarks(matches: dict[str, Match]) -> list[str]:
    """In sentences: submissions that are nobody's on the roster, or several people's, or the same person's."""
    said = [f"{student}: {found.how}" for student, found in matches.items() if not found.person]
    owners: dict[Person, list[str]] = {}
    for student, found in matches.items():
        if found.person:
            owners.setdefault(found.person, []).append(student)
    return said + [f"{' and '.join(names)} are all {p.label}" for p, names in owners.items() if len(names) > 1]


def absent(roster: Roster, rows: list[Row], matches: dict[str, Match]) -> list[tuple[Person, Row]]:
    """A row for everybody on the roster and each lab in `rows` of which they handed in nothing.

    Whoever a submission of that lab could belong to has no such row: nobody knows yet that it isn't theirs.
    """
    taken = set()
    for row in rows:
        found = matches[row.student]
        taken |= {(person, row.lab) for person in (found.person, *found.possible)}
    called = {found.person: student for student, found in matches.items()}
    labs = {row.lab: row for row in rows}
    return [
        (person, _nothing(called.get(person) or person.name or person.label, row))
        for row in labs.values()
        for person in roster.people
        if (person, row.lab) not in taken
    ]


def _nothing(student: str, like: Row) -> Row:
    return Row(student, like.lab, {}, {}, {}, like.of, 0, like.max, NOTHING, {}, handed_in=False, graded=False)


def kept_roster(out: Path) -> Roster | None:
    """The roster that was given last for this OUT."""
    return read_roster(path) if (path := out / "roster.csv").exists() else None


def keep_roster(out: Path, path: Path) -> Roster:
    """Keep a roster for `make report`, once it was seen to be one."""
    roster = read_roster(path)
    write_atomically(out / "roster.csv", path.read_bytes())
    return roster
