"""Write what students get, as a folder and as a zip archive of it.

    .venv/bin/python -m scripts.course.student_half DEST        (or `make student DEST=dir`; the archive is DEST.zip)

Only files that git tracks are taken, with the text that they have now, and a rule says which:

- `FOLDERS`, and the files that set-up reads, `FILES`;
- pages: README.md, what it links to, and so on;
- modules: those that the Makefile, the pages and the notebooks name, and what these import.

Before that, what stands between a line `instructors only` and a line `end of instructors only` (as comments) is left
out of the Makefile, the pages, pyproject.toml and requirements.txt. So a page, a target or a module that only such
lines name stays out.
"""

import argparse
import ast
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from scripts.interp.base.paths import ROOT

FOLDERS = ("notebooks/", "checkpoints/", "configs/", "data/", "outputs/")
FILES = (
    *("Makefile", "README.md", "LICENSE", ".gitignore", "pyproject.toml", "requirements.txt", "requirements.lock"),
    *("Dockerfile", "compose.yaml", ".dockerignore"),
)
INSTRUCTORS_ONLY = re.compile(
    r"^ *(?:#|<!--) instructors only\b.*\n(?:.*\n)*? *(?:#|<!--) end of instructors only\b.*(?:\n|\Z)", re.M
)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")  # to a file
NAMED_MODULE = re.compile(r"\bscripts(?:[./]\w+)+")
PACKED = (".safetensors", ".xz", ".png")  # would not get smaller


class NoStudentHalf(ValueError):
    """It can't be written; the message is one sentence that says why and what to do."""


def student_half(root: Path = ROOT) -> dict[str, bytes]:
    """The files of the students' half of the repository in `root`, by path. Raises `NoStudentHalf`."""
    known = tracked(root)
    files: dict[str, bytes] = {}

    def take(names: set[str]) -> None:
        for name in names & known - files.keys():
            files[name] = for_students(name, read(root, name))

    take({name for name in known if name.startswith(FOLDERS)} | {*FILES})
    while linked := {page for name in files for page in pages_linked(name, files[name])} & known - files.keys():
        take(linked)
    named = {file for name in files for file in modules_named(name, files[name], known)}
    take(with_imports(named, root, known))
    return dict(sorted(files.items()))


def tracked(root: Path) -> set[str]:
    """The paths of the files in `root` that git tracks."""
    names = set(git(root, "ls-files", "-z").split("\0")) - {""}
    if not names:
        raise NoStudentHalf(f"git tracks no file in {root}: run this in a clone of the repository.")
    return names


def git(root: Path, *arguments: str) -> str:
    """What git answers about the repository in `root`."""
    try:
        found = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, encoding="utf-8")
        reason = "" if found.returncode == 0 else found.stderr.strip().partition("\n")[0] or "no reason given"
    except OSError as error:
        reason = f"git can't be run: {error.strerror}"
    if reason:
        raise NoStudentHalf(
            f"Only files that git tracks are handed out, and it says nothing about {root} ({reason}): "
            "run this in a clone of the repository."
        )
    return found.stdout


def read(root: Path, name: str) -> bytes:
    try:
        return (root / name).read_bytes()
    except OSError as error:
        raise NoStudentHalf(f"{name} can't be read ({error.strerror}): git checkout {name} brings it back.") from error


def for_students(name: str, content: bytes) -> bytes:
    """A file without what is for instructors only. Raises `NoStudentHalf` where such a part has no beginning or end."""
    if name not in ("Makefile", "requirements.txt") and not name.endswith((".md", ".toml")):
        return content
    text = INSTRUCTORS_ONLY.sub("", content.decode("utf-8"))
    if "instructors only" in text:
        raise NoStudentHalf(
            f"{name}: each line `instructors only` needs one `end of instructors only` below it, as a comment."
        )
    return text.encode("utf-8")


def pages_linked(name: str, content: bytes) -> set[str]:
    """The paths that a page or a notebook links to, seen from the root."""
    if not name.endswith((".md", ".ipynb")):
        return set()
    folder = PurePosixPath(name).parent
    return {os.path.normpath(folder / link) for link in LINK.findall(content.decode("utf-8"))}


def modules_named(name: str, content: bytes, known: set[str]) -> set[str]:
    """The files of the modules that the Makefile, a page or a notebook names, as commands, imports or paths."""
    if name != "Makefile" and not name.endswith((".md", ".ipynb")):
        return set()
    return {module_file(found, known) for found in NAMED_MODULE.findall(content.decode("utf-8"))} - {""}


def module_file(name: str, known: set[str]) -> str:
    """The file of `scripts.a.b`, or `scripts/a/b.py`, or of the module that holds the name `scripts.a.b`; or ""."""
    parts = re.split("[./]", name.removesuffix(".py"))
    for end in range(len(parts), 0, -1):
        stem = "/".join(parts[:end])
        for file in (f"{stem}.py", f"{stem}/__init__.py"):
            if file in known:
                return file
    return ""


def with_imports(files: set[str], root: Path, known: set[str]) -> set[str]:
    """Files of modules, and of all that these import or start, wherever in them, and of the packages around them."""
    found: set[str] = set()
    waiting = set(files)
    while waiting:
        file = waiting.pop()
        found.add(file)
        around = {f"{folder}/__init__.py" for folder in PurePosixPath(file).parents} & known
        tree = ast.parse(read(root, file))
        waiting |= (around | {module_file(name, known) for name in imported(tree)}) - found - {""}
    return found


def imported(node: ast.AST) -> Iterator[str]:
    """The names that code imports when it runs, and the modules of ours that it names in a string, as for `-m`."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        children = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from imported(child)
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAMED_MODULE.fullmatch(node.value):
        yield node.value


def write(files: dict[str, bytes], folder: Path, seconds: int) -> Path:
    """Write the folder and, beside it, its archive, each whole or not at all. Returns the archive's path.

    seconds: the date of all files in the archive, since 1970. It is the last commit's, not a constant: Python takes a
    module that has another text, but the old size and date, for the one that it compiled before.
    The same files give the same bytes: entries are in order, with one date and one mode.
    """
    archive = archive_of(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        new_folder, new_archive = Path(scratch) / folder.name, Path(scratch) / archive.name
        with zipfile.ZipFile(new_archive, "w") as zipped:
            for name, content in sorted(files.items()):
                (new_folder / name).parent.mkdir(parents=True, exist_ok=True)
                (new_folder / name).write_bytes(content)
                entry = zipfile.ZipInfo(f"{folder.name}/{name}", date_time=time.gmtime(seconds)[:6])
                entry.create_system, entry.external_attr = 3, 0o100644 << 16  # as on Unix: a file for all to read
                kind = zipfile.ZIP_STORED if name.endswith(PACKED) else zipfile.ZIP_DEFLATED
                zipped.writestr(entry, content, kind, compresslevel=9)
        if folder.exists():
            folder.rmdir()
        new_folder.rename(folder)
        new_archive.rename(archive)
    return archive


def archive_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.zip")


def refuse(folder: Path, root: Path = ROOT) -> None:
    """Raise `NoStudentHalf` if the students' half can't go into `folder`."""
    if folder == root or root in folder.parents:
        raise NoStudentHalf(f"{folder} lies inside the repository: name a folder outside, such as ../students.")
    if not folder.parent.is_dir():
        raise NoStudentHalf(f"{folder.parent} is no folder: make it first, or name another DEST.")
    if folder.exists() and not folder.is_dir():
        raise NoStudentHalf(f"{folder} is a file: name a folder that is not there yet.")
    if folder.is_dir() and any(folder.iterdir()):
        raise NoStudentHalf(f"{folder} is not empty: name another folder, or remove it first.")
    if archive_of(folder).exists():
        raise NoStudentHalf(f"{archive_of(folder)} is there already: name another folder, or remove it first.")


def refuse_drift() -> None:
    """Raise `NoStudentHalf` if notebooks/ holds something else than `make release` makes of solutions/."""
    from scripts.course.release import drifted  # takes seconds: a wrong argument is answered without it

    logging.getLogger("traitlets").setLevel(logging.ERROR)
    if names := drifted():
        raise NoStudentHalf(
            f"What students get is not what `make release` makes of solutions/ ({', '.join(names)}): run it first. "
            "What somebody wrote into notebooks/ is lost then, and would be handed out now."
        )


def report(files: dict[str, bytes], folder: Path, archive: Path) -> str:
    counts, sizes = Counter(), Counter()
    for name, content in files.items():
        top = name.partition("/")[0] + "/" if "/" in name else "beside them"
        counts[top] += 1
        sizes[top] += len(content)
    lines = [f"{top:14}{counts[top]:4} files {sizes[top] / 1e6:7.2f} MB" for top in sorted(counts)]
    lines += [f"{folder}: {len(files)} files, {sum(sizes.values()) / 1e6:.1f} MB"]
    return "\n".join([*lines, f"{archive}: {archive.stat().st_size / 1e6:.1f} MB"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write what students get, as a folder and as a zip archive of it.")
    parser.add_argument("folder", nargs="?", default="", metavar="DEST", help="a folder that is not there yet")
    given = parser.parse_args(arguments).folder
    if not given:
        print("Say where to write it, for instance: make student DEST=../students", file=sys.stderr)
        return 2
    folder = Path(given).expanduser().resolve()
    try:
        refuse(folder)
        files = student_half()
        refuse_drift()
        print(report(files, folder, write(files, folder, int(git(ROOT, "log", "-1", "--format=%ct")))))
    except ValueError as error:  # ours, or that a source is malformed
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{folder} can't be written ({error.strerror}): name another DEST.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
