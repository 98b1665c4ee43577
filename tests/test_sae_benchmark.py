"""The benchmark of training steps at tiny sizes: its report, and that it measures what it says."""

import json
import time

import pytest
import torch

from scripts import run_sae_benchmark as command
from scripts.interp.base.paths import ROOT
from scripts.interp.saes import benchmark
from scripts.interp.saes.benchmark import Case, against_sae_lens, compare_steps, report_text, take_steps

TINY = Case(8, 40, 3, 16)
REPORT = ROOT / "data" / "sae_benchmark.json"


@pytest.fixture
def threads_stay():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.parametrize("way", benchmark.WAYS)
def test_every_way_trains(way):
    torch.manual_seed(0)
    step = benchmark.WAYS[way](TINY)
    x = torch.randn(16, 8)
    results = [step(x) for _ in range(30)]
    if way == "sae-lens":
        assert results[-1].losses["mse_loss"] < results[0].losses["mse_loss"]
    elif way != "dense loop":
        assert results[-1].losses[:, 0].mean() < results[0].losses[:, 0].mean()


def test_the_ways_begin_with_the_same_weights_and_do_the_same(monkeypatch):
    """Otherwise the comparison would compare something else."""
    sae = []
    from sae_lens.training import sae_trainer

    made = sae_trainer.SAETrainer.__init__
    monkeypatch.setattr(
        sae_trainer.SAETrainer,
        "__init__",
        lambda self, cfg, its, data: (sae.append(its), made(self, cfg, its, data))[1],
    )
    benchmark.sae_lens_step(TINY)
    torch.manual_seed(0)
    for mine, theirs in zip(benchmark.weights(TINY), ("W_enc", "b_enc", "W_dec", "b_dec")):
        assert mine.shape == getattr(sae[0], theirs).shape
    W_enc, _, W_dec, _ = benchmark.weights(TINY)
    torch.testing.assert_close(W_dec.norm(dim=1), sae[0].W_dec.norm(dim=1))
    assert torch.equal(W_enc, W_dec.T) and torch.equal(sae[0].W_enc, sae[0].W_dec.T)


def test_a_slow_step_is_seen(monkeypatch, threads_stay):
    monkeypatch.setattr(benchmark, "STEPS", 3)
    monkeypatch.setitem(benchmark.WAYS, "slow", lambda case: lambda x: time.sleep(0.05))
    found = take_steps("slow", TINY, threads_stay)
    assert 0.05 <= found["seconds"] < 0.2 and (found["peak_mb"] is None or found["peak_mb"] > 50)


def test_ratios_are_to_sae_lens_and_the_ways_take_turns(monkeypatch):
    taken = []

    def in_a_process(way, case, threads):
        taken.append(way)
        return {
            "seconds": (4.0 if way == "sae-lens" else 1.0) + 0.01 * len(taken),
            "peak_mb": 100 if way == "sae-lens" else 40,
        }

    monkeypatch.setattr(benchmark, "in_a_process", in_a_process)
    rows = compare_steps(TINY, 1, rounds=2)
    assert taken == 2 * list(benchmark.WAYS)
    by_way = {row["method"]: row for row in rows}
    assert by_way["sae-lens"]["times_faster"] == 1 and by_way["hybrid"]["times_faster"] == pytest.approx(4, abs=0.3)
    assert by_way["hybrid"]["memory_share"] == 0.4
    assert by_way["hybrid"]["seconds_low"] < by_way["hybrid"]["seconds"] < by_way["hybrid"]["seconds_high"]


def test_a_way_that_fails_says_so():
    with pytest.raises(RuntimeError, match="'slower'"):
        benchmark.in_a_process("slower", TINY, 1)


def test_differences_are_those_of_equal_seeds():
    rows = [
        {"method": method, "seed": seed, "fvu": fvu, "dead_fraction": dead}
        for method, seed, fvu, dead in [
            ("sae-lens", 0, 0.1, 0.0), ("sae-lens", 1, 0.2, 0.1), ("hybrid", 0, 0.101, 0.05), ("hybrid", 1, 0.19, 0.0)
        ]
    ]  # fmt: skip
    hybrid = against_sae_lens(rows)[1]
    assert hybrid["fvu_largest_difference"] == pytest.approx(0.05)
    assert hybrid["dead_more_at_most"] == pytest.approx(0.05)


def test_the_report_that_is_committed_is_whole():
    report = json.loads(REPORT.read_text())
    wanted = {case for case in benchmark.CASES}
    assert {Case(row["d_in"], row["d_sae"], row["k"], row["batch"]) for row in report["cases"]} == wanted
    for rows in (report["cases"], report["real_activations"], report["against_sae_lens"]):
        assert {row["method"] for row in rows} <= set(benchmark.WAYS)
    assert {row["seed"] for row in report["real_activations"]} == set(range(benchmark.SEEDS))
    text = report_text(report)
    assert "exact-sparse" in text and str(report["environment"]["cpu"]) in text


def test_wrong_arguments_are_answered_at_once(capsys):
    with pytest.raises(SystemExit):
        command.main(["--threads", "0"])
    assert "'0' is not a whole number of 1 or more" in capsys.readouterr().err
