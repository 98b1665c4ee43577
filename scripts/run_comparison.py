"""Compare SAE architectures at equal tokens, seeds and L0, on a model's activations and on planted dictionaries.

    .venv/bin/python scripts/run_comparison.py             # experiments/sae_architectures/config.yaml; over an hour
    .venv/bin/python scripts/run_comparison.py --debug     # within a minute: only to see that it works
    .venv/bin/python scripts/run_comparison.py --config my.yaml --seed 7 --results outputs/mine
    .venv/bin/python scripts/run_comparison.py --page      # train nothing: docs/sae-comparison.md and figures

One run at a time, on one thread of the CPU, so that seconds compare. Results are JSON and CSV in the folder that the
settings name; a run that has a row there is not done again, so a killed comparison goes on where it was.
"""

import argparse
import os
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT, outputs_folder

KINDS = {"model": str, "layer": int, "n_features": int, "batch_size": int, "epochs": float, "seed": int, "results": str}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python scripts/run_comparison.py", description=__doc__.splitlines()[0], allow_abbrev=False
    )

    def add(name: str, **options: Any) -> None:
        parser.add_argument(*dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")), **options)

    for name, kind in KINDS.items():
        add(name, type=kind, help="instead of the one in the settings")
    add("learning_rate", type=float, help="the only learning rate, for all architectures; otherwise each gets its own")
    add("config", metavar="FILE", help="YAML with settings that differ from experiments/sae_architectures/config.yaml")
    add("use_wandb", action="store_true", help="send rows to Weights & Biases too, if it is installed")
    add("debug", action="store_true", help="as little of everything as shows that it works")
    add("page", action="store_true", help="train nothing, write the page and the figures of the results that there are")
    options = parser.parse_args(arguments)
    given = {name: value for name in KINDS if (value := getattr(options, name)) is not None}
    if options.learning_rate is not None:
        given["learning_rates"] = given["planted_learning_rates"] = [options.learning_rate]
    if options.use_wandb and find_spec("wandb") is None:
        parser.error(
            "--use_wandb needs the package wandb: `.venv/bin/python -m pip install wandb`, or leave the option out"
        )

    from scripts.interp.saes.experiment import read_experiment

    try:
        experiment = read_experiment(options.config and Path(options.config), given, options.debug)
    except ValueError as error:
        parser.error(str(error))

    try:
        if not options.page:
            if options.debug and options.results is None:  # results of before would leave nothing to try
                shutil.rmtree(experiment.folder, ignore_errors=True)
            run(experiment, options.use_wandb)
        write_pages(experiment)
    except (ModelUnavailable, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(experiment: Any, use_wandb: bool) -> None:
    """Everything that has no row yet."""
    import torch  # a wrong argument is answered at once; this takes seconds

    torch.set_num_threads(1)
    from scripts.interp.base.files import alone_in
    from scripts.interp.saes.compare import Results, compare
    from scripts.interp.saes.experiment import fixed_settings
    from scripts.interp.saes.ground_truth import chance, planted_bench
    from scripts.interp.saes.measured_runs import WORK, about, model_bench

    log = wandb_log(experiment) if use_wandb else lambda file, row: None
    settings = fixed_settings(experiment)
    with alone_in(outputs_folder(WORK)):  # one run at a time
        files = {
            name: Results(
                experiment.folder / f"{name}.json", settings, lambda row, name=name: (print(line(row)), log(name, row))
            )
            for name in ("sae_ground_truth", "sae_comparison")
        }
        on_model = model_bench(experiment)  # first, so that what it refuses is refused before anything is trained
        for name, bench in (("sae_ground_truth", planted_bench(experiment)), ("sae_comparison", on_model)):
            files[name].about |= about()
            if bench is not on_model:
                files[name].about["mcc_of_chance"] = chance(experiment)
            compare(experiment, bench, files[name])


def line(row: dict[str, Any]) -> str:
    """A row, to be printed."""
    amount = f"k {row['k']}" if row["k"] else f"sparsity {row['sparsity']:g}"
    said = f"{row['role']} at L0 {row['target']}, {row['architecture']}, {amount}, rate {row['learning_rate']:g}"
    if row.get("error"):
        return f"{said}, seed {row['seed']}: {row['error']}"
    numbers = ("l0", "fvu", "recovered_mean", "mcc", "f1", "dead_fraction", "seconds", "peak_mb")
    found = ", ".join(f"{name} {row[name]:.4g}" for name in numbers if row.get(name) is not None)
    return f"{said}, seed {row['seed']}: {found}"


def wandb_log(experiment: Any) -> Any:
    """A function that sends a row of a file to Weights & Biases, where the labs' own runs never go."""
    wandb = import_module("wandb")  # no requirement of the labs: who asks for it has it
    asked = os.environ.get("WANDB_MODE", "")  # the labs' package has set "disabled", unless the user set something
    wandb.init(project="sae-comparison", config=vars(experiment), mode=asked if asked != "disabled" else "online")
    return lambda file, row: wandb.log({f"{file}/{name}": value for name, value in row.items() if value is not None})


def write_pages(experiment: Any) -> None:
    """The page about the results, and the figures, from the files alone."""
    from scripts.interp.figures.frontiers import plot_frontiers
    from scripts.interp.figures.pages import save_figure
    from scripts.interp.saes.comparison_page import FIGURES, curves, page, read_results

    results = experiment.folder
    files = read_results(results)
    text = page(files)
    write_atomically((ROOT / "docs" if results == ROOT / "data" else results) / "sae-comparison.md", text)
    folder = outputs_folder("sae_comparison") if results == ROOT / "data" else results
    for name, panels in FIGURES.items():
        drawn = {title: curves(files[name]["rows"], measure) for title, measure in panels.items()}
        figure = plot_frontiers(drawn, "SAE architectures at equal tokens", x="L0 on held-out activations")
        save_figure(
            figure, folder / f"{name}.html", "Means over seeds; the bars go from the lowest seed to the highest."
        )


if __name__ == "__main__":
    sys.exit(main())
