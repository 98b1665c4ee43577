"""Create `.venv` and install the pinned requirements and this project into it. Needs Python 3.10-3.12 and pip only.

Run it through `make`; a second run finds that nothing has changed and returns at once.
"""

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
LOG = VENV / "setup.log"
STAMP = VENV / "setup.stamp"


class SetupFailed(Exception):
    """Set-up can't go on; the message says what is missing and what to do."""


def fingerprint() -> str:
    """A hash of everything that decides what gets installed, and where."""
    digest = hashlib.sha256(f"{sys.version}{ROOT}".encode())
    for name in ("requirements.txt", "requirements.lock", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def pinned(package: str) -> str:
    """The line of requirements.txt that pins `package`."""
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.strip()
    raise SetupFailed(f"requirements.txt does not pin {package}: restore the file (git checkout requirements.txt).")


def pip(step: str, *arguments: str) -> None:
    """Run `pip install` in the new environment, showing one line that counts packages, with the rest in the log."""
    started = time.monotonic()
    collected = 0
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    with LOG.open("a") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        for line in process.stdout:
            log.write(line)
            collected += line.startswith("Collecting ")
            if sys.stdout.isatty():
                print(f"\r  {step}: {collected} packages", end="", flush=True)
    if process.wait() != 0:
        errors = [line for line in LOG.read_text().splitlines() if "ERROR" in line or "error:" in line]
        raise SetupFailed(
            f"pip could not install {step} ({errors[-1].strip() if errors else 'no reason given'}). "
            f"Check the network, the disk and {LOG.relative_to(ROOT)}, then run the same command again."
        )
    end = "\r" if sys.stdout.isatty() else ""
    print(f"{end}  {step}: done in {time.monotonic() - started:.0f} s" + " " * 20, flush=True)


def create_environment() -> None:
    """Make an empty `.venv` with pip, replacing one that is broken or belongs to another Python."""
    if VENV.exists():
        shutil.rmtree(VENV)
    result = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], text=True, capture_output=True, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        raise SetupFailed(
            f"{sys.executable} could not create a virtual environment with pip in it. On Debian or Ubuntu install "
            f"python{sys.version_info[0]}.{sys.version_info[1]}-venv, then run the same command again. "
            f"It said: {(result.stderr or result.stdout).strip()[-300:]}"
        )


def same_python() -> bool:
    """Whether `.venv` runs, and with the same Python version as this script."""
    try:
        found = subprocess.run(
            [str(PYTHON), "-c", "import sys, pip; print(sys.version)"], text=True, capture_output=True
        )
    except OSError:
        return False
    return found.returncode == 0 and found.stdout.strip() == sys.version.strip()


def main() -> None:
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        raise SetupFailed(
            f"Python 3.10, 3.11 or 3.12 is needed; this is {sys.version.split()[0]} at {sys.executable}. "
            "Install one of them, or name it: make PYTHON3=/path/to/python3.11"
        )
    if STAMP.exists() and STAMP.read_text() == fingerprint() and same_python():
        return
    print("Setting up .venv (once; a few minutes, most of it downloading)", flush=True)
    if not same_python():
        create_environment()
    STAMP.unlink(missing_ok=True)
    # torch by its exact pin and first: an open range can pull several gigabytes of CUDA packages instead.
    pip("PyTorch", pinned("torch"))
    pip("the labs' packages", "-r", "requirements.txt", "-c", "requirements.lock")
    # setuptools came with torch, so this step needs no network and no isolated build
    pip("this project", "--no-deps", "--no-build-isolation", "-e", ".")
    STAMP.write_text(fingerprint())


if __name__ == "__main__":
    try:
        main()
    except (SetupFailed, OSError) as error:
        sys.exit(f"Set-up stopped: {error}")
