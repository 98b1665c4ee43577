"""Tables that notebooks print and save."""

import json

import numpy as np
import pytest
import torch

from scripts.interp.base.tables import save_table, table, with_interval

ROWS = [
    {"head": "L3H1", "effect": torch.tensor(0.5), "n": 12000, "p": 0.04},
    {"head": "L10H11", "effect": -0.25, "n": np.int64(3)},
]


def test_numbers_stand_at_the_right_and_text_at_the_left():
    assert table(ROWS, {"effect": "+.2f"}) == (
        "head    effect       n      p\nL3H1     +0.50  12,000  0.040\nL10H11   -0.25       3      –"
    )


def test_what_rounds_to_zero_has_no_minus():
    rows = [{"x": value} for value in (-0.001, 0.001, -0.006, float("-inf"))]
    assert table(rows, {"x": "+.2f"}).split() == ["x", "+0.00", "+0.00", "-0.01", "-inf"]
    assert table(rows[:1], {"x": ".1%"}).split() == ["x", "-0.1%"]
    assert table(rows[:1], {"x": ".0%"}).split() == ["x", "0%"]


def test_no_rows_give_no_text():
    assert table([]) == "" == table([], {"effect": "+.2f"})


def test_a_format_of_a_column_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no column 'efect'.*head"):
        table(ROWS, {"efect": "+.2f"})


def test_a_saved_table_has_a_name_on_every_value(tmp_path):
    path = save_table(tmp_path / "new" / "heads.json", ROWS)
    assert json.loads(path.read_text()) == [
        {"head": "L3H1", "effect": 0.5, "n": 12000, "p": 0.04},
        {"head": "L10H11", "effect": -0.25, "n": 3},
    ]


def test_a_number_with_its_interval():
    assert with_interval(0.5, -0.25, 1) == "0.500 [-0.250, 1.000]"
    assert with_interval(0.5, -0.25, 1, "+.1f") == "+0.5 [-0.2, +1.0]"
