"""Steering: every position, every step, nothing left behind."""

import pytest
import torch
from sae_lens import StandardSAEConfig
from sae_lens.registry import get_sae_class

from scripts.interp.runs.steering import add_direction, clamp_feature, generate

HOOK = "blocks.0.hook_resid_post"
PROMPTS = ["The woman opened the door", "The old man saw the house"]


@pytest.fixture(scope="module")
def prompts(trained_toy):
    rows = [trained_toy.to_tokens(text)[0] for text in PROMPTS]
    return torch.stack([row[: min(map(len, rows))] for row in rows])


@pytest.fixture(scope="module")
def sae():
    torch.manual_seed(0)
    sae = get_sae_class("standard")[0](StandardSAEConfig(d_in=256, d_sae=300))
    with torch.no_grad():
        sae.b_enc.normal_()
        sae.b_dec.normal_()
    return sae


def test_a_direction_is_added_at_every_position_but_massive_ones():
    x = torch.randn(2, 5, 8)
    x[0, 0], x[1, 3] = 1e4, 1e4
    direction = torch.arange(8.0)
    moved = add_direction(direction, limit=100)(x, hook=None) - x
    expected = direction.expand(2, 5, 8).clone()
    expected[0, 0] = expected[1, 3] = 0
    assert torch.allclose(moved, expected, atol=1e-3)


def test_a_clamped_latent_moves_along_its_decoder_direction_only(sae):
    x = 3 * torch.randn(2, 5, 256)
    x[1, 0] *= 1e4
    latent = sae.encode(x)[..., 7]
    for value in (0.0, 5.0):
        moved = clamp_feature(sae, 7, value, limit=1e3)(x, hook=None) - x
        expected = (value - latent)[..., None] * sae.W_dec[7]
        expected[1, 0] = 0
        assert torch.allclose(moved, expected, atol=1e-4) and expected[0].norm() > 0


def test_it_acts_in_every_step_as_a_run_from_the_start_would(trained_toy, prompts):
    hooks = [(HOOK, add_direction(3 * torch.randn(256, generator=torch.Generator().manual_seed(0)), 1e9))]
    text = generate(trained_toy, prompts, 6, hooks, temperature=0)
    tokens = prompts
    for _ in range(6):  # without a cache of keys and values
        tokens = torch.cat([tokens, trained_toy.run_with_hooks(tokens, fwd_hooks=hooks)[:, -1:].argmax(dim=-1)], dim=1)
    assert torch.equal(text, tokens) and text.shape == (2, prompts.shape[1] + 6)
    assert not torch.equal(text, generate(trained_toy, prompts, 6, temperature=0))


def test_nothing_is_left_behind(trained_toy, prompts):
    before = trained_toy(prompts)
    generate(trained_toy, prompts, 3, [(HOOK, add_direction(torch.ones(256), 1e9))])
    assert torch.equal(trained_toy(prompts), before)

    def fails(activation, hook):
        raise RuntimeError("in the hook")

    with pytest.raises(RuntimeError, match="in the hook"):
        generate(trained_toy, prompts, 3, [(HOOK, fails)])
    assert torch.equal(trained_toy(prompts), before)


def test_the_seed_decides_and_the_caller_s_random_numbers_stay(trained_toy, prompts):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = generate(trained_toy, prompts, 8, temperature=1.0, seed=1)
    assert torch.rand(1) == expected
    assert torch.equal(first, generate(trained_toy, prompts, 8, temperature=1.0, seed=1))
    assert not torch.equal(first, generate(trained_toy, prompts, 8, temperature=1.0, seed=2))


def test_bad_input(trained_toy, prompts, sae):
    with pytest.raises(ValueError, match="There is no feature 300: this SAE's are 0 to 299"):
        clamp_feature(sae, 300, 0.0, 10.0)
    with pytest.raises(ValueError, match="has no hook 'blocks.0.resid'"):
        generate(trained_toy, prompts, 2, [("blocks.0.resid", lambda x, hook: x)])
    with pytest.raises(ValueError, match="The prompts are between"):
        generate(trained_toy, ["One", "Two or more words"], 2)
