"""Prompts and layers are checked before a model sees them."""

import pytest
import torch

from scripts.interp.runs.prompts import check_layer, prompt_tokens, single_prompt_tokens


def test_tokens_are_those_the_model_makes(language_model):
    text = "When John and Mary went to the store"
    assert torch.equal(prompt_tokens(language_model, text), language_model.to_tokens(text))
    assert prompt_tokens(language_model, text)[0, 0] == language_model.tokenizer.bos_token_id
    assert (prompt_tokens(language_model, text)[0, 1:] != language_model.tokenizer.bos_token_id).all()
    assert torch.equal(prompt_tokens(language_model, [text, text])[1], language_model.to_tokens(text)[0])


def test_token_ids_are_used_as_they_are(toy):
    assert prompt_tokens(toy, torch.tensor([4, 2])).tolist() == [[4, 2]]
    assert single_prompt_tokens(toy, torch.tensor([[4, 2]])).tolist() == [4, 2]


@pytest.mark.parametrize("prompt", ["", [], ["When", ""]])
def test_empty_prompt(model, prompt):
    with pytest.raises(ValueError, match="empty"):
        prompt_tokens(model, prompt)


def test_prompts_that_would_be_padded(model):
    with pytest.raises(ValueError, match="padding would move the last position"):
        prompt_tokens(model, ["When", "When John"])


@pytest.mark.parametrize(
    "prompt, message",
    [
        (torch.tensor([], dtype=torch.long), "empty"),
        (torch.tensor([1.0]), "integers"),
        (torch.tensor(3), "integers"),
        (torch.tensor([True]), "integers"),
        (torch.tensor([23]), "from 0 to 22"),
        (torch.tensor([-1]), "from 0 to 22"),
        (torch.ones(1, 13, dtype=torch.long), "context holds 12"),
        ("text", "no tokenizer"),
        (7, "give a text"),
        ([7], "give a text"),
    ],
)
def test_unusable_prompts(toy, prompt, message):
    with pytest.raises(ValueError, match=message):
        prompt_tokens(toy, prompt)


def test_a_text_longer_than_the_context_is_not_cut(gpt2):
    with pytest.raises(ValueError, match="1201 tokens.*1024"):
        prompt_tokens(gpt2, " Mary" * 1200)


def test_single_prompt(toy):
    with pytest.raises(ValueError, match="2 prompts"):
        single_prompt_tokens(toy, torch.ones(2, 3, dtype=torch.long))


def test_layers(toy):
    assert check_layer(toy, 1) == 1
    for layer in (2, -1, True, 0.0, "0"):
        with pytest.raises(ValueError, match="layers are 0 to 1"):
            check_layer(toy, layer)
