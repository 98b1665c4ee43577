"""Judging SAEs: perfect, useless and half dead ones, whose numbers are known."""

import pytest
import torch
from sae_lens import SAE, StandardSAEConfig
from sae_lens.registry import get_sae_class

from scripts.interp.runs.at_hooks import hook_activations, kept_positions, norm_limit, special_positions
from scripts.interp.runs.hooks import run_with_hooks
from scripts.interp.saes.evaluate import evaluate_sae, fvu_and_l0, splice
from scripts.interp.saes.in_sae_lens import attached, sae_lens_losses
from scripts.interp.text.corpus import load_corpus, packed_tokens

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def rows(trained_toy):
    return packed_tokens(load_corpus("test")[:20], trained_toy.tokenizer, 64)[:10]


@pytest.fixture(scope="module")
def activations(trained_toy, rows):
    x = hook_activations(trained_toy, rows, [HOOK])[HOOK]
    is_special = special_positions(trained_toy, rows)
    limit = norm_limit(x, is_special)
    return x, kept_positions(x, is_special, limit), limit


def new_sae(d_in: int, W_enc, W_dec, b_enc=None, b_dec=None) -> SAE:
    sae = get_sae_class("standard")[0](StandardSAEConfig(d_in=d_in, d_sae=len(W_dec)))
    with torch.no_grad():
        sae.W_enc.copy_(W_enc)
        sae.W_dec.copy_(W_dec)
        sae.b_enc.copy_(torch.zeros(len(W_dec)) if b_enc is None else b_enc)
        sae.b_dec.copy_(torch.zeros(d_in) if b_dec is None else b_dec)
    return sae


def perfect(d_in: int) -> SAE:
    """Every coordinate, once as it is and once negated."""
    both = torch.cat([torch.eye(d_in), -torch.eye(d_in)])
    return new_sae(d_in, both.T, both)


@pytest.mark.filterwarnings("ignore:The hooks on")  # nothing changes, which is the point
def test_a_perfect_sae(trained_toy, rows, activations):
    x, kept, limit = activations
    metrics = evaluate_sae(trained_toy, perfect(256), HOOK, rows, limit, 6)
    assert metrics.fvu.value < 1e-9 and abs(metrics.recovered_mean.value - 1) < 1e-4 > abs(
        metrics.recovered_zero.value - 1
    )
    assert metrics.l0.value == pytest.approx((x[kept] != 0).sum(dim=-1).float().mean().item())
    assert metrics.ce_spliced.value == pytest.approx(metrics.ce_clean.value, abs=1e-4)
    assert fvu_and_l0(perfect(256), x[kept]) == pytest.approx((0, metrics.l0.value), abs=1e-6)
    assert metrics.n_tokens == kept.sum() and metrics.n_special == (rows == 0).sum()
    assert metrics.n_tokens + metrics.n_special + metrics.n_massive == rows.numel()
    logits = trained_toy(rows[:6])[:, :-1].log_softmax(dim=-1)
    targets = rows[:6, 1:]
    predicted = targets != 0
    loss = -logits.gather(-1, targets[..., None])[..., 0][predicted].mean().item()
    assert metrics.ce_clean.value == pytest.approx(loss, abs=1e-4) and metrics.n_predicted == predicted.sum()
    assert metrics.ce_clean.low < metrics.ce_clean.value < metrics.ce_clean.high


def test_only_wanted_positions_count(trained_toy, rows, activations):
    x, kept, limit = activations
    wanted = torch.rand(rows.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    half = new_sae(256, torch.eye(256), torch.eye(256))  # loses what is negative
    metrics = evaluate_sae(trained_toy, half, HOOK, rows, limit, 6, wanted)
    mine = x[kept & wanted]
    fvu = mine.clamp(max=0).square().sum() / (mine - mine.mean(dim=0)).square().sum()
    assert metrics.n_tokens == len(mine) and metrics.fvu.value == pytest.approx(fvu.item(), rel=1e-3)
    logits = run_with_hooks(trained_toy, rows[:6], [(HOOK, splice(half(x[:6]), (kept & wanted)[:6]))])
    predicted = wanted[:6, 1:] & (rows[:6, 1:] != 0)
    loss = -logits[:, :-1].log_softmax(dim=-1).gather(-1, rows[:6, 1:, None])[..., 0][predicted].mean().item()
    assert metrics.ce_spliced.value == pytest.approx(loss, abs=1e-4) and metrics.n_predicted == predicted.sum()
    assert metrics.fvu.value != evaluate_sae(trained_toy, half, HOOK, rows, limit, 6).fvu.value


def test_the_mean_alone_explains_nothing(trained_toy, rows, activations):
    x, kept, limit = activations
    mean = x[kept].mean(dim=0)
    nothing = new_sae(256, torch.zeros(256, 8), torch.zeros(8, 256), b_dec=mean)
    metrics = evaluate_sae(trained_toy, nothing, HOOK, rows, limit, 10)
    assert metrics.fvu.value == pytest.approx(1, abs=1e-4) and metrics.l0.value == 0 and metrics.dead_fraction == 1
    assert metrics.recovered_mean.value == pytest.approx(0, abs=1e-3)
    zero = new_sae(256, torch.zeros(256, 8), torch.zeros(8, 256))
    metrics = evaluate_sae(trained_toy, zero, HOOK, rows, limit, 10)
    assert metrics.recovered_zero.value == pytest.approx(0, abs=1e-5) and metrics.fvu.value > 1
    assert metrics.ce_clean.value < metrics.ce_mean.value < metrics.ce_zero.value


def test_dead_latents_are_those_that_never_fire(trained_toy, rows, activations):
    sae = perfect(256)
    with torch.no_grad():
        sae.b_enc[:128] = -1e6
    assert evaluate_sae(trained_toy, sae, HOOK, rows, activations[2], 2).dead_fraction == 128 / 512


def test_an_untrained_sae_explains_nothing_and_is_not_sparse(trained_toy, rows, activations):
    """Cross-entropy alone would not tell: tied random weights give a multiple of x, which the next norm scales back."""
    torch.manual_seed(0)
    untrained = get_sae_class("standard")[0](StandardSAEConfig(d_in=256, d_sae=512))
    metrics = evaluate_sae(trained_toy, untrained, HOOK, rows, activations[2], 10)
    assert metrics.fvu.value > 1 and metrics.l0.value > 100 and metrics.recovered_mean.value > 0.5


def test_positions_that_are_left_out_keep_their_activations(trained_toy, rows, activations):
    x, kept, limit = activations
    assert torch.equal(splice(torch.zeros(256), kept)(x, None)[~kept], x[~kept])
    assert (splice(torch.zeros(256), kept)(x, None)[kept] == 0).all()
    spiky = perfect(256)
    encode = spiky.encode
    bos = x[0, 0]
    spiky.encode = lambda x: torch.where(
        torch.isclose(x, bos).all(dim=-1, keepdim=True), torch.full((), 1e6), encode(x)
    )
    assert abs(evaluate_sae(trained_toy, spiky, HOOK, rows, limit, 4).recovered_mean.value - 1) < 1e-4


def test_bad_input(trained_toy, rows, activations):
    with pytest.raises(ValueError, match="takes 64 numbers a token, blocks.0.hook_resid_post gives 256"):
        evaluate_sae(trained_toy, perfect(64), HOOK, rows, activations[2], 2)
    with pytest.raises(ValueError, match="n_spliced_rows is 11: give 2 to the number of rows, 10"):
        evaluate_sae(trained_toy, perfect(256), HOOK, rows, activations[2], 11)


def random_sae() -> SAE:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    sae = new_sae(256, draw(256, 40) / 16, draw(40, 256), draw(40), draw(256))
    sae.cfg.metadata.hook_name = HOOK
    return sae.requires_grad_(False)


def test_sae_lens_counts_in_its_own_way(trained_toy, rows):
    sae, tokens = random_sae(), rows[:4].clone()
    tokens[0, 20] = tokens[2, 40] = 0  # a BOS inside a row, which the two ways of counting treat differently
    x, is_special = hook_activations(trained_toy, tokens, [HOOK])[HOOK], special_positions(trained_toy, tokens)

    def loss(values, where):
        logits = (
            trained_toy(tokens)
            if values is None
            else run_with_hooks(trained_toy, tokens, [(HOOK, splice(values, where))])
        )
        losses = -logits[:, :-1].log_softmax(dim=-1).gather(-1, tokens[:, 1:, None])[..., 0]
        return losses[~is_special[:, :-1]].mean().item()

    expected = {
        "clean": loss(None, None),
        "spliced": loss(sae(x), ~is_special),
        "zero": loss(torch.zeros(256), torch.ones_like(is_special)),
    }
    assert sae_lens_losses(trained_toy, sae, tokens) == pytest.approx(expected, abs=1e-4)
    assert len({round(value, 2) for value in expected.values()}) == 3


def test_an_attached_sae_acts_everywhere_and_leaves_nothing_behind(trained_toy, rows, activations):
    sae, tokens = random_sae(), rows[:3]
    kind, clean = type(trained_toy), trained_toy(tokens)
    with attached(trained_toy, sae):
        logits = trained_toy(tokens)
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    ours = run_with_hooks(
        trained_toy, tokens, [(HOOK, splice(sae(activations[0][:3]), everywhere))]
    )  # hooks still act there
    assert torch.allclose(logits, ours, atol=1e-4) and (logits - clean).abs().max() > 0.1
    with pytest.raises(RuntimeError), attached(trained_toy, sae):
        raise RuntimeError
    assert type(trained_toy) is kind and torch.equal(trained_toy(tokens), clean)
    assert torch.allclose(hook_activations(trained_toy, tokens, [HOOK])[HOOK], activations[0][:3], atol=1e-5)
    sae.cfg.metadata.hook_name = "blocks.7.hook_resid_post"
    with pytest.raises(ValueError, match="This model has no hook"), attached(trained_toy, sae):
        pass
