"""The SAEs of the one-layer toy: they are what their metrics and cards say, and reach what extension 5 aims at."""

import json

import pytest
import torch

from scripts.interp.base.reference import reference_value
from scripts.interp.models.load import load_model
from scripts.interp.runs.at_hooks import hook_activations
from scripts.interp.saes.cards import model_card
from scripts.interp.saes.evaluate import evaluate_sae
from scripts.interp.saes.load import load_sae, sae_folder
from scripts.interp.saes.untrained import untrained_copy
from scripts.interp.text.corpus import load_corpus, packed_tokens

SHIPPED = ["1x", "2x", "8x", "8x-batchtopk"]
WITHOUT_WEIGHTS = "32x"  # only its record is in the repository
HOOK = "blocks.0.mlp.hook_post"


@pytest.fixture(scope="module")
def toy():
    return load_model("toy-mlp-1l", device="cpu")


@pytest.fixture(scope="module")
def rows(toy):
    rows = packed_tokens(load_corpus("test"), toy.tokenizer, toy.cfg.n_ctx)
    return rows[:: len(rows) // 60][:60]


def metrics_of(toy, name):
    return json.loads((sae_folder(toy, name) / "metrics.json").read_text())


@pytest.mark.parametrize("name", [*SHIPPED, WITHOUT_WEIGHTS])
def test_the_card_is_made_of_the_metrics(toy, name):
    folder = sae_folder(toy, name)
    assert (folder / "README.md").read_text() == model_card(folder.name, metrics_of(toy, name))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_metrics_are_those_of_the_sae(toy, rows, name):
    sae, metrics = load_sae(toy, sae_folder(toy, name)), metrics_of(toy, name)
    assert sae.cfg.metadata.hook_name == HOOK and sae.cfg.d_sae == 512 * metrics["settings"]["width"]
    found, known = (
        evaluate_sae(toy, sae, HOOK, rows, sae.cfg.metadata.norm_limit, len(rows)),
        metrics["held_out"]["test"],
    )
    for field, tolerance in (("fvu", 0.03), ("recovered_zero", 0.03), ("recovered_mean", 0.03)):
        assert getattr(found, field).value == pytest.approx(known[field][0], abs=tolerance), field
    assert found.l0.value == pytest.approx(known["l0"][0], rel=0.06)
    if "batchtopk" not in name:
        assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(sae.cfg.d_sae), atol=2e-3)


def test_the_targets_of_the_reproduction(toy):
    judged = metrics_of(toy, "8x")["held_out"]["test"]
    assert judged["recovered_zero"][0] >= reference_value("anthropic-1l/loss_recovered") and judged["l0"][0] <= 21
    assert judged["dead_fraction"] <= 0.02


def test_wider_is_better_and_random_directions_are_not(toy, rows):
    recovered = [metrics_of(toy, name)["held_out"]["test"]["recovered_zero"][0] for name in ("1x", "2x", "8x")]
    assert recovered == sorted(recovered)
    sae = load_sae(toy, sae_folder(toy, "8x"))
    control = untrained_copy(sae, hook_activations(toy, rows[:8], [HOOK])[HOOK][:, 1:].flatten(0, 1))
    found = evaluate_sae(toy, control, HOOK, rows, sae.cfg.metadata.norm_limit, len(rows))
    assert found.recovered_zero.value < 0.3 and found.fvu.value > 0.8
