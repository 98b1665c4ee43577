"""The loop of every training in this project: a killed run goes on where it was, and ends as if it had not been killed.

Whoever trains says what one step is, what is measured and what a checkpoint has to hold; the loop does the rest.
"""

import importlib
import io
import math
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scripts.interp.base.files import write_atomically
from scripts.interp.base.progress import progress_bar


class Step(NamedTuple):
    """What a step gives."""

    loss: float  # must be a finite number
    averaged: tuple[float, ...]  # numbers whose averages since the last row the next row of the record is made of


class Training(NamedTuple):
    """What one training does in its own way."""

    name: str  # what a progress bar calls it
    settings: dict[str, Any]  # what makes two runs the same one; a checkpoint of other settings is refused
    steps: int
    batches: Callable[[int], Iterator[Any]]  # those for a step (from 0) and the steps after it, without end
    step: Callable[[int, Any], Step]  # trains on the batch of that step, from 0
    row: Callable[[int, tuple[float, ...] | None], dict[str, Any]]  # of the record, after so many steps, from averages
    is_recorded: Callable[[int], bool]  # after so many steps; 0 is before the first, when there are no averages
    checkpoint_every: int  # steps; there is one after the last step as well
    state: Callable[[], dict[str, Any]]  # what `torch.load(weights_only=True)` reads and `restore` takes
    restore: Callable[[dict[str, Any]], None]
    line: Callable[[dict[str, Any]], str]  # to print for a row where nobody watches a bar; "" is none
    not_finite: str = "The loss is {loss} at step {step}: give a lower --learning-rate."
    watch: Callable[[list[dict[str, Any]]], None] = lambda rows: None  # sees the record whenever it has a new row
    agree: Callable[[dict[str, Any] | None], dict[str, Any] | None] = lambda saved: saved
    """Which checkpoint is gone on from, given the one that was read or None: several processes take the first one's."""


class Outcome(NamedTuple):
    """What is left of a run, besides what was trained."""

    rows: list[dict[str, Any]]  # the record, each with its "step"
    seconds: int  # that it took, those before a kill included


def run(training: Training, checkpoint: Path | None, progress: bool | None) -> Outcome:
    """Train to the last step, from the checkpoint if there is that file; it is written again now and then.

    checkpoint: None keeps nothing
    progress: True for a bar, False for printed lines, None for a bar where somebody watches

    Raises ValueError where the checkpoint belongs to another run, and for a loss that is no finite number.
    """
    step, seconds, rows, sums, saved = 0, 0.0, [], [], None
    if checkpoint is not None and checkpoint.is_file():
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)  # another machine may have no GPU
        is_current = "state" in saved  # which checkpoints had not before there was this loop
        if saved["settings"] != training.settings or not is_current:
            raise ValueError(
                f"{checkpoint} belongs to a run with other settings ({saved['settings']}): delete it to start anew."
            )
    saved = training.agree(saved)
    if saved is not None:
        training.restore(saved["state"])
        step, seconds, rows, sums = (saved[key] for key in ("step", "seconds", "record", "running"))
    if rows:
        training.watch(rows)
    began = time.monotonic() - seconds
    batches = training.batches(step)
    with progress_bar(training.steps, training.name, progress) as bar:
        bar.update(step)

        def record() -> None:
            averages = tuple(sum(column) / len(column) for column in zip(*sums)) if sums else None
            sums.clear()
            rows.append({"step": step} | training.row(step, averages))
            bar.set_postfix({name: value for name, value in rows[-1].items() if isinstance(value, float)})
            if progress is False and (line := training.line(rows[-1])):
                print(line, flush=True)
            training.watch(rows)

        if step == 0 and training.is_recorded(0):
            record()
        while step < training.steps:
            done = training.step(step, next(batches))
            if not math.isfinite(done.loss):
                raise ValueError(training.not_finite.format(loss=done.loss, step=step))
            sums.append(done.averaged)
            step += 1
            bar.update()
            if training.is_recorded(step):
                record()
            if checkpoint is not None and (step % training.checkpoint_every == 0 or step == training.steps):
                content = io.BytesIO()
                torch.save({
                    "settings": training.settings, "step": step, "seconds": time.monotonic() - began,
                    "record": rows, "running": sums, "state": training.state(),
                }, content)  # fmt: skip
                write_atomically(checkpoint, content.getvalue())
    return Outcome(rows, round(time.monotonic() - began))


def where_it_ran() -> dict[str, Any]:
    """The number of threads and the machine, as records have them."""
    return {"threads": torch.get_num_threads(), "machine": f"{platform.system()} {platform.machine()}"}


def versions(*packages: str) -> dict[str, str]:
    """The versions of these packages, as records have them."""
    return {name: importlib.import_module(name).__version__ for name in packages}
