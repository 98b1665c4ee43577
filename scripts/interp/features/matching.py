"""Which feature fits a description, and how well; which direction is nearest to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from scripts.interp.features.predicates import Predicate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# The strings of the ids that were asked for, of every tokenizer: dozens of predicates go over the same text.
_STRINGS: WeakKeyDictionary[PreTrainedTokenizerBase, dict[int, str]] = WeakKeyDictionary()


def token_strings(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The string of every token id by itself; each id is decoded once."""
    known = _STRINGS.setdefault(tokenizer, {})
    for token_id in set(ids) - known.keys():
        known[token_id] = tokenizer.decode([token_id])
    return [known[token_id] for token_id in ids]


def named_positions(
    predicate: Predicate, tokenizer: PreTrainedTokenizerBase, tokens: Int[Tensor, "batch pos"]
) -> Bool[Tensor, "batch pos"]:
    """Where a predicate says yes, bool [batch, pos]; no at special tokens.

    tokens: ids, [batch, pos]. A text begins after a special token, and the predicate sees nothing before that: its
        `tokens` are the strings of one text, and `position` counts from the text's first token.

    Raises ValueError where the predicate returns something else than True or False.
    """
    special = set(tokenizer.all_special_ids)
    named = [[False] * tokens.shape[1] for _ in tokens]
    for row, ids in enumerate(tokens.tolist()):
        strings, start = token_strings(tokenizer, ids), 0
        for column, token_id in enumerate(ids):
            if token_id in special:
                start = column + 1
                continue
            answer = predicate(strings[start:], column - start)
            if not isinstance(answer, bool):
                raise ValueError(f"The predicate gave {answer!r} at token {strings[column]!r}: return True or False.")
            named[row][column] = answer
    return torch.tensor(named, dtype=torch.bool, device=tokens.device).view(tokens.shape)


class Match(NamedTuple):
    """The feature that fits a predicate best."""

    feature: int
    f1: float


def best_feature(active: Bool[Tensor, "n n_features"], named: Bool[Tensor, " n"]) -> Match:
    """The feature whose activity agrees best with a predicate; F1 is 2 |both| / (|active| + |named|).

    active: where each feature is active, bool [n, n_features]; named: where the predicate says yes, bool [n]

    The best of thousands looks better than it is: report its F1 on other text than the text it was chosen on.
    """
    f1 = feature_f1(active, named)
    feature = int(f1.argmax())
    return Match(feature, f1[feature].item())


def feature_f1(
    active: Bool[Tensor, "n n_features"], named: Bool[Tensor, "*descriptions n"]
) -> Float[Tensor, "*descriptions n_features"]:
    """F1 of one or several predicates with every feature; 0 where nothing is active and nothing named.

    active: bool [n, n_features]; named: bool [n] or [n_descriptions, n]
    Returns [n_features] or [n_descriptions, n_features], on the device of `active`.
    """
    named = named.to(active.device)
    some = torch.atleast_2d(named).any(dim=0)  # the other tokens add nothing, and are most of them
    both = named[..., some].float() @ active[some].float()
    return 2 * both / (how_often(active) + named.sum(dim=-1, keepdim=True)).clamp(min=1)


def how_often(active: Bool[Tensor, "n n_features"]) -> Int[Tensor, " n_features"]:
    """At how many tokens each feature is active: active.sum(dim=0), sixty times as fast.

    torch adds numbers of 8 bits much faster than of 64, and the sum of 255 of these rows fits.
    """
    parts = [part.sum(dim=0, dtype=torch.uint8) for part in active.view(torch.uint8).split(255)]
    return torch.stack(parts).sum(dim=0)


def nearest_directions(
    directions: Float[Tensor, "n d"], others: Float[Tensor, "n_others d"]
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """For each direction the largest cosine with one of the others, [n], and which of them that is, [n]."""
    cosines = normalize(directions, dim=1) @ normalize(others.to(directions.device), dim=1).T
    largest = cosines.max(dim=1)
    return largest.values, largest.indices


def token_list(ids: Int[Tensor, " n"], active: Bool[Tensor, " n"]) -> Int[Tensor, " n_listed"]:
    """The tokens at which a feature is active more often than not: a description that looks at no context.

    ids: token ids, [n]; active: bool [n]. Returns ids, [n_listed].
    """
    tokens, place = ids.unique(return_inverse=True)
    n_active = torch.zeros(len(tokens), device=ids.device).index_add(0, place, active.to(ids.device).float())
    return tokens[n_active / place.bincount(minlength=len(tokens)) > 0.5]
