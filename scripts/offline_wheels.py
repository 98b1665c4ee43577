"""The folder of wheels that `make bundle` writes, as set-up finds it: whether pip is to use it, and for whom it is.

Needs nothing but Python: set-up runs this before there is a package.
"""

from __future__ import annotations

import os
import platform
import re
import sys

from scripts.system_torch import ROOT

WHEELS, START = "wheels", "START-HERE.txt"


def only_wheels() -> bool:
    """Whether this is a classroom's folder: there, the Makefile has pip look nowhere but in `wheels/`."""
    return os.environ.get("PIP_FIND_LINKS") == WHEELS


def wrong_wheels() -> str:
    """For whom the packages in `wheels/` are, and what to do, if this Python is not among them; else "".

    The names of PyTorch's wheels say it: torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl.
    """
    made_for = set()
    for wheel in (ROOT / WHEELS).glob("torch-*.whl") if only_wheels() else ():
        _, _, python, _, tag = wheel.stem.rsplit("-", 4)
        system = re.match("linux|many|macosx", tag)
        architecture = re.search("x86_64|aarch64|arm64", tag)
        number = re.fullmatch(r"cp3(\d+)", python)
        if not (system and architecture and number):
            return ""  # pip knows better
        made_for.add((f"3.{number[1]}", "macOS" if system[0] == "macosx" else "Linux", architecture[0]))
    this = {"linux": "Linux", "darwin": "macOS"}.get(sys.platform, sys.platform), platform.machine()
    number = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not made_for or (number, *this) in made_for:
        return ""
    fitting = sorted(python for python, *machine in made_for if tuple(machine) == this)
    named = " or ".join(f"Python {python} on {system} {machine}" for python, system, machine in sorted(made_for))
    what = (
        f"Install Python {fitting[0]} if it is not here, and name it: make lab PYTHON3=python{fitting[0]}"
        if fitting
        else "Ask whoever gave you this folder for one that is made for your machine."
    )
    return (
        f"The packages in {WHEELS}/ are for {named}; this is Python {number} on {this[0]} {this[1]}, at "
        f"{sys.executable}. {what}"
    )
