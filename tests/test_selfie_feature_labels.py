"""Labels of features: what predicates say, how they are scored, and the file that holds labels and scores."""

import json
import re

import pytest
import torch

from scripts.interp.selfie.feature_labels import (
    FILE,
    SHARES,
    Text,
    chosen_share,
    detection,
    is_supported,
    matches,
    read_text,
    scores,
)
from scripts.interp.selfie.splits import split_by_label
from scripts.interp.selfie.training_data import load_training_data

TEXT = Text(
    [["", "I", "I went", "I went to"], ["", "", "two", "two to"]],
    [["I", " went", " to", " the"], ["", "two", " to", "\n"]],
)


def test_a_predicate_is_about_the_whole_token_and_the_end_of_the_text_before_it():
    def said(**predicate):
        return matches(predicate, TEXT).int().tolist()

    assert said(token=" to") == [[0, 0, 1, 0], [0, 0, 1, 0]]
    assert said(token=" t") == [[0, 0, 0, 0], [0, 0, 0, 0]]
    assert said(before="went", token=" to|x") == [[0, 0, 1, 0], [0, 0, 0, 0]]
    assert said(before=r"\bto") == [[0, 0, 0, 1], [0, 0, 0, 1]]
    assert said(before="I|two") == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert said(before="") == [[1, 1, 1, 1], [0, 1, 1, 1]]  # nowhere where a document begins
    for wrong in ({}, {"after": "x"}, {"token": "("}):
        with pytest.raises(ValueError, match="predicate"):
            matches(wrong, TEXT)


def test_text_goes_back_to_the_beginning_of_its_document():
    class Tokenizer:
        bos_token_id = 0

        def decode(self, ids):
            return "".join("<abc"[each] for each in ids)

    text = read_text(Tokenizer(), torch.tensor([[0, 1, 2, 0, 3, 1]]))
    assert text.tokens == [["", "a", "b", "", "c", "a"]]
    assert text.before == [["", "", "a", "", "", "c"]]


def test_scores_count_what_is_above_the_share_that_was_chosen_elsewhere():
    said = torch.tensor([[True, True, False, False]])
    found = detection(said, torch.tensor([[3.0, 0.0, 2.0, 0.0]]), 0.0)
    assert (found.precision, found.recall, found.f1, found.n_active) == (0.5, 0.5, 0.5, 2)
    assert detection(~said & said, torch.zeros(1, 4), 0.0).f1 == 0
    activations = torch.tensor([[10.0, 9.0, 2.0, 2.0]])  # the two weak ones are not what the predicate says
    assert chosen_share(said, activations) == 0.25
    text = Text([["", "", "", ""]], [["a", "a", "b", "b"]])
    stored = scores({"token": "a"}, (text, activations), (text, torch.tensor([[1.0, 8.0, 8.0, 2.0]])))
    assert stored == {"above": 0.25, "precision": 0.5, "recall": 0.5, "f1": 0.5, "n_active": 2}


def test_the_file_is_training_data_whose_labels_were_tested_and_do_not_leak():
    sections = json.loads(FILE.read_text(encoding="utf-8"))
    vectors, about = sections[0]["vectors"], sections[0]["metadata"]["about"]
    assert len(sections) == 1 and len(vectors) >= 400
    assert len(vectors) + len(about["no_label_found"]) + len(about["label_not_supported"]) == 640
    for vector in vectors:
        labels = vector["labels"]
        assert 2 <= len({label.casefold() for label in labels}) == len(labels) <= 4, vector
        assert not any('"' in label or re.search(r"latent|\bSAE\b", label) for label in labels), vector
        assert is_supported(vector), vector
        if "predicate" in vector:
            assert vector["above"] in SHARES and sum(map(len, vector["predicate"].values())) <= 300
            matches(vector["predicate"], TEXT)
        else:
            assert vector["sorted_of"] == 12
    data = load_training_data(FILE, torch.ones(4608, 2))
    assert data.leaks().leaking == 0
    splits = split_by_label({vector["index"]: vector["labels"] for vector in vectors}, 0.2, 42)
    assert splits == {vector["index"]: vector["split"] for vector in vectors}
