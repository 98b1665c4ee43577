"""Directions for a known concept: they find a planted one, also where variances differ, and nothing in noise."""

import pytest
import torch

from scripts.interp.features.probes import best_threshold, difference_of_means, linear_probe


def planted(n=4000, d=12, seed=0):
    """Activations with a concept along one direction, beside a much larger variation along another one."""
    generator = torch.Generator().manual_seed(seed)
    named = torch.rand(n, generator=generator) < 0.1
    concept, nuisance = torch.nn.functional.normalize(torch.randn(2, d, generator=generator), dim=-1)
    x = (
        torch.randn(n, d, generator=generator)
        + 4 * named[:, None] * concept
        + 8 * torch.randn(n, 1, generator=generator) * nuisance
        + 3
    )
    return x, named, concept, nuisance


def f1(said, named):
    return (2 * (said & named).sum() / (said.sum() + named.sum())).item()


def test_difference_of_means():
    x, named, concept, _ = planted()
    assert torch.allclose(difference_of_means(x, named), x[named].mean(0) - x[~named].mean(0))
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 0.0]])
    assert difference_of_means(x, torch.tensor([False, False, True])).tolist() == [8.0, -3.0]


def test_a_probe_looks_past_what_varies_anyway():
    x, named, *_ = planted()
    test_x, test_named, _, nuisance = planted(seed=0)
    fresh_x, fresh_named = x[2000:], named[2000:]
    scores = {}
    for direction in (difference_of_means, linear_probe):
        vector = direction(x[:2000], named[:2000])
        threshold = best_threshold(x[:2000] @ vector, named[:2000])
        scores[direction] = f1(fresh_x @ vector > threshold, fresh_named)
    assert scores[linear_probe] > 0.7 and scores[linear_probe] > scores[difference_of_means] + 0.1


def test_a_probe_finds_nothing_in_noise():
    generator = torch.Generator().manual_seed(1)
    x, named = torch.randn(2000, 5, generator=generator), torch.rand(2000, generator=generator) < 0.2
    vector = linear_probe(x[:1000], named[:1000])
    above = (x[1000:] @ vector)[named[1000:]].mean() - (x[1000:] @ vector)[~named[1000:]].mean()
    assert abs(above) < 0.3 * (x @ vector).std()


def test_the_probe_does_not_depend_on_the_unit():
    x, named, *_ = planted(1000)
    a, b = linear_probe(x, named), linear_probe(100 * x, named)
    assert torch.cosine_similarity(a, b, dim=0) > 0.999 and torch.allclose(a, 100 * b, rtol=0.05, atol=1e-3)


def test_the_threshold_is_the_best_one():
    generator = torch.Generator().manual_seed(2)
    named = torch.rand(300, generator=generator) < 0.3
    scores = (named + torch.randn(300, generator=generator)).round(decimals=1)  # with ties
    threshold = best_threshold(scores, named)
    candidates = [f1(scores > t, named) for t in (torch.linspace(-4, 5, 400))]
    assert f1(scores > threshold, named) == pytest.approx(max(candidates))
    same = torch.zeros(10)
    assert (same > best_threshold(same, torch.arange(10) < 3)).all()  # naming everything is all that can be done


@pytest.mark.parametrize("named", [torch.ones(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)])
def test_a_concept_that_is_everywhere_or_nowhere(named):
    for function in (
        lambda: difference_of_means(torch.randn(6, 2), named),
        lambda: linear_probe(torch.randn(6, 2), named),
        lambda: best_threshold(torch.randn(6), named),
    ):
        with pytest.raises(ValueError, match="give text in which it is at some, and not at others"):
            function()
