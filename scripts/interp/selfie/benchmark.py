"""What a training step of an adapter costs: the published plain loop, and shared prompts without padding.

The steps are those of one epoch over labels of the repository's own SAE, the same examples in batches of as many labels
for both: loss and gradient of the adapter. They take turns, round after round, in one process.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scripts.interp.base.machine import machine_facts, say
from scripts.interp.base.tables import table
from scripts.interp.selfie.adapters import Adapter
from scripts.interp.selfie.losses import Reading, label_losses, plain_losses
from scripts.interp.selfie.training import Examples, Item, batches

ROUNDS, LABELS, STEPS = 3, 80, 2


def plain_batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Batches as the published code makes them: pairs of a vector and one label, in random order."""
    pairs = [Item(item.vector, (label,)) for item in items for label in item.labels]
    random.Random(0).shuffle(pairs)
    return [pairs[i : i + size] for i in range(0, len(pairs), size)]


def seconds_of(step: Callable[[list[Item]], Tensor], adapter: Adapter, parts: list[list[Item]]) -> tuple[float, float]:
    """Seconds of loss and gradient for these batches, and the mean loss of all their labels."""
    start, total, n_labels = time.perf_counter(), 0.0, 0
    for part in parts:
        adapter.zero_grad()
        losses = step(part)
        losses.mean().backward()
        total, n_labels = total + losses.detach().double().sum().item(), n_labels + len(losses)
    return time.perf_counter() - start, total / n_labels


def compare(
    reading: Reading, examples: Examples, what: str, rounds: int = ROUNDS, size: int = LABELS
) -> dict[str, Any]:
    """One row: tokens a second of both ways on the same labels, and how far their losses are apart."""
    torch.manual_seed(0)
    adapter = Adapter("scalar_affine", examples.vectors.shape[1], init_scale=5.0).to(examples.vectors.device)
    n, items = 0, []
    for item in examples.train:  # as many as fill the steps
        if n < size * STEPS:
            items.append(item)
            n += len(item.labels)
    tokens = sum(len(label) for item in items for label in item.labels)

    def fast(part: list[Item]) -> Tensor:
        soft = adapter(examples.vectors[[item.vector for item in part]])
        return label_losses(reading, soft, [item.labels for item in part])

    def plain(part: list[Item]) -> Tensor:
        soft = adapter(examples.vectors[[item.vector for item in part]])
        return plain_losses(reading.plain, reading.prompt, soft, [item.labels for item in part])

    ways = {
        "plain": (plain, plain_batches(items, size)),
        "fast": (fast, batches(items, size, random.Random(0).shuffle)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    loss: dict[str, float] = {}
    for number in range(rounds):
        for way, (step, parts) in ways.items():
            say(f"{what}, round {number + 1} of {rounds}: {way} …")
            took, loss[way] = seconds_of(step, adapter, parts)
            seconds[way].append(took)
    with torch.no_grad():
        difference = (plain(items[: size // 4]) - fast(items[: size // 4])).abs().max().item()  # label by label
    return {
        "labels": what,
        "n_labels": n,
        "prompt_tokens": len(reading.prompt.ids),
        "label_tokens": tokens,
        "plain_tokens_per_second": round(tokens / statistics.median(seconds["plain"]), 1),
        "fast_tokens_per_second": round(tokens / statistics.median(seconds["fast"]), 1),
        "times_faster": round(statistics.median(seconds["plain"]) / statistics.median(seconds["fast"]), 2),
        "plain_loss": loss["plain"],
        "fast_loss": loss["fast"],
        "largest_difference": difference,
    }


def benchmark(threads: int, quick: bool) -> dict[str, Any]:
    """Everything that is reported, with the embedded model and the labels of its SAE's features."""
    from scripts.interp.models.plain import load_plain_model
    from scripts.interp.selfie.examples import examples_of, feature_data
    from scripts.interp.selfie.losses import new_reading
    from scripts.interp.selfie.prompt import read_prompt

    rounds, size = (1, 8) if quick else (ROUNDS, LABELS)
    torch.set_num_threads(threads)
    plain = load_plain_model("smollm2-135m")
    reading = new_reading(plain, read_prompt(plain.tokenizer))
    examples = examples_of(feature_data(), plain.tokenizer)
    single = examples._replace(train=[item._replace(labels=item.labels[:1]) for item in examples.train])
    return {
        "cases": [
            compare(reading, examples, "all labels of a vector", rounds, size),
            compare(reading, single, "one label a vector", rounds, size),
        ],
        "environment": {**machine_facts(), "threads": threads},
    }


def report_text(report: dict[str, Any]) -> str:
    """The report to read."""
    environment = ", ".join(f"{name} {value}" for name, value in report["environment"].items())
    formats = {"times_faster": ".2f", "plain_loss": ".6f", "fast_loss": ".6f", "largest_difference": ".1e"}
    return f"{table(report['cases'], formats)}\n\n{environment}"
