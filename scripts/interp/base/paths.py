"""Where things lie in the repository, whatever directory a notebook or a grader runs in."""

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def outputs_folder(name: str) -> Path:
    """The folder `outputs/<name>` of the repository, or of $LAB_OUTPUTS if that is set; created if need be."""
    folder = Path(os.environ.get("LAB_OUTPUTS") or ROOT / "outputs") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a kill, never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
        os.chmod(temporary, 0o644)  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
