"""Set-up around a PyTorch that is there, as in NVIDIA's containers, with stand-ins for the packages and the system.

The system is a virtual environment with a `torch` of NVIDIA's version that holds nothing, a numpy and a constraint
file; the labs' requirements are a handful of wheels made here.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.interp.base.paths import ROOT

TORCH = "2.10.0a0+b558c98.nv25.11"
SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
REQUIREMENTS = "torch==2.13.0\nnumpy==2.5.5\nscipy==1.18.1\nlens==3.0\npanel==4.6\n"
LOCK = REQUIREMENTS + "small==1.0\nsetuptools==84.0\npyarrow==26.0\n"
# builds this project's wheel, as setuptools does
BACKEND = """
import zipfile
def build_editable(folder, settings=None, metadata=None):
    name = "labs-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("labs-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: labs\\nVersion: 1.0\\n")
        wheel.writestr("labs-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("labs-1.0.dist-info/RECORD", "")
    return name
"""


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def contents(name: str, version: str, *needs: str, **files: str) -> dict[str, str]:
    """The files of an installed package: the module `name`, what pip wants to know, and `files`."""
    about = "".join(
        [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", *(f"Requires-Dist: {n}\n" for n in needs)]
    )
    name = name.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    modules = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n",
        **{f"{path}.py": text for path, text in files.items()},
    }
    return {
        **modules,
        f"{info}/METADATA": about,
        f"{info}/WHEEL": wheel,
        f"{info}/RECORD": "",
        f"{info}/INSTALLER": "pip\n",
    }


def torch_files(cuda: str | None) -> dict[str, str]:
    version = f"from typing import Optional\n__version__ = {TORCH!r}\ncuda: Optional[str] = {cuda!r}\nhip = None\n"
    start = "from torch import version\nfrom torch.version import __version__\n"
    return contents("torch", TORCH, "small", **{"torch/version": version, "torch/__init__": start})


def wheel(folder: Path, name: str, version: str, *needs: str, **files: str) -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as packed:
        for path, text in contents(name, version, *needs, **files).items():
            packed.writestr(path, text)


@pytest.fixture
def machine(tmp_path):
    """A system whose Python has torch with CUDA and numpy 1.26, wheels to install from, and a clone."""
    system = tmp_path / "system"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(system)], check=True)
    (system / SITE / "pip").symlink_to(Path(importlib.util.find_spec("pip").origin).parent)
    write(
        system / SITE,
        torch_files("13.0") | contents("numpy", "1.26.4") | contents("panel", "4.3") | contents("small", "1.0"),
    )
    wheels = tmp_path / "wheels"
    for name, version, *needs in [
        ("torch", "2.13.0"), ("numpy", "2.5.5"), ("scipy", "1.18.1", "numpy>=2"), ("scipy", "1.17.1", "numpy>=1.26"),
        ("lens", "3.0", "torch>=2.6", "pyarrow", "panel>=4.1"), ("panel", "4.6"), ("panel", "4.3"),
        ("setuptools", "84.0"), ("pyarrow", "25.0"), ("pyarrow", "26.0"),
    ]:  # fmt: skip
        wheel(wheels, name, version, *needs)
    clone = tmp_path / "a clone"
    shutil.copytree(ROOT / "scripts", clone / "scripts", ignore=lambda _, names: [n for n in names if "." not in n])
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    write(
        clone,
        {"requirements.txt": REQUIREMENTS, "requirements.lock": LOCK, "pyproject.toml": project, "backend.py": BACKEND},
    )
    write(tmp_path, {"constraint.txt": f"torch=={TORCH}\nnumpy==1.26.4\npanel==4.3\n"})
    return tmp_path


def run(machine, python, *command):
    """Run a Python of the stand-in machine in its clone: no index, no configuration, no variable of this one."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(machine / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    environment |= {"PIP_CONSTRAINT": str(machine / "constraint.txt"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [str(python), *command], cwd=machine / "a clone", env=environment, text=True, capture_output=True
    )


def set_up(machine, *way):
    return run(machine, machine / "system/bin/python", "-m", "scripts.setup_environment", *way)


def installed(machine) -> set[str]:
    return {path.name.partition(".dist-info")[0] for path in (machine / "a clone/.venv" / SITE).glob("*.dist-info")}


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_everything_else_is_installed_around_the_systems_torch_through_its_constraints(machine):
    before = files_of(machine / "system")
    doctor = run(machine, machine / "system/bin/python", "-m", "scripts.doctor").stdout
    assert "PyTorch          the one that the system has will be used, CUDA 13.0 (TORCH=system)" in doctor
    found = set_up(machine)  # nobody asked: the torch with CUDA decides
    assert found.returncode == 0, found.stderr + found.stdout
    assert f"PyTorch: {TORCH}" in found.stdout and "CUDA 13.0" in found.stdout and "leaves no set" not in found.stdout
    # panel stays at the version that the constraint file names, and scipy is one for the numpy that is there
    assert installed(machine) == {"lens-3.0", "scipy-1.17.1", "pyarrow-25.0", "setuptools-84.0", "labs-1.0"}
    assert files_of(machine / "system") == before
    code = "import lens, numpy, panel, torch as t; print(t.version.cuda, *(p.__version__ for p in (t, numpy, panel)))"
    python = machine / "a clone/.venv/bin/python"
    assert run(machine, python, "-c", code).stdout.split() == ["13.0", TORCH, "1.26.4", "4.3"]
    again = set_up(machine)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    active = run(machine, python, "-m", "scripts.setup_environment")  # `.venv` is active, and its Python comes first
    assert (active.returncode, active.stdout, active.stderr) == (0, "", "")
    # what is new is installed into the same `.venv`
    (machine / "a clone/.venv/theirs").touch()
    wheel(machine / "wheels", "lens", "3.1")
    for name, text in {"requirements.txt": REQUIREMENTS, "requirements.lock": LOCK}.items():
        write(machine / "a clone", {name: text.replace("lens==3.0", "lens==3.1")})
    assert set_up(machine).returncode == 0 and "lens-3.1" in installed(machine) and "lens-3.0" not in installed(machine)
    assert (machine / "a clone/.venv/theirs").exists()
    # of two Pythons with one version, the packages of the one that made it are used; a named one is asking
    other = machine / "other"
    shutil.copytree(machine / "system", other, symlinks=True)
    assert run(machine, other / "bin/python", "-m", "scripts.setup_environment").stdout == ""
    named = run(machine, other / "bin/python", "-m", "scripts.setup_environment", "--this-python")
    assert named.returncode == 0 and "is replaced: PYTHON3 names" in named.stdout, named.stderr
    assert not (machine / "a clone/.venv/theirs").exists()


def test_constraints_that_leave_no_way_are_kept_for_torch_numpy_and_cuda_only(machine):
    write(machine, {"constraint.txt": f"torch=={TORCH}\nnumpy==1.26.4\npanel==4.3\nlens==2.0\n"})
    naive = run(machine, machine / "system/bin/python", *"-m pip install --dry-run -r requirements.txt".split())
    assert naive.returncode == 1 and "ResolutionImpossible" in naive.stderr
    found = set_up(machine)
    assert found.returncode == 0 and "leaves no set of versions" in found.stdout, found.stderr
    assert installed(machine) == {
        "lens-3.0",
        "scipy-1.17.1",
        "pyarrow-25.0",
        "panel-4.6",
        "setuptools-84.0",
        "labs-1.0",
    }


def test_set_up_stops_where_packages_do_not_go_with_the_systems(machine):
    wheel(machine / "wheels", "scipy", "1.17.1", **{"scipy/__init__": "raise ImportError('numpy 2 is needed')"})
    found = set_up(machine)
    assert found.returncode == 1 and "system's PyTorch and numpy: ImportError: numpy 2 is needed. To" in found.stderr
    assert not (machine / "a clone/.venv/setup.stamp").exists()


@pytest.mark.parametrize("name", ["torch", "numpy", "nvidia-cuda-runtime"])
def test_set_up_stops_where_a_package_brings_another_one(machine, name):
    """No constraint keeps a wheel of another name from holding a module, nor a package from being new."""
    if name.startswith("nvidia"):
        wheel(machine / "wheels", name, "9.9")
        wheel(machine / "wheels", "lens", "3.0", name)
    else:
        text = "__version__ = '9.9'\nclass version:\n    cuda = '13.0'\n"
        wheel(machine / "wheels", "lens", "3.0", **{f"{name}/__init__": text})
    found = set_up(machine)
    assert found.returncode == 1 and found.stderr.count("\n") == 1, found.stderr
    assert f"Set-up stopped: {name} changed while packages were installed: it was " in found.stderr
    assert "and is 9.9 at " in found.stderr and "nothing outside .venv was touched" in found.stderr
    assert not (machine / "a clone/.venv/setup.stamp").exists()  # the next call does not take it for done


def test_system_is_refused_without_torch_and_without_cuda(machine):
    write(machine / "system" / SITE, torch_files(None))
    found = set_up(machine, "system")
    assert found.returncode == 1 and f"{TORCH} of {machine}/system/bin/python was built without CUDA" in found.stderr
    shutil.rmtree(machine / "system" / SITE / "torch")
    code = "from scripts import setup_environment as s; s.TRIED = (); s.main(['system'])"
    found = run(machine, machine / "system/bin/python", "-c", code)
    assert "The labs were not tried with Python 3." in found.stdout
    assert found.returncode == 1 and "has none. Name a Python that has one" in found.stderr
    assert not (machine / "a clone/.venv").exists() and set_up(machine, "ours").returncode == 2


def test_a_way_that_was_asked_for_is_kept(machine):
    code = "from scripts import setup_environment as s; print(s.way_to_go({}))"
    python, choice = machine / "system/bin/python", machine / "a clone/.venv/setup.json"
    assert run(machine, python, "-c", code.format("None")).stdout == "('system', False)\n"
    assert run(machine, python, "-c", code.format("'pinned'")).stdout == "('pinned', True)\n"
    write(choice.parent, {choice.name: json.dumps({"torch": "pinned", "asked": True})})
    assert run(machine, python, "-c", code.format("None")).stdout == "('pinned', True)\n"
    write(choice.parent, {choice.name: json.dumps({"torch": "pinned", "asked": False})})
    assert run(machine, python, "-c", code.format("None")).stdout == "('system', False)\n"


def test_an_environment_of_its_own_does_not_see_the_systems_torch(machine):
    """So it stops before anything is installed."""
    code = (
        "from scripts import setup_environment as s; given = s.torch_that_is_there()\n"
        "import sys, subprocess; subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(s.VENV)])\n"
        "s.unchanged(given, 'before anything was installed')"
    )
    found = run(machine, machine / "system/bin/python", "-c", code)
    assert "SetupFailed: torch changed before anything was installed" in found.stderr and "is none" in found.stderr
