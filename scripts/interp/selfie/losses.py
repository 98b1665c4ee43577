"""How well a model says labels after a prompt with a soft token: cross-entropy, by a plain loop and fast.

Everything before the first placeholder is the same for all vectors: its keys and values are computed once. What lies
between it and the label is the same for all labels of one vector: they stand side by side in one row, each blind to the
others. Logits are computed where a label is predicted, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scripts.interp.models.plain import PlainModel
from scripts.interp.selfie.prompt import Prompt, insert


class Reading(NamedTuple):
    """A model, a prompt, and what of it has been computed already."""

    plain: PlainModel
    prompt: Prompt
    embeddings: Float[Tensor, "n_tokens d_model"]
    before: list[tuple[Float[Tensor, "1 head n_before d_head"], ...]]  # keys and values of each layer; [] is no prefix

    @property
    def n_before(self) -> int:
        """Tokens whose keys and values are kept."""
        return self.before[0][0].shape[2] if self.before else 0


def new_reading(plain: PlainModel, prompt: Prompt, keep_prefix: bool = True) -> Reading:
    """Compute what does not depend on a soft token.

    keep_prefix: False keeps no keys and values, as gradient checkpointing needs it: transformers drops caches there
    """
    model = plain.model
    ids = prompt.ids.to(model.device)
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(ids)
        first = prompt.places[0]
        if first == 0 or not keep_prefix:
            return Reading(plain, prompt, embeddings, [])
        cache = model(ids[None, :first], use_cache=True, logits_to_keep=1).past_key_values
    return Reading(plain, prompt, embeddings, [(layer.keys, layer.values) for layer in cache.layers])


class Rows(NamedTuple):
    """Labels of several vectors, side by side behind the end of the prompt; one row a vector."""

    ids: Int[Tensor, "n_rows n_ids"]  # of labels, without their last tokens, which predict nothing
    owner: Int[Tensor, "n_rows n_ids"]  # the number of the label in its row, from 1; 0 is padding
    place: Int[Tensor, "n_rows n_ids"]  # in the label, from 0
    row: Int[Tensor, " n_targets"]  # of every token that is predicted: its row,
    at: Int[Tensor, " n_targets"]  # where it is predicted; 0 is the end of the prompt, 1 the first of `ids`
    target: Int[Tensor, " n_targets"]  # its id
    label: Int[Tensor, " n_targets"]  # the number of its label, over all rows
    n_labels: int


def rows_of(labels: Sequence[Sequence[Sequence[int]]], device: torch.device | str = "cpu") -> Rows:
    """Lay out the token ids of every vector's labels."""
    width = max(sum(len(label) - 1 for label in each) for each in labels)
    ids, owner, place = (torch.zeros(len(labels), width, dtype=torch.long) for _ in range(3))
    row, at, target, number = [], [], [], []
    n_labels = 0
    for i, each in enumerate(labels):
        start = 0
        for j, label in enumerate(each):
            part = slice(start, start + len(label) - 1)
            ids[i, part] = torch.tensor(label[:-1], dtype=torch.long)
            owner[i, part], place[i, part] = j + 1, torch.arange(len(label) - 1)
            row += [i] * len(label)
            at += [0, *range(start + 1, start + len(label))]
            target += label
            number += [n_labels] * len(label)
            start += len(label) - 1
            n_labels += 1
    as_tensors = (torch.tensor(each) for each in (row, at, target, number))
    return Rows(*(each.to(device) for each in (ids, owner, place, *as_tensors)), n_labels)


def may_see(owner: Int[Tensor, "n_rows n_ids"], n_before: int, n_prompt: int) -> Bool[Tensor, "n_rows query key"]:
    """Which positions each position reads: the prompt up to itself, and its own label up to itself.

    n_before: tokens of the prompt that are keys only; n_prompt: tokens of the prompt after those
    Returns [n_rows, n_prompt + n_ids, n_before + n_prompt + n_ids].
    """
    whose = F.pad(owner, (n_prompt, 0))  # 0 is the prompt, and padding, which nothing but padding comes after
    n = whose.shape[1]
    earlier = torch.ones(n, n, dtype=torch.bool, device=owner.device).tril()
    of_prompt = torch.arange(n, device=owner.device) < n_prompt
    allowed = earlier & (of_prompt | (whose[:, :, None] == whose[:, None, :]))
    return F.pad(allowed, (n_before, 0), value=True)


def label_losses(
    reading: Reading,
    soft: Float[Tensor, "n d_model"],
    labels: Sequence[Sequence[Sequence[int]]],
    max_loss: float = float("inf"),
    label_smoothing: float = 0.0,
) -> Float[Tensor, " n_labels"]:
    """The mean cross-entropy in nats of the tokens of each label, [n_labels], in the order of `labels`.

    soft: a soft token for each vector, [n, d_model]
    labels: for each vector, the token ids of its labels, each of one id or more
    max_loss: a token's loss counts as no more
    """
    model = reading.plain.model
    first = reading.n_before
    rows = rows_of(labels, model.device)
    prompt = insert(reading.embeddings[first:], tuple(place - first for place in reading.prompt.places), soft)
    n_prompt = prompt.shape[1]
    x = torch.cat([prompt, model.get_input_embeddings()(rows.ids)], dim=1)
    allowed = may_see(rows.owner, first, n_prompt)[:, None]
    mask = torch.zeros(allowed.shape, dtype=x.dtype, device=x.device).masked_fill(~allowed, torch.finfo(x.dtype).min)
    positions = torch.cat([torch.arange(n_prompt, device=x.device).expand(len(x), -1), n_prompt + rows.place], dim=1)
    logits = model(
        inputs_embeds=x, attention_mask=mask, position_ids=first + positions,
        past_key_values=keys_and_values(reading, len(x)), use_cache=False, logits_to_keep=x.shape[1] - n_prompt + 1,
    ).logits  # fmt: skip
    losses = F.cross_entropy(
        logits[rows.row, rows.at].float(), rows.target, reduction="none", label_smoothing=label_smoothing
    ).clamp(max=max_loss)
    sums = losses.new_zeros(rows.n_labels).index_add(0, rows.label, losses)
    return sums / torch.bincount(rows.label, minlength=rows.n_labels)


def keys_and_values(reading: Reading, n_rows: int):
    """What is known of the prompt, as a cache that transformers adds to, for so many rows; None where nothing is."""
    from transformers import DynamicCache

    if not reading.before:
        return None
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(reading.before):
        cache.update(keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1), layer)
    return cache


def plain_losses(
    plain: PlainModel,
    prompt: Prompt,
    soft: Float[Tensor, "n d_model"],
    labels: Sequence[Sequence[Sequence[int]]],
    max_loss: float = float("inf"),
    label_smoothing: float = 0.0,
) -> Float[Tensor, " n_labels"]:
    """The same as published code computes it: the whole prompt for every label, all rows as long as the longest."""
    model = plain.model
    embed, device = model.get_input_embeddings(), model.device
    template = embed(prompt.ids.to(device))
    pairs = [(number, label) for number, each in enumerate(labels) for label in each]
    longest = max(len(label) for _, label in pairs)
    x, mask = [], []
    for number, label in pairs:
        row = insert(template, prompt.places, soft[number : number + 1])[0]
        row = torch.cat([row, embed(torch.tensor(label, device=device))])
        mask.append(F.pad(torch.ones(len(row), dtype=torch.long, device=device), (0, longest - len(label))))
        x.append(F.pad(row, (0, 0, 0, longest - len(label))))
    logits = model(inputs_embeds=torch.stack(x), attention_mask=torch.stack(mask)).logits
    losses = []
    for row, (_, label) in zip(logits, pairs):
        said = row[len(template) - 1 : len(template) + len(label) - 1].float()
        target = torch.tensor(label, device=device)
        each = F.cross_entropy(said, target, reduction="none", label_smoothing=label_smoothing)
        losses.append(each.clamp(max=max_loss).mean())
    return torch.stack(losses)
