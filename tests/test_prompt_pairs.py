"""Prompt pairs: samples to tokens, and what can't be a pair."""

import pytest
import torch

from scripts.interp.circuits.patching import patch_heads
from scripts.interp.circuits.path_patching import path_patch
from scripts.interp.circuits.prompt_pairs import PromptPairs, pair_differences, prompt_pairs, ready_pairs, swap
from scripts.interp.circuits.sweeps import first_difference
from scripts.interp.text.ioi import WHEN_TEMPLATES, create_ioi_dataset


def test_samples_become_tokens(language_model):
    data = create_ioi_dataset(4, tokenizer=language_model.tokenizer, templates=WHEN_TEMPLATES)
    pairs = prompt_pairs(language_model, data)
    for index, sample in enumerate(data):
        assert torch.equal(pairs.clean[index], language_model.to_tokens(sample["clean"])[0])
        assert torch.equal(pairs.corrupted[index], language_model.to_tokens(sample["corrupted"])[0])
        assert language_model.to_string(pairs.answers[index]) == sample["answer"]
        assert language_model.to_string(pairs.wrong_answers[index]) == sample["wrong_answer"]
    assert pairs.answers.shape == pairs.wrong_answers.shape == (4,) and pairs.answers.dtype == torch.int64
    assert pairs.clean.shape == pairs.corrupted.shape
    where = (pairs.clean != pairs.corrupted).nonzero()
    assert len(where) == 4 and first_difference(pairs) == where[:, 1].min()  # the giver's name


def test_differences_are_each_pairs_own():
    tokens = torch.zeros(2, 3, dtype=torch.long)
    logits = torch.zeros(2, 3, 4)
    logits[:, -1] = torch.tensor([[1.0, 2.0, 4.0, 8.0], [10.0, 20.0, 40.0, 80.0]])
    pairs = PromptPairs(tokens, tokens, torch.tensor([3, 0]), torch.tensor([1, 2]))
    assert pair_differences(logits, pairs).tolist() == [6.0, -30.0]


def test_swap_keeps_the_answers(toy_pairs):
    pairs = toy_pairs["late"]
    swapped = swap(pairs)
    assert torch.equal(swapped.clean, pairs.corrupted) and torch.equal(swapped.corrupted, pairs.clean)
    assert torch.equal(swapped.answers, pairs.answers) and torch.equal(swapped.wrong_answers, pairs.wrong_answers)
    assert all(map(torch.equal, swap(swapped), pairs))


def test_the_first_difference_of_any_pair():
    clean = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4]])
    corrupted = torch.tensor([[1, 2, 3, 5], [1, 9, 3, 4]])
    assert first_difference(PromptPairs(clean, corrupted, clean[:, 0], clean[:, 1])) == 1
    corrupted[0, 0] = 7
    assert first_difference(PromptPairs(clean, corrupted, clean[:, 0], clean[:, 1])) == 0


SAMPLE = {
    "clean": "When John and Mary met, John thanked",
    "corrupted": "When John and Mary met, Mary thanked",
    "answer": " Mary",
    "wrong_answer": " John",
}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"corrupted": "When John and Mary met yesterday, Mary thanked"}, "between 9 and 10 tokens long"),
        ({"corrupted": SAMPLE["clean"]}, r"pairs \[1\] the clean and the corrupted prompt are identical"),
        ({"wrong_answer": " Mary"}, r"pairs \[1\] the answer is the wrong answer too"),
        ({"answer": " Mary Jane"}, "answer ' Mary Jane' is 2 tokens.*space before"),
        ({"wrong_answer": " Wolfeschlegelsteinhausen"}, r"answer ' Wolfeschlegelsteinhausen' is \d+ tokens"),
        ({"answer": ""}, "answer '' is 0 tokens"),
        ({"clean": ""}, "empty"),
    ],
)
def test_samples_that_are_refused(model, change, message):
    with pytest.raises(ValueError, match=message):
        prompt_pairs(model, [SAMPLE, {**SAMPLE, **change}])


def test_there_are_no_samples(toy):
    with pytest.raises(ValueError, match="no samples"):
        prompt_pairs(toy, [])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"corrupted": torch.ones(3, 6, dtype=torch.int64)}, r"\(3, 7\), the corrupted ones \(3, 6\).*same position"),
        ({"corrupted": torch.ones(2, 7, dtype=torch.int64)}, r"\(3, 7\), the corrupted ones \(2, 7\)"),
        ({"corrupted": torch.full((3, 7), 23)}, "go from 0 to 22"),
        ({"clean": torch.zeros(3, 7)}, "integers"),
        ({"answers": torch.tensor([1, 2])}, r"answers has shape \(2,\): .*\[3\]"),
        ({"wrong_answers": torch.tensor([[1], [2], [3]])}, r"wrong_answers has shape \(3, 1\)"),
        ({"answers": torch.tensor([1, 2, 23])}, "answers has ids outside 0 to 22"),
        ({"wrong_answers": torch.tensor([1, 2, -1])}, "wrong_answers has ids outside 0 to 22"),
        ({"wrong_answers": torch.tensor([4, 5, 8])}, r"pairs \[1\] the answer is the wrong answer too"),
    ],
)
def test_tokens_that_are_refused(patching_toys, toy_pairs, change, message):
    """By the check itself and by every function that patches."""
    toy, pairs = patching_toys["standard"], toy_pairs["late"]._replace(**change)
    for check in (
        ready_pairs,
        lambda *args: patch_heads(*args, normalise=False),
        lambda *args: path_patch(*args, [(1, 0)], "q"),
    ):
        with pytest.raises(ValueError, match=message):
            check(toy, pairs)


def test_one_identical_pair_among_others(patching_toys, toy_pairs):
    pairs = toy_pairs["late"]
    corrupted = pairs.corrupted.clone()
    corrupted[[0, 2]] = pairs.clean[[0, 2]]
    with pytest.raises(ValueError, match=r"In pairs \[0, 2\] .* identical"):
        ready_pairs(patching_toys["standard"], pairs._replace(corrupted=corrupted))
    ready_pairs(patching_toys["standard"], pairs)
