"""Make the student notebooks from the solved ones.

    python -m scripts.course.release

`solutions/` is the single source; nbgrader takes out answers, hidden tests, rubrics and outputs. The same
source gives the same bytes every time.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

SOLUTIONS, NOTEBOOKS = ROOT / "solutions", ROOT / "notebooks"


def student_versions(solutions: Path) -> dict[str, str]:
    """The text of every student notebook by file name. Raises ValueError if a source is malformed."""
    # takes seconds: a wrong argument is answered without it
    import nbformat

    from scripts.course.assignments import released_path, stage
    from scripts.course.cells import grade_id, read_notebook

    paths = sorted(solutions.glob("*.ipynb"))
    versions = {}
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder), paths, with_grade_book=False)
        for path in paths:
            notebook = read_notebook(released_path(Path(folder), path.stem))
            # lets `make check` notice an exercise that is gone altogether
            notebook.metadata["marked_cells"] = [grade_id(cell) for cell in notebook.cells if grade_id(cell)]
            for cell in notebook.cells:
                cell.metadata.pop("execution", None)
            versions[path.name] = nbformat.writes(notebook) + "\n"
    return versions


def release(solutions: Path = SOLUTIONS, notebooks: Path = NOTEBOOKS) -> list[Path]:
    """Write the student notebooks and remove those whose source is gone. Returns the paths written."""
    versions = student_versions(solutions)
    for name, text in versions.items():
        write_atomically(notebooks / name, text)
    for path in notebooks.glob("*.ipynb"):
        if path.name not in versions:
            path.unlink()
    return [notebooks / name for name in versions]


def drifted(solutions: Path = SOLUTIONS, notebooks: Path = NOTEBOOKS) -> list[str]:
    """Names of notebooks that are not what `release` would write: edited, missing, or without a source."""
    versions = student_versions(solutions)
    present = {path.name: path.read_text(encoding="utf-8") for path in notebooks.glob("*.ipynb")}
    return sorted(name for name in versions.keys() | present.keys() if versions.get(name) != present.get(name))


if __name__ == "__main__":
    argparse.ArgumentParser(description="Make the student notebooks from the solved ones.").parse_args()
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    try:
        for path in release():
            print(f"released {path.relative_to(ROOT)}")
    except ValueError as error:
        sys.exit(f"Release stopped: {error}")
