"""The machine that something was measured on, and how much memory a process of it takes."""

import ctypes
import gc
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from scripts.interp.base.command_line import cores
from scripts.interp.base.precision import multiplies_bfloat16


def machine_facts() -> dict[str, Any]:
    """What a report says of the machine, of Python and of torch."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "bfloat16_in_hardware": multiplies_bfloat16(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    """The processor's name, as far as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown"


def gpu_shares_memory() -> bool:
    """Whether the current GPU has no memory of its own, as NVIDIA's GB10 (DGX Spark): it takes the machine's.

    `torch.cuda.mem_get_info` calls memory taken there that holds files which were read, although the system gives it
    back when somebody needs it; what is available is known to the system.
    """
    if not torch.cuda.is_available():
        return False
    return bool(getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "is_integrated", False))


def process_megabytes(field: str) -> float:
    """A line of /proc/self/status in MB, such as VmRSS, or VmHWM for the peak. OSError or ValueError without it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/self/status has no {field}.")


def restart_peak() -> float | None:
    """Let the kernel count the peak of resident memory anew; what is resident now, in MB. None if it can't."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # or memory freed in the warm-up would be used again and not be counted
    except (AttributeError, OSError):
        pass  # only glibc has it
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return process_megabytes("VmRSS")
    except (OSError, ValueError):
        return None


def say(what: str) -> None:
    """Progress goes to standard error: standard output is the report."""
    print(what, file=sys.stderr, flush=True)
