"""Labels of features of the embedded model's SAE, and how often they are right.

`data/feature_labels.json` is a file of training data (see `training_data`) in which every feature also has a predicate,
or a blind sorting, that its label was tested with. A predicate is a pair of regular expressions about a token and the
text before it. Its F1 is over all tokens of a split, and counts the feature as active above a share of its largest
activation: the share is chosen on the validation split, where labels were written as well, F1 is of the test split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scripts.interp.base.paths import ROOT
from scripts.interp.base.progress import progress_bar
from scripts.interp.features.contexts import sae_latents
from scripts.interp.models.load import load_model
from scripts.interp.saes.load import load_sae
from scripts.interp.text.corpus import load_corpus, packed_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = ROOT / "data" / "feature_labels.json"
CONTEXT, SPLITS_USED = 256, ("validation", "test")  # where labels were written, and where they are tested
BACK = 64  # tokens of text that a predicate sees, its own included
SHARES = (0.0, 0.1, 0.25, 0.5)  # of the largest activation
LEAST_F1 = 0.3  # of a label that its predicate supports
SORTED, LEAST_SORTED = 12, 10  # contexts that are sorted blindly, half of them active, and how many have to be right


class Text(NamedTuple):
    """Every token of some rows as text, and what stands before it."""

    before: list[list[str]]  # [row][pos], back to the beginning of the document or BACK tokens
    tokens: list[list[str]]  # "" where a document begins


def read_text(tokenizer: PreTrainedTokenizerBase, rows: Int[Tensor, "n_rows pos"]) -> Text:
    """The tokens of rows of ids as predicates see them."""
    bos = tokenizer.bos_token_id
    known = {token: tokenizer.decode([token]) for token in rows.unique().tolist()} | {bos: ""}
    before, tokens = [], []
    for row in rows.tolist():
        start, mine = 0, []
        for position, token in enumerate(row):
            start = position + 1 if token == bos else start
            mine.append("".join(known[each] for each in row[max(start, position - BACK + 1) : position]))
        before.append(mine)
        tokens.append([known[token] for token in row])
    return Text(before, tokens)


def matches(predicate: dict[str, str], text: Text) -> Bool[Tensor, "n_rows pos"]:
    """Where a predicate says yes: the token matches "token" as a whole, the text before it ends with "before".

    Raises ValueError for a predicate that says anything else, or that is no regular expression.
    """
    if not predicate or set(predicate) - {"before", "token"}:
        raise ValueError(f"A predicate has 'before', 'token' or both, and this one is {predicate}.")
    try:
        token = re.compile(predicate.get("token", "(?s:.*)"))
        before = re.compile(f"(?:{predicate.get('before', '')})\\Z")
    except re.error as error:
        raise ValueError(f"The predicate {predicate} is no regular expression: {error}.") from error
    fits = {each: bool(each) and token.fullmatch(each) is not None for row in text.tokens for each in row}
    return torch.tensor([
        [fits[each] and before.search(earlier) is not None for earlier, each in zip(*row)]
        for row in zip(text.before, text.tokens)
    ])  # fmt: skip


class Detection(NamedTuple):
    """How well a predicate tells where a feature is active."""

    precision: float
    recall: float
    f1: float
    n_active: int


def detection(said: Bool[Tensor, "n_rows pos"], activations: Float[Tensor, "n_rows pos"], above: float) -> Detection:
    """Precision, recall and F1 of a predicate, counting the feature as active above this activation."""
    active = (activations > above).to(said.device)
    right, n_said, n_active = ((each).sum().item() for each in (said & active, said, active))
    return Detection(
        right / n_said if n_said else 0.0,
        right / n_active if n_active else 0.0,
        2 * right / (n_said + n_active) if n_said + n_active else 0.0,
        n_active,
    )


def chosen_share(said: Bool[Tensor, "n_rows pos"], activations: Float[Tensor, "n_rows pos"]) -> float:
    """The share of the largest activation above which a predicate tells best where the feature is active."""
    largest = activations.max()
    return max(SHARES, key=lambda share: detection(said, activations, share * largest).f1)


def scores(
    predicate: dict[str, str],
    written_on: tuple[Text, Float[Tensor, "n_rows pos"]],
    tested_on: tuple[Text, Float[Tensor, "n_test_rows pos"]],
) -> dict[str, Any]:
    """What is stored with a label: the share chosen where it was written, precision, recall and F1 on other text."""
    (text, activations), (other_text, other_activations) = written_on, tested_on
    share = chosen_share(matches(predicate, text), activations)
    found = detection(matches(predicate, other_text), other_activations, share * activations.max().item())
    return {
        "above": share, "precision": round(found.precision, 3), "recall": round(found.recall, 3),
        "f1": round(found.f1, 3), "n_active": found.n_active,
    }  # fmt: skip


def is_supported(vector: dict[str, Any]) -> bool:
    """Whether a label's test came out well: its predicate on the test split, or else the blind sorting."""
    return (vector.get("f1") or 0) >= LEAST_F1 or (vector.get("sorted_right") or 0) >= LEAST_SORTED


def read_feature_labels(path: Path = FILE) -> list[dict[str, Any]]:
    """The vectors of the file, each a dict: index, labels, split, predicate and scores."""
    return json.loads(path.read_text(encoding="utf-8"))[0]["vectors"]


def activations_on(
    split: str, latents: Sequence[int]
) -> tuple[Int[Tensor, "n_rows pos"], Text, Float[Tensor, "n_rows pos n_latents"]]:
    """The rows of a split of the corpus, their text, and what these latents are there, in half precision."""
    documents = load_corpus(split)  # first: a split that there is not need not wait for a model
    model = load_model("smollm2-135m")
    sae = load_sae(model)
    rows = packed_tokens(documents, model.tokenizer, CONTEXT)
    parts = []
    with torch.no_grad(), progress_bar(len(rows), split) as bar:
        for part in rows.split(8):
            parts.append(sae_latents(model, sae, part)[..., list(latents)].half().cpu())
            bar.update(len(part))
    return rows, read_text(model.tokenizer, rows), torch.cat(parts)
