"""The page about the comparison of architectures, generated from the files of results alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from scripts.interp.saes.claims import Row, grid, verdicts
from scripts.interp.saes.compare import read_rows

FILES = ("sae_comparison", "sae_ground_truth", "sae_benchmark")
ORDER = ("standard", "gated", "jumprelu", "topk", "batchtopk", "hybrid")  # in tables; others after them
FIGURES = {  # a figure's panels: the title, and what a row calls it
    "sae_comparison": {
        "fraction of variance unexplained": "fvu",
        "cross-entropy recovered, against mean ablation": "recovered_mean",
        "share of latents that are dead": "dead_fraction",
    },
    "sae_ground_truth": {"MCC with the planted features": "mcc", "F1 as detectors of features": "f1"},
}


class OverSeeds(NamedTuple):
    """A measure of one architecture at one target, over seeds."""

    mean: float
    low: float  # the lowest of the seeds
    high: float

    def written(self, form: str) -> str:
        """The mean, and the range where there is one."""
        low, middle, high = (format(each, form) for each in (self.low, self.mean, self.high))
        return middle if low == high else f"{middle} ({low} to {high})"


def read_results(folder: Path) -> dict[str, Row | None]:
    """The files of results in a folder, by name; None is one that is not there. Raises ValueError for a broken one."""
    paths = {name: folder / f"{name}.json" for name in FILES}
    readers = (read_rows, read_rows, lambda path: json.loads(path.read_text(encoding="utf-8")))
    return {name: read(path) if path.is_file() else None for read, (name, path) in zip(readers, paths.items())}


def over_seeds(rows: Sequence[Row], measure: str) -> dict[tuple[int, str], OverSeeds]:
    """A measure of the grid's rows, by target and architecture."""
    values: dict[tuple[int, str], list[float]] = {}
    places = {name: place for place, name in enumerate(ORDER)}
    for row in sorted(grid(rows), key=lambda row: (row["target"], places.get(row["architecture"], len(ORDER)))):
        if row.get(measure) is not None:
            values.setdefault((row["target"], row["architecture"]), []).append(row[measure])
    return {slot: OverSeeds(mean(each), min(each), max(each)) for slot, each in values.items()}


def curves(rows: Sequence[Row], measure: str) -> dict[str, list[tuple[float, float, float, float]]]:
    """For a figure: of each architecture its points (L0, measure, lowest of the seeds, highest)."""
    l0, found = over_seeds(rows, "l0"), {}
    for slot, value in over_seeds(rows, measure).items():
        found.setdefault(slot[1], []).append((l0[slot].mean, *value))
    return found


COLUMNS = {  # of the first table: what stands there, a row's name for it, how it is written
    "L0": ("l0", ".1f"), "FVU": ("fvu", ".3f"), "recovered (mean)": ("recovered_mean", ".3f"),
    "recovered (zero)": ("recovered_zero", ".4f"), "dead": ("dead_fraction", ".3f"),
    "minutes": ("minutes", ".2f"), "MB": ("peak_mb", ".0f"),
}  # fmt: skip
PLANTED = {
    "L0": ("l0", ".1f"), "MCC": ("mcc", ".3f"), "F1": ("f1", ".3f"), "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"), "FVU": ("fvu", ".3f"), "dead": ("dead_fraction", ".3f"),
}  # fmt: skip


def results_table(rows: Sequence[Row], columns: dict[str, tuple[str, str]]) -> str:
    """A table in Markdown: a line for each architecture at each target, means and ranges over seeds."""
    rows = [{**row, "minutes": None if row.get("seconds") is None else row["seconds"] / 60} for row in rows]
    measured = {name: (over_seeds(rows, key), form) for name, (key, form) in columns.items()}
    lines = [f"| wanted L0 | architecture | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for slot in over_seeds(rows, "l0"):
        cells = [values[slot].written(form) if slot in values else "–" for values, form in measured.values()]
        lines.append(f"| {slot[0]} | {slot[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def settings_table(rows: Sequence[Row]) -> str:
    """What each architecture was trained with: the rate that the sweep chose, and the rates that it tried."""
    lines = ["| architecture | learning rate | tried | trained by | revives dead latents |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(name for _, name in over_seeds(rows, "l0")):
        mine = [row for row in rows if row["architecture"] == name]
        chosen = grid(mine)[-1]
        tried = sorted({row["learning_rate"] for row in mine if row["role"] == "sweep"})
        edge = len(tried) > 1 and chosen["learning_rate"] in (tried[0], tried[-1])
        rate = f"{chosen['learning_rate']:g}" + " (the last of those tried: a better one may lie beyond)" * edge
        rates = ", ".join(f"{each:g}" for each in tried) or "no sweep"
        trainer, revives = chosen.get("trainer", "sae-lens"), "yes" if chosen.get("revives") else "no"
        lines.append(f"| {name} | {rate} | {rates} | {trainer} | {revives} |")
    return "\n".join(lines)


def _left(rows: Sequence[Row]) -> str:
    runs = {row["key"] for row in rows}
    seeds = sorted({row["seed"] for row in grid(rows)})
    failed = sum(row.get("error") is not None for row in rows)
    done = f"{len(runs)} runs, {len(grid(rows))} of them results; seeds {', '.join(map(str, seeds))}"
    return done + (f"; {failed} ended with an infinite loss" if failed else "")


def page(files: dict[str, Row | None]) -> str:
    """The whole page in Markdown. Raises ValueError where there are no results."""
    comparison, planted = files["sae_comparison"], files["sae_ground_truth"]
    if comparison is None or planted is None:
        missing = [name for name in FILES[:2] if files[name] is None]
        raise ValueError(
            f"There are no results yet in {' and '.join(f'{name}.json' for name in missing)}: run "
            "`.venv/bin/python scripts/run_comparison.py`."
        )
    settings, about = comparison["settings"], comparison["about"]
    claims = "\n".join(
        f"| {each.claim} | *{each.mark}* | {each.reason} |" for each in verdicts(comparison, files["sae_benchmark"])
    )
    window = next((row["window"] for row in grid(comparison["rows"])), 0)
    true_l0 = next((f"{row['true_l0']:.1f}" for row in grid(planted["rows"])), "?")
    return f"""# SAE architectures, compared

Generated by `.venv/bin/python scripts/run_comparison.py --page` from `data/sae_comparison.json` and
`data/sae_ground_truth.json`; without `--page` the command first trains what is missing there. What it trains is said in
`experiments/sae_architectures/config.yaml`. Figures of the same numbers go to `outputs/`.

**Equal for all**: {settings["tokens"]:,} tokens of activations of {settings["model"]}, resid_post of layer
{settings["layer"]}, stored once, {settings["epochs"]:g} pass(es) in batches of {settings["batch_size"]:,}, in the same
order for equal seeds; {settings["n_features"]:,} latents; one run at a time, on one thread
({about.get("machine", "?")}, torch {about.get("torch", "?")}, sae-lens {about.get("sae_lens", "?")}).

**Judged** is what was saved in half precision and loaded again, on text that nothing was trained on: FVU, L0 and dead
latents (zero at every token) on one window of {window:,} tokens, cross-entropy on the first
{settings["spliced_rows"]} rows of {settings["context"]} tokens. Minutes are the processor's, of training; MB is by how
much training made the process grow; both belong to the trainer as much as to the architecture, so compare them among
those that are *trained by* the same one. Numbers are means over seeds, the lowest and the highest in brackets:
{_left(comparison["rows"])}.

## On a language model's activations

The learning rate of each architecture has the lowest FVU in a sweep at L0 {sweep_target(comparison["rows"])}. Where a
sparsity loss decides L0, its weight was searched for at the first seed.

{settings_table(comparison["rows"])}

{results_table(comparison["rows"], COLUMNS)}

## Where the right answer is known

{settings["planted_features"]} features in {settings["planted_dimensions"]} dimensions, some of which fire together
(sae-lens' synthetic model), {true_l0} of them at a time; an SAE gets as many latents. MCC is the mean cosine of
latents and features matched one to one: {planted["about"]["mcc_of_chance"]:.3f} for random directions. F1 is that of a
latent as a detector of the feature nearest to it. {_left(planted["rows"])}.

{settings_table(planted["rows"])}

{results_table(planted["rows"], PLANTED)}

## What was published, and what is measured here

A published project with a HybridSAE made these claims. Its own saved output said otherwise: 4.08 milliseconds a step
against 3.94 at 4,096 features, 5.5 times slower at its larger size, 92 to 97 % of the latents dead. The marks say
whether this project's Hybrid, which is another one, does what was promised under that name; they are decided by
`scripts/interp/saes/claims.py` from the data.

| published | here | because |
|---|---|---|
{claims}
"""


def sweep_target(rows: Sequence[Row]) -> Any:
    """The L0 at which learning rates were compared."""
    return next((row["target"] for row in rows if row["role"] == "sweep"), "–")
