"""The two datasets: contents, balance, token lengths, seeds, bad input."""

import random
from collections import Counter

import pytest
import torch

from scripts.interp.text.ioi import IOI_TEMPLATES, NAMES, TEXTBOOK, WHEN_TEMPLATES, create_ioi_dataset, stranger_prompts
from scripts.interp.text.repeats import create_induction_dataset


def test_the_textbook_sentence():
    assert create_ioi_dataset(1, ["John", "Mary"]) == [
        {
            "clean": "John and Mary went to the store. John gave a book to",
            "corrupted": "John and Mary went to the store. Mary gave a book to",
            "answer": " Mary",
            "wrong_answer": " John",
        }
    ]


@pytest.mark.parametrize("templates", [TEXTBOOK, WHEN_TEMPLATES, IOI_TEMPLATES])
def test_every_sample_has_the_roles(templates):
    data = create_ioi_dataset(120, templates=templates)
    assert len(data) == 120
    for item in data:
        answer, wrong = item["answer"].strip(), item["wrong_answer"].strip()
        assert item["answer"] == f" {answer}" and item["wrong_answer"] == f" {wrong}" and answer != wrong
        words, others = ([w.strip(",.") for w in item[kind].split()] for kind in ("clean", "corrupted"))
        assert (words.count(answer), words.count(wrong)) == (1, 2)
        assert (others.count(answer), others.count(wrong)) == (2, 1)
        changed = [i for i, (word, other) in enumerate(zip(words, others)) if word != other]
        last = max(i for i, word in enumerate(words) if word == wrong)
        assert changed == [last] and words[last] == wrong and others[last] == answer
        assert not item["clean"].endswith(" ") and "{" not in item["clean"]


def test_templates_and_roles_are_balanced():
    data = create_ioi_dataset(200, templates=WHEN_TEMPLATES)
    abba = sum(item["clean"].startswith(f"When{item['answer']}") for item in data)
    assert abba == 100
    roles = Counter((item["answer"], item["wrong_answer"]) for item in data)
    assert all(roles[answer, wrong] == roles[wrong, answer] for answer, wrong in roles)
    for first, second in ((0, 2), (1, 3)):  # the same sentence with the names exchanged
        swap = {data[first]["answer"]: "X", data[first]["wrong_answer"]: data[first]["answer"]}
        text = data[first]["clean"]
        for name, other in swap.items():
            text = text.replace(name, " " + other.strip())
        assert text.replace(" X", data[first]["wrong_answer"]) == data[second]["clean"]


def test_ioi_templates_begin_with_a_clause_in_both_orders():
    assert all(template.split()[0] in ("After", "When", "While") for template in IOI_TEMPLATES)
    orders = Counter(template.index("{IO}") < template.index("{S}") for template in IOI_TEMPLATES)
    assert orders[True] == orders[False] == 5


@pytest.mark.parametrize("name, templates", [("model", TEXTBOOK), ("model", WHEN_TEMPLATES), ("gpt2", WHEN_TEMPLATES)])
def test_with_a_tokenizer_names_are_single_tokens_and_lengths_equal(request, name, templates):
    language_model = request.getfixturevalue(name)
    data = create_ioi_dataset(60, tokenizer=language_model.tokenizer, templates=templates)
    prompts = [item[kind] for item in data for kind in ("clean", "corrupted")]
    assert len({language_model.to_tokens(prompt).shape[1] for prompt in prompts}) == 1
    for item in data:
        for name in (item["answer"], item["wrong_answer"]):
            assert language_model.to_tokens(name, prepend_bos=False).shape[1] == 1
            if item["clean"].startswith(name.strip()):
                assert language_model.to_tokens(name.strip(), prepend_bos=False).shape[1] == 1


def test_a_name_that_is_two_tokens_without_a_space_stays_out_of_the_beginning(model):
    def subjects(templates):
        data = create_ioi_dataset(600, tokenizer=model.tokenizer, templates=templates)
        return {item["answer"].strip() for item in data}

    assert model.to_tokens("Emma", prepend_bos=False).shape[1] == 2
    assert "Emma" in NAMES and "Emma" not in subjects(TEXTBOOK) and "Emma" in subjects(WHEN_TEMPLATES)


def test_templates_of_different_lengths_are_refused(model):
    with pytest.raises(ValueError, match=r"14.*After .*17.*give it to.*18.*give the"):
        create_ioi_dataset(40, tokenizer=model.tokenizer, templates=IOI_TEMPLATES)
    same = [template for template in IOI_TEMPLATES if template.startswith("While")]
    assert len(create_ioi_dataset(40, tokenizer=model.tokenizer, templates=same)) == 40


def test_templates_of_different_lengths_are_refused_even_where_few_samples_would_hide_it(model):
    with pytest.raises(ValueError, match="equally long"):
        create_ioi_dataset(1, tokenizer=model.tokenizer, templates=IOI_TEMPLATES)


def test_same_seed_same_data_and_no_global_random_state_touched():
    before, torch_before = random.getstate(), torch.get_rng_state()
    first = create_ioi_dataset(50, seed=3, templates=WHEN_TEMPLATES)
    tokens = create_induction_dataset(3, 5, 0, 50, seed=3)
    assert random.getstate() == before and torch.equal(torch.get_rng_state(), torch_before)
    assert first == create_ioi_dataset(50, seed=3, templates=WHEN_TEMPLATES)
    assert first != create_ioi_dataset(50, seed=4, templates=WHEN_TEMPLATES)
    assert first[:20] == create_ioi_dataset(20, seed=3, templates=WHEN_TEMPLATES)
    again, other = (create_induction_dataset(3, 5, 0, 50, seed=seed) for seed in (3, 4))
    assert all(map(torch.equal, tokens, again)) and not all(map(torch.equal, tokens, other))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(n_samples=0), "n_samples is 0"),
        (dict(n_samples=-3), "n_samples is -3"),
        (dict(n_samples=2.0), "n_samples is 2.0"),
        (dict(n_samples=True), "n_samples is True"),
        (dict(names=["John"]), "at least two"),
        (dict(names="John"), "at least two"),
        (dict(names=[]), "at least two"),
        (dict(names=["John", "Mary", "John"]), "all different"),
        (dict(names=["John", ""]), "without spaces"),
        (dict(names=["John", " Mary"]), "without spaces"),
        (dict(names=["John", 3]), "without spaces"),
        (dict(templates=[]), "no templates"),
        (dict(templates=["When they went home"]), "needs the slots {S} twice"),
        (dict(templates=["{S} and {IO} met. {S} gave {IO} a book and"]), "needs the slots {S} twice"),
        (dict(templates=["{IO} met {S} and gave a book to"]), "needs the slots {S} twice"),
        (dict(templates=["{S} and {IO} saw a {CAT}. {S} gave it to"]), "needs the slots {S} twice"),
        (dict(templates=["{S} and {IO} met. {S gave it to"]), "needs the slots {S} twice"),
        (dict(templates=[None]), "needs the slots {S} twice"),
        (dict(templates=["{S} and {IO} met. {S} gave it to "]), "belongs to the answer"),
    ],
)
def test_bad_ioi_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_ioi_dataset(**arguments)


def test_no_single_token_names_left(model):
    with pytest.raises(ValueError, match="1 of Mary, Xanthippe, Mnemosyne are single tokens"):
        create_ioi_dataset(5, ["Mary", "Xanthippe", "Mnemosyne"], tokenizer=model.tokenizer)


def test_a_small_vocabulary_bounds_the_range():
    tokens = torch.cat(create_induction_dataset(40, 20, 1000, d_vocab=1100))
    assert tokens.min() == 1000 and tokens.max() == 1099
    assert torch.cat(create_induction_dataset(200, 40, d_vocab=50000)).max() > 9990
    for i, j in zip(create_induction_dataset(3, d_vocab=50000), create_induction_dataset(3)):
        assert torch.equal(i, j)
    with pytest.raises(ValueError, match="goes to 1101 .* 1100 tokens"):
        create_induction_dataset(2, 5, 1000, 1101, d_vocab=1100)
    with pytest.raises(ValueError, match="give whole numbers"):
        create_induction_dataset(2, 5, 1000, "1101", d_vocab=1100)
    with pytest.raises(ValueError, match="d_vocab is 0"):
        create_induction_dataset(d_vocab=0)


@pytest.mark.parametrize("bos", [None, 1003])
def test_induction_repeats_and_nothing_else(bos):
    data = create_induction_dataset(30, 20, 1000, 1024, bos_token_id=bos)
    assert len(data) == 30
    for tokens in data:
        assert tokens.shape == (1, 40 + (bos is not None)) and tokens.dtype == torch.long
        body = tokens[0]
        if bos is not None:
            assert body[0] == bos and bos not in body[1:]
            body = body[1:]
        assert torch.equal(body[:20], body[20:]) and len(set(body[:20].tolist())) == 20
        assert body.min() >= 1000 and body.max() < 1024
    assert len({tuple(tokens[0].tolist()) for tokens in data}) == 30
    assert {1000, 1023} <= {token for tokens in data for token in tokens[0].tolist()}


def test_induction_defaults():
    data = create_induction_dataset()
    assert len(data) == 100 and data[0].shape == (1, 100)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(n_samples=0), "n_samples is 0"),
        (dict(seq_length=0), "seq_length is 0"),
        (dict(seq_length=10, vocab_start=5, vocab_end=14), "there are 9 tokens"),
        (dict(seq_length=10, vocab_start=5, vocab_end=15, bos_token_id=7), "there are 9 tokens"),
        (dict(vocab_start=100, vocab_end=50), "there are 0 tokens"),
        (dict(vocab_start=-1), "from 0 up"),
        (dict(vocab_end=2000.0), "from 0 up"),
        (dict(bos_token_id=-1), "bos_token_id is -1"),
        (dict(bos_token_id=1.0), "bos_token_id is 1.0"),
    ],
)
def test_bad_induction_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_induction_dataset(**arguments)


@pytest.mark.parametrize(
    "template, names",
    [
        ("{S}和{IO}去了商店，{S}把书给了", ["约翰", "玛丽", "王芳"]),
        ("เมื่อ{S}และ{IO}ไปร้าน {S}ให้หนังสือแก่", ["สมชาย", "มานี", "ปิติ"]),
        ("जब {IO} और {S} दुकान गए, {S} ने किताब दी", ["राम", "रामा", "सीता"]),
        ("When {IO} and {S} left, {S} gave it to", ["Rene\u0301", "Rene", "Zoe\u0308"]),
    ],
)
def test_strangers_of_other_scripts(template, names):
    samples = create_ioi_dataset(2, names[:2], templates=(template,))
    for sample, text in zip(samples, stranger_prompts(samples, names)):
        subject, io = sample["wrong_answer"].strip(), sample["answer"].strip()
        first, second = template.rsplit("{S}", 1)
        assert text == first.format(S=subject, IO=io) + names[2] + second


def test_strangers_take_the_place_of_the_second_mention_only():
    samples = create_ioi_dataset(4, ["Dan", "Daniel"], templates=WHEN_TEMPLATES)
    names = ["Dan", "Eva", "Daniel", "Tom"]
    texts = stranger_prompts(samples, names)
    for sample, text, third in zip(samples, texts, ["Eva", "Tom", "Eva", "Tom"]):
        subject = sample["wrong_answer"].strip()
        before, after = text.split(f" {third} ")
        assert sample["clean"] == f"{before} {subject} {after}"
        assert sample["clean"].index(f", {subject} gave") == len(before) - 1
    assert stranger_prompts(samples, names, turn=1) == texts  # two third names, four samples: the same turn again
    assert stranger_prompts(samples[:1], names, turn=1)[0].count("Tom") == 1
    with pytest.raises(ValueError, match="at least one that is not in"):
        stranger_prompts(samples, ["Dan", "Daniel"])
    with pytest.raises(ValueError, match="mentioned 1 times"):
        stranger_prompts([{"clean": "Dan saw Amy", "answer": " Amy", "wrong_answer": " Dan"}], names)
