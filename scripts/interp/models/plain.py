"""A causal language model as transformers runs it, without TransformerLens around it.

For what needs speed and gradients through the whole model but no hooks: attention stays the library's fast one, caches
of keys and values work, and weights are not folded. The residual stream, so every direction in it, is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from scripts.interp.base.quiet import quiet_libraries
from scripts.interp.models.boot import WholeModel
from scripts.interp.models.embedded import NAME as EMBEDDED, prepared_model_folder
from scripts.interp.models.folders import check_model_folder
from scripts.interp.models.hub import ask_hub, hub_lookups, in_hub_cache
from scripts.interp.models.registry import BY_SOURCE, MODELS, TOY_SOURCE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class PlainModel(NamedTuple):
    """A frozen model in eval mode, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_plain_model(
    name: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> PlainModel:
    """Load a model for running and for gradients with respect to what goes in; its own weights get none.

    name: as `load_model` takes it, but no toy and no folder with a low-rank fine-tune

    Raises ValueError for what is no whole causal language model, and ModelUnavailable where it is not here.
    """
    from transformers import AutoConfig, AutoTokenizer

    source = _source(str(name))
    local = Path(source).is_dir() or in_hub_cache(source)
    if not local:
        ask_hub(source)
    with hub_lookups(not local), quiet_libraries():
        config = AutoConfig.from_pretrained(source)
        model = WholeModel.from_pretrained(source, config=config, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(source)
    return PlainModel(model.to(device).eval().requires_grad_(False), tokenizer)


def _source(name: str) -> str:
    """The folder or the hub repository of a model."""
    known = MODELS.get(name) or BY_SOURCE.get(name)
    if known is not None and known.name == EMBEDDED:
        return str(prepared_model_folder())
    if known is not None and known.source == TOY_SOURCE:
        raise ValueError(f"{name} is a toy of this project, which transformers can't run: give a language model.")
    folder = Path(name).expanduser()
    if known is None and folder.is_dir():
        check_model_folder(folder)
        return str(folder)
    if known is None and (name.count("/") != 1 or name.startswith(("/", ".", "~"))):
        raise ValueError(
            f"There is no model {name!r}: give {EMBEDDED}, a hub repository such as 'owner/name', or a folder that "
            "exists."
        )
    return known.source if known is not None else name
