"""Path patching: which earlier heads act through given later heads, and through their queries, keys or values.

Patching a head's output changes everything after it. Path patching lets the change reach only the receivers. First
the sender's output is replaced and all other heads are frozen, so that what arrives at the receivers came from the
sender without passing another head; then, in a run that is otherwise free, only what the receivers got is replaced.
Sources: Wang et al., "Interpretability in the Wild" (2022), section 3.1; Goldowsky-Dill et al., "Localizing Model
Behavior with Path Patching" (2023).
"""

import warnings
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from scripts.interp.base.numbers import is_integer
from scripts.interp.base.progress import progress_bar
from scripts.interp.circuits import exact
from scripts.interp.circuits.attention_routes import Attention
from scripts.interp.circuits.patching import (
    CHUNK_TOKENS,
    Direction,
    PatchingResult,
    check_choice,
    check_direction,
    exact_route,
    first_difference,
    logit_reader,
    n_heads_of,
    result,
    turned,
)
from scripts.interp.circuits.prompt_pairs import PromptPairs, check_pairs
from scripts.interp.runs.hooks import cached_hook_dict
from scripts.interp.runs.logits import compute_logit_diff
from scripts.interp.runs.prompts import check_layer

Head = tuple[int, int]  # (layer, head)
Through = Literal["q", "k", "v"]


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
        frozen too, and the receivers' norms: only what the sender itself wrote arrives, as in TransformerLens'
        `get_act_patch_direct_path`
    plain: run the whole model twice for every sender, as models without an exact route do anyway

    direction, normalise and the result are as in `patch_heads`. A sender that is not below every receiver acts
    on those above it only; above all of them its effect is none.

    Raises ValueError as `patch_heads` does, and for receivers that the model does not have.
    """
    check_choice("through", through, ("q", "k", "v"))
    check_direction(direction)
    check_pairs(model, pairs)
    receivers = _check_receivers(model, receivers, through)
    last_layer = max(receivers)[0]
    senders = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    acting = [sender for sender in senders if sender[0] < last_layer]
    attention = None if plain else exact_route(model, pairs.clean, stacklevel=3)
    what = f"path patching through {through}"
    with torch.no_grad(), cached_hook_dict(model), progress_bar(len(acting), what, progress) as bar:
        measure = _plain_paths if attention is None else _exact_paths
        changed, clean, corrupted = measure(model, attention, pairs, acting, receivers, through, direction, direct, bar)
    base, _ = turned(direction, clean, corrupted)
    unchanged = base[:, None].repeat(1, len(senders) - len(acting))
    patched = torch.cat([changed, unchanged], dim=1).unflatten(1, (model.cfg.n_layers, model.cfg.n_heads))
    hooks = f"hook_{through} of {', '.join(f'L{layer}H{head}' for layer, head in receivers)}"
    return result(patched, clean, corrupted, ("layer", "head"), direction, normalise, hooks, stacklevel=3)


def _exact_paths(model, attention, pairs, senders, receivers, through, direction, direct, bar):
    tokens = turned(direction, pairs.clean, pairs.corrupted)
    start, batch = first_difference(pairs), len(pairs.clean)
    keep = ("q", "z", "mlp_out")
    base = exact.run(model, attention, tokens[0], keep=keep)
    source = exact.run(model, attention, tokens[1], before=base, start=start, keep=keep)
    read = logit_reader(model, pairs, None)
    of_base, of_source = (read(run.resid_pre[-1][None, :, -1])[0] for run in (base, source))
    size = max(1, CHUNK_TOKENS // (batch * (tokens[0].shape[1] - start)))
    first_layer = receivers[0][0]
    patched = []
    for chunk in (senders[i : i + size] for i in range(0, len(senders), size)):
        arrived = _arrivals(model, attention, base, source, start, chunk, receivers, through, direct)

        def replace(layer: int, q: Tensor, k: Tensor, v: Tensor) -> None:
            into = {"q": q, "k": k, "v": v}[through]
            for head in (head for of_layer, head in receivers if of_layer == layer):
                into[:, :, head] = arrived[layer][:, :, head]

        entry = base.resid_pre[first_layer][:, start:].expand(len(chunk), -1, -1, -1)
        rows = exact.finish(model, attention, base, start, {(first_layer, "pre"): entry}, replace)
        patched.append(read(rows).T)
        bar.update(len(chunk))
    return torch.cat(patched, dim=1), *turned(direction, of_base, of_source)


def _arrivals(
    model: TransformerBridge,
    attention: Attention,
    base: exact.Run,
    source: exact.Run,
    start: int,
    senders: Sequence[Head],
    receivers: Sequence[Head],
    through: Through,
    direct: bool,
) -> dict[int, Tensor]:
    """What the receivers' layers get if one sender is replaced and all other heads are frozen.

    Returns for every such layer its q, k or v, [senders · batch, pos from start on, heads, d_head].
    """
    layers = {layer for layer, _ in receivers}
    of_layer = {layer: [head for _, head in group] for layer, group in groupby(senders, key=lambda s: s[0])}
    batch = len(base.z[0])
    change = base.resid_pre[0].new_zeros(0, base.resid_pre[0].shape[1] - start, model.cfg.d_model)
    arrived = {}
    for layer in range(max(layers) + 1):
        block = model.blocks[layer]
        if layer in layers:
            here = base.resid_pre[layer][:, start:].repeat(len(change) // batch, 1, 1)
            if direct:
                got = _frozen_norm_projection(model, attention, layer, here, change, through, start)
            else:
                got = dict(zip("qkv", exact.project(model, attention, layer, here + change, start)))[through]
            waiting = len(senders) - len(change) // batch  # senders at this layer and above change nothing here
            missing = getattr(base, through)[layer][:, start:].repeat(waiting, 1, 1, 1)
            arrived[layer] = torch.cat([got, missing])
        if layer in of_layer:
            z = (source.z[layer] - base.z[layer][:, start:])[:, :, of_layer[layer]]
            written = torch.einsum("bphe,hed->hbpd", z, block.attn.W_O[of_layer[layer]])
            change = torch.cat([change, written.flatten(0, 1)])
        if not direct and len(change):
            here = base.resid_mid[layer][:, start:].repeat(len(change) // batch, 1, 1)
            frozen = base.mlp_out[layer][:, start:].repeat(len(change) // batch, 1, 1)
            change = change + exact.mlp(model, layer, here + change) - frozen
    return arrived


def _frozen_norm_projection(
    model: TransformerBridge,
    attention: Attention,
    layer: int,
    here: Tensor,
    change: Tensor,
    through: Through,
    start: int,
) -> Tensor:
    """q, k or v of `here` plus what `change` adds through a norm that divides as if nothing had changed."""
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
        added = attention.rotate(added, start)
    return dict(zip("qkv", exact.project(model, attention, layer, here, start)))[through] + added


def _plain_paths(model, attention, pairs, senders, receivers, through, direction, direct, bar):
    """The same with hooks on the whole model, two runs a sender."""
    tokens = turned(direction, pairs.clean, pairs.corrupted)
    layers = range(model.cfg.n_layers)
    z_names = [f"blocks.{layer}.attn.hook_z" for layer in layers]
    frozen = list(z_names)
    if direct:
        frozen += [f"blocks.{layer}.hook_mlp_out" for layer in layers if not model.cfg.attn_only]
        frozen += [f"blocks.{layer}.ln1.hook_scale" for layer in layers]
    base_logits, base = model.run_with_cache(tokens[0], names_filter=frozen)
    source_logits, source = model.run_with_cache(tokens[1], names_filter=z_names)
    names = {layer: f"blocks.{layer}.attn.hook_{through}" for layer, _ in receivers}

    def measure(logits: Tensor) -> Tensor:
        return compute_logit_diff(logits, pairs.answers, pairs.wrong_answers, per_prompt=True)

    # Hooks get the name they are asked for: `hook.name` may be another name of the same place.
    def freeze(activation: Tensor, hook: object, name: str) -> Tensor:
        return base[name]

    def send(z: Tensor, hook: object, name: str, head: int) -> Tensor:
        z = base[name].clone()
        z[:, :, head] = source[name][:, :, head]
        return z

    def replace(activation: Tensor, hook: object, layer: int) -> Tensor:
        heads = [head for of_layer, head in receivers if of_layer == layer]
        activation = activation.clone()
        activation[:, :, heads] = arrived[names[layer]][:, :, heads]
        return activation

    patched = []
    for layer, head in senders:
        hooks = [(name, partial(freeze, name=name)) for name in frozen if name != z_names[layer]]
        hooks.append((z_names[layer], partial(send, name=z_names[layer], head=head)))
        with warnings.catch_warnings(), model.hooks(fwd_hooks=hooks):
            # TransformerLens doubts a changed scale; freezing it is what a direct path means.
            warnings.filterwarnings("ignore", message=".*hook_scale.*")
            _, arrived = model.run_with_cache(tokens[0], names_filter=list(names.values()))
        replacing = [(name, partial(replace, layer=layer)) for layer, name in names.items()]
        patched.append(measure(model.run_with_hooks(tokens[0], fwd_hooks=replacing)))
        bar.update()
    of_base, of_source = measure(base_logits), measure(source_logits)
    return torch.stack(patched, dim=1), *turned(direction, of_base, of_source)


def _check_receivers(model: TransformerBridge, receivers: Sequence[Head], through: Through) -> list[Head]:
    if not receivers or any(not isinstance(head, (tuple, list)) or len(head) != 2 for head in receivers):
        raise ValueError(f"receivers is {receivers}: give at least one pair (layer, head), in a list.")
    heads = n_heads_of(model, through)
    for layer, head in receivers:
        check_layer(model, layer)
        if not is_integer(head) or not 0 <= head < heads:
            kind = "key and value" if through != "q" else "query"
            raise ValueError(f"There is no receiver head {head!r}: {kind} heads are 0 to {heads - 1}.")
    receivers = sorted(set(map(tuple, receivers)))
    if receivers[-1][0] == 0:
        raise ValueError("All receivers are in layer 0: no head is below them.")
    return receivers
