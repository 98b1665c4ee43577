"""The small models that the project trains itself: which there are, their folders, their tokenizer.

They are `TransformerBridge.boot_native` models, trained by `.venv/bin/python -m scripts.train_toy_models` on the
project's corpus. A folder in checkpoints/ holds config.json, model.safetensors (float16; computed with in float32),
record.json (what was measured while it was trained) and README.md. All share the tokenizer in
checkpoints/toy-tokenizer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from scripts.interp.base.paths import ROOT

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

TOY_FOLDER = ROOT / "checkpoints"
TOKENIZER_FOLDER = TOY_FOLDER / "toy-tokenizer"

_COMMON = {"n_ctx": 128, "normalization_type": "LN", "positional_embedding_type": "standard"}
_ATTENTION_ONLY = {"d_model": 256, "n_heads": 4, "d_head": 64, "attn_only": True, **_COMMON}
_WITH_MLP = {"d_model": 128, "n_heads": 8, "d_head": 16, "d_mlp": 512, "act_fn": "relu", **_COMMON}
TOYS: dict[str, dict[str, Any]] = {
    "toy-attn-1l": {"n_layers": 1, **_ATTENTION_ONLY},
    "toy-attn-2l": {"n_layers": 2, **_ATTENTION_ONLY},
    "toy-mlp-1l": {"n_layers": 1, **_WITH_MLP},
}


def new_toy(
    fields: dict[str, Any],
    d_vocab: int,
    seed: int = 0,
    tokenizer: Any = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> TransformerBridge:
    """A freshly initialised model, its weights not folded: `fields` as in TOYS."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    cfg = TransformerBridgeConfig(
        **fields, d_vocab=d_vocab, seed=seed, init_weights=True, architecture="TransformerLensNative"
    )
    return TransformerBridge.boot_native(cfg, tokenizer=tokenizer, device=device, dtype=dtype)


def plain_name(key: str) -> str:
    """A weight's name in the model itself: the bridge shows every weight under several names of its own."""
    return key.replace("_original_component.", "")


def load_toy_tokenizer(folder: Path = TOKENIZER_FOLDER) -> PreTrainedTokenizerBase:
    """The byte-pair encoding that all toys share; it adds no BOS by itself."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def load_toy(
    name: str, device: str = "cpu", dtype: torch.dtype = torch.float32, folder: Path | None = None
) -> TransformerBridge:
    """A trained toy, its weights as they were trained, not folded. Raises FileNotFoundError if it is not here."""
    folder = folder or TOY_FOLDER
    fields = json.loads((folder / name / "config.json").read_text())
    d_vocab, seed = fields.pop("d_vocab"), fields.pop("seed")
    model = new_toy(fields, d_vocab, seed, load_toy_tokenizer(folder / TOKENIZER_FOLDER.name), device, dtype)
    weights = load_file(folder / name / "model.safetensors")
    state = model.original_model.state_dict()
    model.original_model.load_state_dict({key: weights[plain_name(key)] for key in state})
    model.cfg.model_name = name
    return model


def training_record(name: str, folder: Path | None = None) -> dict[str, Any]:
    """What was measured while a toy was trained, as `measure` in scripts/train_toy_models.py describes it."""
    return json.loads(((folder or TOY_FOLDER) / name / "record.json").read_text())
