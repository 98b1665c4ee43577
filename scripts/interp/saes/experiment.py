"""What a comparison of SAE architectures is: settings out of a YAML file, each of them checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from scripts.interp.base.paths import ROOT, outputs_folder
from scripts.interp.base.rules import Rule, by_name, check_value, number, read_yaml, several, text, whole

EXAMPLE = ROOT / "experiments" / "sae_architectures" / "config.yaml"  # the file that has a value for every setting
DEBUG_RESULTS = "sae_comparison_debug"  # folder of the outputs


@dataclass(frozen=True)
class Experiment:
    """The settings; what each of them is, EXAMPLE says."""

    model: str
    layer: int
    n_features: int
    tokens: int
    epochs: float
    batch_size: int
    context: int
    architectures: list[str]
    l0: list[int]
    learning_rates: list[float]
    sweep_l0: int
    attempts: int
    first_sparsity: dict[str, float]
    seed: int
    n_seeds: int
    held_out_rows: int
    spliced_rows: int
    planted_features: int
    planted_dimensions: int
    planted_rank: int
    planted_correlation: float
    planted_tokens: int
    planted_learning_rates: list[float]
    planted_l0: list[int]
    results: str

    @property
    def hook_name(self) -> str:
        """Where the activations come from."""
        return f"blocks.{self.layer}.hook_resid_post"

    @property
    def folder(self) -> Path:
        """Where the results are."""
        return (ROOT / self.results).resolve()

    @property
    def seeds(self) -> range:
        """What every SAE of the grid is trained with."""
        return range(self.seed, self.seed + self.n_seeds)


RULES: dict[str, Rule] = {
    "model": text, "layer": whole(0), "n_features": whole(2), "tokens": whole(2), "epochs": number(),
    "batch_size": whole(1), "context": whole(2), "architectures": several(text), "l0": several(whole(1)),
    "learning_rates": several(number(1.0)), "sweep_l0": whole(1), "attempts": whole(1),
    "first_sparsity": by_name(number()), "seed": whole(0), "n_seeds": whole(1), "held_out_rows": whole(2),
    "spliced_rows": whole(2), "planted_features": whole(2), "planted_dimensions": whole(2), "planted_rank": whole(1),
    "planted_correlation": number(1.0, above=False), "planted_tokens": whole(2), "planted_l0": several(whole(1)),
    "planted_learning_rates": several(number(1.0)),
    "results": text,
}  # fmt: skip


def read_experiment(path: Path | None, given: dict[str, Any], debug: bool = False) -> Experiment:
    """The settings of a YAML file; what it does not name is as in EXAMPLE, and `given` stands above both.

    debug: as little of everything as shows that it works

    Raises ValueError, in one sentence, for a file that is no mapping, an unknown or repeated name, a value of the wrong
    kind, and an impossible one.
    """
    values = _settings_in(EXAMPLE)
    if path is not None:
        values |= _settings_in(path)
    values |= given
    _check(values, "The settings" if path is None else str(path))
    experiment = Experiment(**values)
    return _little(experiment, "results" in given) if debug else experiment


def _settings_in(path: Path) -> dict[str, Any]:
    values = read_yaml(path, EXAMPLE)
    for name in values:
        if name not in RULES:
            raise ValueError(f"{path} sets {name!r}, which is no setting: give some of {', '.join(RULES)}.")
    return values


def _check(values: dict[str, Any], where: str) -> None:
    for name, rule in RULES.items():
        check_value(where, name, values[name], rule)
    for name, largest, of in (
        ("batch_size", values["tokens"], "the number of tokens"),
        ("batch_size", values["planted_tokens"], "the number of planted_tokens"),
        ("context", values["tokens"], "the number of tokens"),
        ("spliced_rows", values["held_out_rows"], "the number of held_out_rows"),
        ("planted_rank", values["planted_features"], "the number of planted_features"),
    ):
        if values[name] > largest:
            raise ValueError(f"{where}: {name} is {values[name]:,}; give no more than {of}, {largest:,}.")
    for name in ("tokens", "planted_tokens"):
        if round(values["epochs"] * (values[name] // values["batch_size"])) < 1:
            raise ValueError(f"{where}: epochs is {values['epochs']:g}, less than one batch of the {name}; give more.")
    for name, latents in (("l0", "n_features"), ("planted_l0", "planted_features")):
        if max(values[name]) > values[latents]:
            raise ValueError(
                f"{where}: {name} has {max(values[name]):,}; no more latents than {latents}, {values[latents]:,}, can "
                "be above zero: give less."
            )
    if values["sweep_l0"] not in values["l0"]:
        raise ValueError(f"{where}: sweep_l0 is {values['sweep_l0']}; give one of l0, {values['l0']}.")
    if values["planted_features"] % values["planted_dimensions"]:
        raise ValueError(
            f"{where}: planted_features is {values['planted_features']}; give a multiple of planted_dimensions, "
            f"{values['planted_dimensions']}."
        )


def _little(experiment: Experiment, keep_results: bool) -> Experiment:
    context = min(64, experiment.context)
    return replace(
        experiment,
        context=context, tokens=40 * context, epochs=1, batch_size=min(256, experiment.batch_size),
        l0=[experiment.sweep_l0], learning_rates=experiment.learning_rates[:1], attempts=1, n_seeds=1,
        held_out_rows=4, spliced_rows=2, planted_features=64, planted_dimensions=16, planted_rank=4,
        planted_tokens=4000, planted_l0=[4],
        planted_learning_rates=experiment.planted_learning_rates[:1],
        results=experiment.results if keep_results else str(outputs_folder(DEBUG_RESULTS)),
    )  # fmt: skip


MAY_GROW = (
    "architectures",
    "l0",
    "learning_rates",
    "seed",
    "n_seeds",
    "attempts",
    "first_sparsity",
    "planted_l0",
    "planted_learning_rates",
)


def fixed_settings(experiment: Experiment) -> dict[str, Any]:
    """The settings that all rows of one file of results share; the others only say how many rows there are."""
    left_out = (*MAY_GROW, "sweep_l0", "results")
    return {field.name: asdict(experiment)[field.name] for field in fields(experiment) if field.name not in left_out}
