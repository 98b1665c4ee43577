"""Curves, and how numbers are spread; a law, and what it predicted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.figures.style import LINES, legend_above, new_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go


def plot_curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    title: str | None = None,
    *,
    x: str = "",
    y: str = "",
) -> go.Figure:
    """Lines over a common x axis, in one panel or in several under one another.

    panels: for every panel's title, its curves by name, each a pair (x values, y values); a curve has one colour in
        all panels. Raises ValueError for a curve whose two sequences differ in length.
    x, y: titles of the axes
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    colours = dict(zip(names, itertools.cycle(LINES)))
    rows = dict(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=list(panels))
    figure = new_figure(title or "", 820, 130 + (300 if len(panels) == 1 else 190 * len(panels)), **rows)
    in_legend = set()
    for row, curves in enumerate(panels.values(), start=1):
        for name, (xs, ys) in curves.items():
            if len(xs) != len(ys):
                raise ValueError(
                    f"The curve {name!r} has {len(xs)} x values and {len(ys)} y values: give as many of both."
                )
            legend = dict(legendgroup=name, showlegend=name not in in_legend)
            line = dict(color=colours[name], width=2.5)
            figure.add_scatter(x=list(xs), y=list(ys), name=name, mode="lines", line=line, **legend, row=row, col=1)
            in_legend.add(name)
        figure.update_yaxes(title=y, row=row, col=1)
    figure.update_xaxes(title=x, row=len(panels), col=1)
    legend_above(figure)
    return figure


def plot_densities(
    frequencies: Mapping[str, Float[Tensor, " _n_features"]], n_tokens: int, title: str = "", bins: int = 30
) -> go.Figure:
    """Histograms of how often features are above zero, on a logarithmic scale, one panel under another.

    frequencies: by name, the share of the tokens at which each feature is above zero, [n_features]; features that are
        so nowhere stand in a bar of their own at the left
    n_tokens: that were looked at; less than one in n_tokens can't be seen
    """
    lowest = math.log10(1 / n_tokens)
    width = -lowest / bins
    middles, never = [lowest + (i + 0.5) * width for i in range(bins)], lowest - 2 * width
    ranges = [f"{10 ** (m - width / 2):.2g} to {10 ** (m + width / 2):.2g}" for m in middles]
    rows = dict(rows=len(frequencies), cols=1, shared_xaxes=True, vertical_spacing=0.09)
    height, margin = 120 + 190 * len(frequencies), (70, 30, 90, 60)
    figure = new_figure(title, 820, height, margin, subplot_titles=list(frequencies), **rows)
    for row, values in enumerate(frequencies.values(), start=1):
        counts = torch.histc(values[values > 0].log10(), bins, lowest, 0).tolist()
        nowhere = [int((values == 0).sum())]
        place = dict(width=width, hovertemplate="%{hovertext}: %{y} units<extra></extra>", row=row, col=1)
        figure.add_bar(x=middles, y=counts, hovertext=ranges, marker_color=LINES[0], name="units", **place)
        figure.add_bar(x=[never], y=nowhere, hovertext=["never"], marker_color=LINES[1], name="on no token", **place)
        figure.update_yaxes(title="units", row=row, col=1)
    powers = range(math.ceil(lowest), 1)
    figure.update_xaxes(tickvals=[never, *powers], ticktext=["never", *(f"{10.0**p:g}" for p in powers)])
    figure.update_xaxes(title="share of the tokens at which a feature is above zero", row=len(frequencies), col=1)
    figure.update_layout(showlegend=False)
    figure.update_annotations(font_size=13)
    return figure


def plot_law(
    measured: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    law: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    predicted: Mapping[str, Sequence[tuple[float, float, float, float, float | None]]],
    title: str = "",
    *,
    x: str = "",
    y: str = "",
) -> go.Figure:
    """What was measured, a law fitted to it, and what the law said before more was measured; logarithmic axes.

    measured, law: by the name of a curve, pairs (x values, y values): points and lines
    predicted: by the name of a curve, (x, prediction, low, high, what came out or None) for every prediction: a bar
        for the interval, a cross for what came out
    """
    figure = new_figure(title, 820, 560)
    for name, colour in zip(measured, itertools.cycle(LINES)):
        legend = dict(legendgroup=name, line_color=colour, marker_color=colour)
        figure.add_scatter(x=list(measured[name][0]), y=list(measured[name][1]), name=name, mode="markers", **legend)
        if name in law:
            has_points = len(measured[name][0]) > 0  # what has none is in the legend by its law
            lines = dict(name=f"{name}, law" if has_points else name, mode="lines", showlegend=not has_points)
            figure.add_scatter(x=list(law[name][0]), y=list(law[name][1]), **lines, **legend)
        mine = predicted.get(name, ())
        xs, said, found = ([each[place] for each in mine] for place in (0, 1, 4))
        above, below = ([abs(each[place] - each[1]) for each in mine] for place in (3, 2))
        bars = dict(type="data", array=above, arrayminus=below)
        shown = dict(mode="markers", showlegend=False, legendgroup=name, marker_color=colour)
        figure.add_scatter(x=xs, y=said, error_y=bars, name=f"{name}, predicted", marker_symbol="circle-open", **shown)
        figure.add_scatter(x=xs, y=found, name=f"{name}, came out", marker_symbol="x", **shown)
    figure.update_xaxes(type="log", title=x)
    figure.update_yaxes(type="log", title=y)
    return figure
