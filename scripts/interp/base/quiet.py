"""Keeping libraries quiet where anything on stderr counts as a failure."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TextIO


@contextmanager
def quiet_libraries(bars: TextIO | None = None) -> Iterator[None]:
    """Keep warnings, log lines and progress bars of transformers and TransformerLens off stderr.

    nbgrader counts anything there as a failed cell. Progress bars go to `bars`, or nowhere.
    """
    from transformers.utils import logging as transformers_logging

    disabled = logging.root.manager.disable
    had_bars = transformers_logging.is_progress_bar_enabled()
    logging.disable(logging.WARNING)
    if bars is None:  # in a notebook they would be widgets, which no redirection catches
        transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), redirect_stderr(bars or io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        if had_bars:
            transformers_logging.enable_progress_bar()
