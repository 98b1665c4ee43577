"""What a figure shows, in words and as tables of its numbers: for readers who can't see it, and to look numbers up."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_CELLS = 5000  # of a heatmap's table; of a larger one every row's range is told
MOST_POINTS = 50  # of a curve; of a longer one so many, evenly spaced
MOST_NAMES = 12
BOX = 'style="font-family: sans-serif; max-width: 100%; overflow-x: auto; margin: 0.5em 0"'


def words_and_numbers(figure: go.Figure) -> str:
    """A piece of HTML to stand under a Plotly figure of ours: folded, what it shows and a table of its numbers."""
    return details(_title(figure), figure_in_words(figure), _tables(figure))


def details(title: str, words: str, tables: Iterable[str]) -> str:
    """Words and tables (HTML) under a line that unfolds them."""
    summary = html.escape(f"In words and numbers: {title}" if title else "In words and numbers")
    return f"<details {BOX}><summary>{summary}</summary>\n<p>{html.escape(words)}</p>\n{''.join(tables)}</details>"


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table whose first column names the rows."""
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
    lines = [
        f'<tr><th scope="row">{html.escape(_short(first))}</th>'
        + "".join(f'<td style="text-align: right">{html.escape(_short(cell))}</td>' for cell in cells)
        + "</tr>"
        for first, *cells in rows
    ]
    name = f'<caption style="text-align: left">{html.escape(caption)}</caption>' if caption else ""
    return f"<table>{name}<thead><tr>{heads}</tr></thead>\n<tbody>{chr(10).join(lines)}</tbody></table>\n"


def figure_in_words(figure: go.Figure) -> str:
    """What a Plotly figure of ours is, in a few sentences: panels, axes, ranges, and where the largest number is."""
    said = [_title(figure) or "A figure"]
    for name, traces in _panels(figure):
        words = _panel_in_words(figure, traces)
        said.append(f"{name}: {words}" if name else words[0].upper() + words[1:])
    for letter, name in (("x", "Horizontal"), ("y", "Vertical")):
        if title := _axis_title(figure, letter):
            is_log = figure.layout[f"{letter}axis"].type == "log" and "log" not in title
            said.append(f"{name} axis: {title}{', logarithmic' * is_log}")
    return ". ".join(said) + "."


def plain(text: Any) -> str:
    """A text of Plotly's without its tags and signs such as &lt;, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", str(text or ""))).split())


def _title(figure: go.Figure) -> str:
    return plain(figure.layout.title.text)


def _panels(figure: go.Figure) -> list[tuple[str, list[Any]]]:
    """A panel's title ("" if it has none) and its traces, for all panels that show something."""
    panels: dict[Any, list[Any]] = {}
    for trace in figure.data:
        if trace.type == "heatmap" or len(trace.x):
            panels.setdefault((trace.xaxis, trace.yaxis), []).append(trace)
    names = [plain(note.text) for note in figure.layout.annotations if note.xref == note.yref == "paper"]
    names = names if len(names) == len(panels) else [""] * len(panels)
    return list(zip(names, panels.values()))


def _panel_in_words(figure: go.Figure, traces: Sequence[Any]) -> str:
    if traces[0].type == "heatmap":
        rows, columns = _labels(figure, traces[0])
        cells = [(value, i, k) for i, row in enumerate(traces[0].z) for k, value in enumerate(row) if _is_number(value)]
        if not cells:
            return "a heatmap without numbers"
        scale = traces[0].colorbar if traces[0].coloraxis is None else figure.layout[traces[0].coloraxis].colorbar
        (low, *_), (high, row, column) = min(cells), max(cells)
        return (
            f"a heatmap of {len(rows)} rows and {len(columns)} columns; the colour is {plain(scale.title.text)}, from "
            f"{_short(low)} to {_short(high)}, the largest in row {rows[row]}, column {columns[column]}"
        )
    kinds = {"bar": "bars", "lines": "curves", "markers": "points", "lines+markers": "points joined by lines"}
    kind = " and ".join(dict.fromkeys(kinds[trace.type if trace.type == "bar" else trace.mode] for trace in traces))
    names = list(dict.fromkeys(plain(trace.name) for trace in traces if trace.name))
    names = names[:MOST_NAMES] + [f"and {len(names) - MOST_NAMES} more"] * (len(names) > MOST_NAMES)
    of = f" ({'; '.join(names)})" if names else ""
    (left, right), (low, high) = (_range(value for trace in traces for value in trace[axis]) for axis in "xy")
    x_range = "" if traces[0].hovertext is not None else f"from {left} to {right} across, "  # x is a place, no number
    return f"{kind}{of}, {x_range}from {low} to {high} upwards"


def _tables(figure: go.Figure) -> Iterator[str]:
    x, y = _axis_title(figure, "x") or "x", _axis_title(figure, "y") or "y"
    for name, traces in _panels(figure):
        if traces[0].type == "heatmap":
            yield _heatmap_table(name, f"{y} \\ {x}", traces[0], *_labels(figure, traces[0]))
            continue
        xs = [list(_x_values(trace)) for trace in traces]
        points = [_evenly(len(values)) for values in xs]
        if any(len(some) < len(values) for some, values in zip(points, xs)):
            name = f"{name} (some of the points, evenly spaced)".strip()
        ranges = any(trace.error_y.array is not None for trace in traces)
        if not ranges and all(values == xs[0] for values in xs):  # one row for each x
            names = [plain(trace.name) or y for trace in traces]
            yield table(name, [x, *names], ([xs[0][i], *(trace.y[i] for trace in traces)] for i in points[0]))
        else:
            header = ["", x, y, *["lowest", "highest"] * ranges]
            rows = zip(traces, xs, points)
            yield table(name, header, (_row(trace, at, i, ranges) for trace, at, some in rows for i in some))


def _row(trace: Any, xs: Sequence[Any], i: int, ranges: bool) -> list[Any]:
    row = [plain(trace.name), xs[i], trace.y[i]]
    if ranges:
        above, below = trace.error_y.array, trace.error_y.arrayminus
        row += [trace.y[i] - below[i], trace.y[i] + above[i]] if above is not None else ["", ""]
    return row


def _heatmap_table(name: str, corner: str, trace: Any, rows: Sequence[str], columns: Sequence[str]) -> str:
    if len(rows) * len(columns) > MOST_CELLS:
        ranges = [_range(row) for row in trace.z]
        caption = f"{name} (the range of every row: {len(rows)} × {len(columns)} numbers are too many)".strip()
        return table(caption, [corner, "lowest", "highest"], ([row, *ends] for row, ends in zip(rows, ranges)))
    texts = trace.text if trace.text is not None else [[""] * len(columns)] * len(rows)
    lines = ([f"{plain(t)} {_short(z)}".strip() for t, z in zip(*each)] for each in zip(texts, trace.z))
    return table(name, [corner, *columns], ([row, *line] for row, line in zip(rows, lines)))


def _labels(figure: go.Figure, trace: Any) -> tuple[list[str], list[str]]:
    """What the rows and the columns of a heatmap are called: tokens with their position, or numbers."""
    found = []
    for reference, n in ((trace.yaxis or "y", len(trace.z)), (trace.xaxis or "x", len(trace.z[0]))):
        texts = figure.layout[f"{reference[0]}axis{reference[1:]}"].ticktext
        named = texts is not None and len(texts) == n
        found.append([f"{i} {plain(texts[i])}" if named else str(i) for i in range(n)])
    return found[0], found[1]


def _axis_title(figure: go.Figure, letter: str) -> str:
    axes = figure.select_xaxes() if letter == "x" else figure.select_yaxes()
    return "; ".join(dict.fromkeys(plain(axis.title.text) for axis in axes if axis.title.text))


def _x_values(trace: Any) -> Sequence[Any]:
    """A trace's x values, or what stands for them where x is only a place."""
    return trace.x if trace.hovertext is None else trace.hovertext


def _evenly(n: int) -> list[int]:
    """At most MOST_POINTS of n indices, the first and the last among them."""
    return list(range(n)) if n <= MOST_POINTS else [i * (n - 1) // (MOST_POINTS - 1) for i in range(MOST_POINTS)]


def _range(values: Iterable[Any]) -> tuple[str, str]:
    numbers = [value for value in values if _is_number(value)]
    return (_short(min(numbers)), _short(max(numbers))) if numbers else ("nothing", "nothing")


def _is_number(value: Any) -> bool:
    return value is not None and not isinstance(value, str) and math.isfinite(value)


def _short(value: Any) -> str:
    """A number with four digits; what is no number as it is, a gap as nothing."""
    if isinstance(value, str):
        return value
    if not _is_number(value):
        return ""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1e4 else f"{value:.4g}"
