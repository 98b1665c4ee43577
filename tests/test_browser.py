"""What a student sees, in a real browser: Lab 1 in JupyterLab as `make lab` opens it, and figures on saved pages.

Needs Chromium or Chrome on this machine, and no network: nothing but files and the JupyterLab here is ever loaded.
"""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

from scripts import mech_interp_utils
from scripts.course.pages import html_page
from scripts.interp.base.paths import ROOT
from scripts.interp.figures.heads import plot_attention_heads, plot_head_scores
from scripts.interp.figures.pages import save_figure
from scripts.interp.figures.words import words_and_numbers
from tests.fixtures.browser import CHROMIUM, NO_CHROMIUM, asked_for, contrast, hover, overlapping_texts, painted_pixels
from tests.fixtures.every_figure import PROMPT, every_figure

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: `.venv/bin/pip install playwright`")

LAB = "01-transformerlens-setup"
LAST_CELL = "norms-figure"  # the notebook that is opened ends here, so that Validate takes seconds
EXERCISE = "def second_mention(tokens, token_id):\n    places = (tokens == token_id).nonzero().flatten().tolist()\n"
WRONG = EXERCISE + "    return places[0]"
RIGHT = EXERCISE + "    if len(places) < 2:\n        raise ValueError('two mentions are needed')\n    return places[1]"
SECONDS = 120  # until a cell has run, on a busy machine
READABLE = 4.5  # the contrast that WCAG asks of text


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab as `make lab` starts it, on a copy of the student notebooks; its address and its log."""
    folder = tmp_path_factory.mktemp("jupyter")
    notebook = nbformat.read(ROOT / "notebooks" / f"{LAB}.ipynb", as_version=4)
    notebook.cells = notebook.cells[: [cell.id for cell in notebook.cells].index(LAST_CELL) + 1]
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / f"{LAB}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    homes = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "LAB_OUTPUTS")
    environment = {**os.environ, **{name: str(folder / name) for name in homes}, "OMP_NUM_THREADS": "1"}
    options = [f"--notebook-dir={folder / 'notebooks'}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    options += ["--IdentityProvider.token=", "--no-browser"]
    log = folder / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "scripts.start_jupyterlab", *options]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
        yield f"http://127.0.0.1:{port}", log
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def browser(server):
    """Chromium; JupyterLab is getting ready meanwhile."""
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def offline(browser):
    """An empty page without a network, and the list of what it asks for."""
    with browser.new_context(viewport={"width": 1300, "height": 900}) as context:
        asked = asked_for(context)
        yield context.new_page(), asked


@pytest.fixture(scope="module")
def executed_page(trained_toy, tmp_path_factory):
    """An executed notebook with every figure of the labs, as the page that `make labs` makes of it."""
    figures = every_figure(trained_toy)
    cells = []
    for place, (name, figure) in enumerate(figures.items()):
        drawn = figure.to_html(full_html=False, include_plotlyjs=place == 0, include_mathjax="cdn")
        outputs = [new_output("display_data", {"text/html": part}) for part in (drawn, words_and_numbers(figure))]
        cells.append(new_code_cell(name, outputs=outputs))
    path = tmp_path_factory.mktemp("pages") / "lab.html"
    path.write_text(html_page(new_notebook(cells=cells), "lab"), encoding="utf-8")
    return path, list(figures)


def test_every_figure_of_an_executed_page_is_drawn_and_answers_and_no_text_lies_on_another(offline, executed_page):
    page, asked = offline
    path, names = executed_page
    page.goto(path.as_uri())
    figures = page.query_selector_all(".js-plotly-plot")
    assert len(figures) == len(names)
    drawn_by = {name for name in dir(mech_interp_utils) if name.startswith("plot_")} - {"plot_attention_heads"}
    assert drawn_by <= {name.partition(",")[0] for name in names}
    for name, figure in zip(names, figures):
        assert painted_pixels(page, figure) > 400, name
        assert re.search(r"\d", hover(page, figure)), name
        page.mouse.move(0, 0)
        assert overlapping_texts(figure) == [], name
    folded = page.query_selector_all("details:has(summary:text('In words and numbers'))")
    assert len(folded) == len(names)
    for name, words in zip(names, folded):
        assert not words.query_selector("table").is_visible(), name
        words.query_selector("summary").click()
        assert words.query_selector("table").is_visible() and "from" in words.inner_text(), name
    assert asked == []


def test_the_checks_of_figures_notice_what_is_wrong(offline, tmp_path):
    page, asked = offline
    scores = plot_head_scores(torch.eye(3), "Scores")
    page.goto(save_figure(scores, tmp_path / "scores.html").as_uri())
    figure = page.query_selector(".js-plotly-plot")
    assert asked == [] and overlapping_texts(figure) == [] and painted_pixels(page, figure) > 400
    assert "L2H1: 0.000" in hover(page, figure, row=2, column=1)
    title = figure.query_selector(".gtitle")
    assert contrast(page, title) > READABLE
    page.evaluate("gd => gd.querySelector('.main-svg').style.background = '#111'", figure)
    assert contrast(page, title) < READABLE
    beside = "{'coloraxis.colorbar.title': {text: 'attention weight', side: 'right'}}"
    page.evaluate(f"gd => Plotly.relayout(gd, {beside})", figure)
    assert any("attention weight" in pair for pair in overlapping_texts(figure))
    page.evaluate("gd => Plotly.relayout(gd, {'title.x': 0.97})", figure)
    assert "Scores | sticks out" in overlapping_texts(figure)
    page.evaluate("gd => Plotly.restyle(gd, {visible: false})", figure)
    assert painted_pixels(page, figure) == 0
    assert hover(page, figure, row=2, column=1) == ""
    page.set_content('<img src="https://example.org/logo.png">')
    assert asked == ["https://example.org/logo.png"]


def test_the_attention_of_all_heads_is_drawn_and_said(offline, trained_toy, tmp_path):
    page, asked = offline
    tokens = trained_toy.to_str_tokens(PROMPT)
    _, cache = trained_toy.run_with_cache(PROMPT)
    page.goto(save_figure(plot_attention_heads(cache, tokens, 1), tmp_path / "heads.html").as_uri())
    page.wait_for_selector("text=L1H3")
    page.click("summary")
    assert page.locator("table tbody tr").count() == trained_toy.cfg.n_heads
    assert page.locator("table thead th").count() == 1 + len(tokens)
    assert asked == []


@pytest.fixture(scope="module")
def lab(server, browser):
    """The page of a student who has just opened Lab 1."""
    address, _ = server
    wait_until_it_answers(address)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(SECONDS * 1000)
    playwright.expect.set_options(timeout=SECONDS * 1000)
    asked = asked_for(context, address)
    page = context.new_page()
    page.goto(f"{address}/lab/tree/{LAB}.ipynb")
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()  # sooner, a cell that is run is forgotten
    yield page
    context.close()
    assert asked == []


@pytest.fixture(scope="module")
def first_section(lab):
    """The same, when the first section has run."""
    for start in ("import math", "model = load_model()", "n_kv_heads =", "prompt ="):
        output = run(lab, start)
    playwright.expect(output).to_contain_text("with BOS")
    return lab


def wait_until_it_answers(address: str) -> None:
    started = time.monotonic()
    while True:
        try:
            return urllib.request.urlopen(f"{address}/api", timeout=5).close()
        except OSError:
            assert time.monotonic() - started < SECONDS, f"nothing answers at {address}"
            time.sleep(0.2)


def run(page, start: str):
    """Run the first cell that holds a text, and wait until it has run; returns what it shows."""
    cell = page.locator(".jp-CodeCell", has_text=start).first
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    playwright.expect(cell.locator(".jp-InputPrompt").first).to_have_text(re.compile(r"\[\d+\]"))
    return cell.locator(".jp-OutputArea")


def test_the_first_screen_has_validate_and_nothing_for_instructors(server, lab):
    playwright.expect(lab.locator("h1", has_text="Lab 1")).to_be_visible()
    playwright.expect(lab.get_by_role("button", name="Validate")).to_be_visible()
    lab.get_by_role("menuitem", name="View").wait_for()
    for words in ("Create Assignment", "Formgrader", "Nbgrader", "Course List", "Assignment List"):
        assert lab.get_by_text(words).count() == lab.locator(f"[title*='{words}']").count() == 0, words
    log = server[1].read_text()
    assert "validate_assignment | extension was successfully loaded" in log
    assert "[E " not in log and "Traceback" not in log and "formgrader" not in log


def test_a_wrong_answer_gets_its_hint_a_right_one_passes_and_validate_says_what_is_left(first_section):
    page = first_section
    playwright.expect(page.locator(".jp-OutputArea", has_text="attention heads in a layer")).to_be_visible()
    check = page.locator(".jp-CodeCell", has_text='check("01/ex1-second-mention"').locator(".jp-OutputArea")
    for answer, verdict in ((WRONG, "CheckFailed: This is the first mention"), (RIGHT, "passed: second_mention")):
        page.locator(".cm-content", has_text="def second_mention").click()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(answer)
        run(page, "def second_mention")
        page.keyboard.press("Shift+Enter")  # the check below it
        playwright.expect(check).to_contain_text(verdict)
    page.get_by_role("button", name="Validate").click()
    results = page.locator(".jp-Dialog")
    playwright.expect(results).to_contain_text("sum_of_writes is not written yet")
    assert "second_mention" not in results.inner_text()
    results.get_by_role("button", name="Ok").click()


def test_a_figure_and_its_words_can_be_read_in_both_themes(first_section):
    page = first_section
    output = run(page, "plot_residual_norms(norms")
    output.locator(".gtitle").wait_for()
    assert_readable(page, output)
    assert painted_pixels(page, output.locator(".js-plotly-plot").element_handle()) > 400
    page.get_by_role("menuitem", name="Settings").click()
    for name in ("Theme", "JupyterLab Dark"):
        page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{name}$")).click()
    page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    assert_readable(page, output)


def assert_readable(page, output) -> None:
    figure = output.locator(".js-plotly-plot").element_handle()
    assert overlapping_texts(figure) == []
    assert re.search(r"\d", hover(page, figure, trace=3, row=10))
    page.mouse.move(0, 0)
    summary = output.get_by_text("In words and numbers: Norm of the residual stream")
    texts = [summary, *(output.locator(kind).first for kind in (".gtitle", ".xtitle", ".ytick text", ".legendtext"))]
    for text in texts:
        assert contrast(page, text.element_handle()) > READABLE, text
