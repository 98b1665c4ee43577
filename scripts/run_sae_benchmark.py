"""Measure a training step of TopK SAEs: sae-lens' trainer, a plain loop, exact-sparse and Hybrid.

    .venv/bin/python scripts/run_sae_benchmark.py             # tables; about twenty minutes with the embedded model
    .venv/bin/python scripts/run_sae_benchmark.py --json      # one JSON object on standard output, nothing else
    .venv/bin/python scripts/run_sae_benchmark.py --quick     # tiny sizes, a minute: only to see that it works

What is measured, and how, is in scripts/interp/saes/benchmark.py. Nothing else should run meanwhile.
"""

import sys
from importlib import import_module

from scripts.interp.base.command_line import report_command


def main(arguments: list[str] | None = None) -> int:
    return report_command(
        ".venv/bin/python scripts/run_sae_benchmark.py",
        __doc__.splitlines()[0],
        "measure tiny sizes, in a minute",
        lambda: import_module("scripts.interp.saes.benchmark"),
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
