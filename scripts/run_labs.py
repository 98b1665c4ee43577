"""Execute every solved lab and write each as a notebook and as an HTML page to outputs/.

    python -m scripts.run_labs [LAB …] [--update]

LAB is the beginning of a file name in solutions/ (`01`); without one, all of them run. `--update` also writes the text
outputs back to solutions/, after a lab was edited.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from scripts.course.pages import html_page
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

CELL_TIMEOUT = 600  # seconds
KEPT_OUTPUTS = {"text/plain"}  # what a committed notebook keeps: a figure would add megabytes and never compares equal


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute the solved labs and write them to outputs/.")
    parser.add_argument("labs", nargs="*", help="beginnings of file names in solutions/, such as 01")
    parser.add_argument("--update", action="store_true", help="write text outputs back to solutions/")
    arguments = parser.parse_args()

    paths = sorted((ROOT / "solutions").glob("*.ipynb"))
    chosen = [path for path in paths if not arguments.labs or path.name.startswith(tuple(arguments.labs))]
    if not chosen:
        print(f"No lab begins with {' or '.join(arguments.labs)}; there are: {', '.join(p.stem for p in paths)}")
        return 2

    failures = {}
    started = time.monotonic()
    for path in chosen:
        failure = run(path, update=arguments.update)
        if failure:
            failures[path.name] = failure
    print(
        f"\n{len(chosen) - len(failures)} of {len(chosen)} labs ran without an error, "
        f"{time.monotonic() - started:.0f} s in all; notebooks and pages are in outputs/"
    )
    for name, failure in failures.items():
        print(f"{name}: {failure}")
    return 1 if failures else 0


def run(path: Path, update: bool) -> str:
    """Execute one notebook, write its results and print its line. Returns what failed, or ""."""
    notebook = nbformat.read(path, as_version=4)
    started = time.monotonic()

    def show(cell, cell_index, **_):
        if sys.stdout.isatty():
            print(f"\r{path.stem}: cell {cell_index + 1} of {len(notebook.cells)}", end="", flush=True)

    # Figures must be in the page itself; the labs never choose a renderer. One thread unless told otherwise: beside
    # anything else that runs, two threads on two cores wait for each other most of the time.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PLOTLY_RENDERER": "notebook", "TQDM_DISABLE": "1"}
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,  # a page would load the widgets from a CDN
        extra_arguments=["--IPKernelApp.log_level=40"],  # no warning about unencrypted loopback connections
        on_cell_execute=show,
    )
    failure = ""
    try:
        client.execute(env=environment)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        index, cell = failed_cell(notebook)
        reason = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
        failure = f"cell {index + 1} ({cell['id']}) failed with {reason.strip()}"

    earned, of, by_hand = points(notebook)
    write_atomically(ROOT / "outputs" / path.name, nbformat.writes(notebook) + "\n")
    write_atomically(ROOT / "outputs" / f"{path.stem}.html", html_page(notebook, path.stem))
    if update and not failure:
        write_atomically(path, nbformat.writes(text_outputs_only(notebook)) + "\n")

    clear = "\r" if sys.stdout.isatty() else ""
    result = f"{earned:g} of {of:g} points" if of else "not graded"
    print(
        f"{clear}{path.stem:34}{time.monotonic() - started:6.0f} s   {result}"
        f"{f' (+{by_hand:g} graded by hand)' if by_hand else ''}   {'FAILED' if failure else 'ok'}",
        flush=True,
    )
    return failure


def failed_cell(notebook: nbformat.NotebookNode) -> tuple[int, nbformat.NotebookNode]:
    """The first cell with an error, or the last one that was started."""
    started = 0
    for index, cell in enumerate(notebook.cells):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            return index, cell
        if cell.get("execution_count"):
            started = index
    return started, notebook.cells[started]


def points(notebook: nbformat.NotebookNode) -> tuple[float, float, float]:
    """Points of the test cells that ran without an error, of all test cells, and of the written answers."""
    earned = of = by_hand = 0.0
    for cell in notebook.cells:
        grading = cell.metadata.get("nbgrader", {})
        if not grading.get("grade"):
            continue
        if grading["solution"]:
            by_hand += grading["points"]
            continue
        of += grading["points"]
        if cell.execution_count and not any(output.output_type == "error" for output in cell.outputs):
            earned += grading["points"]
    return earned, of, by_hand


def text_outputs_only(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook as it is committed: printed text, no figures, no times."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            # where one stream is cut in pieces depends on timing
            if kept and output.output_type == "stream" and kept[-1].get("name") == output.name:
                kept[-1].text += output.text
                continue
            if "data" in output:
                output.data = {kind: value for kind, value in output.data.items() if kind in KEPT_OUTPUTS}
                if not output.data:
                    continue
                output.metadata = {}
            kept.append(output)
        cell.outputs = kept
    notebook.metadata = {key: notebook.metadata[key] for key in ("kernelspec",) if key in notebook.metadata}
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


if __name__ == "__main__":
    sys.exit(main())
