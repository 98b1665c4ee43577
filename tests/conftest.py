"""Models that several test files share; each is made once."""

import pytest
import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from scripts.interp.models import EMBEDDED, load_model
from tests.fixtures_gpt2 import make_gpt2_folder


@pytest.fixture(scope="session")
def model():
    """The embedded model: rotary, RMSNorm, grouped keys, BOS added by its tokenizer."""
    return load_model(EMBEDDED, device="cpu")


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory):
    """GPT-2's architecture and tokenizer habits with random weights: learned positions, LayerNorm, biases."""
    return load_model(make_gpt2_folder(tmp_path_factory.mktemp("gpt2")), device="cpu")


@pytest.fixture(scope="session")
def toy():
    """A two-layer model without a tokenizer: d_vocab 23, n_ctx 12, 3 heads."""
    cfg = TransformerBridgeConfig(
        n_layers=2, n_heads=3, d_model=18, d_head=6, d_mlp=32, d_vocab=23, n_ctx=12, act_fn="gelu", seed=0,
        init_weights=True, normalization_type="LN", positional_embedding_type="standard",
        architecture="TransformerLensNative",
    )  # fmt: skip
    toy = TransformerBridge.boot_native(cfg, device="cpu")
    toy.enable_compatibility_mode(disable_warnings=True)
    return toy.eval().requires_grad_(False)


@pytest.fixture(params=["model", "gpt2"])
def language_model(request):
    """Both language models in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def toy_tokens():
    """[1, 7] token ids for the toy."""
    return torch.tensor([[3, 1, 4, 1, 5, 9, 2]])
