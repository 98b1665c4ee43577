"""A scaling law put to the test: runs that it is fitted to, predictions that are written down, then the runs predicted.

Everything is kept in one JSON file that is written whole after every run. Its order is kept too: a run that is held out
is refused as long as the file has no prediction of it, and predictions are made once. What they were made from, and
they themselves, stand under a hash, so that a file in which they were changed later is not taken any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scripts.interp.base.files import write_atomically
from scripts.interp.saes import scaling_law as law
from scripts.interp.saes.scaling_plan import Plan, Run

Row = dict[str, Any]
AXES = {"size": ("d_sae", "k"), "tokens": ("tokens",)}  # of the two laws
FORMS = {"size": law.SIZE_FORMS, "tokens": law.TOKEN_FORMS}
GROUPS = ("other k", "more latents", "more tokens")  # of what is held out
SEALED = ("learning_rate", "fit", "predictions")  # with the rows that they were made from


def read(path: Path) -> Row:
    """What a file has. Raises ValueError where it is none, and where its predictions were changed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        points = content["points"]
        held_out = any(row["role"] == "held_out" for row in points)
        content["settings"]["model"], content["rates"]
    except FileNotFoundError:
        raise ValueError(
            f"There is no file {path}: run `.venv/bin/python scripts/derive_scaling_laws.py` first."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{path} holds no scaling runs ({problem!r}): move it away.") from problem
    if ("predictions" in content or held_out) and content.get("sealed") != seal(content):
        raise ValueError(
            f"{path}: the predictions, or what they were made from, are not those that were written down before "
            "the held-out runs. Restore the file, or move it away and start anew."
        )
    return content


class Record:
    """The file: settings, rows, the laws, their predictions, and how they fared."""

    def __init__(self, path: Path, plan: Plan):
        """What the file has, if there is one. Raises ValueError as `read`, and where it is of another plan."""
        self.path, self.plan = path, plan
        self.content: Row = {"settings": json.loads(json.dumps(asdict(plan))), "rates": [], "points": []}
        if path.is_file():
            content = read(path)
            other = [name for name, value in self.content["settings"].items() if content["settings"].get(name) != value]
            if other:
                raise ValueError(f"{path} has runs of other settings ({', '.join(other)}): give another --results.")
            self.content = content

    @property
    def points(self) -> list[Row]:
        return self.content["points"]

    def fitted_to(self) -> list[Row]:
        return [row for row in self.points if row["role"] == "fit"]

    def run(self, role: str, run: Run, measure: Callable[[Run], Row]) -> Row:
        """The row of a run in a role ("rate", "fit", "held_out" or "check"), measured unless there is one.

        Raises ValueError for a run that is held out and has no prediction, and for one to fit when there are some.
        """
        what = {"d_sae": run.width * self.plan.d_in} | run._asdict()
        lists = {"rate": "rates", "check": "checks"}
        mine = self.content.setdefault(lists.get(role, "points"), [])
        for row in mine:
            if row["role"] == role and all(row[name] == value for name, value in what.items()):
                return row
        predictions = self.content.get("predictions")
        if role == "held_out" and not any(_same_point(what, each) for each in predictions or []):
            raise ValueError(
                f"There is no prediction of {what['d_sae']} latents, k {run.k}, {run.tokens} tokens: what is held out "
                "is run after a prediction was written down (--stage fit)."
            )
        if role in ("rate", "fit") and predictions is not None:
            raise ValueError(f"{self.path} has predictions: what they are made from can't have more runs.")
        known = [row for row in self.content["rates"] if all(row[name] == value for name, value in what.items())]
        row = {"role": role} | what | {
            name: value for name, value in (known[0] if known else measure(run)).items() if name not in {"role", *what}
        }  # fmt: skip
        mine.append(row)
        self.write()
        return row

    def choose_rate(self, measure: Callable[[Run], Row]) -> float:
        """The learning rate with the lowest FVU (geometric mean of the places where all were tried)."""
        if "learning_rate" not in self.content:
            rows = [self.run("rate", run, measure) for run in self.plan.to_choose_rate()]
            self.content["learning_rate"] = min(
                self.plan.rates,
                key=lambda rate: np.mean([np.log(row["fvu"]) for row in rows if row["learning_rate"] == rate]),
            )
            self.write()
        return self.content["learning_rate"]

    def predict(self) -> None:
        """Fit the laws and write down what they say of everything that is held out. Raises ValueError the second time.

        And where runs to fit are missing.
        """
        if "predictions" in self.content:
            raise ValueError(f"{self.path} has predictions already: they are made once.")
        rate, rows = self.content.get("learning_rate"), self.fitted_to()
        done = {Run(*(row[name] for name in Run._fields)) for row in rows}
        missing = [] if rate is None else [run for run in self.plan.to_fit(rate) if run not in done]
        if rate is None or missing:
            raise ValueError(f"{len(missing) or 'All'} of the runs to fit are missing: run them first (--stage fit).")
        held_out = [{"d_sae": run.width * self.plan.d_in} | run._asdict() for run in self.plan.held_out(rate)]
        fit, predictions = {"noise": law.noise(rows)}, []
        for name in AXES:
            points = self.points_of(name, rows)
            fit[name], model = fitted(name, points)
            wanted = [each for each in held_out if (each["tokens"] == self.plan.tokens) == (name == "size")]
            said = law.predict(model, law.resampled(model, points), wanted)
            for each, prediction in zip(wanted, said):
                predictions.append({
                    "law": name, **{key: each[key] for key in law.POINT}, **prediction._asdict(),
                    "nearest": law.nearest(law.means(rows), each),
                    "neighbours": law.by_neighbours(points, each, AXES[name]),
                })  # fmt: skip
        self.content |= {"fit": fit, "predictions": predictions}
        self.content["sealed"] = seal(self.content)
        self.write()

    def points_of(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """The points of one law: the grid at one number of tokens, or one place of it at several."""
        width, k = self.plan.token_counts_at
        if name == "tokens":
            return law.means([row for row in rows if (row["width"], row["k"]) == (width, k)])
        return law.means([row for row in rows if row["tokens"] == self.plan.tokens])

    def judge(self) -> None:
        """How far predictions and nulls were from what came out."""
        self.content["held_out"] = judged(self.content)
        self.write()

    def write(self) -> None:
        write_atomically(self.path, _as_text(self.content) + "\n")


def fitted(name: str, points: Sequence[Row]) -> tuple[Row, law.Law]:
    """What the file says of a law, and the law: of the form that predicts the largest from the smaller ones best."""
    tried, axis = {}, AXES[name][0]
    n_fewer = sum(point[axis] < max(each[axis] for each in points) for point in points)
    for label, form in FORMS[name].items():
        if form.n_coefficients >= n_fewer:  # a small plan can't tell them
            continue
        tried[label] = {
            "coefficients": form.n_coefficients,
            "residual": float(np.sqrt(np.mean(law.fit_law(form, points).residuals ** 2))),
            "left_out": law.left_out(form, points),
            "rehearsal": law.rehearsal(form, points, axis),
        }
    label = min(tried, key=lambda each: tried[each]["rehearsal"])
    model = law.fit_law(FORMS[name][label], points)
    between = law.intervals(law.resampled(model, points))
    terms = [f"{part}: {' * '.join(term) or '1'}" for part in ("power", "floor") for term in getattr(model.form, part)]
    coefficients = [
        {"term": term, "value": float(value), "low": low, "high": high}
        for term, value, (low, high) in zip(terms, model.coefficients, between)
    ]
    said = {"form": label, "points": len(points), "coefficients": coefficients, "tried": tried, "units": law.UNITS}
    if name == "size":
        said["share_of_shuffled_steeper"] = law.share_of_steeper(points)
    return said, model


def law_in(said: Row) -> Callable[[Sequence[Row]], np.ndarray]:
    """The FVU of points, by a law as the file has it."""
    form = next(forms[said["form"]] for forms in FORMS.values() if said["form"] in forms)
    coefficients = np.array([each["value"] for each in said["coefficients"]])
    return lambda points: np.exp(law.log_loss(form, coefficients, points))


def judged(content: Row) -> Row:
    """How laws and nulls did, by what was held out: root mean square error of log FVU, bias, intervals that hold.

    bias: mean of log FVU predicted minus what came out, below 0 where the law promises too much
    """
    found = {tuple(row[key] for key in law.POINT): row["fvu"] for row in content["points"] if row["role"] == "held_out"}
    rows = [each for each in content["predictions"] if tuple(each[key] for key in law.POINT) in found]
    result: Row = {"runs": len(rows), "of": len(content["predictions"])}
    largest = max(row["d_sae"] for row in content["points"] if row["role"] == "fit")
    for group in GROUPS:
        mine = [each for each in rows if _group(each, largest) == group]
        if not mine:
            continue
        real = np.array([found[tuple(each[key] for key in law.POINT)] for each in mine])
        errors = {
            name: np.log([each[source] for each in mine] / real)
            for name, source in (("law", "fvu"), ("nearest", "nearest"), ("neighbours", "neighbours"))
        }
        result[group] = {
            "runs": len(mine),
            "inside": sum(int(each["low"] <= value <= each["high"]) for each, value in zip(mine, real)),
            "error": {name: float(np.sqrt(np.mean(each**2))) for name, each in errors.items()},
            "bias": float(errors["law"].mean()),
        }
    return result


def _group(prediction: Row, largest: int) -> str:
    """Which of GROUPS a prediction belongs to, by the largest number of latents that the law was fitted to."""
    if prediction["law"] == "tokens":
        return "more tokens"
    return "more latents" if prediction["d_sae"] > largest else "other k"


def seal(content: Row) -> str:
    """A hash of predictions and of all that they were made from."""
    rows = [row for row in content["points"] if row["role"] == "fit"]
    text = json.dumps([rows, *(content.get(name) for name in SEALED)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def trained(content: Row) -> list[Row]:
    """A row for every run that a file has; one that chose the learning rate and is fitted to has two there."""
    rows = content["rates"] + content["points"] + content.get("checks", [])
    return list({tuple(row[name] for name in ("d_sae", *Run._fields)): row for row in rows}.values())


def derive(record: Record, measure: Callable[[Run], Row], stage: str = "all") -> None:
    """All runs that have no row, in their order: to choose the learning rate, to fit, then what was predicted.

    stage: "fit" ends with the predictions, "held-out" goes on from there, "all" does both
    """
    if stage != "held-out" and "predictions" not in record.content:
        rate = record.choose_rate(measure)
        for run in record.plan.to_fit(rate):
            record.run("fit", run, measure)
        record.predict()
    if stage != "fit":
        rate = record.content.get("learning_rate", record.plan.rates[0])
        for run in record.plan.held_out(rate):
            record.run("held_out", run, measure)
        record.judge()
        for run in record.plan.to_check(rate):
            record.run("check", run, measure)


def _same_point(a: Row, b: Row) -> bool:
    return all(a[name] == b[name] for name in law.POINT)


def _as_text(content: Row) -> str:
    """JSON with one row a line."""
    parts = []
    for name, value in content.items():
        if isinstance(value, list):
            lines = ",\n".join("  " + json.dumps(row) for row in value)
            parts.append(f" {json.dumps(name)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(name)}: " + json.dumps(value, indent=1).replace("\n", "\n "))
    return "{\n" + ",\n".join(parts) + "\n}"
