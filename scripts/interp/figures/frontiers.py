"""What several ways of doing a thing reach, as points with their ranges, joined by lines."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scripts.interp.figures.style import LINES, legend_above, new_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "square", "diamond", "x", "triangle-up", "star")


def plot_frontiers(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float, float, float]]]], title: str = "", *, x: str = ""
) -> go.Figure:
    """Points with ranges over a common logarithmic x axis, in panels under one another.

    panels: for every panel's title, by name, points (x, y, lowest y, highest y); a name has one colour and one symbol
        in all panels. Raises ValueError where y is not within its range, and for an x that has no logarithm.
    x: title of the x axis
    """
    names = list(dict.fromkeys(name for each in panels.values() for name in each))
    looks = dict(zip(names, zip(itertools.cycle(LINES), itertools.cycle(SYMBOLS))))
    rows = dict(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.09, subplot_titles=list(panels))
    figure = new_figure(title, 820, 150 + 260 * len(panels), **rows)
    for row, series in enumerate(panels.values(), start=1):
        for name, given in series.items():
            points = sorted(given)
            for at, y, low, high in points:
                if not (low <= y <= high and at > 0):
                    raise ValueError(
                        f"{name} has x {at:g}, y {y:g} from {low:g} to {high:g}: give x > 0, low ≤ y ≤ high."
                    )
            colour, symbol = looks[name]
            above, below = [high - y for _, y, _, high in points], [y - low for _, y, low, _ in points]
            figure.add_scatter(
                x=[each[0] for each in points], y=[each[1] for each in points], name=name, mode="lines+markers",
                error_y=dict(array=above, arrayminus=below, color=colour), line=dict(color=colour, width=2),
                marker=dict(symbol=symbol, size=9), legendgroup=name, showlegend=row == 1, row=row, col=1,
            )  # fmt: skip
    ticks = [digit * 10.0**power for power in range(-3, 9) for digit in (1, 2, 5)]  # by itself it writes 2, 3, 4
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:,g}" for tick in ticks])
    figure.update_xaxes(title=x, row=len(panels), col=1)
    legend_above(figure)
    return figure
