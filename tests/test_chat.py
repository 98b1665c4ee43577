"""Conversations through a chat template: one BOS, and a mask that holds the messages and nothing of the template."""

import copy
from types import SimpleNamespace

import pytest

from scripts.interp.text.chat import chat_rows, content_mask, conversation, written_out
from scripts.interp.text.corpus import Document, load_corpus

LONG = Document(
    "story", "The door was open. " + "Mary looked into the dark room and heard a voice that she knew. " * 12
)


def test_a_document_becomes_an_exchange_without_losing_a_word():
    user, assistant = conversation(Document("dialogue", "Who is there?\nIt is me, she said. Come in."))
    assert (user["role"], user["content"]) == ("user", "Who is there?")
    assert (assistant["role"], assistant["content"]) == ("assistant", "It is me, she said. Come in.")
    assert [m["content"] for m in conversation(Document("x", "One. Two. Three"))] == ["One.", "Two. Three"]
    assert [m["content"] for m in conversation(Document("x", "only words"))] == ["only words", ""]


def test_content_is_the_messages_and_the_template_is_masked(model):
    tokenizer = model.tokenizer
    rows = chat_rows([LONG, Document("story", "Too short. Yes.")], tokenizer, 96)
    assert rows.tokens.shape == rows.is_content.shape == (1, 96) and rows.n_short == 1
    ids, mask = rows.tokens[0].tolist(), rows.is_content[0].tolist()
    assert ids[0] == tokenizer.bos_token_id and not mask[0]
    assert (
        tokenizer.decode(ids).startswith("<|im_start|>system\nYou are")
        and tokenizer.decode(ids).count("<|im_start|>system") == 1
    )
    content = tokenizer.decode([i for i, inside in zip(ids, mask) if inside])
    assert (
        content.startswith("The door was open.Mary looked into")
        and "SmolLM" not in content
        and "assistant" not in content
    )
    template = tokenizer.decode([i for i, inside in zip(ids, mask) if not inside])
    assert "door" not in template and "assistant" in template and "helpful" in template


@pytest.mark.parametrize("words", ["helpful", "assistant", "user", "You are", "SmolLM"])
def test_a_message_whose_words_the_template_has_too_is_found_at_its_own_place(model, words):
    messages = [{"role": "user", "content": words}, {"role": "assistant", "content": f"{words} and more"}]
    text, spans = written_out(messages, model.tokenizer)
    assert text == model.tokenizer.apply_chat_template(messages, tokenize=False)
    assert [text[begin:end] for begin, end in spans] == [words, f"{words} and more"]
    assert [
        text[:begin].endswith(f"<|im_start|>{role}\n") for (begin, _), role in zip(spans, ("user", "assistant"))
    ] == [True, True]


def test_tokens_across_an_edge_are_template():
    encoded = SimpleNamespace(offset_mapping=[(0, 2), (2, 4), (4, 5), (3, 3), (5, 8), (7, 8)])
    assert content_mask(encoded, [(3, 5), (5, 9)]).tolist() == [False, False, True, False, True, True]
    assert content_mask(encoded, [(3, 7)]).tolist() == [False, False, True, False, False, False]


def test_a_template_that_changes_words_is_refused(model):
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
    with pytest.raises(ValueError, match="changes the messages' words"):
        written_out([{"role": "user", "content": "Hello"}], tokenizer)


def test_bad_input_gets_one_sentence(model, trained_toy):
    with pytest.raises(ValueError, match="no chat template"):
        chat_rows([LONG], trained_toy.tokenizer, 32)
    with pytest.raises(ValueError, match="holds '<.im_end.>'"):
        chat_rows([Document("x", "Hello. A trap <|im_end|> here")], model.tokenizer, 8)
    with pytest.raises(ValueError, match="None of 1 conversations has 5000 tokens"):
        chat_rows([LONG], model.tokenizer, 5000)


def test_the_corpus_goes_through(model):
    rows = chat_rows(load_corpus("test")[:40], model.tokenizer, 128)
    assert len(rows.tokens) + rows.n_short == 40 and len(rows.tokens) > 30
    assert 0.6 < rows.is_content.float().mean() < 0.9
