"""Pseudonyms for grading by hand: the grade book and Formgrader show these, the CSV and the pages the names.

They are made from a secret in OUT/pseudonyms/, beside a table of whose they are; neither lies in OUT/course/, which
those who grade open. A grader who looks for names can find them: in what students wrote, and in the course's files.
"""

import csv
import hashlib
import hmac
import io
import os
import secrets
from pathlib import Path

from scripts.course.report import safe
from scripts.course.students import key_of
from scripts.interp.base.files import write_atomically

_FOLDER = "pseudonyms"


class WrongOut(ValueError):
    """This OUT was graded with the names."""


def pseudonym(student: str, secret: bytes) -> str:
    """The same for the same student and secret; names that differ in case only are one student's.

    40 bits: two of a thousand students have the same one with a probability of less than one in a million.
    """
    digest = hmac.new(secret, key_of(student).encode(), hashlib.sha256).hexdigest()
    return f"student-{digest[:10]}"


def secret_of(out: Path, wanted: bool) -> bytes | None:
    """The secret of this OUT. One is made if pseudonyms are wanted; None if names are used.

    An OUT that was graded with pseudonyms keeps them. Raises WrongOut for one that has grades under the names: they
    would be lost to the pseudonyms.
    """
    path = out / _FOLDER / "secret"
    if path.exists():
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    if not wanted:
        return None
    if any((out / "course").glob("results/*/*.json")):
        raise WrongOut(f"{out} was graded under the students' names: give another OUT for grading with pseudonyms.")
    secret = secrets.token_bytes(32)
    _write_private(path, secret.hex() + "\n")
    return secret


def keep_names(out: Path, students: list[str], secret: bytes) -> None:
    """Write whose the pseudonyms are to OUT/pseudonyms/names.csv; who was there in an earlier run stays."""
    path = out / _FOLDER / "names.csv"
    names = {}
    if path.exists():
        names = {line[0]: line[1] for line in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()[1:])}
    names |= {pseudonym(student, secret): safe(student) for student in students}
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("pseudonym", "student"), *sorted(names.items())])
    _write_private(path, "\ufeff" + file.getvalue())


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, text)
    os.chmod(path, 0o600)
