"""The recipe of "Towards Monosemanticity": gradients, resampling, resuming, and that a planted dictionary is found."""

import numpy as np
import pytest
import torch

from scripts.interp.planted.dictionary import match_directions, planted_dictionary
from scripts.interp.saes import monosemanticity as learning
from scripts.interp.saes.evaluate import fvu_and_l0
from scripts.interp.saes.in_sae_lens import dictionary_as_sae
from scripts.interp.saes.monosemanticity import (
    Dictionary,
    DictionaryRecipe,
    encode,
    gradients,
    keep_lengths,
    new_dictionary,
    resample,
    train_dictionary,
)

RECIPE = DictionaryRecipe(d_sae=60, l1=0.5, steps=600, batch=200, learning_rate=3e-3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def planted():
    return planted_dictionary(6000, n_features=40, d_in=20)


@pytest.fixture
def dictionary():
    found = new_dictionary(8, 30, torch.randn(8, generator=generator(1)), generator(2))
    found.b_enc.normal_(generator=generator(3))
    found.W_enc.normal_(generator=generator(4))
    return found


def tokens(n=50, d_in=8):
    return torch.randn(n, d_in, generator=generator(5))


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("shift", [0.0, -6.0], ids=["dense", "sparse"])
def test_gradients_are_those_of_the_loss(dictionary, shift):
    dictionary.b_enc.add_(shift)
    x, l1 = tokens(), 0.7
    found = gradients(dictionary, x, l1)
    free = Dictionary(*(value.clone().requires_grad_() for value in dictionary))
    with torch.enable_grad():
        f = ((x - free.b_dec) @ free.W_enc + free.b_enc).relu()
        error = (f @ free.W_dec + free.b_dec - x).square().sum(dim=1).mean()
        (error + l1 * f.sum(dim=1).mean()).backward()
    is_sparse = (f > 0).float().mean() < learning.DENSE
    assert is_sparse == (shift < 0) and (f > 0).any()
    assert found.error == pytest.approx(error.item(), rel=1e-5)
    assert torch.equal(found.active, (f > 0).sum(dim=0))
    for name, gradient, parameter in zip(Dictionary._fields, found.of, free):
        assert torch.allclose(gradient, parameter.grad, atol=1e-5), name


def test_what_is_parallel_is_removed_and_nothing_else(dictionary):
    gradient = torch.randn(30, 8, generator=generator(6))
    left = gradient.clone()
    keep_lengths(left, dictionary.W_dec)
    assert (left * dictionary.W_dec).sum(dim=1).abs().max() < 1e-5
    removed = gradient - left
    assert torch.allclose(removed, (removed * dictionary.W_dec).sum(dim=1, keepdim=True) * dictionary.W_dec, atol=1e-5)
    again = left.clone()
    keep_lengths(again, dictionary.W_dec)
    assert torch.allclose(again, left, atol=1e-6)


def test_dead_latents_get_the_directions_of_badly_reconstructed_tokens(dictionary):
    dictionary.b_enc.fill_(-1e6)  # nothing is reconstructed yet
    x = torch.cat([tokens(200), 60 * torch.eye(8)[:3] + dictionary.b_dec])  # the last three are by far the worst
    optimizer = torch.optim.Adam(dictionary)
    for parameter in dictionary:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    before = Dictionary(*(value.clone() for value in dictionary))
    dead = torch.zeros(30, dtype=torch.bool)
    dead[[4, 7, 20]] = True
    resample(dictionary, optimizer, dead, x, generator())
    assert (dictionary.W_dec[dead] @ torch.eye(8)[:3].T).amax(dim=0).min() > 0.99
    alive_norm = before.W_enc[:, ~dead].norm(dim=0).mean()
    assert torch.allclose(dictionary.W_enc[:, dead].norm(dim=0), 0.2 * alive_norm, rtol=1e-4)
    assert torch.allclose(dictionary.W_enc[:, dead].T / (0.2 * alive_norm), dictionary.W_dec[dead], atol=1e-5)
    assert (dictionary.b_enc[dead] == 0).all()
    for name in ("W_enc", "b_enc", "W_dec"):
        value, old = getattr(dictionary, name), getattr(before, name)
        first = optimizer.state[value]["exp_avg"]
        if name == "W_enc":
            value, old, first = value.T, old.T, first.T
        assert torch.equal(value[~dead], old[~dead]) and (first[dead] == 0).all() and (first[~dead] != 0).all()
    assert torch.equal(dictionary.b_dec, before.b_dec)


def test_the_direction_is_that_of_what_is_missing(dictionary):
    x = tokens(1)
    missing = x - encode(dictionary, x) @ dictionary.W_dec - dictionary.b_dec
    resample(dictionary, torch.optim.Adam(dictionary), torch.arange(30) == 5, x, generator())
    assert torch.allclose(dictionary.W_dec[5], missing[0] / missing.norm(), atol=1e-5)


def test_tokens_are_drawn_by_the_square_of_their_loss(dictionary):
    x = dictionary.b_dec + torch.tensor([1.0, 2.0])[:, None] * torch.eye(8)[:2]  # losses 1 and 4: drawn 1 to 16
    drawn = []
    for seed in range(600):
        dictionary.b_enc.fill_(-1e6)  # no latent is above zero: the loss is the squared distance to b_dec
        dead = torch.arange(30) == 3
        resample(dictionary, torch.optim.Adam(dictionary), dead, x, generator(seed))
        drawn.append(dictionary.W_dec[3] @ torch.eye(8)[1] > 0.5)
    assert 0.90 < torch.stack(drawn).float().mean() < 0.97  # 16 in 17; by the loss itself it would be 4 in 5


def test_a_planted_dictionary_is_found_and_an_untrained_one_does_not_have_it(planted):
    found, record = train_dictionary(planted.x.numpy().astype(np.float16), RECIPE, progress=False)
    _, cosines = match_directions(found.W_dec, planted.directions)
    start = new_dictionary(20, RECIPE.d_sae, planted.bias, generator(9))
    assert cosines.mean() > 0.9 > 0.7 > match_directions(start.W_dec, planted.directions)[1].mean()
    assert torch.allclose(found.W_dec.norm(dim=1), torch.ones(RECIPE.d_sae), atol=1e-5)
    x = planted.x  # the scale is undone
    f = encode(found, x)
    fvu = (f @ found.W_dec + found.b_dec - x).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert fvu == pytest.approx(record["curve"][-1]["fvu"], abs=0.02) and fvu < 0.2
    assert (f > 0).sum(dim=1).float().mean() == pytest.approx(record["curve"][-1]["l0"], abs=0.5)
    sae = dictionary_as_sae(found)  # computes the same, by sae-lens
    assert torch.allclose(sae.encode(x), f, atol=1e-5)
    assert fvu_and_l0(sae, x) == pytest.approx((fvu.item(), (f > 0).sum(dim=1).float().mean().item()), rel=1e-4)


def test_dead_latents_are_brought_back_in_the_first_half_only(planted, monkeypatch):
    original = learning.new_dictionary

    def with_dead(*arguments):
        dictionary = original(*arguments)
        dictionary.b_enc[:15] = -1000
        return dictionary

    monkeypatch.setattr(learning, "new_dictionary", with_dead)
    values = planted.x.numpy().astype(np.float16)
    recipe = RECIPE._replace(window=8000)  # tokens, which are 40 steps
    _, record = train_dictionary(values, recipe, progress=False)
    assert [each["step"] for each in record["resampled"]] == [75, 150, 225, 300]
    assert record["resampled"][0]["latents"] == 15 and record["curve"][-1]["dead"] < 0.05
    monkeypatch.setattr(learning, "RESAMPLED_AT", ())
    _, without = train_dictionary(values, recipe, progress=False)
    assert without["resampled"] == [] and without["curve"][-1]["dead"] >= 0.25


def test_a_killed_run_ends_with_the_same_dictionary(planted, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "CHECKPOINT_EVERY", 40)
    values, recipe = planted.x.numpy().astype(np.float16), RECIPE._replace(steps=200)
    whole, record = train_dictionary(values, recipe, tmp_path / "whole.pt", progress=False)
    calls, original = [], learning.gradients

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 110:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(learning, "gradients", killed)
    with pytest.raises(KeyboardInterrupt):
        train_dictionary(values, recipe, tmp_path / "cut.pt", progress=False)
    resumed, again = train_dictionary(values, recipe, tmp_path / "cut.pt", progress=False)
    assert len(calls) == 110 + 200 - 80
    assert again["curve"] == record["curve"] and again["resampled"] == record["resampled"]
    assert all(torch.equal(left, right) for left, right in zip(whole, resumed))
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        train_dictionary(values, recipe._replace(l1=2.0), tmp_path / "cut.pt", progress=False)


def test_bad_input_gets_one_sentence(planted):
    values = planted.x.numpy().astype(np.float16)
    with pytest.raises(ValueError, match="give at least one step, and a batch of 9000 tokens"):
        train_dictionary(values, RECIPE._replace(batch=9000), progress=False)
    with pytest.raises(ValueError, match="The loss is .* at step .* lower learning rate"):
        train_dictionary(values, RECIPE._replace(learning_rate=float("inf")), progress=False)
    with pytest.raises(ValueError, match="60 latents are dead and there are 10 tokens"):
        start = new_dictionary(20, 60, planted.bias, generator())
        resample(start, torch.optim.Adam(start), torch.ones(60, dtype=torch.bool), planted.x[:10], generator())
