"""The reference file: its form, and that what it says was measured is still what is measured."""

import pytest

from scripts.interp.base.reference import committed_results, reference_value, reference_values
from scripts.interp.models.embedded import NAME
from scripts.interp.runs.residual import get_residual_stream_norms
from scripts.interp.text.ioi import TEXTBOOK, WHEN_TEMPLATES
from scripts.measure_reference_values import NORMS_PROMPT, induction_heads, ioi


def within(name: str, measured: float, head: int | None = None) -> bool:
    entry = reference_values()[f"{NAME}/{name}"]
    value = entry["value"] if head is None else entry["value"][head][2]
    return abs(measured - value) <= entry["tolerance"]


def test_every_entry_has_a_value_a_tolerance_a_model_and_a_source():
    assert len(reference_values()) > 15
    for key, entry in reference_values().items():
        assert {"value", "tolerance", "model", "source"} <= set(entry), key
        assert entry["source"].startswith(("measured here: .venv/bin/python -m", "published: ")), key
        assert key.split("/")[0] == entry["model"], key
        assert (entry["tolerance"] is None) == entry["source"].startswith("published"), key


def test_an_unknown_key_names_those_there_are():
    with pytest.raises(ValueError, match="gpt2-small/n_layers"):
        reference_value("gpt2-small/layers")


def test_results_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="There is no file data/sae_nothing.json; there are: "):
        committed_results("sae_nothing")


@pytest.mark.parametrize("name, templates", [("when", WHEN_TEMPLATES), ("textbook", TEXTBOOK)])
def test_ioi_values_are_still_what_is_measured(model, name, templates):
    difference, accuracy = ioi(model, templates)
    assert within(f"ioi_{name}_logit_diff", difference) and within(f"ioi_{name}_accuracy", accuracy)


def test_residual_norms_are_still_what_is_measured(model):
    norms = get_residual_stream_norms(model, NORMS_PROMPT)
    assert within("largest_norm_at_bos", norms[:, 0].max().item())
    assert within("largest_norm_elsewhere", norms[:, 1:].max().item())


def test_induction_heads_are_still_what_is_measured(model):
    known, measured = reference_value(f"{NAME}/induction_heads"), induction_heads(model)
    assert [(layer, head) for layer, head, _ in known] == [(layer, head) for layer, head, _ in measured]
    assert all(within("induction_heads", value, i) for i, (_, _, value) in enumerate(measured))
