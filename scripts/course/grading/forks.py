"""Processes that begin with everything imported: a nursery forks them from itself.

Importing what a lab needs takes longer than most of its cells. A nursery is a process that has done it, runs nothing
else and holds no thread; it forks a kernel or a clean process whenever its owner asks for one.
"""

import multiprocessing
import os
import signal
import sys
import time
from importlib.metadata import EntryPoint
from multiprocessing.connection import Connection
from typing import Any

import psutil
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

REAP_SECONDS = 0.2  # how often a nursery looks for children that have ended


class ForkFailed(RuntimeError):
    """The nursery has ended and forks nothing any more."""


class Forked:
    """A forked process, with what others expect of a `subprocess.Popen`. Its exit status is not known here: 0."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid
        self.returncode: int | None = None
        self._process = psutil.Process(pid)  # remembers when it began: a later process may get the same number

    def poll(self) -> int | None:
        try:
            running = self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            running = False
        self.returncode = None if running else 0
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.02)
        return 0

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Nursery:
    """Forks processes from a copy of this one as it is now. Make it before anything starts threads or opens sockets."""

    def __init__(self):
        self._connection, other = multiprocessing.Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._connection.close()
                _serve(other)
            finally:
                os._exit(1)
        other.close()

    def kernel(self, connection_file: str, folder: str, environment: dict[str, str]) -> Forked:
        """A kernel that listens where `connection_file` says. Raises ForkFailed."""
        return self._fork("kernel", (connection_file,), folder, environment)

    def judged(self, job: dict[str, Any], seconds: float, folder: str, environment: dict[str, str]) -> bytes:
        """What a clean process (`scripts.course.judging.clean_process`) finds for a job, as it would write it.

        seconds: after which it is ended. Returns nothing but b"" if it ended without a word. Raises ForkFailed.
        """
        process = self._fork("judge", (job,), folder, environment)
        deadline = time.monotonic() + seconds
        while not self._connection.poll(0.05):
            if process.poll() is not None and not self._connection.poll(0):
                return b""
            if time.monotonic() > deadline:
                process.kill()
        try:
            return self._connection.recv_bytes()
        except EOFError as error:
            raise ForkFailed("the nursery has ended") from error

    def _fork(self, what: str, arguments: tuple, folder: str, environment: dict[str, str]) -> Forked:
        try:
            self._connection.send((what, arguments, folder, environment))
            return Forked(self._connection.recv())
        except (EOFError, OSError, psutil.NoSuchProcess) as error:
            raise ForkFailed("the nursery has ended") from error

    def close(self) -> None:
        """End the nursery; what it has forked goes on."""
        self._connection.close()
        os.waitpid(self.pid, 0)


def _serve(owner: Connection) -> None:
    """Fork until the owner hangs up. Never returns."""
    while True:
        _reap()
        if not owner.poll(REAP_SECONDS):
            continue
        try:
            what, arguments, folder, environment = owner.recv()
        except EOFError:
            os._exit(0)
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(tell)
                os.read(told, 1)  # until the owner has been told the process id: nothing else may be written before
                os.close(told)
                os.setsid()
                os.chdir(folder)
                os.environ.clear()
                os.environ.update(environment)
                silence(0, 1, 2)
                if what == "kernel":
                    owner.close()
                    _be_kernel(*arguments)
                else:
                    _judge(owner, *arguments)
            finally:
                os._exit(1)
        os.close(told)
        owner.send(pid)
        os.close(tell)


def silence(*descriptors: int) -> None:
    """Let these descriptors read nothing and write nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _be_kernel(connection_file: str) -> None:
    from ipykernel.kernelapp import IPKernelApp

    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # as where a kernel is started anew
    sys.argv = ["ipykernel_launcher", "-f", connection_file]
    IPKernelApp.launch_instance(sys.argv[1:], parent_handle=os.getppid())  # it ends with the nursery
    os._exit(0)


def _judge(owner: Connection, job: dict[str, Any]) -> None:
    from scripts.course.judging.clean_process import run_job

    owner.send_bytes(run_job(job, owner.fileno()))
    os._exit(0)


class NurseryProvisioner(LocalProvisioner):
    """Lets jupyter_client start kernels in `nursery`."""

    nursery: Nursery

    async def launch_kernel(self, cmd: list[str], **options: Any) -> dict[str, Any]:
        self.process = self.nursery.kernel(self.parent.connection_file, options["cwd"], options["env"])
        self.pid = self.pgid = self.process.pid  # it leads a session of its own
        return self.connection_info


def start_kernels_in(nursery: Nursery) -> None:
    """From now on, kernels that this process starts are forked by the nursery."""
    NurseryProvisioner.nursery = nursery
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["nursery"] = EntryPoint("nursery", f"{__name__}:NurseryProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "nursery"
