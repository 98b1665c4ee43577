"""Loading SAEs: the right one loads, every wrong one is named."""

import json
import shutil

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from sae_lens import JumpReLUSAEConfig, StandardSAEConfig
from sae_lens.loading import pretrained_sae_loaders
from sae_lens.registry import get_sae_class

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.models import load as models
from scripts.interp.saes import load as saes
from scripts.interp.saes.load import load_hub_sae, load_sae, sae_folder
from scripts.interp.saes.untrained import untrained_copy


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
    save(tmp_path / "toy-attn-2l-8x")
    assert sae_folder(trained_toy, "8x") == tmp_path / "toy-attn-2l-8x"
    with pytest.raises(ValueError, match="No SAE '4x' ships for toy-attn-2l; there are: 8x, blocks.1.hook_resid_post"):
        sae_folder(trained_toy, "4x")


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"model_name": "gpt2-small"}, "is for gpt2-small; this model is toy-attn-2l"),
        ({"hook_name": "blocks.2.hook_resid_post"}, "This model has no hook 'blocks.2.hook_resid_post'"),
        ({"hook_name": None}, "does not say for which hook point"),
        ({"d_in": 64}, "takes 64 numbers a token; this model's d_model is 256"),
    ],
)
def test_another_model_s_sae(trained_toy, tmp_path, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_sae(trained_toy, save(tmp_path / "other", **given))


def test_another_name_of_the_model_can_be_vouched_for(trained_toy, tmp_path):
    folder = save(tmp_path / "other", model_name="somebody/two-layers")
    with pytest.raises(ValueError, match="is for somebody/two-layers; .* give check_model=False"):
        load_sae(trained_toy, folder)
    assert load_sae(trained_toy, folder, check_model=False).cfg.d_in == trained_toy.cfg.d_model


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


def test_a_release_that_asks_for_other_model_settings(trained_toy, tmp_path):
    asks = {"model_from_pretrained_kwargs": {"center_writing_weights": False}}
    with pytest.raises(ValueError, match="asks for a model whose writing weights are not centred"):
        load_sae(trained_toy, save(tmp_path / "uncentred", **asks))
    load_sae(trained_toy, save(tmp_path / "centred", model_from_pretrained_kwargs={"center_writing_weights": True}))


class Hub:
    """Stands in for the hub's client: files come from a folder, or are nowhere."""

    def __init__(self, monkeypatch, folder=None, cached=False):
        self.folder, self.cached, self.asked = folder, cached, []
        monkeypatch.setattr(pretrained_sae_loaders, "hf_hub_download", self.download)

    def download(self, repo_id, filename, force_download=False):
        self.asked.append((repo_id, filename))
        offline = models.huggingface_hub.constants.HF_HUB_OFFLINE
        if self.folder is None or (offline and not self.cached) or not (self.folder / filename).is_file():
            raise LocalEntryNotFoundError(f"no {filename}")
        return str(self.folder / filename)


@pytest.fixture
def release(tmp_path, trained_toy, monkeypatch):
    """gpt2-small-res-jb as far as its names go, for the toy."""
    save(tmp_path / "blocks.1.hook_resid_pre", hook_name="blocks.1.hook_resid_post")
    overrides = {"model_from_pretrained_kwargs": {"center_writing_weights": True}, "model_name": "toy-attn-2l"}
    monkeypatch.setattr("sae_lens.saes.sae.get_config_overrides", lambda release, sae_id: dict(overrides))
    return tmp_path


def test_a_release_comes_from_the_cache_without_asking_the_hub(trained_toy, release, monkeypatch):
    hub = Hub(monkeypatch, release, cached=True)
    monkeypatch.setattr(saes, "ask_hub", lambda *_: pytest.fail("The hub was asked."))
    sae = load_hub_sae(trained_toy, "gpt2-small-res-jb", "blocks.1.hook_resid_pre")
    expected = load_sae(trained_toy, release / "blocks.1.hook_resid_pre")
    assert torch.equal(sae.W_dec, expected.W_dec) and not sae.W_dec.requires_grad
    assert hub.asked[0] == ("jbloom/GPT2-Small-SAEs-Reformatted", "blocks.1.hook_resid_pre/cfg.json")


def test_a_release_comes_from_the_hub(trained_toy, release, monkeypatch):
    Hub(monkeypatch, release)
    asked = []
    monkeypatch.setattr(saes, "ask_hub", lambda *question: asked.append(question))
    assert load_hub_sae(trained_toy, "gpt2-small-res-jb", "blocks.1.hook_resid_pre").cfg.d_sae == 40
    assert asked == [("jbloom/GPT2-Small-SAEs-Reformatted", ".gitattributes")]


def test_no_hub(trained_toy, monkeypatch):
    Hub(monkeypatch)
    monkeypatch.setattr(saes, "ask_hub", lambda *_: None)
    with pytest.raises(
        ModelUnavailable, match="The download of jbloom/.*blocks.1.hook_resid_pre stopped .*: run it again"
    ):
        load_hub_sae(trained_toy, "gpt2-small-res-jb", "blocks.1.hook_resid_pre")

    def unreachable(*_):
        raise ModelUnavailable("jbloom/… can't be reached")

    monkeypatch.setattr(saes, "ask_hub", unreachable)
    with pytest.raises(ModelUnavailable, match="can't be reached"):
        load_hub_sae(trained_toy, "gpt2-small-res-jb", "blocks.1.hook_resid_pre")


def test_unknown_names_of_releases(trained_toy):
    with pytest.raises(ValueError, match="sae-lens knows no release 'gpt3'"):
        load_hub_sae(trained_toy, "gpt3", "x")
    with pytest.raises(ValueError, match="has no SAE 'x': give one like 'blocks.0.hook_resid_pre'"):
        load_hub_sae(trained_toy, "gpt2-small-res-jb", "x")


@pytest.mark.parametrize("architecture, config", [("standard", StandardSAEConfig), ("jumprelu", JumpReLUSAEConfig)])
def test_the_untrained_control_is_as_sparse(architecture, config):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    sae = get_sae_class(architecture)[0](config(d_in=32, d_sae=200))
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            parameter.copy_(draw(*parameter.shape).abs() if name == "threshold" else draw(*parameter.shape))
    x = draw(500, 32) * 3 + 1
    before = sae.W_enc.clone()
    control = untrained_copy(sae, x)
    l0 = [(each.encode(x) > 0).sum(dim=-1).float().mean().item() for each in (sae, control)]
    assert l0[1] == pytest.approx(l0[0], rel=0.01) and 5 < l0[0] < 195
    assert torch.allclose(control.W_dec.norm(dim=1), sae.W_dec.norm(dim=1), rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(control.W_dec, sae.W_dec, dim=1).abs().mean() < 0.25
    assert torch.equal(sae.W_enc, before) and torch.equal(untrained_copy(sae, x).W_enc, control.W_enc)
    assert not torch.equal(untrained_copy(sae, x, seed=1).W_enc, control.W_enc)
