"""While a notebook is executed, commands that install or remove packages do nothing but leave a note.

`%pip install`, `!pip install`, `%%bash`, `os.system`, `subprocess`: in a class's kernel they would change the Python
that grades everybody else. Every process of the kernel finds commands and modules of these names first, in a folder of
its own; pip and uv, should somebody get at the real ones all the same, are told to work for a Python that is none.

This keeps honest notebooks from changing the grader's environment. It is no sandbox: code that means to can still
write into the folder of the packages.
"""

import os
import stat
import sys
from pathlib import Path

COMMANDS = (
    *("pip", "pip3", "pipx", "easy_install", "ensurepip", "uv", "uvx", "poetry", "pdm"),
    *("conda", "mamba", "micromamba", "apt", "apt-get", "brew", "npm", "sudo"),
)
MODULES = ("pip", "ensurepip", "uv", "conda")  # what is run as `python -m`
CHANGING = {"install", "uninstall", "add", "remove", "sync", "update", "upgrade", "create"}
MAX_ASKED = 200  # characters of a command

# pip starts the Python that PIP_PYTHON names with a program of its own as the first argument
_COMMAND = """#!/bin/sh
name=$(basename "$0")
case "$1" in *__pip-runner__.py) shift;; esac
echo "$name" "$@" | tr '\\n' ' ' >> "$LAB_INSTALLERS"
echo >> "$LAB_INSTALLERS"
echo "Not run: $name $*"
echo "Checking and grading use the packages that the labs come with, and change none."
"""
_MODULE = """import pathlib, subprocess, sys
def main(arguments=None):
    return subprocess.call([str(pathlib.Path(__file__).with_suffix("")), *(arguments or sys.argv[1:])])
if __name__ == "__main__":
    sys.exit(main())
# `from pip._internal.cli.main import main` is what pip's own script does, and older notebooks
main.main, this = main, sys.modules[__name__]
_internal = cli = this
sys.modules.update({f"{__name__}.{part}": this for part in ("_internal", "_internal.cli", "_internal.cli.main")})
"""


def kept_out(scratch: str) -> dict[str, str]:
    """Write the stand-ins into a folder in `scratch`. Returns the environment variables with which they are found."""
    folder = Path(scratch) / "installers"
    folder.mkdir(exist_ok=True)
    for name in COMMANDS:
        _write(folder / name, _COMMAND)
    for name in MODULES:
        _write(folder / f"{name}.py", _MODULE)
    ours = os.path.dirname(sys.executable)
    return {
        "PATH": os.pathsep.join([str(folder), ours, os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join([str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(
            os.pathsep
        ),
        "PIP_PYTHON": str(folder / "pip"),
        "UV_PYTHON": str(folder / "no-python"),
        "LAB_INSTALLERS": str(folder / "asked"),
    }


def asked(scratch: str) -> list[str]:
    """The commands so far that would have changed an environment, in the order in which they were given."""
    try:
        lines = (Path(scratch) / "installers" / "asked").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.strip()[:MAX_ASKED] for line in lines if CHANGING & set(line.split())]


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
