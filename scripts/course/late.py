"""Late days: when a lab was handed in, how many days after it was due, and the penalty that a policy proposes.

Points are never changed by this: grades.csv shows the days and the proposal beside them. A policy is a TOML file:

    time_zone = "Europe/Berlin"     # of the due dates, and of the dates in the names of Blackboard's downloads
    free_days = 3                   # of each student, for all labs together; used up in the order of due dates
    penalty_per_day = 10            # percent of a lab's points, for each day after that, begun or whole
    cap = 50                        # percent at most

    [due]
    01 = "2026-10-14 23:59"         # a lab's name, or the number that it begins with

The time is nbgrader's: the `timestamp.txt` beside the notebook, as its exchange writes it, or the platform's date in a
file's name. It is kept as `timestamp.txt` beside the notebook in the course, where nbgrader looks for it.
"""

import math
import re
import sys
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from scripts.course.handed_in import Found
from scripts.interp.base.files import write_atomically

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

TIMESTAMP = "timestamp.txt"  # nbgrader's name
_NUMBERS = {"free_days": 1000, "penalty_per_day": 100, "cap": 100}  # the most that each may be
_ON_BLACKBOARD = re.compile(r"_attempt_(\d{4})-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_LATE_ON_CANVAS = re.compile(r"(?:^|_)LATE_(?:anon_)?\w+?_\d+_")
_DAY = timedelta(days=1)


class BadPolicy(ValueError):
    """The policy can't be used; the message says why and what to do."""


class Policy(NamedTuple):
    zone: tzinfo
    free_days: int
    penalty_per_day: float  # percent of a lab's points
    cap: float  # percent of a lab's points
    due: dict[str, datetime]  # by a lab's name or number

    def due_of(self, lab: str) -> datetime | None:
        return self.due.get(lab) or self.due.get(lab.partition("-")[0])


class HandIn(NamedTuple):
    """What lateness depends on."""

    student: str
    lab: str
    owner: str  # whose free days it takes
    at: datetime | None  # None if nothing says it
    points: float
    max: float


class Late(NamedTuple):
    at: datetime | None
    days: int | None  # None if nothing says when it was handed in, or when it was due
    free: int  # days of them that cost nothing
    penalty: float  # points, proposed


def read_policy(path: Path) -> Policy:
    """Raises BadPolicy."""
    try:
        return parse_policy(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeError) as error:
        raise BadPolicy(f"The late policy {path} can't be read: {error}.") from None


def parse_policy(text: str, name: str = "late policy") -> Policy:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPolicy(f'{name} is no TOML ({error}); dates stand in quotes: 01 = "2026-10-14 23:59".') from None
    known = {"time_zone", "due", *_NUMBERS}
    if wrong := sorted(found.keys() - known):
        raise BadPolicy(f"{name} has {', '.join(wrong)}; it may have {', '.join(sorted(known))}.")
    try:
        zone = ZoneInfo(found.get("time_zone", ""))
    except (ValueError, OSError, KeyError, TypeError):  # KeyError: ZoneInfoNotFoundError
        given = found.get("time_zone", "no time_zone")
        raise BadPolicy(f'{name} has {given!r}; it needs one like time_zone = "Europe/Berlin".') from None
    numbers = {}
    for key, most in _NUMBERS.items():
        value = numbers[key] = found.get(key, 100 if key == "cap" else 0)
        whole = isinstance(value, int) or key != "free_days" and isinstance(value, float)
        if not whole or isinstance(value, bool) or not 0 <= value <= most:
            raise BadPolicy(f"{name} has {key} = {value!r}; give a number from 0 to {most}.")
    due = found.get("due")
    if not isinstance(due, dict) or not due:
        raise BadPolicy(f'{name} names no due dates: below a line [due], write 01 = "2026-10-14 23:59" for each lab.')
    return Policy(zone, due={lab: _due(f"{name}, due of {lab}", when, zone) for lab, when in due.items()}, **numbers)


def _due(where: str, when: object, zone: tzinfo) -> datetime:
    try:
        found = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError:
        found = None
    date_alone = isinstance(when, str) and len(when.strip()) < 11
    if not isinstance(found, datetime) or date_alone:
        shown = when.isoformat() if isinstance(when, date | time) else repr(when)
        raise BadPolicy(f'{where}: {shown} is no date with a time: write "2026-10-14 23:59".')
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(timezone.utc)


def check_labs(policy: Policy, labs: list[str]) -> None:
    """Raises BadPolicy if it has a due date of something that is none of these labs."""
    known = {*labs, *(lab.partition("-")[0] for lab in labs)}
    if wrong := sorted(policy.due.keys() - known):
        raise BadPolicy(f"The late policy has a due date of {', '.join(wrong)}; the labs are {', '.join(labs)}.")


def time_of(files: list[Found], name: str, zone: tzinfo) -> tuple[datetime | None, list[str]]:
    """When a student handed in the file of this name, in UTC; None if nothing says it. And notes for the instructor.

    files: all that the student handed in; zone: of the dates in file names. What lies in an archive is a student's own
    and says nothing.
    """
    try:
        at = _on_blackboard(name, zone) or _beside(files, name)
    except ValueError as error:
        return None, [str(error)]
    late = at is None and _LATE_ON_CANVAS.search(name.partition("/")[0])
    return at, ["handed in late, says Canvas, which doesn't say when"] if late else []


def _on_blackboard(name: str, zone: tzinfo) -> datetime | None:
    match = _ON_BLACKBOARD.search(name.partition("/")[0])
    try:
        return datetime(*map(int, match.groups()), tzinfo=zone).astimezone(timezone.utc) if match else None
    except ValueError:
        raise ValueError(f"{name} names no date that there is") from None


def _beside(files: list[Found], name: str) -> datetime | None:
    """What nbgrader's file says that lies beside this one, or in a folder around it."""
    paths = {file.name: file.path for file in files if file.path and ".zip/" not in f"{file.name}/".lower()}
    folder = name.rpartition("/")[0]
    while True:
        beside = f"{folder}/{TIMESTAMP}" if folder else TIMESTAMP
        if beside in paths:
            return parse_time(Path(paths[beside]).read_bytes()[:100].decode("utf-8", "replace"), beside)
        if not folder:
            return None
        folder = folder.rpartition("/")[0]


def parse_time(text: str, where: str = TIMESTAMP) -> datetime:
    """A time as nbgrader writes it ("2026-10-14 21:59:03.123456 UTC"), in UTC. Raises ValueError for anything else."""
    from dateutil.tz import gettz
    from nbgrader.utils import parse_utc

    parts = text.split()
    try:
        if len(parts) == 3 and re.fullmatch(r"[+-]\d{4}", parts[2]):
            parts[1:] = ["".join(parts[1:])]  # nbgrader would take "+0200" for 200 seconds
        elif len(parts) == 3 and gettz(parts[2]) is None:
            raise ValueError  # nbgrader would take it for UTC
        return parse_utc(" ".join(parts)).replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError(f"{where} holds no time like 2026-10-14 21:59:03 UTC, but {text.strip()[:40]!r}") from None


def keep_time(folder: Path, at: datetime | None) -> None:
    """Write the time beside the notebook in the course, or take away what an earlier submission left there."""
    if at is None:
        (folder / TIMESTAMP).unlink(missing_ok=True)
    else:
        write_atomically(folder / TIMESTAMP, f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S.%f} UTC")


def kept_time(folder: Path) -> datetime | None:
    path = folder / TIMESTAMP
    return parse_time(path.read_text(encoding="utf-8"), str(path)) if path.exists() else None


def set_due_dates(book: "Gradebook", policy: Policy, labs: list[str]) -> None:
    """Enter the due dates in the grade book, so that Formgrader shows how late a submission is."""
    for lab in labs:
        due = policy.due_of(lab)
        book.update_or_create_assignment(lab, duedate=due and due.replace(tzinfo=None))


def lateness(hand_ins: list[HandIn], policy: Policy) -> dict[tuple[str, str], Late]:
    """By student and lab. A day begun is a day; free days are used where they come first, by due date."""
    left: dict[str, int] = {}
    found = {}
    far = datetime.max.replace(tzinfo=timezone.utc)
    for handed in sorted(hand_ins, key=lambda handed: (policy.due_of(handed.lab) or far, handed.lab)):
        due = policy.due_of(handed.lab)
        if due is None or handed.at is None:
            found[handed.student, handed.lab] = Late(handed.at, None, 0, 0.0)
            continue
        days = max(0, math.ceil((handed.at - due) / _DAY))
        free = min(days, left.setdefault(handed.owner, policy.free_days))
        left[handed.owner] -= free
        percent = min(policy.cap, policy.penalty_per_day * (days - free))
        penalty = max(0.0, min(handed.max * percent / 100, handed.points))
        found[handed.student, handed.lab] = Late(handed.at, days, free, penalty)
    return found


def columns(late: Late | None, zone: tzinfo) -> dict[str, str]:
    """What grades.csv says of one result."""
    known = late is not None and late.days is not None
    return {
        "handed_in_at": f"{late.at.astimezone(zone):%Y-%m-%d %H:%M %Z}" if late and late.at else "",
        "days_late": str(late.days) if known else "",
        "free_days_used": str(late.free) if known else "",
        "proposed_penalty": f"{late.penalty:g}" if known else "",
    }


def kept_policy(out: Path) -> Policy | None:
    """The policy that was given last for this OUT."""
    return read_policy(path) if (path := out / "late.toml").exists() else None


def keep_policy(out: Path, path: Path, labs: list[str]) -> Policy:
    """Keep a policy for `make report`, once it was seen to be one."""
    policy = read_policy(path)
    check_labs(policy, labs)
    write_atomically(out / "late.toml", path.read_bytes())
    return policy
