"""Every architecture of sae-lens with every option of its configuration, in every helper that takes an SAE."""

from dataclasses import fields
from itertools import product

import pytest
import torch
from sae_lens import SAE
from sae_lens.registry import SAE_CLASS_REGISTRY, get_sae_class, get_sae_training_class

from scripts.interp.features.contexts import sae_latents, top_contexts
from scripts.interp.models.load import load_model
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, special_positions
from scripts.interp.runs.hooks import run_with_hooks
from scripts.interp.runs.steering import clamp_feature
from scripts.interp.runs.through_sae import check_by_trying, check_sae, encode, through_sae
from scripts.interp.saes.evaluate import evaluate_sae
from scripts.interp.saes.in_sae_lens import attached, sae_lens_losses
from scripts.interp.saes.load import load_sae
from scripts.interp.saes.untrained import mean_l0, untrained_copy

RESID, Z = "blocks.0.hook_resid_post", "blocks.1.attn.hook_z"
OPTIONS = {
    "standard": {}, "jumprelu": {}, "gated": {}, "topk": {"k": 8}, "abstopk": {"k": 8},
    "hybrid": {"k": 8, "n_candidates": 12},
    "matching_pursuit": {"max_iterations": 4},
}  # fmt: skip
NO_SAES = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder", "temporal")
NORMALISED = ("none", "layer_norm", "constant_norm_rescale")


def random_sae(architecture: str, d_in: int = 12, d_sae: int = 40, hook_name: str = RESID, **options) -> SAE:
    """An SAE whose parameters are all random."""
    kind, config = get_sae_class(architecture)
    sae = kind(config(d_in=d_in, d_sae=d_sae, **OPTIONS.get(architecture, {}) | options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn.abs() if name == "threshold" else 0.3 * drawn if name == "r_mag" else drawn)
        if architecture == "matching_pursuit":  # its latents are projections on directions of unit norm
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    sae.cfg.metadata.model_name, sae.cfg.metadata.hook_name = "toy-attn-2l", hook_name
    return sae.eval().requires_grad_(False)


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_no_architecture_is_forgotten():
    assert set(OPTIONS) | set(NO_SAES) == set(SAE_CLASS_REGISTRY)


@pytest.mark.parametrize("architecture", OPTIONS)
def test_a_clamped_latent_changes_what_the_decoder_makes_of_it(architecture):
    takes_norms = "rescale_acts_by_decoder_norm" in {field.name for field in fields(get_sae_class(architecture)[1])}
    rescaled = [{}, {"rescale_acts_by_decoder_norm": True}] if takes_norms else [{}]
    for normalised, biased, more in product(NORMALISED, (True, False), rescaled):
        sae = random_sae(architecture, normalize_activations=normalised, apply_b_dec_to_input=biased, **more)
        x = 3 * draw(2, 5, 12) + 1
        latents = sae.encode(x)
        before = sae.decode(latents)
        feature = int((latents != 0).float().mean(dim=(0, 1)).argmax())
        for value in (0.0, 7.0):
            changed = sae.encode(x)
            changed[..., feature] = value
            expected = sae.decode(changed) - before
            moved = clamp_feature(sae, feature, value, limit=1e3)(x, hook=None) - x
            assert torch.allclose(moved, expected, atol=2e-4), (normalised, biased, more)
            assert expected.norm(dim=-1).max() > 0.5
        if normalised == "none" and not more:  # to the last bit what it was before
            assert torch.equal(
                clamp_feature(sae, feature, 7.0, 1e3)(x, None), x + (7.0 - latents[..., [feature]]) * sae.W_dec[feature]
            )


@pytest.mark.parametrize("architecture", OPTIONS)
def test_an_untrained_copy_is_as_sparse_whatever_the_architecture(architecture):
    takes_norms = "rescale_acts_by_decoder_norm" in {field.name for field in fields(get_sae_class(architecture)[1])}
    rescaled = [{}, {"rescale_acts_by_decoder_norm": True}] if takes_norms else [{}]
    x = 2 * draw(300, 12) + 1
    for normalised, biased, more in product(NORMALISED, (True, False), rescaled):
        sae = random_sae(architecture, normalize_activations=normalised, apply_b_dec_to_input=biased, **more)
        if architecture == "matching_pursuit":
            with pytest.raises(ValueError, match="matching_pursuit.* no encoder with a bias"):
                untrained_copy(sae, x)
            continue
        for bias in ("b_enc", "b_gate", "b_mag"):
            if getattr(sae, bias, None) is not None:
                getattr(sae, bias).sub_(2.0)  # a TopK one then has fewer than k latents above zero at some tokens
        kept = {name: value.clone() for name, value in sae.state_dict().items()}
        control = untrained_copy(sae, x)
        assert mean_l0(control, x) == pytest.approx(mean_l0(sae, x), rel=0.02), (normalised, biased, more)
        assert mean_l0(sae, x) > 1
        assert all(torch.equal(value, kept[name]) for name, value in sae.state_dict().items())
        assert torch.allclose(control.W_dec.norm(dim=1), sae.W_dec.norm(dim=1), rtol=1e-4)
        assert torch.nn.functional.cosine_similarity(control.W_enc, sae.W_enc, dim=0).abs().mean() < 0.4
        latents, made = through_sae(sae, x)
        sae.encode(x)
        control.encode(5 * x - 1)  # the copy normalises by itself: what it remembers is not the original's
        assert torch.equal(sae.decode(latents), made)


@pytest.fixture(scope="module")
def rows(trained_toy):
    return trained_toy.to_tokens(["The woman opened the door and", "The old man saw the house and"])[:, :6]


def test_saes_of_heads(trained_toy, rows):
    """hook_z with sae-lens' reshaping and without, and one head of four: as an SAE of the flat activation."""
    z = hook_activations(trained_toy, rows, [Z])[Z]
    assert z.shape == (2, 6, 256)
    kept, clean = kept_positions(z, special_positions(trained_toy, rows), 1e9), trained_toy(rows)
    for d_in, head, reshape in ((256, None, "hook_z"), (256, None, "none"), (64, 2, "none")):
        sae = random_sae("standard", d_in, 20, Z, reshape_activations=reshape)
        sae.W_enc /= 8
        sae.cfg.metadata.hook_head_index = head
        part = slice(None) if head is None else slice(128, 192)
        flat = random_sae("standard", d_in, 20)
        flat.load_state_dict(sae.state_dict())
        x, made = z[..., part], flat(z[..., part])
        instead = z.clone()
        instead[..., part] = made

        def put(activation, hook):
            assert activation.shape == (2, 6, 4, 64)
            return torch.where(kept[..., None, None], instead.view(activation.shape), activation)

        metrics = evaluate_sae(trained_toy, sae, Z, rows, 1e9, 2)
        mine = x[kept]
        fvu = (mine - made[kept]).square().sum() / (mine - mine.mean(dim=0)).square().sum()
        assert metrics.fvu.value == pytest.approx(fvu.item(), rel=1e-3)
        loss = torch.nn.functional.cross_entropy(
            run_with_hooks(trained_toy, rows, [(Z, put)])[:, :-1].flatten(0, 1), rows[:, 1:].flatten()
        )
        assert metrics.ce_spliced.value == pytest.approx(loss.item(), abs=1e-4)
        assert torch.allclose(sae_latents(trained_toy, sae, rows)[kept], flat.encode(x)[kept], atol=1e-4)
        assert top_contexts(trained_toy, sae, rows, n_contexts=2).frequency.max() > 0
        as_is = z.view(2, 6, 4, 64)
        moved = (clamp_feature(sae, 3, 5.0, 1e9)(as_is, None) - as_is).flatten(2)
        assert torch.allclose(moved[..., part], (5 - flat.encode(x)[..., [3]]) * flat.W_dec[3], atol=1e-4)
        assert moved.norm() == pytest.approx(moved[..., part].norm().item(), rel=1e-6)
        assert mean_l0(untrained_copy(sae, mine), mine) == pytest.approx(mean_l0(sae, mine), rel=0.05)
        if head is None:
            assert sae_lens_losses(trained_toy, sae, rows)["spliced"] > 0
            with attached(trained_toy, sae):
                logits = trained_toy(rows)
            everywhere = run_with_hooks(trained_toy, rows, [(Z, lambda a, hook: made.view(a.shape))])
            assert torch.allclose(logits, everywhere, atol=1e-4) and (logits - clean).abs().max() > 0.1
        else:
            with pytest.raises(ValueError, match="for head 2 of blocks.1.attn.hook_z"), attached(trained_toy, sae):
                pass
        assert sae.hook_z_reshaping_mode == (reshape == "hook_z")
        if reshape == "hook_z":  # sae-lens' own reshaping takes the heads afterwards as before
            assert torch.allclose(sae(as_is).flatten(2), made, atol=1e-4)
    assert torch.equal(trained_toy(rows), clean)
    with pytest.raises(ValueError, match="takes 64 numbers a token, blocks.1.attn.hook_z gives 256"):
        sae_latents(trained_toy, random_sae("standard", 64, 20, Z), rows)
    with pytest.raises(ValueError, match="blocks.1.attn.hook_pattern is .*: give a hook point that has a vector"):
        hook_activations(trained_toy, rows, ["blocks.1.attn.hook_pattern"])


def test_an_error_term_does_not_make_a_reconstruction_perfect(trained_toy, rows):
    sae = random_sae("standard", 256, 20)
    without = evaluate_sae(trained_toy, sae, RESID, rows, 1e9, 2)
    with pytest.warns(DeprecationWarning):
        sae.use_error_term = True
    assert evaluate_sae(trained_toy, sae, RESID, rows, 1e9, 2) == without and without.recovered_mean.value < 0.9


def test_negative_latents_count(trained_toy, rows):
    metrics = evaluate_sae(trained_toy, random_sae("abstopk", 256), RESID, rows, 1e9, 2)
    assert metrics.l0.value == 8


def no_sae(name: str) -> SAE:
    """What sae-lens loads like an SAE, and what is none."""
    if name in NO_SAES[:4]:
        sae = random_sae(name, 256, 40, apply_b_dec_to_input=False, d_out=256)
    elif name == "temporal":
        sae = random_sae(name, 256, 256, n_heads=4, bottleneck_factor=8, kval_topk=8)
    elif name in ("expected_average_only_in", "covariance_whitening"):
        sae = random_sae("standard", 256, normalize_activations=name)
    elif name == "batchtopk":
        kind, config = get_sae_training_class(name)
        sae = kind(config(d_in=256, d_sae=40, k=4))
    else:
        sae = random_sae("standard", 256)
        if name == "another output":
            sae.cfg.metadata.hook_name_out = "blocks.0.hook_attn_out"
        elif name == "crosscoder":
            sae.cfg.metadata.hook_names = [RESID, Z]
    sae.cfg.metadata.hook_name = RESID
    return sae


WHAT_IT_IS = {
    **dict.fromkeys([*NO_SAES[:4], "another output"], "is a transcoder"),
    "temporal": "rebuilds a position from the positions before",
    "crosscoder": "is a crosscoder",
    "batchtopk": "depends on the rest of the batch",
    "expected_average_only_in": "fold_activation_norm_scaling_factor",
    "covariance_whitening": "fold_activation_whitening",
}


@pytest.mark.parametrize("name", WHAT_IT_IS)
def test_what_is_no_sae_is_refused_everywhere(trained_toy, rows, tmp_path, name):
    sae, x = no_sae(name), draw(9, 256)
    calls = [
        lambda: evaluate_sae(trained_toy, sae, RESID, rows, 1e9, 2),
        lambda: clamp_feature(sae, 0, 1.0, 1e9),
        lambda: untrained_copy(sae, x),
        lambda: sae_latents(trained_toy, sae, rows),
        lambda: sae_lens_losses(trained_toy, sae, rows),
        lambda: attached(trained_toy, sae).__enter__(),
    ]
    if name != "batchtopk":  # sae-lens itself refuses that folder
        sae.cfg.metadata.model_name = "toy-attn-2l"
        sae.save_model(tmp_path)
        calls.append(lambda: load_sae(trained_toy, tmp_path))
    for call in calls:
        with pytest.raises(ValueError, match=WHAT_IT_IS[name]):
            call()


def test_architectures_that_nobody_has_listed_are_tried():
    """A new architecture that looks at other positions, or whose output is more than what its decoder makes."""
    for sae in [random_sae(name) for name in OPTIONS]:
        check_by_trying(sae)
    looks_back, skips = random_sae("standard"), random_sae("standard")
    plain = looks_back.encode
    looks_back.encode = lambda x: plain(x + x.cumsum(dim=1))
    with pytest.raises(ValueError, match="depends on the other positions"):
        check_by_trying(looks_back)
    skips.forward = lambda x: skips.decode(skips.encode(x)) + x
    with pytest.raises(ValueError, match="not what its decoder makes of its latents"):
        check_by_trying(skips)
    check_sae(looks_back)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_in_half_precision(trained_toy, rows, dtype):
    """The SAE stays in float32, or has the model's precision; the numbers are those of float32, roughly."""
    half = load_model("toy-attn-2l", device="cpu", dtype=dtype)
    for hook_name, kind in product((RESID, Z), (torch.float32, dtype)):
        sae = random_sae("jumprelu", 256, 40, hook_name, reshape_activations="hook_z" if hook_name == Z else "none")
        sae.W_enc /= 8
        sae.b_enc -= 4
        mine = random_sae("jumprelu", 256, 40, hook_name, reshape_activations=sae.cfg.reshape_activations)
        mine.load_state_dict(sae.state_dict())
        mine = mine.to(dtype=kind)
        wanted, got = (evaluate_sae(*each, hook_name, rows, 1e9, 2) for each in ((trained_toy, sae), (half, mine)))
        for name in ("fvu", "l0", "ce_clean", "ce_spliced"):
            assert getattr(got, name).value == pytest.approx(getattr(wanted, name).value, rel=0.05), name
        hooks = [[(hook_name, clamp_feature(each, 5, 3.0, 1e9))] for each in (sae, mine)]
        logits, rough = run_with_hooks(trained_toy, rows, hooks[0]), run_with_hooks(half, rows, hooks[1])
        assert rough.dtype == dtype and torch.allclose(rough.float(), logits, atol=0.3)
        assert (logits - trained_toy(rows)).abs().max() > 1
        with attached(half, mine):
            assert half(rows).dtype == dtype
        x = hook_activations(half, rows, [hook_name])[hook_name].flatten(0, 1)
        assert mean_l0(untrained_copy(mine, x), x) == pytest.approx(mean_l0(mine, x), rel=0.1)
        contexts = top_contexts(half, mine, rows, n_contexts=2)
        assert contexts.activations.dtype == torch.float32 and contexts.frequency.max() > 0
        assert sae_lens_losses(half, mine, rows)["spliced"] > 0
        assert encode(mine, x).dtype == kind
