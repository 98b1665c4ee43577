"""Make the student notebooks, and the records that their checks read, from the solved notebooks.

    .venv/bin/python -m scripts.course.release

`solutions/` is the single source; nbgrader takes out answers, hidden tests, rubrics and outputs, and
`scripts/course/recording.py` writes down what the visible checks compare with. The same source gives the same bytes
every time.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from scripts.course.recorded import Record

SOLUTIONS, NOTEBOOKS = "solutions", "notebooks"  # in the repository; `RECORDS` of recorded.py is the third folder


def student_versions(solutions: Path) -> dict[str, str]:
    """The text of every student notebook by file name. Raises ValueError if a source is malformed."""
    # takes seconds: a wrong argument is answered without it
    import nbformat

    from scripts.course.assignments import released_path, stage
    from scripts.course.cells import read_notebook

    paths = sorted(solutions.glob("*.ipynb"))
    versions = {}
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder), paths, with_grade_book=False)
        for path in paths:
            notebook = read_notebook(released_path(Path(folder), path.stem))
            dress(notebook, path.name)
            versions[path.name] = nbformat.writes(notebook) + "\n"
    return versions


def dress(notebook: "NotebookNode", name: str) -> None:
    """Fold the checks away, and say where the notebook comes from. No marked cell's text changes: checksums stay."""
    from scripts.course.cells import grade_id, is_test

    # lets `make check` notice an exercise that is gone altogether
    notebook.metadata["marked_cells"] = [grade_id(cell) for cell in notebook.cells if grade_id(cell)]
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if is_test(cell):
            cell.metadata["jupyter"] = {"source_hidden": True}  # JupyterLab shows three dots that open it
    title = next((cell for cell in notebook.cells if cell.cell_type == "markdown" and not grade_id(cell)), None)
    if title is not None:
        title.source += (
            f"\n\n*Write your answers here. This notebook is generated from `solutions/{name}` by `make release`: the "
            "lab itself is changed there, by your instructor.*"
        )


def records(solutions: Path) -> dict[str, "Record"]:
    """What the visible checks of each lab compare with, by the lab's number. Raises ValueError."""
    from scripts.course.recording import lab_of, record_lab

    found = {lab_of(path): record_lab(path) for path in sorted(solutions.glob("*.ipynb"))}
    return {lab: record for lab, record in found.items() if record.exercises}


def release(root: Path = ROOT) -> list[Path]:
    """Write the student notebooks and records of a repository, and remove those whose source is gone.

    Returns the notebooks' paths. Raises ValueError if a source is malformed.
    """
    from scripts.course.recorded import RECORDS
    from scripts.course.recording import write_record

    notebooks, folder = root / NOTEBOOKS, root / RECORDS.relative_to(ROOT)
    versions, recorded = student_versions(root / SOLUTIONS), records(root / SOLUTIONS)
    for lab, record in recorded.items():
        write_record(record, folder, lab)
    for name, text in versions.items():
        write_atomically(notebooks / name, text)
    for path in [*notebooks.glob("*.ipynb"), *folder.glob("*.json"), *folder.glob("*.safetensors")]:
        if path.name not in versions and path.stem not in recorded:
            path.unlink()
    return [notebooks / name for name in versions]


def drifted(root: Path = ROOT) -> list[str]:
    """Names of files that are not what `release` would write: edited, missing, or without a source."""
    from scripts.course.recorded import RECORDS
    from scripts.course.recording import agrees

    notebooks, folder = root / NOTEBOOKS, root / RECORDS.relative_to(ROOT)
    versions, recorded = student_versions(root / SOLUTIONS), records(root / SOLUTIONS)
    present = {path.name: path.read_text(encoding="utf-8") for path in notebooks.glob("*.ipynb")}
    differing = {name for name in versions.keys() | present.keys() if versions.get(name) != present.get(name)}
    differing |= {f"{lab}.json" for lab, record in recorded.items() if not agrees(record, folder, lab)}
    return sorted(differing | {path.name for path in folder.glob("*.json") if path.stem not in recorded})


if __name__ == "__main__":
    argparse.ArgumentParser(description="Make the student notebooks from the solved ones.").parse_args()
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    try:
        for path in release():
            print(f"released {path.relative_to(ROOT)}")
    except ValueError as error:
        sys.exit(f"Release stopped: {error}")
