"""Grade a class.

    python -m scripts.course.grade SUBMISSIONS OUT [--jobs 2] [--timeout 120] [--lab-timeout 900] [--memory 6]

SUBMISSIONS/<student>/<notebook>.ipynb goes in. OUT gets grades.csv, feedback/<student>/<lab>.html, and
course/, an nbgrader course whose grade book knows every point: start JupyterLab there and open its Formgrader
to grade written answers by hand, then run `python -m scripts.course.report OUT` to renew the CSV and the
pages.

Every student is graded in a process of its own, forked from a worker that has imported everything, so that no
submission can spoil another one. That is no sandbox; see `scripts.course.grading.tampering` for what is detected and
what is not.
"""

import argparse
import ast
import contextlib
import hashlib
import json
import logging
import re
import secrets
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import psutil

from scripts.interp.base.paths import ROOT

if TYPE_CHECKING:
    from scripts.course.grading.one_student import Job
    from scripts.course.grading.worker import Worker


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Grade a class: SUBMISSIONS/<student>/<notebook>.ipynb")
    parser.add_argument("submissions", type=Path, help="a folder with <student>/<notebook>.ipynb")
    parser.add_argument("out", type=Path, help="the folder for the report and the feedback")
    parser.add_argument("--solutions", type=Path, default=ROOT / "solutions", help="the solved labs")
    parser.add_argument("--jobs", type=int, default=2, help="students graded at the same time (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one cell (default: %(default)s)")
    parser.add_argument(
        "--lab-timeout", type=float, default=900, help="seconds for all cells of a lab (default: %(default)s)"
    )
    parser.add_argument("--memory", type=float, default=6, help="GB of memory for each kernel (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not options.submissions.is_dir():
        print(f"There is no folder {options.submissions}; give one that holds <student>/<notebook>.ipynb.")
        return 2
    students = sorted(p for p in options.submissions.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not students:
        print(f"{options.submissions} holds no folders; each student needs one: <student>/<notebook>.ipynb.")
        return 2

    # takes seconds: a wrong argument is answered without it
    from scripts.course.assignments import stage
    from scripts.course.cells import UnreadableNotebook, is_graded, read_notebook, read_setup
    from scripts.course.grading.one_student import Job
    from scripts.course.grading.worker import Worker
    from scripts.course.report import report, table

    try:
        solutions = [path for path in sorted(options.solutions.glob("*.ipynb")) if is_graded(read_notebook(path))]
    except UnreadableNotebook as error:
        print(f"The labs in {options.solutions} could not be read: {error}")
        return 1
    if not solutions:
        print(f"{options.solutions} holds no solved labs to grade against.")
        return 2

    logging.getLogger("traitlets").setLevel(logging.ERROR)
    course = options.out.resolve() / "course"
    print(f"Preparing {len(solutions)} lab{'s' * (len(solutions) > 1)} …", flush=True)
    try:
        stage(course, solutions, with_grade_book=True)
    except Exception as error:
        print(
            f"The labs could not be prepared in {course}: {error} If they changed since it was made, use another OUT."
        )
        return 1
    jobs = [
        Job(
            str(course),
            [path.stem for path in solutions],
            folder.name,
            book_name(folder.name),
            str(folder.resolve()),
            options.timeout,
            options.lab_timeout,
            options.memory,
        )
        for folder in students
    ]
    failed = False
    setups = [read_setup(path) for path in solutions]
    workers = [Worker(imported_by(setups)) for _ in range(min(options.jobs, len(jobs)))]
    free = SimpleQueue()
    for worker in workers:
        free.put(worker)
    with ThreadPoolExecutor(options.jobs) as pool, contextlib.ExitStack() as at_the_end:
        for worker in workers:
            at_the_end.callback(worker.close)
        running = {pool.submit(grade_student, job, free): job for job in jobs}
        try:
            for number, future in enumerate(as_completed(running), start=1):
                seconds, statuses = future.result()
                failed = failed or any(status.startswith("could not be graded") for status in statuses)
                student = running[future].student
                print(f"[{number}/{len(jobs)}] {student} ({seconds:.0f} s): {' | '.join(statuses)}", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("Interrupted: what is graded so far is kept, and the same command starts again.")
            return 130
    rows = report(options.out)
    print(f"\n{table(rows)}\n\ngrades: {options.out / 'grades.csv'}\npages:  {options.out / 'feedback'}")
    return 1 if failed else 0


def book_name(student: str) -> str:
    """A student's name in the grade book. nbgrader takes it for a pattern, so odd characters are replaced."""
    if re.fullmatch(r"\w[\w.@-]*", student):
        return student
    return re.sub(r"[^\w.@-]", "_", student).lstrip("._") + "_" + hashlib.sha256(student.encode()).hexdigest()[:6]


def imported_by(setups: list[str]) -> list[str]:
    """The modules that set-up cells import, in order."""
    statements = [statement for setup in setups for statement in ast.parse(setup).body]
    names = [alias.name for s in statements if isinstance(s, ast.Import) for alias in s.names]
    return list(dict.fromkeys(names + [s.module for s in statements if isinstance(s, ast.ImportFrom) and s.module]))


def grade_student(job: "Job", free: "SimpleQueue[Worker]") -> tuple[float, list[str]]:
    """Let a free worker grade a student; its messages go to a log. Returns seconds and a status for each lab."""
    from scripts.course.grading.one_student import save_result

    course = Path(job.course)
    shutil.rmtree(course / "results" / job.student_id, ignore_errors=True)
    log = course / "logs" / f"{job.student_id}.log"
    log.parent.mkdir(exist_ok=True)
    # both phases are limited in the process itself; this only ends one that hangs all the same
    limit = len(job.labs) * (3 * job.lab_seconds + 300)
    mark = secrets.token_hex(8)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        order = Path(folder) / "job.json"
        order.write_text(json.dumps(job._asdict()), encoding="utf-8")
        worker = free.get()
        try:
            ended = f"could not be graded ({worker.grade(order, log, mark, limit) or 'no result was written'})"
        finally:
            free.put(worker)
            end_processes(mark)
    statuses = []
    for lab in job.labs:
        path = course / "results" / job.student_id / f"{lab}.json"
        if not path.exists():
            save_result(
                course,
                {
                    "student": job.student,
                    "student_id": job.student_id,
                    "lab": lab,
                    "handed_in": True,
                    "graded": False,
                    "status": ended,
                },
            )
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["handed_in"] or len(job.labs) == 1:
            statuses.append(result["status"])
    return time.monotonic() - started, statuses or ["nothing was handed in"]


def end_processes(mark: str) -> None:
    """End what a submission left running, kernels included: every process that inherited this mark."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("LAB_GRADING") == mark:
                process.kill()
        except psutil.Error:
            continue


if __name__ == "__main__":
    sys.exit(main())
