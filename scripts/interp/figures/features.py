"""Figures about features: directions in a plane, shares of a dimension, activations, contexts, and a page of them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scripts.interp.features.contexts import BEFORE, TopContexts
from scripts.interp.figures.pages import coloured_tokens, histogram, number_list
from scripts.interp.figures.style import EDGE, INK, LINES, PALE, new_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from IPython.display import HTML
    from transformer_lens.model_bridge import TransformerBridge


def plot_directions(W: Float[Tensor, "n_models 2 n_features"], titles: Sequence[str], title: str = "") -> go.Figure:
    """The columns of W [n_models, 2, n_features] as arrows in a plane, one panel for each model.

    Raises ValueError for another number of dimensions than two, and for another number of titles than models.
    """
    if W.dim() != 3 or W.shape[1] != 2 or len(titles) != len(W):
        raise ValueError(
            f"W has shape {tuple(W.shape)} and there are {len(titles)} titles: "
            "give [n_models, 2, n_features] and a title a model."
        )
    columns = dict(cols=len(W), subplot_titles=list(titles), horizontal_spacing=0.03)
    figure = new_figure(title, max(500, 230 * len(W)), 390, (30, 30, 90, 60), **columns)
    size = 1.15 * max(1.0, W.norm(dim=1).max().item())
    for column, directions in enumerate(W.tolist(), start=1):
        panel = dict(row=1, col=column)
        for feature, (x, y) in enumerate(zip(*directions)):
            colour = LINES[feature % len(LINES)]
            look = dict(mode="lines+markers", line=dict(color=colour, width=3), marker=dict(size=[0, 9], color=colour))
            legend = dict(name=f"feature {feature}", legendgroup=feature, showlegend=column == 1)
            figure.add_scatter(x=[0, x], y=[0, y], **look, **legend, **panel)
        axis = dict(range=[-size, size], showgrid=False, zeroline=True, zerolinecolor=EDGE, showticklabels=False)
        figure.update_xaxes(**axis, **panel)
        figure.update_yaxes(**axis, scaleanchor=f"x{column if column > 1 else ''}", **panel)
    figure.update_layout(legend=dict(orientation="h", y=-0.05))
    return figure


SHARES = {1: "1: a dimension of its own", 2 / 3: "2/3: triangle", 1 / 2: "1/2: antipodal pair", 2 / 5: "2/5: pentagon"}


def plot_dimensionality(
    sparsity: Sequence[float], shares: Sequence[Float[Tensor, " _n_features"]], title: str = ""
) -> go.Figure:
    """Each feature's share of a dimension, as a dot over how rare the features are; lines where regular shapes lie.

    sparsity: of each model, from 0 to below 1; the axis is 1 / (1 - sparsity), on a logarithmic scale
    shares: for each model the shares of its features, [n_features], such as those that it represents at all

    Raises ValueError for another number of models in one than in the other.
    """
    if len(sparsity) != len(shares):
        raise ValueError(
            f"There are {len(sparsity)} sparsities and the shares of {len(shares)} models: give as many of both."
        )
    figure = new_figure(title, 860, 480, (70, 40, 70, 70))
    spread = torch.Generator().manual_seed(0)
    for absent, values in zip(sparsity, shares):
        # a little beside the place, so that equal dots can be seen to be many
        beside = 1 + 0.03 * (torch.rand(len(values), generator=spread) - 0.5)
        figure.add_scatter(
            x=(beside / (1 - absent)).tolist(),
            y=values.tolist(),
            mode="markers",
            showlegend=False,
            marker=dict(color=LINES[0], size=6, opacity=0.45),
            hovertemplate=f"absent {absent:.0%}: %{{y:.3f}}<extra></extra>",
        )
    for share, name in SHARES.items():
        line = dict(color="#8a949e", width=1, dash="dot")
        figure.add_hline(y=share, line=line, annotation_text=name, annotation_position="top right")
    rarity, ticks = "1 / (1 − sparsity): a feature is present once in so many examples", [1, 1.5, 2, 3, 4, 6, 8]
    figure.update_xaxes(title=rarity, type="log", tickvals=[*ticks, 12, 20, 50, 100], showgrid=False)
    figure.update_yaxes(title="share of a dimension", range=[0, 1.12], showgrid=False)
    return figure


def plot_activations(
    strengths: Mapping[str, Float[Tensor, " _n"]],
    named: Mapping[str, Bool[Tensor, " _n"]],
    title: str = "",
    bins: int = 16,
) -> go.Figure:
    """Histograms of features' activations above zero, split by what a predicate says of the token; a panel a feature.

    strengths: for each feature its activations, [n]
    named: for each, under the same name, what the predicate says, bool [n]

    The two parts are stacked. Raises ValueError where activations and predicates don't fit.
    """
    if not strengths or any(
        name not in named or named[name].shape != values.shape for name, values in strengths.items()
    ):
        raise ValueError("Give activations and predicates under the same names and of the same length.")
    columns = dict(cols=len(strengths), subplot_titles=list(strengths), horizontal_spacing=0.06)
    figure = new_figure(title, max(500, 330 * len(strengths)), 390, (60, 30, 90, 60), **columns)
    for column, (name, values) in enumerate(strengths.items(), start=1):
        panel = dict(row=1, col=column)
        largest = max(values.max().item(), 1e-9)
        width = largest / bins
        middles = [(i + 0.5) * width for i in range(bins)]
        for says, colour in (("no", PALE), ("yes", LINES[0])):
            here = values[(values > 0) & (named[name].to(values.device) == (says == "yes"))]
            counts = torch.histc(here.float(), bins, 0, largest).tolist()
            legend = dict(name=f"predicate says {says}", legendgroup=says, showlegend=column == 1)
            figure.add_bar(x=middles, y=counts, width=width, marker_color=colour, **legend, **panel)
        figure.update_xaxes(title_text="activation", **panel)
    figure.update_yaxes(title_text="tokens", row=1, col=1)
    figure.update_layout(legend=dict(orientation="h", y=-0.22), barmode="stack")
    figure.update_annotations(font_size=13)
    return figure


def context_table(tokenizer: Any, contexts: TopContexts, feature: int, n: int) -> str:
    """The `n` strongest contexts of a feature as an HTML table, strongest first; "" where it is above zero nowhere."""
    lines, largest = [], contexts.activations[feature].max().item()
    for ids, activations in list(zip(contexts.tokens[feature], contexts.activations[feature]))[:n]:
        strongest = activations[BEFORE].item()
        inside = (ids != tokenizer.bos_token_id) | (torch.arange(len(ids)) == BEFORE)
        if strongest > 0:
            shown = [tokenizer.decode([i]) for i in ids[inside].tolist()]
            line = coloured_tokens(shown, activations[inside].tolist(), largest, marked=int(inside[:BEFORE].sum()))
            number = f'<td style="text-align: right; vertical-align: top; padding-right: 1em">{strongest:.1f}</td>'
            lines.append(f'<tr>{number}<td style="text-align: left">{line}</td></tr>')
    return f"<table>{''.join(lines)}</table>" if lines else ""


def show_contexts(model: TransformerBridge, contexts: TopContexts, feature: int, n: int = 6) -> HTML:
    """The strongest contexts of a feature, strongest first, with its activation at every token as colour."""
    from IPython.display import HTML

    table = context_table(model.tokenizer, contexts, feature, n)
    if not table:
        return HTML(f"<p>Feature {feature} is above zero nowhere in the {contexts.n_tokens:,} tokens looked at.</p>")
    share = f"{contexts.frequency[feature].item():.2%} of {contexts.n_tokens:,} tokens"
    return HTML(f"<p><b>Feature {feature}: above zero at {share}</b></p>{table}")


def feature_page(
    model: TransformerBridge,
    contexts: TopContexts,
    sections: Mapping[int, Mapping[str, Sequence[tuple[str, float]]]],
    histograms: Mapping[int, Float[Tensor, " _n"]],
    title: str,
) -> str:
    """A page about some features, one piece of HTML without scripts: contexts, histogram, lists of names with numbers.

    sections: for each feature its lists by heading, such as "raises the logits of": pairs (name, number)
    histograms: for each feature its activations above zero on some text, [n]
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for feature, lists in sections.items():
        parts.append(f'<section style="border-top: 1px solid {EDGE}; padding: 1em 0">')
        parts.append(show_contexts(model, contexts, feature).data)
        parts.append('<div style="display: flex; flex-wrap: wrap; gap: 3em; margin-top: 1em">')
        parts.append(f"<div><h3>Activations above zero</h3>{histogram(histograms[feature])}</div>")
        parts += [number_list(heading, pairs) for heading, pairs in lists.items()]
        parts.append("</div></section>")
    return f'<div style="font-family: sans-serif; color: {INK}; max-width: 72em; margin: auto">{"".join(parts)}</div>'
