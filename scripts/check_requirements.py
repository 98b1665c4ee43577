"""Check that the pinned set, with the pins of the lock, resolves for CPython 3.12 on aarch64 without torch.

DGX Spark's container brings its own torch for aarch64, so there everything but torch must install.

    python -m scripts.check_requirements            # check; needs the network
    python -m scripts.check_requirements --write    # write requirements.lock anew after requirements.txt changed
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.interp.base.paths import ROOT

REQUIREMENTS, LOCK = ROOT / "requirements.txt", ROOT / "requirements.lock"
# Published as source only, on every platform; pip builds them (they are pure Python).
SOURCE_ONLY = ("transformers-stream-generator", "py2store")


def resolve(*options: str) -> str:
    """Run uv's resolver on requirements.txt and return the pins it found. Raises SystemExit with its reason."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header", *options]
    # uv must see pip's public index alone: a machine's own wheels would end up in a lock meant for all
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    found = subprocess.run([*command, str(REQUIREMENTS)], text=True, capture_output=True, env=environment)
    if found.returncode != 0:
        sys.exit(f"requirements.txt does not resolve with {' '.join(options)}:\n{found.stderr.strip()}")
    return found.stdout


def lock() -> str:
    """The pins for every platform and Python 3.10-3.12."""
    return resolve("--universal", "--python-version", "3.10")


def check_aarch64() -> int:
    """Resolve the lock for DGX Spark, wheels only but for SOURCE_ONLY, torch left out; returns the number of pins."""
    with tempfile.TemporaryDirectory() as folder:
        override = Path(folder) / "override.txt"
        override.write_text("torch ; python_version < '3'\n")  # never true: torch is left out
        options = ["--python-platform", "aarch64-unknown-linux-gnu", "--python-version", "3.12"]
        options += ["--override", str(override), "--constraint", str(LOCK), "--only-binary", ":all:"]
        for package in SOURCE_ONLY:
            options += ["--no-binary", package]
        pins = [line for line in resolve(*options).splitlines() if "==" in line]
    if any(pin.startswith(("torch==", "nvidia-")) for pin in pins):
        sys.exit("torch or CUDA packages are in the aarch64 set; the container brings its own.")
    return len(pins)


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the pinned set.")
    parser.add_argument("--write", action="store_true", help="write requirements.lock anew")
    if parser.parse_args().write:
        LOCK.write_text(lock())
        print(f"{LOCK.name} written")
    print(f"CPython 3.12 on aarch64 without torch: {check_aarch64()} packages resolve")


if __name__ == "__main__":
    main()
