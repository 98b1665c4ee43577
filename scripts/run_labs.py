"""Execute the solved labs side by side and write each as a notebook and as an HTML page to outputs/.

    .venv/bin/python -m scripts.run_labs [LAB …] [--jobs N] [--update]

LAB is the beginning of a file name in solutions/ (`01`); without one, all of them run. As many run at a time as there
are cores and memory for; `--jobs 1` runs one after another. `--update` also writes the text outputs back to solutions/,
after a lab was edited.
"""

import argparse
import shutil
import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from threading import Event

import psutil

from scripts.interp.base.command_line import at_least_one, cores
from scripts.interp.base.paths import ROOT

KERNEL_BYTES = 3.5e9  # what a lab's kernel may hold; 3.2 GB was the most that was seen
# Seconds that each took alone. The longest start first, and before them those that are not listed: a long one that
# starts last would run on while the other cores have nothing left.
SECONDS = {
    "04-feature-extraction-saes": 187,
    "05-monosemanticity-reproduction": 111,
    "02-activation-patching-ioi": 102,
    "03-induction-head-analysis": 95,
    "07-sae-architectures-and-scaling": 92,
    "06-stheno-8b-extension": 88,
    "08-selfie-adapters": 90,
    "01-transformerlens-setup": 22,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute the solved labs and write them to outputs/.")
    parser.add_argument("labs", nargs="*", help="beginnings of file names in solutions/, such as 01")
    parser.add_argument(
        "--jobs", type=at_least_one, help="labs that run at a time (default: as cores and memory allow)"
    )
    parser.add_argument("--update", action="store_true", help="write text outputs back to solutions/")
    arguments = parser.parse_args()

    paths = sorted((ROOT / "solutions").glob("*.ipynb"))
    asked = arguments.labs or [""]
    unknown = [lab for lab in asked if not any(path.name.startswith(lab) for path in paths)]
    if unknown:
        print(f"No lab begins with {' or '.join(unknown)}; there are: {', '.join(p.stem for p in paths)}")
        return 2

    from scripts.course.lab_run import LabRun  # takes seconds: a wrong argument is answered without it

    chosen = [path for path in paths if path.name.startswith(tuple(asked))]
    labs = [LabRun(path, ROOT / "outputs", arguments.update) for path in chosen]
    started = time.monotonic()
    if not run_all(labs, arguments.jobs or jobs_that_fit()):
        print("Interrupted: the labs that ended are in outputs/; the others left nothing there.")
        return 130
    failed = [lab for lab in labs if lab.failure]
    print(
        f"\n{len(labs) - len(failed)} of {len(labs)} labs ran without an error, "
        f"{time.monotonic() - started:.0f} s in all; notebooks and pages are in outputs/"
    )
    for lab in failed:
        print(f"{lab.path.name}: {lab.failure}")
    return 1 if failed else 0


def jobs_that_fit() -> int:
    """How many kernels there is room for on the cores that this process may use and in free memory; at least 1."""
    return max(1, min(cores(), int(psutil.virtual_memory().available / KERNEL_BYTES)))


def seconds_of(lab) -> float:
    return SECONDS.get(lab.path.stem, float("inf"))


def run_all(labs: list, jobs: int) -> bool:
    """Run the labs, `jobs` at a time, saying where they are. Returns False if somebody interrupted it."""
    live = sys.stdout.isatty()
    stop = Event()
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(lab.run, stop): lab for lab in sorted(labs, key=seconds_of, reverse=True)}
        try:
            if live:
                print("\n" * len(labs), end="")
            while running:
                for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                    lab = running.pop(future)
                    if not live:
                        print(lab.line, flush=True)
                if live:
                    draw_over(labs)
        except KeyboardInterrupt:
            stop.set()
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # no second one between the kernels' end and ours
            while wait(running, timeout=0.2).not_done:  # again and again: a kernel may be just about to start
                end_kernels()
    return not stop.is_set()


def draw_over(labs: list) -> None:
    """Draw the table of all labs anew, over the lines where it stands."""
    width = shutil.get_terminal_size().columns - 1  # a line that wraps would be two
    print(f"\x1b[{len(labs)}A" + "\n".join(f"{lab.line[:width]}\x1b[K" for lab in labs), flush=True)


def end_kernels() -> None:
    """End the kernels: they have sessions of their own, where no Ctrl-C reaches them."""
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the kernels too, as Ctrl-C does
    sys.exit(main())
