"""What grades.csv says with a roster and a late policy, and what Canvas and Moodle get: final points only."""

import csv
import os
import re
import shlex
import subprocess
from argparse import Namespace
from datetime import datetime, timezone

import pytest

from scripts.course.exports import canvas_csv, finals, moodle_csv, remarks, write_tables
from scripts.course.grade import class_files, main
from scripts.course.report import Row, csv_text
from scripts.course.roster import kept_roster, match, parse_roster
from scripts.interp.base.paths import ROOT

CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,01-Lab (4711)
    Points Possible,,,,,30
"Doe, Jane",1,S1,jdoe,A,
"Roe, Zoë",2,S2,zroe,A,
"Ng, Li",3,S3,lng,B,
"Nemo, No",4,S4,nnemo,B,
"""
# Moodle would give the points of a row whose user's cell is empty to the user before: one column, and no gap in it
MOODLE = "First name,Last name,ID number,Email address\nJane,Doe,,jd@uni.example\nZoë,Roe,,\nLi,Ng,S3,\n"


def row(student: str, lab: str = "01-lab", essay: float | None = 4.0, status: str = "ok", **more) -> Row:
    awaiting = 10 if essay is None else 0
    return Row(student, lab, {"ex1": 12.0, "ex2": 2.5}, {"essay": essay}, {}, 20, awaiting, 30, status, {}, **more)


ROWS = [
    row("doejane_1"),
    row("roezoë_2", essay=None),
    row("ngli_3", status="TAMPERING: canary; all automatic points are 0"),
    row("stranger"),
]


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.removeprefix("\ufeff").splitlines()))


def test_totals_and_percents_count_extra_credit():
    more = [{"days_late": "2"}, {"days_late": ""}]
    found = lines(csv_text([row("anna", essay=20.5), row("ben", essay=None)], ["ex1", "ex2"], more))
    assert [(r["total_points"], r["percent"], r["days_late"]) for r in found] == [
        ("35", "116.7", "2"),
        ("14.5", "48.3", ""),
    ]
    assert list(found[0])[:2] == ["student", "lab"] and list(found[0])[-1] == "status"
    nothing = Row("anna", "01-lab", {}, {}, {}, 0, 0, 0, "ok", {})
    assert lines(csv_text([nothing], []))[0]["percent"] == ""


def test_canvas_gets_its_columns_and_the_points_possible():
    roster = parse_roster(CANVAS)
    final, _ = finals(ROWS, match([r.student for r in ROWS], roster))
    assert canvas_csv("01-lab", final, 30, roster).splitlines() == [
        "Student,ID,SIS User ID,SIS Login ID,Section,01-Lab (4711)",
        "    Points Possible,,,,,30",
        '"Doe, Jane",1,S1,jdoe,A,18.5',
    ]
    assert canvas_csv("02-lab", [], 30, roster).splitlines()[0].endswith(",Section,02-lab")


def test_moodle_gets_a_grading_worksheet_and_its_feedback():
    roster = parse_roster("Identifier,Full name,Email address\nParticipant 512,Jane Doe,jd@uni.example\n")
    one = row("Jane Doe_512")._replace(comments={"essay": "Good, but\nshort"})
    final, _ = finals([one], match(["Jane Doe_512"], roster))
    text, left = moodle_csv(final)
    (found,) = csv.DictReader(text.splitlines(keepends=True))
    assert left == []
    assert found == {
        "Identifier": "Participant 512",
        "Full name": "Jane Doe",
        "Email address": "jd@uni.example",
        "Grade": "18.5",
        "Maximum grade": "30",
        "Last modified (grade)": "",
        "Feedback comments": "ex1: 12, ex2: 2.5, essay: 4. On essay: Good, but\nshort",
    }


@pytest.mark.parametrize(
    "given, why",
    [
        (row("doejane_1", essay=None), "waits for a person: essay"),
        (
            row("doejane_1", graded=False, status="a.ipynb is not a valid notebook"),
            "not graded: a.ipynb is not a valid",
        ),
        (row("doejane_1", handed_in=False, graded=False), "nothing was handed in"),
        (row("doejane_1", outdated=("ex3",)), "graded as an earlier version"),
        (row("doejane_1", status="TAMPERING: x; all automatic points are 0"), "tampering: a person decides"),
        (row("somebody"), "nobody on the roster"),
    ],
)
def test_what_is_not_final_is_left_out_and_says_why(given, why):
    final, left = finals([given], match([given.student], parse_roster(CANVAS)))
    assert final == [] and left[0].why.startswith(why)


def test_one_person_under_two_names_is_one_grade_or_a_question():
    roster = parse_roster(CANVAS)
    matches = match(["doejane_1", "Jane Doe_77"], roster)
    rows = [row("doejane_1"), row("Jane Doe_77", handed_in=False, graded=False)]
    final, left = finals(rows, matches)
    assert [found.row.student for found in final] == ["doejane_1"] and left == []
    final, left = finals([row("doejane_1"), row("Jane Doe_77")], matches)
    assert final == [] and "handed this lab in as doejane_1 and Jane Doe_77" in left[0].why


def test_everything_is_written_and_what_an_earlier_roster_left_is_taken_away(tmp_path):
    write_tables(tmp_path, ROWS, ["ex1", "ex2"], {})
    before = lines((tmp_path / "grades.csv").read_text(encoding="utf-8"))
    assert len(before) == 4 and "roster" not in before[0] and not (tmp_path / "exports").exists()
    assert remarks(tmp_path, ROWS) == ""

    (tmp_path / "roster.csv").write_text(CANVAS, encoding="utf-8")
    (tmp_path / "late.toml").write_text('time_zone = "UTC"\npenalty_per_day = 10\n[due]\n01 = "2026-10-14 23:59"\n')
    late = datetime(2026, 10, 16, 12, tzinfo=timezone.utc)
    write_tables(tmp_path, ROWS, ["ex1", "ex2"], {("doejane_1", "01-lab"): late})
    found = {r["student"]: r for r in lines((tmp_path / "grades.csv").read_text(encoding="utf-8"))}
    jane = found["doejane_1"]
    assert (jane["id"], jane["name"], jane["roster"]) == ("S1", "Doe, Jane", "by number and name")
    assert (jane["handed_in_at"], jane["days_late"], jane["proposed_penalty"]) == ("2026-10-16 12:00 UTC", "2", "6")
    assert jane["total_points"] == "18.5"  # a late day changes no points
    assert found["stranger"]["roster"] == "nobody on the roster" and found["stranger"]["days_late"] == ""
    assert (found["Nemo, No"]["status"], found["Nemo, No"]["total_points"]) == ("nothing was handed in", "0")
    assert sorted(path.name for path in (tmp_path / "exports").iterdir()) == ["canvas-01-lab.csv", "left-out.csv"]
    left = lines((tmp_path / "exports" / "left-out.csv").read_text(encoding="utf-8"))
    assert [r["student"] for r in left] == ["Nemo, No", "ngli_3", "roezoë_2", "stranger"]
    assert "stranger: nobody on the roster" in remarks(tmp_path, ROWS)

    (tmp_path / "roster.csv").write_text(MOODLE, encoding="utf-8")
    write_tables(tmp_path, [row("Jane Doe_5"), row("Zoë Roe_6"), row("Li Ng_7")], ["ex1", "ex2"], {})
    assert sorted(path.name for path in (tmp_path / "exports").iterdir()) == ["left-out.csv", "moodle-01-lab.csv"]
    found = lines((tmp_path / "exports" / "moodle-01-lab.csv").read_text())
    assert [(r["Full name"], r["Email address"], "ID number" in r) for r in found] == [
        ("Doe, Jane", "jd@uni.example", False)
    ]


@pytest.mark.parametrize("bad", ["ROSTER=", "LATE="])
def test_the_command_of_the_guide(tmp_path, capsys, bad):
    guide = (ROOT / "docs" / "instructor-guide.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^make grade .*ROSTER=.*$", guide, re.M)
    files = {"SUBMISSIONS=submissions": "in", "ROSTER=class.csv": "class.csv", "LATE=late.toml": "late.toml"}
    for word, name in files.items():
        command = command.replace(word, f"{word.partition('=')[0]}={tmp_path / name}")
    command = command.replace("OUT=graded", f"OUT={tmp_path / 'out'}")
    outside_make = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    said = subprocess.run(
        [*shlex.split(command), "-n"], cwd=ROOT, env=outside_make, capture_output=True, text=True, check=True
    ).stdout
    arguments = shlex.split(said.replace("\\\n", " ").partition("scripts.course.grade ")[2])
    assert arguments[-1] == "--pseudonyms"

    (tmp_path / "in").mkdir()
    (tmp_path / "class.csv").write_text("who\nanna\n" if bad == "ROSTER=" else "id\n7\n")
    (tmp_path / "late.toml").write_text("due = 3\n")
    assert main(arguments) == 2  # before anything was tried
    assert {"ROSTER=": "class.csv names no column", "LATE=": "late.toml has 'no time_zone'"}[
        bad
    ] in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_the_roster_is_kept_for_the_report(tmp_path):
    (tmp_path / "mine.csv").write_text("id,name\n7,Anna\n")
    out = tmp_path / "out"
    assert class_files(out, Namespace(roster=tmp_path / "mine.csv", late=None, pseudonyms=False), []) is None
    assert kept_roster(out).people[0].id == "7"
    secret = class_files(out, Namespace(roster=None, late=None, pseudonyms=True), [])
    assert secret == class_files(out, Namespace(roster=out / "roster.csv", late=None, pseudonyms=False), [])
    assert kept_roster(out).people[0].id == "7"
