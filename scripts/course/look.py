"""Which results a person should look at, in sentences: what the end of a grading lists, and why it ends with 1."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.course.report import Row

LONGEST = 300  # characters of a status that are shown: file names and the texts of errors are the students' own
TAMPERING = "TAMPERING"  # in a status
# What a status says where something may have cost points that were deserved, or earned some that were not
_SAYS = (TAMPERING, "could not be graded", "passes in the notebook but not in a clean process", "lost its nbgrader")


def needs_a_look(rows: "list[Row]") -> list[str]:
    """A line for each result that may be wrong: not graded though something was handed in, tampered with, passing in
    the notebook only, or graded as an earlier version of the lab. [] if there is none.

    Written answers that wait for a person are `waiting`: they are no reason to doubt what was graded.
    """
    return [f"{row.student}, {row.lab}: {_short(row.status)}" for row in rows if _doubtful(row)]


def waiting(rows: "list[Row]") -> list[str]:
    """A line for each result with written answers that wait for a person."""
    return [
        f"{row.student}, {row.lab}: {', '.join(names)} ({row.awaiting:g} points)"
        for row in rows
        if (names := [name for name, given in row.manual.items() if given is None])
    ]


def _doubtful(row: "Row") -> bool:
    unreadable = row.handed_in and not row.graded
    return unreadable or row.outdated or any(words in row.status for words in _SAYS)


def _short(status: str) -> str:
    status = re.sub(r"\s+", " ", status)
    return status if len(status) <= LONGEST else status[:LONGEST] + "…"
