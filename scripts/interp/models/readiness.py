"""Whether this machine can run a model: said before hours of download, or before a kernel is killed for its memory."""

import shutil
from pathlib import Path

import huggingface_hub.constants
import psutil
import torch

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.machine import gpu_shares_memory
from scripts.interp.models.costs import BYTES
from scripts.interp.models.hub import ask_hub, hub_lookups
from scripts.interp.models.registry import MODELS, is_here

OVERHEAD_GB = 0.5  # of a process with its libraries; the registry's memory is this and a multiple of the weights


def machine_memory() -> tuple[float, float]:
    """Free memory and all memory in GB: of the GPU if it has its own, of the machine otherwise."""
    if torch.cuda.is_available() and not gpu_shares_memory():
        free, total = torch.cuda.mem_get_info()
    else:
        found = psutil.virtual_memory()
        free, total = found.available, found.total
    return free / 1e9, total / 1e9


def what_is_missing(name: str, dtype: str = "bfloat16") -> str:
    """One sentence that says what a model of the registry lacks on this machine, or "" if it can be loaded.

    Counted are the memory of the GPU if it has its own, of the machine otherwise; disk space for a download; and
    whether the weights are here or their hub answers. Raises ValueError for a name or dtype that is not known.
    """
    if name not in MODELS or dtype not in BYTES:
        raise ValueError(
            f"There is no model {name!r} in {dtype!r}: models are {', '.join(MODELS)}; dtypes are {', '.join(BYTES)}."
        )
    model = MODELS[name]
    needed = OVERHEAD_GB + (model.memory_gb - OVERHEAD_GB) * BYTES[dtype] / 4
    on_gpu = torch.cuda.is_available() and not gpu_shares_memory()
    free, _ = machine_memory()
    missing = []
    if needed > free:
        missing.append(
            f"it needs {needed:.0f} GB of {'GPU ' if on_gpu else ''}memory in {dtype}, and {free:.0f} GB are free"
        )
    if not is_here(model):
        cache = huggingface_hub.constants.HF_HUB_CACHE
        try:
            with hub_lookups(True):
                ask_hub(model.source)
        except ModelUnavailable:
            missing.append(
                f"its weights ({model.download_gb:.3g} GB) are not here, and {huggingface_hub.constants.ENDPOINT} "
                "can't be reached or refuses them"
            )
        else:
            room = shutil.disk_usage(_existing(cache)).free / 1e9
            if room < model.download_gb:
                missing.append(
                    f"its weights take {model.download_gb:.3g} GB of disk space, and {room:.0f} GB are free at {cache}"
                )
    return f"{name} can't be loaded here: {'; '.join(missing)}." if missing else ""


def _existing(path: str) -> str:
    """The path, or the nearest folder above it that is there."""
    return next(str(folder) for folder in (Path(path), *Path(path).parents) if folder.exists())
