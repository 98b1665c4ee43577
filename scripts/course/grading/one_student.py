"""Grade one student's labs. `scripts.course.grade` runs this in a process of its own for every student.

    .venv/bin/python -m scripts.course.grading.one_student JOB.json

Order: choose the file that counts and rebuild the notebook, judge the functions in a clean process, take back points
given by hand for another text, then let nbgrader autograde: it runs the notebook (with canaries, without hidden
tests), keeps its outputs for the person who grades the written answers, and enters into the grade book what the clean
process found.
"""

import json
import resource
import sys
import traceback
from datetime import timezone
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.preprocessors import CheckCellMetadata, SaveAutoGrades

from scripts.course.assignments import course_directory, grade_book, released_path
from scripts.course.cells import (
    UnreadableNotebook,
    exercises_of,
    grade_id,
    is_test,
    read_notebook,
    setup_of,
    student_code,
)
from scripts.course.grading import by_hand
from scripts.course.grading.choice import HandedIn, NotFound, NothingHandedIn, choose_file, read_all
from scripts.course.grading.forks import Nursery, start_kernels_in
from scripts.course.grading.submission import rebuild
from scripts.course.grading.tampering import Instrumented
from scripts.course.handed_in import Found
from scripts.course.judging import clean
from scripts.course.judging.clean_process import ENDED
from scripts.course.judging.execute import error_of, execute
from scripts.course.late import keep_time, kept_policy, time_of
from scripts.course.reading import mended
from scripts.interp.base.files import write_atomically


class Job(NamedTuple):
    """What `grade` tells this process."""

    course: str  # folder of the nbgrader course
    labs: list[str]
    student: str  # as the folder of the submissions calls them
    student_id: str  # as the grade book calls them
    files: list[Found]  # what the student handed in
    cell_seconds: float
    lab_seconds: float
    memory_gb: float


def main(order: str) -> None:
    job = Job(**json.loads(Path(order).read_text(encoding="utf-8")))
    # RLIMIT_AS would break torch. Kernels and the clean process inherit this limit, each for itself.
    limit = int(job.memory_gb * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    nursery = Nursery()
    start_kernels_in(nursery)
    job = job._replace(files=[Found(*file) for file in job.files])
    handed_in = read_all(job.files)
    for lab in job.labs:
        result = {"student": job.student, "student_id": job.student_id, "lab": lab, "handed_in": True, "graded": False}
        try:
            result.update(grade(job, lab, handed_in, nursery))
        except NothingHandedIn as error:
            result.update(status=str(error), handed_in=False)
        except (NotFound, UnreadableNotebook) as error:
            result["status"] = str(error)
        except Exception as error:  # whatever a submission provokes costs its own row only
            traceback.print_exc()
            result["status"] = f"could not be graded ({type(error).__name__}: {error})"
        save_result(Path(job.course), result)


def save_result(course: Path, result: dict) -> None:
    path = course / "results" / result["student_id"] / f"{result['lab']}.json"
    write_atomically(path, json.dumps(result, indent=1, ensure_ascii=False))


def grade(job: Job, lab: str, handed_in: HandedIn, nursery: Nursery) -> dict:
    """Grade one lab and enter its points in the grade book. Returns its `status` and `hints` by exercise."""
    course = Path(job.course)
    source = read_notebook(course / "source" / lab / f"{lab}.ipynb")
    released = read_notebook(released_path(course, lab))
    best, notes = choose_file(handed_in, lab, released)
    notebook, repairs = rebuild(best.notebook, released)
    policy = kept_policy(course.parent)
    at, doubts = time_of(job.files, best.name, policy.zone if policy else timezone.utc)
    verdicts = clean.run(setup_of(source), student_code(notebook), exercises_of(source), job.cell_seconds, nursery)
    judged = {}

    def run_and_judge(ran: NotebookNode, resources: dict):
        instrumented = Instrumented(ran)
        installs = []

        def asked(index: int, command: str) -> None:
            installs.append(f"{name_of(ran, instrumented, index)} asked for `{command}`, which was not run")

        incidents = execute(instrumented.notebook, job.cell_seconds, job.lab_seconds, installs=asked)
        judged["notes"], judged["tampering"] = judge(ran, instrumented, incidents, verdicts)
        judged["notes"] += dict.fromkeys(installs)
        return ran, resources

    stored = course / "submitted" / job.student_id / lab / f"{lab}.ipynb"
    earlier = read_notebook(stored) if stored.exists() else None
    with Gradebook(grade_book(course)) as book:
        taken_back, kept = by_hand.take_back(book, lab, job.student_id, earlier, notebook)
    write_atomically(stored, nbformat.writes(notebook))
    keep_time(stored.parent, at)
    autograde = Autograde(coursedir=course_directory(course, lab, job.student_id), force=True)
    autograde.autograde_preprocessors = [run_and_judge, SaveAutoGrades, CheckCellMetadata]
    autograde.start()
    with Gradebook(grade_book(course)) as book:
        judged["notes"] += taken_back + by_hand.compare(book, lab, job.student_id, kept)

    hints = {name: verdict.hint for name, verdict in verdicts.items()}
    if judged["tampering"]:
        hints = dict.fromkeys(hints, "no points: this submission changed how its cells are run or checked")
    return {"status": "; ".join(notes + repairs + doubts + judged["notes"]) or "ok", "hints": hints, "graded": True}


def name_of(ran: NotebookNode, instrumented: Instrumented, index: int) -> str:
    """What to call a cell of the executed notebook."""
    origin = instrumented.origin[index]
    if origin is None:
        return "a check"
    return grade_id(ran.cells[origin]).removeprefix("test-") or f"cell {origin + 1}"


def judge(
    ran: NotebookNode, instrumented: Instrumented, incidents: dict[int, str], verdicts: dict
) -> tuple[list[str], bool]:
    """Fill in the outputs of an executed notebook; a test cell gets its verdict, and what it prints if it passes.

    nbgrader then derives the points from the outputs: none for an error, all for nothing. Returns what to say
    about the submission, and whether it was tampered with.
    """
    notes = []
    for index, incident in incidents.items():
        name = name_of(ran, instrumented, index)
        notes.append(f"{name} {incident}" + (", later cells did not run" if incident == ENDED else ""))
    for name, verdict in verdicts.items():
        if verdict.stopped and not any(note.startswith(f"{name} ") for note in notes):
            notes.append(f"{name} {verdict.hint}")

    tampering = instrumented.findings(incidents)
    tampering += sorted({verdict.tampered for verdict in verdicts.values() if verdict.tampered})
    if tampering:
        notes.append(f"TAMPERING: {', '.join(tampering)}; all automatic points are 0")

    for place, (cell, index) in enumerate(zip(instrumented.notebook.cells, instrumented.origin)):
        if index is None or cell.cell_type != "code":
            continue
        ran.cells[index].update(outputs=nbformat.from_dict(mended(cell.outputs)), execution_count=cell.execution_count)
        if not is_test(cell):
            continue
        name = grade_id(cell).removeprefix("test-")
        verdict = verdicts[name]
        passed_here = cell.execution_count is not None and error_of(cell) is None and place not in incidents
        if passed_here and not verdict.visible and not verdict.tampered:
            notes.append(f"{name} passes in the notebook but not in a clean process ({verdict.hint})")
        hint = "no points: tampering" if tampering else verdict.hint
        printed = [o for o in ran.cells[index].outputs if o.output_type == "stream" and o.name == "stdout"]
        ran.cells[index].outputs = (
            printed * passed_here
            if verdict.passed and not tampering
            else [nbformat.v4.new_output("error", ename="CheckFailed", evalue=hint, traceback=[hint])]
        )
    return notes, bool(tampering)


if __name__ == "__main__":
    main(sys.argv[1])
