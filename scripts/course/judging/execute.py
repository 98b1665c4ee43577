"""Execute a notebook that may hold anything: endless loops, floods of output, cells that end their kernel."""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Callable

from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from scripts.course.cells import clear_outputs, grade_id
from scripts.course.judging.clean_process import ENDED
from scripts.course.judging.installers import asked, kept_out

# A cell that writes more is interrupted. A figure that carries plotly.js has 5 MB; nobody reads 1 MB of text.
MAX_TEXT, MAX_SHOWN = 1_000_000, 20_000_000
KEPT_CHARACTERS = 20_000  # printed text kept of one cell
SETUP_SECONDS = 300  # the set-up cell is ours, and its imports take long on a busy machine


def environment(scratch: str) -> dict[str, str]:
    """Environment of a process that runs students' code: our Python first, one thread, no start-up files.

    scratch: a folder for what the process writes; stand-ins for installers are put there
    """
    # Where PYTEST_CURRENT_TEST is set, ipykernel shows what child processes print in another way than in a class.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return {
        **inherited,
        **kept_out(scratch),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",  # nobody watches a progress bar
        "LAB_OUTPUTS": os.path.join(scratch, "outputs"),  # what a lab saves must not overwrite the grader's own
        "PLOTLY_RENDERER": "plotly_mimetype",  # no copy of plotly.js in every student's notebook
        "IPYTHONDIR": scratch,  # neither this user's start-up files nor what an earlier submission left there
    }


def execute(
    notebook: NotebookNode,
    cell_seconds: float,
    total_seconds: float = float("inf"),
    show: Callable[[int], None] = lambda index: None,
    installs: Callable[[int, str], None] = lambda index, command: None,
) -> dict[int, str]:
    """Run the cells in order; an error in one does not stop the others. Outputs land in the notebook.

    cell_seconds: limit for each cell but the set-up cell; total_seconds: limit for all of them; show: told of each cell
    before it runs; installs: told of each command that a cell gave an installer, which did nothing. Returns what
    went wrong beyond ordinary errors, as sentences without a subject, by cell index. What the notebook held of an
    earlier run goes first: after a cell that ended the kernel the others stay without outputs and execution count.
    """
    clear_outputs(notebook)
    incidents: dict[int, str] = {}
    told = 0
    deadline = time.monotonic() + total_seconds
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        client = _Client(notebook)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # of the process, not of its cells
        with client.setup_kernel(env=environment(scratch), cwd=scratch, **quiet):
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type != "code" or not cell.source.strip():
                    continue
                limit = SETUP_SECONDS if grade_id(cell) == "setup" else cell_seconds
                client.begin(min(limit, max(1.0, deadline - time.monotonic())))
                show(index)
                try:
                    client.execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
                    dead = time.monotonic() > deadline
                except DeadKernelError:
                    dead, client.incident = True, client.incident or ENDED
                except CellTimeoutError:
                    dead = True
                    client.incident = f"took longer than {client.seconds:g} s and could not be interrupted"
                _shorten(cell)
                for command in asked(scratch)[told:]:
                    installs(index, command)
                    told += 1
                incident = client.incident or _out_of_memory(cell)
                if incident:
                    incidents[index] = incident
                if dead:
                    incidents.setdefault(index, f"was the last to run: the limit of {total_seconds:g} s was reached")
                    break
    return incidents


class _Client(NotebookClient):
    """A client that stops cells which run or print for too long."""

    def __init__(self, notebook: NotebookNode):
        super().__init__(
            notebook,
            kernel_name="python3",
            allow_errors=True,
            interrupt_on_timeout=True,
            startup_timeout=SETUP_SECONDS,
            shutdown_kernel="immediate",
            error_on_timeout={"ename": "CellTimeoutError", "evalue": "", "traceback": []},
            # an interrupted cell that is not idle after this many seconds ignores interrupts
            iopub_timeout=10,
            raise_on_iopub_timeout=True,
            coalesce_streams=True,
            timeout_func=lambda cell: self.seconds,
        )
        self.begin(0)

    def begin(self, seconds: float) -> None:
        self.seconds, self.text, self.shown, self.incident = seconds, 0, 0, ""

    async def _async_handle_timeout(self, timeout, cell=None):
        self.incident = f"took longer than {self.seconds:g} s and was stopped"
        return await super()._async_handle_timeout(timeout, cell)

    def process_message(self, msg, cell, cell_index):
        content = msg["content"]
        if msg["msg_type"] == "stream":
            self.text += len(content["text"])
        elif msg["msg_type"] in ("display_data", "update_display_data", "execute_result", "error"):
            self.shown += len(repr(content))
        if self.text > MAX_TEXT or self.shown > MAX_SHOWN:
            if not self.incident:
                self.incident = "wrote too much output and was stopped"
                asyncio.ensure_future(self.km.interrupt_kernel())
            if msg["msg_type"] == "error":
                content.update(evalue=content["evalue"][:KEPT_CHARACTERS], traceback=[])
            elif "data" in content or "text" in content:
                return None
        return super().process_message(msg, cell, cell_index)


def error_of(cell: NotebookNode) -> NotebookNode | None:
    """The error that a cell stopped with, as its notebook shows it."""
    return next((output for output in cell.get("outputs", []) if output.output_type == "error"), None)


def _shorten(cell: NotebookNode) -> None:
    for output in cell.outputs:
        if output.output_type == "stream" and len(output.text) > KEPT_CHARACTERS:
            output.text = (
                output.text[:KEPT_CHARACTERS] + f"\n[{len(output.text) - KEPT_CHARACTERS} characters left out]\n"
            )
        if output.output_type == "error":
            output.evalue = output.evalue[:KEPT_CHARACTERS]
            output.traceback = [line[:KEPT_CHARACTERS] for line in output.traceback[-50:]]


def _out_of_memory(cell: NotebookNode) -> str:
    error = error_of(cell)
    if error and (error.ename == "MemoryError" or "allocate memory" in error.evalue):
        return "ran out of memory"
    return ""
