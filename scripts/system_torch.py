"""The torch that a Python has already: whether it can be used, what has to stay as it is, what pip installs around it.

Needs nothing but Python: set-up runs this before there is a package.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
LOG = VENV / "setup.log"
# as seen from ROOT: pip takes a space in PIP_CONSTRAINT for the end of a name
WANTED, OURS = ".venv/requirements.txt", ".venv/constraints.txt"

# What the system's torch was built with. NVIDIA's and CUDA's packages belong to it, whatever they are called.
GIVEN = re.compile(r"torch|numpy|triton|pytorch-triton|torchvision|torchaudio|(nvidia|cuda)-.*")
BUILT_ON_NUMPY = ("scipy", "pandas", "pyarrow")  # their releases work with a range of numpy's
NUMPY_1_NEEDS = ("pyarrow<26",)  # 26 refuses numpy 1 when it is imported, and does not tell pip
TOGETHER = "numpy torch scipy pandas pyarrow transformers transformer_lens sae_lens"  # imported to see whether they go
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

# Run by the Python to be looked at: a line of JSON, [version, place, fingerprint] of everything that must not change
LOOK = """
import hashlib, importlib, importlib.metadata, json, re, sys
found = {}
for package in importlib.metadata.distributions():
    name = re.sub("[-_.]+", "-", package.metadata["Name"] or "").lower()
    if re.fullmatch(sys.argv[1], name) and name not in found:
        texts = [package.read_text(file) or "" for file in ("METADATA", "PKG-INFO", "RECORD")]
        digest = hashlib.sha256("".join(texts).encode()).hexdigest()
        found[name] = [package.version, str(package.locate_file("")), digest]
for name in ("torch", "numpy"):
    try:
        module = importlib.import_module(name)
    except Exception as error:  # what it was linked with can be missing, too
        found["module " + name] = ["none", str(error), ""]
        continue
    found["module " + name] = [module.__version__, module.__file__, ""]
    if name == "torch":
        found["CUDA"] = [str(module.version.cuda or "none"), module.__file__, ""]
print(json.dumps(found))
"""


class SetupFailed(Exception):
    """Set-up can't go on; the message says what is missing and what to do."""


def torch_version_file() -> Path | None:
    """`torch/version.py` of the Python that runs this, without importing torch, which takes seconds."""
    found = importlib.util.find_spec("torch")
    file = Path(found.origin).parent / "version.py" if found and found.origin else None
    return file if file and file.exists() else None


def cuda_of_torch() -> str:
    """The CUDA version that this Python's torch was built with, or "" without one."""
    file = torch_version_file()
    found = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", file.read_text() if file else "", re.M)
    return found.group(1) if found else ""


def pins(file: str) -> list[tuple[str, str]]:
    """(normalised name, line) of a file of requirements or constraints; options and comments are left out."""
    try:
        lines = [line.partition(" #")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    except OSError as error:
        raise SetupFailed(f"{file} can't be read ({error.strerror}): git checkout {file} brings ours back.") from error
    return [(normalised(NAME.match(line).group()), line) for line in lines if NAME.match(line)]


def normalised(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def look(python: str | Path) -> dict[str, list[str]]:
    """Version, place and fingerprint of torch, numpy, CUDA and what belongs to them, as a Python sees them."""
    found = subprocess.run([str(python), "-c", LOOK, GIVEN.pattern], text=True, capture_output=True, cwd=VENV.parent)
    if found.returncode != 0:
        raise SetupFailed(f"{python} can't be looked at: {(found.stderr.strip().splitlines() or ['no reason'])[-1]}")
    return json.loads(found.stdout.splitlines()[-1])


def torch_that_is_there() -> dict[str, list[str]]:
    """What is to be kept. Raises `SetupFailed` if this Python has no torch with CUDA."""
    instead = "Name a Python that has one (make PYTHON3=/path/to/python), or take ours: TORCH=pinned."
    if torch_version_file() is None:
        raise SetupFailed(f"TORCH=system uses the PyTorch that is there, and {sys.executable} has none. {instead}")
    given = look(sys.executable)
    if given["module torch"][0] == "none":
        raise SetupFailed(f"The PyTorch of {sys.executable} can't be imported ({given['module torch'][1]}). {instead}")
    if given["CUDA"][0] == "none":
        raise SetupFailed(
            f"TORCH=system uses the PyTorch that is there, and {given['module torch'][0]} of {sys.executable} "
            f"was built without CUDA. {instead}"
        )
    return given


def unchanged(given: dict[str, list[str]], when: str) -> None:
    """Raise `SetupFailed` if `.venv` has another torch, numpy or CUDA than what was there."""
    seen = look(PYTHON)
    for name in sorted({*given, *seen}, key=lambda name: (name != "module torch", not name.startswith("module"), name)):
        was, now = given.get(name), seen.get(name)
        # without a numpy of the system's, ours is installed
        if was != now and not (name.endswith("numpy") and given["module numpy"][0] == "none"):
            was, now = (f"{found[0]} at {found[1]}" if found else "nothing" for found in (was, now))
            raise SetupFailed(
                f"{name.removeprefix('module ')} changed {when}: it was {was} and is {now}. The system's torch, numpy "
                f"and CUDA must stay as they are; nothing outside .venv was touched. {LOG.relative_to(ROOT)} says what "
                "brought the other one. To make .venv anew: `make clean`; to use the pinned PyTorch: TORCH=pinned."
            )


def works_together() -> None:
    """Raise `SetupFailed` if what was installed can't be imported around the torch and numpy that were there."""
    code = (
        "import importlib, importlib.util as util, sys\n"
        "for name in sys.argv[1].split(): util.find_spec(name) and importlib.import_module(name)"
    )
    found = subprocess.run([str(PYTHON), "-c", code, TOGETHER], text=True, capture_output=True, cwd=ROOT)
    if found.returncode != 0:
        raise SetupFailed(
            "the labs' packages don't work with the system's PyTorch and numpy: "
            f"{(found.stderr.strip().splitlines() or ['no reason given'])[-1]}. To take the pinned one: TORCH=pinned."
        )


def machines_constraints() -> set[str]:
    """The names of the packages in the constraint files that PIP_CONSTRAINT names, as NVIDIA's containers do."""
    files = [file for file in os.environ.get("PIP_CONSTRAINT", "").split() if Path(file).is_file()]
    return {name for file in files for name, _ in pins(str(Path(file).resolve()))}


def write_what_to_install(given: dict[str, list[str]], theirs: set[str]) -> None:
    """Write WANTED, our requirements without torch, and OURS, the constraints: what is given, our lock for the rest.

    theirs: the packages whose version others decide; pip gets their constraint files beside ours
    """
    versions = {name: found[0] for name, found in given.items() if GIVEN.fullmatch(name)}
    free = theirs | versions.keys()
    if "numpy" in versions and f"numpy=={versions['numpy']}" not in (ROOT / "requirements.txt").read_text():
        free |= {*BUILT_ON_NUMPY}
    wanted = []
    for name, line in pins("requirements.txt"):
        marker = line.partition(";")[2]
        wanted.append(f"{name} ;{marker}" if name in free and marker else name if name in free else line)
    locked = [line for name, line in pins("requirements.lock") if name not in free]
    kept = [f"{name}=={version}" for name, version in versions.items()]
    kept += NUMPY_1_NEEDS if versions.get("numpy", "").startswith("1.") else ()
    (ROOT / WANTED).write_text("\n".join(wanted) + "\n")
    (ROOT / OURS).write_text("\n".join(kept + locked) + "\n")
