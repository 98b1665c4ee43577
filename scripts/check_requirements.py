"""Check that the pinned set, with the pins of the lock, resolves where the labs are meant to run.

For each Python of `PYTHONS` on each platform of `PLATFORMS`, with wheels only; and for an NVIDIA container, which has
a torch of its own, everything but torch.

    .venv/bin/python -m scripts.check_requirements            # check; needs the network
    .venv/bin/python -m scripts.check_requirements --write    # write the lock anew, after requirements.txt changed

A version that the lock has already is kept where it can be. Delete the lock to bring all of them up to date.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.interp.base.paths import ROOT

REQUIREMENTS, LOCK = ROOT / "requirements.txt", ROOT / "requirements.lock"
PYTHONS = ("3.12", "3.13", "3.14")
CONTAINER_PYTHON = "3.12"
PLATFORMS = ("aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu", "aarch64-apple-darwin")
# Published as source only, on every platform; pip builds them (they are pure Python).
SOURCE_ONLY = ("transformers-stream-generator", "py2store")


def resolve(*options: str) -> str:
    """Run uv's resolver on requirements.txt and return the pins it found. Raises SystemExit with its reason."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header", *options]
    # uv must see pip's public index alone: a machine's own wheels would end up in a lock meant for all
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    environment["MACOSX_DEPLOYMENT_TARGET"] = "14.0"  # PyTorch publishes nothing for an older macOS
    found = subprocess.run([*command, str(REQUIREMENTS)], text=True, capture_output=True, env=environment)
    if found.returncode != 0:
        sys.exit(f"requirements.txt does not resolve with {' '.join(options)}:\n{found.stderr.strip()}")
    return found.stdout


def lock(old: str) -> str:
    """The pins for every platform and Python 3.10-3.14; those of the old lock where requirements.txt allows them."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "requirements.lock"
        output.write_text(old)  # uv prefers the versions that it finds in the file it is to write
        resolve("--universal", "--python-version", "3.10", "--output-file", str(output))
        return output.read_text()


def check(python: str, platform: str, torch: bool) -> int:
    """Resolve the lock for one Python and platform, wheels only but for SOURCE_ONLY; returns the number of pins."""
    options = ["--python-platform", platform, "--python-version", python]
    options += ["--constraint", str(LOCK), "--only-binary", ":all:"]
    for package in SOURCE_ONLY:
        options += ["--no-binary", package]
    with tempfile.TemporaryDirectory() as folder:
        override = Path(folder) / "override.txt"
        override.write_text("" if torch else "torch ; python_version < '3'\n")  # never true: torch is left out
        pins = [line for line in resolve(*options, "--override", str(override)).splitlines() if "==" in line]
    if not torch and any(pin.startswith(("torch==", "nvidia-", "cuda-")) for pin in pins):
        sys.exit(f"torch or CUDA packages are in the set for {platform} without torch; the container brings its own.")
    return len(pins)


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the pinned set.")
    parser.add_argument("--write", action="store_true", help="write requirements.lock anew")
    if parser.parse_args().write:
        LOCK.write_text(lock(LOCK.read_text() if LOCK.exists() else ""))
        print(f"{LOCK.name} written")
    for platform in PLATFORMS[:2]:
        print(
            f"{platform}, Python {CONTAINER_PYTHON}, without torch: {check(CONTAINER_PYTHON, platform, False)} packages"
        )
    for platform in PLATFORMS:
        for python in PYTHONS:
            print(f"{platform}, Python {python}: {check(python, platform, True)} packages", flush=True)


if __name__ == "__main__":
    main()
