"""Several processes that train one thing together, on one machine or on several; torchrun starts them.

Every process holds all weights and takes its own part of each batch; what the parts give is summed. The first process
alone (rank 0) writes files, prints and judges. Where one process ends, the others end as well, within seconds.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
from torch import Tensor

SILENCE = timedelta(minutes=10)  # after which a process counts as lost: a machine without power closes no connection
PATIENCE = timedelta(days=30)  # while the first process does alone what comes before a training
DEVICES = ("cpu", "cuda")


class Processes(NamedTuple):
    """Those that train together, as one of them sees them."""

    rank: int = 0  # the number of this one
    count: int = 1
    patient: Any = None  # the group of torch.distributed that waits for the first process


ALONE = Processes()


@contextmanager
def together(device: str) -> Iterator[Processes]:
    """The processes that torchrun has started, this one among them; without torchrun, this one alone.

    device: "cpu", where they talk through gloo, or "cuda", through NCCL, each with a GPU of its own

    Raises ValueError for another device, and where this process has no GPU. Inside, ConnectionError says in a sentence
    that another process has ended, or that this one was told to (SIGTERM): both come when a training is killed.
    """
    here = int(os.environ.get("LOCAL_RANK", 0))
    if device not in DEVICES:
        raise ValueError(f"There is no device {device!r}: give one of {', '.join(DEVICES)}.")
    if device == "cuda":
        if here >= torch.cuda.device_count():
            raise ValueError(
                f"Process {here} of this machine needs a GPU of its own, and PyTorch sees {torch.cuda.device_count()}: "
                "start fewer processes, or leave --device out."
            )
        torch.cuda.set_device(here)
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        yield ALONE
        return
    usual = signal.signal(signal.SIGTERM, lambda *_: _stop(rank, count, "it was told to end"))
    import torch.distributed as dist

    try:
        with _reachable(Processes(rank, count)):
            dist.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl", timeout=SILENCE)
            patient = dist.new_group(timeout=PATIENCE)
        yield Processes(rank, count, patient)
    finally:
        leave()
    signal.signal(signal.SIGTERM, usual)


def leave() -> None:
    """Part from the other processes: after this, none of them notices how the others end."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _stop(rank: int, count: int, why: str, cause: BaseException | None = None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it to what is left: time for the sentence
    raise ConnectionError(
        f"Process {rank} of {count} stops, {why}: the last checkpoint is whole, and the same command goes on from it."
    ) from cause


@contextmanager
def _reachable(processes: Processes) -> Iterator[None]:
    """What torch.distributed raises where another process is gone, as a sentence."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"\[/\S+\] ", "", str(error).splitlines()[0]).split(". ")[0]  # no place in gloo's source
        why = f"because another one has ended or can't be reached ({reason})"
        _stop(processes.rank, processes.count, why, error)


def sum_over(processes: Processes, tensors: Sequence[Tensor]) -> None:
    """Replace each of these tensors by its sum over all processes; all get the same bits."""
    if processes.count == 1:
        return
    import torch.distributed as dist

    with _reachable(processes):
        for work in [dist.all_reduce(each, async_op=True) for each in tensors]:
            work.wait()


def of_all(processes: Processes, tensor: Tensor) -> Tensor:
    """The tensors [n, …] of all processes one after another, [count * n, …]; all have one shape."""
    if processes.count == 1:
        return tensor
    import torch.distributed as dist

    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(processes.count)]
    if tensor.numel() > 0:
        with _reachable(processes):
            dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def from_first(processes: Processes, value: Any = None) -> Any:
    """What the first process gives here, in all of them; what the others give is not looked at.

    It travels as a pickle: numbers, texts, containers of them and tensors on the CPU. Waits as long as it takes.
    """
    if processes.count == 1:
        return value
    import torch.distributed as dist

    box = [value]
    with _reachable(processes):
        dist.broadcast_object_list(box, src=0, group=processes.patient)
    return box[0]
