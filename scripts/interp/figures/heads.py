"""Figures of the labs: attention patterns, head scores, logit lens, residual norms, curves; and saving them as pages.

The figures are Plotly's, except `plot_attention_heads`, which is circuitsvis'. No page that they end up in
loads anything from elsewhere.
"""

import html
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go
import torch
from circuitsvis.attention import attention_heads
from IPython.display import HTML
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from scripts.interp.base.files import write_atomically
from scripts.interp.runs.logits import logit_lens
from scripts.interp.runs.prompts import Prompt, single_prompt_tokens

SEQUENTIAL, DIVERGING = "Blues", "RdBu"
UNDER_TEXT = ("#ffffff", "#5fa8dc")  # light enough to read a token on it
INK = "#1f2933"
LINES = ("#1f6fb2", "#c0392b", "#2e8b57", "#8e5bb5", "#c9822b")  # told apart by colour-blind readers, in this order
FIRST_LINE = dict(color="#c0392b", width=3, dash="dash")


def plot_attention_pattern(pattern: Tensor, tokens: Sequence[str], title: str | None = None) -> go.Figure:
    """One head's attention pattern as a heatmap: rows are the positions that look, columns those looked at.

    pattern: [query pos, key pos], attention weights between 0 and 1
    tokens: the text of every position, as `model.to_str_tokens(prompt)` gives it
    Raises ValueError if the shapes do not fit or the numbers are no weights.
    """
    _check_weights(pattern, tokens, (len(tokens), len(tokens)))
    pattern = pattern.detach().float().cpu()
    later = torch.ones_like(pattern, dtype=torch.bool).triu(1)
    labels = token_labels(tokens)
    figure = go.Figure(
        go.Heatmap(
            z=pattern.masked_fill(later & (pattern == 0), torch.nan).tolist(),  # what can't be seen is blank
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            customdata=[[f"{q} {a} → {k} {b}" for k, b in enumerate(labels)] for q, a in enumerate(labels)],
            hovertemplate="%{customdata}<br>weight %{z:.3f}<extra></extra>",
            hoverongaps=False,
            colorbar_title=_scale_title("attention weight"),
        )
    )
    side = max(320, 26 * len(tokens))
    _style(figure, title or "Attention pattern", side + 220, side + 170)
    _token_axis(figure.update_xaxes, labels, "key: looked at")
    _token_axis(figure.update_yaxes, labels, "query: looks", tickangle=0, autorange="reversed")
    return figure


def plot_attention_heads(cache: Mapping[str, Tensor], tokens: Sequence[str], layer: int) -> HTML:
    """The attention patterns of all heads of one layer, side by side; point at one to see it large.

    cache: what `run_with_cache` gave for one prompt, with `attn.hook_pattern` [1, n_heads, pos, pos]
    tokens: the text of every position, as `model.to_str_tokens(prompt)` gives it
    Raises ValueError if the cache lacks the layer, holds several prompts, or does not fit the tokens.
    """
    name = f"blocks.{layer}.attn.hook_pattern"
    if name not in cache:
        raise ValueError(f"The cache holds no {name!r}: is there such a layer, and was it cached?")
    patterns = cache[name]
    patterns = patterns[0] if patterns.dim() == 4 and len(patterns) == 1 else patterns
    _check_weights(patterns, tokens, (patterns.shape[0], len(tokens), len(tokens)))
    view = attention_heads(
        attention=patterns.detach().float().cpu(),
        tokens=[_visible(token) for token in tokens],
        attention_head_names=[f"L{layer}H{head}" for head in range(len(patterns))],
    )
    # Shown as it is, circuitsvis asks the internet each time, and loads its script from there when it can. Its
    # local page begins with a <div/>, which HTML does not know: it would swallow whatever follows.
    return HTML(view.local_src.replace("/>", "></div>", 1))


def plot_head_scores(
    scores: Tensor | Mapping[str, Tensor], title: str | None = None, *, effect: bool = False, unit: str | None = None
) -> go.Figure:
    """A heatmap of one number for each head, layer by layer; several side by side with one colour scale.

    scores: [n_layers, n_heads], or a dict of them by name
    effect: False for scores from 0 to 1, such as attention weights; True for effects of either sign, whose
        colours are centred at zero
    unit: what the numbers are, written at the colour scale
    Raises ValueError for other shapes and for negative or larger numbers without `effect`.
    """
    panels = dict(scores) if isinstance(scores, Mapping) else {"": scores}
    shapes = {tuple(panel.shape) for panel in panels.values()}
    if len(shapes) != 1 or any(len(shape) != 2 or 0 in shape for shape in shapes):
        raise ValueError(f"scores has shape {shapes}: give [n_layers, n_heads], or a dict of such tensors.")
    panels = {name: panel.detach().float().cpu() for name, panel in panels.items()}
    smallest = min(panel.min().item() for panel in panels.values())
    largest = max(panel.abs().max().item() for panel in panels.values())
    if not effect and (smallest < 0 or largest > 1 + 1e-4):
        raise ValueError(f"scores reach {smallest:.3g} and {largest:.3g}, as no weights do: use effect=True.")
    limit = (largest or 1.0) if effect else 1.0
    [(n_layers, n_heads)] = shapes
    names = list(panels)
    figure = make_subplots(1, len(names), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.04)
    for column, panel in enumerate(panels.values(), start=1):
        heatmap = go.Heatmap(
            z=panel.tolist(), coloraxis="coloraxis", xgap=1, ygap=1, hovertemplate="L%{y}H%{x}: %{z:.3f}<extra></extra>"
        )
        figure.add_trace(heatmap, row=1, col=column)
    figure.update_layout(
        coloraxis=dict(
            colorscale=DIVERGING if effect else SEQUENTIAL,
            cmin=-limit if effect else 0,
            cmax=limit,
            colorbar_title=_scale_title(unit or ("effect" if effect else "attention weight")),
        )
    )
    width = max(520, len(panels) * max(180, 24 * n_heads) + 190)
    _style(figure, title or "Head scores", width, max(280, 16 * n_layers) + 170)
    figure.update_xaxes(title="head", tick0=0, dtick=max(1, n_heads // 8), showgrid=False)
    figure.update_yaxes(tick0=0, dtick=max(1, n_layers // 10), showgrid=False, autorange="reversed")
    figure.update_yaxes(title="layer", row=1, col=1)
    return figure


def plot_stream_effects(
    effects: Tensor | Mapping[str, Tensor], tokens: Sequence[str], title: str | None = None
) -> go.Figure:
    """A heatmap of one effect for each layer and position, colours centred at zero; several with one colour scale.

    effects: [n_layers, pos], as `patch_stream` gives it, or a dict of them by name; one is drawn under the other
    tokens: what stands at every position, such as `model.to_str_tokens(prompt)` or names of roles
    Raises ValueError if they do not fit.
    """
    panels = dict(effects) if isinstance(effects, Mapping) else {"": effects}
    shapes = {tuple(panel.shape) for panel in panels.values()}
    if len(shapes) != 1 or any(len(shape) != 2 or shape[1] != len(tokens) for shape in shapes):
        raise ValueError(f"effects has shape {shapes}: give [n_layers, {len(tokens)}], or a dict of such tensors.")
    panels = {name: panel.detach().float().cpu() for name, panel in panels.items()}
    limit = max(panel.abs().max().item() for panel in panels.values()) or 1.0
    [(n_layers, _)] = shapes
    labels = token_labels(tokens)
    figure = make_subplots(len(panels), 1, subplot_titles=list(panels), shared_xaxes=True, vertical_spacing=0.08)
    for row, panel in enumerate(panels.values(), start=1):
        heatmap = go.Heatmap(
            z=panel.tolist(),
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
            customdata=[[f"layer {layer}, {p} {label}" for p, label in enumerate(labels)] for layer in range(n_layers)],
            hovertemplate="%{customdata}: %{z:.3f}<extra></extra>",
        )
        figure.add_trace(heatmap, row=row, col=1)
    scale = dict(colorscale=DIVERGING, cmin=-limit, cmax=limit, colorbar_title=_scale_title("effect"))
    figure.update_layout(coloraxis=scale)
    height = len(panels) * max(220, 14 * n_layers) + 190
    _style(figure, title or "Effect of patching one layer at one position", max(560, 44 * len(tokens) + 220), height)
    _token_axis(figure.update_xaxes, labels, None)
    figure.update_xaxes(title="position", row=len(panels), col=1)
    figure.update_yaxes(title="layer", tick0=0, dtick=max(1, n_layers // 10), showgrid=False, autorange="reversed")
    return figure


def plot_logit_lens(model: TransformerBridge, prompt: Prompt, title: str | None = None) -> go.Figure:
    """The most likely next token after every layer, at every position, coloured by its probability.

    Layer 0 is at the top; the last row is what the model predicts. Raises ValueError for an empty prompt.
    """
    tokens = single_prompt_tokens(model, prompt)
    best = [layer.float().softmax(dim=-1).max(dim=-1) for layer in logit_lens(model, prompt)]
    texts = [_tokens_as_text(model, layer.indices) for layer in best]
    labels = token_labels(_tokens_as_text(model, tokens))
    figure = go.Figure(
        go.Heatmap(
            z=[layer.values.tolist() for layer in best],
            text=[token_labels(row, longest=8) for row in texts],
            texttemplate="%{text}",
            textfont=dict(size=11, color=INK),
            customdata=[
                [f"after {i} {label}: {token}" for i, (label, token) in enumerate(zip(labels, row))]
                for row in map(token_labels, texts)
            ],
            hovertemplate="layer %{y}, %{customdata}<br>probability %{z:.3f}<extra></extra>",
            colorscale=UNDER_TEXT,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            colorbar_title=_scale_title("probability"),
        )
    )
    title = title or "Logit lens: most likely next token"
    _style(figure, title, 72 * len(tokens) + 220, 21 * len(best) + 190)
    _token_axis(figure.update_xaxes, labels, "token read at this position", tickangle=-45)
    figure.update_yaxes(title="layer", tick0=0, dtick=1, showgrid=False, autorange="reversed")
    return figure


def plot_residual_norms(norms: Tensor, tokens: Sequence[str], title: str | None = None) -> go.Figure:
    """The residual stream's norm at every position, layer by layer; the first position stands out.

    norms: [n_layers + 1, pos], as `get_residual_stream_norms` gives it: row 0 is the embedding
    tokens: the text of every position. Raises ValueError if they do not fit.
    """
    if norms.dim() != 2 or norms.shape[1] != len(tokens) or len(norms) < 2:
        raise ValueError(f"norms has shape {tuple(norms.shape)}: give [n_layers + 1, {len(tokens)}].")
    norms = norms.detach().float().cpu()
    others = sample_colorscale("Viridis", [position / len(tokens) for position in range(len(tokens))])
    figure = go.Figure()
    for position, label in enumerate(token_labels(tokens)):
        figure.add_scatter(
            x=list(range(len(norms))),
            y=norms[:, position].tolist(),
            name=f"{position} {label}",
            mode="lines",
            line=FIRST_LINE if position == 0 else dict(color=others[position], width=1.5),
            hovertemplate=f"{position} {label}: %{{y:,.0f}}<extra></extra>",
        )
    _style(figure, title or "Norm of the residual stream", 900, max(480, 21 * len(tokens) + 140))
    figure.update_xaxes(title="after how many layers (0: the embedding)")
    figure.update_yaxes(title="L2 norm (log scale)", type="log", dtick=1, tickformat=",~r")
    return figure


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
    figure = make_subplots(
        rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=list(panels)
    )
    for row, (panel, curves) in enumerate(panels.items(), start=1):
        for name, (xs, ys) in curves.items():
            if len(xs) != len(ys):
                raise ValueError(
                    f"The curve {name!r} has {len(xs)} x values and {len(ys)} y values: give as many of both."
                )
            figure.add_scatter(
                x=list(xs), y=list(ys), name=name, mode="lines", line=dict(color=colours[name], width=2.5),
                legendgroup=name, showlegend=all(name not in earlier for earlier in list(panels.values())[: row - 1]),
                row=row, col=1,
            )  # fmt: skip
        figure.update_yaxes(title=y, row=row, col=1)
    figure.update_xaxes(title=x, row=len(panels), col=1)
    _style(figure, title or "", 820, 130 + (300 if len(panels) == 1 else 190 * len(panels)))
    figure.update_layout(legend=dict(orientation="h", x=1, xanchor="right", y=1.02, yanchor="bottom"))
    return figure


def save_figure(figure: go.Figure | HTML | str, path: str | Path, description: str | None = None) -> Path:
    """Write a figure, or a piece of HTML, as one web page that needs no network; return the path.

    description: what the figure shows, for readers who can't see it; it stands under the figure

    The page appears whole or not at all. Raises ValueError for something else and for a path that is no .html
    file.
    """
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"The path {path} does not end in .html: figures are saved as web pages.")
    title = path.stem.replace("_", " ")
    if isinstance(figure, go.Figure):
        title = figure.layout.title.text or title
        body = figure.to_html(full_html=False, include_plotlyjs=True, div_id="figure")
    elif isinstance(figure, (HTML, str)):
        body = figure if isinstance(figure, str) else figure.data
    else:
        raise ValueError(f"{type(figure).__name__} can't be saved as a page: give a Plotly figure or HTML.")
    title = html.escape(html.unescape(re.sub(r"<[^>]*>", " ", title)))
    if description:
        text = html.escape(description)
        body = f'<figure role="group" aria-label="{title}">\n{body}\n<figcaption style="font-family: sans-serif; max-width: 50em">{text}</figcaption>\n</figure>'
    head = f'<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>'
    write_atomically(path, f"<!DOCTYPE html>\n{head}\n<body>\n{body}\n</body>\n</html>\n")
    return path


def token_labels(tokens: Sequence[str], longest: int = 14) -> list[str]:
    """Short labels for Plotly's text: spaces and line breaks visible, "<|im_start|>" written <im_start>."""
    shown = map(_visible, tokens)
    short = (token if len(token) <= longest else token[: longest - 1] + "…" for token in shown)
    return [html.escape(token, quote=False) for token in short]


def _visible(token: str) -> str:
    token = re.sub(r"^<\|(.+)\|>$", r"<\1>", token)
    signs = {" ": "␣", "\n": "↵", "\t": "⇥"}
    return "".join(signs.get(c) or (c if c.isprintable() else repr(c)[1:-1]) for c in token)


def _tokens_as_text(model: TransformerBridge, tokens: Tensor) -> list[str]:
    return model.to_str_tokens(tokens) if model.tokenizer else [str(token) for token in tokens.tolist()]


def _check_weights(pattern: Tensor, tokens: Sequence[str], shape: tuple[int, ...]) -> None:
    if tuple(pattern.shape) != shape:
        given = tuple(pattern.shape)
        raise ValueError(f"The pattern has shape {given}: with {len(tokens)} tokens give {shape}.")
    if not (pattern >= -1e-4).all() or not (pattern <= 1 + 1e-4).all():
        raise ValueError("The pattern has numbers outside 0 to 1: give attention weights, not scores.")


def _style(figure: go.Figure, title: str, width: int, height: int) -> None:
    figure.update_layout(
        title=dict(text=title, x=0.02, xanchor="left"),
        width=width,
        height=height,
        template="plotly_white",
        font_color=INK,
        margin=dict(l=100, r=40, t=80, b=90),
    )


def _scale_title(text: str) -> dict[str, str]:
    """A colour scale's title, beside it: above it, the title would touch the topmost number."""
    return dict(text=text, side="right")


def _token_axis(update, labels: list[str], title: str | None, **options) -> None:
    """Label positions with tokens. The axis stays numeric: as categories, equal tokens would be one."""
    options = {"tickangle": -60, "showgrid": False, "zeroline": False, **options}
    update(title=title, tickvals=list(range(len(labels))), ticktext=labels, **options)
