"""The engine behind activation patching: one patch after another, and what each does to the answer.

The **exact** way computes only what a patch can change (see `exact.py`), many patches in one batch. The **plain** way
runs the whole model again for every patch, as `transformer_lens.patching` does: for models whose architecture has no
exact route, and to compare with.
"""

from __future__ import annotations

import warnings
import weakref
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.base.precision import at_least_float32
from scripts.interp.circuits import exact
from scripts.interp.circuits.attention_routes import Attention, find_route
from scripts.interp.circuits.prompt_pairs import PromptPairs, pair_differences
from scripts.interp.runs.heads import n_heads_of
from scripts.interp.runs.hooks import check_hooks
from scripts.interp.runs.read_out import relative_difference, rounding

if TYPE_CHECKING:
    from tqdm import tqdm
    from transformer_lens.model_bridge import TransformerBridge

Direction = Literal["denoising", "noising"]
Metric = Callable[[Float[Tensor, "batch 1 d_vocab"]], Float[Tensor, ""]]
Cell = tuple[int, ...]  # (layer, pos), (layer, head) or (layer, pos, head)
Measured = tuple[Float[Tensor, "batch cells"], Float[Tensor, " batch"], Float[Tensor, " batch"]]
"""Logit differences of the patched runs, of the clean and of the corrupted ones. A metric counts as one prompt."""

STREAM_KINDS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
HEAD_KINDS = ("z", "q", "k", "v", "pattern")
CHUNK_TOKENS = 512  # patched positions that go through a layer together: enough to use the processor well


class Sweep(NamedTuple):
    """What is patched, in which runs, and what is measured."""

    model: TransformerBridge
    pairs: PromptPairs
    kind: str
    """The activation that is patched, of STREAM_KINDS or HEAD_KINDS."""
    cells: list[Cell]
    """The patches, deeper ones last: for each the layer, position or head that `axes` speaks of."""
    axes: tuple[str, ...]
    """("layer", "pos"), ("layer", "head") or ("layer", "pos", "head"). Without "pos" all positions are patched."""
    direction: Direction
    metric: Metric | None = None
    """What is measured on the last position's logits of all prompts; None: every prompt's logit difference."""


class Runs(NamedTuple):
    """The two runs of a pair of prompts, and how to compute them."""

    model: TransformerBridge
    attention: Attention
    base: exact.Run
    """What is patched into, at all positions."""
    source: exact.Run
    """What is patched from, at the positions from `first` on."""
    first: int
    """The first position at which the prompts differ: before it, nothing does."""


def exact_sweep(sweep: Sweep, attention: Attention, bar: tqdm) -> Measured:
    """What every cell's patch does, computed from where it enters the residual stream."""
    keep = {"z", "q"} if sweep.kind in ("q", "k", "v", "pattern") else {sweep.kind}
    runs = both_runs(sweep.model, attention, sweep.pairs, sweep.direction, keep)
    read = logit_reader(sweep.model, sweep.pairs, sweep.metric)
    of_base, of_source = unpatched(runs, read)
    patched = of_base[:, None].repeat(1, len(sweep.cells))
    # Cells at positions where the prompts are still the same change nothing; the others go deepest last.
    by_start = defaultdict(list)
    for index, cell in enumerate(sweep.cells):
        start = cell[1] if "pos" in sweep.axes else runs.first
        if start >= runs.first:
            by_start[start].append(index)
    bar.update(len(sweep.cells) - sum(map(len, by_start.values())))
    for start, indices in sorted(by_start.items()):
        for chunk in chunks(indices, runs, start):
            entries = {}
            for layer, cells in groupby((sweep.cells[index] for index in chunk), key=lambda cell: cell[0]):
                site, resid = _entry(sweep, runs, start, layer, list(cells))
                entries[site] = resid
            rows = exact.finish(sweep.model, attention, runs.base, start, entries)
            patched[:, chunk] = read(rows).T
            bar.update(len(chunk))
    return patched, *turned(sweep.direction, of_base, of_source)


def plain_sweep(sweep: Sweep, bar: tqdm) -> Measured:
    """The same by running the whole model once a cell."""
    model, pairs = sweep.model, sweep.pairs
    into, source = turned(sweep.direction, pairs.clean, pairs.corrupted)
    place = "hook_" if sweep.kind in STREAM_KINDS else "attn.hook_"
    names = check_hooks(model, [f"blocks.{layer}.{place}{sweep.kind}" for layer in range(model.cfg.n_layers)])
    of_source, cache = model.run_with_cache(source, names_filter=names)

    def measure(logits: Tensor) -> Tensor:
        if sweep.metric is not None:
            return _measured(sweep.metric, logits[:, -1:])
        return pair_differences(logits, pairs)

    patched = []
    for cell in sweep.cells:
        name, where = names[cell[0]], _where(sweep.kind, cell, sweep.axes)

        def patch(activation: Tensor, hook: object) -> Tensor:
            # In place, not on a copy: the residual stream between attention and MLP is the norm's input for the
            # hook and the skip connection as well, and only a change in place reaches both.
            activation[where] = cache[name][where]
            return activation

        patched.append(measure(model.run_with_hooks(into, fwd_hooks=[(name, patch)])))
        bar.update()
    of_base, of_source = measure(model(into)), measure(of_source)
    return torch.stack(patched, dim=1), *turned(sweep.direction, of_base, of_source)


def exact_route(model: TransformerBridge, tokens: Int[Tensor, "batch pos"], stacklevel: int = 4) -> Attention | None:
    """How to compute the model's attention outside its own forward pass, or None after saying why, once.

    A route is used only if it gives the model's own logits for the first of these prompts: to a thousandth, in half
    precision to 3 % of their norm.
    stacklevel: how many calls up the caller is whom the warning should name
    """
    if model not in _routes:
        attention = find_route(model)
        problem = (
            f"the architecture {model.cfg.architecture} is not in ROUTES of scripts/interp/circuits/attention_routes.py"
        )
        if attention is not None:
            with torch.no_grad():
                end = exact.run(model, attention, tokens[:1]).resid_pre[-1]
                ours, theirs = model.unembed(model.ln_final(end)), model(tokens[:1])
            difference = (ours - theirs).abs().max().item()
            if end.dtype == torch.float32:
                wrong = difference > 1e-3
            else:  # logits have coarse steps, each with its own
                wrong = not relative_difference(ours.flatten(1), theirs.flatten(1)) <= rounding(end.dtype)
            if wrong:
                attention, problem = None, f"its logits would differ by {difference:.2g}"
        if attention is None:
            warnings.warn(
                f"No exact route for {model.cfg.model_name}: {problem}. The sweep runs the whole model for "
                "every patch: the same numbers, only slower.",
                stacklevel=stacklevel,
            )
        _routes[model] = attention
    return _routes[model]


_routes: weakref.WeakKeyDictionary[TransformerBridge, Attention | None] = weakref.WeakKeyDictionary()


def both_runs(
    model: TransformerBridge, attention: Attention, pairs: PromptPairs, direction: Direction, keep: Collection[str]
) -> Runs:
    """The runs that are patched into and from; keep: as in `exact.run`."""
    into, source = turned(direction, pairs.clean, pairs.corrupted)
    first = first_difference(pairs)
    base = exact.run(model, attention, into, keep=keep)
    return Runs(model, attention, base, exact.run(model, attention, source, base, first, keep), first)


def unpatched(runs: Runs, read: Callable[[Tensor], Tensor]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """What `read`, a `logit_reader`, makes of the ends of base and source."""
    of_base, of_source = (read(run.resid_pre[-1][None, :, -1])[0] for run in (runs.base, runs.source))
    return of_base, of_source


def logit_reader(model: TransformerBridge, pairs: PromptPairs, metric: Metric | None) -> Callable[[Tensor], Tensor]:
    """A function from final residual streams [n, batch, d_model] to logit differences [n, batch].

    Only the answers' logits are computed; a metric gets all of them, and one value for all prompts: [n, 1].
    """
    if metric is not None:
        return lambda resid: torch.stack(
            [_measured(metric, model.unembed(model.ln_final(rows[:, None]))) for rows in resid]
        )
    W_U, b_U = model.unembed.W_U, model.unembed.b_U
    answers, wrong = (at_least_float32(W_U[:, tokens]) for tokens in (pairs.answers, pairs.wrong_answers))
    direction = (answers - wrong).T
    bias = at_least_float32(b_U[pairs.answers] - b_U[pairs.wrong_answers]) if b_U is not None else 0
    return lambda resid: (at_least_float32(model.ln_final(resid)) * direction).sum(dim=-1) + bias


def chunks(patches: list, runs: Runs, start: int) -> Iterator[list]:
    """As many patches at a time as have CHUNK_TOKENS positions together, from `start` on; at least one."""
    batch, length, _ = runs.base.resid_pre[0].shape
    size = max(1, CHUNK_TOKENS // (batch * (length - start)))
    return (patches[i : i + size] for i in range(0, len(patches), size))


def first_difference(pairs: PromptPairs) -> int:
    """The first position at which any pair's prompts differ; before it nothing can differ in a causal model."""
    return int((pairs.clean != pairs.corrupted).any(dim=0).nonzero()[0])


def turned(direction: str, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """From (clean, corrupted) to (base, source), what is patched into and from, and back again.

    Denoising exchanges the two, noising leaves them as they are.
    """
    return (second, first) if direction == "denoising" else (first, second)


def check_direction(direction: str) -> None:
    """Raise ValueError unless `direction` is "denoising" or "noising"."""
    check_choice("direction", direction, ("denoising", "noising"))


def check_choice(name: str, given: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless `given` is one of `allowed`."""
    if given not in allowed:
        raise ValueError(f"{name} is {given!r}: choose one of {', '.join(allowed)}.")


def _entry(sweep: Sweep, runs: Runs, start: int, layer: int, cells: list[Cell]) -> tuple[tuple[int, str], Tensor]:
    """Where the patches of one layer enter the residual stream, and the streams that they make of it.

    cells: all of this layer; their patches change nothing before position `start`
    Returns (layer, "pre" or "mid") and [cells, batch, pos from start on, d_model].
    """
    kind, base = sweep.kind, runs.base
    if kind in STREAM_KINDS:
        site, name = {
            "resid_pre": ((layer, "pre"), "resid_pre"),
            "resid_mid": ((layer, "mid"), "resid_mid"),
            "resid_post": ((layer + 1, "pre"), "resid_pre"),
            "attn_out": ((layer, "mid"), "attn_out"),
            "mlp_out": ((layer + 1, "pre"), "mlp_out"),
        }[kind]
        stream = (base.resid_pre if site[1] == "pre" else base.resid_mid)[site[0]][:, start:].clone()
        index = site[0] if name.startswith("resid") else layer
        there, here = getattr(runs.source, name)[index][:, start - runs.first], getattr(base, name)[index][:, start]
        stream[:, 0] = there if name.startswith("resid") else stream[:, 0] + (there - here)
        return site, stream[None]
    # A head reaches the residual stream through W_O; several query heads may share a key or value head.
    change = _changed_z(sweep, runs, start, layer) - base.z[layer][:, start:]
    if "pos" in sweep.axes and kind in ("z", "q", "pattern"):
        change[:, 1:] = 0  # only the position itself looks differently
    added = torch.einsum("bphe,hed->hbpd", change, runs.model.blocks[layer].attn.W_O)
    added = added.unflatten(0, (n_heads_of(runs.model, kind), -1)).sum(dim=1)
    return (layer, "mid"), base.resid_mid[layer][:, start:] + added[[cell[-1] for cell in cells]]


def _changed_z(sweep: Sweep, runs: Runs, start: int, layer: int) -> Tensor:
    """z [batch, pos from start on, n_heads, d_head] of a layer if every head's `kind` were the source's."""
    kind, first, source = sweep.kind, runs.first, runs.source
    if kind == "z":
        return source.z[layer][:, start - first :]
    q, k, v = runs.base.q[layer][:, start:], runs.base.k[layer], runs.base.v[layer]
    there = (source.q if kind == "pattern" else getattr(source, kind))[layer]
    if kind == "q":
        return exact.mix(runs.attention, there[:, start - first :], k, v)
    if kind == "pattern":
        keys = torch.cat([k[:, :first], source.k[layer]], dim=1)
        weights = exact.pattern(runs.attention, there[:, start - first :], keys)
        v = v.repeat_interleave(q.shape[2] // v.shape[2], dim=2)
        return torch.einsum("bhqk,bkhe->bqhe", weights, v)
    here = {"k": k, "v": v}
    here[kind] = here[kind].clone()
    end = start + 1 if "pos" in sweep.axes else here[kind].shape[1]
    here[kind][:, start:end] = there[:, start - first : end - first]
    return exact.mix(runs.attention, q, here["k"], here["v"])


def _where(kind: str, cell: Cell, axes: tuple[str, ...]) -> tuple:
    """The index of a cell's part in an activation: patterns are [batch, head, query, key]."""
    rest = dict(zip(axes[1:], cell[1:]))
    head, pos = rest.get("head"), rest.get("pos", slice(None))
    if head is None:
        return slice(None), pos
    return (slice(None), head, pos) if kind == "pattern" else (slice(None), pos, head)


def _measured(metric: Metric, logits: Tensor) -> Tensor:
    """The metric's value as [1]."""
    value = metric(logits)
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"The metric returned {got} and not one number as a tensor: take the mean over the prompts.")
    return at_least_float32(value)[None]
