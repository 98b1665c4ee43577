"""Scaling laws: a planted law is found, its intervals hold, predictions come before the runs that they are of."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import torch

from scripts import train_hybrid_sae
from scripts.derive_scaling_laws import figure, main
from scripts.estimate_experiments import measured
from scripts.interp.base.files import alone_in
from scripts.interp.base.paths import ROOT
from scripts.interp.saes import scaling_law as law, scaling_runs
from scripts.interp.saes.scaling import GROUPS, Record, derive, read
from scripts.interp.saes.scaling_page import page
from scripts.interp.saes.scaling_plan import Plan, Run
from scripts.interp.saes.scaling_runs import bench, settings_of
from scripts.interp.saes.stored_activations import StoredActivations
from scripts.interp.saes.train import train

PLAN = Plan("planted", "blocks.0.hook_resid_post", 512)
PLANTED = {  # coefficients of forms of `SIZE_FORMS`
    "powers": [-1.5, -0.4, -0.1],
    "powers and their product": [-1.5, -0.4, -0.1, -0.02],
    "powers, their product and a floor": [-1.6, -0.35, -0.3, -0.02, -2.3, -0.4],
}


@pytest.fixture(autouse=True, scope="module")
def fewer_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(law, "RESAMPLES", 100)
        patch.setattr(law, "SHUFFLES", 200)
        yield


def planted_loss(run: Run, form="powers and their product", noise=0.005) -> dict:
    """A run whose loss follows a law, and the tokens by a power of their own, with noise that the run decides."""
    point = {"d_sae": run.width * PLAN.d_in, "k": run.k, "tokens": run.tokens}
    generator = np.random.default_rng([run.width, run.k, run.tokens, run.seed])
    log = law.log_loss(law.SIZE_FORMS[form], np.array(PLANTED[form]), [point])[0]
    log += -0.1 * np.log(run.tokens / PLAN.tokens) + abs(np.log(run.learning_rate / 3e-3)) / 10
    fvu = float(np.exp(log + noise * generator.normal()))
    return {"fvu": fvu, "mse": fvu, "l0": run.k, "dead_fraction": 0.0, "seconds": 1.0}


def grid(form: str, noise: float) -> list[dict]:
    runs = [run for run in PLAN.to_fit(3e-3) if run.tokens == PLAN.tokens and run.seed == 0]
    points = [{"d_sae": run.width * PLAN.d_in, "k": run.k, "tokens": run.tokens} for run in runs]
    return [point | planted_loss(run, form, noise) for point, run in zip(points, runs)]


@pytest.mark.parametrize("form", PLANTED)
def test_a_planted_law_is_found(form):
    found = law.fit_law(law.SIZE_FORMS[form], grid(form, noise=0))
    assert found.coefficients == pytest.approx(PLANTED[form], abs=2e-3)
    assert found.residuals == pytest.approx(np.zeros(16), abs=1e-6)


@pytest.mark.parametrize("name", ["powers", "powers and their product"])
def test_intervals_hold_the_planted_coefficients_and_new_runs(name):
    """Nearly as often as they say, 95 of 100: nine of ten, since residuals of 16 points have no tails."""
    form, inside, predicted = law.SIZE_FORMS[name], [], []
    wanted = [{"d_sae": 16 * PLAN.d_in, "k": 48, "tokens": PLAN.tokens}]
    truth = law.log_loss(form, np.array(PLANTED[name]), wanted)[0]
    said = law.log_loss(form, np.array(PLANTED[name]), grid(name, 0))
    for seed in range(30):
        generator = np.random.default_rng(seed)
        points = [point | {"fvu": np.exp(s + 0.01 * generator.normal())} for point, s in zip(grid(name, 0), said)]
        model = law.fit_law(form, points)
        laws = law.resampled(model, points, seed)
        inside += [low <= real <= high for (low, high), real in zip(law.intervals(laws), PLANTED[name])]
        prediction = law.predict(model, laws, wanted)[0]
        predicted.append(prediction.low <= np.exp(truth + 0.01 * generator.normal()) <= prediction.high)
    assert 0.8 < np.mean(inside) < 0.99 and 0.8 < np.mean(predicted) <= 1


def test_latents_that_are_shuffled_have_no_slope():
    points = grid("powers", noise=0.01)
    assert law.share_of_steeper(points) < 0.01
    holds_zero = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(points))
        shuffled = [point | {"d_sae": points[i]["d_sae"]} for point, i in zip(points, order)]
        found = law.fit_law(law.SIZE_FORMS["powers"], shuffled)
        low, high = law.intervals(law.resampled(found, shuffled))[2]
        holds_zero.append(low < 0 < high)
    assert law.share_of_steeper(shuffled) > 0.05
    assert np.mean(holds_zero) >= 0.8


def test_nulls_take_the_nearest_point_and_the_line_through_neighbours():
    points = grid("powers and their product", noise=0)
    wanted = {"d_sae": 16 * PLAN.d_in, "k": 48, "tokens": PLAN.tokens}
    assert law.nearest(points, wanted) == next(p["fvu"] for p in points if (p["d_sae"], p["k"]) == (4096, 64))
    truth = np.exp(
        law.log_loss(
            law.SIZE_FORMS["powers and their product"], np.array(PLANTED["powers and their product"]), [wanted]
        )[0]
    )
    assert law.by_neighbours(points, wanted, ("d_sae", "k")) == pytest.approx(truth)  # it is linear in each logarithm


def test_too_few_points_for_a_form_are_refused():
    with pytest.raises(ValueError, match="6 points can't tell 6 coefficients and an error: give more"):
        law.fit_law(law.SIZE_FORMS["powers, their product and a floor"], grid("powers", 0)[:6])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scaling.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A file with all runs, and the runs in their order."""
    path, runs = tmp_path_factory.mktemp("scaling") / "scaling.json", []

    def measure(run):
        runs.append(run)
        return planted_loss(run)

    derive(Record(path, PLAN), measure)
    return path, runs


def test_the_whole_course_finds_the_law_and_predicts(finished):
    content = read(finished[0])
    size = content["fit"]["size"]
    assert content["learning_rate"] == 3e-3
    assert size["form"] in ("powers and their product", "powers, their product and a floor")
    assert size["share_of_shuffled_steeper"] < 0.01 and 0.002 < content["fit"]["noise"] < 0.01
    held_out = content["held_out"]
    assert held_out["runs"] == held_out["of"] == len(PLAN.held_out(3e-3)) == 9
    assert [held_out[group]["runs"] for group in GROUPS] == [4, 4, 1]
    for group in GROUPS[:2]:
        error = held_out[group]["error"]
        assert error["law"] < error["nearest"] / 3
    assert sum(held_out[group]["inside"] for group in GROUPS) >= 5
    predictions = {tuple(row[name] for name in law.POINT): row["fvu"] for row in content["predictions"]}
    larger = [row for row in content["points"] if row["role"] == "held_out" and row["width"] == PLAN.larger]
    off = [np.log(predictions[tuple(row[name] for name in law.POINT)] / row["fvu"]) for row in larger]
    assert held_out["more latents"]["error"]["law"] == pytest.approx(np.sqrt(np.mean(np.square(off))))
    assert held_out["more latents"]["bias"] == pytest.approx(np.mean(off))


def test_what_is_held_out_is_run_after_its_prediction(finished):
    path, runs = finished
    content = read(path)
    held_out = set(PLAN.held_out(3e-3))
    first = next(i for i, run in enumerate(runs) if run in held_out)
    assert held_out == set(runs[first : first + len(held_out)])
    assert runs[first + len(held_out) :] == [Run(16, 64, PLAN.tokens, 0, rate) for rate in (1.5e-3, 6e-3)]
    assert len(runs) == len(content["rates"]) - 2 + len(content["points"]) + len(content["checks"])


def test_a_held_out_run_without_a_prediction_is_refused_before_it_starts(path):
    def never(run):
        raise AssertionError("it was run")

    record = Record(path, PLAN)
    with pytest.raises(ValueError, match="no prediction of 1024 latents, k 48, 409600 tokens.*--stage fit"):
        record.run("held_out", PLAN.held_out(3e-3)[0], never)
    with pytest.raises(ValueError, match="no prediction"):
        derive(record, never, "held-out")
    with pytest.raises(ValueError, match="All of the runs to fit are missing"):
        record.predict()
    derive(record, planted_loss, "fit")
    assert [row["role"] for row in record.points].count("held_out") == 0 and len(record.content["predictions"]) == 9
    with pytest.raises(ValueError, match="no prediction of 1536 latents"):
        record.run("held_out", PLAN.held_out(3e-3)[0]._replace(width=3), never)


def test_predictions_are_made_once_and_nothing_is_added_to_what_they_are_made_from(path):
    record = Record(path, PLAN)
    derive(record, planted_loss, "fit")
    with pytest.raises(ValueError, match="made once"):
        record.predict()
    with pytest.raises(ValueError, match="can't have more runs"):
        record.run("fit", Run(3, 16, PLAN.tokens, 0, 3e-3), planted_loss)
    before = path.read_bytes()
    derive(Record(path, PLAN), planted_loss, "fit")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["predictions"][0].update(fvu=0.1),
        lambda content: content["predictions"].pop(),
        lambda content: content.pop("predictions"),
        lambda content: content["fit"]["size"].update(form="powers"),
        lambda content: content["points"][0].update(fvu=0.1),
        lambda content: content.pop("sealed"),
    ],
)
def test_predictions_that_were_changed_are_refused(finished, path, change):
    content = json.loads(finished[0].read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="not those that were written down"):
        Record(path, PLAN)


def test_a_killed_command_goes_on_and_ends_with_the_same_file(finished, path):
    def killed_after(n):
        def measure(run):
            nonlocal n
            n -= 1
            if n < 0:
                raise KeyboardInterrupt
            return planted_loss(run)

        return measure

    for n in (0, 2, 7, 9, 11, 8):
        with pytest.raises(KeyboardInterrupt):
            derive(Record(path, PLAN), killed_after(n))
    derive(Record(path, PLAN), planted_loss)
    assert path.read_bytes() == finished[0].read_bytes()


def test_the_page_says_what_the_file_has(finished, path):
    content = read(finished[0])
    text = page(content)
    for row in content["points"] + content["predictions"]:
        assert f"{row['fvu']:.4f}" in text
    assert f"nearest point {content['held_out']['more latents']['error']['nearest']:.2%}" in text
    assert "| **" + content["fit"]["size"]["form"] + "** |" in text and "All runs get 0.003." in text
    assert "The law predicts better than" in text and "costs 0.0% there" in text
    content["checks"][0]["fvu"] /= 2
    assert "the one rate for all, 0.003, costs 8" in page(content)

    worse = json.loads(json.dumps(content))
    worse["held_out"]["other k"]["error"]["law"] = 1.0
    assert "The law predicts worse than both nulls: as a law it has failed here." in page(worse)

    derive(Record(path, PLAN), planted_loss, "fit")
    before = page(read(path))
    assert "not run yet" in before and "What it comes to" not in before
    assert "## All runs" in page(Record(path.with_name("none.json"), PLAN).content)


def test_the_figure_shows_the_law_and_what_came_out(finished):
    content = read(finished[0])
    drawn = {trace.name: trace for trace in figure(content).data}
    row = next(each for each in content["predictions"] if (each["d_sae"], each["k"]) == (16 * PLAN.d_in, 64))
    real = next(each for each in content["points"] if (each["d_sae"], each["k"]) == (16 * PLAN.d_in, 64))
    place = drawn["k 64, predicted"].x.index(row["d_sae"])
    assert drawn["k 64, predicted"].y[place] == row["fvu"] and drawn["k 64, came out"].y[place] == real["fvu"]
    bars = drawn["k 64, predicted"].error_y
    assert row["fvu"] + bars.array[place] == pytest.approx(row["high"])
    assert row["fvu"] - bars.arrayminus[place] == pytest.approx(row["low"])
    assert drawn["k 64, law"].y[-1] == pytest.approx(row["fvu"])  # the line ends at the largest size
    assert list(drawn["k 16"].x) == [512 * width for width in PLAN.widths]


def test_a_run_sees_its_tokens_and_leaves_no_checkpoint(tmp_path, monkeypatch):
    """The tokens of the plan are seen, once; FVU and mean squared error belong together."""
    monkeypatch.setenv("LAB_OUTPUTS", str(tmp_path))
    values = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float16)
    plan = Plan("planted", "blocks.0.hook_resid_post", 8, batch=64)
    run = Run(width=2, k=3, tokens=640, seed=0, learning_rate=3e-3)
    held_out = torch.from_numpy(values[2000:]).float()
    killed = tmp_path / "scaling" / "2-3-640-0-0.003"
    killed.mkdir(parents=True)
    (killed / "checkpoint.pt").touch()

    def train_anew(settings, activations, work, progress):
        assert not work.exists()  # its seconds count
        return train(settings, activations, work, progress)

    monkeypatch.setattr(scaling_runs, "train", train_anew)
    row = bench(plan, StoredActivations(values[:2000], 100.0, 0, 0), held_out)(run)
    assert row["steps"] == 10 and 2.5 < row["l0"] <= 3 and 0.1 < row["fvu"] < 1
    assert row["mse"] == pytest.approx(row["fvu"] * held_out.var(dim=0, correction=0).sum().item(), rel=1e-4)
    assert list((tmp_path / "scaling").iterdir()) == []
    with pytest.raises(ValueError, match="640 tokens are wanted and there are 500"):
        settings_of(plan, run, 500)


def test_options_are_looked_at_first(capsys):
    with pytest.raises(SystemExit):
        main(["--stage", "everything"])
    assert "invalid choice" in capsys.readouterr().err
    for named in (["--architecture", "topk"], ["--arch=topk"]):
        assert train_hybrid_sae.main(named) == 2
        assert "leave --architecture out" in capsys.readouterr().err


def test_results_in_no_json_file_and_a_page_of_nothing_are_refused(tmp_path, capsys):
    for name, words in (("mine.md", "give the name of a file that ends in .json"), ("none.json", "There is no file")):
        assert main(["--stage", "page", "--results", str(tmp_path / name)]) == 1
        assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_second_command_is_refused_while_one_is_at_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAB_OUTPUTS", str(tmp_path))
    with alone_in(tmp_path / "scaling"):
        assert main(["--debug"]) == 1
    assert "Another process is at work in" in capsys.readouterr().err
    assert list((tmp_path / "scaling").iterdir()) == []


def test_a_hybrid_sae_is_trained_by_the_same_command(monkeypatch):
    given = []
    monkeypatch.setattr(train_hybrid_sae.train_sae, "main", lambda arguments: given.append(arguments) or 0)
    assert train_hybrid_sae.main(["blocks.0.hook_resid_post", "--k", "4"]) == 0
    assert given == [["--architecture", "hybrid", "blocks.0.hook_resid_post", "--k", "4"]]


def test_the_estimate_adds_what_was_measured_once(finished, tmp_path):
    (tmp_path / "data").mkdir()
    content = read(finished[0]) | {"about": {"seconds_to_store": 77}}
    (tmp_path / "data" / "sae_scaling.json").write_text(json.dumps(content))
    rows = [{"key": "a", "seconds": 10}, {"key": "a", "seconds": 10}, {"key": "b", "seconds": None}]
    (tmp_path / "data" / "sae_comparison.json").write_text(json.dumps({"rows": rows}))
    found = measured(tmp_path)
    assert found["scaling laws"] == len(finished[1]) and found["architectures compared"] == 10
    assert found["benchmark"] is None and next(iter(found.values())) == 77


@pytest.fixture
def all_experiments(tmp_path):
    """The script in an empty repository, with a Python that only says what it is given, and fails at some of it."""
    (tmp_path / "scripts").mkdir(), (tmp_path / "outputs").mkdir()
    script = shutil.copy(ROOT / "scripts" / "run_all_experiments.sh", tmp_path / "scripts")
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\ncase "$*" in *${FAILS}*) exit 1 ;; esac\n')
    python.chmod(0o755)

    def start(*options, fails="nothing", answer=""):
        environment = os.environ | {"PYTHON": str(python), "FAILS": fails}
        return subprocess.run(
            ["sh", script, *options], input=answer, capture_output=True, text=True, env=environment, timeout=30
        )

    return start


def test_all_experiments_ask_before_they_start(all_experiments):
    asked = all_experiments(answer="n\n")
    assert asked.returncode == 1 and "Nothing was started." in asked.stdout
    assert "estimate_experiments.py" in asked.stdout and "run_comparison" not in asked.stdout
    assert "run_comparison" in all_experiments(answer="y\n").stdout
    wrong = all_experiments("--now")
    assert wrong.returncode == 2 and "There is no option --now: give --yes, --debug, or none." in wrong.stderr


def test_all_experiments_stop_at_an_error_and_go_on_from_there(all_experiments, tmp_path):
    stopped = all_experiments("--yes", fails="run_sae_benchmark")
    assert stopped.returncode == 1 and "HybridSAE" not in stopped.stdout
    assert "Stopped in: save outputs/sae_benchmark.json" in stopped.stderr and "again to go on" in stopped.stderr
    report = tmp_path / "outputs" / "sae_benchmark.json"
    assert not report.exists()
    done = all_experiments("--yes")
    assert done.returncode == 0 and report.read_text() == "scripts/run_sae_benchmark.py --json\n"
    assert "-m scripts.train_hybrid_sae" in done.stdout
    again = all_experiments("--yes")
    assert "benchmark: outputs/sae_benchmark.json is there" in again.stdout


def test_all_experiments_on_something_small_leave_nothing_behind(all_experiments, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    before = set(tmp_path.rglob("*"))
    tried = all_experiments("--debug")
    assert tried.returncode == 0 and tried.stdout.count("==") == 4 and set(tmp_path.rglob("*")) == before


def test_files_of_others_are_refused(finished, path):
    with pytest.raises(ValueError, match=r"runs of other settings \(tokens\): give another --results"):
        Record(finished[0], Plan("planted", PLAN.hook_name, 512, tokens=1024))
    path.write_text("[]")
    with pytest.raises(ValueError, match="holds no scaling runs"):
        Record(path, PLAN)
