"""The figures of a student's notebook for a page without scripts.

Pictures are shown as pictures. Plotly's figures need a script: what stands under them in the notebook is shown, their
words and the table of their numbers, made anew from the figure's data, since HTML in a notebook is the student's own.
"""

import base64
import binascii
from collections.abc import Iterator
from html import escape

from nbformat import NotebookNode

from scripts.course.cells import heading

PLOTLY = "application/vnd.plotly.v1+json"
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")  # a page that shows an SVG by <img> runs none of its scripts
MOST_BYTES = 2_000_000  # of one picture, or of what becomes of a figure
MOST_FIGURES = 40


def figures(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """The heading above each figure and the HTML that shows it, in order."""
    title, n = "", 0
    for cell in notebook.cells:
        title = heading(cell) or title
        for output in cell.get("outputs", []):
            html = _shown(output.get("data", {}))
            n += bool(html)
            if html and n <= MOST_FIGURES:
                yield title, html


def _shown(data: dict) -> str:
    if PLOTLY in data:
        return _in_words(data[PLOTLY])
    for kind in PICTURES:
        if kind in data:
            return _picture(kind, data[kind])
    return ""


def _picture(kind: str, data) -> str:
    text = "".join(data) if isinstance(data, list) else str(data)
    try:
        raw = text.encode() if kind == "image/svg+xml" else base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return ""
    if not raw:
        return ""
    if len(raw) > MOST_BYTES:
        return "<p>A picture that is too large for this page.</p>"
    return f'<img style="max-width: 100%" alt="A picture" src="data:{kind};base64,{base64.b64encode(raw).decode()}">'


def _in_words(data) -> str:
    import plotly.graph_objects as go

    from scripts.interp.figures.words import words_and_numbers

    try:
        html = words_and_numbers(go.Figure(data["data"], data["layout"]))
    except Exception:  # a figure of the student's own may be of any kind, and its data anything
        html = f"<p>A figure: {escape(_title(data))}</p>"
    return html if len(html) <= MOST_BYTES else f"<p>A figure: {escape(_title(data))}</p>"


def _title(data) -> str:
    try:
        return str(data["layout"]["title"]["text"])[:200]
    except (KeyError, TypeError):
        return "without a title"
