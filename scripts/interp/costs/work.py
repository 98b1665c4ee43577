"""What is measured: loading, running, caching, patching, and the training of SAEs. Each job is for a fresh process.

A job gives rows. `tensors_mb` is what distinct tensors occupy, `names` how many names they have in a cache, `named_mb`
what they would occupy if every name were a tensor of its own. 1 MB is 1,000,000 bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from scripts.interp.costs.measuring import Place, exact_products, held_now, process_peak, take

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

GPT2 = "gpt2-small, random weights"  # time and memory do not depend on what the weights are
PROMPTS = (1, 10)
ROW = 256  # tokens in a row of text, as SAEs are trained on
MEASURED_ROWS, MANY_TOKENS = 16, 100_000
SAES = {  # by row: architecture, d_in, latents, k, tokens in a step
    "step of the shipped SAE's recipe": ("batchtopk", 576, 4608, 40, 2048),
    "step of an SAE of 10,000 latents": ("topk", 576, 10_000, 32, 2048),
    "step of an SAE as in the published lab": ("standard", 768, 3072, None, 256),
}
QUICK_SAES = {"step of the shipped SAE's recipe": ("batchtopk", 16, 64, 4, 32)}
Row = dict[str, Any]


def run(job: str, place: Place) -> list[Row]:
    """The rows of one job. Raises KeyError for one that there is not."""
    import torch

    torch.set_num_threads(place.threads)
    torch.manual_seed(0)
    exact_products()
    return JOBS[job](place)


def imports(place: Place) -> list[Row]:
    """What the libraries take before there is a model."""
    rows = []
    for name in ("torch",) if place.quick else ("torch", "transformer_lens", "sae_lens"):
        start = time.perf_counter()
        __import__(name)
        peak = process_peak()
        seconds = {"seconds": round(time.perf_counter() - start, 2)} if name != "torch" else {}  # it is there already
        rows.append({"work": f"import {name}", "peak_mb": None if peak is None else round(peak)} | seconds)
    return rows


def loading(place: Place) -> list[Row]:
    """From the disk into memory, once: a second time the disk's cache would help."""
    import transformer_lens  # noqa: F401  # so that its time is not the model's

    before = held_now(place.device)
    done = take(lambda: model_of(place), place.device, warm_up=False)
    after = held_now(place.device)
    stays = {"stays_mb": None if before is None else round(after - before, 1), "disk_mb": on_disk(place)}
    return [{"work": "load the model", **sizes(done.value), **stays, **done.as_row()}]


def running(place: Place) -> list[Row]:
    """One prompt and ten: the run alone, with every activation kept, and with one kind."""
    from scripts.interp.runs.caches import cache_filter

    model, rows = model_of(place), []
    some = cache_filter(model, "resid_post")
    prompts = pairs_of(model, max(PROMPTS), place).clean
    texts = [(n, prompts[:n]) for n in PROMPTS] + [(1, text_rows(model, 1, place))]
    for n, tokens in texts:
        shape = {"prompts": n, "tokens": tokens.shape[1]}
        done = take(_without_gradients(lambda: model(tokens)), place.device, 5 if n == 1 else 3)
        rows.append({"work": "run", **shape, **done.as_row()})
        for work, names in (("run, cache everything", None), ("run, cache resid_post", some)):
            done = take(_without_gradients(lambda: model.run_with_cache(tokens, names_filter=names)), place.device, 3)
            rows.append({"work": work, **shape, **held(done.value[1]), **done.as_row()})
            done = None
    return rows


def patching(place: Place) -> list[Row]:
    """Two full caches and one patched run; then all heads of a model in turn, four pairs of prompts."""
    from scripts.interp.circuits.patching import patch_heads

    model = model_of(place)
    pairs = pairs_of(model, 4, place)
    name = f"blocks.{model.cfg.n_layers // 2}.hook_resid_post"

    def with_two_caches() -> tuple[Any, Any, Any]:
        _, clean = model.run_with_cache(pairs.clean[:1])
        _, corrupted = model.run_with_cache(pairs.corrupted[:1])
        patch = [(name, lambda activation, hook: clean[hook.name])]
        return clean, corrupted, model.run_with_hooks(pairs.corrupted[:1], fwd_hooks=patch)

    done = take(_without_gradients(with_two_caches), place.device, 3)
    both = [held(cache)["tensors_mb"] for cache in done.value[:2]]
    shape = {"prompts": 1, "tokens": pairs.clean.shape[1]}
    rows = [{"work": "patch with two full caches", **shape, "tensors_mb": sum(both), **done.as_row()}]
    if place.model != GPT2:  # random heads have no answer to bring back
        done = take(lambda: patch_heads(model, pairs, progress=False).effect, place.device, warm_up=False)
        shape = {"prompts": len(pairs.clean), "tokens": pairs.clean.shape[1], "patches": done.value.numel()}
        rows.append({"work": "patch every head", **shape, **done.as_row()})
    return rows


def many_tokens(place: Place) -> list[Row]:
    """Activations of one hook point over some rows of text; what 100,000 tokens occupy is counted from that."""
    import torch

    from scripts.interp.runs.at_hooks import hook_activations

    model = model_of(place)
    hook, rows = f"blocks.{model.cfg.n_layers * 2 // 5}.hook_resid_post", text_rows(model, MEASURED_ROWS, place)

    def collect() -> Tensor:
        return torch.cat([hook_activations(model, part, [hook])[hook].flatten(0, 1) for part in rows.split(8)])

    done = take(collect, place.device, warm_up=False)
    n, share = rows.numel(), MANY_TOKENS / rows.numel()
    occupied = done.value.nbytes / 1e6
    whole = {"scaled_seconds": round(done.seconds[0] * share, 1), "scaled_tensors_mb": round(occupied * share, 1)}
    shape = {"hook": hook, "prompts": len(rows), "tokens": rows.shape[1], "n_tokens": n, "scaled_to": MANY_TOKENS}
    occupies = {"tensors_mb": round(occupied, 2), **whole}
    return [{"work": "activations of one hook point", **shape, **occupies, **done.as_row()}]


def quick_training(place: Place) -> list[Row]:
    """An SAE as a lab trains it while one watches."""
    import torch

    from scripts.interp.saes.quick import quick_sae

    n, d_in, steps = (256, 16, 5) if place.quick else (4096, 576, 150)
    batch = 64 if place.quick else 512
    x = torch.randn(n, d_in)
    done = take(
        lambda: quick_sae(x, "topk", steps, batch, width=3, k=8 if place.quick else 32, learning_rate=3e-3)[0],
        "cpu",
        warm_up=False,
    )
    shape = {"d_in": d_in, "latents": 3 * d_in, "batch": batch, "steps": steps}
    return [{"work": "an SAE in a lab, whole training", **shape, **done.as_row()}]


def sae_step(work: str) -> Callable[[Place], list[Row]]:
    """A job for steps of one SAE's training by sae-lens, on random numbers."""

    def job(place: Place) -> list[Row]:
        import torch
        from sae_lens.config import SAETrainerConfig
        from sae_lens.registry import get_sae_training_class
        from sae_lens.training.sae_trainer import SAETrainer

        architecture, d_in, latents, k, batch = (QUICK_SAES if place.quick else SAES)[work]
        sae_class, config = get_sae_training_class(architecture)
        more = {} if k is None else {"k": k}

        def new_trainer() -> SAETrainer:
            sae = sae_class(config(d_in=d_in, d_sae=latents, device=place.device, **more))
            cfg = SAETrainerConfig(batch * 1000, batch, device=place.device, lr=1e-3, lr_end=1e-3)
            return SAETrainer(cfg, sae, iter(()))

        def train(steps: int) -> SAETrainer:
            trainer = new_trainer()
            for _ in range(steps):
                trainer.step(torch.randn(batch, d_in, device=place.device))
            return trainer

        first = take(lambda: train(2), place.device, warm_up=False)  # the SAE, its gradients and Adam's moments
        trainer, x = first.value, torch.randn(batch, d_in, device=place.device)
        timed = take(lambda: trainer.step(x), place.device, 5)
        parameters = sum(parameter.numel() for parameter in trainer.sae.parameters())
        shape = {"d_in": d_in, "latents": latents, "batch": batch, "k": k, "architecture": architecture}
        memory = {name: first.as_row()[name] for name in ("grew_mb", "peak_mb")}
        return [{"work": work, **shape, "parameters": parameters, **timed.as_row(), **memory}]

    return job


JOBS: dict[str, Callable[[Place], list[Row]]] = {
    "imports": imports,
    "loading": loading,
    "running": running,
    "patching": patching,
    "many tokens": many_tokens,
    "quick training": quick_training,
    **{work: sae_step(work) for work in SAES},
}


def model_of(place: Place) -> TransformerBridge:
    """The model that a place names."""
    import torch

    if place.quick:
        from scripts.interp.circuits.benchmark import toy_model

        return toy_model()
    if place.model == GPT2:
        return gpt2_at_random(place.device, getattr(torch, place.dtype))
    from scripts.interp.models.load import load_model

    return load_model(place.model, place.device, place.dtype)


def gpt2_at_random(device: str, dtype: Any) -> TransformerBridge:
    """A model of the size and the shape of GPT-2 small, with the embedded model's tokenizer: no download."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

    from scripts.interp.models.boot import boot
    from scripts.interp.models.embedded import prepared_model_folder

    class AtRandom:
        @staticmethod
        def from_pretrained(source: str, **options: Any) -> Any:
            return AutoModelForCausalLM.from_config(options["config"], dtype=dtype)

    with TemporaryDirectory() as folder:
        GPT2Config().save_pretrained(folder)
        AutoTokenizer.from_pretrained(prepared_model_folder()).save_pretrained(folder)
        return boot(folder, GPT2, device, dtype, check=False, model_class=AtRandom)


def on_disk(place: Place) -> float | None:
    """MB of the model's files; None for what is no file."""
    from scripts.interp.models.embedded import NAME, prepared_model_folder

    if place.quick or place.model != NAME:
        return None
    return round(
        sum(file.stat().st_size for file in Path(prepared_model_folder()).rglob("*") if file.is_file()) / 1e6, 1
    )


def sizes(model: TransformerBridge) -> Row:
    """Parameters of the model as the labs use it, and what they occupy; shared ones count once."""
    shared = {parameter.data_ptr(): parameter for parameter in model.parameters()}.values()
    occupied = sum(parameter.nbytes for parameter in shared) / 1e6
    return {"parameters": sum(parameter.numel() for parameter in shared), "weights_mb": round(occupied, 1)}


def held(cache: Any) -> Row:
    """What a cache holds: distinct tensors in MB, their names, and what the names would occupy one by one."""
    from scripts.interp.runs.caches import cache_megabytes

    named = sum(tensor.nbytes for tensor in cache.values()) / 1e6
    distinct = {tensor.untyped_storage().data_ptr() for tensor in cache.values()}
    return {"tensors_mb": round(cache_megabytes(cache), 2), "names": len(cache), "tensors": len(distinct),
            "named_mb": round(named, 2)}  # fmt: skip


def pairs_of(model: TransformerBridge, n: int, place: Place) -> Any:
    """Pairs of indirect-object prompts on the model's device."""
    from scripts.interp.circuits.benchmark import ioi_pairs, toy_pairs

    pairs = toy_pairs(model, n) if place.quick else ioi_pairs(model, n)
    return type(pairs)(*(each.to(place.device) for each in pairs))


def text_rows(model: TransformerBridge, n: int, place: Place) -> Tensor:
    """Rows of random tokens behind BOS, [n, ROW]: what is in them makes no difference to time and memory."""
    import torch

    length = 16 if place.quick else ROW
    rows = torch.randint(model.cfg.d_vocab, (n, length), device=place.device)
    rows[:, 0] = 0 if place.quick else model.tokenizer.bos_token_id
    return rows


def _without_gradients(work: Callable[[], Any]) -> Callable[[], Any]:
    import torch

    return torch.no_grad()(work)
