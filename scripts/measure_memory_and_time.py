"""Measure what the labs' work takes in time and memory, and write docs/memory-and-time.md from it.

    .venv/bin/python -m scripts.measure_memory_and_time                  # what has no row for this machine: minutes
    .venv/bin/python -m scripts.measure_memory_and_time --again          # all of it anew
    .venv/bin/python -m scripts.measure_memory_and_time --device cuda    # the same on a GPU, for rows of that machine
    .venv/bin/python -m scripts.measure_memory_and_time --page           # only the page, from the rows that there are

Each job is a process of its own, and its rows are written before the next one starts, so a killed run goes on. Nothing
else should run meanwhile; `--busy` marks the rows where something did. What the jobs are is in
scripts/interp/costs/work.py.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from scripts.interp.base.command_line import at_least_one, cores
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

RESULTS = ROOT / "data" / "memory_and_time.json"
PAGE = ROOT / "docs" / "memory-and-time.md"
QUICK_MODEL = "a toy"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.measure_memory_and_time", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to measure (%(default)s)")
    parser.add_argument("--again", action="store_true", help="measure anew what this machine has rows for")
    parser.add_argument("--busy", action="store_true", help="say in the results that other programs were running")
    parser.add_argument("--page", action="store_true", help="measure nothing, only write the page")
    parser.add_argument("--quick", action="store_true", help="a toy and small sizes, in a file of its own, no page")
    parser.add_argument("--output", type=Path, help="the file of rows (default: data/memory_and_time.json)")
    parser.add_argument(
        "--threads", type=at_least_one, default=cores(), help="compute with so many threads of the CPU (%(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.quick and options.output is None:
        parser.error("--quick measures a toy: say with --output where its rows go")
    path = options.output or RESULTS
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"machines": [], "rows": []}
        if not options.page:
            measure_all(options, found, path)
        if not options.quick:
            write_page(found)
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def measure_all(options: argparse.Namespace, found: dict[str, Any], path: Path) -> None:
    """Measure the jobs that have no rows for this machine, one after another."""
    import torch

    from scripts.interp.costs.measuring import in_a_process, machine_of

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("There is no GPU here that torch can use: leave --device cuda out, or see `make doctor`.")
    machine = machine_of(options.device, options.threads)
    name = machine["name"]
    jobs = all_jobs(options)
    if options.again:
        found["rows"] = [row for row in found["rows"] if row["machine"] != name]
    done = {(row["job"], row["model"], row["dtype"]) for row in found["rows"] if row["machine"] == name}
    missing = [(job, place) for job, place in jobs if (job, place.model, place.dtype) not in done]
    if not missing:
        print(f"Every job has its rows for {name}: --again measures anew.", file=sys.stderr)
        return
    known = next((each for each in found["machines"] if each["name"] == name), {})
    was_busy = bool(done) and known.get("busy", False)
    machine |= {"busy": options.busy or was_busy, "versions": versions(), "date": time.strftime("%Y-%m-%d")}
    found["machines"] = [each for each in found["machines"] if each["name"] != name] + [machine]
    started = time.monotonic()
    for number, (job, place) in enumerate(missing):
        print(f"{number + 1} of {len(missing)}, {time.monotonic() - started:.0f} s: {job}, {place.model}, "
              f"{place.dtype} …", file=sys.stderr, flush=True)  # fmt: skip
        key = {"machine": name, "device": options.device, "job": job, "model": place.model, "dtype": place.dtype}
        found["rows"] += [key | row for row in in_a_process(job, place)]
        write_atomically(path, as_text(found))
    print(f"{time.monotonic() - started:.0f} s in all", file=sys.stderr)


def all_jobs(options: argparse.Namespace) -> list[tuple[str, Any]]:
    """Every job with the place where it is done, in the order of the page."""
    from scripts.interp.costs.measuring import Place
    from scripts.interp.costs.work import GPT2, JOBS, QUICK_SAES, SAES
    from scripts.interp.models.embedded import NAME

    def place(model: str, dtype: str = "float32") -> Any:
        return Place(model, options.device, dtype, options.threads, options.quick)

    if options.quick:
        return [(job, place(QUICK_MODEL)) for job in JOBS if job not in SAES or job in QUICK_SAES]
    with_model = ("loading", "running", "patching")
    jobs = [("imports", place("no model"))]
    jobs += [(job, place(NAME)) for job in (*with_model, "many tokens")]
    jobs += [(job, place(NAME, "bfloat16")) for job in with_model]
    jobs += [(job, place(GPT2)) for job in (*with_model, "many tokens")]
    alone = SAES if options.device == "cuda" else ("quick training", *SAES)  # a lab's SAE is trained on the CPU
    return jobs + [(job, place("no model")) for job in alone]


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformer-lens", "transformers", "sae-lens")}


def as_text(found: dict[str, Any]) -> str:
    """The file's text: a row a line."""
    machines, rows = (
        ",\n".join(f"  {json.dumps(each, ensure_ascii=False)}" for each in found[name]) for name in ("machines", "rows")
    )
    return f'{{\n "machines": [\n{machines}\n ],\n "rows": [\n{rows}\n ]\n}}\n'


def write_page(found: dict[str, Any]) -> None:
    """docs/memory-and-time.md, from the rows, from what training recorded, and from the labs' times."""
    from scripts.interp.costs.page import page

    write_atomically(PAGE, page(found, *beside()))


def beside() -> tuple[dict[str, Any], dict[str, int]]:
    """What the page shows that is not measured here: the record of the shipped SAE, and seconds of the labs."""
    from scripts.interp.models.embedded import NAME
    from scripts.run_labs import SECONDS

    folder = ROOT / "checkpoints" / "saes" / f"{NAME}-blocks.12.hook_resid_post"
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8")), SECONDS


if __name__ == "__main__":
    sys.exit(main())
