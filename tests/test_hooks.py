"""Hooks that are nowhere, hooks that do nothing, and hooks that work."""

import warnings

import pytest
import torch

from scripts.interp.runs.hooks import cached_hook_dict, check_hooks, run_with_hooks
from scripts.interp.runs.logits import get_top_predictions
from scripts.interp.runs.losses import next_token_losses

PROMPT = "When John and Mary went to the store, John gave a book to"


def remove(activation, hook):
    return torch.zeros_like(activation)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_known_names_come_back(language_model):
    names = ["blocks.1.hook_resid_post", "blocks.0.attn.hook_z", "ln_final.hook_scale", "hook_embed"]
    assert check_hooks(language_model, names) == names
    assert check_hooks(language_model, "hook_embed") == ["hook_embed"]


@pytest.mark.parametrize(
    "name, hint",
    [
        ("blocks.1.hook_resid_pots", "similar names: .*blocks.1.hook_resid_post"),
        ("blocks.1.hook_z", r"similar names: .*blocks.1.attn.hook_z"),
        ("blocks.2.attn.hook_z", r"layers are 0 to 1"),
        ("xyz", "names look like blocks.1.hook_resid_post"),
        (None, "names look like"),
    ],
)
def test_unknown_names(toy, toy_tokens, name, hint):
    with pytest.raises(ValueError, match=f"no hook {name!r}.*{hint}"):
        check_hooks(toy, [name])
    with pytest.raises(ValueError, match=f"no hook {name!r}"):
        run_with_hooks(toy, toy_tokens, [(name, remove)])


def test_an_intervention_is_run_and_gone_afterwards(language_model):
    clean = language_model(PROMPT)
    hooks = [("blocks.1.hook_mlp_out", remove), ("blocks.2.attn.hook_z", remove)]
    changed = run_with_hooks(language_model, PROMPT, hooks)
    assert torch.equal(changed, language_model.run_with_hooks(PROMPT, fwd_hooks=hooks))
    assert not torch.equal(changed, run_with_hooks(language_model, PROMPT, hooks[:1]))
    assert torch.equal(language_model(PROMPT), clean)


def test_hook_functions_may_name_their_second_argument_only_hook(toy, toy_tokens):
    def by_keyword(activation, *, hook):
        return torch.zeros_like(activation)

    assert run_with_hooks(toy, toy_tokens, [("blocks.0.hook_mlp_out", by_keyword)]).shape == (1, 7, 23)


@pytest.mark.parametrize("function", [lambda z, hook: None, lambda z, hook: z, lambda z, hook: z.clone()])
def test_warns_when_nothing_changed(language_model, function):
    with pytest.warns(UserWarning, match="blocks.1.attn.hook_z changed no logit"):
        run_with_hooks(language_model, PROMPT, [("blocks.1.attn.hook_z", function)])


def test_warns_about_a_forgotten_return(toy, toy_tokens):
    def forgotten(activation, hook):
        activation = torch.zeros_like(activation)

    with pytest.warns(UserWarning, match="return"):
        run_with_hooks(toy, toy_tokens, [("blocks.0.hook_mlp_out", forgotten)])


def test_warns_about_a_hook_point_that_is_only_shown(toy, toy_tokens):
    with pytest.warns(UserWarning, match="blocks.0.attn.hook_pattern changed no logit"):
        run_with_hooks(toy, toy_tokens, [("blocks.0.attn.hook_pattern", remove)])


def test_a_hook_point_that_is_never_reached(model):
    with pytest.raises(ValueError, match="hook_pos_embed exists but was never reached"):
        run_with_hooks(model, PROMPT, [("hook_pos_embed", remove)])


def test_given_clean_logits_save_a_run(toy, toy_tokens):
    hooks, runs = [("blocks.0.hook_mlp_out", remove)], []
    counter = toy.original_model.register_forward_hook(lambda *_: runs.append(1))
    try:
        clean = toy(toy_tokens)
        runs.clear()
        changed = run_with_hooks(toy, toy_tokens, hooks, clean_logits=clean)
        assert len(runs) == 1
        assert torch.equal(changed, run_with_hooks(toy, toy_tokens, hooks)) and len(runs) == 3
    finally:
        counter.remove()
    with pytest.warns(UserWarning, match="changed no logit"):
        run_with_hooks(toy, toy_tokens, hooks, clean_logits=changed)
    with pytest.raises(ValueError, match="clean_logits has shape"):
        run_with_hooks(toy, toy_tokens, hooks, clean_logits=clean[:, -1])


def test_hook_points_are_looked_up_once_inside_and_anew_afterwards(toy, toy_tokens):
    kind, looked_up = type(toy), []
    hooks = [(f"blocks.{layer}.hook_mlp_out", remove) for layer in range(toy.cfg.n_layers)]
    expected = toy.run_with_hooks(toy_tokens, fwd_hooks=hooks)
    add_aliases = toy._add_aliases_to_hooks
    toy._add_aliases_to_hooks = lambda names: (looked_up.append(1), add_aliases(names))
    try:
        with cached_hook_dict(toy):
            assert isinstance(toy, kind)
            assert torch.equal(toy.run_with_hooks(toy_tokens, fwd_hooks=hooks), expected)
        assert len(looked_up) == 1
        toy.run_with_hooks(toy_tokens, fwd_hooks=hooks)
        assert len(looked_up) > 2  # how TransformerLens does it
    finally:
        del toy._add_aliases_to_hooks
    with pytest.raises(RuntimeError, match="broken"), cached_hook_dict(toy):
        raise RuntimeError("broken")
    assert type(toy) is kind and toy.hook_dict is not toy.hook_dict


def test_hooks_that_were_left_on_are_named_once(gpt2):
    names = ["blocks.1.hook_resid_post", "blocks.0.attn.hook_z"]
    try:
        for name in names:
            gpt2.add_hook(name, lambda activation, hook: 2 * activation)
        with pytest.warns(UserWarning, match=r"blocks.0.attn.hook_z, blocks.1.hook_resid_post.*reset_hooks\(\)"):
            get_top_predictions(gpt2, PROMPT)
        get_top_predictions(gpt2, PROMPT)  # told once
        gpt2.add_hook("blocks.2.hook_mlp_out", lambda activation, hook: 2 * activation)
        with pytest.warns(UserWarning, match="at blocks.2.hook_mlp_out: "):
            next_token_losses(gpt2, gpt2.to_tokens(PROMPT))
    finally:
        gpt2.reset_hooks()


def test_hooks_that_are_meant_are_no_reason_to_warn(toy, toy_tokens):
    point = toy.hook_dict["blocks.0.hook_mlp_out"]
    point.add_perma_hook(lambda activation, hook: None)
    try:
        with toy.hooks(fwd_hooks=[("blocks.1.hook_mlp_out", remove)]):
            next_token_losses(toy, toy_tokens)
        run_with_hooks(toy, toy_tokens, [("blocks.1.hook_mlp_out", remove)])
    finally:
        point.remove_hooks(including_permanent=True)


def test_empty_prompt(model):
    with pytest.raises(ValueError, match="empty"):
        run_with_hooks(model, "", [("hook_embed", remove)])


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite", "olmo2"])
def test_the_middle_of_the_stream_is_replaced_for_the_skip_connection_too(tiny, tiny_pairs, name):
    """With another run's stream there, the rest is the other run's, whether the hook writes into it or returns it."""
    model, (clean, corrupted) = tiny(name), tiny_pairs[:2]
    middle = "blocks.1.hook_resid_mid"
    expected, cache = model.run_with_cache(corrupted)

    def write(activation, hook):
        activation[:] = cache[middle]
        return activation

    for hook in (lambda activation, hook: cache[middle], write):
        torch.testing.assert_close(run_with_hooks(model, clean, [(middle, hook)]), expected, atol=1e-4, rtol=1e-4)
