"""Path patching: which earlier heads act through given later heads, and through their queries, keys or values.

Patching a head's output changes everything after it. Path patching lets the change reach only the receivers. First
the sender's output is replaced and all other heads are frozen, so that what arrives at the receivers came from the
sender without passing another head; then, in a run that is otherwise free, only what the receivers got is replaced.
Sources: Wang et al., "Interpretability in the Wild" (2022), section 3.1; Goldowsky-Dill et al., "Localizing Model
Behavior with Path Patching" (2023).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from scripts.interp.base.progress import progress_bar
from scripts.interp.circuits import exact
from scripts.interp.circuits.attention_routes import Attention
from scripts.interp.circuits.patching import PatchingResult, result
from scripts.interp.circuits.prompt_pairs import PromptPairs, pair_differences, ready_pairs
from scripts.interp.circuits.sweeps import (
    Direction,
    Measured,
    Runs,
    both_runs,
    check_choice,
    check_direction,
    chunks,
    exact_route,
    logit_reader,
    turned,
    unpatched,
)
from scripts.interp.runs.heads import Head, check_head
from scripts.interp.runs.hooks import cached_hook_dict
from scripts.interp.runs.read_out import relative_difference, rounding

if TYPE_CHECKING:
    from tqdm import tqdm
    from transformer_lens.model_bridge import TransformerBridge

Through = Literal["q", "k", "v"]


class Paths(NamedTuple):
    """Which paths are patched, one sender's at a time, and in which runs."""

    model: TransformerBridge
    pairs: PromptPairs
    senders: list[Head]
    """The heads whose output changes, deeper ones last, all below the deepest receiver."""
    receivers: list[Head]
    """The heads that the change may reach, deeper ones last."""
    through: Through
    """What it reaches there: queries, keys or values."""
    direct: bool
    """Whether MLPs and norms on the way are frozen too."""
    direction: Direction


def path_patch(
    model: TransformerBridge,
    pairs: PromptPairs,
    receivers: Sequence[Head],
    through: Through,
    direction: Direction = "denoising",
    *,
    direct: bool = False,
    normalise: bool = True,
    plain: bool = False,
    progress: bool | None = None,
) -> PatchingResult:
    """The effect of every head on the answer by way of the receivers' queries, keys or values: [n_layers, n_heads].

    receivers: pairs (layer, head). With `through` "k" or "v" a head is a key or value head, 0 to
        n_key_value_heads - 1: query head h reads key and value head h // (n_heads // n_key_value_heads)
    direct: False lets the change pass through MLPs and norms on its way, as Wang et al. do. True keeps the MLPs
        frozen too, the receivers' norms and those after attention: only what the sender itself wrote arrives, as in
        TransformerLens' `get_act_patch_direct_path`
    plain: run the whole model twice for every sender, as models without an exact route do anyway

    direction, normalise and the result are as in `patch_heads`. A sender that is not below every receiver acts
    on those above it only; above all of them its effect is none.

    Raises ValueError as `patch_heads` does, for receivers that the model does not have, and for direct paths in a model
    whose norms and MLPs hooks can't freeze.
    """
    check_choice("through", through, ("q", "k", "v"))
    check_direction(direction)
    pairs = ready_pairs(model, pairs)
    receivers = _check_receivers(model, receivers, through)
    last_layer = max(receivers)[0]
    senders = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    acting = [sender for sender in senders if sender[0] < last_layer]
    attention = None if plain else exact_route(model, pairs.clean, stacklevel=3)
    paths = Paths(model, pairs, acting, receivers, through, direct, direction)
    bar = progress_bar(len(acting), f"path patching through {through}", progress)
    with torch.no_grad(), cached_hook_dict(model), bar:
        measured = _plain_paths(paths, bar) if attention is None else _exact_paths(paths, attention, bar)
    changed, clean, corrupted = measured
    base, _ = turned(direction, clean, corrupted)
    unchanged = base[:, None].repeat(1, len(senders) - len(acting))
    patched = torch.cat([changed, unchanged], dim=1).unflatten(1, (model.cfg.n_layers, model.cfg.n_heads))
    hooks = f"hook_{through} of {', '.join(f'L{layer}H{head}' for layer, head in receivers)}"
    return result(patched, clean, corrupted, ("layer", "head"), direction, normalise, hooks, stacklevel=3)


def _exact_paths(paths: Paths, attention: Attention, bar: tqdm) -> Measured:
    """What every sender's change does by way of the receivers, computed from the first receiver's layer on."""
    model, through = paths.model, paths.through
    runs = both_runs(model, attention, paths.pairs, paths.direction, keep=("q", "z", "mlp_out"))
    read = logit_reader(model, paths.pairs, None)
    of_base, of_source = unpatched(runs, read)
    first_layer = paths.receivers[0][0]
    patched = []
    for senders in chunks(paths.senders, runs, runs.first):
        arrived = _arrivals(paths, runs, senders)

        def replace(layer: int, q: Tensor, k: Tensor, v: Tensor) -> None:
            into = {"q": q, "k": k, "v": v}[through]
            for head in (head for of_layer, head in paths.receivers if of_layer == layer):
                into[:, :, head] = arrived[layer][:, :, head]

        entry = runs.base.resid_pre[first_layer][:, runs.first :].expand(len(senders), -1, -1, -1)
        rows = exact.finish(model, attention, runs.base, runs.first, {(first_layer, "pre"): entry}, replace)
        patched.append(read(rows).T)
        bar.update(len(senders))
    return torch.cat(patched, dim=1), *turned(paths.direction, of_base, of_source)


def _arrivals(paths: Paths, runs: Runs, senders: Sequence[Head]) -> dict[int, Tensor]:
    """What the receivers' layers get if one of these senders is replaced and all other heads are frozen.

    Returns for every such layer its q, k or v, [senders · batch, pos from the first difference on, heads, d_head].
    """
    model, base, start = runs.model, runs.base, runs.first
    layers = {layer for layer, _ in paths.receivers}
    of_layer = {layer: [head for _, head in group] for layer, group in groupby(senders, key=lambda s: s[0])}
    batch = len(base.z[0])
    change = base.resid_pre[0].new_zeros(0, base.resid_pre[0].shape[1] - start, model.cfg.d_model)
    arrived = {}
    for layer in range(max(layers) + 1):
        if layer in layers:
            here = base.resid_pre[layer][:, start:].repeat(len(change) // batch, 1, 1)
            got = _projected(paths, runs, layer, here, change)
            waiting = len(senders) - len(change) // batch  # senders at this layer and above change nothing here
            missing = getattr(base, paths.through)[layer][:, start:].repeat(waiting, 1, 1, 1)
            arrived[layer] = torch.cat([got, missing])
        if layer in of_layer:
            z = (runs.source.z[layer] - base.z[layer][:, start:])[:, :, of_layer[layer]]
            written = torch.einsum("bphe,hed->hbpd", z, model.blocks[layer].attn.W_O[of_layer[layer]])
            change = torch.cat([change, written.flatten(0, 1)])
        if not paths.direct and len(change):
            here = base.resid_mid[layer][:, start:].repeat(len(change) // batch, 1, 1)
            frozen = base.mlp_out[layer][:, start:].repeat(len(change) // batch, 1, 1)
            change = change + exact.mlp(model, layer, here + change) - frozen
    return arrived


def _projected(paths: Paths, runs: Runs, layer: int, here: Tensor, change: Tensor) -> Tensor:
    """q, k or v of the streams `here` + `change`, [rows, pos from the first difference on, d_model] each.

    Of direct paths the norm divides as if nothing had changed.
    """
    model, through = runs.model, paths.through
    if not paths.direct:
        return dict(zip("qkv", exact.project(model, runs.attention, layer, here + change, runs.first)))[through]
    block = model.blocks[layer]
    weight = getattr(block.attn, f"W_{through.upper()}")
    if getattr(block.ln1, "weight", None) is not None:
        weight = weight * block.ln1.weight[:, None]
    if model.cfg.normalization_type is not None:
        stream = here
        if not block.ln1.uses_rms_norm:
            change, stream = (x - x.mean(dim=-1, keepdim=True) for x in (change, stream))
        change = change / (stream.pow(2).mean(dim=-1, keepdim=True) + model.cfg.eps).sqrt()
    added = torch.einsum("bpd,hde->bphe", change, weight)
    if through != "v":
        added = runs.attention.rotate(added, runs.first)
    return dict(zip("qkv", exact.project(model, runs.attention, layer, here, runs.first)))[through] + added


def _plain_paths(paths: Paths, bar: tqdm) -> Measured:
    """The same with hooks on the whole model, two runs a sender."""
    model, pairs = paths.model, paths.pairs
    into, source_tokens = turned(paths.direction, pairs.clean, pairs.corrupted)
    layers = range(model.cfg.n_layers)
    z_names = [f"blocks.{layer}.attn.hook_z" for layer in layers]
    frozen = list(z_names)
    if paths.direct:
        frozen += [f"blocks.{layer}.hook_mlp_out" for layer in layers if not model.cfg.attn_only]
        # Norms before attention, after it and around the MLP: what they are called, architectures differ in.
        frozen += [name for name in model.hook_dict if re.fullmatch(r"blocks\.\d+\.\w+\.hook_scale", name)]
    names = {layer: f"blocks.{layer}.attn.hook_{paths.through}" for layer, _ in paths.receivers}
    base_logits, base = model.run_with_cache(into, names_filter=[*frozen, *names.values()])
    frozen = [name for name in frozen if name in base]
    source_logits, source = model.run_with_cache(source_tokens, names_filter=z_names)

    def measure(logits: Tensor) -> Tensor:
        return pair_differences(logits, pairs)

    # Hooks get the name they are asked for: `hook.name` may be another name of the same place.
    def freeze(activation: Tensor, hook: object, name: str) -> Tensor:
        return base[name]

    def send(z: Tensor, hook: object, name: str, head: int) -> Tensor:
        z = base[name].clone()
        z[:, :, head] = source[name][:, :, head]
        return z

    def replace(activation: Tensor, hook: object, layer: int) -> Tensor:
        heads = [head for of_layer, head in paths.receivers if of_layer == layer]
        activation = activation.clone()
        activation[:, :, heads] = arrived[names[layer]][:, :, heads]
        return activation

    def arrivals(layer: int, changed: Callable[[Tensor, object], Tensor]) -> Mapping[str, Tensor]:
        """What the receivers get if this layer's z is changed and the rest is frozen."""
        hooks = [(name, partial(freeze, name=name)) for name in frozen if name != z_names[layer]]
        with warnings.catch_warnings(), model.hooks(fwd_hooks=[*hooks, (z_names[layer], changed)]):
            # TransformerLens doubts a changed scale; freezing it is what a direct path means.
            warnings.filterwarnings("ignore", message=".*hook_scale.*")
            return model.run_with_cache(into, names_filter=list(names.values()))[1]

    if paths.direct:
        highest, last = paths.senders[-1][0], names[paths.receivers[-1][0]]

        def arrived_of(times: int) -> Tensor:
            louder = (1 + times) * base[z_names[highest]]
            return (arrivals(highest, lambda z, hook: louder)[last] - base[last]).flatten(1)

        _check_straight(model, arrived_of)
    patched = []
    for layer, head in paths.senders:
        arrived = arrivals(layer, partial(send, name=z_names[layer], head=head))
        replacing = [(name, partial(replace, layer=layer)) for layer, name in names.items()]
        patched.append(measure(model.run_with_hooks(into, fwd_hooks=replacing)))
        bar.update()
    of_base, of_source = measure(base_logits), measure(source_logits)
    return torch.stack(patched, dim=1), *turned(paths.direction, of_base, of_source)


def _check_straight(model: TransformerBridge, arrived_of: Callable[[int], Tensor]) -> None:
    """Raise ValueError unless twice as much sent makes twice the change: then nothing on the way reacts to it.

    arrived_of: what arrives if so many times the output of all heads of a layer is added to it
    """
    try:
        once, twice = arrived_of(10), arrived_of(20)
        straight = relative_difference(twice, 2 * once) <= 2 * rounding(once.dtype)
    except AttributeError:  # TransformerLens', at a frozen norm that has no weight
        straight = False
    if not straight:
        raise ValueError(
            f"Direct paths of {model.cfg.model_name} can't be patched: what arrives is no multiple of what is sent, "
            f"so hooks can't freeze some norm or MLP of the architecture {model.cfg.architecture}; take direct=False."
        )


def _check_receivers(model: TransformerBridge, receivers: Sequence[Head], through: Through) -> list[Head]:
    if not receivers or any(not isinstance(head, (tuple, list)) or len(head) != 2 for head in receivers):
        raise ValueError(f"receivers is {receivers}: give at least one pair (layer, head), in a list.")
    receivers = sorted({check_head(model, tuple(head), "receiver head", through) for head in receivers})
    if receivers[-1][0] == 0:
        raise ValueError("All receivers are in layer 0: no head is below them.")
    return receivers
