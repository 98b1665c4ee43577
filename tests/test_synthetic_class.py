"""The made-up class: the same every time, of known points, and a CSV that differs from them is found out."""

import csv
from itertools import chain

import nbformat

from scripts.course.cells import grade_id, is_answer
from tests import synthetic_class
from tests.synthetic_class import differences, main, names_in, write_class

LABS = ["01", "02", "03", "04"]


def test_the_same_arguments_give_the_same_class_and_others_another_one(tmp_path):
    made = {}
    for name, students, seed, whole in (("a", 3, 0, False), ("b", 3, 0, False), ("c", 3, 1, False), ("d", 1, 0, True)):
        rows = write_class(tmp_path / name, students, LABS[: 4 if name < "c" else 1], seed, whole)
        files = sorted((tmp_path / name / "handed-in").rglob("*.ipynb"))
        assert len(files) == len(rows) and {row["student"] for row in rows} == {path.parent.name for path in files}
        made[name] = (tmp_path / name / "expected.csv").read_text(), [path.read_text() for path in files]
    assert made["a"] == made["b"] and made["c"] != made["a"]
    (whole,), marked = made["d"][1], made["a"][1][0]
    assert len(nbformat.reads(whole, 4).cells) > 2 * len(nbformat.reads(marked, 4).cells)


def test_a_class_makes_many_mistakes_and_each_notebook_holds_what_its_points_say(tmp_path):
    rows = write_class(tmp_path, 12, ["01"], seed=0, whole=False)
    released = nbformat.read(synthetic_class.ROOT / "notebooks" / f"{rows[0]['lab']}.ipynb", 4)
    stubs = {grade_id(cell): cell.source for cell in released.cells if is_answer(cell)}
    texts = {name: set() for name in stubs}
    for row in rows:
        assert float(row["automatic_points"]) == sum(float(row[name]) for name in row if name.startswith("ex"))
        notebook = nbformat.read(tmp_path / "handed-in" / row["student"] / f"{row['lab']}.ipynb", 4)
        answers = {grade_id(cell): cell.source for cell in notebook.cells if is_answer(cell)}
        assert answers.keys() == stubs.keys() and "### BEGIN SOLUTION" not in "".join(answers.values())
        for name, source in answers.items():
            texts[name].add(source)
            assert source != stubs[name] or float(row.get(name, 0)) == 0, name
        defined = list(chain.from_iterable(names_in(s) for n, s in answers.items() if s != stubs[n] and n in row))
        assert len(defined) == len(set(defined)), "one answer could spoil another"
    assert all(len(sources) > 4 for name, sources in texts.items() if name in rows[0])
    points = {float(row["automatic_points"]) for row in rows}
    assert len(points) > 4


def test_names_that_two_answers_could_share():
    source = "import a\nfrom b import c\nd, (e, f) = 1, (2, 3)\ndef g():\n    h = 1\nclass I:\n    j = 2\nk: int = 3"
    assert names_in(source) == {"d", "e", "f", "g", "I", "k"}
    assert names_in("def (") == set()


def test_every_difference_is_named(tmp_path):
    row = {"lab": "x", "ex1": "5", "status": "ok"}
    expected = [{"student": name} | row for name in ("anna", "bob", "carl")]

    def said(rows):
        with (tmp_path / "grades.csv").open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, ["student", *row, "email"])
            writer.writeheader()
            writer.writerows(rows)
        return differences(expected, tmp_path / "grades.csv")

    assert said(expected) == said(expected[::-1]) == []
    assert said([*expected[:2], expected[2] | {"ex1": "5.5"}]) == ["carl, x: ex1 is '5.5', expected '5'"]
    assert said([*expected[1:], expected[0] | {"status": "odd"}]) == ["anna, x: status is 'odd', expected 'ok'"]
    assert said(expected[:2]) == ["carl, x: has no row"]
    assert said([*expected, {"student": "dora"} | row]) == ["dora, x: has a row, but handed in nothing"]
    assert said([*expected, expected[0]]) == ["anna, x: has 2 rows"]


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("x")
    assert main([str(tmp_path)]) == 2 and main([str(tmp_path / "thesis.txt")]) == 2
    assert "is no folder of a made-up class: give a new one" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_points_of_a_class_are_compared(tmp_path, monkeypatch, capsys):
    """The grading itself is done by `make class`; here stands one that makes a mistake, or none."""
    from scripts.course import grade

    def grading(change):
        def grade_them(arguments):
            out = tmp_path / "class" / "graded"
            out.mkdir(exist_ok=True)
            (out / "grades.csv").write_text((tmp_path / "class" / "expected.csv").read_text().replace(*change))
            return 0

        return grade_them

    arguments = [str(tmp_path / "class"), "--students", "2", "--labs", "01"]
    monkeypatch.setattr(grade, "main", grading(("", "")))
    assert main(arguments) == 0 and "All 2 rows are as expected." in capsys.readouterr().out
    assert (tmp_path / "class" / "solutions" / "01-transformerlens-setup.ipynb").exists()
    monkeypatch.setattr(grade, "main", grading(("student-02", "student-03")))
    assert main(arguments) == 1 and "student-02, 01-transformerlens-setup: has no row" in capsys.readouterr().out
