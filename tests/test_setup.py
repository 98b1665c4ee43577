"""Set-up, doctor and JupyterLab, as a person meets them; and that the pins and the lock agree."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from scripts import check_requirements
from scripts.course.student_half import student_half
from scripts.interp.base.paths import ROOT

AS_PYTHON = (
    "import runpy, sys; sys.version_info = {version}; "
    "runpy.run_module('scripts.setup_environment', run_name='__main__')"
)


@pytest.fixture
def clone(tmp_path):
    """The files that set-up reads, in a folder of their own, where nothing can be installed from."""
    (tmp_path / "scripts").mkdir()
    for name in ("__init__", "setup_environment", "existing_environment", "offline_wheels", "system_torch", "doctor"):
        shutil.copy(ROOT / "scripts" / f"{name}.py", tmp_path / "scripts")
    for name in ("requirements.txt", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run(folder, *command, **environment):
    nothing = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_CONFIG_FILE": os.devnull,
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        text=True,
        capture_output=True,
        env={**os.environ, **nothing, **environment},
    )


@pytest.mark.parametrize("version", ["(3, 9, 18)", "(3, 15, 0)"])
def test_another_python_is_refused_with_what_to_do(clone, version):
    found = run(clone, "-c", AS_PYTHON.format(version=version))
    assert found.returncode == 1 and "Python 3.10 to 3.14 is needed" in found.stderr
    assert "make PYTHON3=" in found.stderr and "Traceback" not in found.stderr
    assert not (clone / ".venv").exists()


def test_a_failed_installation_says_why_and_does_not_count_as_done(clone):
    found = run(clone, "-m", "scripts.setup_environment", "pinned")
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "pip could not install PyTorch" in found.stderr and "torch==" in found.stderr
    assert not (clone / ".venv" / "setup.stamp").exists()
    again = run(clone, "-m", "scripts.setup_environment", "pinned")
    assert again.returncode == 1 and "pip could not install PyTorch" in again.stderr


def test_a_finished_set_up_returns_at_once_until_something_changes(clone):
    code = "from scripts import setup_environment as s; s.create_environment(); s.STAMP.write_text(s.fingerprint())"
    assert run(clone, "-c", code).returncode == 0
    started = time.monotonic()
    found = run(clone, "-m", "scripts.setup_environment", "pinned")
    assert found.returncode == 0 and found.stdout == "" and time.monotonic() - started < 5
    with (clone / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    assert (
        run(clone, "-m", "scripts.setup_environment", "pinned").returncode == 1
    )  # it tries to install again, from nowhere


def test_every_direct_pin_stands_in_the_lock():
    lock = (ROOT / "requirements.lock").read_text()
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line and line[0] != "#"]
    assert len(pins) > 15
    for pin in pins:
        name, version = re.match(r"([\w.-]+)==([\w.]+)", pin).groups()
        assert re.search(rf"^{re.escape(name)}=={re.escape(version)}( |$)", lock, re.M), f"{pin} is not in the lock"
        # a package with several versions has a pin for each of them
        versions = re.findall(rf"^{re.escape(name)}==([\w.]+)", lock, re.M)
        assert len(versions) == sum(other.startswith(f"{name}==") for other in pins), f"{name} {versions}"


def test_a_new_lock_keeps_the_versions_of_the_old_one(monkeypatch):
    """uv prefers what it finds in the file that it is to write."""

    def resolve(*options):
        output = Path(options[options.index("--output-file") + 1])
        output.write_text(output.read_text() + "new==1.0\n")
        return ""

    monkeypatch.setattr(check_requirements, "resolve", resolve)
    assert check_requirements.lock("old==0.9\n") == "old==0.9\nnew==1.0\n"


# What is imported under another name than it is installed under
INSTALLED_AS = {"IPython": "ipython", "yaml": "pyyaml", "dateutil": "python-dateutil"}
OURS = {"scripts", "tests", "fixtures_gpt2", "conftest"}


def imported_packages(sources: list[tuple[str, str]]) -> dict[str, str]:
    """Every package that code imports, standard library aside, and the name of a source that does."""
    found = {}
    for path, source in sources:
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            found.update({name.partition(".")[0]: path for name in names})
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names | OURS}


def code_of(path: str, text: str) -> list[tuple[str, str]]:
    """The code of a module, or of each cell of a notebook, with its path."""
    if path.endswith(".py"):
        return [(path, text)]
    cells = json.loads(text)["cells"] if path.endswith(".ipynb") else []
    return [(path, "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]


def not_pinned(imported: dict[str, str], requirements: str) -> dict[str, str]:
    pinned = re.findall(r"^([\w.-]+)==", requirements, re.M)
    return {
        name: path for name, path in imported.items() if INSTALLED_AS.get(name, name.replace("_", "-")) not in pinned
    }


def test_everything_that_is_imported_is_a_direct_requirement():
    files = [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / "conftest.py"]
    files += (ROOT / "solutions").glob("*.ipynb")
    sources = [code for path in files for code in code_of(str(path), path.read_text(encoding="utf-8"))]
    imported = imported_packages(sources)
    assert {"torch", "numpy", "IPython", "nbgrader"} <= imported.keys()
    missing = not_pinned(imported, (ROOT / "requirements.txt").read_text())
    assert not missing, "pin them in requirements.txt with the versions of requirements.lock"


def test_what_students_install_is_all_that_their_half_imports():
    """And no more than that is left out: what tests, style and the site need is for instructors only."""
    files = {name: content for name, content in student_half().items() if name.endswith((".py", ".ipynb", ".txt"))}
    imported = imported_packages([code for name in files for code in code_of(name, files[name].decode("utf-8"))])
    theirs = files["requirements.txt"].decode("utf-8")
    assert {"torch", "numpy", "sae_lens", "nbgrader"} <= imported.keys() and "jupyterlab==" in theirs
    missing = not_pinned(imported, theirs)
    assert not missing, "their half runs without what requirements.txt has for instructors only"
    for package in ("pytest", "nbval", "beartype", "ruff", "uv", "playwright"):
        assert f"{package}==" not in theirs


def test_doctor_finds_this_environment_in_order():
    found = subprocess.run([sys.executable, "-m", "scripts.doctor"], cwd=ROOT, text=True, capture_output=True)
    assert found.returncode == 0, found.stdout
    assert re.search(r"ok +embedded model +ready", found.stdout) and "torch" in found.stdout


def test_doctor_says_what_is_missing_in_a_fresh_clone(clone):
    found = run(clone, "-m", "scripts.doctor")
    assert found.returncode == 1
    assert re.search(r"!! +set-up +not done yet: run `make lab`", found.stdout)


def page_at(address: str) -> bytes:
    """What a server answers; it prints its address a moment before it listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as page:
                return page.read()
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def test_jupyterlab_prints_its_address_when_there_is_no_display(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment.update(HOME=str(tmp_path), JUPYTER_RUNTIME_DIR=str(tmp_path / "runtime"))
    other = tmp_path / "jupyter-lab"  # of another environment, which is active
    other.write_text("#!/bin/sh\necho not this one\n")
    other.chmod(0o755)
    environment["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    server = subprocess.Popen(
        [sys.executable, "-m", "scripts.start_jupyterlab", "--port=0", "--ip=127.0.0.1"],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    printed = ""
    try:
        for line in server.stdout:
            printed += line
            address = re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", line)
            if address:
                break
        assert address, printed
        assert b"JupyterLab" in page_at(address.group())
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    assert "No display here" in printed
