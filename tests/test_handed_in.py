"""What is found in a class's folder, whose it is, and which file counts: no kernel runs here."""

from pathlib import Path

import nbformat
import pytest

from scripts.course import handed_in
from scripts.course.cells import UnreadableNotebook, grade_id
from scripts.course.grade import main, wrong_places
from scripts.course.grading.choice import NotFound, NothingHandedIn, choose, read_all
from scripts.course.handed_in import Found, everything_in
from scripts.course.students import class_of
from scripts.interp.base.paths import ROOT
from tests.fixtures import tiny_lab
from tests.fixtures.files import bytes_of, put
from tests.fixtures.tiny_lab import LAB, WRONG1, cell_of, filled

LABS = [LAB, "01-other"]


@pytest.fixture(scope="module")
def released():
    """As handed out: stubs in the answer cells."""
    notebook = tiny_lab.solved_lab()
    for name in ("ex1-row-means", "ex2-last-true", "written-why"):
        cell_of(notebook, name).source = f"stub of {name}"
    return notebook


@pytest.fixture(scope="module")
def solved(released):
    return filled(released, written="Because.")


def collected(folder: Path, scratch: Path, out: str = "out"):
    scratch.mkdir(exist_ok=True)
    found, results = everything_in(folder, folder / out, scratch)
    return class_of(found, LABS, {}), results


def students(names: list[str]) -> dict[str, list[str]]:
    """The files of each student, from names alone."""
    names += [f"{part}/" for name in names for part in folders_of(name)]
    found = [Found(name, "" if name.endswith("/") else "somewhere") for name in sorted(set(names))]
    return {student.name: [file.name for file in student.files] for student in class_of(found, LABS, {}).students}


def folders_of(name: str) -> list[str]:
    parts = name.rstrip("/").split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


@pytest.mark.parametrize(
    "names, expected",
    {
        "folders": (
            [f"anna/{LAB}.ipynb", f"李雷/sub/{LAB}.ipynb", "missing/"],
            {"anna": [f"{LAB}.ipynb"], "missing": [], "李雷": [f"sub/{LAB}.ipynb"]},
        ),
        "Canvas, a flat folder": (
            [f"doejane_123_45_{LAB}.ipynb", f"doejane_123_46_{LAB}-1.ipynb", f"roe_LATE_7_8_{LAB}.ipynb"],
            {
                "doejane_123": [f"doejane_123_45_{LAB}.ipynb", f"doejane_123_46_{LAB}-1.ipynb"],
                "roe_7": [f"roe_LATE_7_8_{LAB}.ipynb"],
            },
        ),
        "two people of one name on Canvas": (
            ["doejane_123_45_a.ipynb", "doejane_124_46_a.ipynb"],
            {"doejane_123": ["doejane_123_45_a.ipynb"], "doejane_124": ["doejane_124_46_a.ipynb"]},
        ),
        "Canvas, with names hidden": (
            ["anon_aB3xY_45_a.ipynb", "anon_aB3xY_46_b.ipynb", "LATE_anon_Zz9q8_47_a.ipynb"],
            {
                "anon_Zz9q8": ["LATE_anon_Zz9q8_47_a.ipynb"],
                "anon_aB3xY": ["anon_aB3xY_45_a.ipynb", "anon_aB3xY_46_b.ipynb"],
            },
        ),
        "groups on Moodle": (
            ["Default group_assignsubmission_file_/a.ipynb", "Red Team_5_assignsubmission_file_/a.ipynb"],
            {"Default group": ["a.ipynb"], "Red Team_5": ["a.ipynb"]},
        ),
        "Moodle": (
            [
                "Zoë Roe_12_assignsubmission_file_/a.ipynb",
                "Zoë Roe_12_assignsubmission_onlinetext_/onlinetext.html",
                f"Li_3_assignsubmission_file_{LAB}.ipynb",
            ],
            {
                "Li_3": [f"Li_3_assignsubmission_file_{LAB}.ipynb"],
                "Zoë Roe_12": [
                    "Zoë Roe_12_assignsubmission_file_/a.ipynb",
                    "Zoë Roe_12_assignsubmission_onlinetext_/onlinetext.html",
                ],
            },
        ),
        "Blackboard": (
            ["Lab 1_jroe_attempt_2026-01-31-17-05-33.txt", "Lab 1_jroe_attempt_2026-01-31-17-05-33_x.ipynb"],
            {"jroe": ["Lab 1_jroe_attempt_2026-01-31-17-05-33.txt", "Lab 1_jroe_attempt_2026-01-31-17-05-33_x.ipynb"]},
        ),
        "flat files": (
            ["anna.ipynb", f"bob_{LAB}.ipynb", "bob_01-other.ipynb", f"{LAB}_carl.ipynb"],
            {
                f"{LAB}_carl": [f"{LAB}_carl.ipynb"],
                "anna": ["anna.ipynb"],
                "bob": [f"bob_{LAB}.ipynb", "bob_01-other.ipynb"],
            },
        ),
        "archives": (
            [f"anna.zip/x/{LAB}.ipynb", f"anna/{LAB}.ipynb", "bob.ipynb.zip/a.ipynb"],
            {"anna": [f"anna.zip/x/{LAB}.ipynb", f"anna/{LAB}.ipynb"], "bob": ["bob.ipynb.zip/a.ipynb"]},
        ),
        "a class in an archive": (
            [f"all.zip/{LAB}/anna/{LAB}.ipynb", f"all.zip/{LAB}/bob.zip/{LAB}.ipynb"],
            {"anna": [f"{LAB}.ipynb"], "bob": [f"bob.zip/{LAB}.ipynb"]},
        ),
        "archives from Canvas, side by side": (
            [
                *(f"{lab}.zip/{name}_{number}_5_{lab}.ipynb" for lab in LABS for number, name in enumerate("ab")),
                "roster.csv",
            ],
            {name: [f"{name}_5_{lab}.ipynb" for lab in LABS] for name in ("a_0", "b_1")},
        ),
        "one student's attempts are no class": (
            [f"anna/attempt 1/{LAB}.ipynb", f"anna/attempt 2/{LAB}.ipynb"],
            {"anna": [f"attempt 1/{LAB}.ipynb", f"attempt 2/{LAB}.ipynb"]},
        ),
        "nor are one student's labs": (
            [f"anna/week 1/{LAB}.ipynb", "anna/week 2/01-other.ipynb"],
            {"anna": [f"week 1/{LAB}.ipynb", "week 2/01-other.ipynb"]},
        ),
        "one student from a platform, in an archive": (["all.zip/roe_7_8_a.ipynb"], {"roe_7": ["roe_7_8_a.ipynb"]}),
        "one student's versions, from a platform": (
            [f"Roe_7_assignsubmission_file_/{name}/{LAB}.ipynb" for name in ("draft", "good")],
            {"Roe_7": [f"draft/{LAB}.ipynb", f"good/{LAB}.ipynb"]},
        ),
        "case": ([f"Anna/{LAB}.ipynb", "anna.ipynb"], {"Anna": [f"Anna/{LAB}.ipynb", "anna.ipynb"]}),
    }.values(),
)
def test_whose_a_file_is(names, expected):
    assert students(names) == expected


@pytest.mark.parametrize("name", [f"{LAB}.ipynb", f"{LAB}-Copy1.ipynb", f"Copy of {LAB}.ipynb", f"{LAB} (1).zip"])
def test_a_lab_beside_the_students_is_nobodys_and_named(name):
    beside = Found(f"{name}/") if name.endswith(".zip") else Found(name, "p")
    found = [Found("anna/"), Found(f"anna/{LAB}.ipynb", "p"), beside, Found("roster.csv")]
    group = class_of(found, LABS, {})
    assert [student.name for student in group.students] == ["anna"]
    assert group.nobodys == [name] and group.others == ["roster.csv"]


def test_names_that_look_alike_are_one_student(tmp_path):
    names = ["Zoë", "Zoe\u0308", "anna ", "anna", "Anna"]
    put(tmp_path / "in", {f"{name}/{number}.ipynb": "{}" for number, name in enumerate(names)})
    group, _ = collected(tmp_path / "in", tmp_path / "scratch")
    assert {student.name: len(student.files) for student in group.students} == {"Anna": 3, "Zoë": 2}
    assert group.guesses == ["'Anna' and 'anna' are taken for one student, Anna"]


def test_a_student_keeps_the_name_of_the_first_grading():
    (student,) = class_of([Found("anna/"), Found("anna/a.ipynb", "p")], LABS, {"anna": "ANNA"}).students
    assert student.name == "ANNA"


def test_long_and_undecodable_names_can_be_written(tmp_path):
    broken = b"m\xfcller".decode("utf-8", "surrogateescape")  # as archives of old Windows programs are unpacked
    put(tmp_path / "in", {f"{broken}/a.ipynb": "{}", "雷" * 80 + ".ipynb": "{}", "雷" * 79 + ".ipynb": "{}"})
    group, _ = collected(tmp_path / "in", tmp_path / "scratch")
    names = [student.name for student in group.students]
    assert len(set(names)) == 3 and all(len(name.encode()) <= 150 for name in names)
    assert "m\ufffdller" in names


def test_results_and_what_programs_leave_behind_are_no_students(tmp_path):
    results = {"course/gradebook.db": b"", "feedback/anna/x.html": "", "exports/canvas-a.csv": ""}
    results |= dict.fromkeys(["grades.csv", "overview.csv", "overview.html", "similar.csv", "changes.csv"], "")
    results |= {"roster.csv": "", "late.toml": "", "pseudonyms/secret": ""}
    put(
        tmp_path / "in",
        {
            f"anna/{LAB}.ipynb": "{}",
            **{f"out/{name}": content for name, content in results.items()},
            **{f"old results/{name}": content for name, content in results.items()},
            **{f"bob/{name}": content for name, content in results.items()},
            "bob/mine.ipynb": "{}",
            "nbgrader/gradebook.db": b"",
            "nbgrader/source/a/a.ipynb": "{}",
            f"__MACOSX/anna/._{LAB}.ipynb": b"\x00\x05\x16\x07",
            ".DS_Store": b"",
            f".ipynb_checkpoints/{LAB}-checkpoint.ipynb": "{}",
            "anna/.venv/x.json": "{}",
            "anna/Thumbs.db": b"",
        },
    )
    group, passed_over = collected(tmp_path / "in", tmp_path / "scratch")
    assert {student.name: [file.name for file in student.files] for student in group.students} == {
        "anna": [f"{LAB}.ipynb"],
        "bob": ["mine.ipynb"],
    }
    assert passed_over == ["nbgrader", "old results", "out"]


def test_a_class_can_be_handed_over_as_one_archive(tmp_path, solved):
    inner = {f"Uni\\x\\{LAB}.ipynb": solved, "notes.pdf": b"%PDF", "../../../evil.ipynb": solved}
    archive = {f"class/Zoe##/{LAB}.ipynb": solved, "class/bob.zip": inner, f"__MACOSX/class/._{LAB}.ipynb": b"x"}
    # macOS writes UTF-8 and does not say so
    put(tmp_path, {"in.zip": bytes_of(archive).replace(b"Zoe##", "Zoe\u0308".encode())})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found, _ = everything_in(tmp_path / "in.zip", tmp_path / "out", scratch)
    group = class_of(found, LABS, {})
    assert group.guesses == ["class is taken for a class, not for one student"]
    assert {s.name: [file.name for file in s.files] for s in group.students} == {
        "Zoë": [f"{LAB}.ipynb"],
        "bob": [f"bob.zip/Uni/x/{LAB}.ipynb", "bob.zip/evil.ipynb", "bob.zip/notes.pdf"],
    }
    assert not (tmp_path / "evil.ipynb").exists()
    unpacked = [file.path for student in group.students for file in student.files if file.path]
    assert len(unpacked) == 3 and all(Path(path).is_relative_to(scratch) for path in unpacked)


def test_archives_that_cannot_be_opened_are_named(tmp_path, solved, monkeypatch):
    monkeypatch.setattr(handed_in, "MAX_UNPACKED", 50_000)
    deep = {"a.ipynb": solved}
    for _ in range(4):
        deep = {"more.zip": deep}
    put(
        tmp_path / "in",
        {
            "damaged.zip": b"PK\x03\x04 and no more",
            "large.zip": {"a.ipynb": b"0" * 100_000},
            "deep.zip": deep,
            "seven/work.7z": b"7z",
            "linked/x.txt": "",
        },
    )
    (tmp_path / "in" / "linked" / f"{LAB}.ipynb").symlink_to(tmp_path / "solution.ipynb")
    group, _ = collected(tmp_path / "in", tmp_path / "scratch")
    why = {student.name: [file.why for file in student.files if file.why] for student in group.students}
    assert set(why) == {"damaged", "deep", "large", "linked", "seven"}
    for student, said in {
        "damaged": "can't be unpacked: File is not a zip file",
        "large": "larger than",
        "deep": "too deep",
        "seven": "has to be unpacked: only .zip archives are opened",
        "linked": "is a link",
    }.items():
        assert len(why[student]) == 1 and said in why[student][0], why
    assert sum(path.stat().st_size for path in (tmp_path / "scratch").rglob("*.ipynb")) == 0


def chosen(tmp_path, released, files):
    """What one student's files come to: the answer to exercise 1 that counts, and the notes."""
    put(tmp_path / "in", {f"anna/{name}": content for name, content in files.items()} or {"anna/": ""})
    group, _ = collected(tmp_path / "in", tmp_path / "scratch")
    (student,) = group.students
    notebook, notes = choose(read_all(student.files), LAB, released)
    return cell_of(notebook, "ex1-row-means").source, "; ".join(notes)


UNTOUCHED, SCRATCH, FIRST, SECOND, PARTLY = "untouched", "scratch", "first", "second", "partly"


@pytest.mark.parametrize(
    "files, counts, said",
    [
        ({f"{LAB}.ipynb": FIRST}, FIRST, ""),
        ({f"{LAB}.ipynb": UNTOUCHED}, UNTOUCHED, ""),
        ({"mine.ipynb": FIRST}, FIRST, "renamed to mine.ipynb"),
        ({f"{LAB}.ipynb.json": FIRST}, FIRST, f"renamed to {LAB}.ipynb.json"),
        ({f"{LAB}.ipynb.txt": FIRST}, FIRST, f"renamed to {LAB}.ipynb.txt"),
        ({"lab.json": FIRST, "package.json": "{}"}, FIRST, "renamed to lab.json"),
        ({f"{LAB}.IPYNB": FIRST}, FIRST, ""),
        ({"lab": FIRST}, FIRST, "renamed to lab"),
        (
            {f"{LAB}.ipynb": UNTOUCHED, f"{LAB}-Copy1.ipynb": FIRST},
            FIRST,
            f"{LAB}-Copy1.ipynb was graded; not graded: {LAB}.ipynb (as it was handed out)",
        ),
        ({f"{LAB}.ipynb": UNTOUCHED, f"{LAB} (Anna's conflicted copy 2026-01-31).ipynb": FIRST}, FIRST, "conflicted"),
        ({f"{LAB}.ipynb": FIRST, f"{LAB}-Copy1.ipynb": UNTOUCHED}, FIRST, ""),
        ({f"{LAB}.ipynb": FIRST, f"{LAB}-Copy1.ipynb": FIRST}, FIRST, ""),
        ({f"{LAB}.ipynb": FIRST, f"{LAB}-Copy1.ipynb": SECOND}, FIRST, f"not graded: {LAB}-Copy1.ipynb"),
        ({f"{LAB}.ipynb": PARTLY, f"{LAB}-Copy1.ipynb": SECOND}, SECOND, f"not graded: {LAB}.ipynb"),
        (
            {f"attempt 1/{LAB}.ipynb": FIRST, f"attempt 2/{LAB}.ipynb": SECOND},
            SECOND,
            f"attempt 2/{LAB}.ipynb was graded; not graded: attempt 1/{LAB}.ipynb",
        ),
        ({f"attempt 10/{LAB}.ipynb": FIRST, f"attempt 9/{LAB}.ipynb": SECOND}, FIRST, "not graded: attempt 9"),
        ({f"attempt 1/{LAB}.ipynb": FIRST, f"attempt 2/{LAB}.ipynb": UNTOUCHED}, FIRST, "not graded: attempt 2"),
        ({f"attempt 1/{LAB}.ipynb": FIRST, f"attempt 2/{LAB}.ipynb": PARTLY}, PARTLY, "not graded: attempt 1"),
        ({f"{LAB}.ipynb": FIRST, f"{LAB} (1).ipynb": SECOND}, SECOND, f"not graded: {LAB}.ipynb"),
        ({f"{LAB}.ipynb": FIRST, f"{LAB}-1.ipynb": SECOND}, SECOND, f"not graded: {LAB}.ipynb"),
        ({f"{LAB}_v1.ipynb": FIRST, f"{LAB}_v2.ipynb": SECOND}, SECOND, f"not graded: {LAB}_v1.ipynb"),
        ({f"{LAB}.ipynb": FIRST, f".ipynb_checkpoints/{LAB}-checkpoint.ipynb": SECOND}, FIRST, ""),
        (
            {f"{LAB}.ipynb": UNTOUCHED, f".ipynb_checkpoints/{LAB}-checkpoint.ipynb": FIRST},
            FIRST,
            "checkpoint.ipynb was",
        ),
        ({f"{LAB}.ipynb": PARTLY, f".ipynb_checkpoints/{LAB}-checkpoint.ipynb": SECOND}, PARTLY, ""),
        ({f"attempt 1/{LAB}.ipynb": FIRST, f"attempt 2/{LAB}.ipynb": SCRATCH}, FIRST, "not graded: attempt 2"),
        ({f"{LAB}.ipynb": UNTOUCHED, f"{LAB}-Copy1.ipynb": SCRATCH}, SCRATCH, f"{LAB}-Copy1.ipynb was graded"),
        ({f"{LAB}.ipynb": UNTOUCHED, "report.pdf": b"%PDF"}, UNTOUCHED, "not graded: report.pdf"),
        ({f"{LAB}.ipynb": FIRST, "report.pdf": b"%PDF"}, FIRST, ""),
        ({f"{LAB}.ipynb": "{", f"{LAB}-Copy1.ipynb": FIRST}, FIRST, f"not graded: {LAB}.ipynb (can't be read)"),
    ],
)
def test_what_was_worked_on_counts_then_the_newest_attempt(tmp_path, released, files, counts, said):
    made = {
        UNTOUCHED: released,
        FIRST: filled(released, written="1"),
        SECOND: filled(released, ex1=WRONG1, written="2"),
        SCRATCH: filled(released, ex1="stub of ex1-row-means", ex2="stub of ex2-last-true", first="print(1)"),
        PARTLY: filled(released, ex1="# begun", ex2="stub of ex2-last-true"),
    }
    source, notes = chosen(tmp_path, released, {name: made.get(kind, kind) for name, kind in files.items()})
    assert source == cell_of(made[counts], "ex1-row-means").source
    assert said in notes and bool(said) == bool(notes), notes


def other_lab(released):
    notebook = filled(released)
    for cell in notebook.cells:
        if grade_id(cell):
            cell.metadata["nbgrader"]["grade_id"] = grade_id(cell).replace("ex", "other")
    notebook.cells = [cell for cell in notebook.cells if grade_id(cell) != "written-why"]
    return notebook


def without_marks(released):
    notebook = filled(released)
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def test_where_nothing_can_be_graded_the_files_are_named(tmp_path, released):
    def said(number, files):
        with pytest.raises((NotFound, UnreadableNotebook)) as caught:
            chosen(tmp_path / str(number), released, files)
        return caught.value

    nothing = said(
        0, {"report.pdf": b"%PDF", "work.rar": b"", "scratch.ipynb": nbformat.v4.new_notebook(), "x.ipynb": ""}
    )
    assert isinstance(nothing, NothingHandedIn)
    for name in ("report.pdf", "work.rar (has to be unpacked", "scratch.ipynb (without the marks", "x.ipynb"):
        assert name in str(nothing)
    assert str(said(1, {})) == "no notebook of this lab was handed in"
    assert "cells of another notebook (other1-row-means, " in str(said(2, {f"{LAB}.ipynb": other_lab(released)}))
    assert "lost its nbgrader metadata" in str(said(3, {f"{LAB}-Copy1.ipynb": without_marks(released)}))
    assert "not a valid notebook" in str(said(4, {f"{LAB}-1.ipynb": "{"}))


@pytest.mark.parametrize(
    "files, arguments, status, said",
    [
        ({}, ["", "out"], 2, "make grade SUBMISSIONS=submissions OUT=graded"),
        ({}, ["in", ""], 2, "make grade SUBMISSIONS=submissions OUT=graded"),
        ({}, ["in", "in"], 2, "OUT is the folder of the submissions"),
        ({"gradebook.db": b""}, ["in", "out"], 2, "give the folder submitted/"),
        ({"note.txt": ""}, ["in/note.txt", "out"], 2, "There is no folder"),
        ({f"{LAB}.ipynb": "{}"}, ["in", "out"], 2, f"Nobody's: {LAB}.ipynb"),
        ({"report.pdf": b""}, ["in", "out"], 2, "no notebooks: report.pdf"),
    ],
)
def test_wrong_places_get_a_sentence(tmp_path, monkeypatch, capsys, files, arguments, status, said):
    monkeypatch.chdir(put(tmp_path, {"in/": "", **{f"in/{name}": content for name, content in files.items()}}))
    tiny_lab.write(tmp_path / "solutions" / f"{LAB}.ipynb", tiny_lab.solved_lab())
    assert main([*arguments, "--solutions", str(tmp_path / "solutions")]) == status
    assert said in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", [ROOT, ROOT.parent])
def test_the_folder_of_the_labs_is_not_graded(folder, tmp_path):
    assert "the labs themselves" in wrong_places(str(folder), str(tmp_path / "out"))
    assert wrong_places(str(tmp_path), str(tmp_path / "out")) == ""
