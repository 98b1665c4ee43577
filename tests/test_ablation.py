"""Taking heads away, on the planted circuit, where it is known what must be left."""

import warnings

import pytest
import torch

from scripts.interp.circuits.ablation import ablate_heads, mean_head_outputs, run_circuit
from scripts.interp.circuits.direct_effects import head_direct_effects
from scripts.interp.planted.circuits import planted_circuit
from scripts.interp.runs.logits import compute_logit_diff


@pytest.fixture(scope="module", params=[4, 2, 1], ids=lambda n: f"{n} value heads")
def planted(request):
    return planted_circuit(request.param)


@pytest.fixture
def means(planted):
    """Over prompts with another token at the source, so that the means forget which it was: one of each token."""
    prompts = planted.pairs.clean[:1].repeat(8, 1)
    prompts[:, planted.source] = torch.arange(8)
    return mean_head_outputs(planted.model, prompts)


def logit_diff(planted, logits):
    return compute_logit_diff(logits, planted.pairs.answers, planted.pairs.wrong_answers, per_prompt=True).tolist()


def test_means_are_taken_over_prompts_and_kept_for_every_position(planted, means):
    layer, head = planted.mover
    after = means[layer, planted.source :, head]
    assert torch.allclose(after, torch.full_like(after, 1 / 8))  # each token once in eight prompts
    before = means[layer, : planted.source, head]
    assert torch.equal(before.argmax(dim=-1), planted.pairs.clean[0, : planted.source])  # the same in all prompts


def test_ablating_by_mean_or_zero_takes_exactly_what_the_head_gave(planted, means):
    # Zero at position 0 would change nothing either: the circuit is at later positions.
    for instead in (means, None):
        for heads, left in (
            ([planted.mover], 0.0),
            ([planted.writer], -1.0),
            ([planted.against], 3.0),
            ([planted.writer, planted.against], 0.0),
        ):
            logits = ablate_heads(planted.model, planted.pairs.clean, heads, instead)
            assert logit_diff(planted, logits) == pytest.approx([left] * 3, abs=1e-5)


def test_a_circuit_alone_keeps_what_it_does_and_nothing_else(planted, means):
    circuit = [planted.mover, planted.writer, planted.against]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a circuit that is all there is changes no logit, and that is no mistake
        for heads, left in (
            (circuit, 2.0),
            (circuit[:2], 3.0),
            ([planted.writer], 0.0),
            ([], 0.0),
            ([(0, 3), (1, 1)], 0.0),
        ):
            logits = run_circuit(planted.model, planted.pairs.clean, heads, means)
            assert logit_diff(planted, logits) == pytest.approx([left] * 3, abs=1e-5)


def test_position_0_is_left_alone(toy, toy_tokens):
    means = torch.full((2, 7, 3, 6), 5.0)
    seen = {}

    def look(activation, hook):
        seen["resid_mid"] = activation.clone()

    for run in (
        lambda: ablate_heads(toy, toy_tokens, [(0, 1)], means),
        lambda: run_circuit(toy, toy_tokens, [(0, 0)], means),
    ):
        with toy.hooks(fwd_hooks=[("blocks.0.hook_resid_mid", look)]):
            run()
        _, cache = toy.run_with_cache(toy_tokens)
        differs = (seen["resid_mid"] - cache["blocks.0.hook_resid_mid"]).abs().amax(dim=-1)[0] > 1e-4
        assert differs.tolist() == [False] + [True] * 6


def test_a_head_that_does_nothing_is_warned_about(planted, means):
    with pytest.warns(UserWarning, match=r"blocks\.0\.attn\.hook_z changed no logit"):
        ablate_heads(planted.model, planted.pairs.clean, [(0, 3)], means)


def test_given_clean_logits_are_used_for_the_warning(planted, means):
    wrong = planted.model(planted.pairs.corrupted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ablate_heads(planted.model, planted.pairs.clean, [(0, 3)], means, clean_logits=wrong)


def test_direct_effects_are_what_heads_write_towards_the_answer(planted, means):
    for instead in (None, means):
        effects = head_direct_effects(planted.model, planted.pairs, instead)
        expected = torch.zeros(3, 2, 4)
        expected[:, planted.writer[0], planted.writer[1]] = 3
        expected[:, planted.against[0], planted.against[1]] = -1
        assert torch.allclose(effects, expected, atol=1e-5)


def test_direct_effects_add_up_to_the_logit_difference_with_a_norm(model):
    """All heads, all MLPs and the embedding together give the logit difference; so heads alone, in a model's units."""
    from scripts.interp.circuits.prompt_pairs import prompt_pairs
    from scripts.interp.text.ioi import WHEN_TEMPLATES, create_ioi_dataset

    pairs = prompt_pairs(model, create_ioi_dataset(2, tokenizer=model.tokenizer, templates=WHEN_TEMPLATES))
    logits, cache = model.run_with_cache(pairs.clean)
    W_U = model.unembed.W_U
    direction = (W_U[:, pairs.answers] - W_U[:, pairs.wrong_answers]).T / cache["ln_final.hook_scale"][:, -1]
    names = ["hook_embed", *(f"blocks.{layer}.hook_mlp_out" for layer in range(model.cfg.n_layers))]
    rest = sum((cache[name][:, -1] * direction).sum(dim=-1) for name in names)
    total = rest + head_direct_effects(model, pairs).sum(dim=(1, 2))
    assert torch.allclose(
        total, compute_logit_diff(logits, pairs.answers, pairs.wrong_answers, per_prompt=True), atol=1e-3
    )


@pytest.mark.parametrize(
    "heads, message",
    [
        ([], "no heads to ablate"),
        ([(2, 0)], "layers are 0 to 1"),
        ([(0, 4)], "heads are 0 to 3"),
        ([(0, True)], "no head True"),
    ],
)
def test_heads_that_do_not_exist_are_refused(planted, heads, message):
    with pytest.raises(ValueError, match=message):
        ablate_heads(planted.model, planted.pairs.clean, heads)
    if heads:
        with pytest.raises(ValueError, match=message):
            run_circuit(planted.model, planted.pairs.clean, heads, torch.zeros(2, 6, 4, 8))


def test_means_of_another_length_are_refused(planted, means):
    with pytest.raises(ValueError, match="prompts of the same length"):
        ablate_heads(planted.model, planted.pairs.clean[:, :5], [(0, 1)], means)
    with pytest.raises(ValueError, match="prompts of the same length"):
        run_circuit(planted.model, planted.pairs.clean, [(0, 1)], means[:1])
