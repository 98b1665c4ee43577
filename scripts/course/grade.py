"""Grade a class.

    .venv/bin/python -m scripts.course.grade SUBMISSIONS OUT [--jobs 2] [--timeout 120] [--lab-timeout 900] [--memory 6]

SUBMISSIONS is the folder with what students handed in: <student>/<notebook>.ipynb, or what a learning platform's
download holds, unpacked or not (`scripts.course.students`). Where a student handed in several files,
`scripts.course.grading.choice` says which one counts. OUT gets grades.csv, feedback/<student>/<lab>.html, and
course/, an nbgrader course whose grade book knows every point: start JupyterLab there and open its Formgrader
to grade written answers by hand, then run `.venv/bin/python -m scripts.course.report OUT` to renew the CSV and the
pages.

Exit status 0: everybody is graded. 1: something could not be graded, is nobody's, or needs a look; it is named.
2: nothing was tried, because an argument is wrong. 130: interrupted.

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
import zipfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import psutil

from scripts.course.handed_in import everything_in
from scripts.course.late import keep_policy, read_policy, set_due_dates
from scripts.course.pseudonyms import keep_names, pseudonym, secret_of
from scripts.course.roster import keep_roster, read_roster
from scripts.course.students import Class, class_of, key_of
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

if TYPE_CHECKING:
    from scripts.course.grading.one_student import Job
    from scripts.course.grading.worker import Worker


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Grade a class: SUBMISSIONS/<student>/<notebook>.ipynb")
    parser.add_argument("submissions", help="a folder with <student>/<notebook>.ipynb, or a class's zip archive")
    parser.add_argument("out", help="the folder for the report and the feedback")
    parser.add_argument("--solutions", type=Path, default=ROOT / "solutions", help="the solved labs")
    parser.add_argument("--jobs", type=int, default=2, help="students graded at the same time (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one cell (default: %(default)s)")
    parser.add_argument(
        "--lab-timeout", type=float, default=900, help="seconds for all cells of a lab (default: %(default)s)"
    )
    parser.add_argument("--memory", type=float, default=6, help="GB of memory for each kernel (default: %(default)s)")
    parser.add_argument("--roster", type=Path, help="a CSV of who is in the class (scripts.course.roster)")
    parser.add_argument("--late", type=Path, help="a late policy, as TOML (scripts.course.late)")
    parser.add_argument("--pseudonyms", action="store_true", help="hide names from those who grade by hand")
    options = parser.parse_args(arguments)
    complaint = wrong_places(options.submissions, options.out)
    if complaint:
        print(complaint)
        return 2
    submissions, out = Path(options.submissions).resolve(), Path(options.out)  # workers run elsewhere
    try:
        for path, read in ((options.roster, read_roster), (options.late, read_policy)):
            if path:
                read(path)
    except ValueError as error:
        print(error)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        found, results = everything_in(submissions, out, Path(scratch))
        handed_in = class_of(found, [path.stem for path in options.solutions.glob("*.ipynb")], known_students(out))
        say_whose(handed_in, results)
        if not handed_in.students:
            print(f"{submissions} holds no folders of students; each needs one: <student>/<notebook>.ipynb.")
            return 2
        return grade_class(handed_in, out, options)


def grade_class(handed_in: Class, out: Path, options: argparse.Namespace) -> int:
    """Grade everybody and write the report. Returns the exit status."""
    # takes seconds: a wrong argument is answered without it
    from scripts.course.assignments import stage
    from scripts.course.cells import UnreadableNotebook, is_graded, read_notebook, read_setup
    from scripts.course.grading.one_student import Job
    from scripts.course.grading.worker import Worker
    from scripts.course.look import needs_a_look
    from scripts.course.report import for_the_screen, report

    try:
        solutions = [path for path in sorted(options.solutions.glob("*.ipynb")) if is_graded(read_notebook(path))]
    except UnreadableNotebook as error:
        print(f"The labs in {options.solutions} could not be read: {error}")
        return 1
    if not solutions:
        print(f"{options.solutions} holds no solved labs to grade against.")
        return 2

    logging.getLogger("traitlets").setLevel(logging.ERROR)
    course = out.resolve() / "course"
    print(f"Preparing {len(solutions)} lab{'s' * (len(solutions) > 1)} …", flush=True)
    try:
        stage(course, solutions, with_grade_book=True)
    except Exception as error:
        print(
            f"The labs could not be prepared in {course}: {error} If they changed since it was made, use another OUT."
        )
        return 1
    try:
        secret = class_files(out, options, [path.stem for path in solutions])
    except ValueError as error:
        print(error)
        return 2
    if secret:
        keep_names(out, [student.name for student in handed_in.students], secret)
    jobs = [
        Job(
            str(course),
            [path.stem for path in solutions],
            student.name,
            pseudonym(student.name, secret) if secret else book_name(student.name),
            student.files,
            options.timeout,
            options.lab_timeout,
            options.memory,
        )
        for student in handed_in.students
    ]
    failed, graded = bool(handed_in.nobodys), False
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
                seconds, statuses, some = future.result()
                graded = graded or some
                failed = failed or any(status.startswith("could not be graded") for status in statuses)
                student = running[future].student
                print(f"[{number}/{len(jobs)}] {student} ({seconds:.0f} s): {' | '.join(statuses)}", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("Interrupted: what is graded so far is kept, and the same command starts again.")
            return 130
    rows = report(out)
    print(f"\n{for_the_screen(out, rows)}\n\ngrades: {out / 'grades.csv'}\npages:  {out / 'feedback'}")
    if handed_in.nobodys:
        print(f"Not graded, because nothing says whose it is: {', '.join(handed_in.nobodys)}")
    if not graded:
        print("No notebook was graded: the reasons stand in the last column.")
    now = {job.student for job in jobs}  # what an earlier run left is listed, but is no news
    return 1 if failed or not graded or needs_a_look([row for row in rows if row.student in now]) else 0


def wrong_places(submissions: str, out: str) -> str:
    """Why nothing can be graded from and to these folders, or ""."""
    if not submissions.strip() or not out.strip():
        return "Say which folders: make grade SUBMISSIONS=submissions OUT=graded"
    source, target = Path(submissions).resolve(), Path(out).resolve()
    if not source.is_dir() and not zipfile.is_zipfile(source):
        return f"There is no folder {submissions}; give one that holds <student>/<notebook>.ipynb."
    if source == ROOT or source in ROOT.parents:
        return f"{submissions} is a folder with the labs themselves in it; give the one that students' work lies in."
    if source == target:
        return "OUT is the folder of the submissions: give another one, or the results become submissions."
    if (source / "gradebook.db").exists():
        return f"{submissions} is an nbgrader course; give the folder submitted/ in it."
    if target.exists() and not target.is_dir():
        return f"{out} is a file; give a folder as OUT."
    return ""


def class_files(out: Path, options: argparse.Namespace, labs: list[str]) -> bytes | None:
    """Keep the roster and the late policy for the report, enter the due dates in the grade book, and return the secret
    that pseudonyms are made from, or None. Raises ValueError where one of them can't be used."""
    from nbgrader.api import Gradebook

    from scripts.course.assignments import grade_book

    secret = secret_of(out, options.pseudonyms)
    if options.roster:
        keep_roster(out, options.roster)
    if options.late:
        policy = keep_policy(out, options.late, labs)
        with Gradebook(grade_book(out / "course")) as book:
            set_due_dates(book, policy, labs)
    return secret


def known_students(out: Path) -> dict[str, str]:
    """The names of those who were graded into this OUT before, by `key_of` the name."""
    results = (json.loads(path.read_text(encoding="utf-8")) for path in out.glob("course/results/*/*.json"))
    return {key_of(result["student"]): result["student"] for result in results}


def say_whose(handed_in: Class, results: list[str]) -> None:
    """Say what was guessed about the files, and which ones belong to no student."""
    for said in handed_in.guesses:
        print(f"Note: {said}.")
    if results:
        print(f"Passed over, because they hold results of a grading: {', '.join(results)}")
    if handed_in.others:
        print(f"Passed over, because they are no notebooks: {', '.join(handed_in.others)}")
    if handed_in.nobodys:
        print(
            f"Nobody's: {', '.join(handed_in.nobodys)}. Put each into a folder with the student's name: "
            "<student>/<notebook>.ipynb."
        )


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


def grade_student(job: "Job", free: "SimpleQueue[Worker]") -> tuple[float, list[str], bool]:
    """Let a free worker grade a student; its messages go to a log.

    Returns seconds, a status for each lab that was handed in, and whether one was graded. What the student handed in
    in an earlier run stays, if this time there is no notebook of that lab.
    """
    from scripts.course.grading.one_student import save_result

    course = Path(job.course)
    earlier = {path.name: path.read_text(encoding="utf-8") for path in course.glob(f"results/{job.student_id}/*.json")}
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
    found = []
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
        found.append(json.loads(path.read_text(encoding="utf-8")))
        if not found[-1]["handed_in"] and path.name in earlier:
            write_atomically(path, earlier[path.name])
            found[-1]["status"] += "; what was handed in earlier stays"
    said = [result["status"] for result in found if result["handed_in"]] or [found[0]["status"]]
    return time.monotonic() - started, said, any(result["graded"] for result in found)


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
