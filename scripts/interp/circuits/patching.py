"""Activation patching: put one activation of one run into another run and see how far the answer follows.

Two runs differ in what they ask for. **Denoising** patches an activation of the clean run into the corrupted one:
is it sufficient to bring the right answer back? **Noising** patches an activation of the corrupted run into the clean
one: is it necessary for the right answer? Sources: Wang et al., "Interpretability in the Wild" (2022); Heimersheim and
Nanda, "How to use and interpret activation patching" (2024).

The sweeps give the numbers of `transformer_lens.patching`, computed only where a patch can change something (see
`exact.py`); `python scripts/run_patching_benchmark.py` measures both.
"""

import warnings
import weakref
from collections.abc import Callable
from itertools import groupby
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from scripts.interp.base.progress import progress_bar
from scripts.interp.base.statistics import bootstrap_weights
from scripts.interp.circuits import exact
from scripts.interp.circuits.attention_routes import Attention, find_route
from scripts.interp.circuits.prompt_pairs import PromptPairs, check_pairs
from scripts.interp.runs.hooks import cached_hook_dict, check_hooks
from scripts.interp.runs.logits import compute_logit_diff

Direction = Literal["denoising", "noising"]
Metric = Callable[[Tensor], Tensor]
Cell = tuple[int, ...]  # (layer, pos), (layer, head) or (layer, pos, head)

STREAM_KINDS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
HEAD_KINDS = ("z", "q", "k", "v", "pattern")
CHUNK_TOKENS = 512  # patched positions that go through a layer together: enough to use the processor well


class PatchingResult(NamedTuple):
    """What a sweep measured."""

    effect: Tensor
    """One number a cell, axes as in `axes`. Normalised: 0 is the corrupted runs' logit difference and 1 the clean
    runs', whatever the direction, so "nothing changed" is 0 when denoising and 1 when noising; it is a ratio of
    means over the prompts and is never clamped. Not normalised: the mean change of the logit difference."""
    per_prompt: Tensor  # [batch, *axes], the patched runs' logit differences
    clean: Tensor  # [batch], logit differences of the clean runs
    corrupted: Tensor  # [batch], logit differences of the corrupted runs
    axes: tuple[str, ...]  # ("layer", "pos"), ("layer", "head") or ("layer", "pos", "head")
    direction: str
    normalise: bool

    def interval(self, level: float = 0.95, n_resamples: int = 2000, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Bootstrap interval of the effect over prompts: lower and upper bound, axes as in `axes`.

        Prompts are drawn anew with replacement; other templates or names are not covered by it. Raises
        ValueError for fewer than two prompts, which a metric of one's own counts as.
        """
        if len(self.per_prompt) < 2:
            raise ValueError("There is one value for all prompts: an interval over prompts needs at least two.")
        weights = bootstrap_weights(len(self.per_prompt), n_resamples, seed).to(self.per_prompt)
        clean, corrupted = weights @ self.clean, weights @ self.corrupted
        patched = weights @ self.per_prompt.flatten(1)
        effects = _effect(patched, clean[:, None], corrupted[:, None], self.direction, self.normalise)
        if self.normalise and (clean <= corrupted).any():
            raise ValueError(
                "In some of the resamples clean is no better than corrupted, so a normalised effect is undefined: "
                "take more prompts or normalise=False."
            )
        effects = effects.float()  # quantiles need it
        tail = (1 - level) / 2
        low, high = torch.quantile(effects, torch.tensor([tail, 1 - tail]).to(effects), dim=0)
        return low.view_as(self.effect), high.view_as(self.effect)


def patch_stream(
    model: TransformerBridge,
    pairs: PromptPairs,
    kind: Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"] = "resid_pre",
    direction: Direction = "denoising",
    *,
    normalise: bool = True,
    metric: Metric | None = None,
    plain: bool = False,
    progress: bool | None = None,
) -> PatchingResult:
    """Patch the residual stream, or what attention or the MLP adds to it, at one layer and position at a time.

    Returns effects [n_layers, pos]; all heads or neurons are patched together.

    direction: "denoising" patches clean into corrupted, "noising" corrupted into clean
    normalise: False gives the mean change of the logit difference in logits
    metric: replaces the logit difference: takes the last position's logits [batch, 1, d_vocab] of all prompts
        and returns one number as a tensor; there is then one value for all prompts
    plain: run the whole model again for every cell, as `transformer_lens.patching` does. Models whose
        architecture has no exact route (see `architectures.py`) are run like this anyway, and say so once
    progress: whether to show a progress bar; default: in a terminal or a notebook

    Raises ValueError for prompts that `check_pairs` refuses, an unknown kind or direction, "mlp_out" of a model
    without MLPs, a metric that returns more than a number, and, with `normalise`, if the clean prompts do no better
    than the corrupted ones.
    """
    check_choice("kind", kind, STREAM_KINDS)
    if kind == "mlp_out" and model.cfg.attn_only:
        raise ValueError(f"{model.cfg.model_name} has no MLPs: there is no mlp_out to patch; choose another kind.")
    cells = [(layer, pos) for layer in range(model.cfg.n_layers) for pos in range(pairs.clean.shape[-1])]
    return _sweep(model, pairs, kind, cells, ("layer", "pos"), direction, normalise, metric, plain, progress)


def patch_heads(
    model: TransformerBridge,
    pairs: PromptPairs,
    kind: Literal["z", "q", "k", "v", "pattern"] = "z",
    direction: Direction = "denoising",
    *,
    by_position: bool = False,
    normalise: bool = True,
    metric: Metric | None = None,
    plain: bool = False,
    progress: bool | None = None,
) -> PatchingResult:
    """Patch one head at a time: its output "z", its queries, keys, values or attention pattern.

    Returns effects [n_layers, n_heads], all positions being patched together, or [n_layers, pos, n_heads] with
    `by_position`; a pattern's position is the one that looks. Where keys and values are shared by groups of
    heads, kinds "k" and "v" have n_key_value_heads heads, and patching one touches its whole group.

    The plain way can't change a pattern in models that only show it (`TransformerBridge.boot_native`): a warning
    says so. The exact one can. Everything else is as in `patch_stream`.
    """
    check_choice("kind", kind, HEAD_KINDS)
    heads, positions = range(n_heads_of(model, kind)), range(pairs.clean.shape[-1])
    if by_position:
        cells = [(layer, pos, head) for layer in range(model.cfg.n_layers) for pos in positions for head in heads]
    else:
        cells = [(layer, head) for layer in range(model.cfg.n_layers) for head in heads]
    axes = ("layer", "pos", "head") if by_position else ("layer", "head")
    return _sweep(model, pairs, kind, cells, axes, direction, normalise, metric, plain, progress)


def exact_route(model: TransformerBridge, tokens: Tensor, stacklevel: int = 4) -> Attention | None:
    """How to compute the model's attention outside its own forward pass, or None after saying why, once.

    A route is used only if it gives the model's own logits for the first of these prompts, to a thousandth.
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
                difference = (model.unembed(model.ln_final(end)) - model(tokens[:1])).abs().max().item()
            if difference > (1e-3 if end.dtype == torch.float32 else 0.25):
                attention, problem = None, f"its logits would differ by {difference:.2g}"
        if attention is None:
            warnings.warn(
                f"No exact route for {model.cfg.model_name}: {problem}. The sweep runs the whole model for "
                "every patch: the same numbers, only slower.",
                stacklevel=stacklevel,
            )
        _routes[model] = attention
    return _routes[model]


_routes: "weakref.WeakKeyDictionary[TransformerBridge, Attention | None]" = weakref.WeakKeyDictionary()


def logit_reader(model: TransformerBridge, pairs: PromptPairs, metric: Metric | None) -> Callable[[Tensor], Tensor]:
    """A function from final residual streams [n, batch, d_model] to logit differences [n, batch].

    Only the answers' logits are computed; a metric gets all of them, and one value for all prompts: [n, 1].
    """
    if metric is not None:
        return lambda resid: torch.stack(
            [_measured(metric, model.unembed(model.ln_final(rows[:, None]))) for rows in resid]
        )
    W_U, b_U = model.unembed.W_U, model.unembed.b_U
    direction = (W_U[:, pairs.answers] - W_U[:, pairs.wrong_answers]).T
    bias = b_U[pairs.answers] - b_U[pairs.wrong_answers] if b_U is not None else 0
    return lambda resid: (model.ln_final(resid) * direction).sum(dim=-1) + bias


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


def result(
    patched: Tensor,
    clean: Tensor,
    corrupted: Tensor,
    axes: tuple[str, ...],
    direction: str,
    normalise: bool,
    hooks: str,
    stacklevel: int = 4,
) -> PatchingResult:
    """Put measurements together: `patched` [batch, *axes], `clean` and `corrupted` [batch].

    hooks: what was patched, for the warning if that changed nothing at all; stacklevel: as in `exact_route`
    Raises ValueError if normalised effects are asked for and the clean runs are no better than the corrupted.
    """
    base, _ = turned(direction, clean, corrupted)
    if torch.equal(patched, base.view(-1, *[1] * (patched.dim() - 1)).expand_as(patched)):
        warnings.warn(
            f"Patching {hooks} changed the logits of no prompt, whichever was patched: does this model use what "
            "these hooks show, or only show it?",
            stacklevel=stacklevel,
        )
    if normalise and clean.mean() <= corrupted.mean():
        raise ValueError(
            f"The logit difference is {clean.mean():.3f} after the clean prompts and {corrupted.mean():.3f} after "
            "the corrupted ones: where clean is no better, a normalised effect is undefined; are the two "
            "exchanged? Otherwise take normalise=False."
        )
    effect = _effect(patched.mean(0), clean.mean(), corrupted.mean(), direction, normalise)
    return PatchingResult(effect, patched, clean, corrupted, axes, direction, normalise)


def _effect(patched: Tensor, clean: Tensor, corrupted: Tensor, direction: str, normalise: bool) -> Tensor:
    if normalise:
        return (patched - corrupted) / (clean - corrupted)
    return patched - turned(direction, clean, corrupted)[0]


def _sweep(
    model: TransformerBridge,
    pairs: PromptPairs,
    kind: str,
    cells: list[Cell],
    axes: tuple[str, ...],
    direction: str,
    normalise: bool,
    metric: Metric | None,
    plain: bool,
    progress: bool | None,
) -> PatchingResult:
    check_direction(direction)
    check_pairs(model, pairs)
    attention = None if plain else exact_route(model, pairs.clean)
    bar = progress_bar(len(cells), f"patching {kind}", progress)
    with torch.no_grad(), cached_hook_dict(model), bar:
        if attention is None:
            measured = _plain_sweep(model, pairs, kind, cells, axes, direction, metric, bar)
        else:
            measured = _exact_sweep(model, attention, pairs, kind, cells, axes, direction, metric, bar)
    patched, clean, corrupted = measured
    shape = [1 + max(column) for column in zip(*cells)]
    hook = f"hook_{kind}" if kind in STREAM_KINDS else f"attn.hook_{kind}"
    return result(patched.unflatten(1, shape), clean, corrupted, axes, direction, normalise, f"blocks.*.{hook}")


def _exact_sweep(model, attention, pairs, kind, cells, axes, direction, metric, bar) -> tuple[Tensor, Tensor, Tensor]:
    """Logit differences of the patched runs [batch, cells], and of the clean and the corrupted ones [batch]."""
    tokens = turned(direction, pairs.clean, pairs.corrupted)
    first, length = first_difference(pairs), tokens[0].shape[1]
    keep = {"z", "q"} if kind in ("q", "k", "v", "pattern") else {kind}
    base = exact.run(model, attention, tokens[0], keep=keep)
    source = exact.run(model, attention, tokens[1], before=base, start=first, keep=keep)
    read = logit_reader(model, pairs, metric)
    of_base, of_source = (read(run.resid_pre[-1][None, :, -1])[0] for run in (base, source))
    patched = of_base[:, None].repeat(1, len(cells))
    has_position = "pos" in axes
    # Cells at positions where the prompts are still the same change nothing; the others go deepest last.
    by_start: dict[int, list[int]] = {}
    for index, cell in enumerate(cells):
        start = cell[1] if has_position else first
        if start >= first:
            by_start.setdefault(start, []).append(index)
    bar.update(len(cells) - sum(map(len, by_start.values())))
    for start, indices in sorted(by_start.items()):
        size = max(1, CHUNK_TOKENS // (len(tokens[0]) * (length - start)))
        for chunk in (indices[i : i + size] for i in range(0, len(indices), size)):
            entries = {}
            for layer, group in groupby((cells[index] for index in chunk), key=lambda cell: cell[0]):
                site, resid = _entry(model, attention, base, source, first, start, kind, layer, list(group))
                entries[site] = resid
            rows = exact.finish(model, attention, base, start, entries)
            patched[:, chunk] = read(rows).T
            bar.update(len(chunk))
    return patched, *turned(direction, of_base, of_source)


def _entry(
    model: TransformerBridge,
    attention: Attention,
    base: exact.Run,
    source: exact.Run,
    first: int,
    start: int,
    kind: str,
    layer: int,
    cells: list[Cell],
) -> tuple[tuple[int, str], Tensor]:
    """Where the patches of one layer enter the residual stream, and the streams that they make of it.

    source: its positions begin at `first`
    cells: all of this layer; their patches change nothing before position `start`
    Returns (layer, "pre" or "mid") and [cells, batch, pos from start on, d_model].
    """
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
        there, here = getattr(source, name)[index][:, start - first], getattr(base, name)[index][:, start]
        stream[:, 0] = there if name.startswith("resid") else stream[:, 0] + (there - here)
        return site, stream[None]
    # A head reaches the residual stream through W_O; several query heads may share a key or value head.
    by_position = len(cells[0]) == 3
    change = _changed_z(attention, base, source, first, start, kind, layer, by_position) - base.z[layer][:, start:]
    if by_position and kind in ("z", "q", "pattern"):
        change[:, 1:] = 0  # only the position itself looks differently
    added = torch.einsum("bphe,hed->hbpd", change, model.blocks[layer].attn.W_O)
    added = added.unflatten(0, (n_heads_of(model, kind), -1)).sum(dim=1)
    return (layer, "mid"), base.resid_mid[layer][:, start:] + added[[cell[-1] for cell in cells]]


def _changed_z(
    attention: Attention,
    base: exact.Run,
    source: exact.Run,
    first: int,
    start: int,
    kind: str,
    layer: int,
    by_position: bool,
) -> Tensor:
    """z [batch, pos from start on, n_heads, d_head] of a layer if every head's `kind` were the source's."""
    if kind == "z":
        return source.z[layer][:, start - first :]
    q, k, v = base.q[layer][:, start:], base.k[layer], base.v[layer]
    there = (source.q if kind == "pattern" else getattr(source, kind))[layer]
    if kind == "q":
        return exact.mix(attention, there[:, start - first :], k, v)
    if kind == "pattern":
        keys = torch.cat([k[:, :first], source.k[layer]], dim=1)
        weights = exact.pattern(attention, there[:, start - first :], keys)
        v = v.repeat_interleave(q.shape[2] // v.shape[2], dim=2)
        return torch.einsum("bhqk,bkhe->bqhe", weights, v)
    here = {"k": k, "v": v}
    here[kind] = here[kind].clone()
    end = start + 1 if by_position else here[kind].shape[1]
    here[kind][:, start:end] = there[:, start - first : end - first]
    return exact.mix(attention, q, here["k"], here["v"])


def _plain_sweep(model, pairs, kind, cells, axes, direction, metric, bar) -> tuple[Tensor, Tensor, Tensor]:
    """What `_exact_sweep` returns, by running the whole model once a cell."""
    tokens = turned(direction, pairs.clean, pairs.corrupted)
    place = "hook_" if kind in STREAM_KINDS else "attn.hook_"
    names = check_hooks(model, [f"blocks.{layer}.{place}{kind}" for layer in range(model.cfg.n_layers)])
    of_source, cache = model.run_with_cache(tokens[1], names_filter=names)

    def measure(logits: Tensor) -> Tensor:
        if metric is not None:
            return _measured(metric, logits[:, -1:])
        return compute_logit_diff(logits, pairs.answers, pairs.wrong_answers, per_prompt=True)

    patched = []
    for cell in cells:
        name, where = names[cell[0]], _where(kind, cell, axes)

        def patch(activation: Tensor, hook: object) -> Tensor:
            # In place, not on a copy: the residual stream between attention and MLP is the norm's input for the
            # hook and the skip connection as well, and only a change in place reaches both.
            activation[where] = cache[name][where]
            return activation

        patched.append(measure(model.run_with_hooks(tokens[0], fwd_hooks=[(name, patch)])))
        bar.update()
    of_base, of_source = measure(model(tokens[0])), measure(of_source)
    return torch.stack(patched, dim=1), *turned(direction, of_base, of_source)


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
    return value[None]


def n_heads_of(model: TransformerBridge, kind: str) -> int:
    """How many heads a kind of activation has: keys and values may have fewer than queries."""
    shared = model.cfg.n_key_value_heads if kind in ("k", "v") else None
    return shared or model.cfg.n_heads


def check_choice(name: str, given: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless `given` is one of `allowed`."""
    if given not in allowed:
        raise ValueError(f"{name} is {given!r}: choose one of {', '.join(allowed)}.")
