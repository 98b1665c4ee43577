"""Figures of a model's inside, by layer: attention patterns, head scores, effects of patching, logit lens, norms.

They are Plotly's, except `plot_attention_heads`, which is circuitsvis'. No page that they end up in loads anything
from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.figures.style import (
    DIVERGING,
    INK,
    SEQUENTIAL,
    UNDER_TEXT,
    layer_axis,
    new_figure,
    scale_title,
    token_axis,
    token_labels,
    visible,
)
from scripts.interp.figures.words import details, table
from scripts.interp.runs.logits import logit_lens
from scripts.interp.runs.prompts import Prompt, single_prompt_tokens

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from IPython.display import HTML
    from transformer_lens.model_bridge import TransformerBridge

FIRST_LINE = dict(color="#c0392b", width=3, dash="dash")


def plot_attention_pattern(
    pattern: Float[Tensor, "query_pos key_pos"], tokens: Sequence[str], title: str | None = None
) -> go.Figure:
    """One head's attention pattern as a heatmap: rows are the positions that look, columns those looked at.

    pattern: [query pos, key pos], attention weights between 0 and 1
    tokens: the text of every position, as `model.to_str_tokens(prompt)` gives it
    Raises ValueError if the shapes do not fit or the numbers are no weights.
    """
    _check_weights(pattern, tokens, (len(tokens), len(tokens)))
    pattern = pattern.detach().float().cpu()
    later = torch.ones_like(pattern, dtype=torch.bool).triu(1)
    labels = token_labels(tokens)
    side = max(320, 26 * len(tokens))
    figure = new_figure(title or "Attention pattern", side + 220, side + 170)
    figure.add_heatmap(
        z=pattern.masked_fill(later & (pattern == 0), torch.nan).tolist(),  # what can't be seen is blank
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=1,
        xgap=1,
        ygap=1,
        customdata=[[f"{q} {a} → {k} {b}" for k, b in enumerate(labels)] for q, a in enumerate(labels)],
        hovertemplate="%{customdata}<br>weight %{z:.3f}<extra></extra>",
        hoverongaps=False,
        colorbar_title=scale_title("attention weight"),
    )
    figure.update_xaxes(token_axis(labels, "key: looked at"))
    figure.update_yaxes(token_axis(labels, "query: looks", tickangle=0, autorange="reversed"))
    return figure


def plot_attention_heads(cache: Mapping[str, Tensor], tokens: Sequence[str], layer: int) -> HTML:
    """The attention patterns of all heads of one layer, side by side; point at one to see it large.

    cache: what `run_with_cache` gave for one prompt, with `attn.hook_pattern` [1, n_heads, pos, pos]
    tokens: the text of every position, as `model.to_str_tokens(prompt)` gives it
    Raises ValueError if the cache lacks the layer, holds several prompts, or does not fit the tokens.
    """
    from circuitsvis.attention import attention_heads
    from IPython.display import HTML

    name = f"blocks.{layer}.attn.hook_pattern"
    if name not in cache:
        raise ValueError(f"The cache holds no {name!r}: is there such a layer, and was it cached?")
    patterns = cache[name]
    patterns = patterns[0] if patterns.dim() == 4 and len(patterns) == 1 else patterns
    _check_weights(patterns, tokens, (patterns.shape[0], len(tokens), len(tokens)))
    view = attention_heads(
        attention=patterns.detach().float().cpu(),
        tokens=[visible(token) for token in tokens],
        attention_head_names=[f"L{layer}H{head}" for head in range(len(patterns))],
    )
    # Shown as it is, circuitsvis asks the internet each time, and loads its script from there when it can. Its
    # local page begins with a <div/>, which HTML does not know: it would swallow whatever follows.
    return HTML(view.local_src.replace("/>", "></div>", 1) + _heads_in_words(patterns, tokens, layer))


def _heads_in_words(patterns: Float[Tensor, "n_heads pos pos"], tokens: Sequence[str], layer: int) -> str:
    """What is drawn of all heads, as a table: the position that each looks at most, from every position."""
    names = [f"{position} {visible(token)}" for position, token in enumerate(tokens)]
    weights, keys = patterns.detach().float().cpu().max(dim=-1)
    rows = (
        [f"head {head}", *(f"{names[key]}: {weight:.2f}" for weight, key in zip(*row))]
        for head, row in enumerate(zip(weights.tolist(), keys.tolist()))
    )
    words = "One heatmap a head: rows are the positions that look, columns those looked at. The table tells the "
    words += "position that each head looks at most, and with what weight, from every position."
    title = f"attention of the {len(patterns)} heads of layer {layer}"
    return details(title, words, [table("", ["", *names], rows)])


def plot_head_scores(
    scores: Float[Tensor, "n_layers n_heads"] | Mapping[str, Float[Tensor, "n_layers n_heads"]],
    title: str | None = None,
    *,
    effect: bool = False,
    unit: str | None = None,
) -> go.Figure:
    """A heatmap of one number for each head, layer by layer; several side by side with one colour scale.

    scores: [n_layers, n_heads], or a dict of them by name
    effect: False for scores from 0 to 1, such as attention weights; True for effects of either sign, whose
        colours are centred at zero
    unit: what the numbers are, written at the colour scale
    Raises ValueError for other shapes and for negative or larger numbers without `effect`.
    """
    panels = _panels("scores", scores, "n_heads")
    smallest = min(panel.min().item() for panel in panels.values())
    largest = max(panel.abs().max().item() for panel in panels.values())
    if not effect and (smallest < 0 or largest > 1 + 1e-4):
        raise ValueError(f"scores reach {smallest:.3g} and {largest:.3g}, as no weights do: use effect=True.")
    n_layers, n_heads = next(iter(panels.values())).shape
    columns = dict(rows=1, cols=len(panels), subplot_titles=list(panels), shared_yaxes=True, horizontal_spacing=0.04)
    width = max(520, len(panels) * max(180, 24 * n_heads) + 190)
    figure = new_figure(title or "Head scores", width, max(280, 16 * n_layers) + 170, **columns)
    for column, panel in enumerate(panels.values(), start=1):
        look = dict(coloraxis="coloraxis", xgap=1, ygap=1, hovertemplate="L%{y}H%{x}: %{z:.3f}<extra></extra>")
        figure.add_heatmap(z=panel.tolist(), **look, row=1, col=column)
    limit = (largest or 1.0) if effect else 1.0
    colours = dict(colorscale=DIVERGING, cmin=-limit) if effect else dict(colorscale=SEQUENTIAL, cmin=0)
    unit = unit or ("effect" if effect else "attention weight")
    figure.update_layout(coloraxis=dict(**colours, cmax=limit, colorbar_title=scale_title(unit)))
    figure.update_xaxes(title="head", tick0=0, dtick=max(1, n_heads // 8), showgrid=False)
    figure.update_yaxes(layer_axis(n_layers))
    figure.update_yaxes(title="layer", row=1, col=1)
    return figure


def plot_stream_effects(
    effects: Float[Tensor, "n_layers pos"] | Mapping[str, Float[Tensor, "n_layers pos"]],
    tokens: Sequence[str],
    title: str | None = None,
) -> go.Figure:
    """A heatmap of one effect for each layer and position, colours centred at zero; several with one colour scale.

    effects: [n_layers, pos], as `patch_stream` gives it, or a dict of them by name; one is drawn under the other
    tokens: what stands at every position, such as `model.to_str_tokens(prompt)` or names of roles
    Raises ValueError if they do not fit.
    """
    panels = _panels("effects", effects, len(tokens))
    limit = max(panel.abs().max().item() for panel in panels.values()) or 1.0
    n_layers = len(next(iter(panels.values())))
    labels = token_labels(tokens)
    rows = dict(rows=len(panels), cols=1, subplot_titles=list(panels), shared_xaxes=True, vertical_spacing=0.08)
    title = title or "Effect of patching one layer at one position"
    width, height = max(560, 44 * len(tokens) + 220), len(panels) * max(220, 14 * n_layers) + 190
    figure = new_figure(title, width, height, **rows)
    places = [[f"layer {layer}, {p} {label}" for p, label in enumerate(labels)] for layer in range(n_layers)]
    for row, panel in enumerate(panels.values(), start=1):
        look = dict(coloraxis="coloraxis", xgap=1, ygap=1, hovertemplate="%{customdata}: %{z:.3f}<extra></extra>")
        figure.add_heatmap(z=panel.tolist(), customdata=places, **look, row=row, col=1)
    scale = dict(colorscale=DIVERGING, cmin=-limit, cmax=limit, colorbar_title=scale_title("effect"))
    figure.update_layout(coloraxis=scale)
    figure.update_xaxes(token_axis(labels, None))
    figure.update_xaxes(title="position", row=len(panels), col=1)
    figure.update_yaxes(title="layer", **layer_axis(n_layers))
    return figure


def plot_logit_lens(model: TransformerBridge, prompt: Prompt, title: str | None = None) -> go.Figure:
    """The most likely next token after every layer, at every position, coloured by its probability.

    Layer 0 is at the top; the last row is what the model predicts. Raises ValueError for an empty prompt.
    """
    tokens = single_prompt_tokens(model, prompt)
    best = [layer.float().softmax(dim=-1).max(dim=-1) for layer in logit_lens(model, prompt)]
    texts = [_tokens_as_text(model, layer.indices) for layer in best]
    labels = token_labels(_tokens_as_text(model, tokens))
    title = title or "Logit lens: most likely next token"
    figure = new_figure(title, 72 * len(tokens) + 220, max(120, 21 * len(best)) + 190)
    figure.add_heatmap(
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
        colorbar_title=scale_title("probability"),
    )
    figure.update_xaxes(token_axis(labels, "token read at this position", tickangle=-45))
    figure.update_yaxes(title="layer", **layer_axis(len(best), n_ticks=len(best)))
    return figure


def plot_residual_norms(
    norms: Float[Tensor, "n_layers_and_1 pos"], tokens: Sequence[str], title: str | None = None
) -> go.Figure:
    """The residual stream's norm at every position, layer by layer; the first position stands out.

    norms: [n_layers + 1, pos], as `get_residual_stream_norms` gives it: row 0 is the embedding
    tokens: the text of every position. Raises ValueError if they do not fit.
    """
    from plotly.colors import sample_colorscale

    if norms.dim() != 2 or norms.shape[1] != len(tokens) or len(norms) < 2:
        raise ValueError(f"norms has shape {tuple(norms.shape)}: give [n_layers + 1, {len(tokens)}].")
    norms = norms.detach().float().cpu()
    others = sample_colorscale("Viridis", [position / len(tokens) for position in range(len(tokens))])
    figure = new_figure(title or "Norm of the residual stream", 900, max(480, 21 * len(tokens) + 140))
    for position, label in enumerate(token_labels(tokens)):
        figure.add_scatter(
            x=list(range(len(norms))),
            y=norms[:, position].tolist(),
            name=f"{position} {label}",
            mode="lines",
            line=FIRST_LINE if position == 0 else dict(color=others[position], width=1.5),
            hovertemplate=f"{position} {label}: %{{y:,.0f}}<extra></extra>",
        )
    figure.update_xaxes(title="after how many layers (0: the embedding)")
    figure.update_yaxes(title="L2 norm (log scale)", type="log", dtick=1, tickformat=",~r")
    return figure


def _panels(name: str, given: Tensor | Mapping[str, Tensor], n_columns: int | str) -> dict[str, Tensor]:
    """What a heatmap's panels show, by their titles: all of one shape [n_layers, n_columns], ready to be drawn."""
    panels = dict(given) if isinstance(given, Mapping) else {"": given}
    shapes = {tuple(panel.shape) for panel in panels.values()}
    fits = all(len(shape) == 2 and 0 not in shape and n_columns in ("n_heads", shape[1]) for shape in shapes)
    if len(shapes) != 1 or not fits:
        raise ValueError(f"{name} has shape {shapes}: give [n_layers, {n_columns}], or a dict of such tensors.")
    return {name: panel.detach().float().cpu() for name, panel in panels.items()}


def _tokens_as_text(model: TransformerBridge, tokens: Tensor) -> list[str]:
    return model.to_str_tokens(tokens) if model.tokenizer else [str(token) for token in tokens.tolist()]


def _check_weights(pattern: Tensor, tokens: Sequence[str], shape: tuple[int, ...]) -> None:
    if tuple(pattern.shape) != shape:
        given = tuple(pattern.shape)
        raise ValueError(f"The pattern has shape {given}: with {len(tokens)} tokens give {shape}.")
    if not (pattern >= -1e-4).all() or not (pattern <= 1 + 1e-4).all():
        raise ValueError("The pattern has numbers outside 0 to 1: give attention weights, not scores.")
