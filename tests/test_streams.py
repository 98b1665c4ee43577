"""Streams of batches: what is kept is noticed, on every operating system and in every type of number."""

import gc

import pytest
import torch

from scripts.course.checks import CheckFailed
from scripts.course.streams import Stream, long_stream

KEPT = {
    "the batches": lambda batch: batch,
    "copies": lambda batch: batch.clone(),
    "copies in double precision": lambda batch: batch.double(),
    "copies in half precision": lambda batch: batch.bfloat16(),
    "views": lambda batch: batch[:1],
    "NumPy copies": lambda batch: batch.numpy().copy(),
    "lists of numbers": lambda batch: batch.tolist(),
}


@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
def test_kept_batches_are_noticed(keep):
    kept = []
    with pytest.raises(CheckFailed, match="Batches are kept, or copies of them"):
        for batch in long_stream(12, 30, 1000):
            kept.append(keep(batch))


def test_sums_may_be_kept():
    total, squares = 0.0, []
    for batch in long_stream(8, 30, 1000):
        total = total + batch.double().sum(dim=0)
        squares.append(batch.square().sum().item())
    assert total[0] == 30 * sum(i % 7 for i in range(8))


def test_what_was_there_before_is_put_aside_only_meanwhile():
    gc.unfreeze()
    try:
        meanwhile = [gc.get_freeze_count() for _ in long_stream(3, 30, 1000)]
        assert min(meanwhile) > 10_000 and gc.get_freeze_count() == 0
    finally:
        gc.freeze()  # as conftest.py left it


def test_a_stream_is_read_once_and_left_alone():
    batches = [torch.ones(2, 3), torch.zeros(1, 3)]
    stream = Stream(batches)
    assert [len(batch) for batch in stream] == [2, 1]
    with pytest.raises(CheckFailed, match="second time"):
        list(stream)
    with pytest.raises(CheckFailed, match="changed in place"):
        for batch in Stream(batches):
            batch.mul_(2)
