"""What a published project of the HybridSAE's name claims, and what the measurements say about each claim.

The marks are decided here from the data: "confirmed" or "refuted" where the measurement is of the same thing, "not
comparable", with the reason, where it is not or is not there yet. A time and a memory belong to a trainer as much as to
an architecture, and the published claims do not say what theirs were measured against: where the answer depends on the
trainer that the other SAE had, it is "not comparable".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any, NamedTuple

Row = dict[str, Any]
CONFIRMED, REFUTED, NOT_COMPARABLE = "confirmed", "refuted", "not comparable"
SPEED, TIME, MEMORY = 3.2, 0.7, 0.6  # published: times as fast, share of the time, share of the memory
ERRORS, ACTIVE = (0.031, 0.028, 0.029), (289, 145, 178)  # published, one of each for each of three architectures
LITTLE = 0.01  # what a higher FVU may be, as a share, to be a minimal loss
NEAR = 0.05  # how far an L0 may be from a published number of active features, as a share, to be the same
BASELINES = ("sae-lens", "dense loop", "exact-sparse")  # the benchmark's trainers of a TopK that nothing ranks
THEIR_UNIT = "text"  # they averaged activations over each text; errors and active features are of those averages


class Verdict(NamedTuple):
    """One claim and what is said of it."""

    claim: str
    mark: str
    reason: str


def verdicts(comparison: Row | None, benchmark: Row | None) -> list[Verdict]:
    """All claims, judged by data/sae_comparison.json and data/sae_benchmark.json; None is a file that is not there."""
    rows = [] if comparison is None else grid(comparison["rows"])
    unit = None if comparison is None else comparison["about"].get("unit")
    cases = [] if benchmark is None else benchmark["cases"]
    return [
        Verdict(f"Hybrid trains {SPEED:g} times as fast", *_in_benchmark(cases, "seconds", lambda r: 1 / r >= SPEED)),
        Verdict("… at minimal loss", *_minimal_loss(rows)),
        Verdict(f"Hybrid takes {TIME:g} of the time", *_time(rows)),
        Verdict(f"Hybrid takes {MEMORY:g} of the memory", *_in_benchmark(cases, "peak_mb", lambda r: r <= MEMORY)),
        Verdict(f"reconstruction errors {_listed(ERRORS)}", *_errors(rows, unit)),
        Verdict(f"active features {_listed(ACTIVE)}", *_active(rows, unit)),
    ]


def grid(rows: Sequence[Row]) -> list[Row]:
    """The rows that are results; the others searched for settings."""
    return [row for row in rows if row["role"] == "grid" and row.get("error") is None]


def _listed(numbers: Sequence[float]) -> str:
    return " / ".join(f"{number:g}" for number in numbers)


def _in_benchmark(cases: Sequence[Row], measure: str, holds: Callable[[float], bool]) -> tuple[str, str]:
    """Hybrid against TopK by every trainer that the benchmark has, which all give the same SAE, at every size."""

    def by_size(method: str) -> dict[tuple[int, ...], float]:
        return {
            tuple(case[name] for name in ("d_in", "d_sae", "k", "batch")): case[measure]
            for case in cases
            if case["method"] == method and case.get(measure)
        }

    hybrid, faster = by_size("hybrid"), measure == "seconds"
    ratios = {
        trainer: {size: hybrid[size] / usual[size] for size in hybrid if size in usual}
        for trainer in BASELINES
        if hybrid.keys() & (usual := by_size(trainer)).keys()
    }
    if not ratios:
        return (
            NOT_COMPARABLE,
            "The benchmark's results have no size at which both Hybrid and a TopK without a ranking were measured.",
        )
    sizes = "; ".join(f"{d_in:,} × {d_sae:,}, k {k}, batch {batch:,}" for d_in, d_sae, k, batch in hybrid)
    said = "; ".join(
        f"by {trainer} {' / '.join(f'{1 / each if faster else each:.2f}' for each in found.values())}"
        for trainer, found in ratios.items()
    )
    what = "How many times as fast it is as a step of TopK" if faster else "What it takes of the memory of TopK"
    held = [all(map(holds, found.values())) for found in ratios.values()]
    reason = f"A step of training, at {sizes}. {what}: {said}."
    if all(held):
        return CONFIRMED, reason
    if not any(held):
        return REFUTED, reason
    beside = " and ".join(trainer for trainer, holding in zip(ratios, held) if holding)
    return NOT_COMPARABLE, (
        f"It holds beside TopK by {beside} only: it depends on the trainer, and they do not name theirs. {reason}"
    )


def _pairs(rows: Sequence[Row], first: str, second: str, measure: str) -> list[float]:
    """Ratios of a measure between two architectures, at equal target and seed."""
    found = {(row["architecture"], row["target"], row["seed"]): row[measure] for row in rows}
    slots = [(target, seed) for name, target, seed in found if name == first and (second, target, seed) in found]
    return [found[(first, *slot)] / found[(second, *slot)] for slot in slots]


def _minimal_loss(rows: Sequence[Row]) -> tuple[str, str]:
    ratios = _pairs(rows, "hybrid", "topk", "fvu")
    if not ratios:
        return NOT_COMPARABLE, "The comparison has no run of Hybrid beside one of TopK yet."
    worst = max(ratios) - 1
    mark = CONFIRMED if worst <= LITTLE else REFUTED
    return mark, (
        f"At equal k, tokens and seed, Hybrid's FVU is {worst:+.2%} of TopK's at worst, {mean(ratios) - 1:+.2%} on "
        f"average; up to {LITTLE:.0%} counts as minimal."
    )


def _trainers(rows: Sequence[Row], architecture: str) -> set[str]:
    return {row.get("trainer", "sae-lens") for row in rows if row["architecture"] == architecture}


def _time(rows: Sequence[Row]) -> tuple[str, str]:
    ratios = _pairs(rows, "hybrid", "standard", "seconds")
    if not ratios:
        return NOT_COMPARABLE, "The comparison has no run of Hybrid beside one of Standard yet."
    mark = CONFIRMED if mean(ratios) <= TIME else REFUTED
    said = (
        f"The same number of steps takes Hybrid {mean(ratios):.2f} of Standard's processor time "
        f"({min(ratios):.2f} to {max(ratios):.2f}), Standard being what they call vanilla."
    )
    mine = _trainers(rows, "hybrid")
    if mine != _trainers(rows, "standard"):
        mark = NOT_COMPARABLE
        said += " But they had different trainers, and this says as much about these as about the architectures."
    of_topk = _pairs(rows, "hybrid", "topk", "seconds")
    if of_topk and mine == _trainers(rows, "topk"):
        said += f" Of TopK's, by the same trainer, it is {mean(of_topk):.2f}."
    return mark, said


def lowest_fvu_at(rows: Sequence[Row], l0: float) -> float | None:
    """The lowest FVU that an architecture reaches at an L0, between its own runs; None outside what was measured."""
    found = []
    for name in {row["architecture"] for row in rows}:
        points = sorted((row["l0"], row["fvu"]) for row in rows if row["architecture"] == name)
        for (l0_a, fvu_a), (l0_b, fvu_b) in zip(points, points[1:]):
            if l0_a <= l0 <= l0_b and l0_a < l0_b:
                share = math.log(l0 / l0_a) / math.log(l0_b / l0_a)
                found.append(fvu_a ** (1 - share) * fvu_b**share)
    return min(found, default=None)


def _errors(rows: Sequence[Row], unit: str | None) -> tuple[str, str]:
    ours = {active: lowest_fvu_at(rows, active) for active in ACTIVE}
    said = "; ".join(
        f"L0 {active}: {'outside of what was measured' if fvu is None else f'{fvu:.3f}'}"
        for active, fvu in ours.items()
    )
    said = f"The lowest FVU of any architecture here at their numbers of active features: {said}."
    if unit != THEIR_UNIT:
        return NOT_COMPARABLE, (
            f"Their errors are of activations averaged over each {THEIR_UNIT}, in a unit that is not stated; here each "
            f"{unit or 'token'} counts, as a share of the variance. {said}"
        )
    if None in ours.values():
        return NOT_COMPARABLE, said
    reached = all(fvu <= error for fvu, error in zip(ours.values(), ERRORS))
    return (CONFIRMED if reached else REFUTED), said


def _active(rows: Sequence[Row], unit: str | None) -> tuple[str, str]:
    if unit != THEIR_UNIT:
        return NOT_COMPARABLE, (
            f"They counted latents of activations averaged over each {THEIR_UNIT}; here they are counted for each "
            f"{unit or 'token'}, and L0 is set, by k or by the weight of the sparsity loss: it is no result."
        )
    near = {active: any(abs(row["l0"] / active - 1) <= NEAR for row in rows) for active in ACTIVE}
    said = ", ".join(f"{active} {'was' if there else 'was not'} reached" for active, there in near.items())
    return (CONFIRMED if all(near.values()) else REFUTED), f"Of these numbers, {said}."
