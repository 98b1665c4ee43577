"""Training and validation vectors that share no label.

Some labels stand for many features (in the labels published with the method, one feature in seventeen shares its
label): where a split is drawn by feature, an adapter is asked on validation for texts that it was trained to write.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

TRAIN, VAL = "train", "val"


def label_text(label: str) -> str:
    """What two labels have in common that are one text: case and the width of spaces do not count."""
    return " ".join(label.split()).casefold()


class Leaks(NamedTuple):
    """Labels that stand on both sides of a split."""

    val_vectors: int  # in all
    leaking: int  # validation vectors with a label that a training vector has as well
    word_for_word: int  # those of them where it is the same down to case and spaces
    texts: int  # different labels that stand on both sides

    def __str__(self) -> str:
        if not self.leaking:
            return f"none of the {self.val_vectors:,} validation vectors shares a label with a training vector"
        return (
            f"{self.leaking:,} of {self.val_vectors:,} validation vectors share a label with a training vector "
            f"({self.word_for_word:,} word for word; {self.texts:,} texts)"
        )


def count_leaks(labels: Mapping[int, Sequence[str]], splits: Mapping[int, str]) -> Leaks:
    """How far a split leaks. labels: those of each feature; splits: "train" or "val" for each of these features."""
    val = [labels[feature] for feature in labels if splits[feature] == VAL]
    seen = {label for feature in labels if splits[feature] == TRAIN for label in labels[feature]}
    seen_texts = {label_text(label) for label in seen}
    return Leaks(
        len(val),
        sum(any(label_text(label) in seen_texts for label in mine) for mine in val),
        sum(any(label in seen for label in mine) for mine in val),
        len({label_text(label) for mine in val for label in mine} & seen_texts),
    )


def groups_by_label(labels: Mapping[int, Sequence[str]]) -> list[list[int]]:
    """Features that share labels, directly or by way of other features: each is in one group, groups by first feature.

    labels: those of each feature. A feature with two labels joins all that have the one with all that have the other.
    """
    parent = {feature: feature for feature in labels}

    def root(feature: int) -> int:
        while parent[feature] != feature:
            parent[feature] = parent[parent[feature]]
            feature = parent[feature]
        return feature

    first_with: dict[str, int] = {}
    for feature in sorted(labels):
        for label in labels[feature]:
            one, other = root(feature), root(first_with.setdefault(label_text(label), feature))
            parent[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for feature in sorted(labels):
        groups.setdefault(root(feature), []).append(feature)
    return list(groups.values())


def split_by_label(labels: Mapping[int, Sequence[str]], val_fraction: float = 0.1, seed: int = 42) -> dict[int, str]:
    """ "train" or "val" for each feature, so that no label stands on both sides.

    labels: those of each feature, at least one each
    val_fraction: of the features, more than 0 and less than 1; as near as whole groups of features allow
    seed: decides which groups are for validation

    Raises ValueError where labels tie all features together, so that there is no such split.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"A validation fraction of {val_fraction} is not between 0 and 1.")
    groups = groups_by_label(labels)
    if len(groups) < 2:
        raise ValueError(
            f"{len(labels):,} features with {len({label_text(each) for mine in labels.values() for each in mine}):,} "
            "different labels hang together by their labels: a split without a leak needs two groups or more."
        )
    wanted = max(1, round(val_fraction * len(labels)))
    order = random.Random(seed).sample(groups, len(groups))
    chosen: list[int] = []
    for group in order:  # one that is larger than what is still wanted is left for training
        if len(chosen) + len(group) <= wanted and len(chosen) + len(group) < len(labels):
            chosen += group
    validation = set(chosen or min(order, key=len))
    return {feature: VAL if feature in validation else TRAIN for feature in sorted(labels)}
