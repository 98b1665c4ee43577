"""How pytest runs the solved notebooks (nbval): what is compared, and that a notebook ends with its first failure."""

import os

import pytest

# Two kernels that use both cores each take three times as long as one after the other, and one thread gives the same
# numbers everywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
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
_failed = set()


def pytest_collectstart(collector):
    if collector.path.suffix == ".ipynb":
        collector.skip_compare += NOT_COMPARED


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed and item.path.suffix == ".ipynb":
        _failed.add(item.path)


def pytest_runtest_setup(item):
    if item.path in _failed:
        pytest.fail("not run: an earlier cell of this notebook failed", pytrace=False)
