"""Training an adapter: the model stays as it is, and the adapter learns to make it say the labels of vectors.

The published settings mean here what they mean there; batches hold labels, and those of one vector stay together.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.base.files import write_atomically
from scripts.interp.selfie.adapters import Adapter, Saved, save_adapter
from scripts.interp.selfie.describe import describe
from scripts.interp.selfie.losses import Reading, label_losses
from scripts.interp.selfie.settings import Settings
from scripts.interp.training import loop
from scripts.interp.training.processes import ALONE, Processes, from_first, sum_over

WINDOW = 8  # batches within which rows are sorted by length, so that little is padding


class Item(NamedTuple):
    """A vector and the token ids of its labels."""

    vector: int  # its row among the vectors
    labels: tuple[tuple[int, ...], ...]


class Examples(NamedTuple):
    """What is trained on and what is validated on."""

    vectors: Float[Tensor, "n d_model"]
    train: list[Item]
    val: list[Item]


def batches(items: Sequence[Item], size: int, shuffle: Callable[[list], None] | None) -> list[list[Item]]:
    """Items in batches of about `size` labels, at most unless a single vector has more.

    shuffle: puts a list into another order, in place; None leaves the order as it is
    """
    order = list(items)
    if shuffle is not None:
        shuffle(order)
        windows = _cut(order, WINDOW * size)
        order = [item for window in windows for item in sorted(window, key=lambda item: sum(map(len, item.labels)))]
    cut = _cut(order, size)
    if shuffle is not None:
        shuffle(cut)
    return cut


def _cut(items: Sequence[Item], size: int) -> list[list[Item]]:
    parts: list[list[Item]] = []
    n_labels = 0
    for item in items:
        if not parts or n_labels + len(item.labels) > size:
            parts.append([])
            n_labels = 0
        parts[-1].append(item)
        n_labels += len(item.labels)
    return parts


def planned_batches(items: Sequence[Item], settings: Settings) -> list[list[Item]]:
    """All batches of a training, one epoch after another."""
    shuffle = random.Random(settings["seed"]).shuffle if settings["data"]["shuffle"] else None
    plan = []
    for _ in range(settings["training"]["num_epochs"]):
        plan += batches(items, settings["data"]["batch_size"], shuffle)
    return plan


def rate_at(step: int, steps: int, training: dict[str, Any]) -> float:
    """The factor of all learning rates at a step, from 0: up in a line, then as `scheduler_type` says."""
    warm_up = training["warmup_steps"]
    if step < warm_up:
        return 1e-6 + (1 - 1e-6) * step / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    kinds = {"cosine": (1 + math.cos(math.pi * share)) / 2, "linear": 1 - share, "constant": 1.0}
    return kinds[training["scheduler_type"]]


def new_optimizer(adapter: Adapter, training: dict[str, Any]) -> torch.optim.Optimizer:
    """An optimizer with the published groups: the scale is not decayed; scale and bias may have rates of their own."""
    usual = training["learning_rate"]
    groups = []
    for name, parameter in adapter.named_parameters():
        rate = {"log_scale": training["scale_learning_rate"], "bias": training["bias_learning_rate"]}.get(name) or usual
        decay = 0.0 if name == "log_scale" else training["weight_decay"]
        groups.append({"params": [parameter], "lr": rate, "peak": rate, "weight_decay": decay})
    if training["optimizer_type"] == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=training["momentum"])


def mean_loss(
    reading: Reading, adapter: Adapter, vectors: Tensor, batch: Sequence[Item], settings: Settings, processes: Processes
) -> Tensor:
    """This process' part of the mean loss of a batch's labels: its own labels' sum by the number of all of them."""
    mine = batch[processes.rank :: processes.count]
    n_labels = sum(len(item.labels) for item in batch)
    if not mine:
        return torch.zeros((), device=reading.embeddings.device, requires_grad=True)
    training = settings["training"]
    soft = adapter(vectors[[item.vector for item in mine]])
    labels = [item.labels for item in mine]
    return label_losses(reading, soft, labels, training["max_loss"], training["label_smoothing"]).sum() / n_labels


@torch.no_grad()
def validation_loss(
    reading: Reading, adapter: Adapter, examples: Examples, settings: Settings, processes: Processes = ALONE
) -> float | None:
    """The mean loss of held-out labels, in nats a token; None where none is held out."""
    n = math.ceil(len(examples.val) * settings["training"]["val_fraction"])
    items = sorted(random.Random(0).sample(examples.val, n), key=lambda item: sum(map(len, item.labels)))
    if not items:
        return None
    total, n_labels = torch.zeros((), device=reading.embeddings.device), 0
    for batch in batches(items, settings["data"]["batch_size"], None):
        here = sum(len(item.labels) for item in batch)
        total += here * mean_loss(reading, adapter, examples.vectors, batch, settings, processes)
        n_labels += here
    sum_over(processes, [total])
    return total.item() / n_labels


def fingerprint(examples: Examples) -> str:
    """What tells one set of examples from another."""
    digest = hashlib.sha256(examples.vectors.cpu().contiguous().numpy().tobytes())
    digest.update(repr((examples.train, examples.val)).encode())
    return digest.hexdigest()[:16]


class Trained(NamedTuple):
    """What came out of a training."""

    adapter: Adapter  # after the last step
    best: Adapter  # with the lowest validation loss; the last one where nothing is held out
    record: dict[str, Any]


def train(
    reading: Reading,
    adapter: Adapter,
    examples: Examples,
    settings: Settings,
    folder: Path | None = None,
    progress: bool | None = None,
    processes: Processes = ALONE,
    watch: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
) -> Trained:
    """Train an adapter in place; a killed run goes on from its folder, and ends as if it had not been killed.

    folder: where checkpoint, adapters and record go; None keeps nothing
    watch: sees the record whenever it has a new row

    Raises ValueError where the folder's checkpoint belongs to another run, where there is nothing to train, and for a
    loss that is no finite number.
    """
    if not examples.train or adapter.n_parameters() == 0:
        raise ValueError(
            "There is nothing to train: give labels with the split 'train', and an adapter that has parameters."
        )
    training, logging = settings["training"], settings["logging"]
    per_step = training["gradient_accumulation_steps"]
    plan = planned_batches(examples.train, settings)
    steps = min(math.ceil(len(plan) / per_step), training["max_steps"] or math.inf)
    optimizer = new_optimizer(adapter, training)
    best: dict[str, Any] = {"loss": math.inf, "step": 0, "state": _copied(adapter)}

    def step(number: int, parts: Sequence[list[Item]]) -> loop.Step:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate_at(number, steps, training)
        optimizer.zero_grad()
        total = torch.zeros((), device=reading.embeddings.device)
        for part in parts:
            loss = mean_loss(reading, adapter, examples.vectors, part, settings, processes) / len(parts)
            loss.backward()
            total += loss.detach()
        gradients = [_gradient(parameter) for parameter in adapter.parameters()]
        sum_over(processes, [*gradients, total])
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), training["gradient_clip_norm"])
        optimizer.step()
        return loop.Step(total.item(), (total.item(),))

    def validated(number: int) -> bool:
        return number % training["validation_every_n_steps"] == 0 or number == steps

    def row(number: int, averages: tuple[float, ...] | None) -> dict[str, Any]:
        found: dict[str, Any] = {"loss": round(averages[0], 6)} if averages else {}
        if validated(number) and (loss := validation_loss(reading, adapter, examples, settings, processes)) is not None:
            found["val_loss"] = round(loss, 6)
            if loss < best["loss"]:
                best.update(loss=loss, step=number, state=_copied(adapter))
        found |= {"scale": adapter.log_scale.exp().item()} if hasattr(adapter, "log_scale") else {}
        found |= {"bias_norm": adapter.bias.norm().item()} if hasattr(adapter, "bias") else {}
        shown = logging["log_sample_generations"]
        if shown and examples.val and (number % logging["log_generations_every_n_steps"] == 0 or number == steps):
            with torch.no_grad():
                soft = adapter(examples.vectors[[item.vector for item in examples.val[:shown]]])
            found["samples"] = describe(reading, soft)
        return found

    def restore(state: dict[str, Any]) -> None:
        adapter.load_state_dict(state["projection_state"])
        optimizer.load_state_dict(state["optimizer_state"])
        best.update(state["best"])

    is_first = processes.rank == 0 and folder is not None
    outcome = loop.run(
        loop.Training(
            name="adapter",
            settings={"config": settings, "examples": fingerprint(examples), "d_model": adapter.d_model},
            steps=steps,
            batches=lambda start: (plan[i * per_step : (i + 1) * per_step] for i in range(start, steps)),
            step=step,
            row=row,
            is_recorded=lambda number: number % logging["log_every_n_steps"] == 0 or validated(number),
            checkpoint_every=training["checkpoint_every_n_steps"],
            state=lambda: {
                "projection_state": _copied(adapter), "optimizer_state": optimizer.state_dict(), "best": dict(best)
            },
            restore=restore,
            line=lambda found: _line(found, steps) if validated(found["step"]) else "",
            not_finite="The loss is {loss} at step {step}: give a lower training.learning_rate.",
            watch=watch if processes.rank == 0 else lambda rows: None,
            agree=lambda saved: from_first(processes, saved),
        ),
        folder / "checkpoint.pt" if is_first else None,
        progress if processes.rank == 0 else None,
    )  # fmt: skip
    chosen = _with_state(adapter, best["state"]) if examples.val else adapter
    lowest = best["loss"] if math.isfinite(best["loss"]) else None  # None where nothing is held out
    record = {
        "config": settings, "examples": {"train": len(examples.train), "val": len(examples.val)},
        "n_parameters": adapter.n_parameters(), "best": {"step": best["step"], "val_loss": lowest},
        "steps": steps, "seconds": outcome.seconds, "curve": outcome.rows, **loop.where_it_ran(),
        "versions": loop.versions("torch", "transformers"),
    }  # fmt: skip
    if is_first:
        save_adapter(folder / "best.safetensors", chosen, Saved(best["step"], lowest, settings))
        if training["save_final_checkpoint"]:
            save_adapter(folder / "final.safetensors", adapter, Saved(steps, lowest, settings))
        write_atomically(folder / "record.json", json.dumps(record, indent=1) + "\n")
    return Trained(adapter, chosen, record)


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _copied(adapter: Adapter) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in adapter.state_dict().items()}


def _with_state(adapter: Adapter, state: dict[str, Tensor]) -> Adapter:
    twin = copy.deepcopy(adapter)
    twin.load_state_dict(state)
    return twin


def _line(found: dict[str, Any], steps: int) -> str:
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in found.items() if isinstance(value, float))
    return f"step {found['step']:,} of {steps:,}: {numbers}"
