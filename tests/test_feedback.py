"""A student's page: the lab's total, figures without scripts, comments, and the tampering said once."""

import base64
import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from scripts.course.cells import exercises_of, written_of
from scripts.course.grading.feedback import feedback_page
from scripts.course.grading.shown import MOST_BYTES, MOST_FIGURES, PLOTLY, figures
from scripts.course.pages import remote_parts
from scripts.course.report import Row
from scripts.interp.figures.curves import plot_curves
from tests.fixtures import tiny_lab
from tests.fixtures.tiny_lab import LAB

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
LAB_CELLS = tiny_lab.solved_lab()
HINTS = {"ex1-row-means": "", "ex2-last-true": "This is the first True."}
SCORES = {"ex1-row-means": 10, "ex2-last-true": 0}


def row(**changed) -> Row:
    given = Row("anna", LAB, SCORES, {"written-why": 3.5}, {}, 30, 0, 35, "ok", HINTS)
    return given._replace(**changed)


def showing(*outputs: dict) -> nbformat.NotebookNode:
    """The tiny lab with a cell that shows something, under a heading."""
    notebook = tiny_lab.solved_lab()
    notebook.cells += [new_markdown_cell("## My **figure** <b>"), new_code_cell("show()")]
    notebook.cells[-1].outputs = [nbformat.from_dict({"output_type": "display_data", "data": data}) for data in outputs]
    return notebook


def page(notebook=None, **changed) -> str:
    """What stands on the page, without its style sheets."""
    made = feedback_page(row(**changed), exercises_of(LAB_CELLS), written_of(LAB_CELLS), notebook or LAB_CELLS)
    assert not remote_parts(made)
    return re.sub(r"<style.*?</style>", "", made, flags=re.S)


@pytest.fixture(scope="module")
def plotted() -> dict:
    figure = plot_curves({"": {"loss": ([0, 1, 2], [3.0, 2.0, 1.5])}}, "How it falls &lt;script>", x="step", y="nats")
    return {PLOTLY: json.loads(figure.to_json())}


def test_the_total_of_the_lab_stands_first():
    shown = page()
    assert shown.index("13.5 of 35 points") < shown.index("10 of 30 points") < shown.index("3.5 of 5 points")
    assert "in this lab<" in shown and "so far" not in shown
    shown = page(manual={"written-why": None}, awaiting=5)
    assert "10 of 35 points</strong> in this lab, so far" in shown and "wait for a person" in shown
    assert "points</strong> for written answers<" not in shown


def test_a_page_made_again_is_the_same_to_the_byte():
    assert page(showing({"image/png": PNG})) == page(showing({"image/png": PNG}))


def test_a_plotly_figure_becomes_its_words_and_numbers(plotted):
    ((title, html),) = figures(showing(plotted))
    assert title == "My **figure** <b>" and "<details" in html and "<td" in html and "1.5" in html
    assert "How it falls &lt;script&gt;" in html
    shown = page(showing(plotted))
    assert "Your figures" in shown and "In words and numbers" in shown and "<script" not in shown
    assert "My **figure** &lt;b&gt;" in shown


def test_pictures_are_kept_as_pictures():
    shown = page(showing({"image/png": PNG + "\n"}, {"image/svg+xml": SVG}))
    assert shown.count("My **figure**") == 1  # once for both
    assert f'src="data:image/png;base64,{PNG}"' in shown and "<script" not in shown
    assert f'src="data:image/svg+xml;base64,{base64.b64encode(SVG.encode()).decode()}"' in shown


@pytest.mark.parametrize(
    "data",
    [
        {"text/html": "<script>alert(1)</script><img src='http://x.org'>"},
        {"image/png": '"><script>alert(1)</script>'},
        {"image/png": ["!", "?"]},
        {"image/png": PNG[:40] + "!" + PNG[40:]},
        {"text/plain": "only text"},
        {"image/png": {"a": 1}},
    ],
)
def test_what_is_no_picture_is_left_out(data):
    assert "Your figures" not in page(showing(data)) and "alert" not in page(showing(data))


@pytest.mark.parametrize(
    "data", [{}, [], None, "x", {"data": [{"type": "no such"}], "layout": {}}, {"data": 5, "layout": 5}]
)
def test_a_figure_of_another_kind_is_named(data):
    ((_, html),) = figures(showing({PLOTLY: data}))
    assert html == "<p>A figure: without a title</p>"
    ((_, html),) = figures(showing({PLOTLY: {"data": [{"type": "pie"}], "layout": {"title": {"text": "<b>"}}}}))
    assert html == "<p>A figure: &lt;b&gt;</p>"


def test_floods_of_figures_are_cut():
    large = base64.b64encode(b"x" * (MOST_BYTES + 1)).decode()
    ((_, html),) = figures(showing({"image/png": large}))
    assert "too large" in html
    assert len(list(figures(showing(*[{"image/png": PNG}] * (MOST_FIGURES + 5))))) == MOST_FIGURES


def test_tampering_is_said_once_in_one_sentence():
    status = "cell 3 took long; TAMPERING: a failing `assert` went unnoticed, another; all automatic points are 0; late"
    hints = dict.fromkeys(HINTS, "no points: this submission changed how its cells are run or checked")
    shown = page(status=status, hints=hints, scores=dict.fromkeys(SCORES, 0))
    assert shown.count("changed how its cells are run or checked") == 1 and "TAMPERING" not in shown
    assert "(a failing <code>assert</code> went unnoticed, another)." in shown
    assert "cell 3 took long; late" in shown and "Look at this" not in shown and "Passed" not in shown
    assert "Note:" not in page(status="TAMPERING: x; all automatic points are 0", hints=hints)
