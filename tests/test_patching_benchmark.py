"""The benchmark on a toy: its report, what is on which stream, and that it measures what it says."""

import json
import subprocess
import sys
import time

import pytest
import torch

from scripts import run_patching_benchmark as command
from scripts.interp.base.paths import ROOT
from scripts.interp.circuits import benchmark
from scripts.interp.circuits.patching import PatchingResult
from scripts.interp.circuits.sweeps import first_difference


@pytest.fixture(scope="module")
def quick():
    """One run as a command."""
    script = str(ROOT / "scripts" / "run_patching_benchmark.py")
    command = [sys.executable, script, "--json", "--quick", "--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_standard_output_is_one_json_object(quick):
    assert quick.returncode == 0, quick.stderr
    report = json.loads(quick.stdout)
    assert quick.stdout.startswith("{") and "warming up" in quick.stderr
    assert set(report) == {
        *("heads_ratio", "residual_ratio", "max_difference", "heads_seconds", "residual_seconds", "peak_megabytes"),
        *("more_prompts", "longer_prompts", "environment", "prompts", "tokens"),
    }
    for case, prompts, tokens in ((report, 4, 15), (report["more_prompts"], 16, 15), (report["longer_prompts"], 4, 40)):
        assert (case["prompts"], case["tokens"]) == (prompts, tokens)
        for name in ("heads", "residual"):
            seconds = case[f"{name}_seconds"]
            assert set(seconds) == {"plain", "exact"} and min(seconds.values()) > 0
            assert case[f"{name}_ratio"] == pytest.approx(seconds["plain"] / seconds["exact"], rel=0.05)
    assert "plain_seconds_estimated_from_cells" not in report
    assert report["more_prompts"]["plain_seconds_estimated_from_cells"] == 20  # all heads of the toy
    assert 0 < report["max_difference"] < 1e-4  # two ways of computing never agree to the last bit
    environment = report["environment"]
    assert environment["threads"] == 1 and environment["torch"] == torch.__version__
    assert {"machine", "cpu", "cores", "python", "transformer_lens", "model"} <= set(environment)
    memory = report["peak_megabytes"]
    assert memory is None or (set(memory) == {"plain", "exact"} and min(memory.values()) >= 0)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_table(quick):
    text = benchmark.table(json.loads(quick.stdout))
    report = json.loads(quick.stdout)
    lines = text.splitlines()
    assert (
        lines[1].startswith("heads, 4 prompts of 15 tokens") and lines[1].split()[-1] == f"{report['heads_ratio']:.1f}"
    )
    assert "~" not in lines[2] and "~" in lines[3] and "transformer_lens" in lines[-1]
    assert benchmark.table({**report, "peak_megabytes": None}).count("peak memory") == 0


def test_options(capsys):
    for arguments in (["--threads", "0"], ["--threads", "two"], ["--jason"]):
        with pytest.raises(SystemExit) as stop:
            command.main(arguments)
        assert stop.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["run_patching_benchmark", "measure_reference_values"])
def test_a_wrong_argument_is_answered_before_anything_heavy_is_imported(command):
    program = f"""
import sys
from scripts.{command} import main
try:
    main(["--jason"])
finally:
    assert "torch" not in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert run.returncode == 2 and "unrecognized arguments: --jason" in run.stderr, run.stderr


def test_an_unknown_model_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("LAB_MODEL", "no-such-model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert command.main(["--json", "--threads", "1"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "no-such-model" in said.err and "Traceback" not in said.err


@pytest.fixture(scope="module")
def toy_case():
    model = benchmark.toy_model()
    return model, benchmark.toy_pairs(model, 4, 6)


@pytest.mark.parametrize("name", ["heads", "residual"])
def test_a_wrong_number_is_reported(toy_case, monkeypatch, name):
    """max_difference covers both sweeps."""
    right = benchmark.SWEEPS[name]

    def wrong(*args, **options) -> PatchingResult:
        result = right.exact(*args, **options)
        effect = result.effect.clone()
        effect[-1, -1] += 0.5
        return result._replace(effect=effect)

    monkeypatch.setitem(benchmark.SWEEPS, name, right._replace(exact=wrong))
    assert benchmark.compare_in_full(*toy_case)["max_difference"] == pytest.approx(0.5, abs=1e-3)


def test_seconds_belong_to_the_right_way(toy_case, monkeypatch):
    heads = benchmark.SWEEPS["heads"]

    def slow(*args, **options):
        time.sleep(0.5)
        return heads.exact(*args, **options)

    monkeypatch.setitem(benchmark.SWEEPS, "heads", heads._replace(exact=slow))
    report = benchmark.compare_in_full(*toy_case)
    assert 0.5 < report["heads_seconds"]["exact"] < 1.2  # the median, not the sum, of three
    assert report["residual_seconds"]["exact"] < 0.5


def test_the_sample_is_scaled_to_all_patches(toy_case, monkeypatch):
    """The runs beforehand count once, a patch as often as there are patches."""
    monkeypatch.setattr(benchmark, "SAMPLED_CELLS", 3)
    asked = []

    def plain_sweep(model, pairs, sweep, cells=None):
        asked.append(cells)
        time.sleep(0.2)
        return torch.zeros(len(cells)), 0.06

    monkeypatch.setattr(benchmark, "plain_sweep", plain_sweep)
    report = benchmark.compare_by_sample(*toy_case)
    assert [len(set(cells)) for cells in asked] == [3, 3] and report["plain_seconds_estimated_from_cells"] == 3
    assert report["heads_seconds"]["plain"] == pytest.approx(0.14 + 0.02 * 20, abs=0.05)
    assert report["residual_seconds"]["plain"] == pytest.approx(0.14 + 0.02 * 30, abs=0.05)


def test_peak_memory_is_what_the_work_took():
    if benchmark.restart_peak() is None:
        pytest.skip("this system does not count it")
    big = benchmark.measure(lambda: torch.ones(25_000_000).sum().item())  # 100 MB, gone at the end
    small = benchmark.measure(lambda: torch.ones(10).sum().item())
    assert big.value == 25_000_000 and 90 < big.megabytes < 140 and small.megabytes < 20


def test_memory_that_nobody_counts(toy_case, monkeypatch):
    monkeypatch.setattr(benchmark, "restart_peak", lambda: None)
    assert benchmark.measure(lambda: 3) == benchmark.Measured(3, pytest.approx(0, abs=0.1), None)
    assert benchmark.compare_in_full(*toy_case)["peak_megabytes"] is None


def test_prompts_of_the_embedded_model(model):
    pairs = benchmark.ioi_pairs(model, 4)
    longer = benchmark.ioi_pairs(model, 4, 40)
    assert pairs.clean.shape == (4, 15) and longer.clean.shape == (4, 40)
    assert torch.equal(longer.clean[:, -5:], pairs.clean[:, -5:]) and torch.equal(longer.answers, pairs.answers)
    assert first_difference(longer) == first_difference(pairs) + 25  # the clause comes before it
    with pytest.raises(ValueError, match="longest clause gives"):
        benchmark.ioi_pairs(model, 4, 400)
