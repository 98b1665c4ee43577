"""What a machine lacks for a model is said in one sentence, from stand-ins for memory, hub and disk."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.paths import ROOT
from scripts.interp.models import readiness
from scripts.interp.models.load import EMBEDDED
from scripts.interp.models.readiness import machine_memory, what_is_missing
from scripts.interp.runs.caches import memory_report


@pytest.fixture
def machine(monkeypatch):
    """A machine without GPU, with 200 GB of memory and of disk, whose hub answers and whose cache is empty."""

    def change(memory_gb=200.0, disk_gb=200.0, hub=True, here=False, gpu_gb=None, shared=False):
        memory = SimpleNamespace(available=memory_gb * 1e9, total=256e9)
        monkeypatch.setattr(readiness.psutil, "virtual_memory", lambda: memory)
        monkeypatch.setattr(readiness.shutil, "disk_usage", lambda path: SimpleNamespace(free=disk_gb * 1e9))
        monkeypatch.setattr(readiness, "is_here", lambda model: here)
        monkeypatch.setattr(readiness.torch.cuda, "is_available", lambda: gpu_gb is not None)
        monkeypatch.setattr(readiness.torch.cuda, "mem_get_info", lambda: (gpu_gb * 1e9, 96e9))
        monkeypatch.setattr(readiness.torch.cuda, "current_device", lambda: 0)
        gpu = SimpleNamespace(is_integrated=int(shared)) if shared is not None else SimpleNamespace()
        monkeypatch.setattr(readiness.torch.cuda, "get_device_properties", lambda device: gpu)

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


def test_the_available_memory_of_the_machine_counts_where_a_gpu_has_none_of_its_own(machine):
    """As on a DGX Spark, where 4 GB are free and 100 are given back by the system when they are needed."""
    machine(memory_gb=100, gpu_gb=4, shared=True)
    assert machine_memory() == (100, 256)
    assert what_is_missing("stheno-8b") == ""
    machine(memory_gb=30, gpu_gb=4, shared=True)
    assert "55 GB of memory in bfloat16, and 30 GB are free" in what_is_missing("stheno-8b")
    machine(memory_gb=100, gpu_gb=4, shared=None)  # a torch that does not tell
    assert machine_memory() == (4, 96)


def test_the_memory_report_says_that_it_is_one_memory(machine, monkeypatch):
    monkeypatch.setattr(readiness.torch.cuda, "memory_allocated", lambda: 2e9)
    monkeypatch.setattr(readiness.torch.cuda, "memory_reserved", lambda: 3e9)
    machine(memory_gb=100, gpu_gb=4, shared=True)
    assert str(memory_report()).endswith("3,000 MB reserved; one memory for both, 100,000 MB available")
    machine(memory_gb=100, gpu_gb=4)
    assert str(memory_report()).endswith("3,000 MB reserved")


FOUND = "\n    Found GPU0 NVIDIA GB10 which is of cuda capability 12.1.\n    Minimum and Maximum cuda capability "
FOUND += "supported by this version of PyTorch is\n    (8.0) - ({})\n    "
NOT_COMPATIBLE = "\nNVIDIA GB10 with CUDA capability sm_121 is not compatible with the current PyTorch installation.\n"
NOT_COMPATIBLE += "The current PyTorch install supports CUDA capabilities sm_80 sm_90 {}.\n"


def test_only_the_false_alarm_about_sm_121_is_kept_quiet():
    """pytest sets warnings up anew, so a Python of its own is asked."""
    said = [FOUND.format("12.0"), NOT_COMPATIBLE.format("sm_120 compute_120")]
    true = [FOUND.format("9.0"), NOT_COMPATIBLE.format("sm_90"), FOUND.format("12.0").replace("12.1", "7.0")]
    code = f"import scripts, warnings\nfor message in {said + true!r}: warnings.warn(message)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert found.returncode == 0 and found.stderr.count("UserWarning") == len(true), found.stderr


def test_the_embedded_model_is_ready_here():
    assert what_is_missing(EMBEDDED, "float32") == ""


def test_an_unknown_model_or_dtype(machine):
    for wrong in (("stheno-9b", "bfloat16"), ("stheno-8b", "int4")):
        with pytest.raises(ValueError, match="models are smollm2-135m, .* dtypes are float32, bfloat16, float16"):
            what_is_missing(*wrong)
