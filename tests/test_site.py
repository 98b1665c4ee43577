"""`make site`: pages and labs as one static site: no dead link, no network, and for a class no answers."""

import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from scripts import build_site
from scripts.course import site_sources
from scripts.course.site_links import what_is_wrong
from scripts.course.site_sources import lab_page
from scripts.interp.base.paths import ROOT

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 11), reason="the site needs Python 3.11"),
    pytest.mark.filterwarnings("ignore:'myst_parser"),  # what it uses of Sphinx goes in Sphinx 11; ours is pinned
]

PLOTLY = "<script>" + "x" * 1_000_001 + " window.Plotly = Plotly;</script>"
FIGURE = (
    '<div><script src="https://cdn.example/mathjax.js"></script><script>if (window.MathJax) {}</script>'
    '<div id="fig"></div><script>Plotly.newPlot("fig", [{"name": "curveword"}])</script></div>'
)
README = """# Stand-in

Read [the guide](docs/guide.md#two-words), do [the lab](notebooks/01-toy.ipynb), mind the [licence](LICENSE).

<!-- instructors only -->
[For those who teach](docs/teaching.md)

<!-- end of instructors only -->
"""
GUIDE = """# Guide

Back to [the front](../README.md), [below](#two-words), to [the lab](../notebooks/01-toy.ipynb). A formula: $d_{model}$.

## Two words
A zebrafish costs $5 or $6.
"""
SECRETS = ("solutionword", "hiddenword", "rubricword", "teachingword", "answeroutput", "testoutput", "cdn.example")


def cell(kind: str, source: str, name: str = "", solution: bool = False, grade: bool = False, printed: str = ""):
    made = (new_code_cell if kind == "code" else new_markdown_cell)(source, id=name or f"id{abs(hash(source))}")
    if name:
        made.metadata["nbgrader"] = {"grade_id": name, "solution": solution, "grade": grade, "points": 1}
    if printed:
        made.outputs = [new_output("stream", text=printed)]
    return made


def labs():
    """A solved lab that was run, and what students get of it."""
    title = cell("markdown", "# Lab 1 · A toy\n\nSee [the guide](../docs/guide.md).")
    shown = new_code_cell("show()", id="shown")
    shown.outputs = [new_output("display_data", {"text/html": page}) for page in (PLOTLY, FIGURE)]
    solved = [
        title,
        cell("code", "def f():\n    solutionword", "ex1", solution=True, printed="answeroutput"),
        cell("code", "check(f)\n# hiddenword", "test-ex1", grade=True, printed="testoutput"),
        cell("markdown", "### BEGIN SOLUTION\nsolutionword\n### END SOLUTION\nrubricword", "written", True, True),
        cell("code", "print('seen')", "", printed="resultword"),
        shown,
    ]
    released = [
        title,
        cell("code", "def f():\n    raise NotImplementedError", "ex1", solution=True),
        cell("code", "check(f)", "test-ex1", grade=True),
        cell("markdown", "Your answer here.", "written", True, True),
        cell("code", "print('seen')"),
        new_code_cell("show()", id="shown"),
    ]
    python = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    return new_notebook(cells=solved, metadata=python), new_notebook(cells=released, metadata=python)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A small repository, with the results of its lab in outputs/."""
    root = tmp_path_factory.mktemp("repository")
    solved, released = (nbformat.writes(lab) for lab in labs())
    files = {"README.md": README, "docs/guide.md": GUIDE, "docs/teaching.md": "# Teaching\n\nteachingword\n",
             "LICENSE": "MIT", "solutions/01-toy.ipynb": solved, "notebooks/01-toy.ipynb": released,
             "outputs/01-toy.ipynb": solved, ".gitignore": "outputs/\n"}  # fmt: skip
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", root, *command], check=True)
    return root


def texts(site):
    """The files of a site, but Plotly's script, as text by path."""
    kept = [
        path for path in site.rglob("*") if path.suffix in (".html", ".js", ".css", ".txt", ".ipynb", ".md", ".inv")
    ]
    return {path.relative_to(site).as_posix(): path.read_text("utf-8", "replace") for path in kept
            if path.name != "plotly.min.js"}  # fmt: skip


def test_the_site_has_pages_labs_and_figures_and_needs_no_network(root, tmp_path):
    site = tmp_path / "site"
    assert build_site.build(root, root / "outputs", site, students=False) == len(list(site.rglob("*.html")))
    files = texts(site)
    assert {"index.html", "docs/guide.html", "docs/teaching.html", "notebooks/01-toy.html", "search.html"} <= {*files}
    assert [name for name, text in files.items() if "cdn.example" in text] == []

    lab = files["notebooks/01-toy.html"]
    assert 'Plotly.newPlot("fig"' in lab and lab.count("../_static/plotly.min.js") == 1 and len(lab) < 100_000
    assert (site / "_static" / "plotly.min.js").stat().st_size > 10**6
    assert "solutionword" in lab and "hiddenword" in lab and "Show the check" in lab and "BEGIN SOLUTION" not in lab
    assert 'href="../docs/guide.html"' in lab and 'href="docs/guide.html#two-words"' in files["index.html"]
    assert 'href="../index.html"' in files["docs/guide.html"]
    assert re.search(r"<math.*<mi>d</mi>.*</math>", files["docs/guide.html"]) and "$5 or $6" in files["docs/guide.html"]

    # a browser that opened a file may load scripts, and no other kind of file: the index of the search is one
    assert "searchindex.js" in files["search.html"]
    for word in ("zebrafish", "teachingword", "resultword", "solutionword"):
        assert word in files["searchindex.js"], word


def test_what_a_class_reads_holds_no_answer(root, tmp_path):
    site = tmp_path / "site"
    build_site.build(root, root / "outputs", site, students=True)
    files = texts(site)
    assert {name: word for name, text in files.items() for word in SECRETS if word in text} == {}
    assert "docs/guide.html" in files and "docs/teaching.html" not in files
    lab = files["notebooks/01-toy.html"]
    assert "NotImplementedError" in lab and "resultword" in lab and "Plotly.newPlot" in lab


def test_outputs_of_another_text_are_left_out(root, tmp_path):
    lab = nbformat.read(root / "outputs" / "01-toy.ipynb", 4)
    lab.cells[4].source = "print('older')"
    nbformat.write(lab, tmp_path / "01-toy.ipynb")
    shown = lab_page(root, tmp_path, "01-toy.ipynb", students=False)
    assert shown.cells[4].source == "print('seen')" and shown.cells[4].outputs == [] and shown.cells[5].outputs
    not_run = lab_page(root, tmp_path / "nothing", "01-toy.ipynb", students=False)
    assert "was not run" in not_run.cells[0].source and not_run.cells[4].outputs


def test_dead_links_and_remote_parts_end_it_and_an_earlier_site_stays(root, tmp_path):
    site, guide = tmp_path / "site", root / "docs" / "guide.md"
    site.mkdir()
    (site / "index.html").write_text("earlier")
    planted = {
        "[a](nowhere.md)": "nowhere.md",
        "[b](../notebooks/09-none.ipynb)": "09-none.ipynb",
        "[c](#not-here)": "not-here",
        "[d](../README.md#nor-there)": "nor-there",
        '<a href="gone.html">e</a>': "gone.html",
        "![f](https://pictures.example/f.png)": "pictures.example",
    }
    guide.write_text(GUIDE + "\n\n".join(["", *planted]), encoding="utf-8")
    try:
        with pytest.raises(build_site.NoSite) as found:
            build_site.build(root, root / "outputs", site, students=False)
    finally:
        guide.write_text(GUIDE, encoding="utf-8")
    for link, named in planted.items():
        assert any("guide" in line and named in line for line in str(found.value).splitlines()), link
    assert (site / "index.html").read_text() == "earlier" and [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize(
    "text, problem",
    [
        ('<a href="b.html#there">', ""),
        ('<a href="https://elsewhere.example">', ""),
        ('<a href="b.html#not">', "a place that is not on that page"),
        ('<a href="c.html">', "a file that is not there"),
        ('<script src="//cdn.example/x.js"></script>', "from the network"),
        ('<link rel="stylesheet" href="https://cdn.example/x.css">', "from the network"),
        ('<img src="c.png">', "a file that is not there"),
        ('<iframe src="http://cdn.example/"></iframe>', "from the network"),
        ("<style>@import url(https://cdn.example/font.css)</style>", "from the network"),
        ('<div style="background: url(//cdn.example/a.png)">', "from the network"),
    ],
)
def test_each_kind_of_dead_link_is_seen(text, problem, tmp_path):
    (tmp_path / "a.html").write_text(text)
    (tmp_path / "b.html").write_text('<p id="there">')
    found = what_is_wrong(tmp_path)
    assert len(found) == bool(problem) and all(problem in line and line.startswith("a.html: ") for line in found)


def test_a_remote_font_in_a_style_sheet_is_seen(tmp_path):
    (tmp_path / "a.css").write_text("@font-face { src: url('https://fonts.example/a.woff2') }")
    assert what_is_wrong(tmp_path) == ["a.css: it loads https://fonts.example/a.woff2 from the network"]


def test_labs_that_were_not_run_as_they_are_run_first(root, tmp_path, monkeypatch, capfd):
    solved = nbformat.read(root / "outputs" / "01-toy.ipynb", 4)
    assert build_site.labs_to_run(root / "solutions", root / "outputs") == []
    assert build_site.labs_to_run(root / "solutions", tmp_path) == ["01-toy"]
    for change in ("source", "outputs"):
        lab = nbformat.from_dict(solved)
        lab.cells[4][change] = "print('older')" if change == "source" else [new_output("error", ename="E", evalue="")]
        nbformat.write(lab, tmp_path / "01-toy.ipynb")
        assert build_site.labs_to_run(root / "solutions", tmp_path) == ["01-toy"], change
    (tmp_path / "01-toy.ipynb").write_text("{")
    assert build_site.labs_to_run(root / "solutions", tmp_path) == ["01-toy"]

    asked = []
    monkeypatch.setattr(build_site, "ROOT", root)
    monkeypatch.setattr(build_site, "labs_to_run", lambda solutions, results: ["01-toy"])
    monkeypatch.setattr(build_site.subprocess, "run", lambda command, cwd: asked.append(command) or Failed)
    assert build_site.main([]) == 3 and asked[0][-2:] == ["scripts.run_labs", "01-toy"]
    said = capfd.readouterr()
    assert "01-toy. They are run first" in said.out and "a lab failed" in said.err
    assert not (root / "outputs" / "site").exists()


class Failed:
    returncode = 3


def test_the_pages_of_this_repository_have_no_dead_link(tmp_path, monkeypatch):
    """With its labs' text alone: their code takes seconds to colour, and holds no link."""

    def text_of(*given):
        lab = lab_page(*given)
        lab.cells = [cell for cell in lab.cells if cell.cell_type == "markdown"]
        return lab

    monkeypatch.setattr(site_sources, "lab_page", text_of)
    assert build_site.build(ROOT, tmp_path, tmp_path / "site", students=False) > 20
