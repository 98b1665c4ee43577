"""What the other helpers accept as a prompt or a layer, checked before a model sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from scripts.interp.base.numbers import is_integer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Prompt = str | list[str] | Int[Tensor, " pos"] | Int[Tensor, "batch pos"]


def prompt_tokens(model: TransformerBridge, prompt: Prompt) -> Int[Tensor, "batch pos"]:
    """Token ids of a prompt or several, with BOS if the model wants one; [batch, pos], on its device.

    prompt: a text, a list of equally long texts, or token ids [pos] or [batch, pos], used as they are

    Raises ValueError for an empty prompt, texts of different lengths (padding would move the last position),
    ids that are not in the vocabulary, and prompts longer than the model's context.
    """
    if isinstance(prompt, Tensor):
        tokens = prompt[None] if prompt.dim() == 1 else prompt
        if tokens.dim() != 2 or tokens.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"Token ids have shape {tuple(prompt.shape)} and type {prompt.dtype}: give integers "
                "[pos] or [batch, pos]."
            )
        if tokens.numel() == 0:
            raise ValueError("The prompt is empty: give at least one token.")
        if tokens.min() < 0 or tokens.max() >= model.cfg.d_vocab:
            raise ValueError(
                f"Token ids go from {tokens.min().item()} to {tokens.max().item()}: this model's go from 0 "
                f"to {model.cfg.d_vocab - 1}."
            )
        tokens = tokens.to(model.cfg.device)
    else:
        tokens = _texts_to_tokens(model, [prompt] if isinstance(prompt, str) else prompt)
    if tokens.shape[1] > model.cfg.n_ctx:
        length, most = tokens.shape[1], model.cfg.n_ctx
        raise ValueError(f"The prompt has {length} tokens: this model's context holds {most}, so shorten it.")
    return tokens


def single_prompt_tokens(model: TransformerBridge, prompt: Prompt) -> Int[Tensor, " pos"]:
    """The same for exactly one prompt: [pos]. Raises ValueError for several as well."""
    tokens = prompt_tokens(model, prompt)
    if len(tokens) != 1:
        raise ValueError(f"There are {len(tokens)} prompts: give one at a time.")
    return tokens[0]


def check_layer(model: TransformerBridge, layer: int) -> int:
    """Return `layer`; raise ValueError unless it is one of the model's, counted from 0."""
    if not is_integer(layer) or not 0 <= layer < model.cfg.n_layers:
        last = model.cfg.n_layers - 1
        raise ValueError(f"There is no layer {layer!r}: this model's layers are 0 to {last}.")
    return layer


def _texts_to_tokens(model: TransformerBridge, texts: list[str]) -> Tensor:
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"The prompt is {texts!r}: give a text, a list of texts, or a tensor of token ids.")
    if not texts or not all(texts):
        raise ValueError("The prompt is empty: give at least one text, and none of them empty.")
    if model.tokenizer is None:
        raise ValueError(f"The prompt is a text and {model.cfg.model_name} has no tokenizer: give token ids.")
    rows = [model.to_tokens(text, truncate=False) for text in texts]
    lengths = [row.shape[1] for row in rows]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"The prompts are between {min(lengths)} and {max(lengths)} tokens long, and padding would move "
            "the last position: give equally long ones, or one at a time."
        )
    return torch.cat(rows)
