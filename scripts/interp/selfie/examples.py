"""From labels to what an adapter is trained on: vectors, and the token ids of their labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from scripts.interp.base.paths import ROOT
from scripts.interp.selfie.feature_labels import FILE
from scripts.interp.selfie.prompt import label_ids
from scripts.interp.selfie.settings import Settings
from scripts.interp.selfie.training import Examples, Item
from scripts.interp.selfie.training_data import TrainingData, load_training_data

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAE_WEIGHTS = ROOT / "checkpoints" / "saes" / "smollm2-135m-blocks.12.hook_resid_post" / "sae_weights.safetensors"

SHIPPED_ADAPTER = ROOT / "checkpoints" / "smollm2-135m-selfie" / "adapter.safetensors"


def read_examples(
    settings: Settings, tokenizer: PreTrainedTokenizerBase, vectors: Path | None, device: torch.device | str
) -> Examples:
    """The examples of a configuration. Raises ValueError for a file that does not fit its format."""
    data = settings["data"]
    given = load_training_data(data["labels_file"], vectors)
    return examples_of(given, tokenizer, data["eos_token"], data["strip_labels"], device)


def examples_of(
    given: TrainingData,
    tokenizer: PreTrainedTokenizerBase,
    eos_token: str = "",
    strip_labels: bool = True,
    device: torch.device | str = "cpu",
) -> Examples:
    """Labels as token ids, each with its closing quotation mark and eos_token."""
    change = str.strip if strip_labels else str

    def items(split: str) -> list[Item]:
        return [
            Item(item.index, tuple(tuple(label_ids(tokenizer, change(label), eos_token)) for label in item.labels))
            for item in given.items
            if item.split == split
        ]

    return Examples(given.vectors.to(device), items("train"), items("val"))


def feature_data() -> TrainingData:
    """The labelled features of the embedded model's own SAE: files of this repository, nothing has to be prepared."""
    return load_training_data(FILE, load_file(SAE_WEIGHTS)["W_dec"])
