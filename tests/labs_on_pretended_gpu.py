"""The solved labs with their models on the GPU that isn't there (see `pretended_gpu.py`); says which cells fail.

    .venv/bin/python -m tests.labs_on_pretended_gpu 04 06

No test: a lab takes three to six times as long as usual. What was loaded for the CPU by name stays there. Once a cell
has failed, those that need its results fail as well.
"""

import contextlib
import io
import os
import sys
import tempfile
import traceback
from pathlib import Path
from unittest import mock

import nbformat
import torch

from scripts import mech_interp_utils
from scripts.interp.base.paths import ROOT
from scripts.interp.models import load, plain
from scripts.interp.saes import load as sae_load
from scripts.interp.selfie import feature_labels
from tests.pretended_gpu import GPU, moved, pretended_gpu

PLACES = {  # where a function that loads something is looked up
    "load_model": (load, feature_labels, mech_interp_utils),
    "load_plain_model": (plain, mech_interp_utils),
    "open_sae": (sae_load,),
}


def load_model(name=None, device=None, dtype=None, _load=load.load_model, **options):
    model = _load(name, "cpu", dtype, **options)
    return model if device == "cpu" else moved(model)


def load_plain_model(name, device="cpu", dtype=torch.float32, _load=plain.load_plain_model):
    found = _load(name, "cpu", dtype)
    return found if torch.device(device) != GPU else found._replace(model=moved(found.model))


def open_sae(folder, device, _open=sae_load.open_sae):
    sae = _open(folder, "cpu")
    return sae if torch.device(device) != GPU else moved(sae)


def failed_cells(path: Path) -> list[str]:
    """Which cells of a notebook fail: their ids, the error, and the last lines of the project's code on the way."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.reset(new_session=True)
    failures = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                result = shell.run_cell(cell.source)
            error = result.error_before_exec or result.error_in_exec
            if error is not None:
                frames = [each for each in traceback.extract_tb(error.__traceback__) if "packages" not in each.filename]
                lines = [f"    {each.filename}:{each.lineno}  {each.line}" for each in frames[-4:]]
                failures.append("\n".join([f"  {cell.id}: {type(error).__name__}: {str(error)[:200]}", *lines]))
    return failures


def main(numbers: list[str]) -> int:
    os.environ["TQDM_DISABLE"] = "1"
    failed = False
    with tempfile.TemporaryDirectory() as outputs, contextlib.ExitStack() as patches:
        os.environ["LAB_OUTPUTS"] = outputs
        for name, places in PLACES.items():
            for place in places:
                patches.enter_context(mock.patch.object(place, name, globals()[name]))
        patches.enter_context(pretended_gpu())
        for path in sorted((ROOT / "solutions").glob("*.ipynb")):
            if path.name[:2] in numbers or not numbers:
                failures = failed_cells(path)
                failed = failed or bool(failures)
                print(f"{path.stem}: {len(failures)} cells fail", *failures, sep="\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
