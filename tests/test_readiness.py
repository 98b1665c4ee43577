"""What a machine lacks for a model is said in one sentence, from stand-ins for memory, hub and disk."""

from types import SimpleNamespace

import pytest

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.models import readiness
from scripts.interp.models.load import EMBEDDED
from scripts.interp.models.readiness import machine_memory, what_is_missing


@pytest.fixture
def machine(monkeypatch):
    """A machine without GPU, with 200 GB of memory and of disk, whose hub answers and whose cache is empty."""

    def change(memory_gb=200.0, disk_gb=200.0, hub=True, here=False, gpu_gb=None):
        memory = SimpleNamespace(available=memory_gb * 1e9, total=256e9)
        monkeypatch.setattr(readiness.psutil, "virtual_memory", lambda: memory)
        monkeypatch.setattr(readiness.shutil, "disk_usage", lambda path: SimpleNamespace(free=disk_gb * 1e9))
        monkeypatch.setattr(readiness, "is_here", lambda model: here)
        monkeypatch.setattr(readiness.torch.cuda, "is_available", lambda: gpu_gb is not None)
        monkeypatch.setattr(readiness.torch.cuda, "mem_get_info", lambda: (gpu_gb * 1e9, 96e9))

        def ask(repository):
            assert repository == "Sao10K/L3-8B-Stheno-v3.2"
            if not hub:
                raise ModelUnavailable("no")

        monkeypatch.setattr(readiness, "ask_hub", ask)

    change()
    return change


def test_a_large_machine_lacks_nothing(machine):
    assert what_is_missing("stheno-8b") == ""
    machine(hub=False, here=True)
    assert what_is_missing("stheno-8b") == ""


def test_a_laptop_is_told_everything_in_one_sentence(machine):
    machine(memory_gb=15, hub=False)
    said = what_is_missing("stheno-8b")
    assert said.startswith(
        "stheno-8b can't be loaded here: it needs 55 GB of memory in bfloat16, and 15 GB are free; "
        "its weights (16 GB) are not here"
    )
    assert "can't be reached" in said and said.count(". ") == 0 and said.endswith(".")
    assert "needs 110 GB" in what_is_missing("stheno-8b", "float32")


def test_the_gpu_counts_where_there_is_one_and_so_does_the_disk(machine):
    assert machine_memory() == (200, 256)
    machine(memory_gb=15, gpu_gb=80)
    assert machine_memory() == (80, 96)
    assert what_is_missing("stheno-8b") == ""
    machine(gpu_gb=24)
    assert "55 GB of GPU memory in bfloat16, and 24 GB are free" in what_is_missing("stheno-8b")
    machine(disk_gb=3)
    assert "take 16 GB of disk space, and 3 GB are free" in what_is_missing("stheno-8b")


def test_the_embedded_model_is_ready_here():
    assert what_is_missing(EMBEDDED, "float32") == ""


def test_an_unknown_model_or_dtype(machine):
    for wrong in (("stheno-9b", "bfloat16"), ("stheno-8b", "int4")):
        with pytest.raises(ValueError, match="models are smollm2-135m, .* dtypes are float32, bfloat16, float16"):
            what_is_missing(*wrong)
