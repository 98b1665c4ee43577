"""`make labs` on small notebooks: what it writes, what it prints, and that a failing cell fails it."""

import nbformat
import pytest

from scripts import run_labs
from scripts.course.pages import html_page, remote_parts

FIGURE = "import plotly.graph_objects as go\ngo.Figure(go.Scatter(y=[1, 3, 2]), layout_title_text='A figure').show()"


def write_lab(root, name, *sources, points=None):
    """A notebook of code cells in solutions/; the last one is a test cell worth `points`."""
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
    if points:
        cells[-1].metadata["nbgrader"] = {"grade": True, "solution": False, "points": points, "grade_id": "test-ex1"}
    path = root / "solutions" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(run_labs, "ROOT", tmp_path)
    return tmp_path


def run_main(monkeypatch, *arguments) -> int:
    monkeypatch.setattr("sys.argv", ["run_labs", *arguments])
    return run_labs.main()


def test_a_lab_is_executed_and_its_page_shows_the_figure_without_a_network(root, monkeypatch, capsys):
    write_lab(root, "01-first", "print('hello', end='')", FIGURE, "assert True", points=7)
    assert run_main(monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "01-first" in printed and "7 of 7 points" in printed and "1 of 1 labs ran without an error" in printed
    page = (root / "outputs" / "01-first.html").read_text()
    assert "hello" in page and "Plotly.newPlot" in page and len(page) > 3_000_000  # plotly.js itself is inside
    assert remote_parts(page) == [] and "unpkg.com" not in page
    executed = nbformat.read(root / "outputs" / "01-first.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].text == "hello"


def test_a_failing_cell_is_named_and_fails_the_command_but_not_the_other_labs(root, monkeypatch, capsys):
    write_lab(root, "01-broken", "x = 1", "raise RuntimeError('no luck')", "assert True", points=7)
    write_lab(root, "02-fine", "x = 1")
    assert run_main(monkeypatch) == 1
    printed = capsys.readouterr().out
    assert "cell 2 (cell-1) failed with RuntimeError: no luck" in printed
    assert "0 of 7 points" in printed and "1 of 2 labs ran without an error" in printed
    assert "no luck" in (root / "outputs" / "01-broken.html").read_text()


def test_only_the_labs_asked_for_run_and_an_unknown_one_is_refused(root, monkeypatch, capsys):
    write_lab(root, "01-first", "x = 1")
    write_lab(root, "02-second", "raise RuntimeError")
    assert run_main(monkeypatch, "01") == 0
    assert run_main(monkeypatch, "07") == 2
    assert "there are: 01-first, 02-second" in capsys.readouterr().out


def test_update_writes_text_outputs_back_and_no_figures(root, monkeypatch):
    path = write_lab(root, "01-first", "print('a')\nprint('b')\n1 + 1", FIGURE)
    assert run_main(monkeypatch, "--update") == 0
    notebook = nbformat.read(path, as_version=4)
    stream, result = notebook.cells[0].outputs
    assert stream.text == "a\nb\n" and result.data == {"text/plain": "2"}
    assert notebook.cells[1].outputs == [] and path.stat().st_size < 3_000
    assert [cell.id for cell in notebook.cells] == ["cell-0", "cell-1"]


def test_update_leaves_a_failing_lab_as_it_was(root, monkeypatch):
    path = write_lab(root, "01-first", "print('a')", "raise RuntimeError")
    before = path.read_text()
    assert run_main(monkeypatch, "--update") == 1
    assert path.read_text() == before


def test_a_hint_stays_behind_its_fold():
    cell = nbformat.v4.new_markdown_cell("<details><summary>Hint</summary>\n\nthe *hint*\n</details>\n\nafter")
    page = html_page(nbformat.v4.new_notebook(cells=[cell]), "title")
    fold = page[page.index("<details>") : page.index("</details>")]
    assert "the <em>hint</em>" in fold and "after" not in fold


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://example.org/a.js"></script>',
        "<script async src='//example.org/a.js'></script>",
        '<link rel="stylesheet" href="http://example.org/a.css">',
    ],
)
def test_remote_parts_are_found_and_taken_out(tag):
    assert remote_parts(f"<p>{tag}</p>")
    page = html_page(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"text\n\n{tag}\n\nmore")]), "title")
    assert remote_parts(page) == [] and "more" in page


def test_a_graded_notebook_saves_into_a_folder_of_its_own(tmp_path, monkeypatch):
    from scripts.course.grading.execute import environment
    from scripts.interp.base.paths import outputs_folder

    monkeypatch.setenv("LAB_OUTPUTS", environment(str(tmp_path))["LAB_OUTPUTS"])
    assert outputs_folder("attention_patterns") == tmp_path / "outputs" / "attention_patterns"
    assert outputs_folder("attention_patterns").is_dir()
