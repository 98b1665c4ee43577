"""The record of a training as TensorBoard reads it.

The package is not among the requirements: it brings a server and a dozen packages for what the page of `--live` shows
without them. Who has it can have its files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def event_writer(folder: Path) -> Callable[[list[dict[str, Any]]], None]:
    """A function that takes the record so far, rows with a "step" and numbers, and writes what is new of it.

    A run that goes on after a kill writes its whole record again, and TensorBoard leaves out what was written before.
    Raises ValueError where the package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            f"--tensorboard needs the package tensorboard ({error}): "
            "`.venv/bin/python -m pip install tensorboard`, or leave it out."
        ) from error
    writers = []

    def write(rows: list[dict[str, Any]]) -> None:
        new = rows[-1:]
        if not writers:
            new = rows
            writers.append(SummaryWriter(str(folder), purge_step=rows[0]["step"]))
        for row in new:
            for name, value in row.items():
                if name != "step":
                    writers[0].add_scalar(name, value, row["step"])
        writers[0].flush()

    return write
