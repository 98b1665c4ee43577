"""Activations of a model's hook points over a corpus, on disk, for sparse autoencoders to be trained on.

Not every position is kept (see `scripts/interp/runs/at_hooks.py`); what is left out is counted.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from scripts.interp.base.files import write_atomically
from scripts.interp.base.progress import progress_bar
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, norm_limit, special_tokens

BATCH_ROWS = 8
LARGEST_HALF = torch.finfo(torch.float16).max


class StoredActivations(NamedTuple):
    """The activations of one hook point that were kept, in the order of the text."""

    values: np.ndarray  # half precision [n_tokens, d_in], read from disk when asked for
    norm_limit: float  # tokens above this norm were left out
    n_special: int  # BOS and other special tokens left out
    n_massive: int  # tokens left out because of their norm


def store_activations(
    model: TransformerBridge,
    hook_names: Sequence[str],
    rows: Tensor,
    folder: Path,
    budget_gb: float = 4.0,
    wanted: Tensor | None = None,
) -> dict[str, StoredActivations]:
    """Run the model over token rows [n_rows, pos] and keep the activations of hook points in `folder`.

    wanted: positions to keep, bool [n_rows, pos], such as those that no chat template wrote; the others count as special.
        Default: all
    A killed run goes on after the last batch that was written. The norm limit of each hook point comes from the first
    BATCH_ROWS rows. Raises ValueError where there is no row, where the files would exceed the budget or the free
    disk space, and where `folder` holds the activations of something else.
    """
    if len(rows) == 0:
        raise ValueError("There are no rows of tokens: give at least one.")
    folder.mkdir(parents=True, exist_ok=True)
    text = rows.numpy().tobytes() + (b"" if wanted is None else wanted.numpy().tobytes())
    if wanted is None:
        wanted = torch.ones_like(rows, dtype=torch.bool)
    settings = {
        "model": model.cfg.model_name, "hook_names": list(hook_names),
        "rows": list(rows.shape), "sha256": hashlib.sha256(text).hexdigest(),
    }  # fmt: skip
    state_file = folder / "progress.json"
    state: dict[str, Any] = {"settings": settings, "rows_done": 0, "hooks": {}}
    if state_file.is_file():
        state = json.loads(state_file.read_text())
        if state["settings"] != settings:
            raise ValueError(f"{folder} holds the activations of another model, hook point or text: delete it.")
    special = special_tokens(model).cpu()

    def on_cpu(tokens: Tensor) -> dict[str, Tensor]:
        values = hook_activations(model, tokens.to(model.cfg.device), hook_names)
        return {name: each.cpu() for name, each in values.items()}

    if not state["hooks"]:
        first = rows[:BATCH_ROWS]
        for name, values in on_cpu(first).items():
            limit = norm_limit(values, torch.isin(first, special) | ~wanted[:BATCH_ROWS])
            state["hooks"][name] = {"d": values.shape[-1], "limit": limit, "kept": 0, "special": 0, "massive": 0}
        needed = sum(rows.numel() * hook["d"] * 2 for hook in state["hooks"].values()) / 1e9
        free = shutil.disk_usage(folder).free / 1e9
        if needed > min(budget_gb, free):
            raise ValueError(
                f"The activations of {rows.numel():,} tokens take {needed:.2f} GB; the budget is {budget_gb:g} GB and {free:.1f} GB "
                "are free: give fewer tokens, or a larger budget."
            )
    files = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy",
            **({"mode": "r+"} if state["rows_done"] else
               {"mode": "w+", "dtype": np.float16, "shape": (rows.numel(), hook["d"])}),
        )
        for name, hook in state["hooks"].items()
    }  # fmt: skip
    with progress_bar(len(rows), "activations") as bar:
        bar.update(state["rows_done"])
        while state["rows_done"] < len(rows):
            tokens = rows[state["rows_done"] : state["rows_done"] + BATCH_ROWS]
            is_special = torch.isin(tokens, special) | ~wanted[state["rows_done"] : state["rows_done"] + BATCH_ROWS]
            for name, values in on_cpu(tokens).items():
                hook = state["hooks"][name]
                kept = values[kept_positions(values, is_special, hook["limit"])]
                if len(kept) and kept.abs().max() > LARGEST_HALF:
                    raise ValueError(f"Activations at {name} exceed half precision ({kept.abs().max():.3g}).")
                files[name][hook["kept"] : hook["kept"] + len(kept)] = kept.half().numpy()
                files[name].flush()
                hook["kept"] += len(kept)
                hook["special"] += int(is_special.sum())
                hook["massive"] += tokens.numel() - int(is_special.sum()) - len(kept)
            state["rows_done"] += len(tokens)
            write_atomically(state_file, json.dumps(state))
            bar.update(len(tokens))
    return {
        name: StoredActivations(
            np.lib.format.open_memmap(folder / f"{name}.npy", mode="r")[: hook["kept"]],
            hook["limit"], hook["special"], hook["massive"],
        )
        for name, hook in state["hooks"].items()
    }  # fmt: skip


def shuffled_batches(values: np.ndarray, size: int, seed: int, step: int = 0) -> Iterator[Tensor]:
    """Batches for step `step` (from 0) and those after it, float32 [size, d_in], pass after pass without end.

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
            yield torch.from_numpy(values[np.sort(order[at * size : (at + 1) * size])]).float()
        step = (number + 1) * per_pass
