"""The adapter that ships and the committed table: each is what its record says, and what the code computes."""

import json

import pytest
import torch

from scripts import judge_selfie
from scripts.interp.base.paths import ROOT
from scripts.interp.base.reference import committed_results
from scripts.interp.models.plain import load_plain_model
from scripts.interp.selfie.adapters import load_adapter
from scripts.interp.selfie.describe import describe
from scripts.interp.selfie.examples import SHIPPED_ADAPTER, examples_of, feature_data
from scripts.interp.selfie.judge import label_log_likelihood
from scripts.interp.selfie.losses import new_reading
from scripts.interp.selfie.prompt import read_prompt
from scripts.interp.selfie.settings import EXAMPLE, read_settings

ROWS = {row["condition"]: row for row in committed_results("selfie")["rows"]}


def test_the_adapter_is_the_one_of_its_record():
    record = json.loads((SHIPPED_ADAPTER.parent / "record.json").read_text())
    adapter, saved = load_adapter(SHIPPED_ADAPTER)
    last = record["curve"][-1]
    assert (adapter.kind, adapter.n_parameters()) == ("scalar_affine", record["n_parameters"])
    assert saved.global_step == record["steps"] == last["step"]
    assert adapter.log_scale.exp().item() == pytest.approx(last["scale"])
    assert adapter.bias.norm().item() == pytest.approx(last["bias_norm"])
    assert record["config"] == read_settings(EXAMPLE) | {"projection": record["config"]["projection"]}


def test_the_table_has_every_condition_and_the_page_shows_it():
    found = committed_results("selfie")
    assert list(ROWS) == list(judge_selfie.CONDITIONS)
    assert found["settings"] == read_settings(EXAMPLE)
    assert found["features"] == [item.index for item in feature_data().items if item.split == "val"]
    assert all(len(row["said"]) == len(found["features"]) for row in ROWS.values())
    assert judge_selfie.text_of(found["rows"]) in (ROOT / "docs" / "selfie.md").read_text(encoding="utf-8")


def test_controls_that_know_nothing_of_the_vector_are_at_chance():
    for name in ("bias alone", "random vectors"):
        assert ROWS[name]["recall_at_1"][1] <= 1 / judge_selfie.N_LABELS <= ROWS[name]["recall_at_1"][2] + 1e-9, name
    for name, row in ROWS.items():
        low, high = row["auroc_of_others"][1:]
        assert 0.4 < low <= high < 0.6, name  # other features' descriptions
    assert ROWS["labels of the data"]["above_others"][1] > 0


def test_what_the_shipped_adapter_makes_the_model_say_is_in_the_table():
    settings = read_settings(EXAMPLE)
    plain = load_plain_model(settings["model"]["name"])
    reading = new_reading(plain, read_prompt(plain.tokenizer, settings["soft_prompt"]["template"]))
    examples = examples_of(feature_data(), plain.tokenizer)
    some = examples.val[:6]
    with torch.no_grad():
        soft = load_adapter(SHIPPED_ADAPTER)[0](examples.vectors[[item.vector for item in some]])
    assert describe(reading, soft) == ROWS["scalar_affine"]["said"][:6]
    labels = [item.labels for item in some]
    own, wrong = (label_log_likelihood(reading, each, labels).mean() for each in (soft, soft.roll(1, dims=0)))
    assert own > wrong
