"""Memory habits: keep only the activations you need, move them off the device at once, count what they take.

1 MB is 1,000,000 bytes throughout.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import psutil
import torch
from torch import Tensor

from scripts.interp.base.machine import gpu_shares_memory
from scripts.interp.base.numbers import is_integer
from scripts.interp.runs.hooks import check_hooks
from scripts.interp.runs.prompts import check_layer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class MemoryReport(NamedTuple):
    """Memory of this process in MB; prints as one line."""

    resident: float  # what the process occupies in RAM
    cuda_allocated: float | None  # what tensors occupy on the current GPU; None without one
    cuda_reserved: float | None  # what torch has taken from the GPU for them
    available: float | None = None  # of the memory that the machine and a GPU share; None if the GPU has its own

    def __str__(self) -> str:
        line = f"RAM {self.resident:,.0f} MB"
        if self.cuda_allocated is None:
            return line + ", no GPU"
        line += f", GPU {self.cuda_allocated:,.0f} MB in tensors, {self.cuda_reserved:,.0f} MB reserved"
        return line if self.available is None else f"{line}; one memory for both, {self.available:,.0f} MB available"


def memory_report() -> MemoryReport:
    """How much memory this process takes right now."""
    resident = psutil.Process().memory_info().rss / 1e6
    if not torch.cuda.is_available():
        return MemoryReport(resident, None, None)
    available = psutil.virtual_memory().available / 1e6 if gpu_shares_memory() else None
    return MemoryReport(resident, torch.cuda.memory_allocated() / 1e6, torch.cuda.memory_reserved() / 1e6, available)


def free_memory() -> None:
    """Collect what nothing refers to any more (`del` it first), and give unused memory of a GPU back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def cache_filter(
    model: TransformerBridge, *kinds: str, layers: int | Iterable[int] | None = None
) -> Callable[[str], bool]:
    """A `names_filter` for `run_with_cache` that keeps only some kinds of activations.

    kinds: "resid_post", "pattern", "z", "mlp_out", "embed" …; or the name inside a layer where that is not
        unique, "ln1.hook_scale" say
    layers: one layer or several, counted from 0; default all. Hooks outside the layers ("embed") are kept
        regardless.

    Raises ValueError for a kind or a layer that this model does not have, naming those it has.
    """
    if layers is None:
        layers = range(model.cfg.n_layers)
    chosen = [check_layer(model, layer) for layer in ([layers] if is_integer(layers) else layers)]
    by_kind = _names_by_kind(model)
    for kind in kinds:
        if kind not in by_kind:
            short = ", ".join(name for name in by_kind if "hook_" not in name)
            raise ValueError(f"This model has no activation {kind!r}: choose from {short}.")
    if not kinds or not chosen:
        raise ValueError('Nothing would be cached: name a kind, such as "resid_post", and a layer.')
    names = {name for kind in kinds for layer, name in by_kind[kind] if layer is None or layer in chosen}
    return lambda name: name in names


def cpu_hooks(
    model: TransformerBridge, names: Sequence[str], store: dict[str, Tensor]
) -> list[tuple[str, Callable[[Tensor, object], None]]]:
    """Hooks for `model.run_with_hooks(prompt, fwd_hooks=…)` that copy activations to the CPU at once.

    After the run `store[name]` holds each of them. On a GPU they never pile up there, as they do in a full
    cache. Raises ValueError for an unknown hook name.
    """

    def storing(name: str) -> Callable[[Tensor, object], None]:
        def to_cpu(activation: Tensor, hook: object) -> None:
            store[name] = activation.detach().to("cpu", copy=True)

        return to_cpu

    return [(name, storing(name)) for name in check_hooks(model, names)]


def cache_megabytes(cache: Mapping[str, object]) -> float:
    """Memory that a cache holds, in MB. Names that share one tensor, and there are many, are counted once."""
    storages = [tensor.untyped_storage() for tensor in cache.values() if isinstance(tensor, Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()) / 1e6


def _names_by_kind(model: TransformerBridge) -> dict[str, list[tuple[int | None, str]]]:
    """Every kind with the layers (None outside of them) and full names that it stands for."""
    by_name: dict[str, list[tuple[int | None, str]]] = {}
    for name in model.hook_dict:
        layer, inside = None, name
        if name.startswith("blocks."):
            number, inside = name.split(".", 2)[1:]
            layer = int(number)
        by_name.setdefault(inside, []).append((layer, name))
    endings: dict[str, list[str]] = {}
    for inside in by_name:
        endings.setdefault(inside.split(".")[-1], []).append(inside)
    unique = {ending: found[0] for ending, found in endings.items() if len(found) == 1}
    return {ending[len("hook_") :]: by_name[inside] for ending, inside in unique.items()} | by_name
