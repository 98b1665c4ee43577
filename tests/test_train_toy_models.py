"""Training the toys: the tokenizer, the order of the data, resuming, what is recorded, what is saved."""

import json
import random

import pytest
import torch

from scripts import train_toy_models as training
from scripts.interp.models.toys import load_toy, load_toy_tokenizer, new_toy, training_record
from scripts.interp.planted.circuits import planted_induction
from scripts.interp.runs.losses import next_token_losses
from scripts.interp.text.corpus import Document, split_of

HEAD = "head._original_component.weight"
WORDS = "the a man dog cat saw met took old red house garden and then again because Mary John went home".split()
TINY = {"d_model": 16, "n_heads": 2, "d_head": 8, "n_ctx": 16, "attn_only": True, "n_layers": 2,
        "normalization_type": "LN", "positional_embedding_type": "standard"}  # fmt: skip
RECIPE = training.Recipe(steps=7, schedule=8_000, repeated=0.15)


def texts(n=60):
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=40)) for _ in range(n)]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A toy that trains in a second, on sentences of its own, in folders of its own."""
    documents = [Document("words", text) for text in texts()]
    monkeypatch.setattr(
        training,
        "load_corpus",
        lambda split: [d for d in documents if (split_of(d.text) == "train") == (split == "train")],
    )
    settings = dict(D_VOCAB=300, BATCH_ROWS=3, CHECKPOINT_EVERY=2, WARM_UP=2, PERIODS=(3, 5), HELD_OUT_ROWS=4,
                    EARLY=(2, 6), LATE=(10, 16))  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setattr(training, name, value)
    monkeypatch.setattr(training, "is_recorded", lambda step, last: step % 2 == 0 or step == last)
    monkeypatch.setitem(training.TOYS, "tiny", TINY)
    monkeypatch.setitem(training.RECIPES, "tiny", RECIPE)
    training.train_tokenizer(texts(), tmp_path / "toy-tokenizer")
    monkeypatch.setattr(training, "load_toy_tokenizer", lambda: load_toy_tokenizer(tmp_path / "toy-tokenizer"))
    return tmp_path


def run(folder, work="work", seed=0):
    (folder / work).mkdir(exist_ok=True)
    return training.train("tiny", folder / work, seed, progress=False)


def weights(model):
    return {name: value.clone() for name, value in model.original_model.state_dict().items()}


def test_the_tokenizer_gives_every_text_back(tiny):
    tokenizer = training.load_toy_tokenizer()
    assert len(tokenizer) == 300 and tokenizer.bos_token_id == 0
    for text in ("The old man, again!\n\tdef f(x): # é ☃", "", "  two  spaces "):
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids) == text and 0 not in ids
    assert len(tokenizer(texts()[0]).input_ids) < 100 < len(texts()[0])


def test_batches_go_on_where_they_were_and_epochs_differ():
    ids = [list(range(10 * i + 1, 10 * i + 8)) for i in range(20)]
    from_start = training.batches(ids, 0, 8, seed=0, step=0, repeated=0.15)
    first = [next(from_start) for _ in range(12)]
    assert all(rows.shape == (training.BATCH_ROWS, 8) and (rows[:, 0] == 0).all() for rows in first)
    later = training.batches(ids, 0, 8, seed=0, step=7, repeated=0.15)
    assert all(torch.equal(next(later), rows) for rows in first[7:])
    assert not torch.equal(next(training.batches(ids, 0, 8, seed=1, step=0, repeated=0.15)), first[0])
    assert len({tuple(rows.flatten().tolist()) for rows in first}) == len(first)


def test_a_few_rows_repeat_a_passage_of_theirs():
    rows = torch.cat([torch.zeros(400, 1, dtype=torch.long), torch.randint(1, 10_000, (400, 33))], dim=1)
    before = rows.clone()
    changed = training.with_repeats(rows, random.Random(0), 0.25)
    assert torch.equal(rows, before) and (changed[:, 0] == 0).all()
    other = [i for i in range(400) if not torch.equal(changed[i], rows[i])]
    assert 60 < len(other) < 140
    periods = []
    for i in other:
        row = changed[i, 1:]
        periods.append(next(period for period in range(1, 33) if torch.equal(row[period:], row[:-period])))
        assert torch.equal(row[: periods[-1]], rows[i, 1 : 1 + periods[-1]])
    assert (min(periods), max(periods)) == (8, 16) and len(set(periods)) == 9
    assert torch.equal(training.with_repeats(rows, random.Random(0), 0.0), rows)


def test_a_killed_run_ends_with_the_same_model_and_the_same_record(tiny, monkeypatch):
    model, record = run(tiny)
    losses, seen = training.losses, []

    def killed(*arguments):
        seen.append(1)
        if torch.is_grad_enabled() and len(seen) > 12:
            raise KeyboardInterrupt
        return losses(*arguments)

    monkeypatch.setattr(training, "losses", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, "killed")
    monkeypatch.setattr(training, "losses", losses)
    step = torch.load(tiny / "killed" / "tiny.pt", weights_only=True)["step"]
    assert 0 < step < 7
    again, its_record = run(tiny, "killed")
    assert its_record["steps"] == record["steps"]
    assert all(torch.equal(value, weights(model)[name]) for name, value in weights(again).items())
    other, _ = run(tiny, "other", seed=1)
    assert not torch.equal(weights(other)[HEAD], weights(model)[HEAD])


def test_it_learns_and_records_what_it_says(tiny, monkeypatch):
    monkeypatch.setitem(training.RECIPES, "tiny", RECIPE._replace(steps=60))
    model, record = run(tiny)
    first, last = record["steps"][0], record["steps"][-1]
    assert [first["step"], last["step"]] == [0, 60] and first["train_loss"] is None
    assert last["validation_loss"] < first["validation_loss"] - 1
    for row in record["steps"]:
        assert {len(row[kind]) for kind in ("induction", "previous_token", "duplicate_token")} == {2}
    assert record["epochs"] > 0 and record["settings"]["config"] == TINY


def test_measurements_of_a_model_with_induction(monkeypatch):
    monkeypatch.setattr(training, "EARLY", (1, 4))
    monkeypatch.setattr(training, "LATE", (8, 13))
    planted = planted_induction()
    rows = [torch.randperm(20)[:6] + 1 for _ in range(5)]
    text = torch.stack([torch.cat([torch.tensor([0]), row, row]) for row in rows])
    found = training.measure(planted.model, text, {6: text})
    assert found["induction"][1][1] > 0.9 and found["previous_token"][0][2] > 0.9
    assert found["repeat_loss_second_half"] < 0.1 < 2 < found["repeat_loss_first_half"]
    assert found["in_context_score"] < -2


def test_losses_are_those_of_the_model_itself(tiny):
    model = new_toy(TINY, 300)
    tokens = torch.randint(300, (3, 16))
    assert torch.allclose(training.losses(model, tokens), next_token_losses(model, tokens), atol=1e-5)


def test_positions_start_as_sinusoids_of_the_size_of_tokens():
    model = new_toy(TINY, 300)
    training.start_positions_as_sinusoids(model)
    positions, tokens = model.pos_embed.original_component.weight, model.embed.original_component.weight
    assert positions.std().item() == pytest.approx(tokens.std().item(), rel=0.1) and positions.requires_grad
    by_distance = [torch.stack([positions[i] @ positions[i + k] for i in range(16 - k)]) for k in range(4)]
    assert all(products.std() < 1e-4 for products in by_distance)  # what two positions share depends on their distance
    assert by_distance[0].mean() > by_distance[1].mean()


def test_a_loss_that_is_no_number_stops_with_one_sentence(tiny, monkeypatch):
    monkeypatch.setattr(training, "LEARNING_RATE", float("inf"))
    with pytest.raises(ValueError, match="The loss of tiny is .* at step .* lower LEARNING_RATE"):
        run(tiny)


def test_a_checkpoint_of_other_settings_is_refused(tiny, monkeypatch):
    run(tiny)
    monkeypatch.setitem(training.RECIPES, "tiny", RECIPE._replace(steps=9))
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        run(tiny)


def test_what_is_saved_is_loaded_again(tiny):
    model, record = run(tiny)
    training.save("tiny", model, record, tiny)
    assert (tiny / "tiny" / "model.safetensors").stat().st_size < 2.2 * sum(
        p.numel() for p in model.parameters()
    ) + 5000
    loaded = load_toy("tiny", folder=tiny)
    tokens = loaded.to_tokens("the old man saw Mary")
    assert tokens[0, 0] == 0 and loaded.cfg.model_name == "tiny"
    assert torch.allclose(loaded(tokens), model(tokens), atol=0.02)
    assert training_record("tiny", tiny) == json.loads(json.dumps(record))
    card = (tiny / "tiny" / "README.md").read_text()
    assert f"| 7 | {record['steps'][-1]['validation_loss']:.2f} |" in card and "--seed 0" in card
