"""Activation patching: the exact way against TransformerLens' sweeps and against hooks, and what it
refuses.
"""

import gc
import warnings
import weakref
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from transformer_lens import patching as tl_patching
from transformer_lens.model_bridge import TransformerBridge

from scripts.interp.circuits import attention_routes, exact, patching, sweeps
from scripts.interp.circuits.attention_routes import Attention
from scripts.interp.circuits.patching import patch_heads, patch_stream
from scripts.interp.circuits.prompt_pairs import PromptPairs, prompt_pairs, swap
from scripts.interp.circuits.sweeps import HEAD_KINDS, STREAM_KINDS, Sweep, exact_route, first_difference
from scripts.interp.planted.circuits import planted_circuit
from scripts.interp.runs.caches import cache_filter
from scripts.interp.runs.heads import n_heads_of
from scripts.interp.runs.logits import compute_logit_diff
from scripts.interp.text.ioi import create_ioi_dataset

TOYS = ["standard", "rotary", "rms", "attn_only"]
DIRECTIONS = ["denoising", "noising"]
SHORT = "When {IO} and {S} met, {S} thanked"  # as short as a prompt can be that asks for the other name

TL = {  # (kind, by position): TransformerLens' sweep
    ("resid_pre", True): tl_patching.get_act_patch_resid_pre,
    ("resid_mid", True): tl_patching.get_act_patch_resid_mid,
    ("attn_out", True): tl_patching.get_act_patch_attn_out,
    ("mlp_out", True): tl_patching.get_act_patch_mlp_out,
    ("z", False): tl_patching.get_act_patch_attn_head_out_all_pos,
    ("q", False): tl_patching.get_act_patch_attn_head_q_all_pos,
    ("k", False): tl_patching.get_act_patch_attn_head_k_all_pos,
    ("v", False): tl_patching.get_act_patch_attn_head_v_all_pos,
    ("pattern", False): tl_patching.get_act_patch_attn_head_pattern_all_pos,
    ("z", True): tl_patching.get_act_patch_attn_head_out_by_pos,
    ("q", True): tl_patching.get_act_patch_attn_head_q_by_pos,
    ("k", True): tl_patching.get_act_patch_attn_head_k_by_pos,
    ("v", True): tl_patching.get_act_patch_attn_head_v_by_pos,
    ("pattern", True): tl_patching.get_act_patch_attn_head_pattern_by_pos,
}


@pytest.fixture(autouse=True)
def warnings_are_errors():
    """A sweep that quietly took the plain way would compare it with itself: falling back warns, so it
    fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def sweep(model, pairs, kind, by_position=False, direction="denoising", **options):
    if kind in STREAM_KINDS:
        return patch_stream(model, pairs, kind, direction, **options)
    return patch_heads(model, pairs, kind, direction, by_position=by_position, **options)


def into_and_source(pairs, direction):
    return (pairs.corrupted, pairs.clean) if direction == "denoising" else (pairs.clean, pairs.corrupted)


def tl_sweep(model, pairs, kind, by_position, direction="denoising", cells=None):
    """TransformerLens' logit differences, means over the prompts: axes as ours, or one for each of the
    cells.
    """
    into, source = into_and_source(pairs, direction)
    _, cache = model.run_with_cache(source, names_filter=cache_filter(model, kind))
    function, columns = TL[kind, by_position], {}

    def metric(logits):
        return compute_logit_diff(logits, pairs.answers, pairs.wrong_answers)

    if cells is not None:
        columns = {"index_axis_names": None, "index_df": pd.DataFrame([_tl_cell(kind, cell) for cell in cells])}
    measured = function(model, into, cache, metric, **columns)
    return measured.permute(0, 2, 1) if measured.dim() == 3 and kind == "pattern" else measured


def _tl_cell(kind, cell):
    return (cell[0], cell[2], cell[1]) if kind == "pattern" and len(cell) == 3 else cell


def change(result):
    """How far any patch moved any prompt's logit difference."""
    base = result.corrupted if result.direction == "denoising" else result.clean
    return (result.per_prompt - base.view(-1, *[1] * len(result.axes))).abs().max().item()


def kinds_of(name, by_position):
    """What TransformerLens can patch in a toy: nothing of an MLP where there is none, and no pattern (see
    below).
    """
    without = ("pattern",) + (("resid_mid", "mlp_out") if name == "attn_only" else ())
    return [kind for kind, positions in TL if positions == by_position and kind not in without]


@pytest.mark.parametrize(
    "name, direction, which",
    [(name, direction, "late") for name in ("standard", "rotary") for direction in DIRECTIONS]
    + [("rms", "denoising", "late"), ("attn_only", "noising", "late")]
    + [("standard", "denoising", "first"), ("rotary", "noising", "first")],
)
def test_toys_agree_with_transformer_lens(patching_toys, toy_pairs, name, direction, which):
    toy, pairs = patching_toys[name], toy_pairs[which]
    sweeps = [(kind, False) for kind in kinds_of(name, False)]
    sweeps += [(kind, True) for kind in kinds_of(name, True) if kind in STREAM_KINDS]
    for kind, by_position in sweeps:
        ours = sweep(toy, pairs, kind, direction=direction, normalise=False)
        theirs = tl_sweep(toy, pairs, kind, by_position, direction)
        torch.testing.assert_close(ours.per_prompt.mean(0), theirs, atol=1e-4, rtol=0, msg=lambda m: f"{kind}: {m}")
        assert change(ours) > 0.1, kind


@pytest.mark.parametrize(
    "name, which, direction, kinds", [("standard", "first", "noising", "z"), ("rotary", "late", "denoising", "qkv")]
)
def test_single_positions_agree_with_transformer_lens(patching_toys, toy_pairs, name, which, direction, kinds):
    toy, pairs = patching_toys[name], toy_pairs[which]
    for kind in kinds:
        ours = patch_heads(toy, pairs, kind, direction, by_position=True, normalise=False)
        theirs = tl_sweep(toy, pairs, kind, True, direction)
        assert ours.axes == ("layer", "pos", "head")
        torch.testing.assert_close(ours.per_prompt.mean(0), theirs, atol=1e-4, rtol=0, msg=lambda m: f"{kind}: {m}")
        assert change(ours) > 0.1, kind


@pytest.mark.parametrize("name, direction", list(zip(TOYS, DIRECTIONS * 2)))
def test_every_prompt_agrees_with_the_plain_way(patching_toys, toy_pairs, name, direction):
    toy, pairs = patching_toys[name], toy_pairs["late"]
    kinds = [(kind, False) for kind in ("resid_post", "attn_out", "q", "k")]
    for kind, by_position in kinds + [("v", True)] * (name == "rotary"):
        ours, plain = (
            sweep(toy, pairs, kind, by_position, direction, normalise=False, plain=way) for way in (False, True)
        )
        for field in ("effect", "per_prompt", "clean", "corrupted"):
            pair = getattr(ours, field), getattr(plain, field)
            torch.testing.assert_close(*pair, atol=1e-4, rtol=0, msg=lambda m: f"{kind} {field}: {m}")
        assert (ours.axes, ours.direction, ours.normalise) == (plain.axes, direction, False)


def test_the_plain_way_patches_the_middle_of_the_stream(patching_toys, toy_pairs):
    """hook_resid_mid hands out the tensor that the MLP reads and the skip connection carries on:
    TransformerLens writes into it, and only so both get the patch.
    """
    toy, pairs = patching_toys["standard"], toy_pairs["late"]
    plain = patch_stream(toy, pairs, "resid_mid", normalise=False, plain=True)
    theirs = tl_sweep(toy, pairs, "resid_mid", True)
    torch.testing.assert_close(plain.per_prompt.mean(0), theirs, atol=1e-4, rtol=0)


def test_resid_mid_reaches_the_skip_connection(patching_toys, toy_pairs):
    """A hook on hook_resid_mid that returns a new tensor reaches only the MLP and not the skip connection.
    So the whole middle of the residual stream is exchanged at hook_attn_out instead, which both come
    after.
    """
    toy, pairs = patching_toys["rotary"], toy_pairs["late"]
    _, source = toy.run_with_cache(pairs.clean)
    _, base = toy.run_with_cache(pairs.corrupted)
    ours = patch_stream(toy, pairs, "resid_mid", normalise=False)
    for layer in range(3):
        for pos in range(7):

            def exchange(attn_out, hook):
                attn_out = attn_out.clone()
                middle = source[f"blocks.{layer}.hook_resid_mid"][:, pos]
                attn_out[:, pos] = middle - base[f"blocks.{layer}.hook_resid_pre"][:, pos]
                return attn_out

            logits = toy.run_with_hooks(pairs.corrupted, fwd_hooks=[(f"blocks.{layer}.hook_attn_out", exchange)])
            expected = compute_logit_diff(logits, pairs.answers, pairs.wrong_answers, per_prompt=True)
            torch.testing.assert_close(ours.per_prompt[:, layer, pos], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "name, which, direction, by_position",
    [
        ("standard", "first", "noising", True),
        ("rotary", "late", "denoising", True),
        ("standard", "late", "denoising", False),
        ("rotary", "first", "noising", False),
        ("rms", "late", "denoising", False),
        ("attn_only", "late", "noising", False),
    ],
)
def test_patterns_of_toys(patching_toys, toy_pairs, name, which, direction, by_position):
    """A toy's hook_pattern only shows the pattern. So what the source's pattern makes of the values is
    computed here from both caches and put into hook_attn_out.
    """
    toy, pairs = patching_toys[name], toy_pairs[which]
    into, source = into_and_source(pairs, direction)
    _, there = toy.run_with_cache(source)
    _, here = toy.run_with_cache(into)
    ours = patch_heads(toy, pairs, "pattern", direction, by_position=by_position, normalise=False)
    for layer in range(3):
        v = here[f"blocks.{layer}.attn.hook_v"]
        v = v.repeat_interleave(4 // v.shape[2], dim=2)
        for head in range(4):
            weights = there[f"blocks.{layer}.attn.hook_pattern"][:, head]
            old_weights = here[f"blocks.{layer}.attn.hook_pattern"][:, head]
            written = (weights - old_weights) @ v[:, :, head] @ toy.blocks[layer].attn.W_O[head]
            for pos in range(7) if by_position else [slice(None)]:

                def add(attn_out, hook):
                    attn_out = attn_out.clone()
                    attn_out[:, pos] += written[:, pos]
                    return attn_out

                logits = toy.run_with_hooks(into, fwd_hooks=[(f"blocks.{layer}.hook_attn_out", add)])
                expected = compute_logit_diff(logits, pairs.answers, pairs.wrong_answers, per_prompt=True)
                got = ours.per_prompt[:, layer, pos, head] if by_position else ours.per_prompt[:, layer, head]
                torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
    assert change(ours) > 0.1


class Chosen(NamedTuple):
    """A language model, two pairs of prompts for it, and at which cells to compare."""

    model: TransformerBridge
    pairs: PromptPairs
    layer_pos: list
    layer_head: list
    whole: dict  # kind: a sweep in full


@pytest.fixture(scope="module")
def chosen(request):
    """By the language model's name. The embedded model's two sweeps of the benchmark are run in full and tell
    where there is something to see; with random weights a little of it is everywhere."""
    made = {}

    def choose(name):
        if name in made:
            return made[name]
        model = request.getfixturevalue(name)
        pairs = prompt_pairs(model, create_ioi_dataset(2, tokenizer=model.tokenizer, templates=[SHORT]))
        first, last, layers = first_difference(pairs), pairs.clean.shape[1] - 1, model.cfg.n_layers
        whole = {}
        layer_pos = [(1, first), (layers // 2, first), (layers // 2, last), (layers - 1, last)]
        layer_head = [(0, 0), (1, 3), (layers // 2, 4), (layers - 1, model.cfg.n_heads - 1)]
        if name == "model":
            whole = {sweep: sweep_of(model, pairs, normalise=False) for sweep, sweep_of in WHOLE.items()}
            layer_pos[:2] = strongest(whole["resid_pre"].effect, 2)
            layer_head[:2] = strongest(whole["z"].effect, 2)
        made[name] = Chosen(model, pairs, sorted(set(layer_pos)), sorted(set(layer_head)), whole)
        return made[name]

    return choose


WHOLE = {"resid_pre": patch_stream, "z": patch_heads}


def strongest(effect, n):
    return [divmod(index, effect.shape[1]) for index in effect.abs().flatten().topk(n).indices.tolist()]


@pytest.mark.parametrize("name, atol", [("model", 1e-3), ("gpt2", 1e-5)])  # random weights have small effects
@pytest.mark.parametrize("kind, by_position", [pair for pair in TL if pair not in {("q", True), ("v", True)}])
def test_language_models_agree_with_transformer_lens(chosen, name, atol, kind, by_position):
    """At chosen cells, because TransformerLens' whole sweeps take minutes. In logits, which is stricter than
    the same number in normalised effects: the embedded model's clean and corrupted runs differ by several.
    """
    model, pairs, layer_pos, layer_head, whole = chosen(name)
    heads = n_heads_of(model, kind)
    cells, axes = (sorted({(layer, h * heads // model.cfg.n_heads) for layer, h in layer_head}), ("layer", "head"))
    if kind in STREAM_KINDS:
        cells, axes = layer_pos, ("layer", "pos")
    elif by_position:
        positions = (first_difference(pairs), pairs.clean.shape[1] - 1)
        cells, axes = ([(layer, pos, h) for layer, h in cells[-3:-1] for pos in positions], ("layer", "pos", "head"))
    theirs = tl_sweep(model, pairs, kind, by_position, cells=cells)
    if kind in whole and not (kind == "z" and by_position):
        ours = torch.stack([whole[kind].per_prompt[:, layer, column] for layer, column in cells], dim=1)
        clean, corrupted = whole[kind].clean, whole[kind].corrupted
    else:
        ours, clean, corrupted = at_cells(sweeps.exact_sweep, model, pairs, kind, cells, axes)
    torch.testing.assert_close(ours.mean(0), theirs, atol=atol, rtol=0)
    assert (ours - corrupted[:, None]).abs().max() > 20 * atol
    assert name == "gpt2" or (clean - corrupted).mean() > 1


@pytest.mark.parametrize("kind, by_position", [("resid_mid", True), ("pattern", False), ("pattern", True)])
def test_the_plain_way_of_a_language_model(chosen, kind, by_position):
    """Where toys are no use: their patterns are only shown."""
    model, pairs, layer_pos, layer_head, _ = chosen("gpt2")
    cells, axes = layer_pos[1:3], ("layer", "pos")
    if kind == "pattern":
        cells, axes = layer_head[1:3], ("layer", "head")
        if by_position:
            cells, axes = ([(layer, pairs.clean.shape[1] - 1, h) for layer, h in cells], ("layer", "pos", "head"))
    ours = at_cells(sweeps.exact_sweep, model, pairs, kind, cells, axes)
    plain = at_cells(sweeps.plain_sweep, model, pairs, kind, cells, axes)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)


def at_cells(way, model, pairs, kind, cells, axes):
    """Either way at some cells only: [batch, cells], and what clean and corrupted runs give."""
    route = (exact_route(model, pairs.clean),) if way is sweeps.exact_sweep else ()
    bar = patching.progress_bar(len(cells), "", False)
    with torch.no_grad():
        return way(Sweep(model, pairs, kind, cells, axes, "denoising"), *route, bar)


@pytest.mark.parametrize("n_key_value_heads", [4, 2, 1])
def test_a_planted_circuit_is_found(n_key_value_heads):
    """Effects above 1 and below 0 stay what they are."""
    planted = planted_circuit(n_key_value_heads)
    expected = torch.zeros(2, 4)
    expected[planted.mover], expected[planted.writer], expected[planted.against] = 1, 1.5, -0.5
    result = patch_heads(planted.model, planted.pairs)
    torch.testing.assert_close(result.effect, expected, atol=1e-5, rtol=0)
    assert not result.effect.requires_grad
    noised = patch_heads(planted.model, planted.pairs, direction="noising")
    torch.testing.assert_close(noised.effect, 1 - expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("plain", [False, True])
def test_both_ends_of_the_scale(patching_toys, toy_pairs, plain):
    """The whole residual stream at the end is the other run; what comes before the first difference is the
    same.
    """
    toy, pairs = better_clean(patching_toys["rotary"], toy_pairs["late"])
    denoised = patch_stream(toy, pairs, "resid_post", "denoising", plain=plain)
    noised = patch_stream(toy, pairs, "resid_post", "noising", plain=plain)
    assert denoised.effect[-1, -1] == pytest.approx(1, abs=1e-5)
    assert noised.effect[-1, -1] == pytest.approx(0, abs=1e-5)
    assert denoised.effect[:, :2].abs().max() < 1e-5 and denoised.effect[-1, :-1].abs().max() < 1e-5
    assert (noised.effect[:, :2] - 1).abs().max() < 1e-5
    assert (denoised.effect[0, 2] - noised.effect[0, 2]).abs() > 0.01
    raw = patch_stream(toy, pairs, "resid_post", "noising", normalise=False, plain=plain)
    assert raw.effect[-1, -1] == pytest.approx((raw.corrupted.mean() - raw.clean.mean()).item(), abs=1e-4)
    assert raw.effect[:, 0].abs().max() < 1e-5


def better_clean(model, pairs):
    """The pairs in the order in which the clean prompts do better."""
    logits = [model(tokens) for tokens in (pairs.clean, pairs.corrupted)]
    clean, corrupted = (compute_logit_diff(each, pairs.answers, pairs.wrong_answers) for each in logits)
    return model, pairs if clean > corrupted else swap(pairs)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_effect_is_a_ratio_of_means(patching_toys, toy_pairs, direction):
    toy, pairs = better_clean(patching_toys["standard"], toy_pairs["late"])
    normalised = patch_heads(toy, pairs, direction=direction)
    raw = patch_heads(toy, pairs, direction=direction, normalise=False)
    logits = [toy(tokens) for tokens in (pairs.clean, pairs.corrupted)]
    clean, corrupted = (compute_logit_diff(x, pairs.answers, pairs.wrong_answers, per_prompt=True) for x in logits)
    torch.testing.assert_close((normalised.clean, normalised.corrupted), (clean, corrupted), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.per_prompt, raw.per_prompt)
    patched = raw.per_prompt
    expected = (patched.mean(0) - corrupted.mean()) / (clean.mean() - corrupted.mean())
    torch.testing.assert_close(normalised.effect, expected, atol=1e-4, rtol=0)
    mean_of_ratios = ((patched - corrupted[:, None, None]) / (clean - corrupted)[:, None, None]).mean(0)
    assert (mean_of_ratios - expected).abs().max() > 0.01
    base = corrupted if direction == "denoising" else clean
    torch.testing.assert_close(raw.effect, patched.mean(0) - base.mean(), atol=1e-4, rtol=0)
    assert (normalised.normalise, raw.normalise) == (True, False)
    assert normalised.effect.shape == (3, 4) and normalised.per_prompt.shape == (3, 3, 4)


def test_clean_must_be_better_to_normalise(patching_toys, toy_pairs):
    toy, pairs = better_clean(patching_toys["standard"], toy_pairs["late"])
    for direction in DIRECTIONS:
        with pytest.raises(ValueError, match="logit difference is .* after the clean .*normalise=False"):
            patch_heads(toy, swap(pairs), direction=direction)
        assert patch_heads(toy, swap(pairs), direction=direction, normalise=False).effect.isfinite().all()
    equal = pairs._replace(clean=pairs.clean.repeat(2, 1), corrupted=pairs.corrupted.repeat(2, 1))
    equal = equal._replace(  # every prompt once with each answer: the mean difference is 0 after both
        answers=torch.cat([pairs.answers, pairs.wrong_answers]),
        wrong_answers=torch.cat([pairs.wrong_answers, pairs.answers]),
    )
    assert patch_stream(toy, equal, normalise=False).effect.abs().max() < 1e-5


def test_swapping_runs_is_the_other_direction(patching_toys, toy_pairs):
    toy, pairs = patching_toys["rms"], toy_pairs["late"]
    noised = patch_heads(toy, pairs, "v", "noising", normalise=False)
    swapped = patch_heads(toy, swap(pairs), "v", "denoising", normalise=False)
    torch.testing.assert_close(noised.per_prompt, swapped.per_prompt)
    torch.testing.assert_close((noised.clean, noised.corrupted), (swapped.corrupted, swapped.clean))
    denoised = patch_heads(toy, pairs, "v", "denoising", normalise=False)
    assert (denoised.per_prompt - noised.per_prompt).abs().max() > 0.1


def known_result(direction="denoising", normalise=True):
    """Two prompts, one layer of two heads."""
    return patching.result(
        torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]]),
        torch.tensor([2.0, 6.0]),
        torch.tensor([0.0, -2.0]),
        ("layer", "head"),
        direction,
        normalise,
        "nothing",
    )


def test_intervals_by_hand():
    """Of two prompts, drawn with replacement, a sample is (0, 0), (0, 1) or (1, 1): three possible
    effects.
    """
    result = known_result()
    assert result.effect.tolist() == pytest.approx(torch.tensor([[3 / 5, 2 / 5]]))
    low, high = result.interval()
    torch.testing.assert_close(low, torch.tensor([[1 / 2, 1 / 4]]))  # (1-0)/(2-0) and (0+2)/(6+2)
    torch.testing.assert_close(high, torch.tensor([[5 / 8, 1.0]]))  # (3+2)/(6+2) and (2-0)/(2-0)
    middle = result.interval(level=0.4)
    torch.testing.assert_close(middle, (result.effect, result.effect))  # half of all samples hold both prompts
    low, high = known_result(normalise=False).interval()
    torch.testing.assert_close((low, high), (torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 2.0]])))
    low, high = known_result("noising", normalise=False).interval()
    torch.testing.assert_close((low, high), (torch.tensor([[-3.0, -6.0]]), torch.tensor([[-1.0, 0.0]])))


def test_intervals_cover_the_effect(patching_toys, toy_pairs):
    toy, pairs = better_clean(patching_toys["rotary"], toy_pairs["late"])
    for options in ({"normalise": False}, {"normalise": False, "by_position": True}):
        result = patch_heads(toy, pairs, **options)
        low, high = result.interval()
        assert low.shape == high.shape == result.effect.shape
        assert (low <= result.effect).all() and (result.effect <= high).all() and (high - low).max() > 0.01
        narrow = result.interval(level=0.5)
        assert (narrow[0] >= low).all() and (narrow[1] <= high).all()
        assert torch.equal(result.interval()[0], low)
    one = PromptPairs(*(each[:1] for each in pairs))
    with pytest.raises(ValueError, match="at least two"):
        patch_heads(toy, one, normalise=False).interval()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_metric_of_ones_own(patching_toys, toy_pairs, direction, plain):
    toy, pairs = better_clean(patching_toys["standard"], toy_pairs["late"])
    seen = []

    def metric(logits):
        seen.append(tuple(logits.shape))
        return compute_logit_diff(logits, pairs.answers, pairs.wrong_answers)

    default = patch_heads(toy, pairs, direction=direction)
    own = patch_heads(toy, pairs, direction=direction, metric=metric, plain=plain)
    assert set(seen) == {(3, 1, 23)} and len(seen) == 2 + 12
    torch.testing.assert_close(own.effect, default.effect, atol=1e-4, rtol=0)
    torch.testing.assert_close(own.per_prompt, default.per_prompt.mean(0, keepdim=True), atol=1e-4, rtol=0)
    assert own.clean.shape == own.corrupted.shape == (1,)
    with pytest.raises(ValueError, match="at least two"):
        own.interval()

    def probability(logits):
        return logits[:, -1].softmax(-1)[:, 3].mean()

    first, second = (
        patch_stream(toy, pairs, "attn_out", direction, metric=probability, normalise=False, plain=way).effect
        for way in (False, True)
    )
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)
    assert first.abs().max() > 1e-3


@pytest.mark.parametrize("plain", [False, True])
def test_a_metric_returns_one_number(patching_toys, toy_pairs, plain):
    toy, pairs = patching_toys["standard"], toy_pairs["late"]
    for metric, got in ((lambda logits: logits[:, -1, 0], r"\(3,\)"), (lambda logits: logits.mean().item(), "float")):
        with pytest.raises(ValueError, match=f"metric returned {got} .*mean"):
            patch_heads(toy, pairs, metric=metric, normalise=False, plain=plain)


def test_it_refuses(patching_toys, toy_pairs):
    toy, pairs = patching_toys["standard"], toy_pairs["late"]
    for patch, kind, allowed in ((patch_stream, "z", STREAM_KINDS), (patch_heads, "resid_pre", HEAD_KINDS)):
        with pytest.raises(ValueError, match=f"kind is '{kind}': choose one of {', '.join(allowed)}"):
            patch(toy, pairs, kind)
        with pytest.raises(ValueError, match="direction is 'forwards': choose one of denoising, noising"):
            patch(toy, pairs, direction="forwards")
        with pytest.raises(ValueError, match="identical"):
            patch(toy, pairs._replace(corrupted=pairs.clean))


@pytest.mark.parametrize("plain", [False, True])
def test_no_mlps_to_patch(patching_toys, toy_pairs, plain):
    with pytest.raises(ValueError, match="has no MLPs"):
        patch_stream(patching_toys["attn_only"], toy_pairs["late"], "mlp_out", normalise=False, plain=plain)


@pytest.fixture
def no_routes_known(monkeypatch):
    """As if no model had been looked at yet: whether a model has a route is found out once."""
    monkeypatch.setattr(sweeps, "_routes", weakref.WeakKeyDictionary())


def test_an_unknown_architecture_takes_the_plain_way(patching_toys, toy_pairs, no_routes_known, monkeypatch):
    toy, pairs = patching_toys["rms"], toy_pairs["late"]
    expected = patch_heads(toy, pairs, "k", normalise=False)
    sweeps._routes.clear()
    monkeypatch.setattr(attention_routes, "ROUTES", {})
    with pytest.warns(UserWarning, match="No exact route for native: the architecture TransformerLensNative") as said:
        result = patch_heads(toy, pairs, "k", normalise=False)
    assert said[0].filename == __file__
    torch.testing.assert_close(result.per_prompt, expected.per_prompt, atol=1e-4, rtol=0)
    again = patch_heads(toy, pairs, "k", normalise=False)  # a second warning would be an error
    assert torch.equal(again.per_prompt, result.per_prompt)
    assert torch.equal(patch_heads(toy, pairs, "k", normalise=False, plain=True).per_prompt, result.per_prompt)


def test_a_wrong_route_is_noticed(patching_toys, toy_pairs, no_routes_known, monkeypatch):
    toy, pairs = patching_toys["standard"], toy_pairs["late"]
    expected = patch_stream(toy, pairs, "attn_out", normalise=False)
    sweeps._routes.clear()
    wrong = Attention(1.0, lambda x, start: x)
    monkeypatch.setitem(attention_routes.ROUTES, "TransformerLensNative", lambda model: wrong)
    end = exact.run(toy, wrong, pairs.clean[:1]).resid_pre[-1]
    by = (toy.unembed(toy.ln_final(end)) - toy(pairs.clean[:1])).abs().max().item()
    assert by > 0.01
    with pytest.warns(UserWarning, match=f"its logits would differ by {by:.2g}"):
        result = patch_stream(toy, pairs, "attn_out", normalise=False)
    torch.testing.assert_close(result.per_prompt, expected.per_prompt, atol=1e-4, rtol=0)


def test_soft_caps_have_no_route(toy_pairs, no_routes_known):
    """What the engine does not compute, it must not claim to compute."""
    from transformer_lens.config import TransformerBridgeConfig

    cfg = TransformerBridgeConfig(
        n_layers=2, n_heads=2, d_model=16, d_head=8, d_mlp=32, d_vocab=23, n_ctx=12, act_fn="gelu", seed=0,
        init_weights=True, attn_scores_soft_cap=5.0, architecture="TransformerLensNative",
    )  # fmt: skip
    capped = TransformerBridge.boot_native(cfg, device="cpu")
    capped.enable_compatibility_mode(disable_warnings=True)
    with pytest.warns(UserWarning, match="No exact route"):
        result = patch_heads(capped, toy_pairs["late"], normalise=False)
    theirs = tl_sweep(capped, toy_pairs["late"], "z", False)
    torch.testing.assert_close(result.per_prompt.mean(0), theirs, atol=1e-5, rtol=0)


def test_knowing_a_route_keeps_no_model_alive(toy, toy_pairs):
    from scripts.interp.models.load import random_weight_copy

    copy = random_weight_copy(toy)
    assert exact_route(copy, toy_pairs["late"].clean) is not None
    reference = weakref.ref(copy)
    del copy
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("name", ["model", "gpt2"])
def test_activations_of_a_run_are_freed(request, name):
    model = request.getfixturevalue(name)
    tokens = torch.arange(10, 14)[None]
    run = exact.run(model, exact_route(model, tokens), tokens)
    activations = [weakref.ref(tensor) for field in run for tensor in field]
    del run
    gc.collect()
    assert len(activations) > 5 * model.cfg.n_layers and not any(kept() is not None for kept in activations)


@pytest.mark.parametrize("plain", [False, True])
def test_the_exact_way_never_runs_the_whole_model(patching_toys, toy_pairs, plain):
    toy, pairs, runs = patching_toys["rotary"], toy_pairs["late"], []
    exact_route(toy, pairs.clean)  # compares logits, once
    counter = toy.original_model.register_forward_hook(lambda *_: runs.append(1))
    try:
        patch_heads(toy, pairs, "v", normalise=False, plain=plain)
        patch_stream(toy, pairs, normalise=False, plain=plain)
    finally:
        counter.remove()
    assert len(runs) == (3 * 2 + 3 * 7 + 4 if plain else 0)


@pytest.mark.parametrize("by_position", [False, True])
def test_a_patch_that_changes_nothing_warns(patching_toys, toy_pairs, by_position):
    with pytest.warns(UserWarning, match=r"blocks\.\*\.attn\.hook_pattern changed the logits of no prompt") as said:
        result = patch_heads(
            patching_toys["rms"], toy_pairs["late"], "pattern", by_position=by_position, normalise=False, plain=True
        )
    assert said[0].filename == __file__ and result.effect.abs().max() == 0


@pytest.mark.parametrize("chunk", [1, 50, 10**6])
def test_the_size_of_chunks_does_not_matter(patching_toys, toy_pairs, monkeypatch, chunk):
    toy, pairs = patching_toys["rotary"], toy_pairs["late"]
    kinds = [("resid_pre", False), ("resid_post", False), ("z", False), ("k", True), ("pattern", True)]
    expected = [sweep(toy, pairs, *each, normalise=False).per_prompt for each in kinds]
    calls, finish = [], exact.finish
    monkeypatch.setattr(exact, "finish", lambda *args: calls.append(1) or finish(*args))
    monkeypatch.setattr(sweeps, "CHUNK_TOKENS", chunk)
    got = [sweep(toy, pairs, *each, normalise=False).per_prompt for each in kinds]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    positions = 5  # from the first difference on, each a batch of its own
    at_once = positions + positions + 1 + positions + positions
    cells = 3 * positions + 3 * positions + 12 + 3 * positions * 2 + 3 * positions * 4
    assert len(calls) == {1: cells, 10**6: at_once}.get(chunk, len(calls)) and at_once <= len(calls) <= cells


def test_models_and_gradients_are_left_alone(patching_toys, toy_pairs):
    toy, pairs = patching_toys["standard"], toy_pairs["late"]
    before, clean = toy(pairs.clean), [tokens.clone() for tokens in pairs]
    with torch.enable_grad():
        for plain in (False, True):
            patch_heads(toy, pairs, "v", normalise=False, plain=plain)
            assert torch.is_grad_enabled()
    assert torch.equal(toy(pairs.clean), before) and all(map(torch.equal, pairs, clean))


def test_progress_only_if_asked(patching_toys, toy_pairs, capsys, monkeypatch):
    monkeypatch.setattr(patching, "progress_bar", shown := Recorder())
    for plain in (False, True):
        patch_heads(patching_toys["rotary"], toy_pairs["late"], "k", normalise=False, plain=plain, progress=True)
        patch_stream(patching_toys["rotary"], toy_pairs["late"], normalise=False, plain=plain)
    assert shown.bars == [(6, True, 6), (21, None, 21)] * 2  # what was announced is what was done


class Recorder:
    """Stands in for a progress bar and notes (total, show, done) of each."""

    def __init__(self):
        self.bars = []

    def __call__(self, total, what, show):
        self.bars.append((total, show, 0))
        return self

    def update(self, n=1):
        total, show, done = self.bars[-1]
        self.bars[-1] = (total, show, done + n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
