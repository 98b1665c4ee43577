"""Figures: what they show, what they refuse, and that their pages need nothing from elsewhere."""

import os
import re
import socket
from html.parser import HTMLParser

import pytest
import torch
from IPython.display import HTML

from scripts.interp.figures.curves import plot_curves
from scripts.interp.figures.heads import (
    plot_attention_heads,
    plot_attention_pattern,
    plot_head_scores,
    plot_logit_lens,
    plot_residual_norms,
    plot_stream_effects,
)
from scripts.interp.figures.pages import save_figure
from scripts.interp.figures.style import token_labels

TOKENS = ["<|im_start|>", "When", " John", " and", " John"]
PATTERN = torch.ones(5, 5).tril() / torch.arange(1, 6)[:, None]


class Page(HTMLParser):
    """Collects what a browser would fetch, and the title."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.title, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.fetched += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] == "title":
            self.title += data
        if self.open and self.open[-1] == "script":
            self.fetched += re.findall(r"""(?:^|[;\n])\s*import\s[^;\n]*?from\s*["'](http[^"']*)""", data)


@pytest.fixture
def no_network(monkeypatch):
    """Asking for an address or a connection fails the test."""

    def ask(*arguments, **options):
        raise AssertionError(f"the network was asked: {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    monkeypatch.setattr(socket.socket, "connect", ask)


def test_labels_show_what_is_invisible():
    labels = token_labels(["<|im_start|>", " John", "\n", "\t ", " ", "\xa0", "<s>", "a&b"])
    assert labels == ["&lt;im_start&gt;", "␣John", "↵", "⇥␣", "␣", "\\xa0", "&lt;s&gt;", "a&amp;b"]
    assert token_labels([" internationalisation"], longest=8) == ["␣intern…"]


def test_attention_pattern_keeps_equal_tokens_apart():
    figure = plot_attention_pattern(PATTERN, TOKENS, title="Layer 1, head 2")
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert list(axis.tickvals) == [0, 1, 2, 3, 4] and list(axis.ticktext) == token_labels(TOKENS)
    heat = figure.data[0]
    assert heat.x is None and heat.y is None  # positions, not categories
    assert figure.layout.yaxis.autorange == "reversed" and (heat.zmin, heat.zmax) == (0, 1)
    assert heat.z[4][0] == pytest.approx(0.2) and heat.z[0][0] == 1
    assert all(heat.z[q][k] != heat.z[q][k] for q in range(5) for k in range(q + 1, 5))  # NaN: blank
    assert heat.customdata[4][2] == "4 ␣John → 2 ␣John"
    assert figure.layout.title.text == "Layer 1, head 2"


@pytest.mark.parametrize(
    "pattern, message",
    [
        (PATTERN[:4, :4], r"\(4, 4\): with 5 tokens give \(5, 5\)"),
        (PATTERN[None], r"\(1, 5, 5\)"),
        (10 * PATTERN, "outside 0 to 1"),
        (-PATTERN, "outside 0 to 1"),
        (PATTERN * torch.nan, "outside 0 to 1"),
    ],
)
def test_attention_pattern_refuses(pattern, message):
    with pytest.raises(ValueError, match=message):
        plot_attention_pattern(pattern, TOKENS)


def test_attention_heads_without_network(no_network):
    cache = {"blocks.3.attn.hook_pattern": PATTERN.expand(1, 4, 5, 5)}
    view = plot_attention_heads(cache, TOKENS, 3)
    page = view._repr_html_()
    assert page.count("CircuitsVis.render(") == 1 and len(page) > 1_000_000
    assert not Page(page).fetched and "unpkg.com" not in page
    arguments = page.split("CircuitsVis.render(")[1]
    assert re.findall(r"L3H\d", arguments) == ["L3H0", "L3H1", "L3H2", "L3H3"] and "\\u2423John" in arguments
    assert page.count("<div") - page.count("</div>") == 0  # else what follows on a page would end up inside


def test_attention_heads_refuses():
    cache = {"blocks.3.attn.hook_pattern": PATTERN.expand(2, 4, 5, 5)}
    with pytest.raises(ValueError, match="holds no 'blocks.1.attn.hook_pattern'"):
        plot_attention_heads(cache, TOKENS, 1)
    with pytest.raises(ValueError, match="shape"):
        plot_attention_heads(cache, TOKENS, 3)  # two prompts
    with pytest.raises(ValueError, match="shape"):
        plot_attention_heads({"blocks.3.attn.hook_pattern": PATTERN.expand(1, 4, 5, 5)}, TOKENS[:4], 3)


def test_head_scores_are_sequential_and_effects_centred():
    scores = torch.rand(6, 4)
    figure = plot_head_scores({"previous": scores, "first": 1 - scores}, title="Scores")
    scale = figure.layout.coloraxis
    assert (scale.cmin, scale.cmax) == (0, 1) and len(figure.data) == 2
    assert [note.text for note in figure.layout.annotations] == ["previous", "first"]
    assert figure.data[1].z[5][3] == pytest.approx(1 - scores[5, 3].item())
    effects = torch.zeros(6, 4)
    effects[2, 1], effects[3, 3] = -2.0, 0.5
    scale = plot_head_scores(effects, effect=True, unit="logit difference").layout.coloraxis
    assert (scale.cmin, scale.cmax) == (-2, 2) and scale.colorbar.title.text == "logit difference<br>&nbsp;"
    middle = [color for place, color in scale.colorscale if place == 0.5]
    assert middle == ["rgb(247,247,247)"]  # zero is neither colour


@pytest.mark.parametrize(
    "scores, message",
    [
        (torch.zeros(6), "give \\[n_layers, n_heads\\]"),
        ({"a": torch.zeros(1, 2, 3)}, "give \\[n_layers, n_heads\\]"),
        ({}, "give \\[n_layers, n_heads\\]"),
        ({"a": torch.zeros(6, 4), "b": torch.zeros(4, 6)}, "give \\[n_layers, n_heads\\]"),
        (torch.zeros(0, 4), "give \\[n_layers, n_heads\\]"),
        (-torch.ones(6, 4), "use effect=True"),
        (2 * torch.ones(6, 4), "use effect=True"),
    ],
)
def test_head_scores_refuses(scores, message):
    with pytest.raises(ValueError, match=message):
        plot_head_scores(scores)


def test_logit_lens_table(model):
    prompt = "When John and Mary went to the store, John gave a book to"
    heat = (figure := plot_logit_lens(model, prompt)).data[0]
    tokens = model.to_str_tokens(prompt)
    assert len(heat.z) == len(heat.text) == model.cfg.n_layers and len(heat.z[0]) == len(tokens)
    assert heat.text[-1][-1] == "␣Mary" and figure.layout.yaxis.autorange == "reversed"
    assert heat.z[-1][-1] == pytest.approx(model(prompt)[0, -1].softmax(-1).max().item(), abs=1e-3)
    assert list(figure.layout.xaxis.tickvals) == list(range(len(tokens)))
    assert all(0 <= value <= 1 for row in heat.z for value in row)


def test_logit_lens_table_without_tokenizer(toy, toy_tokens):
    heat = plot_logit_lens(toy, toy_tokens).data[0]
    best = toy(toy_tokens)[0].argmax(-1).tolist()
    assert list(heat.text[-1]) == [str(token) for token in best]
    with pytest.raises(ValueError, match="2 prompts"):
        plot_logit_lens(toy, toy_tokens.expand(2, -1))


def test_residual_norms():
    norms = torch.arange(1.0, 16).reshape(3, 5)
    figure = plot_residual_norms(norms, TOKENS)
    assert figure.layout.yaxis.type == "log"
    names = [f"{i} {label}" for i, label in enumerate(token_labels(TOKENS))]
    assert [line.name for line in figure.data] == names
    assert list(figure.data[2].x) == [0, 1, 2] and list(figure.data[2].y) == [3, 8, 13]
    assert [line.line.dash for line in figure.data] == ["dash", None, None, None, None]
    with pytest.raises(ValueError, match="norms has shape"):
        plot_residual_norms(norms.T, TOKENS)


def test_curves_keep_their_colour_from_panel_to_panel():
    panels = {
        "score": {"one": ([0, 1, 2], [1.0, 2.0, 4.0]), "two": ([0, 2], [5.0, 6.0])},
        "loss": {"two": ([0, 1], [7.0, 3.0])},
    }
    figure = plot_curves(panels, title="Training", x="step", y="nats")
    lines = {(line.name, line.yaxis): line for line in figure.data}
    assert list(lines) == [("one", "y"), ("two", "y"), ("two", "y2")]
    assert list(lines["one", "y"].x) == [0, 1, 2] and list(lines["two", "y2"].y) == [7, 3]
    assert lines["two", "y"].line.color == lines["two", "y2"].line.color != lines["one", "y"].line.color
    assert [line.showlegend for line in figure.data] == [True, True, False]
    assert [note.text for note in figure.layout.annotations] == ["score", "loss"]
    assert figure.layout.xaxis2.title.text == "step" and figure.layout.yaxis2.title.text == "nats"
    with pytest.raises(ValueError, match="'two' has 2 x values and 1 y values"):
        plot_curves({"": {"two": ([0, 1], [7.0])}})


def test_saved_pages_need_nothing_from_elsewhere(tmp_path, no_network):
    cache = {"blocks.3.attn.hook_pattern": PATTERN.expand(1, 4, 5, 5)}
    figures = {
        "Layer 1 & head 2": plot_attention_pattern(PATTERN, TOKENS, title="Layer 1 &amp; head <b>2</b>"),
        "all heads": plot_attention_heads(cache, TOKENS, 3),
    }
    for title, figure in figures.items():
        path = save_figure(figure, tmp_path / "new folder" / f"{title.lower().replace(' ', '_')}.html")
        text = path.read_text(encoding="utf-8")
        page = Page(text)
        assert text.startswith("<!DOCTYPE html>") and '<meta charset="utf-8">' in text
        assert not page.fetched
        assert page.title.split() == title.split()
        assert len(text) > 1_000_000
    assert len(os.listdir(tmp_path / "new folder")) == 2


def test_the_page_check_would_notice_a_remote_script():
    assert Page('<script src="https://example.org/plotly.js"></script>').fetched
    assert Page('<script>\n  import { render } from "https://example.org/esm.js";</script>').fetched


def test_same_figure_same_page(tmp_path):
    paths = [save_figure(plot_attention_pattern(PATTERN, TOKENS), tmp_path / f"{name}.html") for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_piece_of_html_and_its_title(tmp_path):
    for piece in ("<p>hello</p>", HTML("<p>hello</p>")):
        text = save_figure(piece, str(tmp_path / "my_note.html")).read_text()
        assert "<p>hello</p>" in text and Page(text).title == "my note"


def test_save_refuses(tmp_path):
    with pytest.raises(ValueError, match="does not end in .html"):
        save_figure("<p></p>", tmp_path / "figure.png")
    with pytest.raises(ValueError, match="Tensor can't be saved"):
        save_figure(torch.zeros(2), tmp_path / "figure.html")
    assert os.listdir(tmp_path) == []


def test_stream_effects_have_one_scale_centred_at_zero_and_tokens_at_the_positions():
    one, two = torch.tensor([[0.1, -0.4, 0.0], [1.2, 0.3, 0.2]]), torch.tensor([[0.0, -2.0, 0.1], [0.5, 0.5, 0.5]])
    figure = plot_stream_effects({"first": one, "second": two}, ["<|bos|>", " S2", "end"], title="Two maps")
    assert [tuple(map(len, (panel.z, panel.z[0]))) for panel in figure.data] == [(2, 3), (2, 3)]
    assert figure.data[1].z[0][1] == -2.0 and figure.data[0].z[1][0] == pytest.approx(1.2)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-2.0, 2.0)
    assert figure.layout.xaxis2.ticktext == ("&lt;bos&gt;", "␣S2", "end")
    assert figure.layout.yaxis.autorange == figure.layout.yaxis2.autorange == "reversed"  # layer 0 at the top
    for wrong in (one[:, :2], one[None], {"a": one, "b": one[:1]}):
        with pytest.raises(ValueError, match="give \\[n_layers, 3\\]"):
            plot_stream_effects(wrong, ["a", "b", "c"])


def test_a_page_says_in_words_what_its_figure_shows(tmp_path):
    figure = plot_stream_effects(torch.zeros(2, 2), ["a", "b"], title="Map <b>of</b> effects")
    page = save_figure(figure, tmp_path / "map.html", "Nothing moves, at <any> layer.").read_text(encoding="utf-8")
    assert ">Nothing moves, at &lt;any&gt; layer.</figcaption>" in page
    assert 'aria-label="Map  of  effects"' in page
    assert "<figcaption" not in save_figure(figure, tmp_path / "map.html").read_text(encoding="utf-8")


def test_every_curve_of_a_law_has_one_entry_in_the_legend():
    from scripts.interp.figures.curves import plot_law

    law = {"k 16": ([1, 10], [0.3, 0.1]), "k 24": ([1, 10], [0.25, 0.08])}
    measured = {"k 16": ([1, 10], [0.31, 0.1]), "k 24": ([], [])}  # of the second there are predictions alone
    figure = plot_law(measured, law, {"k 24": [(5, 0.15, 0.1, 0.2, 0.16)]})
    assert [trace.name for trace in figure.data if trace.showlegend is not False and len(trace.x)] == list(law)
