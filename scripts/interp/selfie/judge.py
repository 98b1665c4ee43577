"""How much a model says about vectors that an adapter was not trained on.

Three measures, each a number for every vector, and each with a null that knows nothing of the vector: how well labels
are predicted, whether its own label is told from those of others, and whether what the model writes tells text in
which a feature is active from other text. Who reads that text is no language model: it compares words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scripts.interp.features.intruder import token_rarity
from scripts.interp.selfie.losses import Reading, label_losses

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEFORE = 8  # tokens of a context before the one where the feature is active, or is not
AT_ONCE = 16  # vectors


@torch.no_grad()
def label_log_likelihood(
    reading: Reading, soft: Float[Tensor, "n d_model"], labels: Sequence[Sequence[Sequence[int]]]
) -> Float[Tensor, " n"]:
    """For each vector the mean log-probability of its labels, in nats a token: [n].

    labels: for each vector, the token ids of its labels
    """
    means = []
    for start in range(0, len(soft), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        losses = label_losses(reading, soft[part], labels[part])
        means += [-each.mean() for each in losses.split([len(mine) for mine in labels[part]])]
    return torch.stack(means)


@torch.no_grad()
def own_label_first(
    reading: Reading, soft: Float[Tensor, "n d_model"], labels: Sequence[Sequence[int]]
) -> Bool[Tensor, " n"]:
    """Whether, of the labels of all vectors, one each, a vector makes its own the likeliest: bool [n].

    What is compared is by how much a vector makes a label likelier than vectors do in the mean: otherwise short and
    common labels would come first whatever the vector. By chance one in n is right.

    labels: the token ids of one label for each vector, no two alike
    """
    if len({tuple(label) for label in labels}) < len(labels):
        raise ValueError("Two vectors have the same label: give labels of which none is there twice.")
    different, which = soft.unique(dim=0, return_inverse=True)  # a bias alone is one soft token for all vectors
    means = torch.stack([-label_losses(reading, each[None], [labels]) for each in different])  # [vector, label]
    said = means[which.to(means.device)] * torch.tensor([len(label) for label in labels], device=means.device)
    return (said - said.mean(dim=0)).argmax(dim=1) == torch.arange(len(soft), device=said.device)


def different_labels(labels: Sequence[Sequence[Sequence[int]]], n: int) -> dict[int, Sequence[int]]:
    """By the number of a vector a label that no vector before it has; of the first n vectors that have such a label."""
    chosen: dict[int, Sequence[int]] = {}
    for number, mine in enumerate(labels):
        taken = {tuple(label) for label in chosen.values()}
        free = [label for label in mine if tuple(label) not in taken]
        if free and len(chosen) < n:
            chosen[number] = free[0]
    return chosen


class Contexts(NamedTuple):
    """Text around tokens at which a feature is active, and around some at which it is zero."""

    active: list[list[int]]  # token ids, BEFORE of them and the token itself; fewer where the text begins
    silent: list[list[int]]


def some_contexts(
    rows: Int[Tensor, "n_rows pos"],
    activations: Float[Tensor, "n_rows pos"],
    bos_token_id: int,
    n: int = 20,
    least: float = 0.25,
    seed: int = 0,
) -> Contexts:
    """Contexts of a feature, n of each kind or as many as there are, drawn at random.

    activations: of the feature at every token of `rows`
    least: the share of the largest activation that counts as active
    """
    generator = torch.Generator().manual_seed(seed)
    rows, activations = rows.cpu(), activations.cpu()
    is_text = rows != bos_token_id

    def drawn(where: Tensor) -> list[list[int]]:
        places = where.nonzero()
        chosen = places[torch.randperm(len(places), generator=generator)[:n]].tolist()
        return [_context(rows[row].tolist(), position, bos_token_id) for row, position in chosen]

    active = (activations >= least * activations.max()) & (activations > 0) & is_text
    return Contexts(drawn(active), drawn((activations == 0) & is_text))


def _context(row: list[int], position: int, bos_token_id: int) -> list[int]:
    ids = row[max(0, position - BEFORE) : position + 1]
    return ids[len(ids) - ids[::-1].index(bos_token_id) :] if bos_token_id in ids else ids


class Words(NamedTuple):
    """What descriptions and text are compared by."""

    tokenizer: PreTrainedTokenizerBase
    unit: Float[Tensor, "d_vocab d_model"]  # embeddings without their mean over text, as unit vectors
    rarity: Float[Tensor, " d_vocab"]  # the weight of a token of a description
    masked: frozenset[str]  # words that no score sees: those of the prompt


def new_words(reading: Reading, template: str, rows: Int[Tensor, "n_rows pos"]) -> Words:
    """The words of a model: its embeddings, and how rare each token is in some rows of text."""
    embeddings = reading.plain.model.get_input_embeddings().weight.detach().float()
    rarity = token_rarity(rows, len(embeddings)).to(embeddings.device)
    share = (-rarity).exp()
    unit = F.normalize(embeddings - share @ embeddings, dim=-1)
    return Words(reading.plain.tokenizer, unit, rarity, frozenset(_words(template)))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def likeness(words: Words, description: str, contexts: Sequence[Sequence[int]]) -> Float[Tensor, " n"]:
    """How much each context [n] is like a description: the largest cosine of each of its words, rare words more.

    A description of which nothing is left without the prompt's words is like every context.
    """
    kept = " ".join(each for each in description.split() if not set(_words(each)) <= words.masked)
    ids = words.tokenizer(f" {kept}", add_special_tokens=False)["input_ids"] if kept else []
    if not ids:
        return torch.zeros(len(contexts))
    mine, weights = words.unit[ids], words.rarity[ids]
    best = [(mine @ words.unit[list(each)].T).max(dim=1).values for each in contexts]
    return torch.stack([(each * weights).sum() / weights.sum() for each in best]).cpu()


def auroc(active: Float[Tensor, " n"], silent: Float[Tensor, " m"]) -> float:
    """How often a value of the first kind is above one of the second; ties count half. 0.5 is chance."""
    difference = active[:, None] - silent
    return ((difference > 0).float() + 0.5 * (difference == 0)).mean().item()


class Scores(NamedTuple):
    """AUROC over features, [n] each."""

    own: Float[Tensor, " n"]  # of each feature's description
    others: Float[Tensor, " n"]  # what the other descriptions get on its contexts, in the mean: the control


def description_auroc(words: Words, descriptions: Sequence[str], contexts: Sequence[Contexts]) -> Scores:
    """How well each feature's description tells where it is active, and how well those of other features do.

    Raises ValueError for fewer than two features: there are no others then.
    """
    if len(descriptions) < 2:
        raise ValueError(
            "There is one description: give those of two features or more, so that others can be compared."
        )
    all_pairs = torch.tensor([
        [auroc(likeness(words, text, each.active), likeness(words, text, each.silent)) for each in contexts]
        for text in descriptions
    ])  # fmt: skip
    of_others = all_pairs.masked_fill(torch.eye(len(all_pairs), dtype=torch.bool), torch.nan)
    return Scores(all_pairs.diagonal().clone(), of_others.nanmean(dim=0))
