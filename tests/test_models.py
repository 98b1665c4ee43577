"""Loading models: the embedded one, a GPT-2 with random weights, one from a stand-in for a hub."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from fixtures_gpt2 import NAMES, make_gpt2_folder
from safetensors.torch import load_file, save_file
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.models.embedded import embedded_model_folder
from scripts.interp.models.load import load_model, random_weight_copy
from scripts.interp.models.registry import MODELS, available_models
from tests.tiny_models import tiny_tokenizer

ROOT = Path(__file__).resolve().parents[1]
NOWHERE = "http://127.0.0.1:9"  # nobody listens on that port
# Rounding in float32 reaches 1.9e-4 after "Water boils" with two threads (4e-6 in float64): not in this list
PROMPTS = [
    "The capital of France is",
    "When John and Mary went to the store, John gave a book to",
    "2 + 2 = 4, and 12  apples",
    "def add(a, b):\n    return a + b\n",
    "To be, or not to be, that is the question:",
    "Once upon a time there was a little girl who",
    "<|im_start|>user\nHello!<|im_end|>\n",
    "naïve café – 東京",
    "A",
    "She said that she would",
]


@pytest.fixture
def embedded(model):
    return model


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory):
    return make_gpt2_folder(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def gpt2(gpt2_folder):
    return load_model(gpt2_folder)


def largest_difference(model, folder, prompts):
    """Largest difference of log-probabilities between bridge and Hugging Face, over positions and tokens."""
    reference = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").to(model.cfg.device)
    differences = []
    with torch.no_grad():
        for prompt in prompts:
            tokens = model.to_tokens(prompt)
            ours = model(tokens).log_softmax(-1)
            theirs = reference(tokens).logits.log_softmax(-1)
            differences.append((ours - theirs).abs().max().item())
    return max(differences)


def test_the_embedded_model_agrees_with_hugging_face(embedded):
    assert largest_difference(embedded, embedded_model_folder(), PROMPTS) < 1e-4


def test_the_embedded_model_is_a_language_model(embedded):
    logits = embedded("The capital of France is")
    assert embedded.to_string(logits[0, -1].argmax()) == " Paris"


def test_gpt2_agrees_with_hugging_face(gpt2, gpt2_folder):
    assert (gpt2.cfg.n_layers, gpt2.cfg.n_heads, gpt2.cfg.d_model) == (12, 12, 192)
    assert largest_difference(gpt2, gpt2_folder, ["When Mary and John went to the store, John gave a drink to"]) < 1e-4


@pytest.mark.parametrize("which", ["embedded", "gpt2"])
def test_bos_comes_exactly_once_or_not_at_all(which, request):
    model = request.getfixturevalue(which)
    bos = model.tokenizer.bos_token_id
    assert model.tokenizer(" Paris").input_ids[0] == bos  # the bridge's tokenizer adds it by itself
    for text in (" Paris", "When Mary and John went to the store"):
        bare = model.tokenizer(text, add_special_tokens=False).input_ids
        assert bos not in bare
        assert model.to_tokens(text).tolist() == [[bos, *bare]]
        assert model.to_tokens(text, prepend_bos=True).tolist() == [[bos, *bare]]
        assert model.to_tokens(text, prepend_bos=False).tolist() == [bare]
    assert len(model.to_str_tokens(" Paris")) == 2


def test_the_known_token_of_paris(embedded):
    assert embedded.tokenizer(" Paris").input_ids == [1, 7042]
    assert embedded.to_str_tokens("a  12") == ["<|im_start|>", "a", "  ", "1", "2"]


def test_names_of_the_gpt2_stand_in_are_single_tokens(gpt2):
    assert all(gpt2.to_tokens(f" {name}", prepend_bos=False).shape == (1, 1) for name in NAMES)


def test_a_loaded_model_is_ready_for_inference(embedded, gpt2):
    for model, name in [(embedded, "smollm2-135m"), (gpt2, None)]:
        assert isinstance(model, TransformerBridge) and model.compatibility_mode and not model.training
        assert model.cfg.model_name == name or (name is None and "/" not in model.cfg.model_name)
        logits = model("Mary")
        assert not logits.requires_grad and logits.dtype == torch.float32
        assert model.hook_dict["blocks.0.hook_resid_pre"] is not None  # compatibility mode's name


def test_gradients_come_back_on_request(gpt2):
    gpt2.requires_grad_(True)
    try:
        assert gpt2("Mary").requires_grad
    finally:
        gpt2.requires_grad_(False)


def test_lab_model_chooses_the_model_and_dtype_may_be_a_name(gpt2_folder, monkeypatch):
    monkeypatch.setenv("LAB_MODEL", str(gpt2_folder))
    model = load_model(dtype="bfloat16")
    assert model.cfg.model_name == gpt2_folder.name
    assert model("Mary").dtype == torch.bfloat16


def test_lab_dtype_chooses_the_dtype_where_none_is_given(gpt2_folder, monkeypatch):
    monkeypatch.setenv("LAB_DTYPE", "bfloat16")
    assert load_model(gpt2_folder)("Mary").dtype == torch.bfloat16
    assert load_model(gpt2_folder, dtype="float32")("Mary").dtype == torch.float32
    monkeypatch.setenv("LAB_DTYPE", "")
    assert load_model(gpt2_folder)("Mary").dtype == torch.float32
    monkeypatch.setenv("LAB_DTYPE", "bf16")
    with pytest.raises(ValueError, match="'bf16'.*'bfloat16'"):
        load_model(gpt2_folder)


def test_without_lab_model_the_embedded_model_is_meant(monkeypatch, tmp_path):
    monkeypatch.delenv("LAB_MODEL", raising=False)
    monkeypatch.setenv("LAB_MODELS", str(tmp_path))
    with pytest.raises(ModelUnavailable, match=".venv/bin/python -m scripts.prepare_embedded_model") as failure:
        load_model()
    assert str(tmp_path) in str(failure.value)


def test_nothing_appears_on_stderr():
    code = """
from scripts.interp.models.load import load_model, random_weight_copy
from scripts.interp.models.registry import available_models
model = load_model("smollm2-135m")
random_weight_copy(model)
model("Hello")
print(available_models())
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(name="gpt3"), ["'gpt3'", "smollm2-135m", "gpt2-small", "stheno-8b"]),
        (dict(name="/no/such/folder"), ["/no/such/folder"]),
        (dict(name="./no-such-folder"), ["./no-such-folder"]),
        (dict(device="tpu"), ["'tpu'", "'cpu'"]),
        (dict(device="mps"), ["'mps'", "1178", "LAB_ALLOW_MPS=1"]),
        (dict(device=torch.device("mps")), ["1178"]),
        (dict(dtype="int8"), ["'int8'", "'float32'"]),
        (dict(dtype="float33"), ["'float33'"]),
        (dict(dtype=torch.int64), ["torch.int64"]),
    ],
)
def test_bad_arguments_are_named(arguments, words, monkeypatch):
    monkeypatch.delenv("LAB_ALLOW_MPS", raising=False)
    with pytest.raises(ValueError) as failure:
        load_model(**arguments)
    assert all(word in str(failure.value) for word in words), failure.value


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(ValueError, match="'cuda' can't be used here"):
        load_model(device="cuda")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an MPS device")
def test_mps_is_tried_when_it_is_forced(gpt2_folder, monkeypatch):
    monkeypatch.setenv("LAB_ALLOW_MPS", "1")
    with pytest.raises(RuntimeError):  # torch's own: there is none here
        load_model(gpt2_folder, device="mps")


def tiny_model_folder(path: Path) -> Path:
    """A Llama of two layers and a GPT-2 tokenizer, as `save_pretrained` writes them."""
    tiny_tokenizer(path)
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4)
    LlamaForCausalLM(LlamaConfig(vocab_size=300, num_key_value_heads=2, **sizes)).save_pretrained(path)
    return path


def test_a_loaded_model_says_what_the_original_says(tiny_folder):
    for name in ("gpt_oss", "bitnet"):
        folder = tiny_folder(name)
        original = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        tokens = torch.arange(5, 25)[None]
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            model = load_model(folder, device="cpu")
        difference = (model(tokens).log_softmax(-1) - original(tokens).logits.log_softmax(-1)).abs().max()
        assert difference < 1e-4
        told = [
            str(warning.message) for warning in warned if "changes its log-probabilities by" in str(warning.message)
        ]
        assert len(told) == (name == "bitnet")
        copy = random_weight_copy(model)
        assert copy(tokens).isfinite().all() and not torch.equal(copy(tokens), model(tokens))


def test_a_model_that_the_bridge_changes_is_refused_with_the_number(tiny_folder):
    with pytest.raises(ValueError, match=r"differ from the original model's by \d.* nats, folded or not"):
        load_model(tiny_folder("cohere"), device="cpu")
    assert load_model(tiny_folder("cohere"), device="cpu", check=False).compatibility_mode
    with pytest.raises(ValueError, match="no compatibility mode"):
        load_model(tiny_folder("vaultgemma"), device="cpu")


@pytest.mark.parametrize("wrong", ["any folding", "that of value biases"])
def test_a_fold_that_goes_wrong_is_seen(tiny_folder, monkeypatch, wrong):
    folded = TransformerBridge.process_weights

    def process_weights(self, **options):
        folded(self, **options)
        if wrong == "any folding" or options["fold_value_biases"]:
            self.original_model.model.layers[1].mlp.original_component.down_proj.weight.data *= 1.3

    monkeypatch.setattr(TransformerBridge, "process_weights", process_weights)
    told = "weights as they are" if wrong == "any folding" else "value biases where they are"
    with pytest.warns(UserWarning, match=f"{told}.*changes its log-probabilities"):
        load_model(tiny_folder("llama"), device="cpu")


@pytest.mark.parametrize("name", ["qwen2", "gpt_neo", "gptj", "stablelm", "glm4"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_architectures_that_lack_biases_run_in_16_bits(tiny_folder, name, dtype):
    model = load_model(tiny_folder(name), device="cpu", dtype=dtype)
    tokens = torch.arange(5, 15)[None]
    exact = load_model(tiny_folder(name), device="cpu")(tokens).softmax(-1)
    assert model(tokens).dtype == dtype and (model(tokens).float().softmax(-1) - exact).abs().max() < 0.05
    assert random_weight_copy(model)(tokens).dtype == dtype


def test_a_model_that_only_runs_in_float32_says_so(tiny_folder):
    with pytest.raises(ValueError, match="can't run .* in torch.bfloat16 .*load it in float32"):
        load_model(tiny_folder("codegen"), device="cpu", dtype="bfloat16")


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * "a" + "\nsize 12345\n"


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda at: [file.unlink() for file in at.glob("token*")], "no tokenizer"),
        (lambda at: (at / "model.safetensors").write_text(LFS), "model.safetensors is a git-lfs pointer"),
        (lambda at: (at / "tokenizer.json").write_text(LFS), "tokenizer.json is a git-lfs pointer"),
        (lambda at: (at / "config.json").write_text('{"model_type": "lla'), "config.json is damaged or cut off"),
        (lambda at: (at / "config.json").write_text("{}"), "names no model_type"),
        (lambda at: os.truncate(at / "model.safetensors", 4000), "model.safetensors is damaged or cut off"),
        (lambda at: edit_config(at, vocab_size=400), "other sizes than its config.json says"),
        (
            lambda at: edit_config(at, architectures=["LlamaForSequenceClassification"]),
            "does not predict the next token",
        ),
        (lambda at: edit_config(at, model_type="vit", architectures=["ViTModel"]), "does not predict the next token"),
        (lambda at: edit_config(at, model_type="t5", is_encoder_decoder=True), "does not predict the next token"),
        (lambda at: edit_config(at, model_type="bert", architectures=["BertForMaskedLM"]), "does not predict the next"),
        (lambda at: (at / "config.json").rename(at / "adapter_config.json"), "PEFT adapter without its base"),
        (lambda at: (at / "config.json").rename(at / "model.gguf"), "GGUF"),
        (
            lambda at: (at / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}'),
            "1 of the files that .* are missing, model-2.safetensors",
        ),
        (lambda at: edit_weights(at, lambda tensors: tensors["model.norm.weight"].fill_(torch.nan)), "NaN or infinity"),
        (lambda at: smaller_vocabulary(at), "tokenizer of .* has 266 tokens and the model knows 100"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, damage, words):
    damage(tiny_model_folder(tmp_path))
    with pytest.raises(ValueError, match=words):
        load_model(tmp_path)


def edit_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def edit_weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def smaller_vocabulary(folder: Path) -> None:
    def cut(tensors):
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors[name][:100].clone()

    edit_config(folder, vocab_size=100)
    edit_weights(folder, cut)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no config.json"):
        load_model(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tiny_model_folder(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no complete model"):
        load_model(tmp_path)


def test_weights_that_are_missing_are_not_replaced_by_random_ones(tmp_path):
    weights = tiny_model_folder(tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 .*layers.1.mlp.down_proj.weight"):
        load_model(tmp_path)


def test_the_table_prints_every_model_on_a_line():
    text = str(available_models())
    assert text == repr(available_models())
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(MODELS)
    assert all(len(line) <= 110 for line in lines)
    assert lines[1].split()[1] == "yes" and "CC-BY-NC-4.0" in text


def test_the_table_says_how_to_get_the_embedded_model(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_MODELS", str(tmp_path))
    assert "make model 0.09 GB" in str(available_models())


# random weights


def same_logits(one, other, tokens):
    return torch.equal(one(tokens), other(tokens))


def test_a_random_copy_is_the_same_machine_with_other_weights(gpt2):
    model = gpt2
    tokens = model.to_tokens("Mary and John")
    before = model(tokens)
    state = torch.get_rng_state()
    copies = [random_weight_copy(model, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert same_logits(copies[0], copies[1], tokens) and not same_logits(copies[0], copies[2], tokens)
    assert torch.equal(model(tokens), before) and not same_logits(copies[0], model, tokens)
    twin = copies[0]
    assert twin.cfg.model_name == model.cfg.model_name
    assert list(twin.hook_dict) == list(model.hook_dict)
    assert twin.W_Q.shape == model.W_Q.shape and twin.compatibility_mode and not twin("Mary").requires_grad
    assert torch.equal(twin.to_tokens("Mary"), model.to_tokens("Mary"))
    assert torch.equal(twin.to_tokens("Mary", prepend_bos=False), model.to_tokens("Mary", prepend_bos=False))


def test_a_random_copy_knows_nothing(embedded):
    text = "The capital of France is Paris. The capital of Germany is Berlin."
    loss = random_weight_copy(embedded)(text, return_type="loss").item()
    assert loss > 10 > 4 > embedded(text, return_type="loss").item()  # log(49152) = 10.8


@pytest.mark.parametrize("compatible", [False, True])
def test_a_random_copy_of_a_toy(compatible):
    toy = TransformerBridge.boot_native(
        TransformerBridgeConfig(
            d_model=16, d_head=4, n_layers=2, n_ctx=12, n_heads=4, d_vocab=20, d_mlp=32, act_fn="gelu",
            normalization_type="LN", positional_embedding_type="standard", seed=5,
        )
    )  # fmt: skip
    if compatible:
        toy.enable_compatibility_mode(disable_warnings=True)
    tokens = torch.arange(10)[None]
    twins = [random_weight_copy(toy, seed) for seed in (3, 3, 4)]
    assert same_logits(twins[0], twins[1], tokens) and not same_logits(twins[0], twins[2], tokens)
    assert not same_logits(twins[0], toy, tokens)
    assert twins[0].compatibility_mode == compatible
    assert list(twins[0].hook_dict) == list(toy.hook_dict)
    assert twins[0](tokens).requires_grad  # a toy can be trained, and so can its copy


# the model hub


def load_from_hub(name: str, endpoint: str, cache: Path) -> dict:
    """What happens in a new process, as a student's would: seconds and outcome of `load_model(name)`."""
    code = """
import json, sys, time
import huggingface_hub, torch
from scripts.interp.models.load import load_model
started = time.monotonic()
try:
    model = load_model(sys.argv[1])
    tokens = torch.tensor([[1, 2, 3]], device=model.cfg.device)
    outcome = dict(name=model.cfg.model_name, logits=model(tokens)[0, -1, :5].tolist())
except Exception as error:
    outcome = dict(error=type(error).__name__, message=str(error))
outcome.update(seconds=time.monotonic() - started, offline=huggingface_hub.constants.HF_HUB_OFFLINE)
print("OUTCOME", json.dumps(outcome))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        environment.pop(proxy, None)
    result = subprocess.run(
        [sys.executable, "-c", code, name],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={**environment, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache)},
    )
    assert result.stderr == "" and "OUTCOME" in result.stdout, result.stdout + result.stderr
    printed, outcome = result.stdout.split("OUTCOME")
    return {**json.loads(outcome), "printed": printed}


class Hub:
    """A model hub with lab/tiny; it breaks off amid lab/broken and never answers for lab/silent."""

    def __init__(self, folder: Path):
        hub = self
        self.requests: list = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, with_body: bool):
                hub.requests.append(f"{self.command} {self.path}")
                if "lab/silent" in self.path:
                    threading.Event().wait(30)
                path = self.path.lstrip("/").replace(f"/resolve/{'c' * 40}/", "/resolve/main/")
                broken = "lab/broken" in path and path.endswith("model.safetensors")
                repository, _, name = path.replace("lab/broken", "lab/tiny").partition("/resolve/main/")
                file = folder / name
                body, headers, status = b"", {}, 200
                if repository.startswith("api/models/lab/tiny"):
                    if repository == "api/models/lab/tiny":
                        body = json.dumps(dict(id="lab/tiny", sha="c" * 40, siblings=[], tags=[])).encode()
                    else:  # a listing of one of its folders
                        status, headers = 404, {"X-Error-Code": "EntryNotFound"}
                elif repository != "lab/tiny":
                    status, headers = 404, {"X-Error-Code": "RepoNotFound"}
                elif not file.is_file():
                    status, headers = 404, {"X-Error-Code": "EntryNotFound"}
                else:
                    body = file.read_bytes()
                    headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": "c" * 40}
                # One connection a request, and said so: a client that believed it could use a closed one again
                # would see "server disconnected" now and then.
                headers.update({"Content-Length": str(len(body)), "Connection": "close"})
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                if with_body:
                    self.wfile.write(body[: len(body) // 2] if broken else body)

            def do_HEAD(self):
                self.answer(False)

            def do_GET(self):
                self.answer(True)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    hub = Hub(tiny_model_folder(tmp_path_factory.mktemp("tiny")))
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture(scope="module")
def refused(hub, tmp_path_factory):
    """What comes of models that can't be had. Processes beside each other: most of the time they wait for the hub."""
    asked = {"lab/broken": hub.endpoint, "lab/silent": hub.endpoint, "lab/unknown": hub.endpoint, "gpt2-small": NOWHERE}
    with ThreadPoolExecutor() as pool:
        outcomes = pool.map(lambda one: load_from_hub(*one, tmp_path_factory.mktemp("cache")), asked.items())
        return dict(zip(asked, outcomes))


def test_an_unreachable_hub_is_said_within_seconds(refused):
    outcome = refused["gpt2-small"]
    assert outcome["error"] == "ModelUnavailable" and "LAB_MODEL=smollm2-135m" in outcome["message"]
    assert NOWHERE in outcome["message"] and "\n" not in outcome["message"]
    assert outcome["seconds"] < 6


def test_a_hub_that_never_answers_is_given_up_within_seconds(refused):
    outcome = refused["lab/silent"]
    assert outcome["error"] == "ModelUnavailable" and "LAB_MODEL=smollm2-135m" in outcome["message"]
    assert outcome["seconds"] < 8


def test_a_model_that_the_hub_lacks_is_said(refused):
    outcome = refused["lab/unknown"]
    assert outcome["error"] == "ModelUnavailable" and "no model 'lab/unknown'" in outcome["message"]


def test_a_download_that_breaks_off_is_said(refused):
    outcome = refused["lab/broken"]
    assert outcome["error"] == "ModelUnavailable" and "download of lab/broken stopped" in outcome["message"], outcome
    assert "LAB_MODEL=smollm2-135m" in outcome["message"] and "\n" not in outcome["message"]


def test_a_model_of_the_hub_is_fetched_once_and_then_found_in_the_cache(hub, tmp_path):
    outcome = load_from_hub("lab/tiny", hub.endpoint, tmp_path)
    assert outcome.get("name") == "lab/tiny", outcome
    assert "Downloading lab/tiny from" in outcome["printed"] and "model.safetensors: 100%" in outcome["printed"]
    assert outcome["offline"] is True  # look-ups were on for this load alone
    fetched = [request for request in hub.requests if request.startswith("GET /lab/tiny/")]
    assert sum(request.endswith("model.safetensors") for request in fetched) == 1
    again = load_from_hub("lab/tiny", NOWHERE, tmp_path)
    assert again["logits"] == outcome["logits"] and again["printed"].strip() == ""
    next(tmp_path.rglob("model.safetensors")).unlink()
    half = load_from_hub("lab/tiny", NOWHERE, tmp_path)
    assert half["error"] == "ModelUnavailable" and "can't be reached" in half["message"]
