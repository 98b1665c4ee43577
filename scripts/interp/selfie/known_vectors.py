"""Vectors whose meaning is known without an SAE: directions of the corpus' genres, and embeddings of words.

What a genre's direction means is known by how it was made, and so is what a word's embedding means: labels that nobody
had to find by looking at contexts. Words are more to train on; genres are a check that does not hang on labels of
features.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.base.progress import progress_bar
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, layer_of, norm_limit, special_positions
from scripts.interp.selfie.splits import VAL, label_text, split_by_label
from scripts.interp.selfie.training_data import Item, TrainingData
from scripts.interp.text.corpus import Document, beginnings

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

HOOK_NAME = "blocks.12.hook_resid_post"  # what the shipped SAE reads
SPLIT = "train"  # of the corpus: on the others a direction can be tried on text that it was not made from
BATCH_ROWS = 16

GENRE_LABELS: dict[str, tuple[str, ...]] = {  # as a reader would put it; the first one names it in few words
    "code": ("program code", "source code with functions and queries"),
    "dialogue": ("a conversation between people", "people talking, with what they say in quotation marks"),
    "email": ("emails", "an email with a subject and a greeting"),
    "encyclopedia": ("an encyclopedia article", "facts about a subject, as in an encyclopedia"),
    "health": ("health and medicine", "medical advice about patients, diseases and healthy living"),
    "history": ("history", "past events, with kings, wars and years"),
    "instructions": ("instructions", "how to do something, step by step"),
    # The openings name two people, one of whom often gives the other something; the model goes on as it likes.
    "ioi": ("two people who do something together", "two named people, one of whom gives or tells the other something"),
    "legal": ("legal text", "laws, contracts and agreements"),
    "letter": ("letters", "a letter that begins with Dear and a name"),
    "list": ("lists", "a numbered list of facts or things to do"),
    "math": ("mathematics", "math problems and proofs"),
    "news": ("news", "a newspaper report of what has happened"),
    "poem": ("poems", "verses of a poem in short lines"),
    "python": ("Python code", "Python functions, imports and classes"),
    "qa": ("questions and answers", "a question and the answer to it"),
    "recipe": ("recipes", "a recipe with ingredients and steps"),
    "review": ("reviews", "an opinion about a movie, a restaurant or a product"),
    "science": ("science", "scientific research and experiments"),
    "speech": ("speeches", "a speech to an audience"),
    "story": ("stories", "a tale for children, as in once upon a time"),
    "travel": ("travel", "a trip to other places, with hotels and sights"),
}

WORD = re.compile(r"(?<= )[a-z]{4,}(?![\w'’-])")  # after a space, and not the beginning of anything longer
NO_PROSE = ("code", "python")  # full of names that are no words
LEAST_DOCUMENTS = 5  # that a word stands in: made-up ones are left out


def genre_directions(
    model: TransformerBridge,
    documents: Sequence[Document],
    hook_name: str = HOOK_NAME,
    n_documents: int = 32,
    n_tokens: int = 32,
    seed: int = 42,
) -> dict[str, Float[Tensor, " d_model"]]:
    """For each genre its mean activation minus the mean over genres, each of which counts the same: [d_model].

    Means are over tokens. BOS and tokens of massive activation are left out (see `at_hooks`).

    n_documents, n_tokens: the beginnings of so many documents of a genre, drawn at random, BOS included in n_tokens:
        many short texts are of more subjects than a few long ones, which take as long, and tell other texts' genres
        better

    Raises ValueError for documents of one genre alone, a genre without a text of n_tokens, and for what
    `hook_activations` refuses.
    """
    genres = sorted({document.genre for document in documents})
    if len(genres) < 2:
        raise ValueError(f"The documents are of {len(genres)} genres: a direction is the difference to others.")
    draw = random.Random(seed)
    means = {}
    with progress_bar(n_documents * len(genres), "genres") as bar:
        for genre in genres:
            mine = [document for document in documents if document.genre == genre]
            rows = beginnings(draw.sample(mine, len(mine)), model.tokenizer, n_tokens, n_documents)
            kept = []
            for batch in rows.split(BATCH_ROWS):
                x = hook_activations(model, batch, [hook_name])[hook_name].float()
                is_special = special_positions(model, batch)
                kept.append(x[kept_positions(x, is_special, norm_limit(x, is_special))].cpu())
                bar.update(len(batch))
            means[genre] = torch.cat(kept).mean(dim=0)
    overall = torch.stack(list(means.values())).mean(dim=0)
    return {genre: mean - overall for genre, mean in means.items()}


def genre_data(
    directions: Mapping[str, Float[Tensor, " d_model"]], hook_name: str = HOOK_NAME, model_name: str = ""
) -> TrainingData:
    """Directions of genres with their labels. All are for validation: so few teach little, and they are the check.

    Raises ValueError for a genre that has no labels in `GENRE_LABELS`.
    """
    unknown = sorted(set(directions) - set(GENRE_LABELS))
    if unknown:
        raise ValueError(f"There are no labels for {', '.join(unknown)}: genres are {', '.join(GENRE_LABELS)}.")
    section = {
        "dataset_name": "genres", "layer": layer_of(hook_name), "source": f"the corpus, split {SPLIT}",
        "vector_type": "mean_difference", "model": model_name, "hook_name": hook_name,
    }  # fmt: skip
    items = [Item(row, GENRE_LABELS[genre], VAL, section) for row, genre in enumerate(directions)]
    return TrainingData(torch.stack(list(directions.values())).float(), items)


def token_data(
    tokenizer: PreTrainedTokenizerBase,
    embeddings: Float[Tensor, "d_vocab d_model"],
    documents: Sequence[Document],
    n: int = 400,
    seed: int = 42,
    val_fraction: float = 0.2,
    taken: Collection[str] = (),
    model_name: str = "",
) -> TrainingData:
    """Input embeddings of n words drawn at random, each labelled with its word, and split by label.

    Words have four small letters or more, stand in five of the documents or more, code aside, and are one token with
    the space before it. None is the label of a genre: these stay a check.

    taken: labels of other vectors; a word with one of them is not drawn, so that data put together do not leak

    Raises ValueError where there are fewer words, and for fewer than 2.
    """
    if n < 2:
        raise ValueError(f"{n} words can't be split into training and validation: draw 2 or more.")
    seen = Counter(
        word for document in documents if document.genre not in NO_PROSE for word in set(WORD.findall(document.text))
    )
    taken = {label_text(label) for label in (*taken, *chain.from_iterable(GENRE_LABELS.values()))}
    common = sorted(
        word
        for word, count in seen.items()
        if count >= LEAST_DOCUMENTS and not taken & {label_text(label) for label in word_labels(word)}
    )
    ids = tokenizer([f" {word}" for word in common], add_special_tokens=False)["input_ids"] if common else []
    found = [(word, mine[0]) for word, mine in zip(common, ids) if len(mine) == 1]
    if len(found) < n:
        raise ValueError(f"The documents have {len(found):,} words that are one token: draw no more, {n:,} are asked.")
    chosen = sorted(random.Random(seed).sample(found, n))
    labels = {row: word_labels(word) for row, (word, _) in enumerate(chosen)}
    splits = split_by_label(labels, val_fraction, seed)
    section = {
        "dataset_name": "words", "layer": None, "source": f"words of the corpus, split {SPLIT}",
        "vector_type": "token_embedding", "model": model_name, "split": f"fraction {val_fraction:g}, seed {seed}",
    }  # fmt: skip
    rows = embeddings.detach()[[token for _, token in chosen]].float().cpu()
    return TrainingData(rows, [Item(row, labels[row], splits[row], section) for row in labels])


def word_labels(word: str) -> tuple[str, ...]:
    """What the embedding of a word is labelled with."""
    return word, f"the word {word}"
