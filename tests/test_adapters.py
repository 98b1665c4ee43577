"""Low-rank adapters: nothing at first, in training the same as merged, loaded by load_model, refused elsewhere."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.interp.models.embedded import embedded_model_folder
from scripts.interp.models.load import EMBEDDED, load_model
from scripts.interp.models.lora import add_adapter, load_adapter, merge_adapter, random_adapter, save_adapter
from tests.fixtures_gpt2 import make_gpt2_folder

TOKENS = torch.tensor([[1, 504, 1165, 282, 253, 2446, 436, 9]])


def base():
    return AutoModelForCausalLM.from_pretrained(embedded_model_folder(), dtype=torch.float32)


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An adapter that is not zero, in a folder; what the model with it gives while it trains; what the base gives."""
    model = base()
    plain = logits(model)
    parameters = add_adapter(model, rank=2, scale=2.0)
    assert torch.equal(logits(model), plain)  # at first it corrects nothing
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in parameters.items():
            if name.endswith(".B"):
                value.copy_((0.02 * torch.randn(value.shape, generator=generator)).half())
            else:
                value.copy_(value.half())
    folder = tmp_path_factory.mktemp("adapters") / "mine"
    save_adapter(folder, parameters, EMBEDDED, 2, 2.0)
    return folder, logits(model), plain, parameters


def test_every_linear_layer_but_the_unembedding_is_corrected(trained):
    parameters = trained[3]
    assert len(parameters) == 30 * 7 * 2 and not any("lm_head" in name for name in parameters)
    assert parameters["model.layers.3.mlp.down_proj.A"].shape == (2, 1536)
    assert parameters["model.layers.3.mlp.down_proj.B"].shape == (576, 2)


def test_merged_is_what_was_trained(trained):
    folder, with_adapter, plain, _ = trained
    model = base()
    merge_adapter(model, *[load_adapter(folder)[i] for i in (0, 2)])
    assert torch.allclose(logits(model), with_adapter, atol=1e-3) and not torch.allclose(with_adapter, plain, atol=0.1)


def test_load_model_takes_the_folder(trained, model):
    folder, with_adapter, plain, _ = trained
    tuned = load_model(folder, device="cpu")
    assert tuned.cfg.model_name == "mine" and tuned.tokenizer.bos_token_id == model.tokenizer.bos_token_id
    expected = with_adapter.log_softmax(dim=-1)
    assert torch.allclose(tuned(TOKENS).log_softmax(dim=-1), expected, atol=2e-3)
    assert torch.allclose(
        model(TOKENS).log_softmax(dim=-1), plain.log_softmax(dim=-1), atol=2e-3
    )  # the base is as it was


def test_a_random_adapter_is_as_large_and_points_elsewhere(trained, tmp_path):
    folder, _, plain, _ = trained
    new = random_adapter(folder, tmp_path / "random", seed=3)
    (theirs, _, scale), (random, base, same_scale) = load_adapter(folder), load_adapter(new)
    assert base == EMBEDDED and same_scale == scale and random.keys() == theirs.keys()
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.29.mlp.down_proj"):
        mine, other = (weights[f"{name}.B"].float() @ weights[f"{name}.A"].float() for weights in (theirs, random))
        assert other.norm().item() == pytest.approx(mine.norm().item(), rel=0.01)
        assert abs(torch.cosine_similarity(mine.flatten(), other.flatten(), dim=0).item()) < 0.05
    assert load_adapter(random_adapter(folder, tmp_path / "again", seed=3))[0]["model.layers.0.mlp.up_proj.A"].equal(
        random["model.layers.0.mlp.up_proj.A"]
    )


def test_an_adapter_that_does_not_belong_or_is_damaged(trained, tmp_path):
    adapter, _, scale = load_adapter(trained[0])
    (tmp_path / "gpt2").mkdir()
    other = AutoModelForCausalLM.from_pretrained(make_gpt2_folder(tmp_path / "gpt2"))
    with pytest.raises(ValueError, match="which this model does not have"):
        merge_adapter(other, adapter, scale)
    folder = tmp_path / "theirs"
    save_adapter(folder, adapter, "gpt2-small", 2, 2.0)
    with pytest.raises(ValueError, match=f"is for gpt2-small: only those for {EMBEDDED}"):
        load_model(folder)
    (folder / "adapter.json").write_text(json.dumps({"base": EMBEDDED, "rank": 2, "scale": 2.0}))
    (folder / "adapter.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="holds no whole adapter .*scripts.train_adapter"):
        load_model(folder)
