"""The pictures of docs/concepts.md, from numbers; `.venv/bin/python -m scripts.draw_concepts` measures them.

Each description says in words what is drawn: readers who can't see the picture get it in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.figures import svg
from scripts.interp.figures.style import LINES, PALE, visible

FOOTNOTE = "␣ stands for a space."


def attention_picture(pattern: Float[Tensor, "pos pos"], tokens: Sequence[str], head: str, sentence: str) -> str:
    """Where one head looks, [query pos, key pos]; the row that looks most at the token before it is framed."""
    row = int(pattern[2:].diagonal(1).argmax()) + 2
    size, x, y = 26, 130, 44
    right, bottom = x + size * len(tokens), y + size * len(tokens)
    named = f"{visible(tokens[row])} gives {pattern[row, row - 1]:.0%} to {visible(tokens[row - 1])}"
    words = [
        "Each row is a token that looks,",
        "each column a token looked at.",
        "A row adds up to 100%.",
        "",
        "Nothing above the diagonal:",
        "no token sees a later one.",
        "",
        "The framed row, for example:",
        f"{named}.",
    ]
    return svg.drawing(
        f"Where one attention head looks: {head}",
        f"A square table of attention weights for the sentence {sentence!r}. In most rows the darkest cell is just "
        f"left of the diagonal, at the token before: {named}. Most of the rest is in the first column, at the token "
        "that stands before the text.",
        right + 240,
        bottom + 100,
        [
            *svg.heat(pattern, x, y, size, size),
            svg.rect(x - 1, y + row * size - 1, size * len(tokens) + 1, size + 1, "none", LINES[1]),
            *svg.tokens_beside(tokens, x - 8, y, size),
            *svg.tokens_below(tokens, x, bottom + 14, size),
            *svg.lines_of_text(right + 24, y + 16, words),
            *svg.scale(right + 24, y + 230, "attention weight", "0%", "100%"),
            svg.text(16, bottom + 88, FOOTNOTE, size=11),
        ],
    )


def lens_picture(places: Sequence[int], said: Sequence[str], answer: str, prompt: str, d_vocab: int, model: str) -> str:
    """places: of the answer among all tokens after each layer, 1 is first; said: the most likely token there"""
    answer = answer.strip()
    step, x, y, decade = 16, 230, 92, 92
    bottom, decades = y + step * len(places), math.ceil(math.log10(d_vocab))
    points = [(x + decade * math.log10(place), y + (i + 0.5) * step) for i, place in enumerate(places)]
    ticks = [(x + decade * power, f"{10**power:,}" if power else "1st") for power in range(decades + 1)]
    first = f"first from layer {places.index(1)} on" if 1 in places else f"{places[-1]:,} at the end"
    return svg.drawing(
        f"“{prompt} …”: what the stream says after each layer",
        f"Two columns for {len(places)} layers, from the first at the top to the last. Left, the most likely next "
        f"token if the residual stream is read after that layer: {visible(said[0])!r} after layer 0, "
        f"{visible(said[-1])!r} at the end. Right, the place of {answer!r} among all tokens on a logarithmic scale: "
        f"{places[0]:,} after layer 0, {first}.",
        740,
        bottom + 44,
        [
            svg.text(24, y - 28, "after"),
            svg.text(24, y - 8, "layer"),
            svg.text(90, y - 28, "most likely"),
            svg.text(90, y - 8, "next token"),
            svg.text(x, y - 28, f"place of “{answer}” among all {d_vocab:,} tokens"),
            *[svg.line(at, y, at, bottom) for at, _ in ticks],
            *[svg.text(at, y - 8, label, anchor="middle") for at, label in ticks],
            *[svg.line(*a, *b, LINES[0], 1.5) for a, b in zip(points, points[1:])],
            *[svg.dot(*point, 3.5, LINES[0]) for point in points],
            *[svg.text(56, y + (i + 0.5) * step + 4, str(i), size=11, anchor="end") for i in range(len(places))],
            *[
                svg.text(90, y + (i + 0.5) * step + 4, visible(token), size=12, bold=place == 1)
                for i, (token, place) in enumerate(zip(said, places))
            ],
            svg.text(16, bottom + 26, f"␣ stands for a space, ↵ for a line break. Model: {model}.", size=11),
        ],
    )


def patching_picture(
    panels: Mapping[str, Float[Tensor, "n_layers pos"]], labels: Sequence[str], changed: int, prompts: Sequence[str]
) -> str:
    """Two maps of effects; changed: the position in which the prompts differ; prompts: lines that say what they are"""
    (n_layers, _) = next(iter(panels.values())).shape
    width, height, y, lefts = 30, 12, 136, (70, 420)
    bottom = y + height * n_layers
    parts = svg.lines_of_text(16, 52, prompts, step=20)
    for left, (title, effect) in zip(lefts, panels.items()):
        numbered = range(0, n_layers, max(1, n_layers // 10))
        parts += [
            svg.text(left, y - 14, title, bold=True),
            *svg.heat(effect, left, y, width, height),
            *svg.tokens_below(labels, left, bottom + 14, width),
            *[svg.text(left - 8, y + (i + 0.5) * height + 4, str(i), size=10, anchor="end") for i in numbered],
        ]
    parts += [svg.text(22, y + height * n_layers / 2, "layer", angle=-90)]
    parts += svg.scale(590, bottom + 68, "effect", "0", "1")
    parts += [svg.text(16, bottom + 108, FOOTNOTE, size=11)]
    late = {labels[int(effect[-1].argmax())].strip() for effect in panels.values()}
    return svg.drawing(
        "Patching: one layer and one position of the residual stream at a time",
        "Two maps, layers from top to bottom and tokens from left to right. In both, the only dark cells of the early "
        f"layers are at {labels[changed]}, where the prompts differ; in the last layer the darkest is at "
        f"{' or '.join(map(repr, sorted(late)))}, and a few tokens between have a little.",
        720,
        bottom + 120,
        parts,
    )


def induction_picture(pattern: Float[Tensor, "pos pos"], tokens: Sequence[str], period: int, head: str) -> str:
    """An induction head's pattern on BOS and `period` tokens that come twice; where it should look is framed."""
    size, x, y = 22, 110, 44
    right, bottom, second = x + size * len(tokens), y + size * len(tokens), period + 1
    middle = y + second * size - 1
    row = int(pattern[second:].diagonal(2).argmax()) + second
    looks, looked_at = visible(tokens[row]), visible(tokens[row - period + 1])
    words = [
        "The same random tokens come twice;",
        "the line is where they begin again.",
        "",
        "Below it, the head looks at the token",
        "that FOLLOWED the same token",
        "the first time (framed). For example:",
        f"the second {looks} gives {pattern[row, row - period + 1]:.0%}",
        f"to {looked_at}, and {looked_at} comes next.",
        "",
        "Above the line there is nothing to find:",
        "the head rests on the first token.",
    ]
    framed = [(x + (q - period + 1) * size - 1, y + q * size - 1) for q in range(second, len(tokens))]
    return svg.drawing(
        f"An induction head: {head}",
        f"A square table of attention weights for {period} random tokens that come twice. In the first half nearly all "
        "weight is in the first column. In the second half a line of dark cells, parallel to the diagonal, marks the "
        "token after the same token's first occurrence; the mean weight there is "
        f"{pattern[second:].diagonal(2).mean():.0%}.",
        right + 270,
        bottom + 90,
        [
            *svg.heat(pattern, x, y, size, size),
            *[svg.rect(*corner, size + 1, size + 1, "none", LINES[1]) for corner in framed],
            svg.line(x, middle, right, middle, LINES[5], 1.5),
            *svg.tokens_beside(tokens, x - 8, y, size),
            *svg.tokens_below(tokens, x, bottom + 14, size),
            *svg.lines_of_text(right + 20, y + 16, words),
            *svg.scale(right + 20, y + 270, "attention weight", "0%", "100%"),
            svg.text(16, bottom + 78, FOOTNOTE, size=11),
        ],
    )


def superposition_picture(
    W: Float[Tensor, "2 n_features"],
    put_in: Float[Tensor, "n_cases n_features"],
    read: Float[Tensor, "n_cases n_features"],
    absent: float,
) -> str:
    """Directions W, and what is read back of what is put in: a panel for each case. absent: how often a feature is"""
    n_features = W.shape[1]
    at_x, at_y, reach = 170, 190, 105
    arrows = []
    for i, (a, b) in enumerate(W.T.tolist(), start=1):
        end = (at_x + reach * a, at_y - reach * b)
        label = (at_x + 1.17 * reach * a, at_y - 1.17 * reach * b + 5)
        arrows += [
            svg.line(at_x, at_y, *end, LINES[0], 2.5),
            svg.dot(*end, 4, LINES[0]),
            svg.text(*label, str(i), anchor="middle", bold=True),
        ]
    bars, said, left, height = [], [], 370, 60
    for panel, (given, back) in enumerate(zip(put_in, read)):
        ground, present = 148 + panel * 130, [str(i + 1) for i in given.nonzero().flatten().tolist()]
        case = f"feature {present[0]} alone" if len(present) == 1 else f"features {' and '.join(present)} together"
        said.append(f"{case} as {', '.join(f'{value:.1f}' for value in back.tolist())}")
        bars += [svg.text(left, ground - height - 16, case, bold=True), svg.line(left, ground, left + 320, ground)]
        for i in range(n_features):
            at = left + 14 + i * 64
            bars += [
                svg.bar(at, ground, 18, height * given[i].item(), PALE),
                svg.bar(at + 20, ground, 18, height * back[i].item()),
                svg.text(at + 19, ground + 16, str(i + 1), anchor="middle"),
            ]
    return svg.drawing(
        f"Superposition: {n_features} features in 2 numbers",
        f"Left, {n_features} arrows from one point, spread evenly like the spokes of a wheel: the directions that a "
        f"toy gives to {n_features} features, each of them absent {absent:.0%} of the time. Right, bars: what the toy "
        f"reads back for features 1 to {n_features} when a feature of strength 1 is put in: {'; '.join(said)}.",
        720,
        350,
        [
            svg.text(16, 50, "the direction that each feature gets"),
            svg.line(at_x - 130, at_y, at_x + 130, at_y),
            svg.line(at_x, at_y - 122, at_x, at_y + 122),
            svg.text(at_x + 132, at_y - 6, "number 1", size=11, anchor="end"),
            svg.text(at_x - 6, at_y - 112, "number 2", size=11, anchor="end"),
            *arrows,
            *bars,
            svg.rect(left + 14, 316, 14, 12, PALE),
            svg.text(left + 34, 327, "put in"),
            svg.rect(left + 100, 316, 14, 12, LINES[0]),
            svg.text(left + 120, 327, "read back"),
        ],
    )


def latents_picture(
    strongest: Int[Tensor, " n"],
    values: Float[Tensor, "n pos"],
    n_active: Sequence[int],
    tokens: Sequence[str],
    d_sae: int,
) -> str:
    """The strongest latents of a sentence, by number, with their values; n_active: above zero at each token"""
    width, height, x, y, largest = 40, 22, 120, 140, values.max().item()
    right, bottom = x + width * len(tokens), y + height * len(strongest)
    tallest = 45 / max(n_active)
    numbered = [(y + (i + 0.5) * height + 4, f"latent {latent}") for i, latent in enumerate(strongest.tolist())]
    return svg.drawing(
        f"An SAE reads a sentence: {d_sae:,} latents, nearly all of them zero",
        f"Above, bars: how many latents are above zero at each token, from {min(n_active)} to {max(n_active)} of "
        f"{d_sae:,}. Below, the {len(strongest)} latents that are strongest somewhere in the sentence, a row each: "
        "most rows have one or a few coloured cells and are white elsewhere.",
        right + 140,
        bottom + 106,
        [
            *svg.lines_of_text(16, 82, ["latents", "above zero"]),
            *[svg.bar(x + i * width + 8, 118, width - 17, tallest * n) for i, n in enumerate(n_active)],
            *[
                svg.text(x + (i + 0.5) * width, 112 - tallest * n, str(n), size=11, anchor="middle")
                for i, n in enumerate(n_active)
            ],
            *svg.heat(values, x, y, width, height, largest),
            *[svg.text(x - 8, at, label, size=12, anchor="end") for at, label in numbered],
            *svg.tokens_below(tokens, x, bottom + 14, width),
            *svg.scale(right + 16, y + 24, "strength", "0", f"{largest:.0f}", width=100),
            svg.text(16, bottom + 94, FOOTNOTE, size=11),
        ],
    )
