"""How long `sh scripts/run_all_experiments.sh` takes: what its parts took where their committed results were made.

.venv/bin/python scripts/estimate_experiments.py
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from scripts.interp.base.paths import ROOT
from scripts.interp.base.tables import table

NOT_MEASURED = "not measured yet"


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(
        prog=".venv/bin/python scripts/estimate_experiments.py", description=__doc__.splitlines()[0]
    ).parse_args(arguments)
    parts = measured(ROOT)
    print(table([{"what": what, "minutes": NOT_MEASURED if s is None else round(s / 60)} for what, s in parts.items()]))
    known = [seconds for seconds in parts.values() if seconds is not None]
    print(f"About {sum(known) / 3600:.1f} hours in all on one core like those; what is finished is not done again.")
    return 0


def measured(root: Path) -> dict[str, float | None]:
    """Seconds that each part took, from the files in the repository; None where there is no such file."""
    from scripts.interp.saes.scaling import trained

    scaling = _content(root / "data" / "sae_scaling.json")
    saes = [_content(path) for path in sorted((root / "checkpoints" / "saes").glob("*/metrics.json"))]
    hybrid = [each["seconds"] for each in saes if each["settings"]["architecture"] == "hybrid"]
    benchmark = _content(root / "data" / "sae_benchmark.json")
    return {
        "activations of the training and validation splits, stored once": scaling
        and scaling["about"]["seconds_to_store"],
        "architectures compared": _rows(_content(root / "data" / "sae_comparison.json"), "key"),
        "the same on planted dictionaries": _rows(_content(root / "data" / "sae_ground_truth.json"), "key"),
        "scaling laws": scaling and sum(row["seconds"] for row in trained(scaling)),
        "benchmark": benchmark and benchmark.get("seconds"),
        "HybridSAE": max(hybrid, default=None),
    }


def _content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _rows(content: Any, key: str) -> float | None:
    """Seconds of all rows; what stands in two of them by the same key was run once."""
    return content and sum({row[key]: row.get("seconds") or 0 for row in content["rows"]}.values())


if __name__ == "__main__":
    sys.exit(main())
