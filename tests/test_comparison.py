"""Comparing architectures: settings refused, what is run, resuming after a kill, and marks that follow the data."""

import copy
import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import run_comparison as command
from scripts.interp.base.files import alone_in, write_atomically
from scripts.interp.base.paths import ROOT, outputs_folder
from scripts.interp.figures.frontiers import plot_frontiers
from scripts.interp.runs.at_hooks import hook_activations, norm_limit, special_positions
from scripts.interp.saes import compare as comparing, ground_truth, measured_runs
from scripts.interp.saes.claims import CONFIRMED, NOT_COMPARABLE, REFUTED, lowest_fvu_at, verdicts
from scripts.interp.saes.compare import Bench, Results, compare, fvu_at, key_of, next_sparsity, takes_k
from scripts.interp.saes.comparison_page import over_seeds, page, read_results
from scripts.interp.saes.evaluate import evaluate_sae
from scripts.interp.saes.experiment import DEBUG_RESULTS, RULES, fixed_settings, read_experiment
from scripts.interp.saes.recipes import Settings, revives_latents
from scripts.interp.text.corpus import load_corpus, packed_tokens

# --- settings ---


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_says_everything_and_a_file_only_what_differs(tmp_path):
    example = read_experiment(None, {})
    assert set(vars(example)) == set(RULES) and example.results == "data"
    mine = read_experiment(written(tmp_path, "l0: [3, 9]\nsweep_l0: 9\nepochs: 2.5\n"), {"seed": 4})
    assert (mine.l0, mine.epochs, mine.seed, list(mine.seeds)) == ([3, 9], 2.5, 4, [4, 5, 6])
    assert mine.architectures == example.architectures and mine.hook_name == f"blocks.{mine.layer}.hook_resid_post"
    little = read_experiment(None, {"layer": 3}, debug=True)
    assert little.layer == 3 and little.folder == outputs_folder(DEBUG_RESULTS) and little.n_seeds == 1
    assert read_experiment(None, {"results": "outputs/x"}, debug=True).results == "outputs/x"
    assert read_experiment(None, {"results": "outputs/../data"}).folder == ROOT / "data"


@pytest.mark.parametrize(
    "text, words",
    [
        ("learning_rat: 3", "'learning_rat', which is no setting"),
        ("layer: '12'", "layer is '12'; give a whole number without quotes, at least 0"),
        ("layer: 1.0", "layer is 1.0"),
        ("layer: true", "layer is True"),
        ("learning_rates: [1e-3]", "write 0.001 or 1.0e-3"),
        ("learning_rates: [0.1, 0.1]", "none of them twice"),
        ("learning_rates: []", "one entry or more"),
        ("learning_rates: [2]", "at most 1"),
        ("epochs: .nan", "epochs is nan; give a number without quotes, above 0"),
        ("epochs: .inf", "epochs is inf"),
        ("epochs: 0", "epochs is 0"),
        ("epochs: 0.001", "epochs is 0.001, less than one batch of the tokens; give more"),
        ("n_seeds: 0", "at least 1"),
        ("tokens: -5", "tokens is -5"),
        ("model: 3", "some text"),
        ("first_sparsity: 1", "{name: value}"),
        ("first_sparsity: {gated: '1'}", "names with, for each, a number"),
        ("l0: [20, 5000]", "no more latents than n_features, 2,304"),
        ("sweep_l0: 33", "give one of l0"),
        ("batch_size: 900000", "no more than the number of tokens"),
        ("spliced_rows: 65", "no more than the number of held_out_rows, 64"),
        ("planted_features: 100", "a multiple of planted_dimensions, 64"),
        ("seed: 1\nseed: 2", "sets seed twice"),
        ("- a\n- b", "holds no settings"),
        ("", "holds no settings"),
        ("a: [", "can't be read as YAML"),
        ("a: !!python/object:os.system {}", "can't be read as YAML"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(ValueError) as refused:
        read_experiment(path, {})
    said = str(refused.value)
    assert words in said and "\n" not in said and said.startswith(str(path)) and said.endswith(".")
    assert ("YAML reads 1e-3" in said) == ("'" in text or "1e-3" in text)  # said where a number was written as text


def test_flags_in_both_spellings_stand_above_the_file(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(command, "run", lambda experiment, use_wandb: asked.append((experiment, use_wandb)))
    monkeypatch.setattr(command, "write_pages", lambda experiment: None)
    path = written(tmp_path, "layer: 5\nbatch_size: 64\n")
    for n_features, batch_size, rate in (
        ("--n_features", "--batch_size", "--learning_rate"), ("--n-features", "--batch-size", "--learning-rate"),
    ):  # fmt: skip
        flags = [n_features, "1152", batch_size, "128", rate, "0.002", "--epochs", "0.5", "--seed", "3", "--layer", "7"]
        assert command.main([*flags, "--model", "gpt2-small", "--config", str(path)]) == 0
        (experiment, use_wandb), *_ = asked[-1:]
        assert (experiment.n_features, experiment.batch_size, experiment.learning_rates) == (1152, 128, [0.002])
        assert (experiment.epochs, experiment.seed, experiment.layer, experiment.model) == (0.5, 3, 7, "gpt2-small")
        assert not use_wandb
    for wrong in (["--layer", "x"], ["--n_features", "0"], ["--config", "nowhere.yaml"], ["--layers", "3"]):
        with pytest.raises(SystemExit) as stop:
            command.main(wrong)
        assert stop.value.code == 2 and len(asked) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_wandb_is_asked_for_and_installed_or_not_touched(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    monkeypatch.setattr(command, "run", lambda *given: pytest.fail("it ran"))
    with pytest.raises(SystemExit):
        command.main(["--use_wandb"])
    assert "needs the package wandb" in capsys.readouterr().err

    class Wandb:
        calls = []

        @classmethod
        def init(cls, **options):
            cls.calls.append(options)

        @classmethod
        def log(cls, row):
            cls.calls.append(row)

    monkeypatch.setitem(sys.modules, "wandb", Wandb)
    monkeypatch.setenv("WANDB_MODE", "disabled")  # as the labs' package sets it
    command.wandb_log(read_experiment(None, {}))("sae_comparison", {"fvu": 0.2, "k": None})
    assert Wandb.calls[0]["mode"] == "online" and Wandb.calls[1] == {"sae_comparison/fvu": 0.2}
    monkeypatch.setenv("WANDB_MODE", "offline")
    command.wandb_log(read_experiment(None, {}))
    assert Wandb.calls[-1]["mode"] == "offline"


def test_a_wrong_argument_is_answered_before_anything_heavy_is_imported():
    program = """
import sys
from scripts.run_comparison import main
try:
    main(["--n_features", "many"])
finally:
    assert "torch" not in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert run.returncode == 2 and "invalid int value: 'many'" in run.stderr, run.stderr


# --- which runs there are ---


def pretended(experiment, done: list[Settings], stop_after: int = 10**6) -> Bench:
    """Runs without training: L0 falls with the weight, differently for each rate; the middle rate is the best."""
    rates = experiment.learning_rates

    def measure(settings: Settings) -> dict:
        if len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(settings)
        if settings.learning_rate == rates[-1] and settings.architecture == "gated":
            return {"error": "The loss is inf at step 3."}
        l0 = settings.k if takes_k(settings.architecture) else 60 * settings.sparsity**-1.4
        worse = 1 + abs(rates.index(settings.learning_rate) - 1)
        return {"l0": float(l0), "fvu": worse * 2 / l0**0.6, "dead_fraction": 0.0, "seconds": 1.0}

    usual = Settings("toy", experiment.hook_name)
    settings_of = measured_runs.settings_of
    return Bench(lambda *what: settings_of(usual, *what), measure, experiment.l0, rates, experiment.sweep_l0)


@pytest.fixture
def experiment():
    changes = {"architectures": ["standard", "gated", "topk", "hybrid"], "l0": [20, 50], "n_seeds": 2}
    return read_experiment(None, changes)


def test_every_architecture_gets_its_rate_and_is_matched_at_every_l0(experiment, tmp_path):
    results, done = Results(tmp_path / "rows.json", fixed_settings(experiment)), []
    compare(experiment, pretended(experiment, done), results)
    grid = [row for row in results.rows if row["role"] == "grid"]
    slots = {(row["architecture"], row["target"], row["seed"]) for row in grid}
    assert len(grid) == len(slots) == 4 * 2 * 2
    for row in grid:
        assert abs(row["l0"] / row["target"] - 1) <= 0.08 and row["learning_rate"] == experiment.learning_rates[1]
        assert (row["k"] is None) == (row["architecture"] in ("standard", "gated")) != (row["sparsity"] is None)
    assert len({key_of(settings) for settings in done}) == len(done)  # nothing twice
    sweeps = {(row["architecture"], row["learning_rate"]) for row in results.rows if row["role"] == "sweep"}
    assert len(sweeps) == 4 * 3
    table = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert len(table) == len(results.rows) and float(table[-1]["fvu"]) == results.rows[-1]["fvu"]


@pytest.mark.parametrize("stop_after", [1, 9, 20])
def test_a_killed_comparison_does_only_what_is_missing(experiment, tmp_path, stop_after):
    whole, done = Results(tmp_path / "whole.json", {}), []
    compare(experiment, pretended(experiment, done), whole)
    first, second = [], []
    with pytest.raises(KeyboardInterrupt):
        compare(experiment, pretended(experiment, first, stop_after), Results(tmp_path / "cut.json", {}))
    resumed = Results(tmp_path / "cut.json", {})
    compare(experiment, pretended(experiment, second), resumed)
    assert first + second == done and (tmp_path / "cut.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    third: list[Settings] = []
    compare(experiment, pretended(experiment, third), Results(tmp_path / "cut.json", {}))
    assert third == []


def test_after_a_kill_between_the_two_files_both_have_all_rows(experiment, tmp_path, monkeypatch):
    results, writes = Results(tmp_path / "rows.json", {}), []

    def write_first_only(path, content):
        if len(writes) == 5:
            raise KeyboardInterrupt
        writes.append(path)
        write_atomically(path, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(comparing, "write_atomically", write_first_only)
        for k in (1, 2, 3):
            results.row("sweep", 20, Settings(architecture="topk", k=k), lambda settings: {"l0": 20.0})
    again = Results(tmp_path / "rows.json", {})
    again.row("sweep", 20, Settings(architecture="topk", k=3), lambda settings: {"l0": 20.0})
    assert len(again.rows) == len(list(csv.DictReader((tmp_path / "rows.csv").open()))) == 3


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAB_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(ground_truth, "planted_bench", lambda experiment: pytest.fail("it went on"))
    usual = ["--debug", "--model", "toy-attn-2l", "--n_features", "512", "--results", str(tmp_path / "results")]
    nothing = written(tmp_path, "architectures: [nothing]")
    for wrong, words in (
        (["--layer", "9"], "layers are 0 to 1"),
        (["--layer", "0", "--config", str(nothing)], "'nothing'"),
    ):
        assert command.main([*usual, *wrong]) == 1
        assert words in capsys.readouterr().err
    with alone_in(tmp_path / "sae_comparison"):
        assert command.main(usual) == 1
    assert "Another process is at work in" in capsys.readouterr().err and not (tmp_path / "results").exists()


def test_results_of_other_settings_are_refused(experiment, tmp_path):
    path = tmp_path / "rows.json"
    results = Results(path, fixed_settings(experiment))
    compare(experiment, pretended(experiment, []), results)
    more = read_experiment(None, {"architectures": ["standard", "batchtopk"], "n_seeds": 5})
    assert Results(path, fixed_settings(more)).rows == results.rows
    other = read_experiment(None, {"n_features": 1152})
    with pytest.raises(ValueError, match="n_features 2304 and not 1152.*--results"):
        Results(path, fixed_settings(other))
    for broken in ("[]", "{}", path.read_text().replace('"seed"', '"sed"'), path.read_text()[:-5]):
        path.write_text(broken)
        with pytest.raises(ValueError, match="rows.json holds no results of a comparison .*: move it away"):
            Results(path, {})
    with pytest.raises(ValueError, match="rows.json is no folder"):
        Results(path / "rows.json", {})


def test_a_grid_row_of_a_rate_that_is_no_longer_the_best_goes(experiment, tmp_path):
    results = Results(tmp_path / "rows.json", {})
    row = {"role": "grid", "target": 20, "architecture": "topk", "seed": 0, "key": "old"}
    results.rows = [row, row | {"architecture": "standard"}]
    settings = Settings(architecture="topk", k=20)
    results.row("grid", 20, settings, lambda settings: {"l0": 20.0})
    assert [each["key"] for each in results.rows] == ["old", key_of(settings)]


def test_the_search_and_what_it_interpolates():
    assert next_sparsity([], 50, 0.3) == 0.3
    assert next_sparsity([(1.0, 100.0)], 50, 0.3) == pytest.approx(2.0)
    assert next_sparsity([(1.0, 1e9)], 50, 0.3) == 16.0  # no farther at once
    assert next_sparsity([(1.0, 100.0), (4.0, 25.0), (64.0, 20.0)], 50, 1) == pytest.approx(2.0)
    assert next_sparsity([(1.0, 0.0)], 50, 1) < 0.1  # nothing above zero is less than anything
    weight = next_sparsity([(1.0, 100.0), (2.0, 110.0)], 50, 1)  # an L0 that grows with the weight is noise
    assert weight == pytest.approx(2.0)
    points = [{"l0": 25.0, "fvu": 0.4}, {"l0": 100.0, "fvu": 0.1}, {"l0": 900.0, "fvu": 0.09}]
    assert fvu_at(points, 50) == pytest.approx(0.2) and fvu_at(points[:1], 50) == 0.4


def test_an_architecture_without_a_sparsity_is_refused_and_names_are_of_what_is_set():
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="can't be matched"):
        patch.setattr(comparing, "sparsity_settings", lambda architecture: set())
        takes_k("topk")
    assert takes_k("hybrid") and takes_k("batchtopk") and not takes_k("gated") and not takes_k("jumprelu")
    assert [revives_latents(name) for name in ("topk", "batchtopk", "hybrid", "gated", "standard", "jumprelu")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert key_of(Settings(seed=1)) != key_of(Settings(seed=2)) and key_of(Settings()) == key_of(Settings())


# --- one run ---


@pytest.fixture(scope="module")
def toy_bench(tmp_path_factory):
    """The toy that ships, in place of a language model."""
    changes = {
        "model": "toy-attn-2l", "layer": 0, "n_features": 512, "tokens": 640, "batch_size": 64, "context": 32,
        "held_out_rows": 6, "spliced_rows": 3, "l0": [8], "sweep_l0": 8,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        yield measured_runs.model_bench(read_experiment(None, changes))


def test_a_run_on_a_model(toy_bench):
    settings = toy_bench.settings("topk", 0.003, 8, 0)
    row = toy_bench.measure(settings)
    assert row["l0"] == pytest.approx(8, abs=0.1) and 0 < row["fvu"] < 1.5 and 0 <= row["dead_fraction"] < 1
    assert row["fvu_low"] <= row["fvu"] <= row["fvu_high"] and row["width"] == 512 and row["steps"] == 9
    assert row["seconds"] > 0 and row["revives"] is True and row["trainer"] == "project"
    again = toy_bench.measure(settings)
    for name in ("fvu", "l0", "recovered_mean", "recovered_zero", "dead_fraction"):
        assert row[name] == again[name]
    assert not list(measured_runs.outputs_folder("sae_comparison").glob(key_of(settings)))


def test_measures_are_those_of_evaluate_sae(trained_toy):
    from scripts.interp.planted.dictionary import random_sae

    hook = "blocks.0.hook_resid_post"
    rows = packed_tokens(load_corpus("validation"), trained_toy.tokenizer, 32)[:7]
    rows[1, 9] = rows[2, 20] = trained_toy.tokenizer.bos_token_id  # special, so neither read nor predicted
    x = hook_activations(trained_toy, rows, [hook])[hook]
    limit = norm_limit(x, special_positions(trained_toy, rows))
    sae = random_sae(trained_toy.cfg.d_model, 40)
    wanted = evaluate_sae(trained_toy, sae, hook, rows, limit, 5)
    row = measured_runs.judge_on(trained_toy, hook, measured_runs.read_held_out(trained_toy, hook, rows, limit, 5), sae)
    for name in ("fvu", "l0", "recovered_mean", "recovered_zero"):
        estimate = getattr(wanted, name)
        assert [row[name], row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(list(estimate), rel=1e-4)
    assert row["dead_fraction"] == wanted.dead_fraction and row["window"] == wanted.n_tokens


def test_a_run_apart_leaves_no_memory_and_its_errors_arrive():
    def fail():
        raise ValueError("The loss is nan at step 1.")

    assert measured_runs.apart(lambda: 3, True) == measured_runs.apart(lambda: 3, False) == 3
    for forked in (True, False):
        with pytest.raises(ValueError, match="loss is nan"):
            measured_runs.apart(fail, forked)
    with pytest.raises(ChildProcessError, match="exit code 7"):
        measured_runs.apart(lambda: sys.exit(7), True)


def test_a_run_that_was_killed_is_done_anew_since_its_seconds_count(toy_bench, monkeypatch):
    settings = toy_bench.settings("topk", 0.004, 8, 0)
    work = measured_runs.outputs_folder("sae_comparison") / key_of(settings)
    work.mkdir()
    (work / "checkpoint.pt").touch()

    def train(settings, activations, folder, progress):
        raise ValueError(f"The loss is no matter, {folder.exists()}")

    monkeypatch.setattr(measured_runs, "train", train)
    assert toy_bench.measure(settings)["error"].endswith("False") and not work.exists()


def test_an_infinite_loss_is_a_row(toy_bench, monkeypatch):
    def fail(*given, **named):
        raise ValueError("The loss is inf at step 2: give a lower --learning-rate.")

    monkeypatch.setattr(measured_runs, "train", fail)
    assert "The loss is inf" in toy_bench.measure(toy_bench.settings("standard", 0.5, 1.0, 0))["error"]


def test_a_bench_refuses_what_the_model_has_not():
    for changes, words in (
        ({"layer": 2}, "layers are 0 to 1"), ({"n_features": 500}, "a multiple of 256"),
        ({"context": 100_000, "tokens": 150_000}, "reads"), ({"architectures": ["nothing"]}, "no architecture"),
        ({"first_sparsity": {"jumprel": 1.0}}, "no architecture 'jumprel'"),
        ({"first_sparsity": {"topk": 1.0}}, "first_sparsity has a weight for topk, whose L0 is set by k"),
    ):  # fmt: skip
        usual = {"model": "toy-attn-2l", "layer": 0, "n_features": 512, "context": 32}
        with pytest.raises(ValueError, match=words):
            measured_runs.model_bench(read_experiment(None, usual | changes))


# --- the page, and what it says of claims ---


def results_like(**changes) -> dict:
    rows = [
        {
            "role": "grid", "architecture": name, "target": l0, "l0": float(l0), "seed": seed,
            "fvu": share / l0**0.8, "seconds": seconds, "key": f"{name}{l0}{seed}",
            "learning_rate": 0.005, "window": 9,
        }
        for name, share, seconds in (("standard", 1.2, 10.0), ("topk", 1.0, 12.0), ("hybrid", 1.001, 6.0))
        for l0 in (20, 300)
        for seed in (0, 1)
    ]  # fmt: skip
    return {"settings": {}, "about": {"unit": "token"}, "rows": rows} | changes


def cases(hybrid: float, memory: float) -> dict:
    size = {"d_in": 768, "d_sae": 32768, "k": 32, "batch": 1024}
    return {"cases": [
        size | {"method": "sae-lens", "seconds": 8.0, "peak_mb": 1000.0},
        size | {"method": "hybrid, low rank", "seconds": 80.0, "peak_mb": 9000.0},
        size | {"method": "hybrid", "seconds": 8 / hybrid, "peak_mb": memory * 1000},
    ]}  # fmt: skip


def marks(comparison, benchmark=None) -> list[str]:
    return [verdict.mark for verdict in verdicts(comparison, benchmark)]


def test_marks_follow_the_data():
    measured = results_like()
    assert marks(None) == [NOT_COMPARABLE] * 6
    assert marks(measured, cases(8.0, 0.4)) == [CONFIRMED] * 4 + [NOT_COMPARABLE] * 2
    slow = copy.deepcopy(measured)
    for row in slow["rows"]:
        if row["architecture"] == "hybrid":
            row["seconds"], row["fvu"] = 9.0, row["fvu"] * 1.02
    assert marks(slow, cases(3.1, 0.61)) == [REFUTED] * 4 + [NOT_COMPARABLE] * 2
    assert marks(measured, cases(3.2, 0.6))[0] == CONFIRMED
    for others, found in (((8.0, 10.0), CONFIRMED), ((8.0, 3.0), NOT_COMPARABLE), ((3.0, 3.0), NOT_COMPARABLE)):
        several = cases(8.0, 0.4)
        several["cases"] += [
            several["cases"][0] | {"method": name, "seconds": times} | {"peak_mb": 400 / 0.6 * times / 8}
            for name, times in zip(("dense loop", "exact-sparse"), others)
        ]  # TopK by other trainers, of which Hybrid's step takes one second
        assert [marks(measured, several)[place] for place in (0, 3)] == [found, found]
    apart = copy.deepcopy(measured)
    for row in apart["rows"]:
        row["trainer"] = "sae-lens" if row["architecture"] == "standard" else "project"
    assert marks(apart, cases(8.0, 0.4))[1:3] == [CONFIRMED, NOT_COMPARABLE]
    two = cases(8.0, 0.4)
    two["cases"] += [case | {"k": 128, "seconds": 5.0} for case in two["cases"]]  # not at every size
    assert marks(measured, two)[0] == REFUTED
    theirs = copy.deepcopy(measured) | {"about": {"unit": "text"}}
    assert marks(theirs)[4:] == [CONFIRMED, REFUTED]
    for row in theirs["rows"]:
        row["fvu"] *= 10
    assert marks(theirs)[4] == REFUTED
    theirs["rows"] = [row for row in theirs["rows"] if row["l0"] < 100]
    assert marks(theirs)[4] == NOT_COMPARABLE


def test_reasons_have_the_numbers():
    reasons = [verdict.reason for verdict in verdicts(results_like(), cases(8.0, 0.4))]
    assert "768 × 32,768, k 32" in reasons[0] and "as a step of TopK: by sae-lens 8.00" in reasons[0]
    assert "of the memory of TopK: by sae-lens 0.40" in reasons[3]
    assert (
        "+0.10%" in reasons[1]
        and "0.60 of Standard's" in reasons[2]
        and "Of TopK's, by the same trainer, it is 0.50" in reasons[2]
        and "averaged over each text" in reasons[4]
    )


def test_what_notebook_07_says_of_the_results_is_in_them():
    """Its answers name architectures and directions: those that are committed now must have them."""

    def means(file: str, measure: str) -> dict:
        rows = json.loads((ROOT / "data" / f"{file}.json").read_text(encoding="utf-8"))["rows"]
        return {slot: value.mean for slot, value in over_seeds(rows, measure).items()}

    fvu, names = means("sae_comparison", "fvu"), ("standard", "gated", "jumprelu", "topk", "batchtopk", "hybrid")
    apart = {name: [fvu[l0, name] / fvu[l0, "topk"] - 1 for l0 in (20, 50, 100, 200)] for name in names}
    assert max(apart["batchtopk"]) < 0 < min(apart["standard"])
    assert apart["gated"][0] < 0 < apart["gated"][-1] and apart["jumprelu"][-1] < 0 < apart["jumprelu"][0]
    assert max(map(abs, apart["hybrid"])) < min(map(abs, apart["batchtopk"]))
    fvu, mcc, f1 = (means("sae_ground_truth", measure) for measure in ("fvu", "mcc", "f1"))

    def order(found: dict, l0: int) -> list[str]:
        return sorted(names, key=lambda name: found[l0, name])

    assert order(mcc, 16)[-1] == order(fvu, 16)[-1] == "standard" and order(fvu, 4)[0] == "batchtopk"
    for l0 in (4, 8, 16):
        assert order(fvu, l0) != order(f1, l0)[::-1]
        assert mcc[l0, "topk"] > mcc[l0, "batchtopk"] and f1[l0, "topk"] > f1[l0, "batchtopk"]
    assert order(mcc, 4)[-1] != "batchtopk" != order(f1, 4)[-1]
    assert sum(max((4, 8, 16), key=lambda l0: f1[l0, name]) == 8 for name in names) >= 4
    for name in ("jumprelu", "batchtopk"):
        assert name in order(mcc, 16)[:2] and name in order(f1, 16)[:2]
    scaling = json.loads((ROOT / "data/sae_scaling.json").read_text(encoding="utf-8"))
    inside, beyond = (scaling["held_out"][group]["error"] for group in ("other k", "more latents"))
    assert inside["neighbours"] < inside["law"] < inside["nearest"]
    assert beyond["nearest"] < beyond["law"] < beyond["neighbours"]
    low_rate = min(scaling["checks"], key=lambda row: row["learning_rate"])
    (usual,) = (
        row
        for row in scaling["points"]
        if row["role"] == "held_out" and all(row[name] == low_rate[name] for name in ("d_sae", "k", "tokens"))
    )
    assert low_rate["learning_rate"] < usual["learning_rate"] and low_rate["fvu"] < usual["fvu"]


def test_lowest_fvu_between_runs():
    rows = results_like()["rows"]
    assert lowest_fvu_at(rows, math.sqrt(20 * 300)) == pytest.approx(1 / math.sqrt(20 * 300) ** 0.8)
    assert lowest_fvu_at(rows, 19) is None and lowest_fvu_at(rows, 301) is None


def test_means_and_ranges_over_seeds():
    rows = results_like()["rows"]
    rows[0]["fvu"] = 0.5
    found = over_seeds(rows, "fvu")
    assert found[20, "standard"].high == 0.5 and found[20, "standard"].mean == pytest.approx((0.5 + rows[1]["fvu"]) / 2)
    assert found[20, "topk"].low == found[20, "topk"].high


def test_the_page_that_is_committed_is_of_the_results_that_are():
    text = (ROOT / "docs" / "sae-comparison.md").read_text(encoding="utf-8")
    assert text == page(read_results(ROOT / "data")), "run `.venv/bin/python scripts/run_comparison.py --page`"
    assert (
        fixed_settings(read_experiment(None, {}))
        == json.loads((ROOT / "data/sae_comparison.json").read_text())["settings"]
    )
    for row in json.loads((ROOT / "data/sae_comparison.json").read_text())["rows"]:
        assert row.get("error") or {"fvu", "l0", "recovered_mean", "recovered_zero", "peak_mb", "width"} <= set(row)


def test_no_results_no_page(tmp_path, monkeypatch, capsys):
    assert command.main(["--page", "--results", str(tmp_path)]) == 1
    assert "run `.venv/bin/python scripts/run_comparison.py`" in capsys.readouterr().err
    (tmp_path / "sae_ground_truth.json").write_text('{"settings": {}, "about": {}, "rows": []}')
    assert command.main(["--page", "--results", str(tmp_path)]) == 1
    assert "no results yet in sae_comparison.json" in capsys.readouterr().err
    (tmp_path / "sae_comparison.json").write_text("{")
    assert command.main(["--page", "--results", str(tmp_path)]) == 1
    assert "sae_comparison.json holds no results of a comparison" in capsys.readouterr().err


def test_a_debug_run_starts_anew_unless_its_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(command, "write_pages", lambda experiment: None)
    seen = []
    monkeypatch.setattr(command, "run", lambda experiment, use_wandb: seen.append(old.exists()))
    old = outputs_folder(DEBUG_RESULTS) / "sae_comparison.json"
    for flags, left in (
        (["--page", "--debug"], True),
        (["--debug", "--results", str(old.parent)], True),
        (["--debug"], False),
    ):
        old.parent.mkdir(exist_ok=True), old.touch()
        assert command.main(flags) == 0 and old.exists() == left
    assert seen == [True, False]


def test_the_figure_shows_points_and_ranges():
    panels = {"a": {"one": [(100, 2, 1, 4), (10, 3, 3, 3)], "two": [(20, 1, 1, 1)]}, "b": {"two": [(20, 5, 4, 6)]}}
    figure = plot_frontiers(panels, "t", x="L0")
    one, two, below = figure.data
    assert (list(one.x), list(one.y)) == ([10, 100], [3, 2])
    assert list(one.error_y.array) == [0, 2] and list(one.error_y.arrayminus) == [0, 1]
    assert two.line.color == below.line.color != one.line.color and two.marker.symbol != one.marker.symbol
    assert figure.layout.xaxis.type == "log"
    for wrong in ((10, 3, 4, 5), (0, 3, 3, 3)):
        with pytest.raises(ValueError, match="give x > 0"):
            plot_frontiers({"a": {"one": [wrong]}})
