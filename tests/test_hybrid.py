"""HybridSAE is an SAE of sae-lens like any other, and has the latents of TopK."""

import copy
import json

import pytest
import torch
from sae_lens import SAE, TopKSAE, TopKSAEConfig, TrainingSAE
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

from scripts.interp.saes import hybrid
from scripts.interp.saes.hybrid import HybridSAE, HybridSAEConfig, HybridTrainingSAE, HybridTrainingSAEConfig


@pytest.fixture(params=[True, False], ids=["with bfloat16", "without"])
def ranked(request, monkeypatch):
    """On processors that multiply bfloat16, and on others."""
    monkeypatch.setattr(hybrid, "multiplies_bfloat16", lambda device: request.param)


def randomized(sae):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_()
    return sae


def topk_like(sae):
    cfg = sae.cfg
    same = TopKSAE(
        TopKSAEConfig(
            d_in=cfg.d_in, d_sae=cfg.d_sae, k=cfg.k, rescale_acts_by_decoder_norm=cfg.rescale_acts_by_decoder_norm
        )
    )
    same.load_state_dict({name: value.contiguous() for name, value in sae.state_dict().items()})
    return same


@pytest.mark.parametrize("rescale", [True, False])
def test_its_latents_are_those_of_topk(ranked, rescale):
    sae = randomized(HybridSAE(HybridSAEConfig(d_in=24, d_sae=200, k=5, rescale_acts_by_decoder_norm=rescale)))
    x = torch.randn(3, 40, 24)
    with torch.no_grad():
        latents, wanted = sae.encode(x), topk_like(sae).encode(x)
        same = ((latents > 0) == (wanted > 0)).all(dim=-1)
        assert same.float().mean() > 0.98  # of a wide spread of random values, bfloat16 exchanges hardly any
        torch.testing.assert_close(latents[same], wanted[same], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sae(x)[same], topk_like(sae)(x)[same], rtol=1e-4, atol=1e-3)
        with_gradient = sae.requires_grad_().encode(x)
    torch.testing.assert_close(with_gradient, latents, rtol=1e-4, atol=1e-4)


def test_latents_have_the_gradient_of_topk(ranked):
    sae = randomized(HybridSAE(24, 200, 5))
    x = torch.randn(10, 24)
    gradients = []
    for each in (sae, topk_like(sae)):
        inside = x.clone().requires_grad_()
        each(inside).square().sum().backward()
        gradients.append((inside.grad, each.W_enc.grad))
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2)


def test_hooks_on_pre_activations_have_an_effect(ranked):
    sae = randomized(HybridSAE(24, 200, 5)).requires_grad_(False)
    x = torch.randn(10, 24)
    strongest = sae.encode(x).argmax(dim=-1)

    def without(pre, hook):
        return pre.index_fill(-1, strongest[:1], -100.0)

    with sae.hooks(fwd_hooks=[("hook_sae_acts_pre", without)]):
        assert (sae.encode(x)[..., strongest[0]] == 0).all()
    assert sae.encode(x)[0, strongest[0]] > 0


def test_what_hooks_change_decides_which_latents_are_kept(ranked):
    """As in TopK: one that is raised is kept, and where many are lowered, others take their places."""
    sae = randomized(HybridSAE(24, 200, 5)).requires_grad_(False)
    x = torch.randn(10, 24)
    largest = (x[:1] @ sae.W_enc + sae.b_enc).topk(20).indices[0]
    smallest = (x @ sae.W_enc + sae.b_enc).argmin(dim=-1)

    def lowered(pre, hook):
        return pre.index_fill(-1, largest, -100.0)

    def raised(pre, hook):
        return pre.scatter(-1, smallest[:, None], 1000.0)

    for same in (sae, topk_like(sae).requires_grad_(False)):
        with same.hooks(fwd_hooks=[("hook_sae_acts_pre", lowered)]):
            assert (same.encode(x[:1]) > 0).sum() == 5
        with same.hooks(fwd_hooks=[("hook_sae_acts_pre", raised)]):
            assert (same.encode(x).gather(1, smallest[:, None]) == 1000).all()


@pytest.mark.parametrize("rescale", [True, False])
def test_whatever_is_trained_alone_gets_its_gradient(ranked, rescale):
    cfg = HybridSAEConfig(d_in=24, d_sae=200, k=5, rescale_acts_by_decoder_norm=rescale)
    for name in ("b_enc", "W_enc", "b_dec", "W_dec")[: 4 if rescale else 2]:
        sae = randomized(HybridSAE(cfg)).requires_grad_(False)
        sae.get_parameter(name).requires_grad_()
        assert sae.encode(torch.randn(10, 24)).requires_grad == (name != "b_dec" or cfg.apply_b_dec_to_input)


def test_it_works_in_inference_mode_and_under_autocast(ranked):
    x = torch.randn(10, 24)
    with torch.inference_mode():
        born_there = randomized(HybridSAE(24, 200, 5))
    for sae in (randomized(HybridSAE(24, 200, 5)), born_there):
        with torch.no_grad():
            wanted = topk_like(sae).encode(x)
        with torch.inference_mode():
            torch.testing.assert_close(sae.encode(x.clone()), wanted, rtol=1e-4, atol=1e-4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = sae.encode(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(), wanted.sum(), rtol=0.05, atol=0)


def test_it_is_saved_loaded_and_trained_on(tmp_path, ranked):
    sae = randomized(HybridTrainingSAE(24, 200, 5))
    assert sae.W_enc.T.is_contiguous() and sae.cfg.rescale_acts_by_decoder_norm
    sae.save_model(tmp_path / "training")
    again = TrainingSAE.load_from_disk(tmp_path / "training")
    assert type(again) is HybridTrainingSAE and again.W_enc.T.is_contiguous()
    sae.cfg.n_candidates = 17
    with torch.no_grad():
        sae.save_inference_model(tmp_path / "inference")
    loaded = SAE.load_from_disk(tmp_path / "inference")
    assert type(loaded) is HybridSAE and (loaded.cfg.k, loaded.n_candidates) == (5, 17)
    assert json.loads((tmp_path / "inference" / "cfg.json").read_text())["architecture"] == "hybrid"
    torch.testing.assert_close(loaded.W_dec.norm(dim=-1), torch.ones(200))  # a latent is a direction
    x = torch.randn(50, 24)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), again(x), rtol=1e-3, atol=1e-2)
        assert ((loaded(x) - sae(x)).abs() < 1e-2).all()
        torch.testing.assert_close(copy.deepcopy(loaded).encode(x), loaded.encode(x))


def test_sae_lens_trains_it(ranked):
    torch.manual_seed(0)
    sae = HybridTrainingSAE(12, 60, 3)
    trainer = SAETrainer(SAETrainerConfig(100 * 64, 64, lr=3e-3, lr_end=3e-4, dead_feature_window=5), sae, iter(()))
    directions = torch.randn(12, 12)
    losses = []
    for _ in range(100):
        x = torch.rand(64, 12) * (torch.rand(64, 12) < 0.2) @ directions
        losses.append(trainer.step(x).losses["mse_loss"].item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_candidates_are_a_quarter_more_than_k_and_at_most_all():
    assert HybridSAE(8, 100, 40).n_candidates == 50
    assert HybridSAE(8, 100, 2).n_candidates == 3
    assert HybridSAE(8, 10, 9).n_candidates == 10


@pytest.mark.parametrize(
    "sizes, wrong", [((0, 10, 2), "d_model"), ((8, 2.5, 2), "n_features"), ((8, 10, 11), "k_sparse is 11 of 10"),
                     ((8, 10, None), "k_sparse"), ((8, 10, True), "k_sparse"), ((8,), "n_features is None"),
                     (({"d_in": 8},), "d_model is .*Config alone"), ((TopKSAEConfig(8, 10, k=2),), "Config alone")],
)  # fmt: skip
def test_impossible_sizes_are_refused(sizes, wrong):
    for sae_class in (HybridSAE, HybridTrainingSAE):
        with pytest.raises(ValueError, match=wrong):
            sae_class(*sizes)


@pytest.mark.parametrize(
    "numbers, words",
    [
        ({"k": 11}, "k is 11 of 10 latents: give 1 to 10"), ({"k": 0}, "k is 0"),
        ({"n_candidates": 3}, "give 4 to 10, or 0"), ({"n_candidates": 11}, "n_candidates is 11, of 10"),
        ({"n_candidates": -1}, "n_candidates is -1"),
    ],
)  # fmt: skip
def test_a_configuration_with_impossible_numbers_is_refused(numbers, words):
    for config_class in (HybridSAEConfig, HybridTrainingSAEConfig):
        with pytest.raises(ValueError, match=words):
            config_class(**{"d_in": 8, "d_sae": 10, "k": 4} | numbers)


def test_an_unknown_ranking_is_refused():
    with pytest.raises(ValueError, match="'sorted': give one of bfloat16, low_rank"):
        HybridTrainingSAEConfig(d_in=8, d_sae=10, k=2, ranking="sorted")
