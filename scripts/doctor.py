"""Say what the labs need, what is there, and what to do about the rest. Needs nothing but Python; changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys

from scripts.existing_environment import existing, made_by_this_python, recorded
from scripts.offline_wheels import WHEELS, wrong_wheels
from scripts.setup_environment import NEWEST, OLDEST, TRIED, way_to_go
from scripts.system_torch import PYTHON, ROOT, VENV, cuda_of_torch

DISK_NEEDED_GB = 4  # .venv with the CPU build of torch, the converted model, and room for outputs
MEMORY_NEEDED_GB = 4  # one kernel with the embedded model and a random copy of it takes less
IN_VENV = """
import os, torch
from scripts.interp.models.embedded import is_prepared
from scripts.interp.base.machine import gpu_shares_memory
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, the CPU is used"
gpu += ", which uses the machine's memory" if gpu_shares_memory() else ""
sm_121 = torch.cuda.is_available() and torch.cuda.get_device_capability() == (12, 1)
if sm_121 and "sm_120" in torch.cuda.get_arch_list():
    gpu += "; sm_121 runs what was compiled for sm_120: a warning of PyTorch about it is a false alarm"
print("torch", torch.__version__, "| GPU:", gpu)
print(f"built with{' CUDA ' + torch.version.cuda if torch.version.cuda else 'out CUDA'}, at {torch.__path__[0]}")
print("embedded model:", "ready" if is_prepared() else "MISSING")
"""


def memory_gb() -> float:
    """Physical memory in GB, or 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, OSError, ValueError):
        return 0.0


def which_torch(way: str, verb: str) -> str:
    """The way of set-up, in words."""
    if way == "pinned":
        return f"the one of requirements.txt {verb} used (TORCH=pinned)"
    cuda = f", CUDA {cuda_of_torch()}" if cuda_of_torch() and verb != "is" else ""
    return f"the one that the system has {verb} used{cuda} (TORCH=system)"


def checks():
    """Yield (what, whether it is fine, what was found or what to do)."""
    version = sys.version_info[:2]
    fine = OLDEST <= version <= NEWEST
    remark = "" if version in TRIED else "; the labs were not tried with it"
    if not fine:
        remark = f"; 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed"
    yield "Python", fine, f"{platform.python_version()} at {sys.executable}{remark}"
    if (found := existing()) and not made_by_this_python(found):
        remark = "it goes on with that one, so the difference doesn't matter"
        yield "Python of .venv", True, f"{found.number} at {found.makers[0]}: {remark}"
    there = {module for module in ("venv", "ensurepip", "pip") if importlib.util.find_spec(module)}
    # with the system's torch, the system's pip is used
    fine = {"venv", "ensurepip"} <= there or ({"venv", "pip"} <= there and way_to_go(None)[0] == "system")
    yield "venv and pip", fine, "there" if fine else "missing: on Debian or Ubuntu install python3-venv"
    free = shutil.disk_usage(ROOT).free / 1e9
    fine = free > DISK_NEEDED_GB or PYTHON.exists()
    yield "disk", fine, f"{free:.0f} GB free; a fresh set-up takes about {DISK_NEEDED_GB} GB"
    memory = memory_gb()
    yield (
        "memory",
        not memory or memory > MEMORY_NEEDED_GB,
        f"{memory:.0f} GB; a lab takes less than {MEMORY_NEEDED_GB} GB",
    )
    fine = os.access(ROOT, os.W_OK)
    yield "repository", fine, f"{ROOT} {'can' if fine else 'can NOT'} be written to"
    if not PYTHON.exists():
        if wrong := wrong_wheels():
            yield f"{WHEELS}/", False, wrong
        yield "set-up", False, "not done yet: run `make lab`"
        yield "PyTorch", True, which_torch(way_to_go(None)[0], "will be")
        return
    found = subprocess.run([str(PYTHON), "-c", IN_VENV], cwd=ROOT, text=True, capture_output=True)
    if found.returncode != 0:
        reason = (found.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield "set-up", False, f"broken ({reason}): run `make clean`, then `make lab`"
        return
    torch_line, built_line, model_line = found.stdout.strip().splitlines()
    yield "set-up", True, torch_line
    way = recorded().get("torch", "pinned")
    # a torch in .venv hides the system's
    fine = way == "pinned" or ("without CUDA" not in built_line and str(VENV) not in built_line)
    remark = "" if fine else "; it is not the system's with CUDA any more: run `make clean`, then `make lab`"
    yield "PyTorch", fine, f"{which_torch(way, 'is')}; {built_line}{remark}"
    fine = "MISSING" not in model_line
    yield "embedded model", fine, "ready" if fine else "missing: run `make model` with the network on"
    yield "LAB_MODEL", True, os.environ.get("LAB_MODEL", "not set: the embedded model is used")


def main() -> int:
    results = list(checks())
    for what, fine, found in results:
        print(f"{'ok ' if fine else '!! '} {what:16} {found}")
    return 0 if all(fine for _, fine, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
