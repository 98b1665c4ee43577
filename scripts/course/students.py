"""Whose the files are that a class handed in: by folder, by archive, or by the names that learning platforms give them.

Understood are `<student>/…`, `<student>.zip`, `<student>.ipynb`, `<student>_<lab>.ipynb`, and what downloads hold from
Canvas (`name_LATE_12345_67890_file.ipynb`, `anon_aB3xY_67890_file.ipynb`), Moodle
(`Name Surname_1234_assignsubmission_file_/…`) and Blackboard (`Lab_user_attempt_2026-01-31-17-05-33_file.ipynb`).
There a student is called by the name and the platform's number: the user's on Canvas; on Moodle one that each
assignment counts anew, so that only a roster says whose they are where several assignments are graded together.
"""

import hashlib
import re
from typing import NamedTuple

from scripts.course.handed_in import CHECKPOINTS, Found

_PLATFORMS = (
    re.compile(r"(?P<name>.+?)(_(?P<number>\d+))?_assignsubmission_[a-z]+(_.*)?"),  # Moodle; "Default group" has none
    re.compile(r"(LATE_)?(?P<name>anon)_(?P<number>[^\W_]+)_\d+_.+\.\w+"),  # Canvas, with names hidden
    re.compile(r"(?P<name>.+?)_(LATE_)?(?P<number>\d+)_\d+_.+\.\w+"),  # Canvas
    re.compile(r".*_(?P<name>[^_]+)_attempt_\d{4}(-\d\d){5}.*"),  # Blackboard
)
# What follows a lab's name in the name of a copy: "-Copy1", " (1)", "-2", " - Copy", " (Anna's conflicted copy)"
COPY = re.compile(r"[\s._-]*(\(.*\)|\d*|copy\s*\d*|kopie\s*\d*|final|conflict.*|.*conflicted copy.*)", re.I)
ATTEMPT = re.compile(r"(?<![a-z])(?:attempt|version|submission|try|v)[\s._-]*\d{1,3}(?!\d)", re.I)
MAX_NAME = 150  # bytes: it becomes a file's name


class Student(NamedTuple):
    name: str
    files: list[Found]  # their names from the student's own folder on, where there is one


class Class(NamedTuple):
    students: list[Student]
    nobodys: list[str]  # notebooks and archives of which nothing says whose they are
    others: list[str]  # files beside the students that are no notebooks
    guesses: list[str]  # in words: what was taken for a class or for one student, although it could be otherwise


def class_of(found: list[Found], labs: list[str], known: dict[str, str]) -> Class:
    """Who handed in what.

    found: everything in the folder; labs: the labs' names; known: names of students who were graded before, by
    `key_of` the name
    """
    nobodys, others, guesses = [], [], []
    groups: dict[str, dict[str, list[Found]]] = {}  # by key, then by the name of the folder or file
    for top, files in _tops(found, labs, guesses):
        if top == CHECKPOINTS:  # JupyterLab leaves them wherever somebody looked at a notebook
            continue
        name = _owner(top, files[0], labs)
        if name:
            groups.setdefault(key_of(name), {}).setdefault(name, []).extend(files)
        else:
            (nobodys if _notebook_or_archive(files[0]) else others).append(top)
    students = []
    for key, spelled in sorted(groups.items()):
        name = known.get(key) or next(iter(spelled))
        if len(spelled) > 1:
            guesses.append(f"{' and '.join(map(repr, spelled))} are taken for one student, {name}")
        files = [file for files in spelled.values() for file in files]
        students.append(Student(name, _from_own_folder(files)))
    return Class(students, nobodys, others, guesses)


def key_of(name: str) -> str:
    """What two names have in common that differ in case only: there are file systems that take them for one."""
    return name.casefold()


def _tops(found: list[Found], labs: list[str], guesses: list[str]) -> list[tuple[str, list[Found]]]:
    """The folders and files that stand for students, each with what is in it; a folder around a class is opened."""
    tops = []
    groups = _by_top(found)
    alone = sum(_notebook_or_archive(files[0]) for files in groups.values()) == 1
    for top, files in groups.items():
        inner = [file._replace(name=file.name.partition("/")[2]) for file in files]
        inner = [file for file in inner if file.name]
        if inner and not _platform_name(top) and _is_class(inner, labs, alone):
            guesses.append(f"{top} is taken for a class, not for one student")
            tops += _tops(inner, labs, guesses)
        else:
            tops.append((top, files))
    return tops


def _by_top(found: list[Found]) -> dict[str, list[Found]]:
    groups: dict[str, list[Found]] = {}
    for file in found:
        groups.setdefault(file.name.partition("/")[0], []).append(file)
    return groups


def _is_class(inner: list[Found], labs: list[str], alone: bool) -> bool:
    """Whether what a folder or archive holds are several students' submissions, not one's.

    alone: whether there is nothing beside it; then folders that hold the same lab, called neither by a lab nor by an
    attempt, are students too
    """
    groups = _by_top(inner)
    on_platforms = {name for top in groups if (name := _platform_name(top))}
    if on_platforms:
        return alone or len(on_platforms) > 1
    if len(groups) == 1:  # a folder in an archive
        deeper = [file._replace(name=file.name.partition("/")[2]) for file in inner if not file.name.endswith("/")]
        deeper = [file for file in deeper if file.name]
        return bool(deeper) and _is_class(deeper, labs, alone)
    if not alone or any(_notebook_or_archive(files[0]) and "/" not in files[0].name for files in groups.values()):
        prefixed = {name for top in groups if (name := _before_lab(top, labs))}
        return alone and len(prefixed) > 1
    folders = [
        files for top, files in groups.items() if not ATTEMPT.search(top) and not any(lab in top for lab in labs)
    ]
    return any(sum(any(lab in file.name for file in files) for files in folders) > 1 for lab in labs)


def _owner(top: str, first: Found, labs: list[str]) -> str:
    """The student that a folder or file stands for, or "" if nothing says so."""
    name = _platform_name(top)
    if not name and "/" in first.name and not top.lower().endswith(".zip"):
        name = top
    elif not name and _notebook_or_archive(first):
        stem = re.sub(r"\.(ipynb.*|zip|rar|7z|tar|tar\.\w+|tgz)$", "", top, flags=re.I)
        lab = next((lab for lab in labs if lab in stem), None)
        a_copy = lab and COPY.fullmatch(stem.partition(lab)[2])
        name = _before_lab(top, labs) or ("" if a_copy else stem)
    if len(name.encode()) > MAX_NAME:
        short = name.encode()[: MAX_NAME - 10].decode(errors="ignore")
        name = f"{short}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return name


def _platform_name(top: str) -> str:
    for pattern in _PLATFORMS:
        match = pattern.fullmatch(top)
        if match:
            parts = match.groupdict()
            return "_".join([parts["name"], *([parts["number"]] if parts.get("number") else [])])
    return ""


def _before_lab(top: str, labs: list[str]) -> str:
    """The name in front of a lab's, as in "anna_01-lab.ipynb", or ""."""
    for lab in labs:
        before = top.partition(lab)[0].strip(" _.-") if lab in top else ""
        if before and not re.fullmatch(r"(copy|kopie|copie)( (of|von|de))?", before, re.I):
            return before
    return ""


def _notebook_or_archive(file: Found) -> bool:
    return "/" in file.name or ".ipynb" in file.name.lower() or bool(file.why)


def _from_own_folder(files: list[Found]) -> list[Found]:
    """The files without the name of the student's folder, if all lie in one; folders themselves are left out."""
    tops = {file.name.partition("/")[0] for file in files}
    own = len(tops) == 1 and all("/" in file.name for file in files) and not next(iter(tops)).lower().endswith(".zip")
    named = [file._replace(name=file.name.partition("/")[2]) for file in files] if own else files
    return [file for file in named if file.name and not file.name.endswith("/")]
