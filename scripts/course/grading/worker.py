"""A worker grades one student after the other, each in a fork of itself, so that what all need is imported once.

    .venv/bin/python -m scripts.course.grading.worker MODULE …

It reads one line for each student (`Worker.grade` writes them), and answers with the process id and, when that has
ended, with its exit status. What a submission left running is ended before the next one begins.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from scripts.course.judging.execute import environment

# What a lab's helpers load as soon as they are used
BEHIND_THE_HELPERS = ("transformer_lens.model_bridge", "ipykernel.kernelapp", "IPython.core.completer")
PR_SET_CHILD_SUBREAPER = 36  # Linux: orphans come to this process, not to init


class Worker:
    """A worker process, started when it is first needed and again if it has ended."""

    def __init__(self, modules: list[str]):
        self.modules = modules
        self._process: subprocess.Popen | None = None

    def grade(self, order: Path, log: Path, mark: str, seconds: float) -> str:
        """Run `one_student` for an order in a fork; its messages go to `log`. Returns "" or how it ended.

        mark: what LAB_GRADING is in the environment of the processes it starts
        """
        try:
            process = self._started()
            request = {"order": str(order), "log": str(log), "mark": mark}
            print(json.dumps(request), file=process.stdin, flush=True)
            pid = int(process.stdout.readline())
            late = not select.select([process.stdout], [], [], seconds)[0]
            if late:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            status = int(process.stdout.readline())
        except (OSError, ValueError):  # the worker itself has ended, and what it says is no number
            self.close()
            return f"its worker ended; see {log}"
        if late:
            return f"it took longer than {seconds:g} s"
        return f"its process ended with status {status}; see {log}" if status else ""

    def _started(self) -> subprocess.Popen:
        if self._process is None or self._process.poll() is not None:
            self._scratch = tempfile.TemporaryDirectory()
            command = [sys.executable, "-m", "scripts.course.grading.worker", *self.modules]
            self._process = subprocess.Popen(
                command,
                text=True,
                cwd=self._scratch.name,
                env=environment(self._scratch.name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # an interrupt at the keyboard is for the command, which ends its workers
            )
        return self._process

    def close(self) -> None:
        """End the worker and whatever it has forked."""
        if self._process is not None:
            end_descendants(self._process.pid)
            self._process.kill()
            self._process.wait()
            self._process = None
            self._scratch.cleanup()


def end_descendants(pid: int) -> None:
    """End all processes below one; new ones that they start meanwhile too."""
    try:
        while below := psutil.Process(pid).children(recursive=True):
            for process in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(below, timeout=1)
            if pid == os.getpid():
                with contextlib.suppress(ChildProcessError):
                    while os.waitpid(-1, os.WNOHANG)[0]:
                        pass
    except psutil.NoSuchProcess:
        pass


def main() -> None:
    modules = sys.argv[1:]
    if "scripts.mech_interp_utils" in modules:
        modules += BEHIND_THE_HELPERS
    for module in modules:
        with contextlib.suppress(Exception):  # a set-up cell that can't import something says so itself
            importlib.import_module(module)
    from scripts.course.grading import one_student

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.collect()
    gc.freeze()  # forks share the memory of what is there now
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _grade(one_student, **request)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        end_descendants(os.getpid())
        print(os.waitstatus_to_exitcode(status), flush=True)


def _grade(one_student, order: str, log: str, mark: str) -> None:
    """Be the process that grades one student. Never returns."""
    status = 1
    try:
        written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(written, 1)
        os.dup2(written, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(Path(order).parent)
        os.environ["LAB_GRADING"] = mark
        one_student.main(order)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
