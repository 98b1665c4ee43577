"""Curves, and how numbers are spread: panels under one another with one x axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.figures.style import LINES, new_figure

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
    figure.update_layout(legend=dict(orientation="h", x=1, xanchor="right", y=1.02, yanchor="bottom"))
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
    rows = dict(rows=len(frequencies), cols=1, shared_xaxes=True, vertical_spacing=0.09)
    height, margin = 120 + 190 * len(frequencies), (70, 30, 90, 60)
    figure = new_figure(title, 820, height, margin, subplot_titles=list(frequencies), **rows)
    for row, values in enumerate(frequencies.values(), start=1):
        counts = torch.histc(values[values > 0].log10(), bins, lowest, 0).tolist()
        nowhere = [int((values == 0).sum())]
        place = dict(width=width, row=row, col=1)
        figure.add_bar(x=middles, y=counts, marker_color=LINES[0], name="units", **place)
        figure.add_bar(x=[never], y=nowhere, marker_color=LINES[1], name="on no token", **place)
        figure.update_yaxes(title="units", row=row, col=1)
    powers = range(math.ceil(lowest), 1)
    figure.update_xaxes(tickvals=[never, *powers], ticktext=["never", *(f"{10.0**p:g}" for p in powers)])
    figure.update_xaxes(title="share of the tokens at which a feature is above zero", row=len(frequencies), col=1)
    figure.update_layout(showlegend=False)
    figure.update_annotations(font_size=13)
    return figure
