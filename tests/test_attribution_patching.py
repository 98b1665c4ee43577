"""Attribution patching against patching itself, where the two must agree and where they only may."""

import pytest
import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from scripts.interp.base.statistics import rank_correlation
from scripts.interp.circuits.attribution_patching import attribute_heads
from scripts.interp.circuits.patching import patch_heads
from scripts.interp.circuits.prompt_pairs import PromptPairs, prompt_pairs, swap
from scripts.interp.text.ioi import create_ioi_dataset


@pytest.fixture
def small_step():
    """A model in which tokens 5 to 9 are hardly anything else than tokens 10 to 14, and pairs that
    exchange them.
    """
    cfg = TransformerBridgeConfig(
        n_layers=2, n_heads=3, d_model=18, d_head=6, d_mlp=32, d_vocab=23, n_ctx=12, act_fn="gelu", seed=0,
        init_weights=True, normalization_type="LN", positional_embedding_type="standard",
        architecture="TransformerLensNative",
    )  # fmt: skip
    model = TransformerBridge.boot_native(cfg, device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        embedding = model.embed.original_component.weight
        embedding[10:15] = embedding[5:10] + 0.003 * torch.randn(5, 18, generator=generator)
    model.enable_compatibility_mode(disable_warnings=True)
    clean = torch.tensor([[3, 5, 1, 7, 2, 4], [1, 6, 2, 8, 9, 3], [2, 2, 5, 4, 6, 1]])
    corrupted = torch.where((clean >= 5) & (clean <= 9), clean + 5, clean)
    return model.eval(), PromptPairs(clean, corrupted, torch.tensor([3, 4, 6]), torch.tensor([1, 2, 5]))


@pytest.mark.parametrize("exchanged", [False, True])
def test_a_small_step_is_estimated_right(small_step, exchanged):
    model, pairs = small_step
    pairs = swap(pairs) if exchanged else pairs
    estimate = attribute_heads(model, pairs)
    effect = patch_heads(model, pairs, normalise=False).effect
    assert estimate.shape == (2, 3) and effect.abs().min() > 1e-5
    torch.testing.assert_close(estimate, effect, atol=0.02 * effect.abs().max().item(), rtol=0.02)


def test_a_large_step_is_not(toy):
    clean = torch.tensor([[3, 5, 1, 7, 2, 4], [1, 6, 2, 8, 9, 3]])
    corrupted = clean.clone()
    corrupted[:, 1] += 5
    pairs = PromptPairs(clean, corrupted, torch.tensor([3, 4]), torch.tensor([1, 2]))
    estimate, effect = attribute_heads(toy, pairs), patch_heads(toy, pairs, normalise=False).effect
    assert (estimate - effect).abs().max() > 0.02 * effect.abs().max()


def test_pairs_are_averaged(small_step):
    model, pairs = small_step
    each = [attribute_heads(model, PromptPairs(*(part[i : i + 1] for part in pairs))) for i in range(3)]
    torch.testing.assert_close(attribute_heads(model, pairs), torch.stack(each).mean(0))


@pytest.mark.parametrize("enabled", [False, True])
def test_the_model_is_left_as_it_was(small_step, enabled):
    model, pairs = small_step
    before = model(pairs.clean)
    for flag in (False, True):
        model.requires_grad_(flag)
        with torch.set_grad_enabled(enabled):
            estimate = attribute_heads(model, pairs)
            assert torch.is_grad_enabled() is enabled
        assert {parameter.requires_grad for parameter in model.parameters()} == {flag}
        assert all(parameter.grad is None for parameter in model.parameters())
        assert estimate.abs().min() > 1e-6 and not estimate.requires_grad
    assert torch.equal(model(pairs.clean), before)


def test_an_error_leaves_it_so_too(small_step, monkeypatch):
    def fail(*args):
        raise KeyError("inside")

    model, pairs = small_step
    model.requires_grad_(False)
    monkeypatch.setattr("transformer_lens.tools.analysis.attribution_patching.attribution_patch", fail)
    with torch.no_grad(), pytest.raises(KeyError, match="inside"):
        attribute_heads(model, pairs)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_it_refuses(patching_toys, toy_pairs):
    with pytest.raises(ValueError, match="has no MLPs.*use patch_heads"):
        attribute_heads(patching_toys["attn_only"], toy_pairs["late"])
    with pytest.raises(ValueError, match="identical"):
        attribute_heads(patching_toys["standard"], toy_pairs["late"]._replace(corrupted=toy_pairs["late"].clean))


def test_it_ranks_the_embedded_models_heads(model):
    """Not exactly: the estimate is linear and these are large steps. Shuffled heads show what chance
    gives.
    """
    data = create_ioi_dataset(2, tokenizer=model.tokenizer, templates=["When {IO} and {S} met, {S} thanked"])
    pairs = prompt_pairs(model, data)
    estimate, effect = attribute_heads(model, pairs), patch_heads(model, pairs, normalise=False).effect
    found = rank_correlation(estimate, effect)
    order = torch.randperm(effect.numel(), generator=torch.Generator().manual_seed(0))
    shuffled = rank_correlation(estimate.flatten()[order], effect.flatten())
    assert found > 0.8 and abs(shuffled) < 0.2  # 0.97 was measured
    strongest = effect.flatten().argmax()
    assert (estimate.flatten() > estimate.flatten()[strongest]).sum() < 10
