"""What a training step of a TopK SAE costs: sae-lens' trainer, a plain loop, and the project's own two ways.

Every measurement is a process of its own that imports what its way needs, takes a few steps untimed, and reports the
median of the next ones and its peak resident memory, all in. The ways take turns, round after round. Activations are
random, which gives every latent work: real ones leave many rows of the matrices alone.

The last part trains on real activations, with equal tokens and seeds, and compares what comes out.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scripts.interp.base.machine import machine_facts, process_megabytes, say
from scripts.interp.base.paths import ROOT
from scripts.interp.base.tables import table

RATE = 1e-3


class Case(NamedTuple):
    """Sizes of one comparison."""

    d_in: int
    d_sae: int
    k: int
    batch: int


CASES = (Case(768, 32768, 32, 1024), Case(768, 32768, 128, 1024), Case(576, 4608, 32, 1024))
QUICK = (Case(16, 256, 4, 64),)
ROUNDS, WARM_UP, STEPS = 3, 2, 5
SEEDS, REAL_TOKENS, REAL_K = 3, 200_000, 40
CANDIDATES = {"bfloat16": 1.25, "low_rank": 12}  # for each latent kept: so many reach the recall on real activations


def weights(case: Case) -> list[Tensor]:
    """Encoder, its bias, decoder and its bias, as sae-lens begins with them."""
    directions = torch.randn(case.d_sae, case.d_in)
    directions *= 0.1 / directions.norm(dim=1, keepdim=True)
    return [directions.T, torch.zeros(case.d_sae), directions, torch.zeros(case.d_in)]


def sae_lens_step(case: Case) -> Callable[[Tensor], Any]:
    """sae-lens' TopK in sae-lens' trainer."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.registry import get_sae_training_class
    from sae_lens.training.sae_trainer import SAETrainer

    sae_class, config = get_sae_training_class("topk")
    cfg = SAETrainerConfig(case.batch * 1000, case.batch, lr=RATE, lr_end=RATE)
    return SAETrainer(cfg, sae_class(config(d_in=case.d_in, d_sae=case.d_sae, k=case.k)), iter(())).step


def dense_step(case: Case) -> Callable[[Tensor], Any]:
    """TopK as people write it: dense products, autograd, PyTorch's Adam."""
    parameters = [each.clone().requires_grad_() for each in weights(case)]
    W_enc, b_enc, W_dec, b_dec = parameters
    optimizer = torch.optim.Adam(parameters, lr=RATE)

    def step(x: Tensor) -> None:
        best = (x @ W_enc + b_enc).topk(case.k, sorted=False)
        latents = torch.zeros(len(x), case.d_sae).scatter(1, best.indices, best.values.relu())
        (latents @ W_dec + b_dec - x).square().sum(dim=1).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def sparse_step(case: Case, ranking: str | None = None) -> Callable[[Tensor], Any]:
    """The project's trainer, looking at all pre-activations or by a ranking."""
    from scripts.interp.saes.rankings import new_ranking
    from scripts.interp.saes.sparse_topk import SparseTopK

    proposes = new_ranking(ranking, case.d_sae, case.d_in)
    n_candidates = int(case.k * CANDIDATES.get(ranking, 0))
    trainer = SparseTopK(*weights(case), case.k, ranking=proposes, n_candidates=n_candidates)
    return lambda x: trainer.step(x, RATE)


WAYS: dict[str, Callable[[Case], Callable[[Tensor], Any]]] = {
    "sae-lens": sae_lens_step,
    "dense loop": dense_step,
    "exact-sparse": sparse_step,
    "hybrid": lambda case: sparse_step(case, "bfloat16"),
    "hybrid, low rank": lambda case: sparse_step(case, "low_rank"),
}


def take_steps(way: str, case: Case, threads: int) -> dict[str, float]:
    """In this process: the median seconds of a step, and the peak memory in MB (None where the system has no count)."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step, seconds = WAYS[way](case), []
    for _ in range(WARM_UP + STEPS):
        x = torch.randn(case.batch, case.d_in)
        start = time.perf_counter()
        step(x)
        seconds.append(time.perf_counter() - start)
    try:
        peak = round(process_megabytes("VmHWM"))
    except (OSError, ValueError):
        peak = None
    return {"seconds": statistics.median(seconds[WARM_UP:]), "peak_mb": peak}


def in_a_process(way: str, case: Case, threads: int) -> dict[str, float]:
    """`take_steps` in a fresh process. Raises RuntimeError with what it said where it fails."""
    program = f"""
import json
from scripts.interp.saes.benchmark import Case, take_steps
print(json.dumps(take_steps({way!r}, {case!r}, {threads})))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{way} failed at {case}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare_steps(case: Case, threads: int, rounds: int) -> list[dict[str, Any]]:
    """One row for every way: medians over rounds in which the ways take turns, and how far the rounds are apart."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS:
            say(f"{case}, round {number + 1} of {rounds}: {way} …")
            found[way].append(in_a_process(way, case, threads))
    seconds = {way: [each["seconds"] for each in runs] for way, runs in found.items()}
    peaks = {
        way: None if runs[0]["peak_mb"] is None else max(run["peak_mb"] for run in runs) for way, runs in found.items()
    }
    base, base_peak = statistics.median(seconds["sae-lens"]), peaks["sae-lens"]
    return [
        {
            **case._asdict(),
            "method": way,
            "seconds": round(statistics.median(seconds[way]), 4),
            "seconds_low": round(min(seconds[way]), 4),
            "seconds_high": round(max(seconds[way]), 4),
            "times_faster": round(base / statistics.median(seconds[way]), 2),
            "peak_mb": peaks[way],
            "memory_share": None if base_peak is None else round(peaks[way] / base_peak, 3),
        }
        for way in WAYS
    ]


def compare_results(tokens: int, threads: int) -> list[dict[str, Any]]:
    """SAEs of real activations by each way, seed by seed: FVU and L0 on other text, dead latents, recall at the end."""
    from sae_lens import SAE

    from scripts.interp.models.load import load_model
    from scripts.interp.runs.at_hooks import hook_activations, kept_positions, special_positions
    from scripts.interp.runs.through_sae import encode
    from scripts.interp.saes.evaluate import fvu_and_l0
    from scripts.interp.saes.make import activations_to_train_on
    from scripts.interp.saes.recipes import Settings
    from scripts.interp.saes.train_sparse import train_sparsely
    from scripts.interp.saes.train_with_sae_lens import train_with_sae_lens
    from scripts.interp.text.corpus import load_corpus, packed_tokens

    model = load_model()
    hook = f"blocks.{model.cfg.n_layers * 2 // 5}.hook_resid_post"
    settings = Settings(model.cfg.model_name, hook, width=8, k=REAL_K, batch=1024, passes=1, tokens=tokens)
    settings = replace(settings, context=min(settings.context, model.cfg.n_ctx))
    say(f"activations of {tokens:,} tokens …")
    folder = f"benchmark-{model.cfg.model_name}-{tokens}"
    stored = activations_to_train_on(settings, model, [hook], folder, 4.0)[hook]
    rows = packed_tokens(load_corpus("validation"), model.tokenizer, settings.context)[:40]
    read = hook_activations(model, rows, [hook])[hook]
    held_out = read[kept_positions(read, special_positions(model, rows), stored.norm_limit)]
    del model
    proposed = REAL_K * CANDIDATES["low_rank"]
    ways = {
        "sae-lens": (train_with_sae_lens, {"architecture": "topk"}),
        "exact-sparse": (train_sparsely, {"architecture": "topk"}),
        "hybrid": (train_sparsely, {"architecture": "hybrid"}),
        "hybrid, low rank": (
            train_sparsely,
            {"architecture": "hybrid", "ranking": "low_rank", "n_candidates": proposed},
        ),
    }
    torch.set_num_threads(threads)
    results = []
    for seed in range(SEEDS):
        for way, (train_it, given) in ways.items():
            say(f"real activations, seed {seed}: {way} …")
            mine = replace(settings, seed=seed, **given)
            steps = len(stored.values) // mine.batch
            with TemporaryDirectory() as folder, torch.no_grad():
                with torch.enable_grad():
                    sae, record = train_it(mine, stored.values, steps, Path(folder) / "run.pt", progress=None)
                sae.save_inference_model(folder)
                saved = SAE.load_from_disk(folder)
                fvu, l0 = fvu_and_l0(saved, held_out)
                dead = 1 - (encode(saved, held_out) > 0).any(dim=0).float().mean().item()
            last = record["curve"][-1]
            results.append({
                "method": way, "seed": seed, "fvu": round(fvu, 5), "l0": round(l0, 2), "dead_fraction": round(dead, 5),
                "recall": last.get("recall"), "candidates": last.get("candidates"), "tokens": len(stored.values),
                "steps": steps, "k": mine.k, "d_sae": saved.cfg.d_sae,
            })  # fmt: skip
    return results


def against_sae_lens(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far every way's FVU is from sae-lens', relative, the farthest of the seeds, and the same of dead latents."""
    base = {row["seed"]: row for row in results if row["method"] == "sae-lens"}
    summary = []
    for way in dict.fromkeys(row["method"] for row in results):
        mine = [row for row in results if row["method"] == way]
        summary.append({
            "method": way,
            "fvu": round(statistics.mean(row["fvu"] for row in mine), 5),
            "fvu_largest_difference": round(max(abs(row["fvu"] / base[row["seed"]]["fvu"] - 1) for row in mine), 5),
            "dead_fraction": round(statistics.mean(row["dead_fraction"] for row in mine), 5),
            "dead_more_at_most": round(
                max(row["dead_fraction"] - base[row["seed"]]["dead_fraction"] for row in mine), 5
            ),
        })  # fmt: skip
    return summary


def benchmark(threads: int, quick: bool) -> dict[str, Any]:
    """Everything that is reported."""
    from importlib.metadata import version

    start = time.monotonic()
    results = compare_results(8_000 if quick else REAL_TOKENS, threads)
    rounds, sizes = (1, QUICK) if quick else (ROUNDS, CASES)
    cases = [row for case in sizes for row in compare_steps(case, threads, rounds)]
    return {
        "cases": cases,
        "real_activations": results,
        "against_sae_lens": against_sae_lens(results),
        "environment": {**machine_facts(), "threads": threads, "sae_lens": version("sae-lens")},
        "seconds": round(time.monotonic() - start),
    }


def report_text(report: dict[str, Any]) -> str:
    """The report to read."""
    environment = ", ".join(f"{name} {value}" for name, value in report["environment"].items())
    return "\n\n".join([
        table(report["cases"], {"times_faster": ".1f", "memory_share": ".2f"}),
        table(report["against_sae_lens"], {name: ".4f" for name in report["against_sae_lens"][0] if name != "method"}),
        environment,
    ])  # fmt: skip
