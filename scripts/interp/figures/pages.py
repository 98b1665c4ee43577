"""Figures as web pages that need no network, and the pieces of HTML that pages about features are made of."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.base.files import write_atomically
from scripts.interp.figures.style import INK, LINES, token_labels
from scripts.interp.figures.words import figure_in_words, words_and_numbers

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from IPython.display import HTML

STRONG = (95, 168, 220)  # background of a token at the feature's maximum; lighter for less


def save_figure(figure: go.Figure | HTML | str, path: str | Path, description: str | None = None) -> Path:
    """Write a figure, or a piece of HTML, as one web page that needs no network; return the path.

    description: what is to be seen in the figure; it stands under it

    A Plotly figure has a text alternative, and under it, folded, a table of its numbers. The page appears whole or not
    at all. Raises ValueError for something else and for a path that is no .html file.
    """
    from IPython.display import HTML
    from plotly.graph_objects import Figure

    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"The path {path} does not end in .html: figures are saved as web pages.")
    title = path.stem.replace("_", " ")
    if isinstance(figure, Figure):
        title = figure.layout.title.text or title
        drawn = figure.to_html(full_html=False, include_plotlyjs=True, div_id="figure")
        body = f'<div role="img" aria-label="{html.escape(figure_in_words(figure))}">\n{drawn}\n</div>'
    elif isinstance(figure, (HTML, str)):
        body = figure if isinstance(figure, str) else figure.data
    else:
        raise ValueError(f"{type(figure).__name__} can't be saved as a page: give a Plotly figure or HTML.")
    title = html.escape(html.unescape(re.sub(r"<[^>]*>", " ", title)))
    if description:
        text = html.escape(description)
        body += f'\n<figcaption style="font-family: sans-serif; max-width: 50em">{text}</figcaption>'
    if isinstance(figure, Figure):
        body += f"\n{words_and_numbers(figure)}"
    if description or isinstance(figure, Figure):
        body = f'<figure role="group" aria-label="{title}" style="margin: 0">\n{body}\n</figure>'
    head = f'<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>'
    write_atomically(path, f"<!DOCTYPE html>\n{head}\n<body>\n{body}\n</body>\n</html>\n")
    return path


def coloured_tokens(
    tokens: Sequence[str], activations: Sequence[float], largest: float, marked: int | None = None
) -> str:
    """One line of HTML: each token on a background that is darker the nearer its activation is to `largest`.

    marked: index of a token to underline
    """
    spans = []
    for i, (label, activation) in enumerate(zip(token_labels(tokens), activations)):
        share = max(0.0, min(1.0, activation / largest)) if largest > 0 else 0.0
        colour = ", ".join(str(round(255 + (strong - 255) * share)) for strong in STRONG)
        line = "; text-decoration: underline" if i == marked else ""
        spans.append(
            f'<span title="{activation:.2f}" style="background: rgb({colour}); color: {INK}{line}">{label}</span>'
        )
    return '<div style="font-family: monospace; line-height: 1.7; white-space: pre-wrap">' + "".join(spans) + "</div>"


def number_list(heading: str, pairs: Iterable[tuple[str, float]]) -> str:
    """A heading over a table of tokens with a signed number each, as HTML."""
    name = '<td style="font-family: monospace; padding-right: 1em">'
    rows = "".join(
        f'<tr>{name}{token_labels([token])[0]}</td><td style="text-align: right">{number:+.2f}</td></tr>'
        for token, number in pairs
    )
    return f"<div><h3>{html.escape(heading)}</h3><table>{rows}</table></div>"


def histogram(values: Float[Tensor, " n"]) -> str:
    """A histogram of positive numbers as SVG, with the largest one written under it."""
    if len(values) == 0:
        return "<p>nowhere</p>"
    bins, width, height = 24, 300, 120  # in pixels, without the line of text under it
    largest = values.max().item()
    counts = torch.histc(values.float(), bins, 0, largest)
    bar = f'width="{width / bins - 1:.1f}"'
    bars = "".join(
        f'<rect x="{i * width / bins:.1f}" y="{height * (1 - share):.1f}" {bar} height="{height * share:.1f}" '
        f'fill="{LINES[0]}"/>'
        for i, share in enumerate((counts / counts.max()).tolist())
    )
    what = f"histogram of {len(values)} activations up to {largest:.1f}"
    under = f'y="{height + 15}" font-size="12" fill="currentColor"'
    return (
        f'<svg width="{width}" height="{height + 20}" role="img" aria-label="{what}">{bars}<text x="0" {under}>0</text>'
        f'<text x="{width}" {under} text-anchor="end">{largest:.1f}</text></svg>'
    )
