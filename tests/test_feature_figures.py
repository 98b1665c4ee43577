"""Figures about features: what they show, what they refuse, and that nothing in them runs or loads anything."""

import re

import pytest
import torch

from scripts.interp.features.contexts import AFTER, BEFORE, TopContexts
from scripts.interp.figures.curves import plot_densities
from scripts.interp.figures.features import (
    feature_page,
    plot_activations,
    plot_dimensionality,
    plot_directions,
    show_contexts,
)
from scripts.interp.figures.pages import coloured_tokens


@pytest.fixture
def contexts(trained_toy):
    """Two features: one with two contexts, the first at the start of a row; one that is never active."""
    window = BEFORE + 1 + AFTER
    tokens = torch.zeros(2, 3, window, dtype=torch.long)
    ids = trained_toy.tokenizer(" the <b> cat sat on a mat", add_special_tokens=False).input_ids
    tokens[0, 0, BEFORE : BEFORE + 1 + AFTER] = torch.tensor(ids[: 1 + AFTER])
    tokens[0, 1, : len(ids)] = torch.tensor(ids)
    activations = torch.zeros(2, 3, window)
    activations[0, 0, BEFORE], activations[0, 0, BEFORE + 1], activations[0, 1, BEFORE] = 8.0, 4.0, 2.0
    return TopContexts(tokens, activations, torch.tensor([0.0123, 0.0]), 5000)


def test_directions_are_drawn_from_the_origin():
    W = torch.tensor([[[1.0, 0.0, -0.5], [0.0, 1.0, 0.5]], [[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]])
    figure = plot_directions(W, ["one", "two"], "Some")
    assert len(figure.data) == 6 and figure.data[2].x == (0, -0.5) and figure.data[2].y == (0, 0.5)
    assert [a.text for a in figure.layout.annotations] == ["one", "two"]
    assert figure.layout.xaxis.range[0] == -figure.layout.xaxis.range[1] and figure.layout.xaxis.range[1] > 2
    for wrong in (torch.zeros(2, 3, 4), torch.zeros(2, 4)):
        with pytest.raises(ValueError, match="give \\[n_models, 2, n_features\\]"):
            plot_directions(wrong, ["one", "two"])
    with pytest.raises(ValueError, match="there are 1 titles"):
        plot_directions(W, ["one"])


def test_shares_stand_over_how_rare_features_are():
    shares = [torch.tensor([1.0, 0.5]), torch.tensor([0.4, 0.4, 0.4])]
    figure = plot_dimensionality([0.0, 0.75], shares, "Shares")
    assert [each.y for each in figure.data] == [(1.0, 0.5), pytest.approx((0.4, 0.4, 0.4))]
    assert all(abs(x - 1) < 0.1 for x in figure.data[0].x) and all(abs(x - 4) < 0.2 for x in figure.data[1].x)
    assert len(set(figure.data[1].x)) == 3  # equal dots don't hide one another
    assert "1/2: antipodal pair" in [note.text for note in figure.layout.annotations]
    with pytest.raises(ValueError, match="1 sparsities and the shares of 2 models"):
        plot_dimensionality([0.0], shares)


def test_densities_count_every_feature_once():
    frequencies = {"some": torch.tensor([0.0, 0.0, 0.001, 0.0011, 0.5]), "other": torch.tensor([1.0, 1e-5])}
    figure = plot_densities(frequencies, 100_000, "Densities", bins=20)
    some, never, other, none = figure.data
    assert sum(some.y) == 3 and never.y == (2,) and sum(other.y) == 2 and none.y == (0,)
    assert some.x[some.y.index(2)] == pytest.approx(-3, abs=0.25)
    assert never.x[0] < min(some.x) and other.y[0] == 1 and other.y[-1] == 1


def test_tokens_are_darker_the_stronger():
    line = coloured_tokens(["a", "<b>", "c"], [0.0, 5.0, 10.0], 10.0, marked=2)
    colours = [tuple(map(int, each)) for each in re.findall(r"rgb\((\d+), (\d+), (\d+)\)", line)]
    assert colours[0] == (255, 255, 255) and colours[0] > colours[1] > colours[2]
    assert "<b>" not in line and line.index("underline") > line.index(str(colours[2][0]))


def test_contexts_show_their_tokens_and_nothing_before_the_text(trained_toy, contexts):
    shown = show_contexts(trained_toy, contexts, 0).data
    assert "1.23%" in shown and "5,000 tokens" in shown and shown.count("<tr>") == 2
    assert shown.count("underline") == 2 and "8.0" in shown and "2.0" in shown
    assert "<b> cat" not in shown and "endoftext" not in shown.split("</tr>")[0]
    assert show_contexts(trained_toy, contexts, 0, n=1).data.count("<tr>") == 1
    assert "nowhere in the 5,000 tokens" in show_contexts(trained_toy, contexts, 1).data


def test_histograms_are_split_by_what_the_predicate_says():
    strengths = {"f": torch.tensor([0.0, 1.0, 2.0, 8.0, 8.0])}
    named = {"f": torch.tensor([True, False, True, True, True])}
    no, yes = plot_activations(strengths, named, bins=4).data
    assert list(no.y) == [1, 0, 0, 0] and list(yes.y) == [0, 1, 0, 2] and list(yes.x) == [1, 3, 5, 7]
    for wrong in ({}, {"g": named["f"]}, {"f": named["f"][:3]}):
        with pytest.raises(ValueError, match="under the same names and of the same length"):
            plot_activations(strengths, wrong)


def test_a_page_holds_everything_and_runs_nothing(trained_toy, contexts):
    sections = {0: {"raises the logits of": [(" <script>", 1.5), (" dog", -0.25)]}, 1: {"raises the logits of": []}}
    page = feature_page(
        trained_toy, contexts, sections, {0: torch.tensor([1.0, 2.0, 8.0]), 1: torch.zeros(0)}, "Features <of> it"
    )
    assert "<script" not in page and "src=" not in page and "href=" not in page and "Features &lt;of&gt; it" in page
    assert "+1.50" in page and "-0.25" in page and page.count("<svg") == 1 and "nowhere" in page
    heights = [float(h) for h in re.findall(r'<rect [^>]*height="([\d.]+)"', page)]
    assert len(heights) == 24 and max(heights) == 120 and sum(h > 0 for h in heights) == 3
