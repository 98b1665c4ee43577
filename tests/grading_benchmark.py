"""Grade one made-up class with an old commit and with this one, and write docs/grading-speed.md from what it took.

    .venv/bin/python -m tests.grading_benchmark                    # 30 whole notebooks of Lab 1; an hour on two cores
    .venv/bin/python -m tests.grading_benchmark --only present     # the old commit's row is kept, for the same class
    .venv/bin/python -m tests.grading_benchmark --students 2 --output FILE    # to see that it works: no page
    .venv/bin/python -m tests.grading_benchmark --page             # only the page, from the rows that there are

Both grade the same notebooks on one torch thread with the same jobs. What differs from the points that are known
beforehand (`tests.synthetic_class`) is printed, and the exit status is 1. Nothing else should run meanwhile.

Processor seconds count all processes that the command started. The peak is the largest sum of their proportional set
sizes (memory that several share counts once), looked at every half second. Linux only.
"""

import argparse
import ctypes
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from scripts.interp.base.command_line import at_least_one
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT
from tests.synthetic_class import differences, write_class

BASE = "e4fdbf0"  # the last commit before grading was rebuilt
RESULTS, PAGE = ROOT / "data" / "grading_speed.json", ROOT / "docs" / "grading-speed.md"
LAB, SEED = "01", 0
AIMS = {"points": 8, "full": 2}  # times faster than a full run of the old commit
LOOK_EVERY = 0.5  # seconds
PR_SET_CHILD_SUBREAPER = 36  # what a process leaves behind comes to this one, which can count it
SAID = re.compile(r"^points: (\d+) of \1 after ")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m tests.grading_benchmark", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--students", type=at_least_one, default=30, help="of Lab 1 (default: %(default)s)")
    parser.add_argument("--jobs", type=at_least_one, default=2, help="graded at the same time (default: %(default)s)")
    parser.add_argument("--base", default=BASE, help="the commit to compare with (default: %(default)s)")
    parser.add_argument("--only", choices=("base", "present"), help="measure one, and keep the other's row")
    parser.add_argument("--page", action="store_true", help="measure nothing, only write the page")
    parser.add_argument("--output", type=Path, help="the file of rows; then no page is written")
    options = parser.parse_args(arguments)
    path = options.output or RESULTS
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not options.page:
        try:
            found = measured(options, found, path)
        except (OSError, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 1
    text = page(found)
    print(text)
    if options.output is None:
        write_atomically(PAGE, text)
    return int(any(row["other_rows"] for row in found["rows"].values()))


def measured(options: argparse.Namespace, found: dict, path: Path) -> dict:
    """Grade with the one commit or both, and write what it took as it comes."""
    setting = {"students": options.students, "jobs": options.jobs, "base": options.base} | machine()
    rows = found.get("rows", {}) if found.get("setting") == setting and options.only else {}
    found = {"setting": setting, "rows": rows}
    with tempfile.TemporaryDirectory() as folder:
        dest = Path(folder)
        expected = write_class(dest, options.students, [LAB], SEED, whole=True)
        (dest / "solutions").mkdir()
        shutil.copy(ROOT / "solutions" / f"{expected[0]['lab']}.ipynb", dest / "solutions")
        for name in [options.only] if options.only else ["base", "present"]:
            out = dest / name
            with checked_out(options.base if name == "base" else "") as tree:
                print(f"{name}: {options.students} students …", file=sys.stderr, flush=True)
                command = [sys.executable, "-m", "scripts.course.grade", str(dest / "handed-in"), str(out),
                           "--solutions", str(dest / "solutions"), "--jobs", str(options.jobs)]  # fmt: skip
                subprocess.run([sys.executable, "-m", "compileall", "-q", "scripts"], cwd=tree, check=True)
                rows[name] = take(command, tree, environment(tree), out, len(expected))
            wrong = differences(expected, out / "grades.csv") if (out / "grades.csv").exists() else ["no grades.csv"]
            rows[name]["other_rows"] = len({said.partition(": ")[0] for said in wrong})
            print(*wrong, sep="\n", end="\n" * bool(wrong), file=sys.stderr, flush=True)
            write_atomically(path, json.dumps(found, indent=1) + "\n")
    return found


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with the files of a commit, for a while; those that are here now for ""."""
    if not commit:
        yield ROOT
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def environment(tree: Path) -> dict[str, str]:
    models = os.environ.get("LAB_MODELS", str(ROOT / "checkpoints" / "fetched"))
    return os.environ | {"OMP_NUM_THREADS": "1", "LAB_MODELS": models, "PYTHONPATH": str(tree), "PYTHONUNBUFFERED": "1"}


def take(command: list[str], folder: Path, environment: dict[str, str], out: Path, count: int) -> dict[str, float]:
    """Run a command that grades `count` labs into `out`. Returns its seconds, processor seconds and peak in MB.

    The same up to the moment at which it said that all points are there, or had all of them beside its jobs; for one
    that does neither, that is its end. Every process below this one counts, and is ended with the command.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    earlier, started, peak, points = spent(), time.monotonic(), 0.0, None

    def so_far() -> dict[str, float]:
        return {"seconds": time.monotonic() - started, "processor": spent() - earlier, "peak_mb": peak}

    said = []
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    reader = threading.Thread(target=lambda: said.extend(line for line in process.stdout if SAID.match(line)))
    reader.start()
    while process.poll() is None:
        peak = max(peak, sum(map(megabytes, below())))
        if points is None and (said or len(list(out.glob("course/jobs/*/*/judged.json"))) == count):
            points = so_far()
        time.sleep(LOOK_EVERY)
    while left := below():  # what it left running
        for other in left:
            with suppress(psutil.NoSuchProcess):
                other.kill()
        collect(process.pid)
    reader.join()
    ended = so_far()
    points = points or ended
    return {name: round(number, 1) for name, number in
            {**ended, **{f"points_{name}": number for name, number in points.items()}}.items()}  # fmt: skip


def below() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def collect(own: int) -> None:
    """Wait for the children that were not started here: their time counts from then on."""
    for child in psutil.Process().children():
        if child.pid != own:
            with suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


def spent() -> float:
    """Processor seconds of all processes below this one, those that have ended too."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime
    for process in below():
        with suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:4])  # its own, and of its children that have ended
    return seconds


def megabytes(process: psutil.Process) -> float:
    """A process's proportional set size; where that is not to be had, all that is resident, which is more."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss: +(\d+)", text, re.M)[1]) * 1024 / 1e6
    except (OSError, TypeError):
        with suppress(psutil.Error):
            return process.memory_info().rss / 1e6
    return 0.0


def machine() -> dict:
    from importlib.metadata import version

    from scripts.interp.base.machine import machine_facts

    facts = machine_facts()
    versions = {name: version(name) for name in ("nbgrader", "nbclient", "ipykernel", "transformers")}
    return {name: facts[name] for name in ("machine", "cpu", "cores", "python", "torch")} | versions


def page(found: dict) -> str:
    """The page in Markdown, from `setting` and `rows`."""
    setting, rows = found["setting"], found["rows"]
    lines = [
        "# How fast a class is graded",
        "",
        "Generated by `.venv/bin/python -m tests.grading_benchmark` from `data/`'s `grading_speed.json`: edit neither.",
        "",
        f"The class: {setting['students']} made-up students hand in Lab 1, whole notebooks with right and wrong "
        f"answers whose points are known. {setting['jobs']} jobs, one torch thread. `{setting['base']}` is the last "
        "commit before grading was rebuilt; it shows no points before its end.",
        "",
        "Processor seconds are of all processes, and the peak is the largest sum of their memory, what several share "
        "counted once.",
        "",
        "| | seconds | processor seconds | for a student | peak, MB | rows that are as expected |",
        "|---|---|---|---|---|---|",
    ]
    for name, key, label in (
        ("base", "", f"`{setting['base']}`, all of it"),
        ("present", "points_", "now, until all points are in `grades.csv`"),
        ("present", "", "now, all of it"),
    ):
        if name in rows:
            seconds, processor, peak = (rows[name][key + column] for column in ("seconds", "processor", "peak_mb"))
            each = processor / setting["students"]
            right = setting["students"] - rows[name]["other_rows"]
            lines.append(f"| {label} | {seconds:.0f} | {processor:.0f} | {each:.1f} | {peak:.0f} | {right} |")
    if {"base", "present"} <= rows.keys():
        lines += ["", "| | in seconds | in processor seconds | aim |", "|---|---|---|---|"]
        for label, key, aim in (("points", "points_", AIMS["points"]), ("all of it", "", AIMS["full"])):
            times = [rows["base"][column] / rows["present"][key + column] for column in ("seconds", "processor")]
            lines.append(f"| {label}: times faster | {times[0]:.1f} | {times[1]:.1f} | {aim} |")
        less = rows["present"]["peak_mb"] / rows["base"]["peak_mb"]
        lines += ["", f"The peak is {less:.2f} times that of `{setting['base']}`; the aim is 1 at most."]
    lines += ["", "| machine | processor | cores | " + " | ".join(list(setting)[6:]) + " |"]
    lines += ["|---" * (len(setting) - 3) + "|"]
    lines += ["| " + " | ".join(str(value) for value in list(setting.values())[3:]) + " |"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
