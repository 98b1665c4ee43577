"""What counts as rounding when printed outputs of notebooks are compared, and what does not."""

import pytest

from tests.rounding import same_but_for_rounding, take_rounding_for_equal


@pytest.mark.parametrize(
    "got, expected",
    [
        ("F1 0.46 [0.40, 0.51]", "F1 0.46 [0.41, 0.52]"),
        ("variance   218746.192", "variance   218746.227"),
        ("loss -1.20e-05", "loss -1.21e-05"),
        ("1,234.5", "1,234.6"),
        ("at  9.99", "at 10.00"),
        ("+0.0", "-0.0"),
    ],
)
def test_the_last_digit_may_differ(got, expected):
    assert same_but_for_rounding(got, expected) and same_but_for_rounding(expected, got)


@pytest.mark.parametrize(
    "got, expected",
    [
        ("F1 0.46", "F1 0.48"),
        ("120 features", "121 features"),
        ("L18H6 0.91", "L18H7 0.91"),
        ("4,016 of 4,096", "4,017 of 4,096"),
        ("0.91 induction", "0.91 previous"),
        ("loss 1.2e-05", "loss 1.2e-04"),
        ("0.5", "-0.5"),
        ("0.5 0.5", "0.5"),
        ("1", "1.0"),
        ("nan", "0.1"),
    ],
)
def test_anything_else_is_another_result(got, expected):
    assert not same_but_for_rounding(got, expected)


def test_outputs_are_replaced_one_by_one():
    expected = [
        {"name": "stdout", "text": "a 0.50"},
        {"data": {"text/plain": "0.10", "text/html": "x"}, "metadata": {}},
    ]
    got = [{"name": "stdout", "text": "a 0.51"}, {"data": {"text/plain": "0.30", "text/html": "y"}, "metadata": {}}, {}]
    taken = take_rounding_for_equal(got, expected)
    assert taken == [expected[0], got[1], {}]
    assert got[0]["text"] == "a 0.51"
