"""Where things lie in the repository, whatever directory a notebook or a grader runs in."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def outputs_folder(name: str) -> Path:
    """The folder `outputs/<name>` of the repository, or of $LAB_OUTPUTS if that is set; created if need be."""
    folder = Path(os.environ.get("LAB_OUTPUTS") or ROOT / "outputs") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
