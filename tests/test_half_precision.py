"""Helpers on models in bfloat16 and float16: they run, and give what they give in float32, up to rounding."""

import warnings

import pytest
import torch

from scripts.interp.base.statistics import rank_correlation
from scripts.interp.circuits.ablation import ablate_heads, mean_head_outputs, run_circuit
from scripts.interp.circuits.attribution_patching import attribute_heads
from scripts.interp.circuits.direct_effects import head_direct_effects
from scripts.interp.circuits.head_scores import repeat_scores
from scripts.interp.circuits.patching import patch_heads, patch_stream
from scripts.interp.circuits.path_patching import path_patch
from scripts.interp.circuits.prompt_pairs import PromptPairs, prompt_pairs
from scripts.interp.circuits.sweeps import exact_route
from scripts.interp.features.contexts import BEFORE, strongest_contexts
from scripts.interp.features.probes import best_threshold, difference_of_means, linear_probe
from scripts.interp.models.load import EMBEDDED, load_model
from scripts.interp.runs.activation_file import load_activations, save_activations
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, norm_limit
from scripts.interp.runs.caches import cpu_hooks
from scripts.interp.runs.hooks import run_with_hooks, zero_head
from scripts.interp.runs.logits import compute_logit_diff, get_top_predictions, logit_lens
from scripts.interp.runs.losses import next_token_losses
from scripts.interp.runs.residual import get_residual_stream_norms
from scripts.interp.runs.steering import add_direction, generate
from scripts.interp.text.ioi import create_ioi_dataset
from tests.helper_calls import CALLS
from tests.scene import new_scene, numbers_in

HOOK = "blocks.1.hook_resid_post"
HALVES = [("llama", "bfloat16"), ("llama", "float16"), *((n, "bfloat16") for n in ("gemma2", "granite", "neox"))]


@pytest.fixture(autouse=True)
def no_word_about_the_plain_way():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No exact route")
        yield


def measured(model, pairs, tmp_path):
    """What helpers give, by name; effects as the logit differences that they are made of."""
    clean, corrupted, layers = pairs.clean, pairs.corrupted, model.cfg.n_layers
    means, x = mean_head_outputs(model, corrupted), hook_activations(model, clean, [HOOK])[HOOK]
    named = torch.arange(clean.numel()) % 3 == 0
    direction = torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(0))
    special = torch.arange(clean.shape[1]).expand_as(clean) == 0
    stored, out = {}, {}
    out["logit differences"] = compute_logit_diff(model(clean), pairs.answers, pairs.wrong_answers, per_prompt=True)
    out["lens"] = logit_lens(model, clean[0])
    out["norms"] = get_residual_stream_norms(model, clean[0])
    out["losses"] = next_token_losses(model, clean)
    out["means"] = means
    out["ablated"] = ablate_heads(model, clean, [(1, 1)])
    out["ablated to means"] = ablate_heads(model, clean, [(1, 1)], means.float())  # as they come from a file, say
    out["circuit"] = run_circuit(model, clean, [(1, 1), (0, 0)], means)
    out["direct"] = head_direct_effects(model, pairs)
    out["direct from means"] = head_direct_effects(model, pairs, means.float())
    out["limit"] = torch.tensor(norm_limit(x, special))
    out["kept"] = kept_positions(x, special, norm_limit(x, special)).float()
    out["difference of means"] = difference_of_means(x.flatten(0, 1), named)
    out["threshold"] = torch.tensor(best_threshold(x.flatten(0, 1)[:, 0], named))
    out["steered"] = run_with_hooks(model, clean, [(HOOK, add_direction(direction, 1e9))])
    out["with a hook's float32"] = run_with_hooks(model, clean, [(HOOK, lambda x, hook: x.float() + direction)])
    out["without a head"] = run_with_hooks(model, clean, [zero_head(model, 1, 0)])
    model.run_with_hooks(clean, fwd_hooks=cpu_hooks(model, [HOOK], stored))
    out["on the CPU"] = stored[HOOK]
    path = save_activations(tmp_path / "a.pt", x[:, -1], layer=1, prompts=["a text"] * len(x), model_name="a model")
    out["from a file"] = load_activations(path)["activations"]
    twice = torch.cat([clean[:, :4], clean[:, 1:4]], dim=1)
    out["scores"] = torch.stack(repeat_scores(model, twice, 3))
    if layers < 5:  # takes a while on a larger model
        sweeps = [patch_stream(model, pairs, kind, normalise=False) for kind in ("resid_pre", "mlp_out")]
        sweeps += [patch_heads(model, pairs, kind, normalise=False) for kind in ("z", "q", "k", "v", "pattern")]
        sweeps += [path_patch(model, pairs, [(2, 1)], "v", normalise=False, direct=direct) for direct in (False, True)]
        sweeps.append(path_patch(model, pairs, [(2, 1)], "q", normalise=False, direct=True, plain=True))
        out["sweeps"] = torch.cat([sweep.per_prompt.flatten(1) for sweep in sweeps], dim=1)
        out["attributed"] = attribute_heads(model, pairs)
        low, high = sweeps[2].interval()
        assert (low <= high).all()
        contexts = strongest_contexts(
            lambda tokens: hook_activations(model, tokens, [HOOK])[HOOK], model.cfg.d_model, clean, 0, 2
        )
        out["contexts"] = contexts.activations[..., BEFORE]  # which tokens are next to ties depends on rounding
    # What depends on rounding too much to be compared: that it runs, and says something.
    assert linear_probe(x.flatten(0, 1), named).isfinite().all()
    assert generate(model, clean[:1], 2, [(HOOK, lambda x, hook: x.float())]).shape == (1, clean.shape[1] + 2)
    assert len(get_top_predictions(model, clean[0], 3)) == 3
    return out


def compare(half, full, tolerance):
    far = {}
    for name, expected in full.items():
        distance = ((half[name].float() - expected).norm() / expected.norm()).item()
        if not distance < tolerance:
            far[name] = distance
    assert not far and all(value.isfinite().all() for value in half.values())


@pytest.mark.parametrize("name, dtype", HALVES)
def test_tiny_models(tiny, tiny_pairs, tmp_path, name, dtype):
    half, full = (measured(tiny(name, kind), tiny_pairs, tmp_path) for kind in (dtype, "float32"))
    compare(half, full, {"bfloat16": 0.12, "float16": 0.02}[dtype])
    for exact in ("logit differences", "losses", "direct", "difference of means", "scores"):
        assert half[exact].dtype == torch.float32


@pytest.fixture(scope="module")
def scene(tiny_folder, tiny_pairs):
    return new_scene(tiny_folder("llama"), tiny_pairs, "bfloat16")


@pytest.mark.parametrize("name", CALLS)
def test_every_helper_runs(scene, tmp_path, name):
    with torch.no_grad():
        assert all(value.isfinite().all() for value in numbers_in(CALLS[name](scene._replace(folder=tmp_path))))


def test_the_embedded_model(model, tmp_path):
    half = load_model(EMBEDDED, device="cpu", dtype="bfloat16")
    data = create_ioi_dataset(2, tokenizer=model.tokenizer, templates=["When {IO} and {S} met, {S} thanked"])
    pairs = PromptPairs(*(part[:1] for part in prompt_pairs(model, data)))
    of_half, of_full = (measured(m, pairs, tmp_path) for m in (half, model))
    compare(of_half, of_full, 0.12)
    assert rank_correlation(of_half["direct"].mean(0), of_full["direct"].mean(0)) > 0.95
    assert exact_route(half, pairs.clean) is not None
