"""Activations of a model's hook points over a corpus, on disk, for sparse autoencoders to be trained on.

Not every position is kept (see `scripts/interp/runs/at_hooks.py`); what is left out is counted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scripts.interp.base.files import alone_in, write_atomically
from scripts.interp.base.progress import progress_bar
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, norm_limit, special_positions

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

BATCH_ROWS = 8
STATE_FILE = "progress.json"
LARGEST_HALF = torch.finfo(torch.float16).max


class StoredActivations(NamedTuple):
    """The activations of one hook point that were kept, in the order of the text."""

    values: Float[np.ndarray, "n_tokens d_in"]  # half precision, read from disk when asked for
    norm_limit: float  # tokens above this norm were left out
    n_special: int  # BOS and other special tokens left out
    n_massive: int  # tokens left out because of their norm


def store_activations(
    model: TransformerBridge,
    hook_names: Sequence[str],
    rows: Int[Tensor, "n_rows pos"],
    folder: Path,
    budget_gb: float = 4.0,
    wanted: Bool[Tensor, "n_rows pos"] | None = None,
) -> dict[str, StoredActivations]:
    """Run the model over token rows [n_rows, pos] and keep the activations of hook points in `folder`.

    wanted: positions to keep, bool [n_rows, pos], such as those that no chat template wrote; the others count as
        special. Default: all
    A killed run goes on after the last batch that was written. The norm limit of each hook point comes from the first
    BATCH_ROWS rows. Raises ValueError where there is no row, where the files would exceed the budget or the free
    disk space, where `folder` holds the activations of something else, and while another process writes to it.
    """
    if len(rows) == 0:
        raise ValueError("There are no rows of tokens: give at least one.")
    rows, wanted = rows.cpu(), None if wanted is None else wanted.cpu()
    state = _state_so_far(model, hook_names, rows, folder, wanted)
    if state["rows_done"] < len(rows):  # whoever only reads them is not refused
        with alone_in(folder):
            state = _state_so_far(model, hook_names, rows, folder, wanted)
            _store_missing(model, hook_names, rows, folder, budget_gb, wanted, state)
    return open_activations(folder, state)


def _store_missing(
    model: TransformerBridge,
    hook_names: Sequence[str],
    rows: Int[Tensor, "n_rows pos"],
    folder: Path,
    budget_gb: float,
    wanted: Bool[Tensor, "n_rows pos"] | None,
    state: dict[str, Any],
) -> None:
    """Store the activations of the rows that are not done yet; `state` goes on with them."""
    left_out = special_positions(model, rows)
    if wanted is not None:
        left_out |= ~wanted
    looked_at = {}
    if not state["hooks"]:
        looked_at = _on_cpu(model, rows[:BATCH_ROWS], hook_names)
        state["hooks"] = _new_hooks(looked_at, left_out[:BATCH_ROWS])
        _check_space(state["hooks"], rows, folder, budget_gb)
    files = _open_files(state, rows, folder)
    with progress_bar(len(rows), "activations") as bar:
        bar.update(state["rows_done"])
        while state["rows_done"] < len(rows):
            batch = slice(state["rows_done"], state["rows_done"] + BATCH_ROWS)
            values = looked_at or _on_cpu(model, rows[batch], hook_names)
            looked_at = {}
            _store(values, left_out[batch], state["hooks"], files)
            state["rows_done"] += len(rows[batch])
            write_atomically(folder / STATE_FILE, json.dumps(state))
            bar.update(len(rows[batch]))


def read_state(folder: Path) -> dict[str, Any] | None:
    """What activations a folder holds, and how far they are; None where there is no such file."""
    return json.loads((folder / STATE_FILE).read_text()) if (folder / STATE_FILE).is_file() else None


def open_activations(folder: Path, state: dict[str, Any]) -> dict[str, StoredActivations]:
    """What `store_activations` has written to a folder, perhaps in another process or on another machine.

    state: what it has to hold, from `read_state` where it was written. Raises ValueError where it holds something else
    """
    if read_state(folder) != state:
        raise ValueError(
            f"{folder} does not hold the activations that the first process has written: let all machines use one "
            "folder of outputs, or copy that folder to each of them."
        )
    return {
        name: StoredActivations(
            np.lib.format.open_memmap(folder / f"{name}.npy", mode="r")[: hook["kept"]],
            hook["limit"], hook["special"], hook["massive"],
        )
        for name, hook in state["hooks"].items()
    }  # fmt: skip


def _state_so_far(
    model: TransformerBridge,
    hook_names: Sequence[str],
    rows: Int[Tensor, "n_rows pos"],
    folder: Path,
    wanted: Bool[Tensor, "n_rows pos"] | None,
) -> dict[str, Any]:
    """What was done before a kill: rows, and for every hook point its limit and counts. None of them at first.

    Raises ValueError where it was done for something else.
    """
    text = rows.numpy().tobytes() + (b"" if wanted is None else wanted.numpy().tobytes())
    settings = {
        "model": model.cfg.model_name, "hook_names": list(hook_names),
        "rows": list(rows.shape), "sha256": hashlib.sha256(text).hexdigest(),
    }  # fmt: skip
    state = read_state(folder)
    if state is None:
        return {"settings": settings, "rows_done": 0, "hooks": {}}
    if state["settings"] != settings:
        raise ValueError(f"{folder} holds the activations of another model, hook point or text: delete it.")
    return state


def _on_cpu(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hook_names: Sequence[str]
) -> dict[str, Float[Tensor, "batch pos d"]]:
    values = hook_activations(model, tokens, hook_names)
    return {name: each.cpu() for name, each in values.items()}


def _new_hooks(
    values: dict[str, Float[Tensor, "batch pos d"]], left_out: Bool[Tensor, "batch pos"]
) -> dict[str, dict[str, Any]]:
    """The width and the norm limit of every hook point, from the first rows, and counts that start at zero."""
    return {
        name: {"d": each.shape[-1], "limit": norm_limit(each, left_out), "kept": 0, "special": 0, "massive": 0}
        for name, each in values.items()
    }


def _check_space(
    hooks: dict[str, dict[str, Any]], rows: Int[Tensor, "n_rows pos"], folder: Path, budget_gb: float
) -> None:
    """Raise ValueError unless the activations of all rows fit into the budget and on the disk."""
    needed = sum(rows.numel() * hook["d"] * 2 for hook in hooks.values()) / 1e9
    free = shutil.disk_usage(folder).free / 1e9
    if needed > min(budget_gb, free):
        raise ValueError(
            f"The activations of {rows.numel():,} tokens take {needed:.2f} GB; the budget is {budget_gb:g} GB and "
            f"{free:.1f} GB are free: give fewer tokens, or a larger budget."
        )


def _open_files(
    state: dict[str, Any], rows: Int[Tensor, "n_rows pos"], folder: Path
) -> dict[str, Float[np.ndarray, "n_positions d"]]:
    """A file for every hook point with room for all positions, [n_positions, d]; new ones where no row is done yet."""
    if state["rows_done"]:
        return {name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+") for name in state["hooks"]}
    return {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=np.float16, shape=(rows.numel(), hook["d"])
        )
        for name, hook in state["hooks"].items()
    }


def _store(
    activations: dict[str, Float[Tensor, "batch pos d"]],
    left_out: Bool[Tensor, "batch pos"],
    hooks: dict[str, dict[str, Any]],
    files: dict[str, Float[np.ndarray, "n_positions d"]],
) -> None:
    """Write what is kept of a batch's activations [rows, pos, d] behind what the files hold, and count it.

    left_out: bool [rows, pos], the positions of special tokens and those that nobody wants
    """
    for name, values in activations.items():
        hook = hooks[name]
        kept = values[kept_positions(values, left_out, hook["limit"])]
        if len(kept) and kept.abs().max() > LARGEST_HALF:
            raise ValueError(f"Activations at {name} exceed half precision ({kept.abs().max():.3g}).")
        files[name][hook["kept"] : hook["kept"] + len(kept)] = kept.half().numpy()
        files[name].flush()
        hook["kept"] += len(kept)
        hook["special"] += int(left_out.sum())
        hook["massive"] += left_out.numel() - int(left_out.sum()) - len(kept)


def shuffled_batches(
    values: Float[np.ndarray, "n_tokens d_in"], size: int, seed: int, step: int = 0, part: int = 0, parts: int = 1
) -> Iterator[Float[Tensor, "part_size d_in"]]:
    """Batches for step `step` (from 0) and those after it, float32 [size, d_in], pass after pass without end.

    part, parts: of each batch only this part (from 0) of so many of equal size is read, [size / parts, d_in]; one after
        another they are the batch

    Every pass takes all tokens in another order; what does not fill its last batch is left out of that pass.
    """
    per_pass = len(values) // size
    if per_pass == 0:
        raise ValueError(f"{len(values)} tokens do not fill one batch of {size}: give more, or a smaller batch.")
    while True:
        number, start = divmod(step, per_pass)
        order = np.random.default_rng([seed, number]).permutation(len(values))
        for at in range(start, per_pass):
            # In the order of the file, which is quicker to read; the order within a batch does not matter.
            rows = np.sort(order[at * size : (at + 1) * size])
            yield torch.from_numpy(values[rows[size * part // parts : size * (part + 1) // parts]]).float()
        step = (number + 1) * per_pass
