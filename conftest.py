"""How pytest runs the suite: side by side, longest first, and solved notebooks compared with what they hold (nbval)."""

import copy
import gc
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.fixtures.twice import is_run_twice
from tests.rounding import take_rounding_for_equal
from tests.shapes import check_shapes_in

check_shapes_in("scripts.interp")  # before any test imports it

# Two kernels that use both cores each take three times as long as one after the other, and one thread gives the same
# numbers everywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What notebooks and records hold are the CPU's numbers, and a GPU gives slightly others. So the suite runs on the CPU,
# with a GPU in the machine too; `CUDA_VISIBLE_DEVICES=0 .venv/bin/python -m pytest tests/test_gpu.py -n 0` tests a GPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Logits of a hundred megabytes come and go with every run of a model. What is freed stays with the process: otherwise
# the kernel clears the same pages again each time, which takes a tenth of the time (glibc's settings; workers and
# notebooks' kernels start with them).
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**29))
os.environ["TQDM_DISABLE"] = "1"  # a progress bar would be an output that differs from run to run

# drafts and results are no tests; the fixture notebooks are opened by the tests that need them
collect_ignore_glob = ["outputs/*", "notebooks/*", "tests/fixtures/*"]

# Figures are drawn but not compared: their MIME types hold random element ids and megabytes of script.
NOT_COMPARED = (
    "text/html",
    "application/javascript",
    "application/vnd.plotly.v1+json",
    "application/vnd.jupyter.widget-view+json",
    "image/png",
    "image/svg+xml",
)

# Seconds that a file took on one core, where it was more than ten. The longest start first: a long one that starts last
# would run on while the other workers have nothing left. What starts after them makes no difference.
SECONDS = {
    "04-feature-extraction-saes": 155,
    "08-selfie-adapters": 149,
    "02-activation-patching-ioi": 119,
    "06-stheno-8b-extension": 110,
    "03-induction-head-analysis": 99,
    "05-monosemanticity-reproduction": 97,
    "test_grade": 90,
    "test_answers": 80,
    "07-sae-architectures-and-scaling": 55,
    "test_browser": 54,
    "test_models": 38,
    "01-transformerlens-setup": 35,
    "test_no_answers": 32,
    "test_shipped_sae": 32,
    "test_documentation_runs": 31,
    "test_grade_labs": 29,
    "test_extension_stheno": 29,
    "test_patching": 25,
    "test_embedded_model": 25,
    "test_check": 24,
    "test_roleplay_adapter": 22,
    "test_train_adapter": 21,
    "test_run_labs": 17,
    "test_train_sae": 16,
    "test_patching_benchmark": 16,
    "test_half_precision": 15,
    "test_student_half": 14,
    "test_devices": 14,
    "test_parallel": 14,
    "test_recorded": 13,
    "test_memory_and_time": 12,
    "test_reference": 12,
    "test_setup": 12,
    "test_shipped_toy_saes": 10,
}
OUTPUT_SECONDS = 60  # until a cell that ended has shown its outputs; nbval's 5 are too few on a busy machine
QUICK = 10  # a file that takes longer is left out of `make test-quick`
MEMORY_OF_A_WORKER = 5e9  # bytes: its own models, and one kernel with the embedded model

GRADED_ONCE = (  # the labs with points
    "01-transformerlens-setup",
    "02-activation-patching-ioi",
    "03-induction-head-analysis",
    "04-feature-extraction-saes",
)
_failed = set()


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="leave out notebooks and files that take long")
    parser.addoption(
        "--own-kernels",
        action="store_true",
        help="run every notebook in a kernel of nbval's, none through the grader; threads are those of OMP_NUM_THREADS",
    )


def pytest_xdist_auto_num_workers(config) -> int:
    """As many as there are cores, and as memory allows. 0: everything in this process."""
    from scripts.interp.base.command_line import cores

    workers = min(cores(), int(psutil.virtual_memory().available / MEMORY_OF_A_WORKER))
    return workers if workers > 1 else 0


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # what labs and tests save must not meet what another worker saves
        os.environ["LAB_OUTPUTS"] = config.stash[_OUTPUTS] = tempfile.mkdtemp(prefix="outputs-")


_OUTPUTS = pytest.StashKey[str]()


def pytest_unconfigure(config):
    if _OUTPUTS in config.stash:
        shutil.rmtree(config.stash[_OUTPUTS], ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: -seconds_of(item.path))  # stable: a file's tests stay together and in order
    if config.getoption("quick"):
        slow = [item for item in items if item.path.suffix == ".ipynb" or seconds_of(item.path) > QUICK]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # what the imports made stays: a million objects that no later collection has to look at again


def seconds_of(path: Path) -> float:
    return SECONDS.get(path.stem, 0)


def pytest_collectstart(collector):
    if collector.path.suffix == ".ipynb":
        collector.skip_compare += NOT_COMPARED
        if collector.path.stem in GRADED_ONCE and not collector.config.getoption("own_kernels"):
            collector.setup = lambda: play_back(collector)


def pytest_itemcollected(item):
    if item.path.suffix == ".ipynb":
        if item.config.getoption("own_kernels") or is_run_twice(item.path, item.cell):
            item.runtest = twice(item)
        compare = item.compare_outputs

        def compare_but_for_rounding(got, expected, skip_compare=None):
            return compare(take_rounding_for_equal(got, expected, item.sanitize), expected, skip_compare)

        item.compare_outputs = compare_but_for_rounding
        item.output_timeout = OUTPUT_SECONDS


def twice(item) -> Callable[[], None]:
    """A cell that is run again has to show the same as before: it rests on nothing that it changes itself."""
    run = item.runtest

    def run_and_run_again() -> None:
        expected = copy.deepcopy(item.cell.outputs)  # nbval joins pieces of text in place
        run()
        item.cell.outputs = expected
        run()

    return run_and_run_again


def play_back(collector) -> None:
    """Let the grader run a solved lab, and nbval compare what came out as if its own kernel had run it."""
    from tests.fixtures.graded_once import Recording
    from tests.fixtures.whole_labs import graded_solution

    with tempfile.TemporaryDirectory() as folder:
        collector.kernel = Recording(graded_solution(collector.path, Path(folder)))
    collector.setup_sanitize_files()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed and item.path.suffix == ".ipynb":
        _failed.add(item.path)


def pytest_runtest_setup(item):
    if item.path in _failed:
        pytest.fail("not run: an earlier cell of this notebook failed", pytrace=False)
