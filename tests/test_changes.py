"""What a regrade changed is told by student, lab and exercise, and nothing where nothing changed."""

import csv

from scripts.course.changes import MOST_LINES, Change, changes, changes_csv, changes_table, write_changes
from scripts.course.report import Row


def row(student: str, lab: str = "01-lab", graded: bool = True, essay: float | None = 4.0, **scores: float) -> Row:
    return Row(student, lab, scores, {"written": essay}, {}, 20, 0, 30, "ok", {}, graded=graded)


BEFORE = [row("anna", ex1=10.0, ex2=0.0), row("ben", ex1=5.0), row("cleo", graded=False, essay=0.0, ex1=0.0)]


def test_only_what_had_points_and_has_others_is_a_change():
    assert changes(BEFORE, BEFORE) == [] and changes_table([]) == ""
    after = [
        row("anna", ex1=10.0, ex2=2.5),
        row("ben", ex1=5.0, essay=None),
        row("cleo", ex1=9.0),  # handed in since
        row("dan", ex1=1.0),
    ]
    assert changes(BEFORE, after) == [
        Change("anna", "01-lab", "ex2", 0, 2.5),
        Change("ben", "01-lab", "written", 4, "waiting"),
    ]
    assert changes(after, BEFORE)[1:3] == [
        Change("cleo", "01-lab", "ex1", 9, 0),
        Change("cleo", "01-lab", "written", 4, 0),
    ]
    assert changes(after, BEFORE)[3] == Change("dan", "01-lab", "ex1", 1, "no result")


def test_a_lab_that_gained_or_lost_an_exercise():
    assert changes([row("anna", ex1=1.0)], [row("anna", ex2=2.0)]) == [Change("anna", "01-lab", "ex1", 1, "no result")]


def test_the_table_is_short_and_the_file_whole(tmp_path):
    before = [row(f"student {i}", ex1=10.0) for i in range(30)]
    after = [row(f"student {i}", ex1=7.5) for i in range(30)]
    found = changes(before, after)
    table = changes_table(found).splitlines()
    assert table[0].endswith(": 30") and table[1].split() == ["student", "lab", "exercise", "old", "new"]
    assert table[2].split()[-3:] == ["ex1", "10", "7.5"] and len(table) == 2 + MOST_LINES + 1
    rows = list(csv.reader(changes_csv(found).splitlines()))
    assert len(rows) == 31 and rows[1] == ["student 0", "01-lab", "ex1", "10", "7.5"]
    assert next(csv.reader(changes_csv([Change("=anna", "l", "e", 1, 2)]).splitlines()[1:]))[0] == "'=anna"


def test_the_last_report_is_what_is_compared_with(tmp_path):
    assert write_changes(tmp_path, BEFORE) == [] and write_changes(tmp_path, BEFORE) == []
    assert not (tmp_path / "changes.csv").exists()
    found = write_changes(tmp_path, [row("anna", ex1=10.0, ex2=2.5), *BEFORE[1:]])
    text = (tmp_path / "changes.csv").read_text(encoding="utf-8-sig")
    assert len(found) == 1 and "anna,01-lab,ex2,0,2.5" in text
    assert write_changes(tmp_path, [row("anna", ex1=10.0, ex2=2.5), *BEFORE[1:]]) == []
    assert (tmp_path / "changes.csv").read_text(encoding="utf-8-sig") == text  # what changed last
    (tmp_path / "course" / "rows.json").write_text('[{"student": "of another version"}]')
    assert write_changes(tmp_path, BEFORE) == []
