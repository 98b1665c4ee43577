"""Five students hand in the real Lab 1, one of them the other labs too: points, words, pages from the real command."""

import csv
import json
from collections import defaultdict

import pytest

from scripts.course.cells import hidden_lines, read_exercises, read_notebook
from scripts.course.grade import main
from scripts.course.pages import remote_parts
from scripts.interp.base.paths import ROOT
from tests.answers import lab01, lab02, lab03, lab04, source_of
from tests.fixtures.kinds import DROPS_ASSERTS
from tests.fixtures.whole_labs import JOBS, submission

OTHERS = {  # labs that one student hands in as well, all right but for these
    lab02: {"ex3-patch-cell": "one position too early through BOS", "ex5-keep-only": "position 0 replaced"},
    lab03: {"ex2-induction-score": "offset period", "ex5-k-composition": "Q-composition"},
    lab04: {"ex3-quality": "percent", "ex5-held-out-f1": "metrics on the text of the choice"},
}
WRONG_IN = {  # of Lab 1
    "ex1-second-mention": "last mention instead of second",
    "ex3-attention-pattern": "keys repeated in the wrong order",
    "ex6-ablation-hooks": "late-bound closure",
}


def name_of(lab) -> str:
    return lab.NOTEBOOK.removesuffix(".ipynb")


def exercises_in(lab) -> dict:
    return {exercise.id: exercise for exercise in read_exercises(ROOT / "solutions" / lab.NOTEBOOK)}


LAB, EXERCISES = name_of(lab01), exercises_in(lab01)


def right_and_wrong(exercises: dict, known: dict, chosen: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """All exercises solved; those chosen, answered wrongly."""
    right = {name: exercise.solution for name, exercise in exercises.items()}
    return right, {name: source_of(exercises[name], known[name][which][0]) for name, which in chosen.items()}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The folder of results, and the rows of grades.csv by lab and student."""
    folder = tmp_path_factory.mktemp("labs")
    versions = {lab: (ROOT / "notebooks" / lab.NOTEBOOK).read_text(encoding="utf-8") for lab in (lab01, *OTHERS)}
    released = versions[lab01]
    right, wrong = right_and_wrong(EXERCISES, lab01.WRONG, WRONG_IN)
    written = {"written-one-head": "It looks at John, and lowers John."}
    # Only the exercises: the labs are graded whole where nbval compares them (tests/fixtures/graded_once.py).
    handed_in = {
        "good": submission(released, {**right, **written}, only_marked=True),
        "wrong": submission(released, {**right, **wrong}, only_marked=True),
        "stub": submission(released, {}, only_marked=True),
        "corrupt": released[:2000],
        "hostile": submission(released, wrong, DROPS_ASSERTS, only_marked=True),
    }
    for student, text in handed_in.items():
        path = folder / "in" / student / lab01.NOTEBOOK
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    for lab, chosen in OTHERS.items():
        solved, mistaken = right_and_wrong(exercises_in(lab), lab.WRONG, chosen)
        text = submission(versions[lab], {**solved, **mistaken}, only_marked=True)
        (folder / "in" / "wrong" / lab.NOTEBOOK).write_text(text, encoding="utf-8")
    assert main([str(folder / "in"), str(folder / "out"), "--jobs", JOBS, "--timeout", "20"]) == 1  # two need a look
    with (folder / "out" / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = defaultdict(dict)
        for row in csv.DictReader(file):
            rows[row["lab"]][row["student"]] = row
    return folder / "out", rows


def test_every_submission_has_a_row(graded):
    assert set(graded[1]) == {LAB, *map(name_of, OTHERS)}
    for rows in graded[1].values():
        assert set(rows) == {"good", "wrong", "stub", "corrupt", "hostile"}


def test_the_good_one_has_all_points_and_waits_for_a_person(graded):
    row = graded[1][LAB]["good"]
    assert (row["automatic_points"], row["awaiting_manual_points"], row["max_points"]) == ("90", "10", "100")
    assert row["status"] == "ok"


def test_wrong_answers_lose_their_own_points_only_and_get_their_hints(graded):
    out, rows = graded
    for name, exercise in EXERCISES.items():
        assert float(rows[LAB]["wrong"][name]) == (0 if name in WRONG_IN else exercise.points), name
    page = (out / "feedback" / "wrong" / f"{LAB}.html").read_text()
    hints = json.loads((out / "course" / "results" / "wrong" / f"{LAB}.json").read_text())["hints"]
    for name, which in WRONG_IN.items():
        assert lab01.WRONG[name][which][1] in hints[name]
    assert "This is the last mention" in page and "wrong key heads" in page


@pytest.mark.parametrize("lab", OTHERS, ids=lambda lab: lab.NOTEBOOK[:2])
def test_other_labs_are_graded_in_the_same_run(lab, graded):
    out, rows = graded
    row = rows[name_of(lab)]["wrong"]
    for name, exercise in exercises_in(lab).items():
        assert float(row[name]) == (0 if name in OTHERS[lab] else exercise.points), (name, row)
    hints = json.loads((out / "course" / "results" / "wrong" / f"{name_of(lab)}.json").read_text())["hints"]
    for name, which in OTHERS[lab].items():
        assert lab.WRONG[name][which][1] in hints[name]
    assert rows[name_of(lab)]["good"]["automatic_points"] == "0"  # handed in nothing


def test_the_stub_scores_nothing_and_waits_for_nobody(graded):
    row = graded[1][LAB]["stub"]
    assert (row["automatic_points"], row["awaiting_manual_points"]) == ("0", "0")


def test_the_corrupt_one_is_named(graded):
    row = graded[1][LAB]["corrupt"]
    assert row["automatic_points"] == "0" and "not a valid notebook" in row["status"]


def test_the_hostile_one_is_flagged_and_scores_nothing(graded):
    row = graded[1][LAB]["hostile"]
    assert row["automatic_points"] == "0" and "TAMPERING" in row["status"]


def test_no_page_shows_a_hidden_test_or_loads_anything(graded):
    for lab in (lab01, *OTHERS):
        # Of this lab only: what one lab hides, another may well have in a solution.
        hidden = {
            line for exercise in exercises_in(lab).values() for line in hidden_lines(exercise.test) if len(line) > 30
        }
        pages = list(graded[0].glob(f"feedback/*/{name_of(lab)}.html"))
        assert len(hidden) > 20 and pages
        for path in pages:
            page = path.read_text()
            assert remote_parts(page) == [] and not [line for line in hidden if line in page], path


def test_what_was_handed_in_is_kept_for_the_person_who_grades(graded):
    notebook = read_notebook(graded[0] / "course" / "autograded" / "good" / LAB / lab01.NOTEBOOK)
    text = "".join(cell.source for cell in notebook.cells)
    assert "It looks at John, and lowers John." in text
