"""The toys that ship with the project: they load, they have what Lab 3 says, and their records show how it came."""

import pytest
import torch
from safetensors.torch import load_file

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.circuits.head_scores import repeat_scores
from scripts.interp.models import toys as toy_models
from scripts.interp.models.load import load_model, random_weight_copy
from scripts.interp.models.registry import available_models
from scripts.interp.models.toys import TOY_FOLDER, TOYS, load_toy_tokenizer, training_record
from scripts.interp.runs.at_hooks import hook_activations
from scripts.interp.runs.losses import next_token_losses
from scripts.interp.text.corpus import CORPUS_FILE, load_corpus, packed_tokens
from scripts.interp.text.repeats import create_induction_dataset
from scripts.train_toy_models import model_card, start_positions_as_sinusoids

ATTENTION_ONLY = ["toy-attn-1l", "toy-attn-2l"]
PERIOD = 40  # none of those that were measured during training


@pytest.fixture(scope="module", params=ATTENTION_ONLY)
def toy(request):
    return load_model(request.param, device="cpu")


def repeats(model, period=PERIOD):
    rows = create_induction_dataset(
        16, period, d_vocab=model.cfg.d_vocab, bos_token_id=model.tokenizer.bos_token_id, seed=5
    )
    return torch.cat(rows)


def test_induction_needs_two_layers(toy):
    scores = repeat_scores(toy, repeats(toy), PERIOD)
    losses = next_token_losses(toy, repeats(toy))
    gain = (losses[:, :PERIOD].mean() - losses[:, PERIOD + 1 :].mean()).item()
    if toy.cfg.n_layers == 1:
        assert scores.induction.max() < 0.2 and gain < 1
    else:
        assert scores.induction.max() >= 0.6 and scores.induction[0].max() < 0.2 and gain > 2
        assert scores.previous_token[0].max() > 0.4
    null = random_weight_copy(toy)
    start_positions_as_sinusoids(null)  # as training started
    assert max(score.max() for score in repeat_scores(null, repeats(toy), PERIOD)) < 0.1


def test_it_is_a_language_model(toy):
    text = toy.to_tokens("The woman opened the door of the house and saw that the")
    assert text[0, 0] == toy.tokenizer.bos_token_id == 0
    assert next_token_losses(toy, text).mean() < 5 < torch.tensor(float(toy.cfg.d_vocab)).log()


@pytest.mark.parametrize("name", list(TOYS))
def test_the_record_belongs_to_the_model(name):
    record = training_record(name)
    steps, last = record["steps"], record["steps"][-1]
    assert record["settings"]["config"] == TOYS[name] and record["settings"]["name"] == name
    assert len(steps) >= 40 and [row["step"] for row in steps] == sorted({row["step"] for row in steps})
    assert last["step"] == record["settings"]["steps"]
    toy = load_model(name, device="cpu")
    scores = [repeat_scores(toy, repeats(toy, period), period).induction for period in (20, 35, 50)]
    assert torch.allclose(torch.stack(scores).mean(dim=0), torch.tensor(last["induction"]), atol=0.05)
    n_parameters = sum(weight.numel() for weight in load_file(TOY_FOLDER / name / "model.safetensors").values())
    assert (TOY_FOLDER / name / "README.md").read_text() == model_card(name, record, n_parameters)
    assert sum(file.stat().st_size for file in (TOY_FOLDER / name).iterdir()) < 6e6


def test_the_phase_change_is_in_the_record_of_two_layers_only():
    best = {
        name: [max(map(max, row["induction"])) for row in training_record(name)["steps"]] for name in ATTENTION_ONLY
    }
    gain = {name: training_record(name)["steps"][-1]["in_context_score"] for name in ATTENTION_ONLY}
    assert max(best["toy-attn-1l"]) < 0.2 and best["toy-attn-2l"][0] < 0.05 and best["toy-attn-2l"][-1] >= 0.6
    assert gain["toy-attn-2l"] < gain["toy-attn-1l"] - 0.1


def test_the_model_with_neurons_needs_them():
    toy = load_model("toy-mlp-1l", device="cpu")
    tokens = packed_tokens(load_corpus("test"), toy.tokenizer, 128)[:20]
    loss = next_token_losses(toy, tokens).mean().item()
    assert loss == pytest.approx(training_record("toy-mlp-1l")["steps"][-1]["validation_loss"], abs=0.2)
    hook = "blocks.0.mlp.hook_post"
    neurons = hook_activations(toy, tokens, [hook])[hook]
    assert neurons.shape == (20, 128, 512) and neurons.min() == 0
    log_probs = toy.run_with_hooks(tokens, fwd_hooks=[(hook, lambda x, hook: torch.zeros_like(x))]).log_softmax(dim=-1)
    without = -log_probs[:, :-1].gather(-1, tokens[:, 1:, None]).mean().item()
    assert without > loss + 2
    null = next_token_losses(random_weight_copy(toy), tokens).mean().item()
    assert null > torch.tensor(float(toy.cfg.d_vocab)).log() - 0.1


def test_the_tokenizer_was_trained_on_the_corpus():
    tokenizer = load_toy_tokenizer()
    text = "def sort(items):\n\treturn sorted(items)  # é — 你好"
    assert tokenizer.decode(tokenizer(text).input_ids) == text and CORPUS_FILE.is_file()
    assert len(tokenizer(" because the people").input_ids) == 3


def test_a_toy_that_is_not_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(toy_models, "TOY_FOLDER", tmp_path)
    monkeypatch.setattr("scripts.interp.models.load.TOY_FOLDER", tmp_path)
    monkeypatch.setattr("scripts.interp.models.registry.TOY_FOLDER", tmp_path)
    with pytest.raises(ModelUnavailable, match="toy-attn-2l is not whole .* scripts.train_toy_models toy-attn-2l"):
        load_model("toy-attn-2l")
    assert not dict(((entry.name, here) for entry, here in available_models()))["toy-attn-2l"]
