"""An nbgrader course in a folder: one assignment per lab, made from the solved notebooks.

nbgrader knows a flat folder of notebooks only as one assignment, so each lab is staged as
`source/<lab>/<lab>.ipynb`.
"""

import os
import sys
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.api import Comment, Grade, Gradebook, MissingEntry
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

from scripts.course.cells import STUB, TEXT_STUB, exercises_of, grading, read_notebook, setup_of
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

    Raises ValueError if a notebook does not follow the conventions of `scripts.course.cells`, or lost a cell that the
    grade book holds points of.
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
        if (root / "gradebook.db").exists():
            with Gradebook(grade_book(root)) as book:
                make_room(book, path.stem, notebook)
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


def make_room(book: Gradebook, lab: str, notebook: NotebookNode) -> None:
    """Add a lab's new cells to what was handed in before, with no points: nbgrader refuses a lab that has others.

    Raises ValueError if cells are gone.
    """
    try:
        known = book.find_notebook(lab, lab)
    except MissingEntry:
        return
    marked = {grading(cell)["grade_id"]: cell for cell in notebook.cells if grading(cell)}
    names = {cell.name for cell in known.source_cells}
    if not known.submissions:
        return
    if gone := sorted(names - marked.keys()):
        raise ValueError(f"{lab} lost {', '.join(gone)}, for which its grade book has points: grade into another OUT.")
    for name, cell in marked.items():
        marks = grading(cell)
        if name in names or not (marks.get("grade") or marks.get("solution") or marks.get("locked")):
            continue
        book.add_source_cell(name, lab, lab, cell_type=cell.cell_type)
        if marks.get("grade"):
            added = book.add_grade_cell(name, lab, lab, max_score=float(marks["points"]), cell_type=cell.cell_type)
            for submission in known.submissions:
                grade = Grade(cell_id=added.id, notebook_id=submission.id, auto_score=0, needs_manual_grade=False)
                book.db.add(grade)
        if marks.get("solution"):
            added = book.add_solution_cell(name, lab, lab)
            for submission in known.submissions:
                book.db.add(Comment(cell_id=added.id, notebook_id=submission.id))
    book.db.commit()
