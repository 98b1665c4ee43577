"""Writing files."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a kill, never meets half of it."""
    with open_atomically(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """The same for what is written in pieces: the file is there, whole, once the block has ended without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o644)  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Inside, this process alone works in a folder, which is created if need be. Raises ValueError where another does.

    The system ends it with the process, however that ends, and no file is left. Where a system or a file system has no
    such locks, nobody is refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(f"Another process is at work in {folder}: start this again when it has ended.") from None
    except OSError:  # some file systems in a network can't lock folders
        pass
    try:
        yield
    finally:
        os.close(handle)
