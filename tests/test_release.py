"""Releasing: nothing secret is left, the same source gives the same bytes, and a drift is seen."""

import nbformat
import pytest
from nbgrader.validator import Validator

from scripts.course import release
from scripts.course.cells import (
    STUB,
    TEXT_STUB,
    exercises_of,
    grade_id,
    hidden_lines,
    is_test,
    read_notebook,
    setup_of,
    written_of,
)
from scripts.interp.base.paths import ROOT
from tests.fixtures import tiny_lab


@pytest.fixture
def root(tmp_path):
    tiny_lab.write(tmp_path / "solutions" / f"{tiny_lab.LAB}.ipynb", tiny_lab.solved_lab())
    return tmp_path


def test_release_twice_gives_the_same_bytes_and_no_drift(root):
    (path,) = release.release(root)
    first = path.read_bytes()
    assert release.drifted(root) == []
    release.release(root)
    assert path.read_bytes() == first


def test_nothing_secret_is_left(root):
    (path,) = release.release(root)
    text = path.read_text()
    for secret in (
        "HIDDEN",
        "SOLUTION",
        "secret_matrix",
        "x.mean(dim=-1)",
        "max(i for",
        "[True] * 4",
        "rubric",
        "MARK SCHEME",
        "Because the sum",
    ):
        assert secret not in text
    released, source = read_notebook(path), tiny_lab.solved_lab()
    assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in released.cells)
    assert [cell.id for cell in released.cells] == [cell.id for cell in source.cells]
    assert tiny_lab.cell_of(released, "ex1-row-means").source.endswith(f'Returns [rows]."""\n    {STUB}')
    assert written_of(released)[0].text.strip() == TEXT_STUB
    assert setup_of(released) == setup_of(source)


def test_checks_are_folded_and_the_notebook_says_where_it_comes_from(root):
    (path,) = release.release(root)
    released = read_notebook(path)
    folded = [cell for cell in released.cells if cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert folded == [cell for cell in released.cells if is_test(cell)] and len(folded) == 2
    assert f"generated from `solutions/{tiny_lab.LAB}.ipynb`" in released.cells[0].source


def test_nbgraders_validate_takes_folded_checks_for_unchanged(root):
    """Its button in JupyterLab compares checksums first, then runs the notebook."""
    (path,) = release.release(root)
    notebook = read_notebook(path)
    tiny_lab.cell_of(notebook, "ex1-row-means").source = tiny_lab.EX1
    tiny_lab.cell_of(notebook, "ex2-last-true").source = "def last_true(flags):\n    return 0"
    path.write_text(nbformat.writes(notebook))
    found = Validator().validate(str(path))
    assert "changed" not in found
    assert [each["error"].split(": ")[-1].strip() for each in found["failed"]] == [
        "This is the first True; the last one is asked for.",
        "You did not provide a response.",  # the written answer
    ]
    tiny_lab.cell_of(notebook, "test-ex2-last-true").source = "pass"
    path.write_text(nbformat.writes(notebook))
    assert len(Validator().validate(str(path))["changed"]) == 1


def test_an_edited_a_lost_and_a_stray_notebook_are_drift(root):
    notebooks = root / "notebooks"
    (path,) = release.release(root)
    original = path.read_text()
    path.write_text(original.replace("Average each row", "Average every row"))
    assert release.drifted(root) == [path.name]
    path.unlink()
    assert release.drifted(root) == [path.name]
    path.write_text(original)
    (notebooks / "99-stray.ipynb").write_text(original)
    assert release.drifted(root) == ["99-stray.ipynb"]
    release.release(root)
    assert release.drifted(root) == [] and not (notebooks / "99-stray.ipynb").exists()


def test_the_repository_has_not_drifted():
    assert release.drifted() == [], "run `make release`: notebooks/ is not what solutions/ gives"


@pytest.mark.parametrize("path", sorted((ROOT / "solutions").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_solution_or_hidden_test_is_in_a_student_notebook(path):
    source, released = read_notebook(path), read_notebook(ROOT / "notebooks" / path.name)
    solutions = {grade_id(cell): cell.source for cell in source.cells}
    for exercise, student in zip(exercises_of(source), exercises_of(released), strict=True):
        assert STUB in student.solution
        lines = student.test.splitlines()
        assert not [
            line
            for line in hidden_lines(exercise.test)
            if line in lines and line not in exercise.test.split("### BEGIN HIDDEN")[0]
        ]
        secret = solutions[exercise.id].split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0].split("\n")
        assert not [line for line in secret if len(line.strip()) > 12 and line in student.solution]
    assert all(not cell.get("outputs") for cell in released.cells)


@pytest.mark.parametrize(
    "broken, message",
    [
        (lambda cells: cells.pop(5), "test cell 'test-ex1-row-means' is missing"),
        (lambda cells: cells.append(nbformat.from_dict(cells[4])), "occurs 2 times"),
        (lambda cells: cells.pop(1), "'setup'"),
    ],
)
def test_a_source_that_breaks_the_conventions_is_named(root, broken, message):
    notebook = tiny_lab.solved_lab()
    broken(notebook.cells)
    tiny_lab.write(root / "solutions" / f"{tiny_lab.LAB}.ipynb", notebook)
    with pytest.raises(ValueError, match=f"00-tiny.ipynb: .*{message}"):
        release.release(root)
