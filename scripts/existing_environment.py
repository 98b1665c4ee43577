"""The `.venv` that is there: which Python made it, whether it works, and that one set-up at a time changes it.

Needs nothing but Python: set-up runs this before there is a package.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

from scripts.system_torch import PYTHON, ROOT, VENV

STAMP = VENV / "setup.stamp"  # says of what was installed last; there is none while something is installed
CHOICE = VENV / "setup.json"  # see `recorded`
LOCK = ROOT / ".venv.lock"  # beside `.venv`, which may be deleted while it is held

LOOK = (
    "import importlib.util as util, json, os, sys, sysconfig; "
    "packages = os.path.isdir(sysconfig.get_path('purelib')); "
    "print(json.dumps([sys.version, sys._base_executable, bool(util.find_spec('pip')), packages]))"
)


class Existing(NamedTuple):
    """A `.venv` whose Python runs."""

    version: str  # `sys.version` there
    makers: tuple[str, ...]  # paths of the Python that made it, the one that set-up wrote down first
    has_pip: bool

    @property
    def number(self) -> str:
        """ "3.12.3" """
        return self.version.split()[0]


def recorded() -> dict:
    """What set-up wrote down, or {}: `torch`, the way taken; `asked`, whether somebody asked for that way; `python`,
    the path of the Python that made `.venv`; `finished`, whether set-up ever came to its end."""
    try:
        return json.loads(CHOICE.read_text())
    except (OSError, ValueError):
        return {}


def ever_finished() -> bool:
    """Whether set-up came to its end once; a later change of the requirements may have stopped half-way."""
    return STAMP.exists() or recorded().get("finished", False)


def look_at(python: str | Path) -> list | None:
    """What LOOK finds, or None if that Python does not run."""
    try:
        found = subprocess.run([str(python), "-c", LOOK], text=True, capture_output=True, stdin=subprocess.DEVNULL)
        return json.loads(found.stdout) if found.returncode == 0 else None
    except (OSError, ValueError):
        return None


def existing() -> Existing | None:
    """The `.venv` that is there, or None without one, or where its Python does not run or has become another.

    The last happens where the system's Python was replaced by a newer one: the packages are then in the folder of the
    old one, where no Python looks.
    """
    found = look_at(PYTHON)
    if found is None:
        return None
    version, base, has_pip, has_packages = found
    if not has_packages:
        return None
    return Existing(version, (*filter(None, [recorded().get("python")]), base), has_pip)


def made_by_this_python(found: Existing) -> bool:
    """Whether the Python that runs this could have made `.venv`. One with the same version and build makes the same,
    but for the packages that it brings where these are used."""
    same_place = recorded().get("torch") != "system" or sys.executable in found.makers
    return sys.version == found.version and same_place


def python_to_use(named: bool) -> str | None:
    """The Python that has to run set-up instead of this one so that a working `.venv` stays; None if this one may.

    named: somebody wants the Python that runs this
    """
    active = Path(sys.prefix).resolve() == VENV  # it can't make itself
    found = existing()
    if found is None:
        return None
    unfinished = CHOICE.exists() and not ever_finished()
    if not active and (named or unfinished or made_by_this_python(found)):
        return None
    running = (python for python in found.makers if (look_at(python) or [""])[0] == found.version)
    return next(running, found.makers[-1])


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside, no other set-up of this `.venv` is at work; waits for one that is. The system ends the lock with the
    process. Where nothing can be written, or a file system has no locks, nobody waits."""
    try:
        file = LOCK.open("a")
    except OSError:
        yield
        return
    with file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up of this .venv is at work: waiting until it has ended.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass
        yield
