"""Set-up where there is a `.venv` already: one that works is removed only where somebody asked for that.

Nothing is installed, and what makes a `.venv` leaves a file instead. The Python that made the one that is there is a
virtual environment that gives another version.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.interp.base.paths import ROOT

OLD = "3.11.0 (an older one)"
HERE = f"3.{sys.version_info[1]}"
SET_UP = """
import sys, time
from scripts import setup_environment as s
def create(way):
    print("made", flush=True)
    (s.VENV / "new").touch()
    while (s.ROOT / "go-slow").exists():
        time.sleep(0.02)
s.create_environment, s.pip = create, lambda step, *arguments: print(step)
s.cuda_of_torch = lambda: "{cuda}"
if __name__ == "__main__":
    try:
        s.main(sys.argv[1:])
    except s.SetupFailed as error:
        sys.exit(f"Set-up stopped: {{error}}")
"""
INSTALLED = "PyTorch\nthe labs' packages\nthis project\n"


def environment_at(folder: Path, version: str | None = OLD) -> Path:
    """A virtual environment with pip, whose Python gives a version. Returns the path of that Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/*/site-packages")
    (site / "pip").symlink_to(Path(importlib.util.find_spec("pip").origin).parent)
    if version:
        (site / "sitecustomize.py").write_text(f"import sys\nsys.version = {version!r}\n")
    return folder / "bin/python"


@pytest.fixture
def clone(tmp_path):
    """The files that set-up reads, and a finished `.venv` that another Python made, by that Python's own set-up."""
    (tmp_path / "scripts").mkdir()
    needed = (ROOT / "scripts" / f"{name}.py" for name in ("__init__", "system_torch", "doctor", "offline_wheels"))
    for path in (*needed, ROOT / "scripts/existing_environment.py", ROOT / "scripts/setup_environment.py"):
        shutil.copy(path, tmp_path / "scripts")
    for name in ("requirements.txt", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    old = environment_at(tmp_path / "old")
    environment_at(tmp_path / ".venv")
    (tmp_path / ".venv/theirs").touch()
    record(tmp_path, torch="pinned", asked=False, python=str(old), finished=True)
    stamp = "from scripts import setup_environment as s; s.STAMP.write_text(s.fingerprint('pinned'))"
    subprocess.run([old, "-c", stamp], cwd=tmp_path, check=True)
    return tmp_path


def record(clone: Path, **what) -> None:
    (clone / ".venv/setup.json").write_text(json.dumps(what))


def start(clone, *arguments, python=sys.executable, cuda="", **environment):
    """Set-up by the Python that is first on the PATH."""
    (clone / "set_up.py").write_text(SET_UP.format(cuda=cuda))
    return subprocess.Popen(
        [python, "set_up.py", *arguments],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "nowhere", **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def set_up(clone, *arguments, **how) -> tuple[str, str]:
    """What it prints, and what it says when it stops."""
    process = start(clone, *arguments, **how)
    printed, error = process.communicate(timeout=60)
    assert process.returncode == bool(error), error
    return printed, error


def kept(clone) -> bool:
    return (clone / ".venv/theirs").exists() and not (clone / ".venv/new").exists()


def test_another_python_on_the_path_leaves_a_working_environment_alone(clone):
    assert set_up(clone) == ("", "") and kept(clone)
    # nor does a PyTorch that its Python has by now change the way
    assert set_up(clone, python=str(clone / "old/bin/python"), cuda="13.0") == ("", "") and kept(clone)
    assert set_up(clone, python=str(clone / ".venv/bin/python")) == ("", "") and kept(clone)
    with (clone / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    for _ in range(2):  # it goes on with the same one after a failure, too
        printed, error = set_up(clone)
        assert "Setting up .venv" in printed and "pip could not install PyTorch" in error and kept(clone)
    printed, error = set_up(clone, python=str(clone / "old/bin/python"))
    assert printed.endswith(INSTALLED) and not error and kept(clone)
    assert set_up(clone) == ("", "")


def test_it_goes_on_with_the_environments_own_python_where_the_recorded_one_is_gone(clone):
    shutil.rmtree(clone / ".venv")
    environment_at(clone / ".venv", version=None)  # its base is the one that runs this: it has to give that version
    (clone / ".venv/theirs").touch()
    record(clone, torch="pinned", asked=False, python="/gone/python", finished=True)
    _, error = set_up(clone, python=str(clone / "old/bin/python"))
    assert "pip could not install PyTorch" in error and kept(clone)


def test_naming_another_python_or_another_way_is_asking(clone):
    printed, error = set_up(clone, "--this-python")
    old, new = clone / "old/bin/python", sys.version.split()[0]
    replaced = f".venv, made with Python 3.11.0 at {old}, is replaced: PYTHON3 names {new} at {sys.executable}."
    assert replaced in printed and printed.endswith("made\n" + INSTALLED) and not kept(clone) and not error


def test_the_same_python_by_another_name_replaces_nothing(clone):
    other = environment_at(clone / "another")
    assert set_up(clone, "--this-python", python=str(other)) == ("", "") and kept(clone)


def test_asking_for_another_way_replaces(clone):
    record(clone, torch="system", asked=False, python=str(clone / "old/bin/python"), finished=True)
    (clone / ".venv/setup.stamp").write_text("that of the system's way")
    printed, _ = set_up(clone, "pinned", python=str(clone / "old/bin/python"))
    assert ".venv, set up with TORCH=system, is replaced: TORCH=pinned was asked for." in printed
    assert not kept(clone) and json.loads((clone / ".venv/setup.json").read_text())["asked"] is True


def test_what_was_never_finished_or_does_not_run_is_made_anew_with_a_word(clone):
    old = str(clone / "old/bin/python")
    (clone / ".venv/setup.stamp").unlink()
    record(clone, torch="pinned", asked=False, python=old, finished=False)
    printed, _ = set_up(clone, python=old)
    assert "anew" not in printed and kept(clone)  # the same Python goes on where it stopped
    (clone / ".venv/setup.stamp").unlink()
    record(clone, torch="pinned", asked=False, python=old, finished=False)
    printed, _ = set_up(clone)
    assert ".venv is made anew with Python" in printed and "set-up had not finished with 3.11.0." in printed
    printed, _ = set_up(clone)  # no Python at all in what the stand-in made
    assert ".venv is made anew: making it was stopped, or its Python does not run any more." in printed


def test_a_python_that_became_another_one_is_no_working_environment(clone):
    """As where the system's Python is upgraded: `.venv/bin/python` runs, and sees none of the packages."""
    (site,) = (clone / ".venv").glob("lib/*")
    site.rename(clone / ".venv/lib/python3.9")
    printed, _ = set_up(clone)
    assert "or its Python does not run any more" in printed and not kept(clone)


def test_somebodys_own_environment_is_not_removed(clone):
    (clone / ".venv/setup.json").unlink()
    (clone / ".venv/setup.stamp").unlink()
    printed, _ = set_up(clone, python=str(clone / "old/bin/python"))
    assert printed.endswith(INSTALLED) and kept(clone)
    for name in ("json", "stamp"):
        (clone / f".venv/setup.{name}").unlink()
    next((clone / ".venv").glob("lib/*/site-packages/pip")).unlink()
    _, error = set_up(clone, "--this-python")
    assert "rename it, or delete it with `make clean`" in error and kept(clone)


def test_of_two_set_ups_the_second_waits_and_a_killed_one_leaves_no_lock(clone):
    shutil.rmtree(clone / ".venv")
    (clone / "go-slow").touch()
    killed = start(clone)
    assert "Setting up" in killed.stdout.readline() and killed.stdout.readline() == "made\n"
    second = start(clone)
    assert "Another set-up of this .venv is at work: waiting" in second.stdout.readline()
    time.sleep(0.3)
    assert second.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert "Setting up" in second.stdout.readline()
    assert "is made anew: making it was stopped" in second.stdout.readline() and second.stdout.readline() == "made\n"
    third = start(clone)
    assert "Another set-up" in third.stdout.readline()
    environment_at(clone / ".venv", version=None)  # what the second one makes
    (clone / "go-slow").unlink()
    assert second.communicate(timeout=60) == (INSTALLED, "") and second.returncode == 0
    assert third.communicate(timeout=60) == ("", "") and third.returncode == 0  # it found everything done


def test_a_finished_environment_needs_no_lock_where_nothing_can_be_written(clone):
    (clone / ".venv.lock").mkdir()
    assert set_up(clone) == ("", "")


@pytest.mark.parametrize("how", ["on the command line", "in the environment", "on the PATH", "in .venv alone"])
def test_make_says_whether_somebody_named_the_python(tmp_path, how):
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    python = tmp_path / (".venv/bin/python" if how == "in .venv alone" else "bin/python3")
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PATH": str(tmp_path / "bin")}
    (tmp_path / "bin").mkdir(exist_ok=True)
    if how == "in the environment":
        environment["PYTHON3"] = str(python)
    command = [shutil.which("make"), "--no-print-directory", "setup", "TORCH=pinned"]
    command += [f"PYTHON3={python}"] if how == "on the command line" else []
    said = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
    named = " --this-python" if how in ("on the command line", "in the environment") else ""
    assert said.stdout == f"-m scripts.setup_environment pinned{named}\n", said.stderr


def doctor(clone, **environment) -> str:
    command = [sys.executable, "-m", "scripts.doctor"]
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=clone, env=environment, text=True, capture_output=True).stdout


def test_doctor_says_that_another_python_on_the_path_does_not_matter(clone):
    old = clone / "old/bin/python"
    line = f"ok  Python of .venv  3.11.0 at {old}: it goes on with that one, so the difference doesn't matter\n"
    assert line in doctor(clone)
    shutil.rmtree(clone / ".venv")
    assert "Python of .venv" not in doctor(clone)


def torch_wheels(clone, *tags: str) -> dict[str, str]:
    """A folder as `make bundle` writes it, and what the Makefile sets there."""
    shutil.rmtree(clone / "wheels", ignore_errors=True)
    (clone / "wheels").mkdir()
    for tag in tags:
        (clone / f"wheels/torch-2.13.0+cpu-{tag}.whl").touch()
    return {"PIP_FIND_LINKS": "wheels"}


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the wheels here are named for Linux")


@LINUX
def test_set_up_and_doctor_say_for_which_python_the_wheels_are(clone):
    shutil.rmtree(clone / ".venv")
    machine = platform.machine()
    bundle = torch_wheels(clone, f"cp39-cp39-manylinux_2_28_{machine}")
    printed, error = set_up(clone, **bundle)
    assert re.fullmatch(
        rf"Set-up stopped: The packages in wheels/ are for Python 3\.9 on Linux {machine}; this is Python {HERE} on "
        rf"Linux {machine}, at \S+python\S*\. Install Python 3\.9 if it is not here, and name it: make lab "
        r"PYTHON3=python3\.9\n",
        error,
    )
    assert printed == "" and not (clone / ".venv").exists()
    assert f"!!  wheels/          {error[len('Set-up stopped: ') :]}" in doctor(clone, **bundle)
    _, error = set_up(clone, **torch_wheels(clone, f"cp3{sys.version_info[1]}-none-macosx_11_0_arm64"))
    assert f"Python {HERE} on macOS arm64; this" in error and "Ask whoever gave you this folder" in error


@LINUX
def test_a_bundle_for_this_python_is_installed_and_what_fails_blames_no_network(clone):
    python = f"cp3{sys.version_info[1]}"
    bundle = torch_wheels(clone, "cp39-cp39-manylinux_2_28_x86_64", f"{python}-{python}-linux_{platform.machine()}")
    with (clone / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    _, error = set_up(clone, **bundle)  # by the Python that made `.venv`, so pip runs: and the wheel is empty
    assert "pip could not install PyTorch" in error and "network" not in error
    assert "Check that wheels/ is whole (START-HERE.txt says how), the disk and .venv/setup.log" in error
