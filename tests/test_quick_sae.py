"""A small SAE while one watches: as it would be saved and loaded, with its record, and nothing else is touched."""

import pytest
import torch

from scripts.interp.planted.dictionary import planted_dictionary
from scripts.interp.saes.evaluate import fvu_and_l0
from scripts.interp.saes.quick import quick_sae

SMALL = dict(steps=120, batch=128, width=2, learning_rate=1e-2)


@pytest.fixture(scope="module")
def x():
    return 3 * planted_dictionary(1500, n_features=12, d_in=8, present=2.0, seed=1).x


@pytest.mark.parametrize("architecture, settings", [("hybrid", {"k": 2}), ("batchtopk", {"k": 2}), ("gated", {})])
def test_it_rebuilds_activations_in_their_own_scale(x, architecture, settings):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        sae, record = quick_sae(x, architecture, **SMALL, **settings)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert fvu_and_l0(sae, x)[0] < 0.5
    assert record["steps"] == record["curve"][-1]["step"] == 120
    assert not sae.training and not any(weights.requires_grad for weights in sae.parameters())
    assert sae.cfg.architecture() == {"batchtopk": "jumprelu"}.get(architecture, architecture)


def test_the_same_seed_gives_the_same_sae_and_another_gives_another(x):
    first, again, other = (quick_sae(x, "topk", **SMALL, k=2, seed=seed)[0].W_dec for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_a_setting_that_is_none_and_too_few_activations_are_refused(x):
    with pytest.raises(ValueError, match="no setting 'rate': give some of .*learning_rate"):
        quick_sae(x, "topk", 5, rate=1.0)
    with pytest.raises(ValueError, match="do not fill one batch"):
        quick_sae(x[:5], "topk", 5)
