"""The checks themselves: what counts as the same answer, as a changed input, as close enough."""

import contextlib
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scripts.course.checks import (
    CheckFailed,
    answer,
    expect_close,
    expect_equal,
    expect_kind,
    expect_length,
    expect_new_tensors,
    expect_own_generator,
    expect_unchanged,
)
from scripts.course.values import same, without_numpy


@pytest.mark.parametrize(
    "left, right",
    [
        (1.0, 1.5),
        (1, 2),
        ("a", "b"),
        (True, False),
        (None, 0.0),
        ([1, 2], [1, 3]),
        ([1], [1, 2]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        (torch.tensor([1.0]), torch.tensor([2.0])),
        (torch.tensor([1.0]), torch.tensor([[1.0]])),
        (torch.tensor([1.0]), 1.0),
        (SimpleNamespace(a=1), SimpleNamespace(a=2)),
        ({1, 2}, {1, 3}),
        (np.array([1.0, 2.0]), np.array([1.0, 3.0])),
    ],
)
def test_what_differs_is_not_the_same(left, right):
    assert not same(left, right) and not same(right, left)
    assert same(left, left) and same(right, right)


def test_nan_is_the_same_as_nan():
    assert same(float("nan"), float("nan")) and same([float("nan")], [float("nan")]) and not same(float("nan"), 0.0)


def test_a_copy_of_a_plain_object_is_the_same_if_it_holds_the_same():
    class Plain:
        def __init__(self, value):
            self.value = value

    assert same(Plain(torch.tensor([1.0])), Plain(torch.tensor([1.0])))
    assert not same(Plain(torch.tensor([1.0])), Plain(torch.tensor([2.0])))


def test_a_number_that_changes_from_call_to_call_is_noticed():
    numbers = itertools.count(0.5)
    with pytest.raises(CheckFailed, match="second time"):
        answer(lambda: next(numbers))


def test_a_second_call_may_round_otherwise_and_no_more():
    def alternating(*given):
        left = itertools.cycle(given)
        return lambda: next(left)

    near = 2 * (1 + 1e-6)
    answer(alternating(2.0, near))
    answer(alternating({"a": [torch.tensor([2.0, 3.0]), 2.0]}, {"a": [torch.tensor([near, 3.0]), near]}))
    for given in ((2.0, 2.001), (torch.tensor([2.0, 3.0]), torch.tensor([2.0, 3.001])), (10**6, 10**6 + 1)):
        with pytest.raises(CheckFailed, match="second time"):
            answer(alternating(*given))


@pytest.mark.parametrize("given", [[1, 2], {"a": 1}])
def test_a_changed_input_is_noticed(given):
    with pytest.raises(CheckFailed, match="changed its input"):
        answer(lambda values: values.clear() or 1.0, given)


def test_a_mistake_is_named_only_if_it_gives_another_value():
    with pytest.raises(CheckFailed, match="forgot the half"):
        expect_close(2.0, 1.0, "The number", {"forgot the half": 2.0})
    with pytest.raises(CheckFailed, match="differs"):
        expect_close(3.0, 1.0, "The number", {"forgot the half": 2.0, "right after all": 1.0})
    expect_close(1.0, 1.0, "The number", {"right after all": 1.0})


@pytest.mark.parametrize(
    "given",
    [
        torch.tensor([1.0, 2.0]).double(),
        np.array([1.0, 2.0]),
        np.array([1, 2]),
        np.array([2.0, 1.0], dtype=">f4")[::-1],
        np.broadcast_to(np.float16(1.0), 2) * np.array([1, 2]),
    ],
)
def test_numpy_and_double_precision_count_like_torch_in_single_precision(given, recwarn):
    expect_close(given, torch.tensor([1.0, 2.0]), "The result")
    result = answer(lambda: (given, {"a": given}, [given[1]]))
    assert isinstance(result[0], torch.Tensor) and isinstance(result[1]["a"], torch.Tensor)
    expect_close(result[2][0], 2, "The number")
    assert not recwarn.list  # nbgrader scores a cell that warns 0


def test_a_tensor_with_one_entry_is_a_number_and_a_list_is_none():
    for one in (torch.tensor(0.5), torch.tensor([0.5]), np.array([[0.5]])):
        expect_close(one, 0.5, "The share")
    for other in ([0.5], torch.tensor([0.5, 0.5]), torch.tensor([])):
        with pytest.raises(CheckFailed, match="shape"):
            expect_close(other, 0.5, "The share")
    with pytest.raises(CheckFailed, match="shape"):
        expect_close(torch.tensor(0.5), torch.tensor([0.5]), "The shares")


def test_numpys_numbers_become_pythons():
    given = (np.float64(0.5), np.int64(3), np.bool_(True), np.array(2.5), "text", None)
    assert [type(each) for each in without_numpy(given)] == [float, int, bool, torch.Tensor, str, type(None)]
    expect_close(np.float32(0.5), 0.5, "The number")
    with pytest.raises(CheckFailed, match="not ndarray"):
        expect_close(np.array(["a", "b"]), torch.zeros(2), "The result")


def test_an_array_that_changes_from_call_to_call_is_noticed():
    numbers = itertools.count()
    with pytest.raises(CheckFailed, match="second time"):
        answer(lambda: np.arange(3) + next(numbers))


def test_nan_is_expected_where_it_is_expected_and_nowhere_else():
    nan = float("nan")
    expected = torch.tensor([1.0, nan, 3.0])
    expect_close(torch.tensor([1.0, nan, 3.0]).double(), expected, "The result")
    for given, hint in (
        ([1.0, nan, nan], "contains NaN"),
        ([1.0, 0.0, 3.0], "a number where there is none"),
        ([1.0, nan, 2.0], "by up to 1"),
        ([2.0, nan, 6.0], "doubled"),
    ):
        with pytest.raises(CheckFailed, match=hint):
            expect_close(torch.tensor(given), expected, "The result", {"doubled": 2 * expected})
    with pytest.raises(CheckFailed, match="contains NaN"):
        expect_close(nan, 1.0, "The number", {"this mistake divides by 0 too": nan})


def test_a_changed_model_is_noticed():
    model = torch.nn.Linear(2, 2)
    assert answer(lambda model: model(torch.ones(2)), model) is not None

    def changes_weights(model):
        model.weight.data += 1
        return model(torch.ones(2))

    def leaves_a_hook(model):
        model.register_forward_hook(lambda *_: None)
        return model(torch.ones(2))

    for function in (changes_weights, leaves_a_hook):
        with pytest.raises(CheckFailed, match="take them off again"):
            answer(function, model)


def test_an_answer_that_calls_an_unwritten_one_says_which():
    def unwritten(x):
        raise NotImplementedError

    def mine(x):
        return unwritten(x) + 1

    with pytest.raises(CheckFailed, match="^unwritten is not written yet"):
        answer(unwritten, 1)
    with pytest.raises(CheckFailed, match="^mine calls unwritten, which is not written yet"):
        answer(mine, 1)


def test_two_entries_are_a_pair_a_list_or_a_tensor_of_two_numbers():
    for pair in ((1, 2), [1, 2], torch.tensor([1.0, 2.0])):
        expect_length(pair, 2, "two")
    for other in (1, (1, 2, 3), torch.ones(2, 1), torch.tensor(2.0), {1: 1, 2: 2}, "ab"):
        with pytest.raises(CheckFailed, match="two"):
            expect_length(other, 2, "two")


def test_torchs_own_generator_is_left_alone_and_put_back():
    def draw(n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.rand(n, generator=generator)

    state = torch.get_rng_state()
    for function, given in ((draw, 3), (torch.manual_seed, 1)):
        with pytest.raises(CheckFailed, match="drawn from torch"):
            expect_own_generator("drawn from torch", function, given)
    expect_own_generator("drawn from torch", draw, 3, torch.Generator())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("amount", [0.0, 1.0])
def test_what_a_returned_function_changes_is_noticed(amount):
    def made(kept: torch.Tensor):
        return lambda x, hook: kept.add_(amount * x)

    kept = torch.zeros(2)
    with pytest.raises(CheckFailed, match="changed") if amount else contextlib.nullcontext():
        expect_unchanged("changed", made, (kept,), torch.ones(2), hook=None)
    assert torch.equal(kept, torch.zeros(2))


def test_numbers_in_a_list_are_equal_whatever_their_type():
    expect_equal([torch.tensor(3), np.int64(4), 5], [3, 4, 5], "The features")
    expect_equal([[torch.tensor(3)], [np.int64(4), 5]], [[3], [4, 5]], "The groups of features")
    with pytest.raises(CheckFailed, match="entry 1: expected 4, got 5"):
        expect_equal([torch.tensor([3]), 5], [3, 4], "The features")
    with pytest.raises(CheckFailed, match="not a whole number"):
        expect_kind(float("nan"), "whole number", "not a whole number")


@pytest.mark.parametrize(
    "kind, right, wrong",
    [
        ("bool", [True, np.bool_(False), torch.tensor(True)], [1, torch.tensor(1), "True"]),
        ("plain number", [1, 1.5, np.float32(2)], [torch.tensor(1.5), "1"]),
    ],
)
def test_kinds(kind, right, wrong):
    for got in right:
        expect_kind(got, kind, "no")
    for got in wrong:
        with pytest.raises(CheckFailed, match=f"a {type(got).__name__}$"):
            expect_kind(got, kind, "This is a {type}")


def test_lists_are_compared_entry_by_entry():
    for got in ([True, 2], [torch.tensor(True), np.int64(2)]):
        expect_length(got, 2, "no")
        expect_equal(got, [True, 2], "The list")
    expect_length(torch.tensor([1, 2]), 2, "a tensor of numbers counts")
    with pytest.raises(CheckFailed, match="^The list, entry 1: expected 'b', got 'c'.$"):
        expect_equal(["a", "c"], ["a", "b"], "The list")
    with pytest.raises(CheckFailed, match=r"^The list: expected \['a', 'b'\], got \['a'\].$"):
        expect_equal(["a"], ["a", "b"], "The list")


@pytest.mark.parametrize("function", [lambda x: x, lambda x: [1, x[1:]], lambda x: (x.clone(), x.T)])
def test_tensors_that_share_numbers_with_the_given_ones_are_seen(function):
    expect_new_tensors("shared", lambda x: (x + 1, x.clone(), 3), torch.ones(3, 3))
    with pytest.raises(CheckFailed, match="shared"):
        expect_new_tensors("shared", function, torch.ones(3, 3))
