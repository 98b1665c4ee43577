"""Vectors whose meaning is known: planted genres are found back, words have their embeddings, splits do not leak."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer

from scripts import prepare_known_vectors as command
from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.models import load, plain
from scripts.interp.selfie import known_vectors
from scripts.interp.selfie.examples import SAE_WEIGHTS, feature_data
from scripts.interp.selfie.known_vectors import GENRE_LABELS, HOOK_NAME, genre_data, genre_directions, token_data
from scripts.interp.selfie.training_data import join, load_training_data, write_joined
from scripts.interp.text import corpus
from scripts.interp.text.corpus import Document, beginnings, load_corpus

D = 8
LETTERS = {"news": "qqqq", "poem": "zzzz", "recipe": "zqzq"}  # of which its texts are
WORDS = "river stone under bridge seven golden paper winter castle sailor".split()


@pytest.fixture(scope="module")
def letters(tiny_folder):
    """A stand-in for a model: its tokens are bytes, and what a token's activation is, a table says."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("llama"))
    return SimpleNamespace(tokenizer=tokenizer, cfg=SimpleNamespace(device="cpu"))


@pytest.fixture
def table(letters, monkeypatch):
    """The activation of each token, [d_vocab, d]; that of BOS is huge."""
    table = torch.randn(300, D, generator=torch.Generator().manual_seed(0))
    table[letters.tokenizer.bos_token_id] = 1e5
    monkeypatch.setattr(known_vectors, "hook_activations", lambda model, tokens, names: {names[0]: table[tokens]})
    return table


def documents(**counts):
    return [Document(genre, LETTERS[genre] * 10) for genre, count in counts.items() for _ in range(count)]


def test_planted_directions_are_found_back_whatever_the_number_of_documents(letters, table):
    q, z = (table[letters.tokenizer(each).input_ids[-1]] for each in "qz")
    mean = (q + z + (q + z) / 2) / 3  # after BOS come 8 letters, in the third genre 4 of each
    for counts in ({"news": 2, "poem": 2, "recipe": 2}, {"news": 1, "poem": 25, "recipe": 9}):
        found = genre_directions(letters, documents(**counts), n_tokens=9)
        assert list(found) == sorted(counts)
        for genre, own in {"news": q, "poem": z, "recipe": (q + z) / 2}.items():
            torch.testing.assert_close(found[genre], own - mean, atol=1e-5, rtol=0)
        torch.testing.assert_close(sum(found.values()), torch.zeros(D), atol=1e-5, rtol=0)


def test_massive_tokens_do_not_count(letters, table):
    q, z = (letters.tokenizer(each).input_ids[-1] for each in "qz")
    texts = [Document("news", "qqqqqqqqqz"), Document("poem", "q" * 10)]
    table[z] = 1e4
    assert all(direction.norm() < 1e-5 for direction in genre_directions(letters, texts, n_tokens=11).values())
    table[z] = 2 * table[q]
    assert genre_directions(letters, texts, n_tokens=11)["news"].norm() > 0.01


def test_a_real_model_is_read_where_the_hook_is(tiny):
    model, hook = tiny("llama"), "blocks.1.hook_resid_post"
    texts = [Document(genre, f"{letters} {number} hello") for genre, letters in LETTERS.items() for number in range(3)]
    found = genre_directions(model, texts, hook, n_documents=3, n_tokens=6)
    means = {}
    for genre in LETTERS:
        rows = beginnings([text for text in texts if text.genre == genre], model.tokenizer, 6, 3)
        means[genre] = model.run_with_cache(rows)[1][hook][:, 1:].mean(dim=(0, 1))
    for genre, mean in means.items():
        torch.testing.assert_close(found[genre], mean - sum(means.values()) / 3, atol=1e-5, rtol=1e-4)
    data = genre_data(found, hook, "tiny")
    assert data.vectors.shape == (3, 32) and {item.split for item in data.items} == {"val"}
    assert [item.labels for item in data.items] == [GENRE_LABELS[genre] for genre in sorted(LETTERS)]
    assert data.items[0].section["layer"] == 1
    with pytest.raises(ValueError, match="no labels for odes: genres are code, dialogue"):
        genre_data({"odes": torch.ones(3)})
    with pytest.raises(ValueError, match="are of 1 genres"):
        genre_directions(model, texts[:3], hook)
    with pytest.raises(ValueError, match="no hook"):
        genre_directions(model, texts, "blocks.9.hook_resid_post", n_tokens=6)


def test_every_genre_of_the_corpus_has_labels_that_no_other_vector_has():
    assert set(GENRE_LABELS) == {document.genre for document in load_corpus("validation")}
    labels = [label.casefold() for mine in GENRE_LABELS.values() for label in mine]
    assert len(set(labels)) == len(labels) and all(2 <= len(mine) <= 3 for mine in GENRE_LABELS.values())
    assert HOOK_NAME in SAE_WEIGHTS.parent.name
    genres = genre_data(dict.fromkeys(GENRE_LABELS, torch.ones(576)))
    features = feature_data()
    leaks = join(features, genres).leaks()
    assert leaks.leaking == features.leaks().leaking and leaks.val_vectors == features.leaks().val_vectors + 22


class Tokenizer:
    """A word is a token, but for "castle"."""

    def __call__(self, texts, add_special_tokens):
        return {"input_ids": [[1, 2] if text == " castle" else [3 + WORDS.index(text.strip())] for text in texts]}


def text_of_words(*more):
    prose = "The " + " ".join(WORDS) + "."
    return [Document("story", prose)] * 5 + [Document("story", "A sword.")] * 4 + list(more)


def test_words_are_whole_common_and_one_token_and_have_their_embedding():
    embeddings = torch.arange(20.0)[:, None].expand(-1, D)
    # not words: parts of something longer, too short, of code; a rare one is left out too
    others = [Document("story", "an under_score can't couldn't well-known cat Paris")] * 9
    others += [Document("code", "const args")] * 9
    others += [Document("history", "a history of travel")] * 9  # what genres are labelled with
    data = token_data(Tokenizer(), embeddings, text_of_words(*others), n=9)
    assert [item.labels for item in data.items] == [(w, f"the word {w}") for w in sorted(set(WORDS) - {"castle"})]
    for item in data.items:
        assert data.vectors[item.index].eq(3 + WORDS.index(item.labels[0])).all()
    assert [item.split for item in data.items].count("val") == 2 and data.leaks().leaking == 0
    with pytest.raises(ValueError, match="have 9 words that are one token: draw no more, 10 are"):
        token_data(Tokenizer(), embeddings, text_of_words(), n=10)
    with pytest.raises(ValueError, match="draw 2 or more"):
        token_data(Tokenizer(), embeddings, text_of_words(), n=1)
    draws = [token_data(Tokenizer(), embeddings, text_of_words(), n=5, seed=seed).items for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    taken = ["River", "the  word stone"]
    data = token_data(Tokenizer(), embeddings, text_of_words(), n=7, taken=taken)
    assert {"river", "stone"}.isdisjoint(item.labels[0] for item in data.items)
    with pytest.raises(ValueError, match="have 7 words"):
        token_data(Tokenizer(), embeddings, text_of_words(), n=8, taken=taken)


def test_data_put_together_are_written_and_read_as_they_are(tmp_path):
    words = token_data(Tokenizer(), torch.randn(20, D), text_of_words(), n=6)
    genres = genre_data({genre: torch.randn(D) for genre in LETTERS})
    both = join(words, genres)
    assert both.items[6].index == 6 and torch.equal(both.vectors[6:], genres.vectors)
    write_joined(tmp_path, "n", both)
    again = load_training_data(tmp_path / "n_labels.json")
    assert torch.equal(again.vectors, both.vectors)
    assert [item[:3] for item in again.items] == [item[:3] for item in both.items]
    assert [item.section["layer"] for item in again.items] == [None] * 6 + [12] * 3
    with pytest.raises(ValueError, match="of one width"):
        join(words, genres._replace(vectors=torch.ones(3, 5)))
    sections = json.loads((tmp_path / "n_labels.json").read_text())
    sections[1]["vectors"][0]["index"] = 2
    (tmp_path / "n_labels.json").write_text(json.dumps(sections))
    with pytest.raises(ValueError, match="Section 2 of .* has vector 2, as a section before it"):
        load_training_data(tmp_path / "n_labels.json")


# --- the command


def prepare(tmp_path, *arguments, name="n"):
    return command.main([*map(str, arguments), "--output-dir", str(tmp_path / "out"), "--output-name", name])


def test_words_of_the_embedded_model(tmp_path, capsys):
    assert prepare(tmp_path, "--kinds", "tokens", "--tokens", 50, "--seed", 3) == 0
    assert "40 are for training, 10 for validation; leaks: none" in capsys.readouterr().out
    data = load_training_data(tmp_path / "out" / "n_labels.json")
    model, tokenizer = plain.load_plain_model("smollm2-135m")
    ids = [tokenizer(f" {item.labels[0]}", add_special_tokens=False)["input_ids"] for item in data.items]
    assert torch.equal(data.vectors, model.get_input_embeddings().weight[torch.tensor(ids)[:, 0]])


def test_genres_join_what_is_there(tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.setattr(load, "load_model", lambda name: tiny("llama"))
    texts = [Document(genre, letters * 20) for genre, letters in LETTERS.items()]
    monkeypatch.setattr(corpus, "load_corpus", lambda split: texts)
    (tmp_path / "out").mkdir()
    given = token_data(Tokenizer(), torch.randn(20, 32), text_of_words(), n=5)
    write_joined(tmp_path, "given", given)
    arguments = ("--kinds", "genres", "--hook-name", "blocks.1.hook_resid_post")
    assert prepare(tmp_path, *arguments, "--join", tmp_path / "given_labels.json") == 0
    assert "8 vectors of 32 numbers; 8 have labels\n4 are for training, 4 for validation" in capsys.readouterr().out
    data = load_training_data(tmp_path / "out" / "n_labels.json")
    assert torch.equal(data.vectors[:5], given.vectors) and data.items[5].labels == GENRE_LABELS["news"]
    assert data.items[0].section["vector_type"] == "token_embedding" and data.items[7].section["layer"] == 1


def test_what_cannot_be_done_is_one_sentence_and_writes_nothing(tmp_path, monkeypatch, capsys):
    def away(name):
        raise ModelUnavailable("The model is not here.")

    monkeypatch.setattr(plain, "load_plain_model", away)
    for arguments, said in (
        ((), "The model is not here."), (("--join", tmp_path / "none.json"), "none.json can't be read"),
        (("--kinds", "genres", "--model", "no such"), "no such"),
    ):  # fmt: skip
        assert prepare(tmp_path, *arguments) == 1
        printed = capsys.readouterr().err
        assert said in printed and printed.count("\n") == 1
    for arguments, said in (
        (("--tokens", 0), "is not a whole number of 1 or more"), (("--tokens", 1), "give 2 or more"),
        (("--val-fraction", 1), "is not between 0 and 1"), (("--kinds", "verbs"), "invalid choice"),
        (("--output-name", "a/b"), "is no name for files"),
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            prepare(tmp_path, *(each for each in arguments), name="n" if "--output-name" not in arguments else "a/b")
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
