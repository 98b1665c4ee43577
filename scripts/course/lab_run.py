"""Execute one solved lab and write it as a notebook and as an HTML page."""

import os
import time
from pathlib import Path
from threading import Event

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from scripts.course.cells import clear_outputs
from scripts.course.pages import html_page
from scripts.interp.base.errors import in_short
from scripts.interp.base.files import write_atomically

CELL_TIMEOUT = 600  # seconds
START_TIMEOUT = 300  # seconds until a kernel answers
OUTPUT_TIMEOUT = 60  # seconds until a cell that ended has shown its outputs; nbclient's 4 are few on a busy machine
KEPT_OUTPUTS = {"text/plain"}  # what a committed notebook keeps: a figure would add megabytes and never compares equal


class LabRun:
    """One lab: what is to be done with it, where it is, and how it ended."""

    def __init__(self, path: Path, outputs: Path, update: bool):
        """path: the solved lab; outputs: where its results go; update: write text outputs back to `path` too."""
        self.path, self.outputs, self.update = path, outputs, update
        self.state = "waiting"  # then the cell it is at, then its points, then that it failed or is ok
        self.started = self.ended = 0.0  # by time.monotonic(); 0 as long as it hasn't
        self.failure = ""  # what failed, in a sentence

    @property
    def line(self) -> str:
        """Name, seconds so far, and where it is or how it ended."""
        seconds = f"{(self.ended or time.monotonic()) - self.started:.0f} s" if self.started else ""
        return f"{self.path.stem:34}{seconds:>8}   {self.state}"

    def run(self, stop: Event) -> None:
        """Execute the lab and write its results. Whatever goes wrong is its failure and no other lab's.

        After `stop` is set, what happened to the kernel says nothing about the lab, and nothing is written.
        """
        if stop.is_set():
            return
        self.started = time.monotonic()
        result = "not run"
        try:
            notebook = nbformat.read(self.path, as_version=4)
            self.failure = self._execute(notebook)
            if stop.is_set():
                return
            result = points(notebook)
            write_atomically(self.outputs / self.path.name, nbformat.writes(notebook) + "\n")
            write_atomically(self.outputs / f"{self.path.stem}.html", html_page(notebook, self.path.stem))
            if self.update and not self.failure:
                write_atomically(self.path, nbformat.writes(text_outputs_only(notebook)) + "\n")
        except Exception as error:  # no notebook, no kernel, no disk
            self.failure = in_short(error)
        self.ended = time.monotonic()
        self.state = f"{result}   {'FAILED' if self.failure else 'ok'}"

    def _execute(self, notebook: nbformat.NotebookNode) -> str:
        """Run the cells; their outputs land in the notebook, in place of those it held. Returns what failed, or ""."""
        clear_outputs(notebook)
        index = 0

        def show(cell, cell_index, **_):
            nonlocal index
            index = cell_index
            self.state = f"cell {cell_index + 1} of {len(notebook.cells)}"

        # Figures must be in the page itself; the labs never choose a renderer. One thread unless told otherwise:
        # beside anything else that runs, two threads on two cores wait for each other most of the time.
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PLOTLY_RENDERER": "notebook", "TQDM_DISABLE": "1"}
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            resources={"metadata": {"path": str(self.path.parent)}},
            store_widget_state=False,  # a page would load the widgets from a CDN
            extra_arguments=["--IPKernelApp.log_level=40"],  # no warning about unencrypted loopback connections
            on_cell_execute=show,
            startup_timeout=START_TIMEOUT,
            iopub_timeout=OUTPUT_TIMEOUT,
            raise_on_iopub_timeout=True,  # rather than a notebook that lacks outputs
        )
        self.state = f"cell 1 of {len(notebook.cells)}"
        try:
            client.execute(env=environment)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            reason = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
            return f"cell {index + 1} ({notebook.cells[index]['id']}) failed with {reason.strip()}"
        return ""


def points(notebook: nbformat.NotebookNode) -> str:
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
    result = f"{earned:g} of {of:g} points" if of else "not graded"
    return result + (f" (+{by_hand:g} graded by hand)" if by_hand else "")


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
