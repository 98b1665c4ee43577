"""Names of models: which are one model's."""

from pathlib import Path

import pytest
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from transformer_lens.supported_models import MODEL_ALIASES, OFFICIAL_MODEL_NAMES

from scripts.interp.models.names import name_of_folder, same_model


@pytest.mark.parametrize(
    "one, other",
    [
        ("gemma-2-2b", "google/gemma-2-2b"),
        ("gpt2-small", "gpt2"),
        ("gpt2-small", "openai-community/gpt2"),
        ("openai-community/gpt2-xl", "gpt2-xl"),
        ("pythia-70m-deduped", "EleutherAI/pythia-70m-deduped"),
        ("stheno-8b", "Sao10K/L3-8B-Stheno-v3.2"),
        ("some-new-model", "Owner/Some-New-Model"),
        ("smollm2-135m", "smollm2-135m"),
    ],
)
def test_names_of_one_model(one, other):
    assert same_model(one, other) and same_model(other, one)


@pytest.mark.parametrize(
    "one, other",
    [
        ("gemma-2-2b", "google/gemma-2-2b-it"),
        ("gpt2", "gpt2-medium"),
        ("gpt2", "somebody/gpt2"),
        ("pythia-70m", "EleutherAI/pythia-70m-deduped"),
        ("one/model", "another/model"),
        ("toy-attn-1l", "toy-attn-2l"),
    ],
)
def test_names_of_two_models(one, other):
    assert not same_model(one, other) and not same_model(other, one)


def test_every_release_of_sae_lens_fits_its_model_by_all_names_of_it():
    names = {official: [official, *MODEL_ALIASES.get(official, [])] for official in OFFICIAL_MODEL_NAMES}
    fits, known = 0, 0
    for release in get_pretrained_saes_directory().values():
        of_model = [each for each in names.values() if any(release.model.lower() == name.lower() for name in each)]
        known += bool(of_model)
        fits += bool(of_model) and all(same_model(release.model, name) for name in of_model[0])
        others = [name for each in names.values() if each not in of_model for name in each]
        assert not any(same_model(release.model, name) for name in others)
    assert fits == known > 140


def test_a_folder_of_a_hub_s_cache_has_its_repository_s_name(tmp_path):
    snapshot = tmp_path / "models--google--gemma-2-2b" / "snapshots" / "0a1b2c"
    snapshot.mkdir(parents=True)
    assert name_of_folder(snapshot) == "google/gemma-2-2b"
    (tmp_path / "link").symlink_to(snapshot)
    assert name_of_folder(tmp_path / "link") == "google/gemma-2-2b"
    assert name_of_folder(Path(tmp_path / "mine")) == "mine"
