"""Predicates say what their names say, text by text, and the features that fit them are found."""

import pytest
import torch

from scripts.interp.features.matching import (
    best_feature,
    feature_f1,
    how_often,
    named_positions,
    nearest_directions,
    token_list,
)
from scripts.interp.features.predicates import PREDICATES, TOPICS

# Each text is given as tokens; those that the predicate must name are in «guillemets».
CASES = {
    "about_code": ["x| =| f|(|y|)|;|\n|z|_|« w", "a| (|b|)| =|=| =|« (|«c", "f()| =| g|(|" + "|".join(["w"] * 30)],
    "inside_quotation": [
        'She| said|,| "|«Hello|« there|«"| and| left',
        "He| said| “|«Yes|«”| twice",
        '"|«Open|« line|«\n|closed',
    ],
    "inside_parentheses": ["a| (|«b|« (|«c|«)|«)| d", "(|«a|«\n|b"],
    "inside_brackets": ["x| =| [|«1|«,|«2|«]|;"],
    "inside_bold": ["A| **|«bold|« word|«**| end"],
    "in_heading": ["#| |«Title|«\n|text", "C|# |code"],
    "in_list_item": ["-| |«eggs|«\n|milk", "12|. |«Mix|« well|«\n|done"],
    "starts_list_item": ["1|.| |«Mix|it", "- |«eggs| two\n"],
    "starts_line": ["One|\n|«Two| three|\n\n|«Four"],
    "starts_sentence": ["It| ended|.|« She| left|!|« He| too|.|\n|No"],
    "continues_word": ["un|«believ|«able| story|«line|,| it|'s"],
    "continues_number": ["1|«9|«8|«4|,| 3|.|«1|«4| a|5"],
    "continues_name": ["with| Mary|« Smith| and| Tom", "Mary| Smith"],
    "after_comma": ["eggs|,|« milk|,|\n|tea"],
    "after_to": ["He| wants| to|« go| to|\n|on| into| it"],
    "after_article": ["The|« cat| saw| a|« dog| and| an|« owl| at| data| sets"],
    "after_possessive": ["My|« cat| and| their|« dog| sh|is| other"],
    "after_speaker": ["Anna|:|« No|!\n|Tom| B|.|:|« Yes|:| a"],
    "in_indented_line": ["if| x|:\n|    |return|«  1|«\n|y", "  |a|« b"],
    "in_python_def": ["def|« f|«(|«x|«):|«\n|    return", "define| it"],
    "in_comment": ["x| =| 1|  # |«set|« it|«\n|y", "call|()| // |«why"],
    "repeats": ["the| cat| sat|;| the| cat| ran|;|« the|« cat", "a|b|a|«b|«a|«b|c"],
    "starts_text": ["«a|«b|«c|«d|«e|«f|«g|«h|i|j"],
}


class Tokenizer:
    """Ids are places in a list of strings; 0 is special."""

    all_special_ids = [0]

    def __init__(self):
        self.strings = ["<bos>"]

    def ids(self, strings):
        self.strings += [s for s in dict.fromkeys(strings) if s not in self.strings]
        return [self.strings.index(s) for s in strings]

    def decode(self, ids):
        return "".join(self.strings[i] for i in ids)


def test_every_predicate_has_cases():
    assert CASES.keys() | {f"about_{topic}" for topic in TOPICS} == PREDICATES.keys()


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_needs_two_of_its_words_shortly_before(topic):
    first, second = sorted(TOPICS[topic])[:2]
    about = PREDICATES[f"about_{topic}"]
    text = ["It", " was", f" {first}", ",", f" {second.upper()}", "."] + [" x"] * 40
    named = [position for position in range(len(text)) if about(text, position)]
    assert named == list(range(5, 33))  # after the second word, until the first is thirty tokens back
    assert not any(about([f" {first}less", f" {second}", "."], position) for position in range(3))


@pytest.mark.parametrize("name", CASES)
def test_a_predicate_names_these_tokens_and_no_others(name):
    for text in CASES[name]:
        pieces = text.split("|")
        tokens, expected = [piece.removeprefix("«") for piece in pieces], [piece.startswith("«") for piece in pieces]
        got = [PREDICATES[name](tokens, position) for position in range(len(tokens))]
        assert got == expected, (tokens, [t for t, g in zip(tokens, got) if g])


def test_a_predicate_is_not_a_list_of_single_tokens():
    for name, texts in CASES.items():
        named, others = set(), set()
        for text in texts:
            for piece in text.split("|"):
                (named if piece.startswith("«") else others).add(piece.removeprefix("«"))
        swapped = ["x"] * 60  # the same token sixty times: context decides alone
        answers = {PREDICATES[name](swapped, position) for position in range(60)}
        assert named and (answers == {False} or name in ("continues_word", "repeats", "starts_text"))


def test_texts_begin_after_special_tokens():
    tokenizer = Tokenizer()
    row = [0] + tokenizer.ids(list("abcdefghij")) + [0] + tokenizer.ids(list("ba"))
    named = named_positions(PREDICATES["starts_text"], tokenizer, torch.tensor([row]))
    assert named.tolist() == [[False] + [True] * 8 + [False] * 3 + [True] * 2]
    with pytest.raises(ValueError, match="The predicate gave 1 at token 'a': return True or False"):
        named_positions(lambda tokens, position: 1, tokenizer, torch.tensor([row]))


def test_a_token_is_decoded_once_for_all_predicates(monkeypatch):
    decode, asked = Tokenizer.decode, []
    monkeypatch.setattr(Tokenizer, "decode", lambda self, ids: asked.append(ids) or decode(self, ids))
    first, second = Tokenizer(), Tokenizer()
    tokens = torch.tensor([[0] + first.ids(list("abcabc")), [0] + first.ids(list("cbacba"))])
    for predicate in PREDICATES.values():
        named_positions(predicate, first, tokens)
    assert sorted(asked) == [[0], [1], [2], [3]]
    second.ids(list("zyx"))
    words = []
    named_positions(lambda text, position: bool(words.append(text[position])), second, tokens)
    assert set(words) == set("xyz")  # another tokenizer's ids are other strings


def test_the_feature_that_fits_best_is_found():
    generator = torch.Generator().manual_seed(0)
    named = torch.rand(400, generator=generator) < 0.2
    active = torch.rand(400, 30, generator=generator) < 0.2
    active[:, 17] = named ^ (torch.rand(400, generator=generator) < 0.05)
    match = best_feature(active, named)
    both = (active[:, 17] & named).sum()
    precision, recall = both / active[:, 17].sum(), both / named.sum()
    assert match.feature == 17
    assert match.f1 == pytest.approx((2 * precision * recall / (precision + recall)).item())
    both_ways = torch.stack([named, ~named])
    assert torch.equal(feature_f1(active, both_ways), torch.stack([feature_f1(active, each) for each in both_ways]))
    assert feature_f1(torch.zeros(5, 2, dtype=torch.bool), torch.zeros(5, dtype=torch.bool)).tolist() == [0, 0]
    often = torch.rand(1000, 3, generator=generator) < torch.tensor([0.0, 0.5, 1.0])  # more than 8 bits can count
    assert torch.equal(how_often(often), often.sum(dim=0)) and how_often(often)[2] == 1000


def test_the_list_of_tokens_looks_at_no_context():
    ids = torch.tensor([5, 5, 5, 7, 7, 9])
    active = torch.tensor([True, True, False, True, False, False])
    assert token_list(ids, active).tolist() == [5]


def test_the_nearest_direction_is_the_one_with_the_largest_cosine():
    cosines, nearest = nearest_directions(
        torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, -1.0]]), torch.tensor([[9.0, 9.0], [0.1, 0.0]])
    )
    assert nearest.tolist() == [1, 0, 1]
    assert torch.allclose(cosines, torch.tensor([1.0, 0.5**0.5, -(0.5**0.5)]))
