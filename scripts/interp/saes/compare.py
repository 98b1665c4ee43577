"""A fair comparison of SAE architectures: which runs there are, in which order, and what is kept of each.

Every architecture gets the learning rate that suits it, and is matched at several L0: where a k sets L0, by k; where
the weight of a sparsity loss does, by a search for that weight. Then come the other seeds, at the same settings. A
finished run is a row of a JSON file; what has a row is not run again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from scripts.interp.base.files import write_atomically
from scripts.interp.saes.experiment import Experiment
from scripts.interp.saes.recipes import Settings, sparsity_settings

Row = dict[str, Any]
CLOSE = 0.08  # how far from the L0 that is wanted a run may be, as a share of it, to end the search
STEEPEST, FLATTEST = 3.0, 0.2  # slopes of log L0 over the log of the sparsity weight that the search believes
FARTHEST = 16.0  # times that one step of the search may change the weight
LEAST_L0 = 0.5  # what a run without any latent above zero counts as: it has no logarithm
MADE = (
    "model", "hook_name", "architecture", "width", "k", "sparsity", "tokens", "passes", "batch", "learning_rate",
    "seed", "context",
)  # fmt: skip
SLOT = ("role", "target", "architecture", "seed")  # of which the grid has one row each
SWEEP_RUNS = 2  # for each learning rate, where L0 has to be searched for


class Bench(NamedTuple):
    """What architectures are compared on: a model's activations, or a planted dictionary."""

    settings: Callable[[str, float, float, int], Settings]  # architecture, learning rate, k or sparsity, seed
    measure: Callable[[Settings], Row]  # trains and judges
    targets: Sequence[int]  # values of L0
    rates: Sequence[float]  # learning rates to choose from
    sweep_target: int  # the one at which learning rates are compared


class Results:
    """The rows of one file of results, written whole after every run, beside the same as CSV."""

    def __init__(self, path: Path, settings: dict[str, Any], say: Callable[[Row], None] = lambda row: None):
        """The rows that the file has. Raises ValueError where it belongs to other settings, or is no such file."""
        self.path, self.settings, self.say = path, settings, say
        self.rows: list[Row] = []
        self.about: Row = {}
        if path.parent.exists() and not path.parent.is_dir():
            raise ValueError(f"{path.parent} is no folder: give one for --results.")
        if path.is_file():
            content = read_rows(path)
            there, self.rows, self.about = content["settings"], content["rows"], content["about"]
            other = [name for name in settings if there.get(name) != settings[name]]
            if other:
                what = ", ".join(f"{name} {there.get(name)} and not {settings[name]}" for name in other)
                raise ValueError(f"{path} has results of other settings ({what}): give another folder for --results.")

    def row(self, role: str, target: int, settings: Settings, measure: Callable[[Settings], Row]) -> Row:
        """The row of a run in a role, measured unless there is one of the same settings."""
        key = key_of(settings)
        for row in self.rows:
            if (row["key"], row["role"], row["target"]) == (key, role, target):
                return row
        known = next((row for row in self.rows if row["key"] == key), None)
        row = {"role": role, "target": target} | _what_it_is(settings, key)
        row |= {name: value for name, value in (known or measure(settings)).items() if name not in row}
        if role == "grid":  # a row of settings that were chosen before the experiment grew
            self.rows = [old for old in self.rows if any(old[name] != row[name] for name in SLOT)]
        self.rows.append(row)
        self.write()
        self.say(row)
        return row

    def write(self) -> None:
        """Write both files anew, each whole or not at all; last the one that says which runs are done."""
        lines = ",\n".join("  " + json.dumps(row) for row in self.rows)
        head = json.dumps({"settings": self.settings, "about": self.about}, indent=1)[:-2]
        write_atomically(self.path.with_suffix(".csv"), pd.DataFrame(self.rows).to_csv(index=False))
        write_atomically(self.path, f'{head},\n "rows": [\n{lines}\n ]\n}}\n')


def read_rows(path: Path) -> Row:
    """What a file of results holds. Raises ValueError where it is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _ = content["settings"], content["about"], [[row[name] for name in ("key", *SLOT)] for row in content["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no results of a comparison ({error!r}): move it away.") from error
    return content


def key_of(settings: Settings) -> str:
    """A name for a run, that any of the settings which a comparison makes changes."""
    made = [getattr(settings, name) for name in MADE]
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:12]


def _what_it_is(settings: Settings, key: str) -> Row:
    takes = sparsity_settings(settings.architecture)
    return {
        "architecture": settings.architecture,
        "learning_rate": settings.learning_rate,
        "sparsity": settings.sparsity if "sparsity" in takes else None,
        "k": settings.k if "k" in takes else None,
        "seed": settings.seed,
        "key": key,
    }


def compare(experiment: Experiment, bench: Bench, results: Results) -> None:
    """All runs that have no row yet: sweeps, then the grid, seed after seed; searches at the first seed."""
    rates = {name: best_rate(experiment, bench, results, name) for name in experiment.architectures}
    amounts: dict[tuple[str, int], float | None] = {}
    for seed in experiment.seeds:
        for target in bench.targets:
            for name, rate in rates.items():
                if rate is None:
                    continue
                if seed == experiment.seed:
                    attempts = experiment.attempts
                    amounts[name, target] = amount_for(experiment, bench, results, name, rate, target, attempts)
                if (amount := amounts[name, target]) is not None:
                    results.row("grid", target, bench.settings(name, rate, amount, seed), bench.measure)


def best_rate(experiment: Experiment, bench: Bench, results: Results, architecture: str) -> float | None:
    """The learning rate with the lowest FVU at the sweep's L0; None where no rate trains."""
    target = bench.sweep_target
    fvu = {}
    for rate in bench.rates:
        amount_for(experiment, bench, results, architecture, rate, target, SWEEP_RUNS, "sweep")
        points = trained(results.rows, architecture, rate, experiment.seed)
        if takes_k(architecture):
            points = [row for row in points if row["k"] == target]
        if points:
            fvu[rate] = fvu_at(points, target)
    return min(fvu, key=fvu.get) if fvu else None


def takes_k(architecture: str) -> bool:
    """Whether a k sets the architecture's L0. Raises ValueError where nothing does."""
    takes = sparsity_settings(architecture)
    if not takes:
        raise ValueError(f"{architecture} has neither a k nor a sparsity weight: it can't be matched at an L0.")
    return "k" in takes


def trained(rows: Sequence[Row], architecture: str, rate: float, seed: int) -> list[Row]:
    """The rows of runs of these settings that came to an end, one for each run."""
    wanted = {"architecture": architecture, "learning_rate": rate, "seed": seed}
    runs = {row["key"]: row for row in rows if all(row[name] == value for name, value in wanted.items())}
    return [row for row in runs.values() if row.get("error") is None]


def amount_for(
    experiment: Experiment,
    bench: Bench,
    results: Results,
    architecture: str,
    rate: float,
    target: int,
    attempts: int,
    role: str = "search",
) -> float | None:
    """The k or sparsity weight that brings an architecture to an L0, or as near as `attempts` runs come to it.

    None where none of them came to an end.
    """
    seed = experiment.seed
    if takes_k(architecture):
        if role == "sweep":
            results.row(role, target, bench.settings(architecture, rate, target, seed), bench.measure)
        return target

    def distance(row: Row) -> float:
        return abs(math.log(max(row["l0"], LEAST_L0) / target))

    mine = {"architecture": architecture, "learning_rate": rate, "target": target, "seed": seed, "role": role}
    tried = [row for row in results.rows if all(row[name] == value for name, value in mine.items())]
    for _ in range(attempts - len(tried)):
        points = trained(results.rows, architecture, rate, seed)
        if any(abs(row["l0"] / target - 1) <= CLOSE for row in points):
            break
        first = experiment.first_sparsity.get(architecture, 1.0)
        sparsity = next_sparsity([(row["sparsity"], row["l0"]) for row in points], target, first)
        if any(row["sparsity"] == sparsity for row in points):
            break
        results.row(role, target, bench.settings(architecture, rate, sparsity, seed), bench.measure)
    points = trained(results.rows, architecture, rate, seed)
    return min(points, key=distance)["sparsity"] if points else None


def next_sparsity(points: Sequence[tuple[float, float]], target: float, first: float) -> float:
    """The weight to try next, from pairs (weight, L0): on a line through two of them, both axes logarithmic.

    The two are the nearest on both sides of the target, or else the nearest; with one point, L0 is taken to be
    inversely proportional to the weight.
    """
    if not points:
        return first
    logs = sorted((math.log(max(l0, LEAST_L0) / target), math.log(weight)) for weight, l0 in points)
    below, above = [each for each in logs if each[0] < 0], [each for each in logs if each[0] >= 0]
    pair = [below[-1], above[0]] if below and above else sorted(logs, key=lambda each: abs(each[0]))[:2]
    nearest = min(pair, key=lambda each: abs(each[0]))
    slope = -1.0
    if len(pair) == 2 and pair[0][1] != pair[1][1]:
        slope = (pair[1][0] - pair[0][0]) / (pair[1][1] - pair[0][1])
        slope = -1.0 if slope >= 0 else -min(max(-slope, FLATTEST), STEEPEST)
    limit = math.log(FARTHEST)
    step = max(-limit, min(limit, -nearest[0] / slope))
    return float(f"{math.exp(nearest[1] + step):.3g}")


def fvu_at(points: Sequence[Row], target: float) -> float:
    """FVU at an L0, on a line through the two runs nearest to it, both axes logarithmic."""
    nearest = sorted(points, key=lambda row: abs(math.log(max(row["l0"], LEAST_L0) / target)))[:2]
    x = [math.log(max(row["l0"], LEAST_L0) / target) for row in nearest]
    y = [math.log(row["fvu"]) for row in nearest]
    if len(nearest) == 1 or abs(x[0] - x[1]) < CLOSE:
        return math.exp(y[0])
    return math.exp(y[0] - x[0] * (y[1] - y[0]) / (x[1] - x[0]))
