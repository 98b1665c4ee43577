"""Measure a training step of a SelfIE adapter: the published plain loop against shared prompts.

    python scripts/run_selfie_benchmark.py             # a table; some minutes with the embedded model
    python scripts/run_selfie_benchmark.py --json      # one JSON object on standard output, nothing else
    python scripts/run_selfie_benchmark.py --quick     # one small round: only to see that it works

What is measured, and how, is in scripts/interp/selfie/benchmark.py. Nothing else should run meanwhile.
"""

import argparse
import contextlib
import json
import sys

from scripts.interp.base.command_line import at_least_one, cores
from scripts.interp.base.errors import ModelUnavailable


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python scripts/run_selfie_benchmark.py", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object, not as a table")
    parser.add_argument("--quick", action="store_true", help="measure one small round")
    parser.add_argument(
        "--threads", type=at_least_one, default=cores(), help="compute with so many threads of the CPU (%(default)s)"
    )
    options = parser.parse_args(arguments)

    from scripts.interp.selfie.benchmark import benchmark, report_text  # a wrong argument is answered at once

    try:
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints is not the report
            report = benchmark(1 if options.quick else 3, 8 if options.quick else 80, options.threads)
    except (ModelUnavailable, ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(report, indent=1) if options.json else report_text(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
