"""How an SAE's loss falls with latents, L0 and tokens: a law, its predictions, and only then the runs predicted.

    .venv/bin/python scripts/derive_scaling_laws.py                   # all; how long, docs/experiments_guide.md says
    .venv/bin/python scripts/derive_scaling_laws.py --stage fit       # up to the predictions, which are made once
    .venv/bin/python scripts/derive_scaling_laws.py --stage held-out  # what was predicted, refused without that
    .venv/bin/python scripts/derive_scaling_laws.py --stage page      # train nothing: page and figure of what is there
    .venv/bin/python scripts/derive_scaling_laws.py --debug           # within a minute: only to see that it works

Hybrid SAEs on the activations that `.venv/bin/python -m scripts.train_sae` stores, judged on the validation split. A
run that has a row in data/sae_scaling.json is not done again, so a killed command goes on where it was.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.paths import ROOT, outputs_folder

STAGES = ("all", "fit", "held-out", "page")
DEBUG = {  # what a plan has instead
    "widths": (1, 2, 4), "ks": (2, 4, 8), "tokens": 1024, "rates": (3e-3, 6e-3), "rates_at": ((1, 4),),
    "several_seeds_at": ((1, 2),), "seeds": (0, 1), "token_counts": (512, 1024, 2048, 4096), "token_counts_at": (2, 4),
    "larger": 8, "other_ks": (3,), "more_tokens": 8192, "batch": 64, "one_in": 1,
}  # fmt: skip
DEBUG_ROWS = (96, 8)  # of text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python scripts/derive_scaling_laws.py", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", help="the model, as load_model knows it; by default the embedded one")
    parser.add_argument("--layer", type=int, help="whose resid_post is taken; by default the shipped SAE's")
    parser.add_argument("--stage", choices=STAGES, default="all", help="how far to go (%(default)s)")
    parser.add_argument("--results", metavar="FILE", help="where the results are; by default data/sae_scaling.json")
    parser.add_argument("--debug", action="store_true", help="as little of everything as shows that it works")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (ModelUnavailable, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    """What the options ask for."""
    import torch  # a wrong argument is answered at once; this takes seconds

    from scripts.interp.base.files import alone_in, write_atomically
    from scripts.interp.models.embedded import NAME
    from scripts.interp.saes.scaling import Record, derive, read
    from scripts.interp.saes.scaling_page import page
    from scripts.interp.saes.scaling_plan import Plan

    torch.set_num_threads(1)
    model_name = options.model or ("toy-mlp-1l" if options.debug else NAME)
    layer = options.layer if options.layer is not None else 0 if options.debug else 12
    usual = outputs_folder("scaling") / "debug.json" if options.debug else ROOT / "data" / "sae_scaling.json"
    path = Path(options.results).resolve() if options.results else usual
    if path.suffix != ".json":
        raise ValueError(f"--results is {options.results}: give the name of a file that ends in .json.")
    if options.stage == "page":
        content = read(path)
    else:
        from scripts.interp.models.load import load_model
        from scripts.interp.saes.scaling_runs import WORK, about, bench, stored

        model = load_model(model_name)
        hook_name, small = f"blocks.{layer}.hook_resid_post", DEBUG if options.debug else {}
        plan = Plan(model_name, hook_name, model.cfg.d_model, **small)
        rows = DEBUG_ROWS if options.debug else None
        with alone_in(outputs_folder(WORK)):  # of its checkpoints, and for the sake of the file
            record = Record(path, plan)
            record.content.setdefault("about", about(plan, model))
            measure = bench(plan, *stored(plan, model, rows))
            derive(record, with_line(measure), options.stage)
        content = record.content
    if path == ROOT / "data" / "sae_scaling.json":
        page_path = ROOT / "docs" / "sae-scaling.md"
    else:
        page_path = path.with_suffix(".md")
    write_atomically(page_path, page(content))
    if "fit" in content:
        from scripts.interp.figures.pages import save_figure

        said = "FVU against latents, a curve for each k; lines: the law; circles: predictions; crosses: what came out."
        save_figure(figure(content), outputs_folder("scaling") / f"{path.stem}.html", said)


def figure(content: dict[str, Any]) -> Any:
    """FVU over latents, a curve for each k: what was run, the law, what it predicted, what came out."""
    import numpy as np

    from scripts.interp.figures.curves import plot_law
    from scripts.interp.saes.scaling import law_in
    from scripts.interp.saes.scaling_law import means

    tokens, law = content["settings"]["tokens"], law_in(content["fit"]["size"])
    of_size = [row for row in content["points"] if row["tokens"] == tokens]
    found = {(row["d_sae"], row["k"]): row["fvu"] for row in of_size if row["role"] == "held_out"}
    predictions = [each for each in content["predictions"] if each["law"] == "size"]
    curves, lines, predicted = {}, {}, {}
    sizes = np.geomspace(*(edge(row["d_sae"] for row in of_size + predictions) for edge in (min, max)), 40)
    for k in sorted({row["k"] for row in of_size + predictions}):
        mine = means([row for row in of_size if row["k"] == k and row["role"] == "fit"])
        curves[f"k {k}"] = [row["d_sae"] for row in mine], [row["fvu"] for row in mine]
        lines[f"k {k}"] = sizes, law([{"d_sae": n, "k": k, "tokens": tokens} for n in sizes])
        predicted[f"k {k}"] = [
            (each["d_sae"], each["fvu"], each["low"], each["high"], found.get((each["d_sae"], k)))
            for each in predictions
            if each["k"] == k
        ]
    return plot_law(curves, lines, predicted, "FVU falls with latents n and with k", x="latents", y="FVU")


def with_line(measure: Any) -> Any:
    """The same function; it prints every run that it has measured."""

    def measure_and_say(run: Any) -> dict[str, Any]:
        row = measure(run)
        numbers = ", ".join(f"{name} {row[name]:.4g}" for name in ("fvu", "l0", "dead_fraction", "seconds"))
        print(f"{', '.join(f'{name} {value:g}' for name, value in run._asdict().items())}: {numbers}", flush=True)
        return row

    return measure_and_say


if __name__ == "__main__":
    sys.exit(main())
