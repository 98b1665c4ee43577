"""Measure a training step of a SelfIE adapter: the published plain loop against shared prompts.

    .venv/bin/python scripts/run_selfie_benchmark.py             # a table; some minutes with the embedded model
    .venv/bin/python scripts/run_selfie_benchmark.py --json      # one JSON object on standard output, nothing else
    .venv/bin/python scripts/run_selfie_benchmark.py --quick     # one small round: only to see that it works

What is measured, and how, is in scripts/interp/selfie/benchmark.py. Nothing else should run meanwhile.
"""

import sys
from importlib import import_module

from scripts.interp.base.command_line import report_command


def main(arguments: list[str] | None = None) -> int:
    return report_command(
        ".venv/bin/python scripts/run_selfie_benchmark.py",
        __doc__.splitlines()[0],
        "measure one small round",
        lambda: import_module("scripts.interp.selfie.benchmark"),
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
