"""Run a student's functions and their tests in a clean process: its verdict is the one that counts.

A notebook's kernel belongs to the student's code: any cell may change how later cells are run or shown. In
the clean process (`scripts.course.judging.clean_process`) nothing runs but the lab's own set-up cell, the student's
definitions and the lab's own test cell. The hidden tests run nowhere else, so no notebook can print them.
"""

import ast
import json
import re
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, NamedTuple

from IPython.core.inputtransformer2 import TransformerManager

from scripts.course.cells import Exercise, visible_part
from scripts.course.judging.execute import SETUP_SECONDS, environment
from scripts.course.reading import mended

if TYPE_CHECKING:
    from scripts.course.grading.forks import Nursery  # which only a grader has

_WATCHING = ("time", "capture", "prun")
_CELL_MAGIC = re.compile(r"get_ipython\(\)\.run_cell_magic\('(\w+)', (?:'.*?'|\".*?\"), ('.*'|\".*\")\)")
_LINE_MAGIC = re.compile(r"get_ipython\(\)\.run_line_magic\('time', ('.*'|\".*\")\)$", re.M)


class Verdict(NamedTuple):
    """What the clean process found for one exercise."""

    passed: bool
    hint: str = ""  # what to look at; "" if passed
    visible: bool = False  # whether the tests that students see passed
    unwritten: bool = False  # the stub is still there
    stopped: bool = False  # it ran too long or ended its process
    tampered: str = ""  # what the student's code replaced, "" if nothing


class SetupBroken(RuntimeError):
    """The lab's own set-up cell fails: nothing can be graded on this machine."""


def run(
    setup: str,
    cells: list[tuple[str, str]],
    exercises: list[Exercise],
    seconds: float,
    nursery: "Nursery | None" = None,
) -> dict[str, Verdict]:
    """Verdicts by exercise id.

    setup: source of the set-up cell; cells: sources of the student's code cells in order, each with the id of the
    exercise that it answers ("" for any other cell); seconds: limit for one exercise; nursery: where to fork the clean
    process, which is started anew without one. Raises `SetupBroken`.
    """
    job = {
        "setup": setup,
        "cells": [(plain_python(source), answers) for source, answers in cells],
        "exercises": [(e.id, visible_part(e.test), e.test) for e in exercises],
        "seconds": seconds,
    }
    limit = SETUP_SECONDS + 2 * seconds * (len(exercises) + 1)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        if nursery is None:
            output, reason = _in_a_new_process(job, limit, scratch)
        else:
            output, reason = nursery.judged(job, limit, scratch, environment(scratch)), "it ended without a word"
    try:
        found = mended(json.loads(output))  # the text of an error may hold anything
    except ValueError:
        raise SetupBroken(f"the process that runs the tests stopped: {reason}") from None
    if "setup_error" in found:
        raise SetupBroken(f"the lab's set-up cell fails on this machine: {found['setup_error']}")
    return {name: Verdict(**verdict) for name, verdict in found.items()}


def _in_a_new_process(job: dict, seconds: float, scratch: str) -> tuple[bytes, str]:
    """What the clean process wrote, and what to say if that is nothing."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.course.judging.clean_process"],
        cwd=scratch,
        env=environment(scratch),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    killer = threading.Timer(seconds, process.kill)
    killer.start()
    try:
        output, errors = process.communicate(json.dumps(job).encode())
    finally:
        killer.cancel()
    last = errors.decode(errors="replace").strip().rpartition("\n")[2]
    return output, last or f"exit status {process.returncode}"


def plain_python(source: str) -> str:
    """A cell as Python. What follows a magic that only watches code run (`%%time`, `%time`) is code like any other.

    Other commands of IPython stay calls of `get_ipython`, which is not there in grading. A cell that IPython itself
    can't take apart stays as it is: it costs its own points, not those of the others.
    """
    try:
        source = TransformerManager().transform_cell(source)
    except Exception:  # of its tokenizer, for instance at a form feed or a line separator (U+2028) in a comment
        return source
    cell_magic = _CELL_MAGIC.fullmatch(source.strip())
    if cell_magic and cell_magic[1] in _WATCHING:
        return plain_python(ast.literal_eval(cell_magic[2]))
    return _LINE_MAGIC.sub(lambda found: ast.literal_eval(found[1]), source)
