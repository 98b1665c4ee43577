"""Measure the exact patching sweeps against TransformerLens' own, which run the whole model once a patch.

    .venv/bin/python scripts/run_patching_benchmark.py             # a table; about ten minutes with the embedded model
    .venv/bin/python scripts/run_patching_benchmark.py --json      # one JSON object on standard output, nothing else
    .venv/bin/python scripts/run_patching_benchmark.py --quick     # a toy model, seconds: only to see that it works

What is measured, and how, is in scripts/interp/circuits/benchmark.py.
"""

import argparse
import contextlib
import json
import sys

from scripts.interp.base.command_line import at_least_one, cores
from scripts.interp.base.errors import ModelUnavailable


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python scripts/run_patching_benchmark.py", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object, not as a table")
    parser.add_argument("--quick", action="store_true", help="measure a toy model, in seconds, and not LAB_MODEL's")
    parser.add_argument(
        "--threads", type=at_least_one, default=cores(), help="compute with so many threads of the CPU (%(default)s)"
    )
    options = parser.parse_args(arguments)

    import torch  # a wrong argument is answered at once; this takes seconds

    from scripts.interp.circuits.benchmark import benchmark, table

    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints is not the report
            report = benchmark(options.quick)
    except (ModelUnavailable, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        torch.set_num_threads(threads)
    print(json.dumps(report, indent=1) if options.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
