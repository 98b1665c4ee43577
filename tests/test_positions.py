"""Positions by role, counted with BOS as the model counts it."""

import pytest
import torch

from scripts.interp.runs.token_positions import role_positions, token_positions

PROMPT = "When John and Mary went to the store, John gave a book to"


def test_all_mentions_at_the_model_s_positions(language_model):
    tokens = language_model.to_tokens(PROMPT)[0]
    positions = token_positions(language_model, PROMPT, "John")
    assert positions == (tokens == language_model.to_single_token(" John")).nonzero().flatten().tolist()
    assert len(positions) == 2
    assert token_positions(language_model, tokens, " John ") == positions
    assert token_positions(language_model, tokens[1:], "John") == [position - 1 for position in positions]


def test_a_name_that_begins_the_text_has_no_space(model):
    assert token_positions(model, "John and Mary met. John left", "John") == [1, 6]
    assert token_positions(model, "Stop, please, stop", ",") == [2, 4]


def test_roles(language_model):
    roles = role_positions(language_model, PROMPT, io="Mary", s="John")
    strings = language_model.to_str_tokens(PROMPT)
    assert {role: strings[position] for role, position in roles.items()} == {
        "IO": " Mary",
        "S1": " John",
        "S2": " John",
        "end": " to",
    }
    assert roles["S1"] < roles["IO"] < roles["S2"] < roles["end"] == len(strings) - 1


@pytest.mark.parametrize(
    "prompt, word, message",
    [
        (PROMPT, "Susan", "does not occur"),
        (PROMPT, "Joh", "does not occur"),
        (PROMPT, "  ", "word is empty"),
        ("", "Mary", "prompt is empty"),
        ("Emma met Emma", "Emma", "occurs 2 times .* 1 of its tokens"),  # the first of them is two tokens
        ("The Maryville bus", "Mary", "occurs 0 times .* 1 of its tokens"),  # a part of another word
        ([PROMPT, PROMPT], "Mary", "2 prompts"),
    ],
)
def test_words_that_have_no_position(model, prompt, word, message):
    with pytest.raises(ValueError, match=message):
        token_positions(model, prompt, word)


def test_roles_the_wrong_way_round(model):
    with pytest.raises(ValueError, match="right way round"):
        role_positions(model, PROMPT, io="John", s="Mary")
    with pytest.raises(ValueError, match="right way round"):
        role_positions(model, PROMPT.replace(", John", ", Mary"), io="Mary", s="John")


def test_a_model_without_tokenizer(toy):
    with pytest.raises(ValueError, match="no tokenizer"):
        token_positions(toy, torch.tensor([1, 2]), "John")
