"""Prompts and layers are checked before a model sees them."""

import numpy as np
import pytest
import torch

from scripts.interp.circuits.head_scores import repeat_scores
from scripts.interp.runs.at_hooks import hook_activations
from scripts.interp.runs.caches import cache_filter
from scripts.interp.runs.heads import check_head
from scripts.interp.runs.hooks import zero_head
from scripts.interp.runs.logits import get_top_predictions
from scripts.interp.runs.losses import next_token_losses
from scripts.interp.runs.prompts import check_layer, prompt_tokens, single_prompt_tokens
from scripts.interp.runs.steering import generate


def test_tokens_are_those_the_model_makes(language_model):
    text = "When John and Mary went to the store"
    assert torch.equal(prompt_tokens(language_model, text), language_model.to_tokens(text))
    assert prompt_tokens(language_model, text)[0, 0] == language_model.tokenizer.bos_token_id
    assert (prompt_tokens(language_model, text)[0, 1:] != language_model.tokenizer.bos_token_id).all()
    assert torch.equal(prompt_tokens(language_model, [text, text])[1], language_model.to_tokens(text)[0])


def test_a_text_that_spells_bos_out_gets_no_second_one(language_model):
    bos, text = language_model.tokenizer.bos_token, "When John and Mary went to the store"
    expected = language_model.to_tokens(text)
    assert torch.equal(prompt_tokens(language_model, bos + text), expected)
    assert torch.equal(prompt_tokens(language_model, [text, bos + text]), expected.expand(2, -1))
    assert prompt_tokens(language_model, bos).tolist() == [[language_model.tokenizer.bos_token_id]]
    later = prompt_tokens(language_model, f"{text}{bos}{bos}{text}")[0, 1:]
    assert (later == language_model.tokenizer.bos_token_id).sum() == 2  # only the beginning is BOS's place


def test_a_chat_template_is_read_as_it_was_trained(model):
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = model.tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    ids = model.tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    assert torch.equal(prompt_tokens(model, text), ids)
    answer = generate(model, text, 8, temperature=0)[0, ids.shape[1] :]
    assert "Paris" in model.to_string(answer)


@pytest.mark.parametrize("rows", [1, 2])
def test_padding_before_a_prompt_is_refused_wherever_ids_are_taken(language_model, rows):
    pad, ids = language_model.tokenizer.pad_token_id, language_model.to_tokens("When John and Mary")
    padded = torch.cat([torch.full((1, 4), pad), ids], dim=1)
    batch = torch.cat([language_model.to_tokens("When John and Mary met Tom and Anna")[:, : padded.shape[1]], padded])[
        -rows:
    ]
    for helper in (
        prompt_tokens,
        next_token_losses,
        lambda model, tokens: get_top_predictions(model, tokens[-1]),
        lambda model, tokens: hook_activations(model, tokens, ["blocks.0.hook_resid_post"]),
        lambda model, tokens: repeat_scores(model, tokens, 2),
        lambda model, tokens: generate(model, tokens, 1),
    ):
        with pytest.raises(ValueError, match="begin with padding .*move every position"):
            helper(language_model, batch)


def test_what_is_padding(model, gpt2):
    ids, bos, pad = model.to_tokens("When John and Mary")[0], model.tokenizer.bos_token_id, model.tokenizer.pad_token_id
    assert pad == model.tokenizer.eos_token_id != bos
    for before in ([pad], [pad, pad]):
        with pytest.raises(ValueError, match="begin with padding"):
            prompt_tokens(model, torch.tensor(before + ids.tolist()))
    with pytest.raises(ValueError, match="begin with BOS .* twice"):
        prompt_tokens(model, torch.tensor([bos] + ids.tolist()))
    with pytest.raises(ValueError, match="end with padding .2 times"):
        prompt_tokens(model, torch.tensor(ids.tolist() + [pad, pad]))
    for right in (ids.tolist() + [pad], ids[1:].tolist(), [pad] + ids[1:].tolist(), [pad], [bos]):
        assert prompt_tokens(model, torch.tensor(right)).tolist() == [right]
    rows = torch.tensor([ids.tolist() + [pad, pad]])  # no token before them sees them
    assert torch.equal(next_token_losses(model, rows)[:, : len(ids) - 1], next_token_losses(model, ids[None]))
    end = gpt2.tokenizer.pad_token_id
    assert end == gpt2.tokenizer.bos_token_id
    for right in ([end, 5, 6], [end], [5, 6, end]):
        assert prompt_tokens(gpt2, torch.tensor(right)).tolist() == [right]
    with pytest.raises(ValueError, match="begin with padding .2 times"):
        prompt_tokens(gpt2, torch.tensor([end, end, 5]))


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


def test_whole_numbers_of_any_library_are_layers_and_heads(toy):
    for layer, head in ((np.int64(1), np.int32(2)), (torch.tensor(1), torch.tensor(2))):
        assert check_head(toy, (layer, head)) == (1, 2) and {type(each) for each in check_head(toy, (layer, head))} == {
            int
        }
        assert cache_filter(toy, "resid_post", layers=layer)("blocks.1.hook_resid_post")
        assert zero_head(toy, layer, head)[0] == "blocks.1.attn.hook_z"
        assert not cache_filter(toy, "resid_post", layers=[layer])("blocks.0.hook_resid_post")
    with pytest.raises(ValueError, match="heads are 0 to 2"):
        check_head(toy, (0, np.int64(3)))


def test_layers(toy):
    for layer in (1, np.int64(1), np.uint8(1), torch.tensor(1), torch.tensor(1, dtype=torch.int32)):
        assert check_layer(toy, layer) == 1 and type(check_layer(toy, layer)) is int
    for layer in (2, -1, True, 0.0, "0", None, np.bool_(True), torch.tensor(True), torch.tensor([1]), np.float64(1)):
        with pytest.raises(ValueError, match="layers are 0 to 1"):
            check_layer(toy, layer)
