"""Toy models of superposition: dense features get dimensions of their own, sparse ones share."""

import math

import pytest
import torch

from scripts.interp.planted.superposition import (
    feature_dimensionality,
    reconstruct,
    sparse_features,
    train_superposition,
    weighted_error,
)


def polygon(n: int) -> torch.Tensor:
    angles = 2 * math.pi * torch.arange(n) / n
    return torch.stack([angles.cos(), angles.sin()])


@pytest.mark.parametrize(
    "W, expected",
    [
        (torch.eye(3), [1, 1, 1]),
        (torch.tensor([[1.0, -2.0]]), [1 / 5, 4 / 5]),
        (torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 3.0]]), [0.5, 0.5, 1]),
        (polygon(5), [0.4] * 5),
        (polygon(3), [2 / 3] * 3),
        (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), [1, 0]),
    ],
)
def test_dimensionality_of_known_geometries(W, expected):
    assert torch.allclose(feature_dimensionality(W), torch.tensor(expected).float(), atol=1e-5)
    assert torch.allclose(
        feature_dimensionality(torch.stack([W, 3 * W])), torch.tensor([expected] * 2).float(), atol=1e-5
    )


def test_features_are_zero_as_often_as_asked():
    x = sparse_features(torch.tensor([0.0, 0.9]), 4, 5000, torch.Generator().manual_seed(0))
    assert x.shape == (2, 5000, 4) and x.min() == 0 and x.max() <= 1
    assert (x[0] == 0).float().mean() < 0.01 and (x[1] == 0).float().mean() == pytest.approx(0.9, abs=0.01)


def test_the_loss_by_hand():
    x, other = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]]), torch.tensor([[[0.0, 0.0], [0.5, 0.0]]])
    assert weighted_error(x, other, torch.tensor([2.0, 4.0])).tolist() == [(2 + 1) / 2]
    W, b = torch.tensor([[[1.0, -1.0]]]), torch.tensor([[0.0, 0.5]])
    assert torch.allclose(reconstruct(W, b, x), torch.tensor([[[1.0, 0.0], [0.0, 0.5]]]))


def test_dense_features_get_a_dimension_each_and_sparse_ones_make_a_pentagon():
    importance = 0.9 ** torch.arange(5.0)
    toys = train_superposition(5, 2, torch.tensor([0.0, 0.97]), importance, steps=1500)
    dense, sparse = feature_dimensionality(toys.W)
    assert torch.allclose(dense.sort().values, torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]), atol=0.1)
    assert torch.allclose(dense[:2], torch.ones(2), atol=0.1)  # the two that matter most
    assert torch.allclose(sparse, torch.full((5,), 0.4), atol=0.1)
    again = train_superposition(5, 2, torch.tensor([0.0, 0.97]), importance, steps=1500)
    assert torch.equal(again.W, toys.W)
    untrained = train_superposition(5, 2, torch.tensor([0.97]), importance, steps=0)
    assert untrained.loss > 2 * toys.loss[1]


def test_bad_input():
    with pytest.raises(ValueError, match=r"importance has shape \(3,\)"):
        train_superposition(5, 2, torch.tensor([0.5]), torch.ones(3))
    with pytest.raises(ValueError, match=r"sparsity is \[1.0\]"):
        train_superposition(5, 2, torch.tensor([1.0]))
