"""Bootstrap intervals, rank correlation, agreement over prompts; and the progress bar."""

import sys
import time

import pytest
import torch
from scipy.stats import spearmanr

from scripts.interp.base.progress import progress_bar
from scripts.interp.base.statistics import (
    bootstrap_interval,
    bootstrap_weights,
    largest_mean_p,
    rank_agreement,
    rank_correlation,
    ratio,
    shuffled_distances,
)


def test_weights_are_drawn_with_replacement():
    weights = bootstrap_weights(5, 4000)
    assert weights.shape == (4000, 5)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4000))
    counts = weights * 5
    torch.testing.assert_close(counts, counts.round(), atol=1e-5, rtol=0)
    assert counts.max() > 1.5 and counts.min() == 0
    torch.testing.assert_close(weights.mean(0), torch.full((5,), 0.2), atol=0.01, rtol=0)
    assert counts.var(dim=0).mean() == pytest.approx(5 * 0.2 * 0.8, abs=0.05)  # binomial


def test_the_seed_decides():
    state = torch.get_rng_state()
    assert torch.equal(bootstrap_weights(4, 10), bootstrap_weights(4, 10, seed=0))
    assert not torch.equal(bootstrap_weights(4, 10), bootstrap_weights(4, 10, seed=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_interval_is_as_wide_as_the_theory_says():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) * 3 + 10
    low, high = bootstrap_interval(values)
    standard_error = values.std().item() / 20
    assert low == pytest.approx(values.mean().item() - 1.96 * standard_error, abs=0.03)
    assert high == pytest.approx(values.mean().item() + 1.96 * standard_error, abs=0.03)
    low, high = bootstrap_interval(values, level=0.5)
    assert high - low == pytest.approx(2 * 0.6745 * standard_error, abs=0.03)


def test_an_interval_by_hand():
    """Of 2 and 6, means are 2, 4 or 6, a quarter, half and quarter of the time."""
    assert bootstrap_interval(torch.tensor([2.0, 6.0])) == pytest.approx((2, 6))
    assert bootstrap_interval(torch.tensor([2, 6]), level=0.4) == pytest.approx((4, 4))
    assert bootstrap_interval(torch.full((3,), 5.0)) == pytest.approx((5, 5))


def test_the_mean_is_covered_as_often_as_promised():
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(torch.randn(40, generator=generator), level=0.9, n_resamples=400)
        covered += low <= 0 <= high
    assert 165 <= covered <= 195  # 180 expected


@pytest.mark.parametrize("values", [torch.tensor([1.0]), torch.tensor(1.0), torch.zeros(3, 2), torch.tensor([])])
def test_intervals_refuse(values):
    with pytest.raises(ValueError, match="values has shape .* at least two"):
        bootstrap_interval(values)


def test_a_ratios_interval_draws_both_together():
    same = ratio(torch.full((9,), 2.0), torch.full((9,), 4.0))
    assert same == pytest.approx((0.5, 0.5, 0.5))
    estimate = ratio(torch.tensor([0.0, 4.0] * 20), torch.full((40,), 4.0))
    assert (
        estimate.value == 0.5
        and estimate.low == pytest.approx(0.34, abs=0.06)
        and estimate.high == pytest.approx(0.66, abs=0.06)
    )


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_spearmans(ties):
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 6, 5, generator=generator)
    a, b = ((2 * a).round(), (2 * b).round()) if ties else (a, b)
    expected = spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic
    assert rank_correlation(a, b) == pytest.approx(expected, abs=1e-9)
    assert abs(expected) > 0.01
    assert rank_correlation(a, a.exp()) == pytest.approx(1) and rank_correlation(a, -a) == pytest.approx(-1)
    assert isinstance(rank_correlation(a, b), float)


def test_numbers_without_an_order_have_no_rank_correlation():
    varied = torch.tensor([1.0, 2.0, 3.0])
    for pair in ((varied, torch.full((3,), 0.5)), (torch.zeros(3), varied)):
        with pytest.raises(ValueError, match="All 3 numbers of [ab] are 0.*no order"):
            rank_correlation(*pair)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(bad):
    values = torch.tensor([1.0, bad, 3.0])
    for measure in (
        bootstrap_interval,
        lambda x: rank_correlation(torch.arange(3), x),
        lambda x: rank_agreement(torch.stack([torch.arange(3.0), x])),
    ):
        with pytest.raises(ValueError, match="NaN or infinity"):
            measure(values)


def test_rank_correlation_refuses():
    for a, b in (
        (torch.zeros(3), torch.zeros(4)),
        (torch.zeros(2, 2), torch.zeros(4)),
        (torch.zeros(1), torch.zeros(1)),
    ):
        with pytest.raises(ValueError, match="two equal ones"):
            rank_correlation(a, b)


def test_agreement_is_the_mean_correlation_of_prompts():
    effects = torch.randn(4, 30, generator=torch.Generator().manual_seed(3)).round(decimals=1)
    pairs = [(i, j) for i in range(4) for j in range(i)]
    expected = sum(spearmanr(effects[i], effects[j]).statistic for i, j in pairs) / len(pairs)
    assert len(effects[0].unique()) < 30  # there are ties
    assert rank_agreement(effects) == pytest.approx(expected, abs=1e-9)
    common = torch.randn(30, generator=torch.Generator().manual_seed(4))
    assert rank_agreement(effects * 0.1 + common) > 0.8
    assert abs(rank_agreement(torch.randn(20, 200, generator=torch.Generator().manual_seed(5)))) < 0.05
    assert rank_agreement(common.expand(3, -1)) == pytest.approx(1)


def test_one_outlier_does_not_make_agreement():
    effects = torch.randn(6, 100, generator=torch.Generator().manual_seed(6))
    effects[:, 0] = 1000.0
    assert torch.corrcoef(effects)[0, 1] > 0.9 and rank_agreement(effects) < 0.2


def test_a_prompt_in_which_all_heads_are_equal_agrees_with_none():
    varied = torch.tensor([1.0, 2.0, 3.0])
    assert rank_agreement(torch.stack([varied, torch.zeros(3)])) == 0
    assert rank_agreement(torch.stack([varied, varied, torch.zeros(3)])) == pytest.approx(1 / 3)


def test_agreement_refuses():
    for effects in (torch.zeros(5), torch.zeros(1, 5), torch.zeros(2, 3, 4)):
        with pytest.raises(ValueError, match="effects has shape .* two prompts or more"):
            rank_agreement(effects)


def test_a_bar_appears_after_two_seconds_and_leaves_nothing(capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "")
    with progress_bar(10, "patching z", True) as bar:
        bar.update()
        quick = capsys.readouterr()
        bar.start_t -= 3  # as if it had begun three seconds ago
        bar.last_print_t -= 3
        bar.update(4)
        slow = capsys.readouterr()
    assert quick.out == "" and "patching z" in slow.out and "5/10" in slow.out
    end = capsys.readouterr()
    assert end.out.rsplit("\r", 1)[-1].strip() == "" and quick.err + slow.err + end.err == ""


@pytest.mark.parametrize(
    "terminal, notebook, variable, shown",
    [
        (True, False, None, True),
        (False, False, None, False),
        (False, True, None, True),
        (True, True, "1", False),
        (False, True, "0", True),
        (False, True, "", True),
    ],
)
def test_where_somebody_watches(monkeypatch, terminal, notebook, variable, shown):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if variable is not None:
        monkeypatch.setenv("TQDM_DISABLE", variable)
    with progress_bar(3, "x") as bar:
        assert bar.disable is not shown
    with progress_bar(3, "x", False) as bar:
        assert bar.disable
    with progress_bar(3, "x", True) as bar:
        assert not bar.disable or variable == "1"


def test_short_work_shows_nothing(capsys):
    start = time.perf_counter()
    with progress_bar(3, "x", True) as bar:
        bar.update(3)
    assert time.perf_counter() - start < 1 and capsys.readouterr().out.strip() == ""


def test_the_largest_mean_finds_something_where_nothing_is_shared():
    """Some heads have large effects of either sign, in each prompt others: no prompts agree, and p is small."""
    generator = torch.Generator().manual_seed(5)
    sizes = torch.cat([torch.full((6,), 30.0), torch.full((54,), 0.1)])
    found = [largest_mean_p(sizes * torch.randn(4, 60, generator=generator), 99, seed) for seed in range(40)]
    assert sum(p < 0.05 for p in found) >= 10
    alike = [largest_mean_p(torch.randn(4, 60, generator=generator), 99, seed) for seed in range(40)]
    assert sum(p < 0.05 for p in alike) <= 5  # of equal size: as it should be
    assert largest_mean_p(torch.ones(2, 4), 9) == 1.0  # the data count as one shuffle, and equal ones count
    assert found[0] * 100 == pytest.approx(round(found[0] * 100))


def test_groups_that_differ_lie_farther_apart_than_shuffled_ones():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(9, 4, generator=generator) + 3, torch.randn(14, 4, generator=generator)
    actual, shuffled = shuffled_distances(first, second, 200)
    assert actual == pytest.approx((first.mean(dim=0) - second.mean(dim=0)).norm().item(), rel=1e-5)
    assert shuffled.shape == (200,) and shuffled.max() < actual
    alike, by_chance = shuffled_distances(first - 3, second, 200)
    assert (by_chance >= alike).float().mean() > 0.05
    assert torch.equal(by_chance, shuffled_distances(first - 3, second, 200)[1])
