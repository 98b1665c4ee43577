"""Models that several test files share; each is made once.

What takes seconds to import is imported where it is used: every process of the suite reads this file first.
"""

import functools

import pytest
import torch

from scripts.interp.circuits.prompt_pairs import PromptPairs
from scripts.interp.models.load import EMBEDDED, load_model


@pytest.fixture(autouse=True, scope="module")
def leave_gradients_as_they_were():
    """A lab's set-up cell turns them off for its whole process, which is this one."""
    before = torch.is_grad_enabled()
    yield
    torch.set_grad_enabled(before)


@pytest.fixture(scope="session")
def model():
    """The embedded model: rotary, RMSNorm, grouped keys, BOS added by its tokenizer."""
    return load_model(EMBEDDED, device="cpu")


@pytest.fixture(scope="session")
def trained_toy():
    """The two-layer toy that ships: small, and a language model with a tokenizer."""
    return load_model("toy-attn-2l", device="cpu")


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory):
    """GPT-2's architecture and tokenizer habits with random weights: learned positions, LayerNorm, biases."""
    from tests.fixtures_gpt2 import make_gpt2_folder

    return load_model(make_gpt2_folder(tmp_path_factory.mktemp("gpt2")), device="cpu")


@pytest.fixture(scope="session")
def toy():
    """A two-layer model without a tokenizer: d_vocab 23, n_ctx 12, 3 heads."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    cfg = TransformerBridgeConfig(
        n_layers=2, n_heads=3, d_model=18, d_head=6, d_mlp=32, d_vocab=23, n_ctx=12, act_fn="gelu", seed=0,
        init_weights=True, normalization_type="LN", positional_embedding_type="standard",
        architecture="TransformerLensNative",
    )  # fmt: skip
    toy = TransformerBridge.boot_native(cfg, device="cpu")
    toy.enable_compatibility_mode(disable_warnings=True)
    return toy.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """tiny_folder(name): the folder of a random model of a configuration in CONFIGS of tiny_models.py, written once."""
    from tests.tiny_models import CONFIGS, tiny_model

    return functools.cache(lambda name: tiny_model(CONFIGS[name](), tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """tiny(name, dtype="float32"): that model, loaded once."""
    return functools.cache(lambda name, dtype="float32": load_model(tiny_folder(name), device="cpu", dtype=dtype))


@pytest.fixture(scope="session")
def tiny_pairs():
    """Two pairs for tiny models: 8 tokens that differ at position 3."""
    clean = torch.randint(1, 300, (2, 8), generator=torch.Generator().manual_seed(0))
    corrupted = clean.clone()
    corrupted[:, 3] = corrupted[:, 3] % 299 + 1
    return PromptPairs(clean, corrupted, torch.tensor([3, 5]), torch.tensor([40, 60]))


@pytest.fixture(params=["model", "gpt2"])
def language_model(request):
    """Both language models in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def toy_tokens():
    """[1, 7] token ids for the toy."""
    return torch.tensor([[3, 1, 4, 1, 5, 9, 2]])


@pytest.fixture(scope="session")
def patching_toys():
    """Models by name, one of each kind that patching has to get right; weights and biases are all large.

    3 layers, 4 query heads, d_vocab 23, n_ctx 12; without tokenizer.
    """
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    kinds = {
        "standard": {},
        "rotary": {"positional_embedding_type": "rotary", "rotary_dim": 4, "n_key_value_heads": 2},
        "rms": {"normalization_type": "RMS", "n_key_value_heads": 2, "gated_mlp": True, "act_fn": "silu"},
        "attn_only": {"attn_only": True},
        "as trained": {"positional_embedding_type": "rotary", "n_key_value_heads": 2},  # nothing folded
    }
    usual = {"act_fn": "gelu", "normalization_type": "LN", "positional_embedding_type": "standard"}
    toys = {}
    for name, options in kinds.items():
        cfg = TransformerBridgeConfig(
            n_layers=3, n_heads=4, d_model=24, d_head=6, d_mlp=32, d_vocab=23, n_ctx=12, seed=0,
            init_weights=True, architecture="TransformerLensNative", **usual | options,
        )  # fmt: skip
        toys[name] = TransformerBridge.boot_native(cfg, device="cpu")
        generator = torch.Generator().manual_seed(1)
        for parameter in toys[name].parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
        if name != "as trained":
            toys[name].enable_compatibility_mode(disable_warnings=True)
        toys[name].eval().requires_grad_(False)
    return toys


@pytest.fixture(scope="session")
def toy_pairs():
    """Pairs for the toys: all three differ at position 4 of 7, one at 2 ("late") or 0 ("first") too."""
    clean = torch.randint(1, 23, (3, 7), generator=torch.Generator().manual_seed(0))
    answers, wrong = torch.tensor([3, 5, 7]), torch.tensor([4, 6, 8])
    pairs = {}
    for name, first in (("late", 2), ("first", 0)):
        corrupted = clean.clone()
        corrupted[:, 4] = corrupted[:, 4] % 21 + 1
        corrupted[1, first] = corrupted[1, first] % 21 + 1
        pairs[name] = PromptPairs(clean, corrupted, answers, wrong)
    return pairs
