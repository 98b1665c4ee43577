"""The checks themselves: what counts as the same answer, as a changed input, as close enough."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from scripts.course.checks import CheckFailed, answer, expect_close, same


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
