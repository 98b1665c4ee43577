"""The reference file: every number that prose or a test quotes, with its tolerance and its source.

`data/reference_values.json` maps a key such as "smollm2-135m/ioi_logit_diff" to {"value", "tolerance", "model",
"source"}. Values measured here are written by `.venv/bin/python -m scripts.measure_reference_values`; published ones
name the paper.
"""

import json
from functools import lru_cache
from typing import Any

from scripts.interp.base.paths import ROOT

REFERENCE_FILE = ROOT / "data" / "reference_values.json"


@lru_cache(maxsize=1)
def reference_values() -> dict[str, dict[str, Any]]:
    """All entries of the reference file by key."""
    return json.loads(REFERENCE_FILE.read_text(encoding="utf-8"))


def reference_value(key: str) -> Any:
    """The value under `key`. Raises ValueError that lists similar keys if there is none."""
    entries = reference_values()
    if key not in entries:
        similar = [known for known in entries if known.split("/")[0] == key.split("/")[0]]
        raise ValueError(f"no reference value {key!r}; there are: {', '.join(similar or sorted(entries))}")
    return entries[key]["value"]


def committed_results(name: str) -> dict[str, Any]:
    """What data/<name>.json holds: results that a command of this repository wrote. Raises ValueError without it."""
    path = ROOT / "data" / f"{name}.json"
    if not path.is_file():
        there = sorted(file.stem for file in path.parent.glob("sae_*.json"))
        raise ValueError(f"There is no file data/{name}.json; there are: {', '.join(there) or 'none of an SAE'}.")
    return json.loads(path.read_text(encoding="utf-8"))
