"""Fine-tuning with an adapter: it learns, a killed run goes on, the folder it leaves is what load_model takes."""

import json
from dataclasses import replace

import pytest
import torch

from scripts import train_adapter
from scripts.interp.models.load import load_model
from scripts.interp.text.corpus import Document, split_of
from scripts.train_adapter import Settings, main, model_card, train

SETTINGS = Settings(steps=6, batch_rows=2, learning_rate=3e-3)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A few short conversations of two genres, in folders of its own."""
    names = "Mary John Ada Tom Eve Sam Kim Bob Ann Leo Max Zoe".split()
    words = " I do not know where the key is, but it was here when the old man went out into the garden."
    documents = [
        Document("story" if i % 2 else "cooking", f"{name} said: {i}. {name} looked up." + words)
        for i, name in enumerate(names * 3)
    ]
    train_half = [d for i, d in enumerate(documents) if i % 3]
    monkeypatch.setattr(
        train_adapter,
        "load_corpus",
        lambda split: train_half if split == "train" else [d for i, d in enumerate(documents) if not i % 3],
    )
    monkeypatch.setattr(train_adapter, "CONTEXT", 40)
    monkeypatch.setattr(train_adapter, "MEASURED_ROWS", 3)
    monkeypatch.setattr(train_adapter, "RECORD_EVERY", 2)
    monkeypatch.setattr(train_adapter, "FOLDER", tmp_path / "smollm2-135m-roleplay")
    monkeypatch.setenv("LAB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


def test_it_learns_and_a_killed_run_ends_the_same(small, monkeypatch):
    whole, record = train(SETTINGS, small / "whole.pt", progress=False)
    assert [row["step"] for row in record["steps"]] == [0, 2, 4, 6] and record["conversations"] == 12
    assert record["steps"][-1]["roleplay"] < record["steps"][0]["roleplay"] - 0.3
    original, calls = train_adapter.loss, []

    def killed(*arguments):
        calls.append(torch.is_grad_enabled())
        if sum(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(train_adapter, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        train(SETTINGS, small / "cut.pt", progress=False)
    resumed, again = train(SETTINGS, small / "cut.pt", progress=False)
    assert sum(calls) == 4 + 6 - 2 and again["steps"] == record["steps"]
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        train(replace(SETTINGS, rank=2), small / "cut.pt", progress=False)


def test_the_command_leaves_a_folder_that_load_model_takes(small, capsys):
    assert main(["--steps", "2", "--batch-rows", "2", "--learning-rate", "0.003"]) == 0, capsys.readouterr().err
    folder = small / "smollm2-135m-roleplay"
    record = json.loads((folder / "record.json").read_text())
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "adapter.json",
        "adapter.safetensors",
        "recipe.json",
        "record.json",
    ]
    n_parameters = sum(
        value.numel()
        for value in train_adapter.add_adapter(
            train_adapter.AutoModelForCausalLM.from_pretrained(train_adapter.embedded_model_folder()), 4, 2.0
        ).values()
    )
    assert (folder / "README.md").read_text() == model_card(record, n_parameters)
    assert load_model(folder, device="cpu").cfg.model_name == "smollm2-135m-roleplay"


def test_template_tokens_have_no_loss():
    class Model:
        def __call__(self, tokens):
            logits = torch.zeros(*tokens.shape, 5)
            logits[..., 1] = 3.0  # sure of token 1
            return type("Output", (), {"logits": logits})

    tokens = torch.tensor([[0, 1, 2, 1]])
    right = train_adapter.loss(Model(), tokens, torch.tensor([[False, True, False, True]]))
    wrong = train_adapter.loss(Model(), tokens, torch.tensor([[True, False, True, False]]))
    assert right < 0.2 and wrong > 3


def test_the_splits_are_those_of_the_corpus():
    assert {split_of(d.text) for d in train_adapter.load_corpus("train")[:50]} == {"train"}
