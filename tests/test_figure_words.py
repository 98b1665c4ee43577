"""The text alternative and the table of numbers that go with every figure: what they say is what is drawn."""

from html.parser import HTMLParser

import pytest
import torch

from scripts.interp.figures.curves import plot_curves, plot_densities
from scripts.interp.figures.frontiers import plot_frontiers
from scripts.interp.figures.heads import plot_attention_heads, plot_attention_pattern, plot_head_scores
from scripts.interp.figures.pages import save_figure
from scripts.interp.figures.words import MOST_CELLS, MOST_POINTS, figure_in_words, words_and_numbers


class Tables(HTMLParser):
    """The rows of every table of a page, header and captions apart."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.captions, self.inside = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.inside = tag if tag in ("th", "td", "caption") else ""
        if tag == "tr":
            self.rows.append([])
        if self.inside in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "caption":
            self.captions.append(data)
        elif self.inside:
            self.rows[-1][-1] += data


def rows_of(figure) -> list[list[str]]:
    return Tables(words_and_numbers(figure)).rows


def test_heatmaps_are_said_and_every_number_is_in_the_table():
    scores = torch.tensor([[0.125, 0.5], [0.25, 0.0], [0.0625, 0.75]])
    figure = plot_head_scores({"previous": scores, "first": 1 - scores}, "Where <b>heads</b> look &amp; more")
    assert figure_in_words(figure) == (
        "Where heads look & more. previous: a heatmap of 3 rows and 2 columns; the colour is attention weight, "
        "from 0 to 0.75, the largest in row 2, column 1. first: a heatmap of 3 rows and 2 columns; the colour is "
        "attention weight, from 0.25 to 1, the largest in row 1, column 1. Horizontal axis: head. Vertical axis: layer."
    )
    found = Tables(words_and_numbers(figure))
    assert found.captions == ["previous", "first"]
    assert found.rows[:4] == [
        ["layer \\ head", "0", "1"],
        ["0", "0.125", "0.5"],
        ["1", "0.25", "0"],
        ["2", "0.0625", "0.75"],
    ]
    assert found.rows[7] == ["2", "0.9375", "0.25"]


def test_positions_go_by_their_tokens_and_what_is_blank_has_no_number():
    rows = rows_of(plot_attention_pattern(torch.tensor([[1.0, 0.0], [0.25, 0.75]]), ["<|bos|>", " a<b>"]))
    assert rows[0] == ["query: looks \\ key: looked at", "0 <bos>", "1 ␣a<b>"]
    assert rows[1:] == [["0 <bos>", "1", ""], ["1 ␣a<b>", "0.25", "0.75"]]


def test_a_large_heatmap_has_the_range_of_every_row():
    n = int(MOST_CELLS**0.5) + 1
    pattern = torch.eye(n)
    pattern[3, 3], pattern[3, 1] = 0.5, 0.25
    page = words_and_numbers(plot_attention_pattern(pattern, ["x"] * n))
    found = Tables(page)
    assert found.captions == [f"(the range of every row: {n} × {n} numbers are too many)"]
    assert found.rows[4] == ["3 x", "0", "0.5"] and len(found.rows) == 1 + n and len(page) < 20_000


def test_curves_over_the_same_x_share_a_table_and_long_ones_are_thinned():
    steps = list(range(1000))
    figure = plot_curves({"": {"one": (steps, steps), "two": (steps, steps[::-1])}}, "Two", x="step", y="nats")
    words = figure_in_words(figure)
    assert words == "Two. Curves (one; two), from 0 to 999 across, from 0 to 999 upwards. Horizontal axis: step. " + (
        "Vertical axis: nats."
    )
    rows = rows_of(figure)
    assert rows[0] == ["step", "one", "two"] and len(rows) == 1 + MOST_POINTS
    assert rows[1] == ["0", "0", "999"] and rows[-1] == ["999", "999", "0"]
    assert "some of the points" in words_and_numbers(figure)


def test_other_points_stand_one_under_another_with_their_ranges():
    rows = rows_of(plot_frontiers({"a": {"one": [(10, 3, 1, 4)], "two": [(10, 2, 2, 2), (20, 1, 1, 1)]}}, "t", x="L0"))
    assert rows == [
        ["", "L0", "y", "lowest", "highest"],
        ["one", "10", "3", "1", "4"], ["two", "10", "2", "2", "2"], ["two", "20", "1", "1", "1"],
    ]  # fmt: skip


def test_densities_are_told_by_shares_and_not_by_places():
    rows = rows_of(plot_densities({"units": torch.tensor([0.0, 0.5, 0.5, 0.02])}, 100, bins=2))
    assert ["units", "0.01 to 0.1", "1"] in rows and ["units", "0.1 to 1", "2"] in rows
    assert ["on no token", "never", "1"] in rows


def test_a_saved_page_has_both_and_so_has_what_a_notebook_shows(tmp_path, monkeypatch):
    figure = plot_head_scores(torch.eye(2), 'Scores of "heads"')
    page = save_figure(figure, tmp_path / "scores.html").read_text(encoding="utf-8")
    assert '<div role="img" aria-label="Scores of &quot;heads&quot;. A heatmap of 2 rows' in page
    assert words_and_numbers(figure) in page

    shown = []
    monkeypatch.setattr("scripts.interp.figures.shown.get_ipython", lambda: object())
    monkeypatch.setattr("scripts.interp.figures.shown.publish_display_data", shown.append)
    monkeypatch.setattr("plotly.io.show", lambda *_, **__: shown.append("drawn"))
    for each in (figure, plot_curves({"a": {"b": ([1], [2])}, "c": {"b": ([1], [2])}})):  # one panel, several
        each.show()
        assert shown[-2:] == ["drawn", {"text/html": words_and_numbers(each)}]
    # nothing but HTML: the notebooks keep text outputs, and these must not change


@pytest.mark.parametrize("heads", [1, 3])
def test_the_attention_of_all_heads_has_a_table_of_where_each_looks(heads):
    pattern = torch.tensor([[1.0, 0.0], [0.25, 0.75]]).expand(1, heads, 2, 2)
    page = plot_attention_heads({"blocks.0.attn.hook_pattern": pattern}, ["<|bos|>", " b"], 0).data
    rows = Tables(page[page.index("<details") :]).rows
    assert rows[0] == ["", "0 <bos>", "1 ␣b"] and len(rows) == 1 + heads
    assert rows[-1] == [f"head {heads - 1}", "0 <bos>: 1.00", "1 ␣b: 0.75"]
