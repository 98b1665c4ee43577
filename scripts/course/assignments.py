"""An nbgrader course in a folder: one assignment per lab, made from the solved notebooks.

nbgrader knows a flat folder of notebooks only as one assignment, so each lab is staged as
`source/<lab>/<lab>.ipynb`.
"""

import os
import sys
from pathlib import Path

from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
    SaveCells,
)
from traitlets.config import Config

from scripts.course.cells import STUB, TEXT_STUB, exercises_of, read_notebook, setup_of
from scripts.interp.base.files import write_atomically


def course_directory(root: Path, lab: str = "", student: str = "*") -> CourseDirectory:
    """nbgrader's view of the course in `root`; several processes may wait for its grade book."""
    config = Config()
    config.CourseDirectory.root = str(root.resolve())
    config.CourseDirectory.db_url = grade_book(root)
    config.CourseDirectory.assignment_id = lab
    config.CourseDirectory.student_id = student
    return CourseDirectory(config=config)


def grade_book(root: Path) -> str:
    return f"sqlite:///{root.resolve() / 'gradebook.db'}?timeout=120"  # seconds to wait for another process


def released_path(root: Path, lab: str) -> Path:
    return root / "release" / lab / f"{lab}.ipynb"


def stage(root: Path, solutions: list[Path], with_grade_book: bool) -> None:
    """Put solved labs into the course at `root` and let nbgrader make the student versions (and the grade
    book).

    Raises ValueError if a notebook does not follow the conventions of `scripts.course.cells`.
    """
    # nbgrader calls `alembic` by its name when it makes a grade book
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
    config = Config()
    config.ClearSolutions.code_stub = {"python": STUB}
    config.ClearSolutions.text_stub = TEXT_STUB
    config.GenerateAssignment.no_database = not with_grade_book
    config.ClearMarkScheme.enforce_metadata = False  # a written answer may carry its rubric
    for path in solutions:
        notebook = read_notebook(path)
        try:
            if notebook.nbformat_minor < 5:
                raise ValueError("it has no cell ids: save it in the notebook format 4.5 or later")
            setup_of(notebook), exercises_of(notebook)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}.") from error
        write_atomically(root / "source" / path.stem / path.name, path.read_text(encoding="utf-8"))
        assignment = GenerateAssignment(coursedir=course_directory(root, path.stem), config=config, force=True)
        # Rubrics go before the checksums: a written answer left untouched must be recognised by its checksum.
        assignment.preprocessors = [
            ClearSolutions,
            ClearMarkScheme,
            LockCells,
            ClearOutput,
            CheckCellMetadata,
            ComputeChecksums,
            *([SaveCells] if with_grade_book else []),
            ClearHiddenTests,
            ComputeChecksums,
            CheckCellMetadata,
        ]
        assignment.start()
