"""The SAE that ships: it is what its metrics and its card say, judged here anew on a little held-out text."""

import json

import pytest
import torch
from sae_lens import SAE

from scripts.interp.features.contexts import AFTER, BEFORE, CONTEXTS_FILE, load_contexts, sae_latents
from scripts.interp.features.matching import best_feature, feature_f1, named_positions
from scripts.interp.features.predicates import PREDICATES
from scripts.interp.saes.cards import model_card
from scripts.interp.saes.evaluate import evaluate_sae
from scripts.interp.saes.load import FILES, load_sae, sae_folder, sweep_file
from scripts.interp.saes.recipes import Settings
from scripts.interp.saes.untrained import untrained_copy
from scripts.interp.text.corpus import load_corpus, packed_tokens

CONTEXT = Settings("", "").context


@pytest.fixture(scope="module")
def folder(model):
    return sae_folder(model)


@pytest.fixture(scope="module")
def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def sae(model):
    return load_sae(model)


def test_it_opens_with_sae_lens_alone_and_is_small(folder, sae):
    opened = SAE.load_from_disk(folder)
    assert torch.equal(opened.W_dec, sae.W_dec) and opened.W_dec.dtype == torch.float32
    assert opened.cfg.d_sae == 8 * opened.cfg.d_in == 8 * 576
    assert sum((folder / name).stat().st_size for name in FILES) < 12e6


def test_it_reaches_what_was_aimed_at(metrics):
    for text, least in (("test", 0.95), ("library", 0.9)):
        held_out = metrics["held_out"][text]
        value, low, high = held_out["recovered_mean"]
        assert value >= least and low < value < high
        assert held_out["l0"][0] <= 64 and held_out["dead_fraction"] <= 0.05
        assert held_out["n_tokens"] > 20_000 and held_out["n_predicted"] > 9_000
    assert metrics["tokens"] * metrics["settings"]["passes"] > 2e6
    half, single = metrics["precision"]["half"], metrics["precision"]["single"]
    assert (
        abs(half["fvu"][0] - single["fvu"][0]) < 1e-3
        and abs(half["recovered_mean"][0] - single["recovered_mean"][0]) < 1e-3
    )


def test_the_card_says_what_the_metrics_say(folder, metrics):
    assert (folder / "README.md").read_text() == model_card(folder.name, metrics)


def test_the_weights_are_those_that_were_judged(model, sae, metrics):
    rows = packed_tokens(load_corpus("test"), model.tokenizer, CONTEXT)[:6]
    hook_name, limit = sae.cfg.metadata.hook_name, sae.cfg.metadata.norm_limit
    assert limit == pytest.approx(metrics["norm_limit"])
    here, there = evaluate_sae(model, sae, hook_name, rows, limit, 2), metrics["held_out"]["test"]
    for key in ("fvu", "l0", "recovered_mean"):
        assert getattr(here, key).value == pytest.approx(there[key][0], rel=0.2), key
    x = torch.randn(2000, 576, generator=torch.Generator().manual_seed(0)) + sae.b_dec
    control = evaluate_sae(model, untrained_copy(sae, x), hook_name, rows, limit, 2)
    assert control.fvu.value > 3 * here.fvu.value and control.recovered_mean.value < here.recovered_mean.value - 0.1


def test_some_features_can_be_described(model, sae):
    """Three predicates fit a feature, on text that the feature was not chosen on; none fits shuffled activity."""
    active, named = {}, {}
    for split in ("validation", "test"):
        rows = packed_tokens(load_corpus(split), model.tokenizer, 128)
        rows = rows[:: len(rows) // 40][:40]
        active[split] = torch.cat([sae_latents(model, sae, batch).flatten(0, 1) > 0 for batch in rows.split(8)])
        named[split] = {
            name: named_positions(predicate, model.tokenizer, rows).flatten() for name, predicate in PREDICATES.items()
        }
    scores = {}
    for shuffled in (False, True):
        scores[shuffled] = []
        for name in PREDICATES:
            if min(named[split][name].sum() for split in named) < 100:
                continue
            feature = best_feature(active["validation"], named["validation"][name]).feature
            on = active["test"][:, feature]
            if shuffled:
                on = on[torch.randperm(len(on), generator=torch.Generator().manual_seed(0))]
            scores[shuffled].append(feature_f1(on[:, None], named["test"][name]).item())
    assert sorted(scores[False])[-3] >= 0.5
    assert max(scores[True]) < 0.3 < sum(scores[False]) / len(scores[False])


def test_the_contexts_are_its_own(model, folder, sae):
    contexts = load_contexts(folder / CONTEXTS_FILE)
    assert contexts.tokens.shape[::2] == (sae.cfg.d_sae, BEFORE + 1 + AFTER)
    strongest = contexts.activations[:, 0, BEFORE]
    assert (contexts.frequency > 0).float().mean() > 0.9 and torch.equal(contexts.frequency > 0, strongest > 0)
    rows = packed_tokens(load_corpus("validation"), model.tokenizer, CONTEXT)[:2]
    latents = sae_latents(model, sae, rows).amax(dim=(0, 1))
    assert (latents <= strongest * 1.01 + 0.05).all() and (latents > 0).sum() > 500


def test_the_sweep_names_its_layer(sae):
    results = json.loads(sweep_file("smollm2-135m").read_text())
    best = max(result["predicate_f1"] for result in results)
    earliest = next(
        result for result in results if result["predicate_f1"] > best - 0.02
    )  # the later, the more of the loss is lost
    assert earliest["settings"]["hook_name"] == sae.cfg.metadata.hook_name
    recovered = [result["held_out"]["validation"]["recovered_mean"][0] for result in results]
    assert recovered == sorted(recovered, reverse=True)
    assert len({json.dumps({**result["settings"], "hook_name": ""}) for result in results}) == 1
