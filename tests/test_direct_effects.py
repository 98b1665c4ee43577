"""Direct effects of heads, against taking a head's output out of the last residual stream with hooks."""

import gc
import warnings
import weakref

import pytest
import torch

from scripts.interp.circuits import direct_effects
from scripts.interp.circuits.ablation import mean_head_outputs
from scripts.interp.circuits.direct_effects import head_direct_effects
from scripts.interp.planted.circuits import random_attention_toy
from scripts.interp.runs.logits import compute_logit_diff
from scripts.interp.runs.read_out import follow_up


def by_intervention(model, pairs, layer, head, instead=None):
    """The logit difference that is lost if the head's output at the last position is taken out of the last stream.

    Two runs of the model: one says what the output is in the stream, all norms held; the other goes without it.
    """
    tokens, held = pairs.clean, [name for name in model.hook_dict if name.endswith("hook_scale")]
    attn_out, end = f"blocks.{layer}.hook_attn_out", f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    logits, base = model.run_with_cache(tokens)
    hold = [(name, lambda scale, hook, name=name: base[name]) for name in held if name in base]
    seen = {}

    def silence(z, hook):
        z = z.clone()
        z[:, -1, head] = 0 if instead is None else instead[layer, -1, head]
        return z

    def look(activation, hook):
        seen["without"] = activation.clone()

    def take_out(resid, hook):
        return resid - (base[attn_out] - seen["without"])

    with warnings.catch_warnings():  # TransformerLens doubts a changed scale
        warnings.filterwarnings("ignore", message=".*hook_scale.*")
        model.run_with_hooks(tokens, fwd_hooks=[*hold, (f"blocks.{layer}.attn.hook_z", silence), (attn_out, look)])
        final = [pair for pair in hold if pair[0] == "ln_final.hook_scale"]
        without = model.run_with_hooks(tokens, fwd_hooks=[(end, take_out), *final])
    return differences(pairs, logits) - differences(pairs, without)


def differences(pairs, logits):
    return compute_logit_diff(logits, pairs.answers, pairs.wrong_answers, per_prompt=True)


# Not Nemotron and OLMo, whose norms TransformerLens breaks if a hook holds their scales.
NAMES = ["llama", "gemma2", "gemma3", "glm4", "olmo2", "granite", "neox", "mixtral"]


@pytest.mark.parametrize("name", NAMES)
def test_they_are_what_is_lost_without_the_head(tiny, tiny_pairs, name):
    model = tiny(name)
    means = mean_head_outputs(model, tiny_pairs.corrupted)
    for instead in (None, means):
        effects = head_direct_effects(model, tiny_pairs, instead)
        assert effects.shape == (2, 3, 4) and effects.dtype == torch.float32
        for layer, head in [(0, 1), (1, 3), (2, 2)]:
            expected = by_intervention(model, tiny_pairs, layer, head, instead)
            torch.testing.assert_close(effects[:, layer, head], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["gemma3", "granite", "olmo2", "nemotron", "olmo"])
def test_with_mlps_and_the_embedding_they_are_the_logit_difference(tiny, tiny_pairs, name):
    """Where nothing is capped. What else is written reaches the logits by the final norm, its scale held."""
    model = tiny(name)
    logits, cache = model.run_with_cache(tiny_pairs.clean)
    rest = cache["blocks.0.hook_resid_pre"] + sum(cache[f"blocks.{layer}.hook_mlp_out"] for layer in range(3))
    centred = rest if model.ln_final.uses_rms_norm else rest - rest.mean(dim=-1, keepdim=True)
    bias = model.ln_final(torch.zeros(1, 1, 32))
    weight = direct_effects.norm_weight(model, model.ln_final)
    others = follow_up(model, model.unembed(centred * weight / cache["ln_final.hook_scale"] + bias))
    total = head_direct_effects(model, tiny_pairs).sum(dim=(1, 2)) + differences(tiny_pairs, others)
    torch.testing.assert_close(total, differences(tiny_pairs, logits), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("folded", [True, False])
def test_a_norm_that_is_not_folded_counts(folded):
    toy = random_attention_toy(folded=folded)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(24, (2, 7), generator=generator)
    pairs = direct_effects.PromptPairs(clean, (clean + 1) % 24, torch.tensor([3, 5]), torch.tensor([4, 6]))
    effects = head_direct_effects(toy, pairs)
    for layer, head in [(0, 1), (2, 2)]:
        scale = toy.run_with_cache(clean)[1]["ln_final.hook_scale"]
        z = toy.run_with_cache(clean)[1][f"blocks.{layer}.attn.hook_z"][:, -1, head]
        written = z @ toy.blocks[layer].attn.W_O[head]
        weight = direct_effects.norm_weight(toy, toy.ln_final)
        normed = (written - written.mean(dim=-1, keepdim=True)) * weight / scale[:, -1]
        expected = differences(pairs, normed @ toy.unembed.W_U)
        torch.testing.assert_close(effects[:, layer, head], expected, atol=1e-4, rtol=1e-3)
    assert (weight - 1).abs().max() < 1e-5 if folded else (weight - 1).abs().max() > 0.1


def in_one_go(model, pairs):
    """The same for models in which nothing lies on the way, as it was always computed."""
    _, cache = model.run_with_cache(pairs.clean)
    z = torch.stack([cache[f"blocks.{layer}.attn.hook_z"][:, -1] for layer in range(model.cfg.n_layers)], dim=1)
    W_O, W_U = torch.stack([block.attn.W_O for block in model.blocks]), model.unembed.W_U
    direction = (W_U[:, pairs.answers] - W_U[:, pairs.wrong_answers]).T / cache["ln_final.hook_scale"][:, -1]
    return torch.einsum("blhe,lhed,bd->blh", z, W_O, direction)


@pytest.mark.parametrize("name", ["standard", "rotary", "rms", "attn_only"])
def test_ordinary_models_keep_every_bit(patching_toys, toy_pairs, name):
    toy, pairs = patching_toys[name], toy_pairs["late"]
    assert torch.equal(head_direct_effects(toy, pairs), in_one_go(toy, pairs))


def test_the_embedded_model_keeps_every_bit(model):
    from scripts.interp.circuits.prompt_pairs import prompt_pairs
    from scripts.interp.text.ioi import WHEN_TEMPLATES, create_ioi_dataset

    pairs = prompt_pairs(model, create_ioi_dataset(2, tokenizer=model.tokenizer, templates=WHEN_TEMPLATES))
    assert torch.equal(head_direct_effects(model, pairs), in_one_go(model, pairs))


def test_it_looks_once_and_keeps_no_model_alive(tiny, tiny_pairs):
    model, runs = tiny("gemma2"), []
    head_direct_effects(model, tiny_pairs)
    counter = model.original_model.register_forward_hook(lambda *_: runs.append(1))
    head_direct_effects(model, tiny_pairs)
    counter.remove()
    assert len(runs) == 1
    toy = random_attention_toy()
    clean = torch.randint(24, (2, 7), generator=torch.Generator().manual_seed(0))
    pairs = direct_effects.PromptPairs(clean, (clean + 1) % 24, torch.tensor([3, 5]), torch.tensor([4, 6]))
    head_direct_effects(toy, pairs)
    gone = weakref.ref(toy)
    assert toy in direct_effects._ways
    del toy
    gc.collect()
    assert gone() is None


def test_what_does_not_add_up_is_refused(tiny, tiny_pairs, monkeypatch):
    monkeypatch.setattr(direct_effects, "_ways", weakref.WeakKeyDictionary())
    with pytest.raises(ValueError, match="z · W_O of layer 0's heads is not blocks.0.hook_attn_out.*DeepseekV3"):
        head_direct_effects(tiny("deepseek3"), tiny_pairs)
    model = tiny("glm4")

    def halve(activation, hook):
        return activation / 2

    for name, words in [
        ("blocks.1.hook_resid_post", "blocks.1.hook_resid_pre .* is not blocks.1.hook_resid_post"),
        ("unembed.hook_out", "ln_final and unembed make of the residual stream is not its norm times W_U"),
    ]:
        with model.hooks(fwd_hooks=[(name, halve)]), pytest.raises(ValueError, match=words):
            head_direct_effects(model, tiny_pairs)
    with monkeypatch.context() as patch:
        patch.setattr(tiny("gemma2").adapter, "apply_output_logits_transform", lambda logits: logits)
        with pytest.raises(ValueError, match="normed and unembedded, gives logits that differ"):
            head_direct_effects(tiny("gemma2"), tiny_pairs)
    monkeypatch.setattr(direct_effects, "NORMS_AFTER", ())  # an architecture that nobody listed
    with pytest.raises(ValueError, match="with or without a norm"):
        head_direct_effects(model, tiny_pairs)
    assert not direct_effects._ways
