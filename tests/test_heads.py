"""Heads in tables: their names, and which are the strongest."""

import torch

from scripts.interp.runs.heads import head_name, strongest


def test_a_head_is_named_by_layer_and_number():
    assert head_name((3, 11)) == "L3H11"


def test_strongest_heads_come_first_whatever_their_sign():
    values = torch.tensor([[0.1, -0.7, 0.0], [0.5, 0.2, -0.7]])  # equal ones in their order
    assert strongest(values, 3) == [(0, 1), (1, 2), (1, 0)]
    assert strongest(values, 7) == strongest(values) == [(0, 1), (1, 2), (1, 0), (1, 1), (0, 0), (0, 2)]
