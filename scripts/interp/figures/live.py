"""A page that shows a training while it goes on: it is written anew now and then, and the browser loads it anew.

It needs no script and no server: curves are SVG, and a tag in its head asks the browser to come back. The last version
has no such tag.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scripts.interp.base.files import write_atomically
from scripts.interp.features.contexts import BATCH_ROWS, strongest_contexts
from scripts.interp.figures.features import context_table
from scripts.interp.figures.style import INK, LINES, PALE
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, norm_limit, special_positions

SHOWN = {"loss": "loss", "fvu": "variance unexplained (FVU)", "l0": "L0", "dead": "share of latents that are dead"}
REFRESH = '<meta http-equiv="refresh" content="5">'
KILLED = "If that is long ago, it was killed. "
MOST_POINTS = 300  # of a curve
LATENTS, CONTEXTS = 6, 3
FEWEST, LARGEST_SHARE = 4, 0.05  # tokens at which a latent that is shown is above zero


class Sample(NamedTuple):
    """Some text, on which the latents of an SAE can be seen."""

    tokens: Int[Tensor, "n_rows pos"]
    activations: Float[Tensor, "n_rows pos d_in"]
    kept: Bool[Tensor, "n_rows pos"]  # the positions that an SAE sees
    tokenizer: Any


def sample_of(model: Any, hook_name: str, rows: Int[Tensor, "n_rows pos"]) -> Sample:
    """Run the model over token rows [n_rows, pos], each starting with BOS."""
    x = hook_activations(model, rows, [hook_name])[hook_name].float().cpu()
    is_special = special_positions(model, rows)
    kept = kept_positions(x, is_special, norm_limit(x, is_special))
    return Sample(rows, x, kept, model.tokenizer)


def write_live_page(
    path: Path, title: str, rows: Sequence[dict[str, Any]], steps: int, encode: Callable, sample: Sample | None = None
) -> None:
    """Write the page from the record so far: rows with a "step" and numbers, the last one of the last step written.

    steps: of the whole training; after so many the page is the last
    encode: takes activations [n, d_in] and returns latents [n, d_sae]; only called where there is a sample
    """
    done = rows[-1]["step"]
    curves = "".join(
        f"<figure><figcaption>{name}: {rows[-1][key]:g}</figcaption>"
        f"{curve([row['step'] for row in rows], [row[key] for row in rows], name, steps)}</figure>"
        for key, name in SHOWN.items()
        if key in rows[-1]
    )
    going_on = done < steps
    status = f"step {done:,} of {steps:,}, {'it goes on' if going_on else 'it is done'}"
    name, head, killed = html.escape(title), REFRESH * going_on, KILLED * going_on
    write_atomically(
        path,
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">{head}<title>{name}</title>\n<style>'
        f"body {{ font-family: sans-serif; color: {INK}; max-width: 60em; margin: 1.5em auto; padding: 0 1em }} "
        "figure { display: inline-block; margin: 0 1.5em 1em 0 } h2 { font-size: 1.1em } h3 { font-size: 1em; "
        f"font-weight: normal; margin-bottom: .2em }}</style></head>\n<body>\n<h1>{name}</h1>\n"
        f"<p><b>{status}</b>. Written at {time.strftime('%Y-%m-%d %H:%M:%S')}. {killed}</p>\n"
        f"{curves}\n{'' if sample is None else latents_now(encode, sample)}\n</body>\n</html>\n",
    )


def stop_live_page(path: Path, why: str) -> None:
    """Let a page that was going to be written again say why it is not; nothing happens where there is none."""
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    if REFRESH in page:
        page = page.replace(REFRESH, "").replace(KILLED, "").replace("it goes on", "stopped", 1)
        write_atomically(path, page.replace("</p>", f"{html.escape(why)}</p>", 1))


def curve(xs: Sequence[float], ys: Sequence[float], name: str, end: float) -> str:
    """A curve as SVG on x from 0 to `end`; smallest and largest y at its left. Many points are thinned out."""
    width, height, left, top, bottom = 400, 150, 60, 8, 20  # in pixels
    every = -(-len(xs) // MOST_POINTS)
    points = [*zip(xs, ys)][::-1][::every][::-1]  # the last one always
    lowest, highest = min(ys), max(ys)
    scale = highest - lowest or 1.0
    places = " ".join(
        f"{left + x / end * (width - left - 5):.1f},{top + (highest - y) / scale * (height - top - bottom):.1f}"
        for x, y in points
    )
    floor = height - bottom
    texts = "".join(
        f'<text x="{x}" y="{y}" font-size="11" fill="{INK}" text-anchor="{anchor}">{text}</text>'
        for x, y, anchor, text in (
            (left - 5, top + 8, "end", f"{highest:.4g}"), (left - 5, floor, "end", f"{lowest:.4g}"),
            (left, height - 5, "start", "0"), (width - 5, height - 5, "end", f"{end:,} steps"),
        )
    )  # fmt: skip
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="{html.escape(name)} by step">'
        f'<path d="M{left},{top}V{floor}H{width - 5}" fill="none" stroke="{PALE}"/>'
        f'<polyline points="{places}" fill="none" stroke="{LINES[0]}" stroke-width="2"/>{texts}</svg>'
    )


def latents_now(encode: Callable, sample: Sample) -> str:
    """The strongest contexts of the first few latents that are above zero at some tokens of the sample, not at many."""
    latents = encode(sample.activations[sample.kept])
    active = (latents > 0).sum(dim=0)
    chosen = ((active >= FEWEST) & (active <= LARGEST_SHARE * len(latents))).nonzero().flatten()[:LATENTS]
    if len(chosen) == 0:
        return "<h2>Latents</h2><p>None is above zero at a few tokens of the text that is looked at, so far.</p>"
    values = torch.zeros(*sample.tokens.shape, len(chosen))
    values[sample.kept] = latents[:, chosen].float()
    batches = iter(values.split(BATCH_ROWS))
    bos = sample.tokenizer.bos_token_id
    found = strongest_contexts(lambda _: next(batches), len(chosen), sample.tokens, bos, CONTEXTS)
    parts = [f"<h2>Latents as they are now, on {len(latents):,} tokens of held-out text</h2>"]
    for i, latent in enumerate(chosen.tolist()):
        share = active[latent].item() / len(latents)
        parts.append(f"<h3>latent {latent}, above zero at {share:.1%} of the tokens</h3>")
        parts.append(context_table(sample.tokenizer, found, i, CONTEXTS))
    return "\n".join(parts)
