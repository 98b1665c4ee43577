"""`make labs` on small notebooks: what it writes, what it prints, and that a failing cell fails it."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest

from scripts import run_labs
from scripts.course.pages import html_page, remote_parts
from scripts.interp.base.paths import ROOT

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


def of_another_day(path):
    """Let every cell hold what an earlier run left there."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.update(outputs=[nbformat.v4.new_output("stream", text="an old text")], execution_count=7)
    path.write_text(nbformat.writes(notebook))


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
    path = write_lab(root, "01-broken", "x = 1", "raise RuntimeError('no luck')", "assert True", points=7)
    of_another_day(path)
    write_lab(root, "02-fine", "x = 1")
    assert run_main(monkeypatch) == 1
    printed = capsys.readouterr().out
    assert "cell 2 (cell-1) failed with RuntimeError: no luck" in printed
    assert "0 of 7 points" in printed and "1 of 2 labs ran without an error" in printed
    page = (root / "outputs" / "01-broken.html").read_text()
    assert "no luck" in page and "an old text" not in page


def test_only_the_labs_asked_for_run_and_an_unknown_one_is_refused(root, monkeypatch, capsys):
    write_lab(root, "01-first", "x = 1")
    write_lab(root, "02-second", "raise RuntimeError")
    assert run_main(monkeypatch, "01") == 0
    assert run_main(monkeypatch, "07") == 2
    assert "there are: 01-first, 02-second" in capsys.readouterr().out


MEET = """import pathlib, time
pathlib.Path('{mine}').touch()
deadline = time.monotonic() + 30
while not pathlib.Path('{other}').exists():
    assert time.monotonic() < deadline, 'alone'
    time.sleep(0.05)"""


def test_labs_run_side_by_side_and_one_that_fails_costs_no_other(root, monkeypatch, capsys):
    write_lab(root, "02-second", MEET.format(mine="b", other="a"))
    killed = ("import os; os._exit(1)", "x = 1", "raise RuntimeError")
    of_another_day(write_lab(root, "01-first", MEET.format(mine="a", other="b"), *killed, points=7))
    (root / "solutions" / "03-damaged.ipynb").write_text("{")
    assert run_main(monkeypatch, "--jobs", "2") == 1
    printed = capsys.readouterr().out
    assert "1 of 3 labs ran without an error" in printed
    assert re.search(r"^01-first .*   0 of 7 points   FAILED$", printed, re.M)
    assert re.search(
        r"01-first.ipynb: cell 2 \(cell-1\) failed with .*died.*\n03-damaged.ipynb: NotJSON", printed, re.S
    )
    assert (root / "outputs" / "02-second.html").exists() and not (root / "outputs" / "03-damaged.html").exists()


def test_one_job_runs_them_one_after_another_the_longest_first(root, monkeypatch, capsys):
    monkeypatch.setattr(run_labs, "SECONDS", {"01-short": 1, "04-long": 9})
    line = "import time; open('order', 'a').write('{0}( '); time.sleep(0.3); open('order', 'a').write('{0}) ')"
    for name in ("01-short", "04-long", "09-new"):
        write_lab(root, name, line.format(name))
    assert run_main(monkeypatch, "--jobs", "1") == 0
    order = (root / "solutions" / "order").read_text()
    assert order == "09-new( 09-new) 04-long( 04-long) 01-short( 01-short) "
    assert "3 of 3 labs ran without an error" in capsys.readouterr().out


def test_on_a_terminal_every_lab_has_a_line_that_says_where_it_is(root, monkeypatch, capsys):
    write_lab(root, "01-first", "import time; time.sleep(1.2)", "x = 1")
    write_lab(root, "02-second", "x = 1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert run_main(monkeypatch, "--jobs", "1") == 0
    printed = capsys.readouterr().out
    drawn = printed.split("\x1b[2A")
    assert len(drawn) > 3 and all(re.match(r"01-first .*\n02-second .*\n", table) for table in drawn[1:])
    assert re.search(r"01-first +\d s   cell 1 of 2\S*\n02-second +waiting", printed)
    assert re.search(r"01-first +\d s   not graded   ok\S*\n02-second +\d s   not graded   ok", drawn[-1])


AS_COMMAND = """import pathlib, runpy, signal, sys
from scripts.interp.base import paths
paths.ROOT = pathlib.Path(sys.argv.pop())
signal.signal(signal.SIGINT, signal.default_int_handler)  # not so where the suite itself runs in the background
runpy.run_module("scripts.run_labs", run_name="__main__")"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupt_stops_all_kernels_and_leaves_nothing_half_written(root, number):
    for name in ("01-first", "02-second"):
        write_lab(root, name, f"open('{name}.started', 'w').close()", "import time; time.sleep(60)")
    command = [sys.executable, "-c", AS_COMMAND, "--jobs", "2", str(root)]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 60
    while len(list((root / "solutions").glob("*.started"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and printed.startswith("Interrupted")
    assert len(kernels) >= 2 and not [kernel for kernel in kernels if kernel.is_running()]
    assert not list((root / "outputs").glob("*"))


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


TAKE_LONG = {"torch", "transformers", "nbformat", "nbclient", "nbconvert", "nbgrader", "IPython"}


@pytest.mark.parametrize(
    "module, argument",
    {
        "scripts.run_labs": "99",
        "scripts.course.check": "99",
        "scripts.course.grade": "--no-such-option",
        "scripts.course.report": "no-such-folder",
        "scripts.course.release": "--no-such-option",
        "scripts.check_requirements": "--no-such-option",
    }.items(),
)
def test_a_wrong_argument_is_answered_before_what_takes_long_is_imported(module, argument):
    command = [sys.executable, "-X", "importtime", "-m", module, argument]
    found = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert found.returncode in (1, 2) and "Traceback" not in found.stderr
    imported = set(re.findall(r"\| +(\S+)$", found.stderr, re.M))
    assert "pathlib" in imported and not imported & TAKE_LONG


def test_what_make_does_before_every_command_imports_nothing_that_takes_long():
    code = f"import sys, scripts.prepare_embedded_model; print({TAKE_LONG} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True).stdout == "set()\n"


def test_a_busy_machine_may_take_its_time_to_show_what_a_cell_printed(request):
    cell = SimpleNamespace(  # as nbval makes it
        path=Path("01-first.ipynb"),
        cell=SimpleNamespace(id="first", outputs=[]),
        config=request.config,
        runtest=None,
        compare_outputs=None,
        output_timeout=5,
    )
    plugins = request.config.pluginmanager.get_plugins()
    next(p for p in plugins if hasattr(p, "OUTPUT_SECONDS")).pytest_itemcollected(cell)
    assert cell.output_timeout >= 60


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
    from scripts.course.judging.execute import environment
    from scripts.interp.base.paths import outputs_folder

    monkeypatch.setenv("LAB_OUTPUTS", environment(str(tmp_path))["LAB_OUTPUTS"])
    assert outputs_folder("attention_patterns") == tmp_path / "outputs" / "attention_patterns"
    assert outputs_folder("attention_patterns").is_dir()
