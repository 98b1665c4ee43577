"""Write a made-up class whose points are known, grade it, and compare: grades.csv must hold exactly those points.

    .venv/bin/python -m tests.synthetic_class DEST [--students 30] [--labs 01 02 03 04] [--seed 0] [--whole] [--jobs 2]

The answers are those of `tests/answers/`, where `tests/test_answers.py` holds that the right ones keep their points and
the wrong ones lose them; some exercises are left as they were handed out. The same arguments give the same class. DEST
gets handed-in/student-01/<lab>.ipynb and so on, expected.csv, and graded/. Notebooks hold the marked cells only, which
is faster; with --whole all of each lab, as students hand in.

Exit status 0: every row is as expected. 1: the differences are printed. 2: an argument is wrong.
"""

import argparse
import ast
import csv
import importlib
import itertools
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scripts.course.cells import Exercise, read_exercises, read_notebook, written_of
from scripts.interp.base.command_line import at_least_one
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT
from tests.answers import source_of
from tests.fixtures.whole_labs import submission

GRADED = ("01", "02", "03", "04")  # the labs with points
LEFT_UNDONE = 0.25  # of the exercises that a student does not get right
WRITES = 0.7  # of the students answer in words


class Lab(NamedTuple):
    """A lab, and the answers to it that are known."""

    name: str
    released: str  # the notebook as students get it
    exercises: list[Exercise]
    written: dict[str, float]  # points of the answers in words
    right: dict[str, list[str]]  # sources by exercise
    wrong: dict[str, Iterator[str]]  # one after the other without end: a class makes as many mistakes as it can


def lab_of(number: str, rng: random.Random) -> Lab:
    answers = importlib.import_module(f"tests.answers.lab{number}")
    path = ROOT / "solutions" / answers.NOTEBOOK
    exercises = read_exercises(path)
    right, wrong = {}, {}
    for exercise in exercises:
        others = answers.RIGHT.get(exercise.id, {}).values()
        right[exercise.id] = [bare(exercise.solution), *(bare(source_of(exercise, other)) for other in others)]
        mistakes = [bare(source_of(exercise, change)) for change, _ in answers.WRONG[exercise.id].values()]
        wrong[exercise.id] = itertools.cycle(rng.sample(mistakes, len(mistakes)))
    released = (ROOT / "notebooks" / answers.NOTEBOOK).read_text(encoding="utf-8")
    written = {each.id: each.points for each in written_of(read_notebook(path))}
    return Lab(path.stem, released, exercises, written, right, wrong)


def bare(source: str) -> str:
    """An answer as students write it, without the marks of a solution."""
    return "\n".join(
        line for line in source.splitlines() if line.strip() not in ("### BEGIN SOLUTION", "### END SOLUTION")
    )


def handed_in(lab: Lab, skill: float, rng: random.Random, whole: bool) -> tuple[str, dict[str, str]]:
    """One student's notebook of a lab, and the row that it must get, numbers as grades.csv writes them."""
    answers, scores, taken = {}, {}, set()
    for exercise in lab.exercises:
        scores[exercise.id] = exercise.points if rng.random() < skill else 0.0
        if scores[exercise.id]:
            candidates = rng.sample(lab.right[exercise.id], len(lab.right[exercise.id]))
        elif rng.random() < LEFT_UNDONE:
            continue
        else:
            candidates = itertools.islice(lab.wrong[exercise.id], 20)
        # Whoever calls two helpers by one name spoils an answer with another, which nobody knew beforehand
        source = next(source for source in candidates if not names_in(source) & taken)
        answers[exercise.id], taken = source, taken | names_in(source)
    writes = rng.random() < WRITES
    if writes:
        answers |= dict.fromkeys(lab.written, "It may be so, but the control says otherwise.")
    awaiting = sum(lab.written.values()) if writes else 0
    most = sum(exercise.points for exercise in lab.exercises) + sum(lab.written.values())
    numbers = scores | {
        "automatic_points": sum(scores.values()), "awaiting_manual_points": awaiting, "max_points": most,
    }  # fmt: skip
    row = {name: f"{number:g}" for name, number in numbers.items()}
    return submission(lab.released, answers, only_marked=not whole), row | {"status": "ok"}


def names_in(source: str) -> set[str]:
    """What a cell defines, imports left out: they are the same whoever makes them."""
    try:
        nodes = ast.parse(source).body
    except SyntaxError:
        return set()
    names = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assigned = [node for node in nodes if isinstance(node, (ast.Assign, ast.AnnAssign))]
    return names | {each.id for node in assigned for each in ast.walk(node)
                    if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}  # fmt: skip


def write_class(dest: Path, students: int, labs: list[str], seed: int, whole: bool) -> list[dict[str, str]]:
    """Write what a class hands in below `dest`/handed-in. Returns the rows that it must get, `dest`/expected.csv."""
    rng = random.Random(seed)
    known = [lab_of(number, rng) for number in labs]
    shutil.rmtree(dest / "handed-in", ignore_errors=True)
    rows = []
    for number in range(1, students + 1):
        student, skill = f"student-{number:02}", rng.uniform(0.3, 1.0)
        for lab in known:
            text, row = handed_in(lab, skill, rng, whole)
            write_atomically(dest / "handed-in" / student / f"{lab.name}.ipynb", text)
            rows.append({"student": student, "lab": lab.name} | row)
    with (dest / "expected.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def differences(expected: list[dict[str, str]], grades: Path) -> list[str]:
    """Where a CSV of grades does not hold exactly the expected rows, in words; other columns may stand there too."""
    with grades.open(encoding="utf-8-sig", newline="") as file:
        found = list(csv.DictReader(file))
    wanted = {(row["student"], row["lab"]): row for row in expected}
    got = {(row["student"], row["lab"]): row for row in found}
    counts = Counter((row["student"], row["lab"]) for row in found)
    said = [f"{student}, {lab}: has {count} rows" for (student, lab), count in counts.items() if count > 1]
    said += [f"{student}, {lab}: has no row" for student, lab in wanted.keys() - got.keys()]
    said += [f"{student}, {lab}: has a row, but handed in nothing" for student, lab in got.keys() - wanted.keys()]
    for key in sorted(wanted.keys() & got.keys()):
        for column, value in wanted[key].items():
            if got[key].get(column) != value:
                said.append(f"{key[0]}, {key[1]}: {column} is {got[key].get(column)!r}, expected {value!r}")
    return said


def parser_of_class() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m tests.synthetic_class", description=__doc__.splitlines()[0]
    )
    parser.add_argument("dest", type=Path, help="the folder for the class, its points and its grading")
    parser.add_argument("--students", type=at_least_one, default=30, help="how many (default: %(default)s)")
    parser.add_argument("--labs", nargs="+", choices=GRADED, default=list(GRADED), help="their numbers (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes another class (default: %(default)s)")
    parser.add_argument("--whole", action="store_true", help="hand in whole notebooks, as students do")
    parser.add_argument("--jobs", type=at_least_one, default=2, help="graded at the same time (default: %(default)s)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    from scripts.course import grade

    options = parser_of_class().parse_args(arguments)
    dest, expected = options.dest, options.dest / "expected.csv"
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir()) and not expected.exists()):
        print(f"{dest} is no folder of a made-up class: give a new one.")
        return 2
    earlier = expected.read_text(encoding="utf-8") if expected.exists() else ""
    rows = write_class(dest, options.students, options.labs, options.seed, options.whole)
    if expected.read_text(encoding="utf-8") != earlier:  # another class: its results would stand beside the old ones
        shutil.rmtree(dest / "graded", ignore_errors=True)
    solutions = dest / "solutions"
    shutil.rmtree(solutions, ignore_errors=True)
    solutions.mkdir()
    for path in (ROOT / "solutions" / f"{lab}.ipynb" for lab in {row["lab"] for row in rows}):
        shutil.copy(path, solutions)
    status = grade.main([str(dest / "handed-in"), str(dest / "graded"), "--solutions", str(solutions),
                         "--jobs", str(options.jobs)])  # fmt: skip
    if not (dest / "graded" / "grades.csv").exists():
        print(f"Nothing was graded (exit status {status}).")
        return 1
    said = differences(rows, dest / "graded" / "grades.csv")
    print("\n".join(said) or f"All {len(rows)} rows are as expected.")
    return 1 if said or status else 0


if __name__ == "__main__":
    sys.exit(main())
