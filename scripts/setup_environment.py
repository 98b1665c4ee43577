"""Create `.venv` and install the pinned requirements and this project into it. Needs Python 3.10-3.14 and pip only.

    python3 -m scripts.setup_environment [system | pinned]

Run it through `make`; a second run finds that nothing has changed and returns at once. There are two ways, and `make …
TORCH=system` or `make … TORCH=pinned` says which one; that is kept until `make clean`.

pinned: torch as requirements.txt pins it, and everything else by requirements.lock.
system: the torch that the Python running this has already, as in NVIDIA's containers; this is the way wherever that
    torch was built with CUDA. `.venv` sees that Python's packages, and what is missing is installed around them. The
    versions of torch, numpy and CUDA are given; where they or the machine's constraint file (PIP_CONSTRAINT) disagree
    with our pins, our pins give way. Set-up stops if torch, numpy or CUDA is another one afterwards.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import site
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

from scripts.system_torch import (
    LOG,
    OURS,
    PYTHON,
    ROOT,
    VENV,
    WANTED,
    SetupFailed,
    cuda_of_torch,
    machines_constraints,
    pins,
    torch_that_is_there,
    torch_version_file,
    unchanged,
    works_together,
    write_what_to_install,
)

STAMP = VENV / "setup.stamp"
CHOICE = VENV / "setup.json"  # which way was taken, whether somebody asked for it, and which Python made `.venv`

OLDEST, NEWEST = (3, 10), (3, 14)
TRIED = ((3, 11), (3, 12), (3, 13))  # labs' tests ran with these; there are wheels for the others, too


def recorded() -> dict:
    """What CHOICE holds, or {}."""
    try:
        return json.loads(CHOICE.read_text())
    except (OSError, ValueError):
        return {}


def way_to_go(asked: str | None) -> tuple[str, bool]:
    """The way, and whether somebody asked for it: now, or when `.venv` was made."""
    before = recorded()
    if asked or before.get("asked"):
        return asked or before["torch"], True
    return "system" if cuda_of_torch() else "pinned", False


def fingerprint(way: str = "pinned") -> str:
    """A hash of everything that decides what gets installed, and where."""
    digest = sha256(f"{sys.version}{ROOT}{way}".encode())
    for name in ("requirements.txt", "requirements.lock", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    if way == "system" and (file := torch_version_file()):
        digest.update(f"{sys.executable}{file}".encode() + file.read_bytes())
    return digest.hexdigest()


def pinned(package: str) -> str:
    """The line of requirements.lock that pins `package`, which has one version for all."""
    for name, line in pins("requirements.lock"):
        if name == package:
            return line
    raise SetupFailed(f"requirements.lock does not pin {package}: git checkout requirements.lock brings it back.")


def pip(step: str, *arguments: str, **environment: str) -> None:
    """Run `pip install` in the new environment, showing one line that counts packages, with the rest in the log."""
    started = time.monotonic()
    collected, said = 0, []
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    with LOG.open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PIP_USER": "0", **environment},  # some hubs have pip install into the home folder
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        for line in process.stdout:
            log.write(line)
            said.append(line.strip())
            collected += line.startswith("Collecting ")
            if sys.stdout.isatty():
                print(f"\r  {step}: {collected} packages", end="", flush=True)
    if process.wait() != 0:
        errors = [line for line in said if "ERROR" in line or "error:" in line]
        if "The conflict is caused by:" in said:
            reasons = said[said.index("The conflict is caused by:") + 1 :]
            errors += ["ResolutionImpossible: " + ", ".join(reasons[: reasons.index("")] if "" in reasons else reasons)]
        raise SetupFailed(
            f"pip could not install {step} ({errors[-1] if errors else 'no reason given'}). "
            f"Check the network, the disk and {LOG.relative_to(ROOT)}, then run the same command again."
        )
    end = "\r" if sys.stdout.isatty() else ""
    print(f"{end}  {step}: done in {time.monotonic() - started:.0f} s" + " " * 20, flush=True)


def create_environment(way: str = "pinned") -> None:
    """Make an empty `.venv` with pip, replacing one that is broken or belongs to another Python or another way.

    The system way needs no pip of its own: the system's is seen, and containers often lack what would bring one.
    """
    if VENV.exists():
        shutil.rmtree(VENV)
    in_another = sys.prefix != sys.base_prefix
    options = ["--system-site-packages"] if way == "system" and not in_another else []
    options += ["--without-pip"] if way == "system" and importlib.util.find_spec("pip") else []
    result = subprocess.run(
        [sys.executable, "-m", "venv", *options, str(VENV)], text=True, capture_output=True, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        raise SetupFailed(
            f"{sys.executable} could not create a virtual environment with pip in it. On Debian or Ubuntu install "
            f"python{sys.version_info[0]}.{sys.version_info[1]}-venv, then run the same command again. "
            f"It said: {(result.stderr or result.stdout).strip()[-300:]}"
        )
    if way == "system" and in_another:
        # made from a virtual environment, it would see what that one's Python has instead of what that one has
        packages = next(VENV.glob("[Ll]ib/**/site-packages"))
        (packages / "system.pth").write_text("".join(f"{folder}\n" for folder in site.getsitepackages()))


def same_python() -> bool:
    """Whether `.venv` runs, and with the same Python version as this script."""
    try:
        found = subprocess.run(
            [str(PYTHON), "-c", "import sys, pip; print(sys.version)"], text=True, capture_output=True
        )
    except OSError:
        return False
    return found.returncode == 0 and found.stdout.strip() == sys.version.strip()


def install_around(given: dict[str, list[str]]) -> None:
    """Install everything but torch, through the machine's constraints if that can be."""
    theirs = machines_constraints()
    write_what_to_install(given, theirs)
    try:
        pip("the labs' packages", "-r", WANTED, "-c", OURS)
    except SetupFailed as failed:
        if not theirs or not re.search("Resolution|No matching distribution", str(failed)):
            raise
        print(
            f"  The constraint file {os.environ['PIP_CONSTRAINT']} leaves no set of versions with which the labs work. "
            "Torch, numpy and CUDA are kept as they are; other packages get a version of their own, in .venv only.",
            flush=True,
        )
        write_what_to_install(given, set())
        pip("the labs' packages", "-r", WANTED, PIP_CONSTRAINT=OURS)
    # the system's own can be too old to build this project
    pip("setuptools", pinned("setuptools"), PIP_CONSTRAINT=OURS)


def check_python() -> None:
    """Raise `SetupFailed` for a Python that the labs' packages don't install on."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise SetupFailed(
            f"Python 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed; this is {sys.version.split()[0]} at {sys.executable}. "
            "Install one of them, or name it: make PYTHON3=/path/to/python3.12"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Create .venv and install everything into it.")
    parser.add_argument("torch", nargs="?", choices=("system", "pinned"), help="whose PyTorch: the system's, or ours")
    check_python()
    asked = parser.parse_args(arguments).torch
    if Path(sys.prefix).resolve() == VENV:  # `.venv` is active: ask the Python that made it
        made_by = recorded().get("python", sys._base_executable)
        sys.exit(subprocess.call([made_by, "-m", "scripts.setup_environment", *([asked] if asked else [])], cwd=ROOT))
    way, by_hand = way_to_go(asked)
    if STAMP.exists() and STAMP.read_text() == fingerprint(way) and same_python():
        return
    print("Setting up .venv (once; a few minutes, most of it downloading)", flush=True)
    if sys.version_info[:2] not in TRIED:
        print(f"  The labs were not tried with Python {sys.version_info[0]}.{sys.version_info[1]}.", flush=True)
    given = torch_that_is_there() if way == "system" else {}
    if way == "system" or recorded().get("torch", "pinned") != way or not same_python():
        create_environment(way)
    STAMP.unlink(missing_ok=True)
    CHOICE.write_text(json.dumps({"torch": way, "asked": by_hand, "python": sys.executable}))
    if way == "system":
        print(f"  PyTorch: {given['module torch'][0]} of {sys.executable} is used, CUDA {given['CUDA'][0]}", flush=True)
        unchanged(given, "before anything was installed")
        install_around(given)
        unchanged(given, "while packages were installed")
        works_together()
    else:
        # torch by its exact pin and first: an open range can pull several gigabytes of CUDA packages instead.
        pip("PyTorch", pinned("torch"))
        pip("the labs' packages", "-r", "requirements.txt", "-c", "requirements.lock")
    # setuptools came with torch, so this step needs no network and no isolated build
    pip("this project", "--no-deps", "--no-build-isolation", "-e", ".")
    STAMP.write_text(fingerprint(way))


if __name__ == "__main__":
    try:
        main()
    except (SetupFailed, OSError) as error:
        sys.exit(f"Set-up stopped: {error}")
