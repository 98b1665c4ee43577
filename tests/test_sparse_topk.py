"""Training TopK with work for the kept latents alone gives what sae-lens' trainer gives; rankings and their recall."""

import math

import pytest
import torch
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

from scripts.interp.saes import sparse_topk
from scripts.interp.saes.bags import bag_dots, bag_sums, by_latent, latent_rows
from scripts.interp.saes.rankings import BLOCK, LowPrecision, LowRank, best_of, largest, recall
from scripts.interp.saes.recipes import training_classes
from scripts.interp.saes.sparse_topk import SparseTopK, together

N, D_IN, D_SAE, K = 96, 20, 250, 4


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    """Latents in groups of which the last is not full."""
    monkeypatch.setattr(sparse_topk, "GROUP", 64)


def batches(n_steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean, directions = torch.randn(D_IN, generator=generator), torch.randn(60, D_IN, generator=generator)
    for _ in range(n_steps):
        strengths = torch.rand(N, 60, generator=generator) * (torch.rand(N, 60, generator=generator) < 0.06)
        yield strengths @ directions + mean + 0.1 * torch.randn(N, D_IN, generator=generator)


def pair(dead_after=1000, rescale=True, center=True, aux=1.0, **options):
    """sae-lens' trainer, and ours with the same weights and settings."""
    sae_class, config = training_classes()["topk"]
    torch.manual_seed(0)
    sae = sae_class(
        config(
            d_in=D_IN, d_sae=D_SAE, k=K, apply_b_dec_to_input=center, rescale_acts_by_decoder_norm=rescale,
            aux_loss_coefficient=aux,
        )
    )  # fmt: skip
    with torch.no_grad():
        sae.b_enc.normal_(0, 0.1), sae.b_dec.normal_(), sae.W_dec.mul_(1 + torch.rand(D_SAE, 1))
    weights = [getattr(sae, name).detach().clone() for name in ("W_enc", "b_enc", "W_dec", "b_dec")]
    cfg = SAETrainerConfig(
        N * 1000, N, lr=3e-3, lr_end=3e-4, lr_warm_up_steps=4, lr_decay_steps=3, dead_feature_window=dead_after
    )
    mine = SparseTopK(
        *weights, K, rescale=rescale, center=center, dead_after=dead_after, aux_coefficient=aux, **options
    )
    return SAETrainer(cfg, sae, iter(())), mine


def step_both(theirs, mine, x, parts=1):
    rate = theirs.optimizer.param_groups[0]["lr"]
    output = theirs.step(x)
    theirs.n_training_steps += 1
    return output, mine.step(x, rate, parts)


def largest_difference(theirs, mine):
    return max((value - getattr(theirs.sae, name)).abs().max().item() for name, value in mine.weights().items())


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("dead_after", [1000, 2])
def test_it_is_sae_lens_topk(rescale, center, dead_after):
    theirs, mine = pair(dead_after, rescale, center)
    for number, x in enumerate(batches(20)):
        output, factors = step_both(theirs, mine, x, parts=1 + number % 3)
        losses = factors.losses.mean(dim=0).tolist()
        assert losses[0] == pytest.approx(output.losses["mse_loss"].item(), rel=1e-5)
        assert losses[1] == pytest.approx(output.losses["auxiliary_reconstruction_loss"].item(), rel=1e-5, abs=1e-7)
        assert torch.equal(theirs.dead_neurons, mine.dead)
    assert dead_after == 1000 or mine.dead.sum() > 20  # the auxiliary loss had something to do
    assert largest_difference(theirs, mine) < 1e-5


def test_the_gradients_are_those_of_autograd():
    """Moments after one step of Adam are the gradients, scaled."""
    theirs, mine = pair()
    step_both(theirs, mine, next(batches(1)))
    for name, mine_name in (("W_enc", "enc"), ("W_dec", "dec"), ("b_enc", "b_enc"), ("b_dec", "b_dec")):
        gradient = theirs.optimizer.state[getattr(theirs.sae, name)]["exp_avg"] * 10
        found = mine.moments[mine_name][0] * 10
        torch.testing.assert_close(found.T if name == "W_enc" else found, gradient, rtol=1e-4, atol=1e-7)


def test_the_clipped_norm_is_that_of_all_gradients():
    theirs, mine = pair()
    x = next(batches(1)) * 50
    step_both(theirs, mine, x)
    assert sum(first.square().sum() for first, _ in mine.moments.values()) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("dead_after", [1000, 2])
def test_a_ranking_that_finds_all_of_the_exact_top_k_changes_nothing(dead_after):
    theirs, mine = pair(dead_after, ranking=LowPrecision(D_SAE, D_IN), n_candidates=2 * K)
    recalls = []
    for x in batches(20):
        _, factors = step_both(theirs, mine, x)
        recalls += factors.recalls.tolist()
    assert len(recalls) == 2 * sparse_topk.RECALL_TOKENS and min(recalls) == 1
    assert largest_difference(theirs, mine) < 1e-5


class Random(LowPrecision):
    """The null: scores that know nothing."""

    def scores(self, x):
        return torch.rand(len(x), D_SAE, generator=torch.Generator().manual_seed(int(x.abs().sum())))


def test_recall_of_a_ranking_that_knows_nothing_is_chance_and_candidates_grow():
    _, mine = pair(ranking=Random(D_SAE, D_IN), n_candidates=50)
    x = torch.cat(list(batches(20)))
    assert mine.look(x, len(x)).recalls.mean() == pytest.approx(50 / D_SAE, abs=0.1)
    grown = [50]
    for each in batches(80):
        mine.step(each, 1e-3)
        if mine.n_candidates != grown[-1]:
            grown.append(mine.n_candidates)
    assert grown == [50, 63, 79, 99, 124, 155, 194, 243, 250]  # by a quarter every ten steps, up to all
    assert mine.look(x, len(x)).recalls.mean() == 1


def test_a_low_rank_ranking_finds_what_lies_in_few_directions_and_more_with_more():
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(6, D_IN, generator=generator)
    x = torch.randn(400, 6, generator=generator) @ plane + 0.02 * torch.randn(400, D_IN, generator=generator)
    rows, bias = torch.randn(D_SAE, D_IN, generator=generator), 0.1 * torch.randn(D_SAE, generator=generator)
    exact = best_of(None, x, rows, bias, None, K, 0)[0]

    def found(rank, fit_on=x):
        ranking = LowRank(D_SAE, D_IN, rank)
        ranking.fit(fit_on, rows)
        ranking.refresh(slice(None), rows, bias)
        return recall(best_of(ranking, x, rows, bias, None, K, 2 * K)[0], exact).mean().item()

    assert found(6) > 0.97 > found(3) > found(1)
    shuffled = x[:, torch.randperm(D_IN, generator=generator)]  # other activations have other directions
    assert found(6, fit_on=shuffled) < 0.9


def test_the_best_of_candidates_have_exact_values():
    x, rows = torch.randn(30, D_IN), torch.randn(D_SAE, D_IN)
    bias, norms = torch.randn(D_SAE), 0.5 + torch.rand(D_SAE)
    ranking = LowPrecision(D_SAE, D_IN)
    ranking.refresh(slice(None), rows * norms[:, None], bias * norms)
    exact = x @ rows.T + bias
    chosen, values = best_of(ranking, x, rows, bias, norms, K, 3 * K)
    torch.testing.assert_close(values, exact.gather(1, chosen.long()))
    assert recall(chosen, (exact * norms).topk(K).indices.int()).mean() == 1
    assert recall(chosen, exact.topk(K).indices.int()).mean() < 1  # the norms decide


def test_a_run_goes_on_where_it_was_saved():
    kinds = (lambda: None, lambda: LowPrecision(D_SAE, D_IN), lambda: LowRank(D_SAE, D_IN, 8))
    for ranking in kinds:
        _, whole = pair(dead_after=2, ranking=ranking(), n_candidates=8)
        _, first = pair(dead_after=2, ranking=ranking(), n_candidates=8)
        _, second = pair(dead_after=2, ranking=ranking(), n_candidates=8)
        for number, x in enumerate(batches(20)):
            whole.step(x, 1e-3)
            if number == 10:
                second.restore(first.state())
            (first if number < 10 else second).step(x, 1e-3)
        for name, value in whole.weights().items():
            assert torch.equal(value, second.weights()[name]), name


def test_factors_of_parts_are_those_of_the_whole():
    _, mine = pair()
    for x in batches(5):
        mine.step(x, 1e-3)
    parts = together([mine.look(part, N) for part in x.split(40)])
    for one, other in zip(parts, mine.look(x, N)):
        torch.testing.assert_close(one, other)


def test_bags():
    values, rows, x = torch.randn(6, 3), torch.randn(10, 4), torch.randn(6, 4)
    chosen = torch.stack([torch.randperm(9)[:3] for _ in range(6)])  # nobody takes the last
    dense = torch.zeros(6, 10).scatter(1, chosen, values)
    torch.testing.assert_close(bag_sums(values, chosen, rows), dense @ rows)
    torch.testing.assert_close(bag_dots(x, chosen, rows), (x @ rows.T).gather(1, chosen))
    pairs = by_latent(chosen.flatten(), 10, group=4)
    tokens = torch.arange(6, dtype=torch.int32).repeat_interleave(3)
    found = torch.cat([latent_rows(pairs, i, values.flatten(), tokens, x) for i in range(3)])
    torch.testing.assert_close(found, dense.T @ x)
    one = by_latent(torch.tensor([9]), 10, group=4)  # whole groups without a pair
    assert [latent_rows(one, i, values[0, :1], tokens[:1], x).shape for i in range(3)] == [(4, 4), (4, 4), (2, 4)]


@pytest.mark.parametrize("n_different", [5, 10_000], ids=["many ties", "few ties"])
@pytest.mark.parametrize(
    "width, k", [(40 * BLOCK, 10), (40 * BLOCK, 9), (40 * BLOCK, 40), (321, 3), (BLOCK, 1), (7, 7)]
)
def test_the_largest_by_blocks_are_the_largest(width, k, n_different):
    torch.manual_seed(0)
    scores = torch.randint(n_different, (50, width)).to(torch.bfloat16)
    values, places = largest(scores, k)
    assert torch.equal(values.sort(dim=1).values, scores.topk(k).values.flip(1))
    assert torch.equal(scores.gather(1, places), values)
    assert all(len(set(row)) == k for row in places.tolist())


def test_recall_counts():
    found, wanted = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[3, 2, 9], [7, 8, 9]])
    assert recall(found, wanted).tolist() == [pytest.approx(2 / 3), 0]
    assert math.isnan(recall(found[:0], wanted[:0]).mean())
