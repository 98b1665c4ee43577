"""The page about memory and time: it is of the rows that are committed, and the command makes such rows."""

import copy
import json
import time

import pytest
import torch

from scripts import measure_memory_and_time as command
from scripts.interp.costs import measuring, work
from scripts.interp.costs.measuring import Place, in_a_process, machine_of, take
from scripts.interp.costs.page import page
from scripts.interp.costs.published import beside_published
from scripts.interp.costs.work import GPT2, JOBS, SAES, held

FOUND = json.loads(command.RESULTS.read_text(encoding="utf-8"))


@pytest.fixture
def here(monkeypatch):
    """Jobs run in this process, whose settings of torch are as before afterwards; which ones ran."""
    ran, threads = [], torch.get_num_threads()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def run(job, place):
        ran.append(job)
        return json.loads(json.dumps(work.run(job, place)))

    monkeypatch.setattr(measuring, "in_a_process", run)
    with torch.random.fork_rng(devices=[]):
        yield ran
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


def test_the_page_is_of_the_rows():
    text = command.PAGE.read_text(encoding="utf-8")
    assert text == page(FOUND, *command.beside()), "run `.venv/bin/python -m scripts.measure_memory_and_time --page`"
    assert command.RESULTS.read_text(encoding="utf-8") == command.as_text(FOUND)


def test_every_machine_has_every_row_once():
    for machine in FOUND["machines"]:
        options = {"device": machine["device"], "threads": 1, "quick": False}
        jobs = [(job, place.model, place.dtype) for job, place in command.all_jobs(type("Options", (), options))]
        assert len(set(jobs)) == len(jobs) and {job for job, _, _ in jobs} >= set(JOBS) - {"quick training"}
        rows = [row for row in FOUND["rows"] if row["machine"] == machine["name"]]
        assert {(row["job"], row["model"], row["dtype"]) for row in rows} == set(jobs)
        keys = [tuple(row.get(name) for name in ("work", "model", "dtype", "prompts", "tokens")) for row in rows]
        assert len(set(keys)) == len(keys)


def test_a_quick_run_measures_every_job_and_keeps_what_is_there(here, tmp_path, capsys):
    path = tmp_path / "rows.json"
    arguments = ["--quick", "--threads", "1", "--output", str(path)]
    assert command.main(arguments) == 0
    found = json.loads(path.read_text())
    quick = [job for job in JOBS if job not in SAES or job in work.QUICK_SAES]
    assert here == quick and [row["job"] for row in found["rows"]] == sorted(
        (row["job"] for row in found["rows"]), key=quick.index
    )
    assert not found["machines"][0]["busy"] and found["machines"][0]["threads"] == 1
    by_work = {row["work"]: row for row in found["rows"]}
    full, some = by_work["run, cache everything"], by_work["run, cache resid_post"]
    assert 0 < some["tensors_mb"] < full["tensors_mb"] < full["named_mb"] and full["tensors"] < full["names"]
    assert by_work["patch every head"]["patches"] == 20 and by_work["load the model"]["parameters"] > 0
    for row in found["rows"]:
        assert {"machine", "device", "job", "model", "dtype", "work"} <= set(row)
        assert row.get("seconds", 1) > 0 and (row["peak_mb"] is None or row["peak_mb"] > 100)

    del here[:]
    assert command.main(arguments) == 0 and here == [] and "Every job" in capsys.readouterr().err
    found["rows"] = [row for row in found["rows"] if row["job"] != "loading"]
    path.write_text(json.dumps(found))
    assert command.main([*arguments, "--busy"]) == 0 and here == ["loading"]
    assert json.loads(path.read_text())["machines"][0]["busy"]


def test_a_job_that_fails_leaves_the_rows_before_it(here, tmp_path, monkeypatch, capsys):
    def broken(job, place):
        if job == "loading":
            raise RuntimeError("loading with a toy failed:\nout of memory")
        return [{"work": "x", "seconds": 1.0, "peak_mb": 200}]

    monkeypatch.setattr(measuring, "in_a_process", broken)
    path = tmp_path / "rows.json"
    assert command.main(["--quick", "--threads", "1", "--output", str(path)]) == 1
    assert "out of memory" in capsys.readouterr().err
    assert [row["job"] for row in json.loads(path.read_text())["rows"]] == ["imports"]


def test_a_fresh_process():
    rows = in_a_process("imports", Place("no model", "cpu", "float32", 1, quick=True))
    assert [row["work"] for row in rows] == ["import torch"] and rows[0]["peak_mb"] > 50
    with pytest.raises(RuntimeError, match="no such job with no model failed"):
        in_a_process("no such job", Place("no model", "cpu", "float32", 1, quick=True))


def test_options_that_can_not_be(capsys, monkeypatch, tmp_path):
    with pytest.raises(SystemExit):
        command.main(["--quick"])
    assert "--output" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["--device", "cuda", "--quick", "--output", str(tmp_path / "rows.json")]) == 1
    assert "There is no GPU here" in capsys.readouterr().err and not any(tmp_path.iterdir())


def test_time_and_memory_of_a_piece_of_work():
    slow = take(lambda: time.sleep(0.02) or torch.ones(5_000_000), "cpu", repeats=3)
    assert len(slow.seconds) == 3 and min(slow.seconds) >= 0.02 and len(slow.value) == 5_000_000
    if slow.grew_mb is not None:
        assert 15 < slow.grew_mb < 60 and slow.peak_mb > slow.grew_mb  # 20 MB, and one result at a time
    assert slow.as_row()["seconds_low"] <= slow.as_row()["seconds"] <= slow.as_row()["seconds_high"]


def test_on_a_gpu_the_clock_waits_for_the_work_and_the_peak_begins_with_it(monkeypatch):
    """A stand-in for torch.cuda: what is called, in which order."""
    called = []

    def stand_in(name, value=None):
        monkeypatch.setattr(torch.cuda, name, lambda *_: called.append(name) or value)

    stand_in("synchronize")
    stand_in("reset_peak_memory_stats")
    stand_in("memory_allocated", 2_000_000)
    stand_in("max_memory_allocated", 7_000_000)
    monkeypatch.setattr(time, "perf_counter", lambda: called.append("clock") or 0.0)
    done = take(lambda: called.append("work"), "cuda", repeats=2)
    once = ["synchronize", "memory_allocated", "reset_peak_memory_stats", "clock", "work", "synchronize", "clock",
            "max_memory_allocated"]  # fmt: skip
    assert called == 3 * once  # one of them does not count
    assert len(done.seconds) == 2 and (done.grew_mb, done.peak_mb) == (5.0, 7.0)

    gpu = type("Gpu", (), {"name": "a GPU", "total_memory": 8e9})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    machine = machine_of("cuda", 2)
    assert (machine["name"], machine["device"], machine["gpu_gb"]) == ("a GPU", "cuda", 8.0)


def test_a_gpu_gets_tables_of_its_own():
    assert ("No GPU has run this command yet" in page(FOUND, *command.beside())) == all(
        machine["device"] == "cpu" for machine in FOUND["machines"]
    )
    found = copy.deepcopy(FOUND)
    name = found["machines"][0]["name"]
    found["machines"].append(found["machines"][0] | {"name": "a GPU", "device": "cuda", "busy": True})
    found["rows"] += [row | {"machine": "a GPU", "device": "cuda"} for row in FOUND["rows"] if row["machine"] == name]
    text = page(found, *command.beside())
    assert "No GPU" not in text and "**Preliminary**: on a GPU" in text
    assert text.count("## On a GPU") == 1 and text.count("### Training an SAE") == 1 + len(FOUND["machines"])
    assert "weights" not in page({"machines": [], "rows": []}, *command.beside())  # nothing measured, nothing shown


def test_names_of_one_tensor_count_once():
    one = torch.ones(250_000)
    both = held({"a": one, "again": one.view(500, 500), "b": torch.ones(250_000)})
    assert both == {"tensors_mb": 2.0, "names": 3, "tensors": 2, "named_mb": 3.0}


def test_how_far_off_the_published_numbers_are():
    def row(work, **more):
        return {"machine": "m", "model": GPT2, "dtype": "float32", "work": work, "prompts": 1, "tokens": 15} | more

    cache = {"names": 7, "named_mb": 20.0}
    rows = [
        row("load the model", stays_mb=500.0, grew_mb=900.0),
        row("run, cache everything", tensors_mb=10.0, **cache),
        row("run, cache everything", tensors_mb=100.0, prompts=10, **cache),
        row("patch with two full caches", tensors_mb=20.0),
        row("step of an SAE as in the published lab", grew_mb=100.0, d_in=8, latents=16, batch=4),
    ]
    lines = beside_published({"rows": rows}).splitlines()
    off = {line.split(" | ")[0].lstrip("| "): line.split(" | ")[-1].rstrip(" |") for line in lines if line[:1] == "|"}
    assert off["load GPT-2 small"] == "3.0" and off["full cache of one prompt"] == "50"
    assert off["full cache of ten prompts"] == "50" and off["patching with two caches"] == "75"
    assert off["training an SAE"] == "40 to 80"
