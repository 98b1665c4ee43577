"""The instructor's overview: counts, hints and the histogram are what the rows say, and what needs a look is listed."""

import csv
import re

import pytest

from scripts.course.cells import Exercise, Written
from scripts.course.look import LONGEST, needs_a_look, waiting
from scripts.course.overview import commonest, hardest, histogram, overview_csv, overview_page, results
from scripts.course.pages import remote_parts
from scripts.course.report import Row
from scripts.course.similarity import Similar

LAB, OTHER = "01-lab", "02-lab"
EXERCISES = [Exercise("ex1", "Exercise 1: means", 10, "", ""), Exercise("ex2", "=Exercise <2>", 20, "", "")]
LABS = {LAB: (EXERCISES, [Written("essay", "Why?", 10, "")]), OTHER: (EXERCISES[:1], [])}
SHAPE, TAMPERED = "The result has shape [{}], expected [3].", "no points: this submission changed how its cells are run"


def row(student: str, ex1=10.0, ex2=20.0, essay: float | None = 10.0, status="ok", hints=("", ""), lab=LAB, **more):
    """A result; one of the second lab has its first exercise alone."""
    named = dict(zip(("ex1", "ex2"), hints))
    if lab == OTHER:
        return Row(student, lab, {"ex1": ex1}, {}, {}, 10, 0, 10, status, named, **more)
    awaiting = 10 if essay is None else 0
    return Row(student, lab, {"ex1": ex1, "ex2": ex2}, {"essay": essay}, {}, 30, awaiting, 40, status, named, **more)


ABSENT = {"graded": False, "handed_in": False, "status": "no notebook of this lab was handed in"}
BROKEN = {"graded": False, "status": "lab.ipynb is not a valid notebook (line 1)"}
ROWS = [
    row("anna"),
    row("ben", ex2=0.0, hints=("", SHAPE.format(4))),
    row("cleo", ex1=0.0, ex2=0.0, essay=None, hints=("other", SHAPE.format(5))),
    row("dan", ex2=5.0, essay=0.0, hints=("", "<b>other</b>")),
    row("eve", 0.0, 0.0, 0.0, f"TAMPERING: a failing `assert` went unnoticed{'x' * 999}", (TAMPERED, TAMPERED)),
    row("fay", 0.0, 0.0, 0.0, **BROKEN),
    row("gus", 0.0, 0.0, 0.0, **ABSENT),
    row("hal", ex1=4.0, hints=("other",), lab=OTHER),
    row("ida", ex1=0.0, lab=OTHER, status="ex1 passes in the notebook but not in a clean process (it's gone)"),
]


def test_each_exercise_counts_who_was_graded():
    first, second, other = results(ROWS, LABS)
    assert (first.graded, first.passed, first.mean) == (5, 3, 6) and (first.hint, first.hinted) == ("other", 1)
    assert (second.graded, second.passed, second.mean) == (5, 1, 5)
    assert (second.hint, second.hinted) == (SHAPE.format(4), 2)  # they differ in a number
    assert (other.lab, other.graded, other.passed, other.mean) == (OTHER, 2, 0, 2)


def test_the_hardest_exercise_is_the_one_that_the_smallest_share_passed():
    assert hardest(results(ROWS, LABS)[:2]).exercise == "ex2"
    assert hardest(results(ROWS[:1], LABS)) is None and hardest([]) is None


def test_an_exercise_that_the_lab_did_not_have_yet_counts_for_nothing():
    found = results([ROWS[0], row("old", ex2=0.0, outdated=("ex2",))], LABS)
    assert [(each.graded, each.passed) for each in found[:2]] == [(2, 2), (1, 1)]


def test_the_commonest_hint_is_told_once():
    assert commonest([]) == ("", 0) == commonest(["", TAMPERED])
    assert commonest(["a 0.5", "b", "a 1e-5", "b", "a 2"])[1] == 3


def test_the_histogram_counts_all_points_and_names_nobody():
    assert histogram(ROWS[:7]) == [2, 0, 0, 1, 0, 1, 0, 0, 0, 1]
    assert sum(histogram([row("more", ex1=15.0)])) == histogram([row("more", ex1=15.0)])[-1] == 1  # extra credit
    page = overview_page(ROWS, LABS)
    bars = "".join(re.findall(r'<table class="histogram">.*?</table>', page, re.S))
    assert bars.count("<tr>") == 2 * 11 and not any(each.student in bars for each in ROWS)


def test_what_may_be_wrong_needs_a_look_and_what_waits_is_told_apart():
    said = needs_a_look(ROWS)
    assert [line.partition(",")[0] for line in said] == ["eve", "fay", "ida"]
    assert "TAMPERING" in said[0] and len(said[0]) < LONGEST + 20 and "not a valid notebook" in said[1]
    assert needs_a_look([row("x", status="could not be graded (it took too long)", graded=False)])
    assert needs_a_look([row("x", outdated=("ex2",))]) and needs_a_look([row("x", status="a\n\nTAMPERING")])
    assert needs_a_look([ROWS[0], ROWS[2], ROWS[6]]) == []
    assert waiting(ROWS) == ["cleo, 01-lab: essay (10 points)"]


def test_the_table_has_a_row_for_each_exercise_and_no_formulas():
    first, second, _ = csv.DictReader(overview_csv(results(ROWS, LABS)).splitlines())
    assert first["title"] == "Exercise 1: means" and second["title"] == "'=Exercise <2>"
    assert (second["graded"], second["passed"], second["mean_points"], second["got_that_hint"]) == (
        "5",
        "1",
        "5.00",
        "2",
    )


def test_the_page_needs_nothing_else_and_shows_text_as_text():
    page = overview_page([*ROWS, row("<script>", **BROKEN)], LABS, [Similar(LAB, "ex1", "f", 90, ["anna", "ben"])])
    assert not remote_parts(page) and "<script" not in page and "http" not in page
    assert "&lt;script&gt;, 01-lab: lab.ipynb is not" in page and "=Exercise &lt;2&gt;" in page
    assert "1 function of several students" in page and "similar.csv" in page
    assert "7 of 8 handed in, 5 could be graded" in page and "passed by 1 of 5" in page


@pytest.mark.parametrize("rows", [[], [row("gus", **ABSENT)]])
def test_a_class_of_which_nothing_was_graded_has_a_page(rows):
    page = overview_page(rows, LABS)
    assert "Nothing: everything" in page and "hardest" not in page
    assert "Similar answers" not in page
