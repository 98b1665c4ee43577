"""The model on a GPU, texts on the CPU: helpers bring them together and give the CPU's numbers.

    CUDA_VISIBLE_DEVICES=0 .venv/bin/python -m pytest tests/test_gpu.py -n 0

The suite itself runs on the CPU (see conftest.py), where this file is skipped.
"""

import pytest
import torch

from scripts.interp.circuits.head_scores import repeat_scores
from scripts.interp.features.contexts import sae_latents, top_contexts
from scripts.interp.features.intruder import intruder_trials, intruders_found, token_rarity
from scripts.interp.features.matching import best_feature, feature_f1, named_positions, token_list
from scripts.interp.features.predicates import PREDICATES
from scripts.interp.features.probes import best_threshold, difference_of_means, linear_probe
from scripts.interp.models.load import load_model
from scripts.interp.runs.at_hooks import hook_activations
from scripts.interp.runs.losses import next_token_losses
from scripts.interp.runs.steering import generate
from scripts.interp.saes.evaluate import evaluate_sae
from scripts.interp.saes.in_sae_lens import sae_lens_losses
from scripts.interp.saes.load import load_sae, sae_folder
from scripts.interp.saes.stored_activations import store_activations
from scripts.interp.text.corpus import load_corpus, packed_tokens
from tests.helper_calls import CALLS
from tests.scene import new_scene, numbers_in

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="no GPU is visible; with one: CUDA_VISIBLE_DEVICES=0 .venv/bin/python -m pytest tests/test_gpu.py -n 0",
)

DEVICES = ("cpu", "cuda")
HOOK = "blocks.0.mlp.hook_post"


@pytest.fixture(scope="module")
def toys():
    return [load_model("toy-mlp-1l", device=device) for device in DEVICES]


@pytest.fixture(scope="module")
def saes(toys):
    return [load_sae(toy, sae_folder(toy, "1x")) for toy in toys]


@pytest.fixture(scope="module")
def rows(toys):
    return packed_tokens(load_corpus("test"), toys[0].tokenizer, 128)[::40][:24]


def close(pair, atol=1e-4):
    return torch.allclose(pair[0], pair[1].cpu(), atol=atol)


@pytest.fixture(scope="module")
def scenes(tiny_folder, tiny_pairs):
    return [new_scene(tiny_folder("llama"), tiny_pairs, device=device) for device in DEVICES]


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("name", [name for name in CALLS if "drawn" not in name])  # a GPU draws other numbers
def test_every_helper(scenes, tmp_path, name, where):
    with torch.no_grad():
        on_cpu, on_gpu = (scene._replace(folder=tmp_path / device) for scene, device in zip(scenes, DEVICES))
        expected = list(numbers_in(CALLS[name](on_cpu)))
        found = list(numbers_in(CALLS[name](on_gpu.with_text(where))))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2, equal_nan=True)


def test_activations_and_losses(toys, rows):
    on_cpu, on_gpu = (hook_activations(toy, rows, [HOOK])[HOOK] for toy in toys)
    assert on_gpu.is_cuda and close((on_cpu, on_gpu))
    assert close([next_token_losses(toy, rows) for toy in toys])
    scores = [repeat_scores(toy, rows, 60) for toy in toys]
    assert all(close(pair) for pair in zip(*scores))


def test_what_is_stored(toys, rows, tmp_path):
    on_cpu, on_gpu = (
        store_activations(toy, [HOOK], rows, tmp_path / device)[HOOK] for toy, device in zip(toys, DEVICES)
    )
    assert on_cpu[2:] == on_gpu[2:]
    assert abs(on_cpu.values.astype("float32") - on_gpu.values.astype("float32")).max() < 0.01


def test_features_and_contexts(toys, saes, rows):
    latents = [sae_latents(toy, sae, rows) for toy, sae in zip(toys, saes)]
    assert latents[1].is_cuda and close(latents, 1e-3)
    contexts = [top_contexts(toy, sae, rows) for toy, sae in zip(toys, saes)]
    assert not contexts[1].tokens.is_cuda and close([each.activations[:, :, 12] for each in contexts], 1e-3)
    rarity = [token_rarity(each, toys[0].cfg.d_vocab) for each in (rows, rows.cuda())]
    assert torch.equal(*rarity)
    assert intruders_found(intruder_trials(contexts[1]), rarity[1]).float().mean() > 1 / 6


@pytest.mark.parametrize("where", DEVICES)
def test_an_sae_is_judged_alike(toys, saes, rows, where):
    wanted, text = torch.rand(rows.shape, generator=torch.Generator().manual_seed(0)) < 0.7, rows.to(where)
    judged = [
        evaluate_sae(toy, sae, HOOK, text, sae.cfg.metadata.norm_limit, 8, wanted) for toy, sae in zip(toys, saes)
    ]
    for field, (one, other) in zip(judged[0]._fields, zip(*judged)):
        assert one == pytest.approx(other, rel=1e-3), field
    losses = [sae_lens_losses(toy, sae, text[:4]) for toy, sae in zip(toys, saes)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_descriptions_and_probes(toys, saes, rows):
    found = []
    for toy, sae, tokens in zip(toys, saes, (rows, rows.cuda())):
        named = named_positions(PREDICATES["continues_word"], toy.tokenizer, tokens)
        assert named.device == tokens.device
        named, x = named.flatten(), hook_activations(toy, tokens, [HOOK])[HOOK].flatten(0, 1)
        active = sae_latents(toy, sae, tokens).flatten(0, 1) > 0
        match = best_feature(active, named)
        numbers = [match.f1, feature_f1(active[:, [match.feature]], named).item()]
        for fit in (difference_of_means, linear_probe):
            scores = x @ fit(x, named)
            numbers.append(feature_f1((scores > best_threshold(scores, named))[:, None], named).item())
        found.append((match.feature, token_list(tokens.flatten(), active[:, match.feature]).tolist(), numbers))
    assert found[0][:2] == found[1][:2] and found[0][2] == pytest.approx(found[1][2], abs=0.02)


def test_sampling_leaves_the_random_state_alone(toys):
    torch.manual_seed(3)
    before = torch.cuda.get_rng_state()
    prompt = torch.tensor([[0, 300, 301]])
    texts = [generate(toys[1], prompt, 8, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(texts[0], texts[1]) and not torch.equal(texts[0], texts[2])
    assert torch.equal(before, torch.cuda.get_rng_state())
