"""Planted dictionaries and their matching."""

import pytest
import torch

from scripts.interp.planted.dictionary import match_directions, planted_dictionary, random_sae


def test_activations_are_sums_of_few_directions():
    planted = planted_dictionary(3000, n_features=40, d_in=20, noise=0)
    assert torch.allclose(planted.x, planted.coefficients @ planted.directions + planted.bias, atol=1e-5)
    assert torch.allclose(planted.directions.norm(dim=1), torch.ones(40)) and planted.bias.norm() > 1
    gram = planted.directions @ planted.directions.T - torch.eye(40)
    assert gram.abs().max() > 0.3  # not orthogonal
    assert (planted.coefficients > 0).float().sum(dim=1).mean() == pytest.approx(
        2, abs=0.1
    ) and planted.coefficients.min() == 0
    assert torch.equal(planted_dictionary(10, seed=3).x, planted_dictionary(10, seed=3).x)
    assert not torch.equal(planted_dictionary(10, seed=3).x, planted_dictionary(10, seed=4).x)


def test_matching_is_one_to_one_and_blind_to_order_and_length():
    planted = planted_dictionary(1).directions
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(7, 20, generator=torch.Generator().manual_seed(1))
    rows, cosines = match_directions(torch.cat([noise, 3 * planted[order]]), planted)
    assert torch.allclose(cosines, torch.ones(40), atol=1e-5) and torch.equal(order[rows - 7], torch.arange(40))
    rows, cosines = match_directions(torch.cat([planted[:1]] * 40), planted)  # one direction, forty times
    assert len(set(rows.tolist())) == 40 and (cosines > 0.99).sum() == 1
    assert match_directions(-planted, planted)[1].mean() < 0.5
    assert match_directions(torch.randn(40, 20, generator=torch.Generator().manual_seed(2)), planted)[1].mean() < 0.7


def test_a_random_sae_is_uneven_and_the_same_every_time():
    state = torch.get_rng_state()
    sae, again = random_sae(6, 10, seed=4), random_sae(6, 10, seed=4)
    assert torch.equal(torch.get_rng_state(), state)  # nobody's sampling changes
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in sae.state_dict().items())
    assert not torch.equal(random_sae(6, 10, seed=5).W_dec, sae.W_dec)
    x = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    latents = sae.encode(x)
    assert torch.allclose(latents, ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).relu(), atol=1e-5)
    assert torch.allclose(sae.decode(latents), latents @ sae.W_dec + sae.b_dec, atol=1e-4)
    assert sae.W_dec.norm(dim=1).std() > 0.5 and sae.b_enc.abs().min() > 0.01 and sae.b_dec.abs().min() > 0.01
    assert not torch.allclose(sae.W_enc.T, sae.W_dec, atol=0.5) and not sae.W_dec.requires_grad


def test_bad_input():
    with pytest.raises(ValueError, match=r"\(3, 5\) directions were found for \(4, 5\)"):
        match_directions(torch.ones(3, 5), torch.ones(4, 5))
