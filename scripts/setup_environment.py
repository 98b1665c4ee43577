"""Create `.venv` and install the pinned requirements and this project into it. Needs Python 3.10-3.14 and pip only.

    python3 -m scripts.setup_environment [system | pinned] [--this-python]

Run it through `make`; a second run finds that nothing has changed and returns at once. A `.venv` that works is never
removed unasked: the Python that made it goes on with it, whichever is first on the PATH, and new requirements are
installed into it. It is replaced where somebody names another Python (`make … PYTHON3=`) or another way.

There are two ways, and `make … TORCH=system` or `make … TORCH=pinned` says which one; that is kept until `make clean`.

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

from scripts.existing_environment import (
    CHOICE,
    STAMP,
    Existing,
    alone,
    ever_finished,
    existing,
    made_by_this_python,
    python_to_use,
    recorded,
)
from scripts.offline_wheels import START, WHEELS, only_wheels, wrong_wheels
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

OLDEST, NEWEST = (3, 10), (3, 14)
TRIED = ((3, 11), (3, 12), (3, 13))  # labs' tests ran with these; there are wheels for the others, too


def way_to_go(asked: str | None) -> tuple[str, bool]:
    """The way, and whether somebody asked for it: now, or when `.venv` was made."""
    before = recorded()
    if asked or before.get("asked"):
        return asked or before["torch"], True
    if before and ever_finished():  # what was chosen then, even if this Python has a CUDA torch since
        return before["torch"], False
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
        source = f"that {WHEELS}/ is whole ({START} says how)" if only_wheels() else "the network"
        raise SetupFailed(
            f"pip could not install {step} ({errors[-1] if errors else 'no reason given'}). "
            f"Check {source}, the disk and {LOG.relative_to(ROOT)}, then run the same command again."
        )
    end = "\r" if sys.stdout.isatty() else ""
    print(f"{end}  {step}: done in {time.monotonic() - started:.0f} s" + " " * 20, flush=True)


def create_environment(way: str = "pinned") -> None:
    """Make an empty `.venv` with pip, where there is none.

    The system way needs no pip of its own: the system's is seen, and containers often lack what would bring one.
    """
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


def why_anew(found: Existing | None, way: str, asked: str | None) -> str:
    """Why the `.venv` that is there has to go, in a sentence, or "" if packages can be installed into it.

    One that works goes only where that was asked for.
    """
    if found is None:
        return ".venv is made anew: making it was stopped, or its Python does not run any more."
    if not found.has_pip:
        if not CHOICE.exists():
            raise SetupFailed(
                ".venv has no pip, and set-up did not make it: rename it, or delete it with `make clean`."
            )
        return ".venv is made anew: making it was stopped."
    before, finished = recorded().get("torch", "pinned"), ever_finished() or not CHOICE.exists()
    if not made_by_this_python(found):
        ours = f"{sys.version.split()[0]} at {sys.executable}"
        if finished:
            return f".venv, made with Python {found.number} at {found.makers[0]}, is replaced: PYTHON3 names {ours}."
        return f".venv is made anew with Python {ours}: set-up had not finished with {found.number}."
    if before != way:
        if finished and asked:
            return f".venv, set up with TORCH={before}, is replaced: TORCH={way} was asked for."
        if finished and way == "system":
            raise SetupFailed(
                "This Python has a PyTorch with CUDA, and set-up did not make the .venv that is there. To replace it: "
                "TORCH=system. To install our PyTorch into it: TORCH=pinned."
            )
    if way == "system" and not finished:
        return ".venv is made anew: set-up had not finished."  # with packages in it that may hide the system's
    return "" if before == way else f".venv is made anew for TORCH={way}: set-up had not finished."


def set_up(asked: str | None) -> None:
    """Bring `.venv` into order with the Python that runs this. Raises `SetupFailed`, OSError."""
    check_python()
    way, by_hand = way_to_go(asked)
    found, finished = existing(), ever_finished()
    fits = found and found.has_pip and made_by_this_python(found)
    if fits and STAMP.exists() and STAMP.read_text() == fingerprint(way):
        return
    if wrong := wrong_wheels():
        raise SetupFailed(wrong)
    print("Setting up .venv (once; a few minutes, most of it downloading)", flush=True)
    if sys.version_info[:2] not in TRIED:
        print(f"  The labs were not tried with Python {sys.version_info[0]}.{sys.version_info[1]}.", flush=True)
    given = torch_that_is_there() if way == "system" else {}
    reason = why_anew(found, way, asked) if VENV.exists() else ""
    STAMP.unlink(missing_ok=True)
    if reason:
        print(f"  {reason}", flush=True)
        shutil.rmtree(VENV)
    anew = not VENV.exists()
    VENV.mkdir(exist_ok=True)
    # written down first, so that a `.venv` whose making is killed can be told from somebody's own
    choice = {"torch": way, "asked": by_hand, "python": sys.executable, "finished": finished and not anew}
    CHOICE.write_text(json.dumps(choice))
    if anew:
        create_environment(way)
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
    CHOICE.write_text(json.dumps(choice | {"finished": True}))
    STAMP.write_text(fingerprint(way))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Create .venv and install everything into it.")
    parser.add_argument("torch", nargs="?", choices=("system", "pinned"), help="whose PyTorch: the system's, or ours")
    parser.add_argument("--this-python", action="store_true", help="even if .venv works and another Python made it")
    given = parser.parse_args(arguments)
    with alone():
        other = python_to_use(given.this_python)
        if other is None:
            set_up(given.torch)
            return
    command = [other, "-m", "scripts.setup_environment", *([given.torch] if given.torch else [])]
    sys.exit(subprocess.call(command, cwd=ROOT))


if __name__ == "__main__":
    try:
        main()
    except (SetupFailed, OSError) as error:
        sys.exit(f"Set-up stopped: {error}")
