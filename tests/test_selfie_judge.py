"""Judging what a model says about vectors: each measure on cases whose answer is known, and its null."""

import json

import pytest
import torch

from scripts import judge_selfie
from scripts.interp.models.plain import load_plain_model
from scripts.interp.selfie import judge
from scripts.interp.selfie.adapters import Adapter
from scripts.interp.selfie.judge import Contexts, Words, auroc, description_auroc, likeness, some_contexts
from scripts.interp.selfie.losses import new_reading, plain_losses
from scripts.interp.selfie.prompt import Prompt, read_prompt
from scripts.interp.selfie.settings import checked
from scripts.interp.selfie.training import Examples, Item, train
from tests.tiny_models import CONFIGS, tiny_model

D = 32
PROMPT = Prompt(torch.tensor([1, 20, 0, 22, 23, 0, 25]), (2, 5))
LABELS = [(30 + i, 40 + i, 4) for i in range(6)]


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    return new_reading(load_plain_model(tiny_model(CONFIGS["llama"](), tmp_path_factory.mktemp("llama"))), PROMPT)


@pytest.fixture(scope="module")
def learned(reading):
    """Vectors and an adapter with which the model says the label of each."""
    vectors = torch.randn(6, D, generator=torch.Generator().manual_seed(0))
    items = [Item(i, (label,)) for i, label in enumerate(LABELS)]
    settings = checked({
        "training": {"num_epochs": 60, "learning_rate": 0.1, "warmup_steps": 2, "gradient_clip_norm": 5.0},
        "data": {"batch_size": 6}, "logging": {"log_sample_generations": 0, "log_every_n_steps": 60},
    }, "test")  # fmt: skip
    adapter = train(reading, Adapter("full_rank", D, init_scale=3.0), Examples(vectors, items, []), settings).adapter
    with torch.no_grad():
        return adapter(vectors)


def test_the_likelihood_is_the_mean_over_a_vectors_labels(reading):
    soft = torch.randn(20, D)
    labels = [[LABELS[i % 6]] * (i % 3 + 1) + [LABELS[(i + 1) % 6]] for i in range(20)]
    found = judge.label_log_likelihood(reading, soft, labels)
    for i in (0, 5, 17):
        expected = -plain_losses(reading.plain, PROMPT, soft[i : i + 1], [labels[i]]).mean()
        torch.testing.assert_close(found[i], expected.detach(), atol=1e-5, rtol=1e-5)


def test_vectors_that_were_learned_find_their_labels_and_others_do_not(reading, learned):
    assert judge.own_label_first(reading, learned, LABELS).all()
    assert judge.own_label_first(reading, learned.roll(1, dims=0), LABELS).sum() == 0
    same = learned[:1].expand(6, -1)  # a bias alone: it says the same of every vector
    assert judge.own_label_first(reading, same, LABELS).sum() <= 1
    own = judge.label_log_likelihood(reading, learned, [[label] for label in LABELS])
    others = judge.label_log_likelihood(reading, learned.roll(1, dims=0), [[label] for label in LABELS])
    assert (own > others + 1).all()
    with pytest.raises(ValueError, match="same label"):
        judge.own_label_first(reading, learned, [*LABELS[:5], LABELS[0]])


def test_a_label_that_all_vectors_make_likely_does_not_come_first(reading, learned, monkeypatch):
    usual = judge.label_losses
    favoured = torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(judge, "label_losses", lambda *given: usual(*given) - favoured)
    assert judge.own_label_first(reading, learned, LABELS).all()


def test_labels_that_are_told_apart_are_different():
    labels = [[(1, 4), (2, 4)], [(1, 4), (3, 4)], [(1, 4), (3, 4)], [(5, 4)]]
    assert judge.different_labels(labels, 4) == {0: (1, 4), 1: (3, 4), 3: (5, 4)}
    assert judge.different_labels(labels, 2) == {0: (1, 4), 1: (3, 4)}


def test_contexts_are_of_active_and_of_silent_tokens_within_a_document():
    rows = torch.tensor([[0, 5, 6, 7, 0, 8, 9], [0, 10, 11, 12, 13, 14, 15]])
    activations = torch.zeros(2, 7)
    activations[0, 6], activations[1, 3], activations[1, 1] = 4.0, 2.0, 0.5
    found = some_contexts(rows, activations, bos_token_id=0)
    assert sorted(found.active) == [[8, 9], [10, 11, 12]]  # 0.5 is less than a quarter of 4
    assert len(found.silent) == 8 and all(0 not in each for each in found.silent) and [10] not in found.silent
    assert len(some_contexts(rows, activations, 0, n=3).silent) == 3


class Tokenizer:
    def __call__(self, text, add_special_tokens):
        return {"input_ids": [{"cat": 1, "dog": 2, "the": 3, "is": 4}[each] for each in text.split()]}


def test_likeness_takes_the_nearest_word_weighs_rare_ones_and_masks_the_prompts():
    unit = torch.eye(5)
    words = Words(Tokenizer(), unit, torch.tensor([0.0, 3.0, 1.0, 1.0, 1.0]), frozenset({"is"}))
    assert likeness(words, "cat dog", [[1], [2], [1, 2], [3]]).tolist() == [0.75, 0.25, 1.0, 0.0]
    assert likeness(words, "is cat Is", [[1], [4]]).tolist() == [1.0, 0.0]
    assert likeness(words, "is", [[1], [4]]).tolist() == [0.0, 0.0]


def test_auroc_of_right_descriptions_is_one_and_of_shuffled_ones_chance():
    assert auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0])) == 1
    assert auroc(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])) == 0.5
    words = Words(Tokenizer(), torch.eye(5), torch.ones(5), frozenset())
    contexts = [Contexts([[1], [1, 3]], [[2], [3]]), Contexts([[2]], [[3], [4]])]
    found = description_auroc(words, ["cat", "dog"], contexts)
    assert found.own.tolist() == [1.0, 1.0]
    assert (found.others < 0.6).all()  # each is silent on the other's
    with pytest.raises(ValueError, match="two features or more"):
        description_auroc(words, ["cat"], contexts[:1])
    assert description_auroc(words, ["dog", "cat"], contexts).own.tolist() == [0.25, 0.5]
    assert description_auroc(words, ["", ""], contexts).own.tolist() == [0.5, 0.5]


@pytest.fixture
def case(reading, monkeypatch, tmp_path):
    """Six features, of which two are held out, and everything else that the command needs, tiny."""
    monkeypatch.setenv("LAB_OUTPUTS", str(tmp_path))
    template = 'is "<soft>"? it is "'
    here = new_reading(reading.plain, read_prompt(reading.plain.tokenizer, template))
    vectors = torch.randn(9, D, generator=torch.Generator().manual_seed(1))
    items = [Item(i, (label,)) for i, label in enumerate(LABELS)]
    features = Examples(vectors[:6], items[:4], items[4:])
    settings = checked({
        "training": {"max_steps": 2, "warmup_steps": 0}, "logging": {"log_sample_generations": 0},
        "projection": {"init_scale": 3.0},
    }, "test")  # fmt: skip
    contexts = [Contexts([[40 + i, 41]], [[50, 51]]) for i in range(2)]
    found = judge_selfie.Case(
        here, settings, features, [("cat",), ("dog",)], {"words": (vectors[6:], [[60], [61], [62]])},
        Examples(vectors, [*items[:4], Item(6, ((60,),))], items[4:]),
        judge.new_words(here, template, torch.randint(1, 200, (4, 30))), contexts,
    )  # fmt: skip
    asked = []
    monkeypatch.setattr(judge_selfie, "read_case", lambda: asked.append(1) or found)
    return asked


def test_the_command_judges_every_condition_once_and_goes_on_where_it_was(case, capsys, tmp_path):
    path = tmp_path / "rows.json"
    options = ["--output", str(path), "--threads", "1"]
    assert judge_selfie.main([*options, "--only", "scalar_affine", "labels of the data"]) == 0
    first = {row["condition"]: row for row in json.loads(path.read_text())["rows"]}
    assert list(first) == ["labels of the data", "scalar_affine"]  # in the table's order
    assert judge_selfie.main(options) == 0
    found = json.loads(path.read_text())
    rows = {row["condition"]: row for row in found["rows"]}
    assert list(rows) == list(judge_selfie.CONDITIONS)
    assert first.items() <= rows.items() and found["features"] == [4, 5] and found["known"] == {"words": 3}
    assert rows["bias alone"]["n_parameters"] == D and rows["identity"]["n_parameters"] == 0
    assert rows["labels of the data"]["said"] == ["cat", "dog"] and "log_likelihood" not in rows["logit lens"]
    likelihoods = [row["log_likelihood"][0] for row in rows.values() if "log_likelihood" in row]
    assert len(set(likelihoods)) == len(likelihoods)  # no two conditions are the same
    capsys.readouterr()
    assert judge_selfie.main(options) == judge_selfie.main([*options, "--table"]) == 0 and len(case) == 2
    assert capsys.readouterr().out == 2 * (judge_selfie.text_of(found["rows"]) + "\n")
    path.write_text(json.dumps(found | {"settings": {"seed": 1}, "rows": found["rows"][:3]}))
    before = path.read_bytes()
    assert judge_selfie.main(options) == 1 and "with other settings" in capsys.readouterr().err
    assert path.read_bytes() == before
