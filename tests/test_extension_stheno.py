"""Extensions 6 and 8 with LAB_MODEL=stheno-8b: the same cells, in bfloat16; a tiny Llama in a hub's cache stands in."""

import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from scripts.interp.base.paths import ROOT
from scripts.interp.models.embedded import embedded_model_folder

REPOSITORIES = ("Sao10K/L3-8B-Stheno-v3.2", "meta-llama/Meta-Llama-3-8B-Instruct")
RUN = """
import sys
import nbformat
from scripts.interp.models.load import MODELS

MODELS["stheno-8b"] = MODELS["stheno-8b"]._replace(memory_gb=float(sys.argv[1]))
names = {"__name__": "__main__"}
for cell in nbformat.read(f"solutions/{sys.argv[2]}.ipynb", 4).cells:
    if cell.cell_type == "code" and not cell.id.startswith("test-") and cell.id != "save-run":
        print("##", cell.id, flush=True)
        exec(compile(cell.source, cell.id, "exec"), names)
used = names["model"].original_model if "model" in names else names["plain"].model
print(used.config.num_hidden_layers, used.dtype)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A Hugging Face cache with both repositories: two layers, grouped keys, the embedded model's tokenizer."""
    home = tmp_path_factory.mktemp("hub")
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_folder())
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )  # fmt: skip
    for seed, repository in enumerate(REPOSITORIES):
        folder = home / "hub" / f"models--{repository.replace('/', '--')}"
        torch.manual_seed(seed)
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder / "snapshots" / "1")
        tokenizer.save_pretrained(folder / "snapshots" / "1")
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("1")
    return home


def run(cache, memory_gb, lab="06-stheno-8b-extension"):
    env = os.environ | {
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "1",
        "LAB_MODEL": "stheno-8b",
        "LAB_OUTPUTS": str(cache / "outputs"),
        "OMP_NUM_THREADS": "1",
    }
    env.pop("HF_HUB_CACHE", None)
    return subprocess.run(
        [sys.executable, "-c", RUN, str(memory_gb), lab], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600
    )


def test_every_cell_runs_on_the_other_model(cache):
    done = run(cache, memory_gb=1)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith("2 torch.bfloat16")
    assert "before" in done.stdout.split("## tuned\n")[1] and "random fine-tune" not in done.stdout


def test_vectors_known_without_an_sae_stand_in_for_features(cache):
    done = run(cache, 1, "08-selfie-adapters")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith("2 torch.bfloat16")
    assert "400 vectors with 800 labels" in done.stdout
    assert "every placeholder: logits of the next token differ by up to 0;" in done.stdout


def test_without_the_memory_one_line_says_so(cache):
    done = run(cache, memory_gb=1e6)
    assert done.returncode != 0 and "## sites" not in done.stdout
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: stheno-8b can't be loaded here: it needs")
