"""The benchmark of grading: it counts what every process takes, and its page is of the rows."""

import json
import os
import subprocess
import sys

import pytest

from scripts.interp.base.paths import ROOT
from tests import grading_benchmark
from tests.grading_benchmark import page

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux counts it")

# A child that works, an orphan that works and stays, 150 MB for a moment, and the line about points in the middle
PROGRAM = """
import os, subprocess, sys, time
work = "import time\\nwhile time.process_time() < 0.6: pass\\n"
child = subprocess.Popen([sys.executable, "-c", work])
stays = f"import os, sys, time\\nif os.fork(): sys.exit()\\n{work}time.sleep(60)"
orphan = subprocess.Popen([sys.executable, "-c", stays])
orphan.wait()
held = bytearray(b"x" * 150_000_000)
time.sleep(0.4)
del held
child.wait()
print("points: 2 of 3 after 0.1 s")
print("points: 3 of 3 after 1.0 s", flush=True)
time.sleep(1.5)
"""


ENVIRONMENT = {"PATH": os.environ["PATH"]}


def taken(*arguments):
    """What `take` counts. In a process of its own: it ends everything below it, and here other tests have processes."""
    code = f"""
import json
from pathlib import Path, PosixPath
from scripts.interp.base.paths import ROOT
from tests import grading_benchmark
grading_benchmark.LOOK_EVERY = 0.1
print(json.dumps(grading_benchmark.take(*{arguments!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_seconds_and_memory_of_all_processes_count(tmp_path):
    row = taken([sys.executable, "-c", PROGRAM], tmp_path, ENVIRONMENT, tmp_path / "out", 3)
    assert 1.2 <= row["processor"] < 3 and row["points_processor"] <= row["processor"] + 0.1
    assert 0.5 < row["points_seconds"] < row["seconds"] - 1
    assert 150 < row["points_peak_mb"] <= row["peak_mb"] < 400


def test_without_a_line_the_points_are_there_when_every_job_is_judged(tmp_path):
    program = "import pathlib, time\ntime.sleep(0.3)\n" + "".join(
        f"p = pathlib.Path({str(tmp_path)!r}, 'course', 'jobs', '{n}', 'lab')\n"
        "p.mkdir(parents=True)\n(p / 'judged.json').touch()\n"
        for n in "ab"
    )  # fmt: skip
    row = taken([sys.executable, "-c", program + "time.sleep(1)"], tmp_path, ENVIRONMENT, tmp_path, 2)
    assert 0.2 < row["points_seconds"] < row["seconds"] - 0.5
    row = taken([sys.executable, "-c", "pass"], tmp_path, ENVIRONMENT, tmp_path / "none", 2)
    assert row["points_seconds"] == row["seconds"]


def found():
    one = {"seconds": 900.0, "processor": 1000.0, "peak_mb": 4000.0, "other_rows": 0}
    fast = {"seconds": 300.0, "processor": 400.0, "peak_mb": 3000.0, "other_rows": 2}
    points = {"points_seconds": 90.0, "points_processor": 100.0, "points_peak_mb": 2000.0}
    base = one | {f"points_{name}": number for name, number in one.items()}
    setting = {"students": 30, "jobs": 2, "base": "abc", "machine": "Linux", "cpu": "a processor", "cores": 2}
    return {"setting": setting | {"python": "3", "torch": "2"}, "rows": {"base": base, "present": fast | points}}


def test_the_page_compares_both_commits():
    text = page(found())
    assert "| `abc`, all of it | 900 | 1000 | 33.3 | 4000 | 30 |" in text
    assert "| now, until all points are in `grades.csv` | 90 | 100 | 3.3 | 2000 | 28 |" in text
    assert (
        "| points: times faster | 10.0 | 10.0 | 8 |" in text and "| all of it: times faster | 3.0 | 2.5 | 2 |" in text
    )
    assert "The peak is 0.75 times" in text and "| Linux | a processor | 2 | 3 | 2 |" in text
    alone = found()
    del alone["rows"]["base"]
    assert "times faster" not in page(alone)


def test_the_page_is_of_the_rows():
    if not grading_benchmark.RESULTS.exists():
        pytest.skip("nobody has measured yet: .venv/bin/python -m tests.grading_benchmark")
    rows = json.loads(grading_benchmark.RESULTS.read_text(encoding="utf-8"))
    assert grading_benchmark.PAGE.read_text(encoding="utf-8") == page(rows)
