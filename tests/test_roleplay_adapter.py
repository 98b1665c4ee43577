"""The fine-tune that ships: it is what its record and card say, and it does what a random one of its size does not."""

import json

import pytest
import torch
from safetensors.torch import load_file

from scripts.interp.models.load import load_model
from scripts.interp.models.lora import ROLEPLAY_FOLDER, WEIGHTS_FILE, random_adapter
from scripts.train_adapter import MEASURED_ROWS, held_out, model_card


@pytest.fixture(scope="module")
def record():
    return json.loads((ROLEPLAY_FOLDER / "record.json").read_text())


def loss(model, rows, n=4):
    """Cross-entropy of content in nats a token, on the first n conversations."""
    tokens, counted = rows.tokens[:n], rows.is_content[:n, 1:]
    log_probs = model(tokens)[:, :-1].log_softmax(dim=-1)
    return -log_probs.gather(-1, tokens[:, 1:, None])[..., 0][counted].mean().item()


def test_the_card_is_made_of_the_record_and_the_weights_are_small(record):
    weights = load_file(ROLEPLAY_FOLDER / WEIGHTS_FILE)
    assert (ROLEPLAY_FOLDER / "README.md").read_text() == model_card(
        record, sum(value.numel() for value in weights.values())
    )
    assert (ROLEPLAY_FOLDER / WEIGHTS_FILE).stat().st_size < 4e6
    assert record["steps"][-1]["step"] == record["settings"]["steps"]


def test_it_helps_with_role_play_and_a_random_one_does_not(model, record, tmp_path):
    rows = held_out(model.tokenizer)
    assert all(len(mine.tokens) == MEASURED_ROWS for mine in rows.values())
    tuned, random = (
        load_model(ROLEPLAY_FOLDER, device="cpu"),
        load_model(random_adapter(ROLEPLAY_FOLDER, tmp_path / "random"), device="cpu"),
    )
    with torch.no_grad():
        losses = {
            name: {kind: loss(which, mine) for kind, mine in rows.items()}
            for name, which in (("base", model), ("tuned", tuned), ("random", random))
        }
    first, last = record["steps"][0], record["steps"][-1]
    gain = {kind: first[kind] - last[kind] for kind in rows}
    assert gain["roleplay"] > 0.1
    for kind in rows:
        assert losses["base"][kind] - losses["tuned"][kind] == pytest.approx(gain[kind], abs=0.1)
        assert losses["random"][kind] > losses["base"][kind] - 0.02
