"""Activations for SAEs: which positions are kept, what lies on disk, resuming, batches."""

import json

import numpy as np
import pytest
import torch

from scripts.interp.base import files
from scripts.interp.base.files import alone_in
from scripts.interp.models.load import load_model
from scripts.interp.runs.at_hooks import (
    hook_activations,
    kept_positions,
    layer_of,
    norm_limit,
    special_positions,
    special_tokens,
)
from scripts.interp.saes import stored_activations as sae_activations
from scripts.interp.saes.stored_activations import shuffled_batches, store_activations
from scripts.interp.text.corpus import load_corpus, packed_tokens

HOOKS = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"]


@pytest.fixture(scope="module")
def rows(trained_toy):
    return packed_tokens(load_corpus("validation")[:30], trained_toy.tokenizer, 64)[:37]


def test_special_tokens_and_massive_ones_are_left_out():
    x = torch.ones(2, 4, 3)
    x[0, 2], x[1, 1], x[0, 0] = 11.0, 9.9, 1e6
    is_special = torch.tensor([[True, False, False, False], [False, False, False, True]])
    limit = norm_limit(x, is_special)
    assert limit == pytest.approx(10 * 3**0.5)
    expected = torch.tensor([[False, True, False, True], [True, True, True, False]])
    assert torch.equal(kept_positions(x, is_special, limit), expected)


def test_what_is_stored_is_what_the_model_computes(trained_toy, rows, tmp_path):
    stored = store_activations(trained_toy, HOOKS, rows, tmp_path / "a")
    special = special_positions(trained_toy, rows)
    assert special[:, 0].all() and special_tokens(trained_toy).tolist() == [0]
    for name in HOOKS:
        _, cache = trained_toy.run_with_cache(rows)
        mine = stored[name]
        kept = kept_positions(cache[name], special, mine.norm_limit)
        expected = cache[name][kept]
        assert torch.allclose(torch.from_numpy(np.array(mine.values)).float(), expected, atol=2e-2, rtol=1e-3)
        assert (mine.n_special, mine.n_massive) == (int(special.sum()), int((~special & ~kept).sum()))
        assert len(mine.values) + mine.n_special + mine.n_massive == rows.numel()
        assert mine.norm_limit == pytest.approx(norm_limit(cache[name][:8], special[:8]), rel=1e-4)


@pytest.mark.parametrize("hook, n_layers", [("blocks.0.attn.hook_z", 1), ("blocks.2.hook_mlp_out", 3)])
def test_nothing_above_the_hook_point_is_computed(tiny, hook, n_layers):
    model, reached = tiny("llama"), []
    tokens = torch.arange(1, 9)[None]
    wanted = model.run_with_cache(tokens, names_filter=[hook])[1][hook].flatten(2)
    after = [f"blocks.{layer}.hook_out" for layer in range(3)] + ["ln_final.hook_out", "unembed.hook_out"]
    with model.hooks(fwd_hooks=[(name, lambda value, hook: reached.append(hook.name)) for name in after]):
        got = hook_activations(model, tokens, [hook])[hook]
    assert torch.equal(got, wanted) and reached == after[:n_layers]
    assert model(tokens).shape == (1, 8, model.cfg.d_vocab)  # the stop is no part of the model


def test_only_wanted_positions_are_stored(trained_toy, rows, tmp_path):
    (name,), wanted = HOOKS[1:], torch.rand(rows.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    mine = store_activations(trained_toy, [name], rows, tmp_path / "wanted", wanted=wanted)[name]
    special = special_positions(trained_toy, rows) | ~wanted
    x = hook_activations(trained_toy, rows, [name])[name]
    kept = kept_positions(x, special, mine.norm_limit)
    assert torch.allclose(torch.from_numpy(np.array(mine.values)).float(), x[kept], atol=2e-2, rtol=1e-3)
    assert mine.n_special == special.sum() and mine.norm_limit == pytest.approx(
        norm_limit(x[:8], special[:8]), rel=1e-4
    )
    with pytest.raises(ValueError, match="of another model, hook point or text"):
        store_activations(trained_toy, [name], rows, tmp_path / "wanted", wanted=~wanted)


def test_a_killed_run_goes_on(trained_toy, rows, tmp_path, monkeypatch):
    whole = store_activations(trained_toy, HOOKS, rows, tmp_path / "whole")
    compute, calls = hook_activations, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return compute(*arguments)

    monkeypatch.setattr(sae_activations, "hook_activations", killed)
    with pytest.raises(KeyboardInterrupt):
        store_activations(trained_toy, HOOKS, rows, tmp_path / "cut")
    done = json.loads((tmp_path / "cut" / "progress.json").read_text())["rows_done"]
    assert done == 24  # the first call gave the norm limit as well
    resumed = store_activations(trained_toy, HOOKS, rows, tmp_path / "cut")
    assert len(calls) == 4 + 2
    for name in HOOKS:
        assert np.array_equal(resumed[name].values, whole[name].values) and resumed[name][1:] == whole[name][1:]


def test_two_processes_do_not_store_into_one_folder(trained_toy, rows, tmp_path):
    with alone_in(tmp_path), pytest.raises(ValueError, match="Another process is at work in .*again when it has ended"):
        store_activations(trained_toy, ["blocks.0.hook_resid_post"], rows, tmp_path)
    store_activations(trained_toy, ["blocks.0.hook_resid_post"], rows, tmp_path)
    with alone_in(tmp_path):  # what is there is only read
        store_activations(trained_toy, ["blocks.0.hook_resid_post"], rows, tmp_path)


def test_where_folders_cannot_be_locked_nobody_is_refused(tmp_path, monkeypatch):
    class WithoutLocks:
        LOCK_EX = LOCK_NB = 0

        def flock(handle, how):
            raise OSError("Bad file descriptor")

    for known in (None, WithoutLocks):
        monkeypatch.setattr(files, "fcntl", known)
        with alone_in(tmp_path / "new"), alone_in(tmp_path / "new"):
            assert (tmp_path / "new").is_dir()


def test_bad_input(trained_toy, rows, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no rows of tokens"):
        store_activations(trained_toy, HOOKS, rows[:0], tmp_path / "b")
    with pytest.raises(ValueError, match=r"take 0\.00 GB; the budget is 0\.0001 GB"):
        store_activations(trained_toy, HOOKS, rows, tmp_path / "c", budget_gb=0.0001)
    with pytest.raises(ValueError, match="has no hook 'blocks.0.hook_resid_pst'; similar names"):
        store_activations(trained_toy, ["blocks.0.hook_resid_pst"], rows, tmp_path / "d")
    with pytest.raises(ValueError, match="'hook_embed' is not a layer's hook point"):
        layer_of("hook_embed")
    store_activations(trained_toy, HOOKS[:1], rows[:8], tmp_path / "e")
    with pytest.raises(ValueError, match="another model, hook point or text"):
        store_activations(trained_toy, HOOKS[:1], rows[:16], tmp_path / "e")
    broken = load_model("toy-attn-2l")
    broken.embed.original_component.weight.data[5] = torch.nan
    with pytest.raises(ValueError, match=r"activations at blocks.0.hook_resid_pre hold NaN"):
        hook_activations(broken, torch.tensor([[0, 5]]), HOOKS[:1])


def test_every_pass_takes_all_tokens_in_another_order_and_can_be_entered_anywhere():
    values = np.arange(23, dtype=np.float16)[:, None]
    batches = shuffled_batches(values, 5, seed=1)
    seen = [next(batches) for _ in range(12)]
    assert all(batch.shape == (5, 1) and batch.dtype == torch.float32 for batch in seen)
    passes = [torch.cat(seen[start : start + 4]).flatten().tolist() for start in (0, 4, 8)]
    assert all(len(set(each)) == 20 for each in passes) and len({tuple(each) for each in passes}) == 3
    for step in (3, 4, 9):
        assert torch.equal(next(shuffled_batches(values, 5, seed=1, step=step)), seen[step])
    assert not torch.equal(next(shuffled_batches(values, 5, seed=2)), seen[0])
    parts = [next(shuffled_batches(values, 6, 1, step=4, part=part, parts=3)) for part in range(3)]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert torch.equal(torch.cat(parts), next(shuffled_batches(values, 6, 1, step=4)))
    with pytest.raises(ValueError, match="23 tokens do not fill one batch of 24"):
        next(shuffled_batches(values, 24, seed=0))
