"""A progress bar that appears only where somebody watches, and only if the work takes longer than two seconds."""

import os
import sys

from tqdm import tqdm


def progress_bar(total: int, what: str, show: bool | None = None) -> tqdm:
    """A tqdm bar on standard output that leaves nothing behind.

    show: None shows it in a terminal and in a notebook that a person runs. The commands that execute whole
    notebooks set TQDM_DISABLE=1, so that no bar ends up in a committed output.
    """
    if show is None:
        show = os.environ.get("TQDM_DISABLE", "") in ("", "0") and (sys.stdout.isatty() or "ipykernel" in sys.modules)
    return tqdm(total=total, desc=what, disable=not show, delay=2, leave=False, file=sys.stdout)
