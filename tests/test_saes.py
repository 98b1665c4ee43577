"""Loading SAEs: the right one loads, every wrong one is named."""

import json
import shutil

import pytest
import torch
from sae_lens import StandardSAEConfig
from sae_lens.registry import get_sae_class

from scripts.interp import saes
from scripts.interp.saes import load_sae


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "sae")


def save(path, d_in=256, **metadata):
    sae = get_sae_class("standard")[0](StandardSAEConfig(d_in=d_in, d_sae=40))
    for key, value in ({"model_name": "toy-attn-2l", "hook_name": "blocks.1.hook_resid_post"} | metadata).items():
        if value is not None:
            sae.cfg.metadata[key] = value
    sae.save_model(path)
    return path


def test_an_sae_loads_in_single_precision_without_gradients(trained_toy, folder):
    sae = load_sae(trained_toy, folder)
    assert sae.W_dec.shape == (40, 256) and sae.W_dec.dtype == torch.float32 and not sae.W_dec.requires_grad
    assert sae.cfg.metadata.hook_name == "blocks.1.hook_resid_post"
    assert load_sae(trained_toy, str(folder)).cfg.d_sae == 40


def test_the_shipped_one_is_found_by_the_model_s_name(trained_toy, monkeypatch, tmp_path):
    monkeypatch.setattr(saes, "SAE_FOLDER", tmp_path)
    with pytest.raises(ValueError, match="No SAE ships for toy-attn-2l: .* scripts.train_sae --model toy-attn-2l"):
        load_sae(trained_toy)
    save(tmp_path / "toy-attn-2l-blocks.1.hook_resid_post")
    save(tmp_path / "another-blocks.1.hook_resid_post", model_name="another")
    assert load_sae(trained_toy).cfg.metadata.model_name == "toy-attn-2l"


@pytest.mark.parametrize("given, sentence", [
    ({"model_name": "gpt2-small"}, "is for gpt2-small; this model is toy-attn-2l"),
    ({"hook_name": "blocks.2.hook_resid_post"}, "This model has no hook 'blocks.2.hook_resid_post'"),
    ({"hook_name": None}, "does not say for which hook point"),
    ({"d_in": 64}, "takes 64 numbers a token; this model's d_model is 256"),
])  # fmt: skip
def test_another_model_s_sae(trained_toy, tmp_path, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_sae(trained_toy, save(tmp_path / "other", **given))


def test_a_folder_that_is_not_whole(trained_toy, folder, tmp_path):
    with pytest.raises(ValueError, match="lacks cfg.json and sae_weights.safetensors"):
        load_sae(trained_toy, tmp_path / "nowhere")
    for name in saes.FILES:
        copy = tmp_path / f"without-{name}"
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        with pytest.raises(ValueError, match=f"lacks {name}: an SAE's folder holds"):
            load_sae(trained_toy, copy)
        (copy / name).write_bytes((folder / name).read_bytes()[:100])
        with pytest.raises(ValueError, match="holds no whole SAE"):
            load_sae(trained_toy, copy)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {"architecture": "unheard-of"}))
    with pytest.raises(ValueError, match="holds no whole SAE"):
        load_sae(trained_toy, folder)
    (folder / "cfg.json").write_text(json.dumps(config | {"d_sae": 41}))
    with pytest.raises(ValueError, match="holds no whole SAE"):
        load_sae(trained_toy, folder)
