"""ruff formats and lints the code; its configuration stands in pyproject.toml."""

import subprocess
import sys

import pytest

from scripts.interp.base.paths import ROOT


@pytest.mark.parametrize("command", [["format", "--check"], ["check", "--quiet"]], ids=lambda command: command[0])
def test_ruff_has_nothing_to_say(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, f"run `ruff {command[0]}`:\n{done.stdout}{done.stderr}"
