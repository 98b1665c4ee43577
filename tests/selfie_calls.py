"""The same for the helpers of scripts/interp/selfie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scripts.interp.features.contexts import sae_latents
from scripts.interp.selfie.adapters import KINDS, Adapter
from scripts.interp.selfie.describe import describe
from scripts.interp.selfie.feature_labels import detection, matches, read_text
from scripts.interp.selfie.judge import (
    description_auroc,
    label_log_likelihood,
    likeness,
    new_words,
    own_label_first,
    some_contexts,
)
from scripts.interp.selfie.known_vectors import genre_directions
from scripts.interp.selfie.losses import Reading, label_losses, new_reading, plain_losses
from scripts.interp.selfie.prompt import Prompt
from scripts.interp.selfie.settings import checked
from scripts.interp.selfie.training import Examples, Item, train as train_adapter
from scripts.interp.selfie.training_data import check_vectors
from scripts.interp.text.corpus import load_corpus
from tests.scene import Scene

LABELS = [[[5, 9, 4], [7, 4]], [[11]], [[6, 8, 12, 13, 4], [3, 3, 4], [9, 4]]]  # token ids, for three vectors
SETTINGS = {
    "data": {"batch_size": 4}, "training": {"max_steps": 1, "num_epochs": 1, "val_fraction": 1.0},
    "logging": {"log_sample_generations": 1, "log_generations_every_n_steps": 1},
}  # fmt: skip


def reading(scene: Scene) -> Reading:
    return new_reading(scene.plain, Prompt(torch.tensor([1, 20, 0, 22, 23, 0, 25]), (2, 5)))


def soft(scene: Scene) -> Tensor:
    """Three soft tokens, where text is."""
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(1)).to(scene.rows.device)


def adapter_trained(scene: Scene) -> Any:
    items = [Item(number, tuple(map(tuple, labels))) for number, labels in enumerate(LABELS)]
    examples = Examples(soft(scene), items[:2], items[2:])
    with torch.enable_grad():
        trained = train_adapter(reading(scene), Adapter("scalar_affine", 32), examples, checked(SETTINGS, "here"))
    return [row["loss"] for row in trained.record["curve"] if "loss" in row], trained.adapter(soft(scene)).detach()


def words_compared(scene: Scene) -> Any:
    words = new_words(reading(scene), "What is it?", scene.rows[:, :20] % 300)
    contexts = some_contexts(scene.rows % 300, sae_latents(scene.toy, scene.sae, scene.rows)[..., 5], 0, 4)
    return likeness(words, "hello world", [[5, 6], [30]]), description_auroc(words, ["hello", "world"], [contexts] * 2)


def predicate_scored(scene: Scene) -> Any:
    text = read_text(scene.toy.tokenizer, scene.rows)
    return detection(matches({"token": " .*"}, text), sae_latents(scene.toy, scene.sae, scene.rows)[..., 5], 0.0)


def genres(scene: Scene) -> Tensor:
    documents = [each for each in load_corpus("test") if each.genre in ("poem", "qa")]
    return torch.stack(list(genre_directions(scene.toy, documents, "blocks.0.hook_resid_post", 1, 16).values()))


SELFIE_CALLS: dict[str, Callable[[Scene], Any]] = {
    "label_losses": lambda s: label_losses(reading(s), soft(s), LABELS),
    "plain_losses": lambda s: plain_losses(s.plain, reading(s).prompt, soft(s), LABELS),
    "describe": lambda s: list(map(len, describe(reading(s), soft(s), 3))),
    "describe, drawn": lambda s: list(map(len, describe(reading(s), soft(s), 3, temperature=1.0))),
    "label_log_likelihood": lambda s: label_log_likelihood(reading(s), soft(s), LABELS),
    "own_label_first": lambda s: own_label_first(reading(s), soft(s), [each[0] for each in LABELS]),
    "likeness": words_compared,
    "adapters": lambda s: [Adapter(kind, 32, rank=2)(soft(s)).detach() for kind in KINDS],
    "train an adapter": adapter_trained,
    "detection": predicate_scored,
    "genre_directions": genres,
    "check_vectors": lambda s: check_vectors(s.sae.W_dec, "W_dec"),
}
