"""Streams of batches for checks: what a function may do with batches that come one by one."""

import gc
import tracemalloc
from collections.abc import Iterator

import torch
from torch import Tensor

from scripts.course.checks import expect


class Stream:
    """Batches that can be taken once, and that nobody may change."""

    def __init__(self, batches: list[Tensor]):
        self.batches, self.taken = batches, False

    def __deepcopy__(self, memo):
        return Stream([batch.clone() for batch in self.batches])

    def __eq__(self, other):
        return isinstance(other, Stream)

    def __iter__(self) -> Iterator[Tensor]:
        expect(not self.taken, "The stream is read a second time; it can be read once.")
        self.taken = True
        for batch in self.batches:
            mine = batch.clone()
            yield mine
            expect(
                torch.equal(mine, batch), "A batch was changed in place, and others may still need it: work on a copy."
            )


def long_stream(n_batches: int, rows: int, width: int) -> Iterator[Tensor]:
    """Batches [rows, width] filled with 0, 1, …, 6, 0, …; memory in use must not grow with their number.

    Raises `CheckFailed` as soon as three batches' worth more is held than after the first two: originals, copies in
    any type of number, NumPy arrays, lists.
    """
    tracing, frozen = tracemalloc.is_tracing(), gc.get_freeze_count()
    gc.freeze()  # a million objects that were there before and hold no batch: `bytes_held` passes over them
    tracemalloc.start()  # counts what NumPy and Python allocate, but not torch's tensors
    try:
        for i in range(n_batches):
            batch = torch.full((rows, width), float(i % 7))
            size = batch.nbytes
            yield batch
            del batch
            held = bytes_held()
            if i < 2:
                before = held
            expect(
                held - before < 3 * size,
                f"After {i - 1} more batches of {size / 1e6:.0f} MB, {(held - before) / 1e6:.0f} MB more are in use. "
                "Batches are kept, or copies of them: add up what you need of each, and forget it.",
            )
    finally:
        if not tracing:
            tracemalloc.stop()
        if not frozen:  # else it stays as whoever froze it wanted it
            gc.unfreeze()


def bytes_held() -> int:
    """Bytes of all tensors that Python can reach, and of what was allocated since tracemalloc was started.

    What `gc.freeze` put aside does not count. Unlike the memory that a process occupies, this does not depend on the
    operating system.
    """
    storages, kinds = {}, {Tensor, *Tensor.__subclasses__()}
    for thing in gc.get_objects():
        if type(thing) in kinds and thing.layout == torch.strided and thing.device.type != "meta":
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values()) + tracemalloc.get_traced_memory()[0]
