"""A prompt in which some tokens are placeholders: their embeddings are replaced by a vector, the soft token."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACEHOLDER = "<soft>"
TEMPLATE = f'<|endoftext|>What is the meaning of "{PLACEHOLDER}"? The meaning of "{PLACEHOLDER}" is "'


class Prompt(NamedTuple):
    """Token ids, and which of them are placeholders."""

    ids: Int[Tensor, " n_tokens"]
    places: tuple[int, ...]  # positions of placeholders, in order; what their ids are does not matter


def read_prompt(tokenizer: PreTrainedTokenizerBase, template: str = TEMPLATE, placeholder: str = PLACEHOLDER) -> Prompt:
    """The tokens of a template. What lies between placeholders is tokenised by itself, as around special tokens.

    A template says itself where its beginning-of-text token is: none is added.

    Raises ValueError for a template without a placeholder, and for one that ends with it: a label follows the
    template, and what comes right after a soft token would be part of the sentence about it.
    """
    pieces = template.split(placeholder) if placeholder else [template]
    if len(pieces) < 2 or not pieces[-1]:
        raise ValueError(
            f"The template has {'no placeholder' if len(pieces) < 2 else 'nothing after its last placeholder'}: write "
            f"{placeholder!r} wherever the vector shall stand, with words before the label, as in {TEMPLATE!r}."
        )
    ids: list[int] = []
    places = []
    for number, piece in enumerate(pieces):
        if number:
            places.append(len(ids))
            ids.append(0)
        ids += tokenizer(piece, add_special_tokens=False)["input_ids"]
    return Prompt(torch.tensor(ids), tuple(places))


def insert(
    embeddings: Float[Tensor, "n_tokens d_model"], places: tuple[int, ...], soft: Float[Tensor, "n d_model"]
) -> Float[Tensor, "n n_tokens d_model"]:
    """A prompt's embeddings for each of n soft tokens, which stand at every placeholder: [n, n_tokens, d_model].

    On the embeddings' device and in their precision. Gradients flow back to the soft tokens.
    """
    rows = embeddings.expand(len(soft), -1, -1).clone()
    for place in places:
        rows[:, place] = soft.to(rows)
    return rows


def label_ids(tokenizer: PreTrainedTokenizerBase, label: str, eos_token: str = "") -> list[int]:
    """The tokens of a label, its closing quotation mark and what ends a turn, tokenised together."""
    return tokenizer(f'{label}"{eos_token}', add_special_tokens=False)["input_ids"]
