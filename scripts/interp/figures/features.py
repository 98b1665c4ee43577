"""Figures about features: directions in a plane, contexts with their tokens coloured, and a page about some features."""

import html
import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch
from IPython.display import HTML
from plotly.subplots import make_subplots
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from scripts.interp.features.contexts import BEFORE, TopContexts
from scripts.interp.figures.heads import INK, LINES, token_labels

STRONG = (95, 168, 220)  # background of a token at the feature's maximum; lighter for less


def plot_directions(W: Tensor, titles: Sequence[str], title: str = "") -> go.Figure:
    """The columns of W [n_models, 2, n_features] as arrows in a plane, one panel for each model.

    Raises ValueError for another number of dimensions than two, and for another number of titles than models.
    """
    if W.dim() != 3 or W.shape[1] != 2 or len(titles) != len(W):
        raise ValueError(
            f"W has shape {tuple(W.shape)} and there are {len(titles)} titles: give [n_models, 2, n_features] and a title a model."
        )
    figure = make_subplots(cols=len(W), subplot_titles=list(titles), horizontal_spacing=0.03)
    size = 1.15 * max(1.0, W.norm(dim=1).max().item())
    for column, directions in enumerate(W.tolist(), start=1):
        for feature, (x, y) in enumerate(zip(*directions)):
            colour = LINES[feature % len(LINES)]
            figure.add_scatter(
                x=[0, x], y=[0, y], mode="lines+markers", line=dict(color=colour, width=3), marker=dict(size=[0, 9], color=colour),
                name=f"feature {feature}", legendgroup=feature, showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
        axis = dict(range=[-size, size], showgrid=False, zeroline=True, zerolinecolor="#c9d1d9", showticklabels=False)
        figure.update_xaxes(**axis, row=1, col=column)
        figure.update_yaxes(**axis, scaleanchor=f"x{column if column > 1 else ''}", row=1, col=column)
    figure.update_layout(
        title=dict(text=title, x=0.02, xanchor="left"), template="plotly_white", font_color=INK, width=max(500, 230 * len(W)), height=390,
        margin=dict(l=30, r=30, t=90, b=60), legend=dict(orientation="h", y=-0.05),
    )  # fmt: skip
    return figure


SHARES = {1: "1: a dimension of its own", 2 / 3: "2/3: triangle", 1 / 2: "1/2: antipodal pair", 2 / 5: "2/5: pentagon"}


def plot_dimensionality(sparsity: Sequence[float], shares: Sequence[Tensor], title: str = "") -> go.Figure:
    """Each feature's share of a dimension, as a dot over how rare the features are; lines where regular shapes lie.

    sparsity: of each model, from 0 to below 1; the axis is 1 / (1 - sparsity), on a logarithmic scale
    shares: for each model the shares of its features, [n_features], such as those that it represents at all

    Raises ValueError for another number of models in one than in the other.
    """
    if len(sparsity) != len(shares):
        raise ValueError(
            f"There are {len(sparsity)} sparsities and the shares of {len(shares)} models: give as many of both."
        )
    figure = go.Figure()
    spread = torch.Generator().manual_seed(0)
    for i, (absent, values) in enumerate(zip(sparsity, shares)):
        beside = 1 + 0.03 * (
            torch.rand(len(values), generator=spread) - 0.5
        )  # so that equal dots can be seen to be many
        figure.add_scatter(
            x=(beside / (1 - absent)).tolist(), y=values.tolist(), mode="markers", showlegend=False,
            marker=dict(color=LINES[0], size=6, opacity=0.45), hovertemplate=f"absent {absent:.0%}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    for share, name in SHARES.items():
        figure.add_hline(
            y=share,
            line=dict(color="#8a949e", width=1, dash="dot"),
            annotation_text=name,
            annotation_position="top right",
        )
    ticks = [1, 1.5, 2, 3, 4, 6, 8, 12, 20, 50, 100]
    figure.update_xaxes(
        title="1 / (1 − sparsity): a feature is present once in so many examples",
        type="log",
        tickvals=ticks,
        showgrid=False,
    )
    figure.update_yaxes(title="share of a dimension", range=[0, 1.12], showgrid=False)
    figure.update_layout(
        title=dict(text=title, x=0.02, xanchor="left"), template="plotly_white", font_color=INK, width=860, height=480,
        margin=dict(l=70, r=40, t=70, b=70),
    )  # fmt: skip
    return figure


def plot_densities(frequencies: Mapping[str, Tensor], n_tokens: int, title: str = "", bins: int = 30) -> go.Figure:
    """Histograms of how often features are above zero, on a logarithmic scale, one panel under another.

    frequencies: by name, the share of the tokens at which each feature is above zero, [n_features]; features that are so
        nowhere stand in a bar of their own at the left
    n_tokens: that were looked at; less than one in n_tokens can't be seen
    """
    lowest = math.log10(1 / n_tokens)
    width = -lowest / bins
    figure = make_subplots(
        rows=len(frequencies), cols=1, shared_xaxes=True, vertical_spacing=0.09, subplot_titles=list(frequencies)
    )
    for row, values in enumerate(frequencies.values(), start=1):
        seen = values[values > 0].log10()
        counts = torch.histc(seen, bins, lowest, 0)
        figure.add_bar(
            x=[lowest + (i + 0.5) * width for i in range(bins)],
            y=counts.tolist(),
            width=width,
            marker_color=LINES[0],
            row=row,
            col=1,
            name="units",
        )
        figure.add_bar(
            x=[lowest - 2 * width],
            y=[int((values == 0).sum())],
            width=width,
            marker_color=LINES[1],
            row=row,
            col=1,
            name="on no token",
        )
        figure.update_yaxes(title="units", row=row, col=1)
    powers = range(math.ceil(lowest), 1)
    figure.update_xaxes(tickvals=[lowest - 2 * width, *powers], ticktext=["never", *(f"{10.0**p:g}" for p in powers)])
    figure.update_xaxes(title="share of the tokens at which a feature is above zero", row=len(frequencies), col=1)
    figure.update_layout(
        title=dict(text=title, x=0.02, xanchor="left"), template="plotly_white", font_color=INK, width=820, height=120 + 190 * len(frequencies),
        margin=dict(l=70, r=30, t=90, b=60), showlegend=False,
    )  # fmt: skip
    figure.update_annotations(font_size=13)
    return figure


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


def show_contexts(model: TransformerBridge, contexts: TopContexts, feature: int, n: int = 6) -> HTML:
    """The strongest contexts of a feature, strongest first, with its activation at every token as colour."""
    bos, lines = model.tokenizer.bos_token_id, []
    largest = contexts.activations[feature].max().item()
    for ids, activations in list(zip(contexts.tokens[feature], contexts.activations[feature]))[:n]:
        strongest = activations[BEFORE].item()
        inside = (ids != bos) | (torch.arange(len(ids)) == BEFORE)
        if strongest > 0:
            shown = [model.tokenizer.decode([i]) for i in ids[inside].tolist()]
            line = coloured_tokens(shown, activations[inside].tolist(), largest, marked=int(inside[:BEFORE].sum()))
            lines.append(
                f'<tr><td style="text-align: right; vertical-align: top; padding-right: 1em">{strongest:.1f}</td><td style="text-align: left">{line}</td></tr>'
            )
    if not lines:
        return HTML(f"<p>Feature {feature} is above zero nowhere in the {contexts.n_tokens:,} tokens looked at.</p>")
    heading = (
        f"Feature {feature}: above zero at {contexts.frequency[feature].item():.2%} of {contexts.n_tokens:,} tokens"
    )
    return HTML(f"<p><b>{heading}</b></p><table>{''.join(lines)}</table>")


def plot_activations(
    strengths: Mapping[str, Tensor], named: Mapping[str, Tensor], title: str = "", bins: int = 16
) -> go.Figure:
    """Histograms of features' activations above zero, split by what a predicate says of the token; one panel a feature.

    strengths: for each feature its activations, [n]; named: for each, under the same name, what the predicate says, bool [n]
    The two parts are stacked. Raises ValueError where activations and predicates don't fit.
    """
    if not strengths or any(
        name not in named or named[name].shape != values.shape for name, values in strengths.items()
    ):
        raise ValueError("Give activations and predicates under the same names and of the same length.")
    figure = make_subplots(cols=len(strengths), subplot_titles=list(strengths), horizontal_spacing=0.06)
    for column, (name, values) in enumerate(strengths.items(), start=1):
        largest = max(values.max().item(), 1e-9)
        width = largest / bins
        for says, colour in (("no", "#b8c2cc"), ("yes", LINES[0])):
            here = values[(values > 0) & (named[name] == (says == "yes"))]
            figure.add_bar(
                x=[(i + 0.5) * width for i in range(bins)], y=torch.histc(here.float(), bins, 0, largest).tolist(), width=width, marker_color=colour,
                name=f"predicate says {says}", legendgroup=says, showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
        figure.update_xaxes(title_text="activation", row=1, col=column)
    figure.update_yaxes(title_text="tokens", row=1, col=1)
    figure.update_layout(
        title=dict(text=title, x=0.02, xanchor="left"), template="plotly_white", font_color=INK, width=max(500, 330 * len(strengths)), height=390,
        margin=dict(l=60, r=30, t=90, b=60), legend=dict(orientation="h", y=-0.22), barmode="stack",
    )  # fmt: skip
    figure.update_annotations(font_size=13)
    return figure


def feature_page(
    model: TransformerBridge,
    contexts: TopContexts,
    sections: Mapping[int, Mapping[str, Sequence[tuple[str, float]]]],
    histograms: Mapping[int, Tensor],
    title: str,
) -> str:
    """A page about some features, as one piece of HTML without scripts: contexts, histogram, lists of names with numbers.

    sections: for each feature its lists by heading, such as "raises the logits of": pairs (name, number)
    histograms: for each feature its activations above zero on some text, [n]
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for feature, lists in sections.items():
        parts.append('<section style="border-top: 1px solid #c9d1d9; padding: 1em 0">')
        parts.append(show_contexts(model, contexts, feature).data)
        parts.append('<div style="display: flex; flex-wrap: wrap; gap: 3em; margin-top: 1em">')
        parts.append(f"<div><h3>Activations above zero</h3>{_histogram(histograms[feature])}</div>")
        for heading, pairs in lists.items():
            rows = "".join(
                f'<tr><td style="font-family: monospace; padding-right: 1em">{token_labels([name])[0]}</td><td style="text-align: right">{number:+.2f}</td></tr>'
                for name, number in pairs
            )
            parts.append(f"<div><h3>{html.escape(heading)}</h3><table>{rows}</table></div>")
        parts.append("</div></section>")
    return f'<div style="font-family: sans-serif; color: {INK}; max-width: 72em; margin: auto">{"".join(parts)}</div>'


def _histogram(values: Tensor, bins: int = 24, width: int = 300, height: int = 120) -> str:
    """A histogram of positive numbers as SVG, with the largest one written under it."""
    if len(values) == 0:
        return "<p>nowhere</p>"
    largest = values.max().item()
    counts = torch.histc(values.float(), bins, 0, largest)
    bars = "".join(
        f'<rect x="{i * width / bins:.1f}" y="{height * (1 - share):.1f}" width="{width / bins - 1:.1f}" height="{height * share:.1f}" fill="{LINES[0]}"/>'
        for i, share in enumerate((counts / counts.max()).tolist())
    )
    return (
        f'<svg width="{width}" height="{height + 20}" role="img" aria-label="histogram of {len(values)} activations up to {largest:.1f}">{bars}'
        f'<text x="0" y="{height + 15}" font-size="12">0</text><text x="{width}" y="{height + 15}" font-size="12" text-anchor="end">{largest:.1f}</text></svg>'
    )
