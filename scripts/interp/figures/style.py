"""How the labs' figures look: colours, the layout that all of them share, and labels that show what is invisible.

Plotly is imported when the first figure is drawn: the labs' one import does not wait for it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

SEQUENTIAL, DIVERGING = "Blues", "RdBu"
UNDER_TEXT = ("#ffffff", "#5fa8dc")  # light enough to read a token on it
INK, PALE, EDGE = "#1f2933", "#b8c2cc", "#c9d1d9"
TITLE_TOP, LEGEND_TOP = 10, 32  # in pixels from the top of the figure
# told apart by colour-blind readers, in this order
LINES = ("#1f6fb2", "#c0392b", "#2e8b57", "#8e5bb5", "#c9822b", "#4d4d4d")


def new_figure(
    title: str, width: int, height: int, margin: tuple[int, int, int, int] = (100, 40, 80, 90), **panels
) -> go.Figure:
    """An empty figure in the style of the labs; every Plotly figure starts here.

    It is drawn on white, in a dark theme too: colour scales whose middle or end is white mean "nothing" by it.

    width, height: in pixels
    margin: left, right, above and below, in pixels
    panels: for several panels what `plotly.subplots.make_subplots` takes, such as rows, cols and subplot_titles
    """
    from plotly.subplots import make_subplots

    from scripts.interp.figures.shown import ShownFigure

    figure = make_subplots(figure=ShownFigure(), **panels) if panels else ShownFigure()
    figure.update_layout(
        title=dict(text=title, x=0.02, xanchor="left", y=1, yref="container", yanchor="top", pad_t=TITLE_TOP),
        width=width,
        height=height,
        template="plotly_white",
        font_color=INK,
        margin=dict(zip("lrtb", margin)),
    )
    return figure


def scale_title(text: str) -> dict[str, str]:
    """A colour scale's title, above it: Plotly draws one beside it over the scale's numbers.

    The empty line keeps it from the topmost number.
    """
    return dict(text=f"{text}<br>&nbsp;", side="top")


def legend_above(figure: go.Figure) -> None:
    """Put the legend on a line of its own between the title and the panels."""
    y = 1 - LEGEND_TOP / figure.layout.height
    legend = dict(orientation="h", x=1, xanchor="right", y=y, yref="container", yanchor="top")
    figure.update_layout(legend=legend, margin_t=LEGEND_TOP + 60)


def layer_axis(n_layers: int, n_ticks: int = 10) -> dict:
    """Options of a y axis with layer 0 at the top."""
    return dict(tick0=0, dtick=max(1, n_layers // n_ticks), showgrid=False, autorange="reversed")


def token_axis(labels: Sequence[str], title: str | None, tickangle: int = -60, **options) -> dict:
    """Options of an axis whose positions are labelled with tokens.

    The axis stays numeric: as categories, equal tokens would be one.
    """
    ticks = dict(tickvals=list(range(len(labels))), ticktext=list(labels), tickangle=tickangle)
    return dict(title=title, showgrid=False, zeroline=False, **ticks, **options)


def token_labels(tokens: Sequence[str], longest: int = 14) -> list[str]:
    """Short labels for Plotly's text: spaces and line breaks visible, "<|im_start|>" written <im_start>."""
    shown = map(visible, tokens)
    short = (token if len(token) <= longest else token[: longest - 1] + "…" for token in shown)
    return [html.escape(token, quote=False) for token in short]


def visible(token: str) -> str:
    """A token's text with signs for spaces, tabs and line breaks, and without the bars of a special token."""
    token = re.sub(r"^<\|(.+)\|>$", r"<\1>", token)
    signs = {" ": "␣", "\n": "↵", "\t": "⇥"}
    return "".join(signs.get(c) or (c if c.isprintable() else repr(c)[1:-1]) for c in token)
