"""What lies in the folder that a class handed in: every file by its name, archives opened, results passed over.

Whose the files are is said by `scripts.course.students`, and which of them counts by `scripts.course.grading.choice`.
"""

import re
import stat
import tempfile
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from scripts.course.reading import MAX_NOTEBOOK_BYTES

CHECKPOINTS = ".ipynb_checkpoints"
_JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")  # and whatever begins with a dot, but for JupyterLab's checkpoints
_RESULTS = (  # what a grading writes into its OUT
    *("course", "feedback", "exports", "pseudonyms", "roster.csv", "late.toml"),
    *("grades.csv", "overview.csv", "overview.html", "similar.csv", "changes.csv"),
)
_OTHER_ARCHIVES = (".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")
MAX_UNPACKED = 2_000_000_000  # bytes of notebooks out of one archive, and of the archives in it
MAX_MEMBERS = 100_000  # of one archive
MAX_DEPTH = 3  # the class in an archive, a student's archive in it, and one more


class Found(NamedTuple):
    """A file or folder that was handed in."""

    name: str  # its place from SUBMISSIONS on; a folder's ends with /, and an archive is one: "anna.zip/lab.ipynb"
    path: str = ""  # where it can be read; "" if it is nothing that could be read as a notebook
    why: str = ""  # why it can't be read


def everything_in(submissions: Path, out: Path, scratch: Path) -> tuple[list[Found], list[str]]:
    """Everything below a folder or in a zip archive, and the names of folders that hold results of a grading.

    out: where this grading writes, which is no submission; scratch: an empty folder for what archives hold
    """
    found: list[Found] = []
    results: list[str] = []
    if not submissions.is_dir():
        _Archive(submissions, scratch).add_to(found, "")
        return sorted(found), results
    folders = [(submissions, "")]
    while folders:
        folder, name = folders.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            found.append(Found(name.rstrip("/"), why=f"can't be opened: {error.strerror}"))
            continue
        graded = (folder / "course" / "gradebook.db").exists() or folder.resolve() == out.resolve()
        if graded:
            entries = [entry for entry in entries if entry.name not in _RESULTS]
        if name and (graded and not entries or (folder / "gradebook.db").exists()):
            results.append(name.rstrip("/"))
            continue
        if name:
            found.append(Found(name))
        for entry in entries:
            if _is_junk(entry.name):
                continue
            place = name + readable(entry.name)
            if entry.is_symlink() and name:  # a student's link could lead to the solved lab
                found.append(Found(place, why="is a link"))
            elif entry.is_dir():
                folders.append((entry, f"{place}/"))
            elif not entry.is_file():
                found.append(Found(place, why="is no file"))
            elif entry.suffix.lower() == ".zip":
                _Archive(entry, scratch).add_to(found, f"{place}/")
            else:
                found.append(_file(place, entry))
    return sorted(found), sorted(results)


def readable(name: str) -> str:
    """A name as it can be printed, written and compared: accents composed, single spaces, no broken characters."""
    whole = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    printable = (letter for letter in unicodedata.normalize("NFC", whole) if unicodedata.category(letter) != "Cc")
    return " ".join("".join(printable).split()) or "_"


def could_be_notebook(name: str) -> bool:
    """Whether a file may hold a notebook, going by its name: browsers and mail programs add .json, .txt and more."""
    return ".ipynb" in name.lower() or PurePosixPath(name).suffix.lower() in (".json", ".txt", "")


def _file(name: str, path: Path) -> Found:
    if path.suffix.lower() in _OTHER_ARCHIVES:
        return Found(name, why="has to be unpacked: only .zip archives are opened")
    return Found(name, str(path) if could_be_notebook(path.name) else "")


def _is_junk(name: str) -> bool:
    return name in _JUNK or name.startswith("~$") or name.startswith(".") and name != CHECKPOINTS


class _Archive:
    """A zip archive, unpacked as far as it holds notebooks; nothing in it can say where on this machine."""

    def __init__(self, path: Path, scratch: Path):
        self._path, self._scratch, self._left = path, scratch, MAX_UNPACKED

    def add_to(self, found: list[Found], name: str) -> None:
        self._open(found, self._path, name, 1)

    def _open(self, found: list[Found], path: Path, name: str, depth: int) -> None:
        """Add what an archive holds, its names after `name`, or why it can't be opened."""
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
                if len(members) > MAX_MEMBERS:
                    raise ValueError(f"it holds more than {MAX_MEMBERS} files")
                if name:
                    found.append(Found(name))
                for member in members:
                    parts = [readable(part) for part in re.split(r"[/\\]", _name_of(member)) if part.strip(". ")]
                    if parts and not any(_is_junk(part) for part in parts):
                        self._add_member(found, archive, member, name + "/".join(parts), depth)
        except Exception as error:  # zipfile lets many kinds of errors through: the file may hold anything
            found.append(Found(name.rstrip("/") or path.name, why=f"can't be unpacked: {error}"))

    def _add_member(self, found: list[Found], archive, member, name: str, depth: int) -> None:
        inner = name.lower().endswith(".zip")
        if member.is_dir():
            found.append(Found(f"{name}/"))
        elif stat.S_ISLNK(member.external_attr >> 16):
            found.append(Found(name, why="is a link"))
        elif inner and depth == MAX_DEPTH:
            found.append(Found(name, why="has to be unpacked: it lies too deep in other archives"))
        elif not inner and not could_be_notebook(name.rpartition("/")[2]):
            found.append(_file(name, Path(name))._replace(path=""))
        else:
            try:
                path = self._unpacked(archive, member, name.rpartition("/")[2])
            except Exception as error:
                found.append(Found(name, why=f"can't be unpacked: {error}"))
                return
            if inner:
                self._open(found, path, f"{name}/", depth + 1)
            else:
                found.append(Found(name, str(path)))

    def _unpacked(self, archive, member, name: str) -> Path:
        limit = min(MAX_NOTEBOOK_BYTES, self._left)
        with archive.open(member) as file:
            data = file.read(limit + 1)  # what the archive says about its size may be untrue
        if len(data) > limit:
            raise ValueError(f"it is larger than {limit // 10**6} MB, or the archive is")
        self._left -= len(data)
        path = Path(tempfile.mkdtemp(dir=self._scratch)) / (
            name if len(name.encode()) < 200 else f"notebook{PurePosixPath(name).suffix[:20]}"
        )
        path.write_bytes(data)
        return path


def _name_of(member: zipfile.ZipInfo) -> str:
    """A member's name; macOS and others write UTF-8 without saying so, which Python takes for an old DOS alphabet."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename
