"""What the exact patching sweeps gain over TransformerLens' own, which run the whole model once a patch.

Both ways work in one process, on the same prompts, with the same metric, after a warm-up of each. What
TransformerLens is timed for includes the two runs that it needs beforehand, the clean one keeping only the
activations that are patched. The exact way is timed whole, three times, and the median counts; that its
logits are the model's is checked once a model, in the warm-up. With four short prompts both sweeps are run in
full and their numbers compared; with more prompts and with longer ones TransformerLens' time is estimated
from a random sample of patches.
"""

import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.patching import get_act_patch_attn_head_out_all_pos, get_act_patch_resid_pre

from scripts.interp.base.machine import machine_facts, process_megabytes, restart_peak, say
from scripts.interp.circuits.patching import PatchingResult, patch_heads, patch_stream
from scripts.interp.circuits.prompt_pairs import PromptPairs, prompt_pairs
from scripts.interp.models.load import load_model
from scripts.interp.runs.caches import cache_filter
from scripts.interp.runs.logits import compute_logit_diff
from scripts.interp.text.ioi import WHEN_TEMPLATES, create_ioi_dataset

PROMPTS, MORE_PROMPTS, LONGER = 4, 16, 40  # LONGER: tokens
REPEATS = 3
SAMPLED_CELLS = 20
LONGER_CLAUSE = (
    "down by the old river just after the rain had stopped and the sun came out over the hills and the trees "
    "and the houses of the little town where they both had lived for many years with their two dogs"
).split()


class BothWays(NamedTuple):
    """One experiment, both ways."""

    exact: Callable[..., PatchingResult]
    plain: Callable[..., Tensor]
    kind: str  # of the activation
    columns: tuple[str, str]  # what a patch is called by


SWEEPS = {
    "heads": BothWays(patch_heads, get_act_patch_attn_head_out_all_pos, "z", ("layer", "head")),
    "residual": BothWays(patch_stream, get_act_patch_resid_pre, "resid_pre", ("layer", "pos")),
}


class Measured(NamedTuple):
    """What one piece of work took."""

    value: Any
    seconds: float
    megabytes: float | None  # by how much the process's resident memory grew at most; None where nobody counts it


def measure(work: Callable[[], Any]) -> Measured:
    """Do it once and take its time and its peak memory."""
    before = restart_peak()
    start = time.perf_counter()
    value = work()
    seconds = time.perf_counter() - start
    return Measured(value, seconds, None if before is None else max(0.0, process_megabytes("VmHWM") - before))


def plain_sweep(
    model: TransformerBridge, pairs: PromptPairs, sweep: BothWays, cells: list[tuple[int, int]] | None = None
) -> tuple[Tensor, float]:
    """Normalised effects by TransformerLens, and the seconds of the patches without the runs before them.

    cells: only these, [cells]; otherwise all of them, [layer, head or pos]
    """
    with torch.no_grad():
        logits, cache = model.run_with_cache(pairs.clean, names_filter=cache_filter(model, sweep.kind))
        clean = compute_logit_diff(logits, pairs.answers, pairs.wrong_answers)
        corrupted = compute_logit_diff(model(pairs.corrupted), pairs.answers, pairs.wrong_answers)

        def metric(logits: Tensor) -> Tensor:
            return (compute_logit_diff(logits, pairs.answers, pairs.wrong_answers) - corrupted) / (clean - corrupted)

        chosen = {}
        if cells is not None:
            chosen = {"index_axis_names": None, "index_df": pd.DataFrame(cells, columns=sweep.columns)}
        start = time.perf_counter()
        effects = sweep.plain(model, pairs.corrupted, cache, metric, **chosen)
    return effects, time.perf_counter() - start


def exact_sweep(model: TransformerBridge, pairs: PromptPairs, sweep: BothWays) -> tuple[Tensor, float, float | None]:
    """Normalised effects by the exact way, the median seconds and the largest megabytes of several times."""
    times = [measure(lambda: sweep.exact(model, pairs, sweep.kind, progress=False).effect) for _ in range(REPEATS)]
    return (
        times[0].value,
        statistics.median(each.seconds for each in times),
        _largest(each.megabytes for each in times),
    )


def compare_in_full(model: TransformerBridge, pairs: PromptPairs) -> dict[str, Any]:
    """Both sweeps, both ways."""
    report: dict[str, Any] = {"prompts": len(pairs.clean), "tokens": pairs.clean.shape[1]}
    differences, plain_megabytes, exact_megabytes = [], [], []
    for name, sweep in SWEEPS.items():
        say(f"{name}: TransformerLens, every patch …")
        plain = measure(lambda: plain_sweep(model, pairs, sweep)[0])
        say(f"{name}: the exact way, {REPEATS} times …")
        effects, seconds, megabytes = exact_sweep(model, pairs, sweep)
        report |= _compared(name, plain.seconds, seconds)
        differences.append((effects - plain.value).abs().max().item())
        plain_megabytes.append(plain.megabytes)
        exact_megabytes.append(megabytes)
    report["max_difference"] = max(differences)
    megabytes = {"plain": _largest(plain_megabytes), "exact": _largest(exact_megabytes)}
    report["peak_megabytes"] = None if None in megabytes.values() else megabytes
    return report


def compare_by_sample(model: TransformerBridge, pairs: PromptPairs) -> dict[str, Any]:
    """The same two ratios, TransformerLens' time being estimated from some of its patches."""
    report: dict[str, Any] = {"prompts": len(pairs.clean), "tokens": pairs.clean.shape[1]}
    for name, sweep in SWEEPS.items():
        width = model.cfg.n_heads if name == "heads" else pairs.clean.shape[1]
        cells = [(layer, column) for layer in range(model.cfg.n_layers) for column in range(width)]
        sample = random.Random(0).sample(cells, min(SAMPLED_CELLS, len(cells)))
        say(f"{name}, {len(pairs.clean)} prompts of {pairs.clean.shape[1]} tokens …")
        start = time.perf_counter()
        _, patches = plain_sweep(model, pairs, sweep, sample)
        runs_before = time.perf_counter() - start - patches
        _, seconds, _ = exact_sweep(model, pairs, sweep)
        report |= _compared(name, runs_before + patches * len(cells) / len(sample), seconds)
        report["plain_seconds_estimated_from_cells"] = len(sample)
    return report


def benchmark(quick: bool) -> dict[str, Any]:
    """Everything that is reported."""
    say("loading the model …")
    model = toy_model() if quick else load_model(device="cpu")
    make_pairs = toy_pairs if quick else ioi_pairs
    pairs = make_pairs(model, PROMPTS)
    say("warming up …")
    for sweep in SWEEPS.values():
        plain_sweep(model, pairs, sweep, [(0, 0), (1, 1)])
        sweep.exact(model, pairs, sweep.kind, progress=False)
    report = compare_in_full(model, pairs)
    report["more_prompts"] = compare_by_sample(model, make_pairs(model, MORE_PROMPTS))
    report["longer_prompts"] = compare_by_sample(model, make_pairs(model, PROMPTS, LONGER))
    report["environment"] = environment(model)
    return report


def ioi_pairs(model: TransformerBridge, n: int, length: int | None = None) -> PromptPairs:
    """Indirect-object prompts; with `length`, their first clause grows until they have as many tokens."""
    for words in range(len(LONGER_CLAUSE) + 1 if length else 1):
        clause = " ".join(["{PLACE}", *LONGER_CLAUSE[:words]])
        templates = [template.replace("{PLACE}", clause) for template in WHEN_TEMPLATES]
        pairs = prompt_pairs(model, create_ioi_dataset(n, tokenizer=model.tokenizer, templates=templates))
        if length is None or pairs.clean.shape[1] >= length:
            return pairs
    raise ValueError(f"The longest clause gives {pairs.clean.shape[1]} tokens and not {length}: make it longer.")


def toy_model() -> TransformerBridge:
    """Small enough for a test, with the embedded model's kind of attention: rotary, grouped keys."""
    cfg = TransformerBridgeConfig(
        n_layers=5, n_heads=4, d_model=32, d_head=8, d_mlp=64, d_vocab=50, n_ctx=LONGER, act_fn="silu",
        seed=0, init_weights=True, normalization_type="RMS", positional_embedding_type="rotary",
        n_key_value_heads=2, gated_mlp=True, architecture="TransformerLensNative",
    )  # fmt: skip
    model = TransformerBridge.boot_native(cfg, device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 4  # as initialised, nothing has an effect
    model.enable_compatibility_mode(disable_warnings=True)
    return model.eval().requires_grad_(False)


def toy_pairs(model: TransformerBridge, n: int, length: int = 15) -> PromptPairs:
    """Random prompts that differ in their last five tokens, and what these speak for and against most."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(model.cfg.d_vocab, (n, length), generator=generator)
    corrupted = clean.clone()
    corrupted[:, -5:] = (corrupted[:, -5:] + 1) % model.cfg.d_vocab
    with torch.no_grad():
        change = model(clean)[:, -1] - model(corrupted)[:, -1]
    return PromptPairs(clean, corrupted, change.argmax(dim=-1), change.argmin(dim=-1))


def environment(model: TransformerBridge) -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        **machine_facts(),
        "transformer_lens": version("transformer-lens"),
        "model": str(model.cfg.model_name),
        "layers": model.cfg.n_layers,
        "heads": model.cfg.n_heads,
    }


def table(report: dict[str, Any]) -> str:
    """The report to read."""
    lines = [f"{'':<34}{'TransformerLens':>16}{'exact':>10}{'ratio':>8}"]
    for case in (report, report["more_prompts"], report["longer_prompts"]):
        for name in SWEEPS:
            seconds, about = (case[f"{name}_seconds"], "~" if "plain_seconds_estimated_from_cells" in case else "")
            title = f"{name}, {case['prompts']} prompts of {case['tokens']} tokens"
            ratio, plain = f"{case[f'{name}_ratio']:.1f}", f"{about}{seconds['plain']:.1f} s"
            lines.append(f"{title:<34}{plain:>16}{seconds['exact']:>8.2f} s{ratio:>8}")
    megabytes = report["peak_megabytes"]
    if megabytes is not None:
        lines.append(f"{'peak memory beyond the model':<34}{megabytes['plain']:>13.0f} MB{megabytes['exact']:>7.0f} MB")
    cells = report["more_prompts"]["plain_seconds_estimated_from_cells"]
    lines.append(f"largest difference of effects: {report['max_difference']:.1e}; ~: estimated from {cells} patches")
    lines.append(", ".join(f"{name} {value}" for name, value in report["environment"].items()))
    return "\n".join(lines)


def _compared(name: str, plain: float, exact: float) -> dict[str, Any]:
    seconds = {"plain": round(plain, 4), "exact": round(exact, 4)}
    return {f"{name}_ratio": round(plain / exact, 2), f"{name}_seconds": seconds}


def _largest(megabytes: Any) -> float | None:
    known = list(megabytes)
    return None if None in known else round(max(known), 1)
