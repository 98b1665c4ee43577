"""Path patching: the exact way against hooks, against TransformerLens, and circuits that were put there by
hand.
"""

import warnings
import weakref

import pytest
import torch
from transformer_lens.tools.analysis.direct_path_patching import get_act_patch_direct_path

from scripts.interp.circuits import attention_routes, direct_effects, exact, sweeps
from scripts.interp.circuits.path_patching import path_patch
from scripts.interp.circuits.prompt_pairs import PromptPairs, prompt_pairs
from scripts.interp.circuits.sweeps import exact_route, first_difference
from scripts.interp.planted.circuits import MOVED, N_TOKENS, POSITION, SHARP, TOKEN, planted_circuit
from scripts.interp.runs.logits import compute_logit_diff
from scripts.interp.text.ioi import create_ioi_dataset

TOYS = ["standard", "rotary", "rms", "attn_only"]


@pytest.fixture(autouse=True)
def warnings_are_errors():
    """A sweep that quietly took the plain way would compare it with itself: falling back warns, so it
    fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # TransformerLens warns of hooks that hold an RMSNorm's scale, as the plain way does for direct paths.
        warnings.filterwarnings("ignore", "A forward hook edited hook_scale")
        yield


def change(result):
    """How far any sender moved any prompt's logit difference."""
    base = result.corrupted if result.direction == "denoising" else result.clean
    return (result.per_prompt - base[:, None, None]).abs().max().item()


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("through", ["q", "k", "v"])
@pytest.mark.parametrize(
    "name, which",
    [("standard", "late"), ("rotary", "first"), ("rms", "late"), ("attn_only", "late"), ("as trained", "late")],
)
def test_exact_is_plain(patching_toys, toy_pairs, name, which, through, direct):
    toy, pairs = patching_toys[name], toy_pairs[which]
    direction = "noising" if (through == "k") != direct else "denoising"
    receivers = [(2, 1), (1, 0), (2, 0)]
    ours, plain = (
        path_patch(toy, pairs, receivers, through, direction, direct=direct, normalise=False, plain=plain)
        for plain in (False, True)
    )
    for field in ("effect", "per_prompt", "clean", "corrupted"):
        pair = getattr(ours, field), getattr(plain, field)
        torch.testing.assert_close(*pair, atol=1e-4, rtol=0, msg=lambda m: f"{field}: {m}")
    assert ours.effect.shape == (3, 4) and ours.axes == ("layer", "head") and change(ours) > 0.05
    assert ours.effect[2].abs().max() == 0  # above all receivers
    assert ours.effect[1].abs().max() > 0.01 and ours.effect[0].abs().max() > 0.01


@pytest.mark.parametrize("through", ["q", "k", "v"])
def test_both_directions(patching_toys, toy_pairs, through):
    """Noising one way is denoising the exchanged pairs, and not the same as denoising these."""
    toy, pairs = patching_toys["rotary"], toy_pairs["late"]
    noised, denoised, plain = (
        path_patch(toy, pairs, [(2, 0)], through, direction, normalise=False, plain=plain)
        for direction, plain in (("noising", False), ("denoising", False), ("noising", True))
    )
    torch.testing.assert_close(noised.per_prompt, plain.per_prompt, atol=1e-4, rtol=0)
    assert (noised.per_prompt - denoised.per_prompt).abs().max() > 0.1
    expected = noised.per_prompt.mean(0) - noised.clean.mean()
    torch.testing.assert_close(noised.effect, expected, atol=1e-5, rtol=0)


def by_transformer_lens(model, pairs, sender, through="q"):
    """Logit difference after patching the direct path from one sender to every head: [layers, heads]."""
    (_, clean), (_, corrupted) = model.run_with_cache(pairs.clean), model.run_with_cache(pairs.corrupted)

    def metric(logits):
        return compute_logit_diff(logits, pairs.answers, pairs.wrong_answers)

    return get_act_patch_direct_path(model, pairs.corrupted, clean, corrupted, metric, *sender, through, verbose=False)


@pytest.mark.parametrize(
    "name, through", [("standard", "q"), ("standard", "k"), ("standard", "v"), ("rms", "q"), ("attn_only", "q")]
)
def test_direct_paths_agree_with_transformer_lens(patching_toys, toy_pairs, name, through):
    """Without grouped keys for keys and values, which TransformerLens can't, and without rotation, which
    comes after hook_q and is checked below.
    """
    toy, pairs = patching_toys[name], toy_pairs["late"]
    theirs = by_transformer_lens(toy, pairs, (0, 2), through)
    for receiver in [(1, 0), (2, 1), (2, 3)]:
        ours = path_patch(toy, pairs, [receiver], through, direct=True, normalise=False)
        got = ours.per_prompt[:, 0, 2].mean()
        assert got == pytest.approx(theirs[receiver].item(), abs=1e-4)
    assert (theirs[1:] - ours.corrupted.mean()).abs().max() > 0.01


def test_direct_paths_agree_with_transformer_lens_under_rotation(patching_toys, toy_pairs):
    toy, pairs = patching_toys["rotary"], toy_pairs["late"]
    theirs = by_transformer_lens(toy, pairs, (1, 3))
    for receiver in range(4):
        ours = path_patch(toy, pairs, [(2, receiver)], "q", direct=True, normalise=False)
        assert ours.per_prompt[:, 1, 3].mean() == pytest.approx(theirs[2, receiver].item(), abs=1e-4)
    assert (theirs[2] - ours.corrupted.mean()).abs().max() > 0.005


def test_the_embedded_model_agrees_with_transformer_lens(model):
    """One sender in the last layer but one, to two receivers: a sender further down takes TransformerLens
    minutes.
    """
    data = create_ioi_dataset(2, tokenizer=model.tokenizer, templates=["When {IO} and {S} met, {S} thanked"])
    pairs, layer = prompt_pairs(model, data), model.cfg.n_layers - 2
    all_heads = [(layer + 1, head) for head in range(model.cfg.n_heads)]
    together = path_patch(model, pairs, all_heads, "q", direct=True)
    sender = together.effect[layer].abs().argmax().item()
    theirs = by_transformer_lens(model, pairs, (layer, sender))
    moved = (theirs[layer + 1] - together.corrupted.mean()).abs()
    for receiver in moved.topk(2).indices.tolist():
        ours = path_patch(model, pairs, [(layer + 1, receiver)], "q", direct=True)
        difference = ours.per_prompt[:, layer, sender].mean() - theirs[layer + 1, receiver]
        assert difference.abs() < 1e-3 * (ours.clean.mean() - ours.corrupted.mean())
    assert moved.max() > 0.02


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "glm4", "olmo2", "granite", "neox"])
@pytest.mark.parametrize("through", ["q", "v"])
def test_direct_paths_hold_every_norm(tiny, tiny_pairs, name, through):
    """Of architectures without an exact route: with norms after attention, none before it, a multiplier."""
    model, (layer, head), receiver = tiny(name), (0, 1), (2, 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No exact route")
        ours = path_patch(model, tiny_pairs, [receiver], through, direct=True, normalise=False).per_prompt
    (_, clean), (_, base) = (model.run_with_cache(tokens) for tokens in tiny_pairs[:2])
    z, block, last = f"blocks.{layer}.attn.hook_z", model.blocks[layer], model.blocks[receiver[0]]
    change = (clean[z] - base[z])[:, :, head] @ block.attn.W_O[head]
    after = {"gemma2": "ln1_post", "gemma3": "ln1_post", "glm4": "ln1_post", "olmo2": "ln1"}.get(name)
    if after:
        scale = base[f"blocks.{layer}.{after}.hook_scale"]
        change = change * direct_effects.norm_weight(model, getattr(block, after)) / scale
    change = change * (0.22 if name == "granite" else 1)
    if name != "olmo2":  # it has no norm before attention
        change = change - (change.mean(dim=-1, keepdim=True) if name == "neox" else 0)
        change = change * direct_effects.norm_weight(model, last.ln1) / base["blocks.2.ln1.hook_scale"]
    place = f"blocks.{receiver[0]}.attn.hook_{through}"
    added = torch.einsum("bpd,hde->bphe", change, getattr(last.attn, f"W_{through.upper()}"))[:, :, receiver[1]]

    def replace(activation, hook):
        activation = activation.clone()
        activation[:, :, receiver[1]] = base[place][:, :, receiver[1]] + added
        return activation

    logits = model.run_with_hooks(tiny_pairs.corrupted, fwd_hooks=[(place, replace)])
    expected = compute_logit_diff(logits, tiny_pairs.answers, tiny_pairs.wrong_answers, per_prompt=True)
    moved = expected - compute_logit_diff(model(tiny_pairs.corrupted), tiny_pairs.answers, tiny_pairs.wrong_answers)
    torch.testing.assert_close(ours[:, layer, head], expected, atol=1e-5 + 1e-3 * moved.abs().max().item(), rtol=0)


@pytest.mark.parametrize("name", ["deepseek3", "nemotron", "olmo"])
def test_direct_paths_that_can_not_be_frozen_are_refused(tiny, tiny_pairs, name):
    """Queries from a latent that is normed; norms that a hook on their scale changes even if it leaves it as it is, or
    that it breaks.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No exact route")
        with pytest.raises(ValueError, match="what arrives is no multiple of what is sent.*direct=False"):
            path_patch(tiny(name), tiny_pairs, [(2, 1)], "q", direct=True, normalise=False)


def planted(through):
    """The planted circuit whose mover (0, 1) copies token 3 to all later positions, read by the receiver (1,
    2) only, in its values, its queries or its keys.

    Through "v" the receiver reads what stands there, as it does anyway. Through "q" it looks for the moved
    token in the prompt and says it. Through "k" it looks for the last token among the moved ones and says
    where it is.
    """
    circuit, eye = planted_circuit(), torch.eye(N_TOKENS)
    model, rows = circuit.model, slice(circuit.writer[1] * N_TOKENS, (circuit.writer[1] + 1) * N_TOKENS)
    part = {name: getattr(model.blocks[1].attn, name).original_component.weight.data for name in "qkvo"}
    part["o"][:, slice(0, N_TOKENS)] = 0  # head (1, 0) reads the mover too
    if through == "v":
        return circuit, circuit.pairs
    for name in "qkv":
        part[name][rows] = 0
    part["q"][rows, MOVED if through == "q" else TOKEN] = SHARP * eye
    part["k"][rows, TOKEN if through == "q" else MOVED] = eye
    part["v"][rows, TOKEN if through == "q" else POSITION] = eye
    clean = torch.tensor([[0, 5, 2, 5, 7, 6], [0, 3, 4, 3, 7, 6]])
    answers, wrong = clean[:, 1], clean[:, 2]
    if through == "k":  # the last token is what stands at 3 in clean, so at 1 otherwise
        clean[:, 5] = clean[:, 3]
        answers, wrong = torch.tensor([4, 4]), torch.tensor([1, 1])
    corrupted = clean.clone()
    corrupted[:, 3] = clean[:, 2]
    return circuit, PromptPairs(clean, corrupted, answers, wrong)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("planted_in", ["q", "k", "v"])
def test_a_planted_composition_is_found_where_it_is(planted_in, plain, direct):
    """Through that input of that receiver, and through no other input and no other receiver: of all 4
    senders one.
    """
    circuit, pairs = planted(planted_in)
    only_mover = torch.zeros(2, 4)
    only_mover[circuit.mover] = 1
    for direction, expected in (("denoising", only_mover), ("noising", 1 - only_mover)):
        found = path_patch(circuit.model, pairs, [circuit.writer], planted_in, direction, direct=direct, plain=plain)
        torch.testing.assert_close(found.effect, expected, atol=1e-4, rtol=0)
    elsewhere = [(circuit.writer, through) for through in "qkv" if through != planted_in] + [((1, 3), planted_in)]
    for receiver, through in elsewhere:
        with pytest.warns(UserWarning, match="changed the logits of no prompt"):
            path_patch(circuit.model, pairs, [receiver], through, direct=direct, plain=plain)


def test_the_order_and_number_of_receivers(patching_toys, toy_pairs):
    toy, pairs = patching_toys["standard"], toy_pairs["late"]
    receivers = [(2, 1), (1, 0), (2, 3)]
    expected = path_patch(toy, pairs, receivers, "v", normalise=False).per_prompt
    again = path_patch(
        toy, pairs, [list(receiver) for receiver in receivers[::-1]] * 2, "v", normalise=False
    ).per_prompt
    assert torch.equal(again, expected)
    fewer = path_patch(toy, pairs, receivers[:2], "v", normalise=False).per_prompt
    assert (fewer - expected).abs().max() > 0.01


@pytest.mark.parametrize("through", ["q", "k", "v"])
def test_direct_leaves_mlps_and_norms_out(patching_toys, toy_pairs, through):
    toy, pairs = patching_toys["standard"], toy_pairs["late"]
    by_mlps, direct = (
        path_patch(toy, pairs, [(2, 1)], through, direct=direct, normalise=False).effect for direct in (False, True)
    )
    assert (by_mlps - direct).abs().max() > 0.01


@pytest.mark.parametrize("chunk", [1, 40, 10**6])
@pytest.mark.parametrize("direct", [False, True])
def test_the_size_of_chunks_does_not_matter(patching_toys, toy_pairs, monkeypatch, chunk, direct):
    toy, pairs = patching_toys["rotary"], toy_pairs["late"]
    receivers = [(1, 0), (2, 1)]
    expected = path_patch(toy, pairs, receivers, "k", direct=direct, normalise=False).per_prompt
    calls, finish = [], exact.finish
    monkeypatch.setattr(exact, "finish", lambda *args: calls.append(1) or finish(*args))
    monkeypatch.setattr(sweeps, "CHUNK_TOKENS", chunk)
    got = path_patch(toy, pairs, receivers, "k", direct=direct, normalise=False).per_prompt
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    at_a_time = {1: 1, 40: 40 // (3 * 5), 10**6: 8}[chunk]
    assert first_difference(pairs) == 2 and len(calls) == 8 // at_a_time


@pytest.mark.parametrize("plain", [False, True])
def test_it_refuses(patching_toys, toy_pairs, plain):
    toy, pairs = patching_toys["rotary"], toy_pairs["late"]

    def refused(match, receivers=((2, 0),), through="q", direction="denoising", given=pairs):
        with pytest.raises(ValueError, match=match):
            path_patch(toy, given, receivers, through, direction, normalise=False, plain=plain)

    refused("through is 'z': choose one of q, k, v", through="z")
    refused("direction is 'up': choose one of denoising, noising", direction="up")
    refused("give at least one pair", receivers=[])
    refused("layer 3: this model's layers are 0 to 2", receivers=[(1, 0), (3, 0)])
    refused("layer -1", receivers=[(-1, 0), (2, 0)])
    refused("All receivers are in layer 0: no head is below", receivers=[(0, 0), (0, 1)])
    refused("no receiver head 4: query heads are 0 to 3", receivers=[(2, 4)])
    refused("no receiver head 2: key and value heads are 0 to 1", receivers=[(2, 2)], through="k")
    refused("no receiver head 2: key and value heads are 0 to 1", receivers=[(2, 2)], through="v")
    refused("no receiver head -1", receivers=[(2, -1)])
    refused("no receiver head True", receivers=[(2, True)])
    refused("identical", given=pairs._replace(corrupted=pairs.clean))
    with pytest.raises(ValueError, match="logit difference is .*normalise=False"):
        for given in (pairs, pairs._replace(clean=pairs.corrupted, corrupted=pairs.clean)):
            path_patch(toy, given, [(2, 0)], "q", plain=plain)


def test_an_unknown_architecture_takes_the_plain_way(patching_toys, toy_pairs, monkeypatch):
    toy, pairs = patching_toys["rms"], toy_pairs["late"]
    expected = path_patch(toy, pairs, [(2, 0)], "k", normalise=False)
    monkeypatch.setattr(sweeps, "_routes", weakref.WeakKeyDictionary())
    monkeypatch.setattr(attention_routes, "ROUTES", {})
    with pytest.warns(UserWarning, match="No exact route for native"):
        result = path_patch(toy, pairs, [(2, 0)], "k", normalise=False)
    again = path_patch(toy, pairs, [(2, 0)], "k", normalise=False)  # a second warning would be an error
    assert torch.equal(again.per_prompt, result.per_prompt)
    torch.testing.assert_close(result.per_prompt, expected.per_prompt, atol=1e-4, rtol=0)


@pytest.mark.parametrize("plain", [False, True])
def test_whole_runs(patching_toys, toy_pairs, plain):
    """The exact way never runs the model itself; the plain one twice a sender, and once for either end."""
    toy, pairs, runs = patching_toys["standard"], toy_pairs["late"], []
    exact_route(toy, pairs.clean)  # compares logits, once
    counter = toy.original_model.register_forward_hook(lambda *_: runs.append(1))
    try:
        path_patch(toy, pairs, [(1, 0), (2, 3)], "q", normalise=False, plain=plain)
    finally:
        counter.remove()
    assert len(runs) == (2 * 8 + 2 if plain else 0)


@pytest.mark.parametrize("n_key_value_heads, effect", [(4, 1.5), (2, 1.5), (1, 1.0)])
def test_shared_values(n_key_value_heads, effect):
    """The writer is query head 2. With two value heads it reads the second one, with only one so does the
    head that works against it.
    """
    circuit = planted_circuit(n_key_value_heads)
    receiver = (1, 2 * n_key_value_heads // 4)
    found = path_patch(circuit.model, circuit.pairs, [receiver], "v").effect
    assert found[circuit.mover] == pytest.approx(effect, abs=1e-4)
    assert found.abs().sum() == pytest.approx(effect, abs=1e-4)
