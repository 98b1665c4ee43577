"""One call of every helper that gets a model, an SAE or tensors: what must hold for all of them is tried on this list.

A new helper is a line in CALLS: a function of a `Scene` that returns tensors, numbers, or what holds them. Text, masks
and pairs of a scene may lie elsewhere than its models.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scripts.interp.base import statistics
from scripts.interp.base.tables import table
from scripts.interp.circuits.ablation import ablate_heads, mean_head_outputs, run_circuit
from scripts.interp.circuits.attribution_patching import attribute_heads
from scripts.interp.circuits.direct_effects import head_direct_effects
from scripts.interp.circuits.head_scores import repeat_scores
from scripts.interp.circuits.patching import patch_heads, patch_stream
from scripts.interp.circuits.path_patching import path_patch
from scripts.interp.circuits.prompt_pairs import pair_differences
from scripts.interp.features.contexts import context_text, sae_latents, top_contexts
from scripts.interp.features.intruder import context_vectors, intruder_trials, intruders_found, token_rarity
from scripts.interp.features.matching import best_feature, feature_f1, nearest_directions, token_list
from scripts.interp.features.probes import best_threshold, difference_of_means, linear_probe
from scripts.interp.figures.curves import plot_densities
from scripts.interp.figures.features import plot_activations
from scripts.interp.figures.heads import plot_residual_norms
from scripts.interp.planted.dictionary import match_directions
from scripts.interp.runs.activation_file import load_activations, save_activations
from scripts.interp.runs.at_hooks import kept_positions, norm_limit, special_positions
from scripts.interp.runs.caches import cache_megabytes, cpu_hooks
from scripts.interp.runs.heads import strongest
from scripts.interp.runs.hooks import run_with_hooks, zero_head
from scripts.interp.runs.logits import compute_logit_diff, get_top_predictions, logit_lens
from scripts.interp.runs.losses import in_context_scores, losses_of_logits, next_token_losses
from scripts.interp.runs.residual import get_residual_stream_norms, relative_error
from scripts.interp.runs.steering import add_direction, clamp_feature, generate
from scripts.interp.runs.token_positions import token_positions
from scripts.interp.saes.evaluate import evaluate_sae, fvu_and_l0, splice
from scripts.interp.saes.in_sae_lens import attached, dictionary_as_sae, sae_lens_losses
from scripts.interp.saes.monosemanticity import new_dictionary
from scripts.interp.saes.quick import quick_sae
from scripts.interp.saes.stored_activations import store_activations
from scripts.interp.saes.untrained import untrained_copy
from tests.scene import Scene
from tests.selfie_calls import SELFIE_CALLS


def special(scene: Scene) -> Tensor:
    return special_positions(scene.toy, scene.rows)


def kept(scene: Scene) -> Any:
    x = scene.x().unflatten(0, scene.rows.shape)
    limit = norm_limit(x, special(scene))
    return limit, kept_positions(x, special(scene), limit)


def hooked(scene: Scene, *hooks: Any) -> Tensor:
    return run_with_hooks(scene.toy, scene.rows, list(hooks))


def steered(scene: Scene) -> Tensor:
    direction = torch.ones(scene.sae.cfg.d_in)
    return generate(scene.toy, scene.rows[:1, :8], 3, [(scene.hook, add_direction(direction, 1e9))], temperature=0)


def copied_to_cpu(scene: Scene) -> Tensor:
    stored: dict[str, Tensor] = {}
    scene.toy.run_with_hooks(
        scene.rows[:2].to(scene.toy.cfg.device), fwd_hooks=cpu_hooks(scene.toy, [scene.hook], stored)
    )
    return stored[scene.hook]


def from_a_file(scene: Scene) -> Tensor:
    x = scene.x()[:3]
    path = save_activations(scene.folder / "a.pt", x, layer=0, prompts=["a"] * 3, model_name="a model")
    return load_activations(path)["activations"]


def stored(scene: Scene) -> Any:
    found = store_activations(scene.toy, [scene.hook], scene.rows, scene.folder / "stored", wanted=scene.wanted)
    return torch.from_numpy(found[scene.hook].values[:4].copy()), found[scene.hook][1:]


def intruders(scene: Scene) -> Tensor:
    rarity = token_rarity(scene.rows, scene.toy.cfg.d_vocab)
    trials = intruder_trials(top_contexts(scene.toy, scene.sae, scene.rows), n_shown=2)
    return intruders_found(trials, rarity).float().mean()


def spliced(scene: Scene) -> Tensor:
    return hooked(scene, (scene.hook, splice(torch.ones(scene.sae.cfg.d_in), scene.wanted)))


def with_sae_lens(scene: Scene) -> Tensor:
    with attached(scene.toy, scene.sae):
        return scene.toy(scene.rows[:2].to(scene.toy.cfg.device))


def dictionary(scene: Scene) -> tuple[float, float]:
    d_in = scene.sae.cfg.d_in
    made = new_dictionary(d_in, 8, torch.zeros(d_in), torch.Generator().manual_seed(0))
    return fvu_and_l0(dictionary_as_sae(made), scene.x())


def trained_quickly(scene: Scene) -> Tensor:
    sae, _ = quick_sae(scene.x(), "topk", 2, batch=64, width=1, k=4)
    return sae.encode(scene.x()).shape[1]


def untrained(scene: Scene) -> Tensor:
    control = untrained_copy(scene.sae, scene.x())
    return (control.encode(scene.x().to(control.device)) != 0).sum(dim=-1).float().mean()


def means_of(scene: Scene) -> Tensor:
    return mean_head_outputs(scene.random, scene.pairs.corrupted)


def sweep(scene: Scene, function: Callable, *more: Any, **options: Any) -> Any:
    result = function(scene.random, scene.pairs, *more, normalise=False, **options)
    return result.effect, result.per_prompt, *result.interval()


def logits(scene: Scene) -> Tensor:
    return scene.random(scene.pairs.clean.to(scene.random.cfg.device))


def long_logits(scene: Scene) -> Tensor:
    return scene.toy(scene.rows.to(scene.toy.cfg.device))


def sae_elsewhere(scene: Scene) -> Any:
    """An SAE on the CPU, as one that was just trained."""
    d_in = scene.sae.cfg.d_in
    made = dictionary_as_sae(new_dictionary(d_in, 8, torch.zeros(d_in), torch.Generator().manual_seed(0)))
    made.cfg.metadata.hook_name = scene.hook
    judged = evaluate_sae(scene.toy, made, scene.hook, scene.rows, 100.0, 4)
    return (
        judged,
        hooked(scene, (scene.hook, clamp_feature(made, 3, 9.0, 1e9))),
        sae_latents(scene.toy, made, scene.rows),
    )


def drawn(figure: Any) -> float:
    return len(figure.to_json()) > 0


CALLS: dict[str, Callable[[Scene], Any]] = {
    **SELFIE_CALLS,
    "special positions": special,
    "hook_activations": lambda s: s.x()[:5],
    "kept_positions": kept,
    "next_token_losses": lambda s: next_token_losses(s.toy, s.rows),
    "losses_of_logits": lambda s: losses_of_logits(long_logits(s)[:, :-1], s.rows[:, 1:]),
    "in_context_scores": lambda s: in_context_scores(long_logits(s), s.rows),
    "get_top_predictions": lambda s: [p.probability for p in get_top_predictions(s.toy, s.rows[0, :8], 3)],
    "logit_lens": lambda s: logit_lens(s.random, s.pairs.clean[0]),
    "residual norms": lambda s: get_residual_stream_norms(s.random, s.pairs.clean[0]),
    "relative_error": lambda s: relative_error(s.x() + 1, s.x() + 2),
    "token_positions": lambda s: token_positions(s.toy, "The cat saw the cat", "cat"),
    "compute_logit_diff": lambda s: compute_logit_diff(logits(s), s.pairs.answers, s.pairs.wrong_answers),
    "pair_differences": lambda s: pair_differences(logits(s), s.pairs),
    "zero_head": lambda s: run_with_hooks(s.random, s.pairs.clean, [zero_head(s.random, 1, 0)]),
    "add_direction": lambda s: hooked(s, (s.hook, add_direction(torch.ones(s.sae.cfg.d_in), 1e9))),
    "clamp_feature": lambda s: hooked(s, (s.hook, clamp_feature(s.sae, 3, 2.0, 1e9))),
    "generate": steered,
    "cpu_hooks": copied_to_cpu,
    "save_activations": from_a_file,
    "cache_megabytes": lambda s: cache_megabytes({"x": s.x()}),
    "strongest": lambda s: strongest(means_of(s).norm(dim=-1).mean(dim=1), 3),
    "mean_head_outputs": means_of,
    "ablate_heads": lambda s: ablate_heads(s.random, s.pairs.clean, [(1, 1)]),
    "ablate_heads, means of a file": lambda s: ablate_heads(s.random, s.pairs.clean, [(1, 1)], means_of(s).cpu()),
    "run_circuit": lambda s: run_circuit(s.random, s.pairs.clean, [(1, 1)], means_of(s)),
    "repeat_scores": lambda s: repeat_scores(s.random, torch.cat([s.pairs.clean, s.pairs.clean[:, 1:]], dim=1), 7),
    "attribute_heads": lambda s: attribute_heads(s.random, s.pairs),
    "head_direct_effects": lambda s: head_direct_effects(s.random, s.pairs, means_of(s).cpu()),
    **{
        f"patch_stream {kind}{', plain' * plain}": partial(sweep, function=patch_stream, kind=kind, plain=plain)
        for kind, plain in (("resid_pre", False), ("mlp_out", False), ("attn_out", False))
    },
    **{
        f"patch_heads {kind}{', plain' * plain}": partial(sweep, function=patch_heads, kind=kind, plain=plain)
        for kind, plain in (("z", False), ("q", False), ("k", False), ("pattern", False), ("v", True))
    },
    "path_patch": lambda s: sweep(s, path_patch, [(2, 1)], "v"),
    "path_patch, direct": lambda s: sweep(s, path_patch, [(2, 1)], "q", direct=True),
    "path_patch, plain": lambda s: sweep(s, path_patch, [(1, 1)], "k", plain=True),
    "sae_latents": lambda s: sae_latents(s.toy, s.sae, s.rows),
    "top_contexts": lambda s: top_contexts(s.toy, s.sae, s.rows).activations[:, :, 12],
    "context_text": lambda s: len(context_text(s.toy, s.rows[0])),
    "context_vectors": lambda s: context_vectors(s.rows[:, :17], token_rarity(s.rows, s.toy.cfg.d_vocab)),
    "intruders_found": intruders,
    "named_positions": lambda s: s.named(),
    "best_feature": lambda s: best_feature(s.active(), s.named()).f1,
    "feature_f1": lambda s: feature_f1(s.active(), torch.stack([s.named(), ~s.named()])),
    "token_list": lambda s: token_list(s.rows.flatten(), s.active()[:, 5]),
    "nearest_directions": lambda s: nearest_directions(s.sae.W_dec[:5], torch.eye(s.sae.cfg.d_in)),
    "match_directions": lambda s: match_directions(s.sae.W_dec, torch.eye(s.sae.cfg.d_in)[:5])[1],
    "difference_of_means": lambda s: difference_of_means(s.x(), s.named()),
    "linear_probe": lambda s: linear_probe(s.x(), s.named()) / 100,
    "best_threshold": lambda s: best_threshold(s.x()[:, 0], s.named()),
    "evaluate_sae": lambda s: evaluate_sae(s.toy, s.sae, s.hook, s.rows, 100.0, 4, s.wanted),
    "fvu_and_l0": lambda s: fvu_and_l0(s.sae, s.x()),
    "splice": spliced,
    "store_activations": stored,
    "sae_lens_losses": lambda s: list(sae_lens_losses(s.toy, s.sae, s.rows).values()),
    "attached": with_sae_lens,
    "dictionary_as_sae": dictionary,
    "quick_sae": trained_quickly,
    "untrained_copy": untrained,
    "bootstrap_interval": lambda s: statistics.bootstrap_interval(s.x()[:9, 0]),
    "ratio": lambda s: statistics.ratio(s.x()[:9, 0] + 1, s.x()[:9, 1] + 1),
    "rank_correlation": lambda s: statistics.rank_correlation(s.sae.W_dec[0], torch.arange(s.sae.cfg.d_in)),
    "rank_agreement": lambda s: statistics.rank_agreement(s.sae.W_dec[:4]),
    "largest_mean_p": lambda s: statistics.largest_mean_p(s.sae.W_dec[:4], 20),
    "shuffled_distances": lambda s: statistics.shuffled_distances(s.x()[:4], s.x()[4:9], 3),
    "an SAE on the CPU": sae_elsewhere,
    "plot_activations": lambda s: drawn(plot_activations({"a": s.x()[:, 0]}, {"a": s.named()})),
    "plot_densities": lambda s: drawn(plot_densities({"a": s.active().float().mean(dim=0)}, s.rows.numel())),
    "plot_residual_norms": lambda s: drawn(
        plot_residual_norms(get_residual_stream_norms(s.random, s.pairs.clean[0]), list("abcdefgh"))
    ),
    "table": lambda s: len(table([{"x": s.x()[0, 0], "y": 1}])),
}
