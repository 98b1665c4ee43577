"""Drawings as SVG text, for pages that show a picture by a link: small, sharp at any size, and the same on every run.

The labs' figures are Plotly's (`style.py`); these need no script and no browser to be written. Each has its own light
background, so that it can be read on a dark page, and a title and a description for readers who can't see it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from jaxtyping import Float
from torch import Tensor

from scripts.interp.figures.style import EDGE, INK, LINES, visible

STRONG, OPPOSITE = (31, 111, 178), (192, 57, 43)  # LINES[0] and LINES[1]: numbers above and below zero
FONT = "Helvetica, Arial, sans-serif"
SEEN = 0.01  # of the largest value: what is less is left white


def drawing(title: str, description: str, width: int, height: int, parts: Iterable[str]) -> str:
    """A whole SVG file. width, height: in pixels; parts: what the other functions return."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-labelledby="title description" font-family="{FONT}" font-size="13" fill="{INK}">'
    )
    words = f'<title id="title">{html.escape(title)}</title>\n<desc id="description">{html.escape(description)}</desc>'
    ground = rect(0.5, 0.5, width - 1, height - 1, "#ffffff", EDGE, corner=6)
    shown = text(16, 26, title, size=15, bold=True)
    return "\n".join([head, words, ground, shown, *parts, "</svg>\n"])


def rect(x: float, y: float, width: float, height: float, fill: str, edge: str = "", corner: int = 0) -> str:
    line = f' stroke="{edge}"' if edge else ""
    rounded = f' rx="{corner}"' if corner else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"{line}{rounded}/>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str = EDGE, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'


def dot(x: float, y: float, radius: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>'


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 13,
    anchor: str = "start",
    bold: bool = False,
    colour: str = "",
    angle: int = 0,
) -> str:
    """One line of text. anchor: "start", "middle" or "end" of it stands at (x, y); angle: in degrees, clockwise"""
    options = "" if size == 13 else f' font-size="{size}"'
    options += "" if anchor == "start" else f' text-anchor="{anchor}"'
    options += ' font-weight="bold"' if bold else ""
    options += f' fill="{colour}"' if colour else ""
    options += f' transform="rotate({angle} {x:g} {y:g})"' if angle else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{options} xml:space="preserve">{html.escape(words, quote=False)}</text>'


def lines_of_text(x: float, y: float, rows: Sequence[str], step: int = 18) -> list[str]:
    return [text(x, y + i * step, row) for i, row in enumerate(rows)]


def shade(share: float) -> str:
    """The colour of a number between -1 and 1: white at zero, blue above it and red below; larger ones are cut."""
    strong, share = (STRONG if share >= 0 else OPPOSITE), min(1.0, abs(share))
    return f"rgb({','.join(str(round(255 + (colour - 255) * share)) for colour in strong)})"


def heat(
    values: Float[Tensor, "n_rows n_columns"], x: float, y: float, width: float, height: float, largest: float = 1.0
) -> list[str]:
    """Cells coloured by values [n_rows, n_columns], row 0 at the top, in a frame whose upper left corner is (x, y).

    width, height: of one cell in pixels; largest: the value with the full colour
    """
    n_rows, n_columns = values.shape
    cells = [
        rect(x + column * width, y + row * height, width - 1, height - 1, shade(value / largest))
        for row, of_row in enumerate(values.tolist())
        for column, value in enumerate(of_row)
        if abs(value) >= SEEN * largest
    ]
    return [rect(x - 1, y - 1, n_columns * width + 1, n_rows * height + 1, "#ffffff", EDGE), *cells]


def tokens_beside(tokens: Sequence[str], x: float, y: float, step: float) -> list[str]:
    """Tokens one below the other, each ending at x; the first stands in the middle of a cell at y."""
    return [text(x, y + (i + 0.5) * step + 4, visible(token), anchor="end") for i, token in enumerate(tokens)]


def tokens_below(tokens: Sequence[str], x: float, y: float, step: float) -> list[str]:
    """Tokens side by side, written upwards so that each ends under the middle of its cell."""
    return [
        text(x + (i + 0.5) * step + 4, y, visible(token), anchor="end", angle=-60) for i, token in enumerate(tokens)
    ]


def scale(x: float, y: float, words: str, low: str = "0", high: str = "1", width: int = 110) -> list[str]:
    """A colour scale from low to high with what it measures above it; low is "-1" where colours go both ways."""
    start, steps = (-1.0 if low.startswith("-") else 0.0), 11
    shares = [start + (1 - start) * i / (steps - 1) for i in range(steps)]
    boxes = [rect(x + i * width / steps, y, width / steps, 12, shade(share)) for i, share in enumerate(shares)]
    ends = [text(x, y + 28, low), text(x + width, y + 28, high, anchor="end")]
    return [text(x, y - 8, words), *boxes, rect(x, y, width, 12, "none", EDGE), *ends]


def bar(x: float, y: float, width: float, height: float, colour: str = LINES[0]) -> str:
    """A bar that stands on y."""
    return f'<rect x="{x:g}" y="{y - height:.1f}" width="{width:g}" height="{height:.1f}" fill="{colour}"/>'
