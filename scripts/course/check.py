"""Check a student's notebook, as often as the student likes.

    .venv/bin/python -m scripts.course.check LAB        (LAB is the beginning of a file name in notebooks/, such as 01)

Runs the whole notebook, and every exercise's visible tests by themselves, as in grading; says for each exercise whether
it passes or what to look at. A wrong answer affects its own exercise only. Exit status 0 if all visible tests pass.
"""

import argparse
import sys
from pathlib import Path

from scripts.interp.base.paths import ROOT


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check your notebook of one lab.")
    parser.add_argument("lab", nargs="?", default="", help="the beginning of its file name, such as 01")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="the folder of the notebooks")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one cell (default: %(default)s)")
    options = parser.parse_args(arguments)
    beginning = options.lab.zfill(2) if options.lab.isdigit() else options.lab
    paths = sorted(options.notebooks.glob("*.ipynb"))
    chosen = [path for path in paths if options.lab and path.name.startswith(beginning)]
    if len(chosen) != 1:
        names = ", ".join(path.stem for path in chosen or paths) or "none"
        problem = (
            f"{len(chosen)} labs begin with {options.lab!r}"
            if options.lab
            else "Say which lab, for instance: make check LAB=01"
        )
        print(f"{problem}. Notebooks in {options.notebooks.name}/: {names}.")
        return 2

    from scripts.course.checking import check  # takes seconds: a wrong argument is answered without it

    return check(chosen[0], options.timeout)


if __name__ == "__main__":
    sys.exit(main())
