"""Time and memory of a piece of work, on a CPU or on a GPU, and a fresh process for each that matters.

On a CPU memory is that of the whole process, which the kernel counts; `ru_maxrss` would do as well, if it did not also
hold what the process that started this one took. On a GPU it is what torch's tensors occupied there.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from scripts.interp.base.machine import machine_facts, process_megabytes, restart_peak
from scripts.interp.base.paths import ROOT


class Place(NamedTuple):
    """Where and in which numbers a model runs; `quick` takes a toy and small sizes, to see that everything works."""

    model: str
    device: str
    dtype: str
    threads: int
    quick: bool = False


class Taken(NamedTuple):
    """What a piece of work took."""

    value: Any
    seconds: list[float]  # of each time it was timed
    grew_mb: float | None  # by how much memory grew at most, in MB; None where nobody counts it
    peak_mb: float | None  # all that was taken at that peak: by the process, or by tensors on the GPU

    def as_row(self) -> dict[str, float | None]:
        """Seconds and megabytes as a row of the results has them."""
        return {
            "seconds": round(statistics.median(self.seconds), 4),
            "seconds_low": round(min(self.seconds), 4),
            "seconds_high": round(max(self.seconds), 4),
            "grew_mb": None if self.grew_mb is None else round(self.grew_mb, 1),
            "peak_mb": None if self.peak_mb is None else round(self.peak_mb),
        }


def take(work: Callable[[], Any], device: str, repeats: int = 1, warm_up: bool = True) -> Taken:
    """Do a piece of work `repeats` times, after one time that does not count, and take its time and its peak memory."""
    once = _once_on_gpu if device.startswith("cuda") else _once_on_cpu
    if warm_up:
        once(work)
    done = once(work)
    seconds, grew, peak = [done.seconds[0]], [done.grew_mb], [done.peak_mb]
    for _ in range(repeats - 1):
        done = None  # or two results would be there at a time
        done = once(work)
        seconds.append(done.seconds[0])
        grew.append(done.grew_mb)
        peak.append(done.peak_mb)
    return Taken(done.value, seconds, _largest(grew), _largest(peak))


def _once_on_cpu(work: Callable[[], Any]) -> Taken:
    from scripts.interp.circuits.benchmark import measure

    done = measure(work)
    return Taken(done.value, [done.seconds], done.megabytes, process_peak())


def _once_on_gpu(work: Callable[[], Any]) -> Taken:
    import time

    import torch

    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    value = work()
    torch.cuda.synchronize()  # or only the launching of the work would be timed
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated()
    return Taken(value, [seconds], (peak - before) / 1e6, peak / 1e6)


def process_peak() -> float | None:
    """The most memory that this process has held, in MB, since it began or since the count was set back."""
    try:
        return process_megabytes("VmHWM")
    except (OSError, ValueError):
        return None


def held_now(device: str) -> float | None:
    """What is held at this moment, in MB: by the process, or by tensors on the GPU. None where nobody counts it."""
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated() / 1e6
    return restart_peak()


def exact_products() -> None:
    """Let a GPU multiply float32 as float32: TF32 is faster and rounds to about three digits."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def machine_of(device: str, threads: int) -> dict[str, Any]:
    """The machine as the results name it, and what they say of it once."""
    import torch

    facts = machine_facts() | {"threads": threads}
    if not device.startswith("cuda"):
        cores = f"{threads} thread" + "s" * (threads != 1)
        return {"name": f"{facts['cpu']}, {cores}", "device": "cpu"} | facts
    gpu = torch.cuda.get_device_properties(device)
    more = {"gpu": gpu.name, "gpu_gb": round(gpu.total_memory / 1e9, 1), "cuda": torch.version.cuda}
    return {"name": gpu.name, "device": "cuda"} | facts | more


def in_a_process(job: str, place: Place) -> list[dict[str, Any]]:
    """The rows of a job of `work.py`, measured in a fresh process. Raises RuntimeError with what a failed one said."""
    program = f"""
import json
from scripts.interp.costs.measuring import Place
from scripts.interp.costs.work import run
print(json.dumps(run({job!r}, {place!r})))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{job} with {place.model} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _largest(megabytes: list[float | None]) -> float | None:
    return None if None in megabytes else max(megabytes)
