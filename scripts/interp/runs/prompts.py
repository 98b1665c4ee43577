"""What the other helpers accept as a prompt or a layer, checked before a model sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from scripts.interp.base.numbers import check_index
from scripts.interp.runs.forgotten_hooks import warn_of_forgotten_hooks

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Prompt = str | list[str] | Int[Tensor, " pos"] | Int[Tensor, "batch pos"]


def prompt_tokens(model: TransformerBridge, prompt: Prompt) -> Int[Tensor, "batch pos"]:
    """Token ids of a prompt or several, with BOS if the model wants one; [batch, pos], on its device.

    prompt: a text, a list of equally long texts, or token ids [pos] or [batch, pos], used as they are

    A text that spells BOS out, as chat templates do, does not get a second one. Warns of hooks that were left on the
    model (see `forgotten_hooks.py`).

    Raises ValueError for an empty prompt, texts of different lengths (padding would move the last position), ids that
    begin with BOS twice or with padding, or end with padding, ids that are not in the vocabulary, and prompts longer
    than the model's context.
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
        tokens = ready_rows(model, tokens)
        _refuse_padding_at_the_end(model, tokens)
    else:
        tokens = _texts_to_tokens(model, [prompt] if isinstance(prompt, str) else prompt)
        warn_of_forgotten_hooks(model)
    if tokens.shape[1] > model.cfg.n_ctx:
        length, most = tokens.shape[1], model.cfg.n_ctx
        raise ValueError(f"The prompt has {length} tokens: this model's context holds {most}, so shorten it.")
    return tokens


def ready_rows(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """Rows of token ids [batch, pos] on the model's device, for helpers whose rows are no prompts.

    Rows may end with padding: no token before it sees it. Warns of hooks that were left on the model. Raises
    ValueError for ids that are not in the vocabulary, and for rows that begin with BOS twice or with padding: it is
    read as text and moves every position.
    """
    if tokens.min() < 0 or tokens.max() >= model.cfg.d_vocab:
        raise ValueError(
            f"Token ids go from {tokens.min().item()} to {tokens.max().item()}: this model's go from 0 "
            f"to {model.cfg.d_vocab - 1}."
        )
    warn_of_forgotten_hooks(model)
    _refuse_padding_at_the_start(model, tokens)
    return tokens.to(model.cfg.device)


def single_prompt_tokens(model: TransformerBridge, prompt: Prompt) -> Int[Tensor, " pos"]:
    """The same for exactly one prompt: [pos]. Raises ValueError for several as well."""
    tokens = prompt_tokens(model, prompt)
    if len(tokens) != 1:
        raise ValueError(f"There are {len(tokens)} prompts: give one at a time.")
    return tokens[0]


def check_layer(model: TransformerBridge, layer: int) -> int:
    """`layer` as an int; raise ValueError unless it is one of the model's, counted from 0."""
    return check_index("layer", layer, model.cfg.n_layers, "this model's layers")


def _texts_to_tokens(model: TransformerBridge, texts: list[str]) -> Tensor:
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"The prompt is {texts!r}: give a text, a list of texts, or a tensor of token ids.")
    if not texts or not all(texts):
        raise ValueError("The prompt is empty: give at least one text, and none of them empty.")
    if model.tokenizer is None:
        raise ValueError(f"The prompt is a text and {model.cfg.model_name} has no tokenizer: give token ids.")
    rows = [_with_one_bos(model, model.to_tokens(text, truncate=False)) for text in texts]
    lengths = [row.shape[1] for row in rows]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"The prompts are between {min(lengths)} and {max(lengths)} tokens long, and padding would move "
            "the last position: give equally long ones, or one at a time."
        )
    return torch.cat(rows)


def _with_one_bos(model: TransformerBridge, row: Tensor) -> Tensor:
    """[1, pos] without the BOS that the tokenizer put before a text that spells its own."""
    bos = model.tokenizer.bos_token_id
    while bos is not None and row.shape[1] > 1 and (row[0, :2] == bos).all():
        row = row[:, 1:]
    return row


def _refuse_padding_at_the_start(model: TransformerBridge, tokens: Tensor) -> None:
    bos, eos, pad = _special_ids(model)
    if bos is not None and bos != pad and tokens.shape[1] > 1 and (tokens[:, :2] == bos).all(dim=1).any():
        raise ValueError(
            f"Token ids begin with BOS ({bos}) twice: the model has never read that; leave one out (the text of a "
            "chat template has its BOS already: give that text itself, or tokenize it without special tokens)."
        )
    if pad is None:
        return
    n_pad = (tokens == pad).long().cumprod(dim=1).sum(dim=1)  # how many each row begins with
    # One alone may stand for BOS where the tokenizer has none of its own.
    one_is_padding = pad not in (bos, eos)
    if pad != bos and tokens.shape[1] > 1:
        one_is_padding = one_is_padding | (tokens[:, 1] == bos) if bos is not None else one_is_padding
    padded = (n_pad > 1) | ((n_pad == 1) & one_is_padding)
    if padded.any():
        raise ValueError(
            f"Token ids begin with padding ({n_pad[padded].max().item()} times {pad}): it would be read as text and "
            "move every position; give rows without it, equally long ones or one at a time."
        )


def _refuse_padding_at_the_end(model: TransformerBridge, tokens: Tensor) -> None:
    bos, eos, pad = _special_ids(model)
    if pad is None:
        return
    n_pad = (tokens == pad).flip(1).long().cumprod(dim=1).sum(dim=1)
    padded = n_pad > (1 if pad in (bos, eos) else 0)  # a text may end with one EOS
    if padded.any():
        raise ValueError(
            f"Token ids end with padding ({n_pad[padded].max().item()} times {pad}), and the last position would be "
            "padding: give rows without it, equally long ones or one at a time."
        )


def _special_ids(model: TransformerBridge) -> tuple[int | None, int | None, int | None]:
    """The tokenizer's BOS, EOS and padding; None for those that it lacks."""
    tokenizer = model.tokenizer
    return (
        getattr(tokenizer, "bos_token_id", None),
        getattr(tokenizer, "eos_token_id", None),
        getattr(tokenizer, "pad_token_id", None),
    )
