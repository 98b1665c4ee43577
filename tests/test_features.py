"""Features on text: their contexts are the strongest, exactly, and survive the file."""

import pytest
import torch
from sae_lens import StandardSAEConfig
from sae_lens.registry import get_sae_class

from scripts.interp.features.contexts import (
    AFTER,
    BEFORE,
    context_text,
    load_contexts,
    sae_latents,
    save_contexts,
    top_contexts,
)
from scripts.interp.text.corpus import load_corpus, packed_tokens

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def rows(trained_toy):
    return packed_tokens(load_corpus("validation")[:20], trained_toy.tokenizer, 48)[:21]


@pytest.fixture(scope="module")
def sae():
    torch.manual_seed(0)
    sae = get_sae_class("standard")[0](StandardSAEConfig(d_in=256, d_sae=30)).requires_grad_(False)
    sae.b_enc += torch.randn(30) * 20
    sae.b_enc[3] = -1e6  # dead
    sae.cfg.metadata.hook_name = HOOK
    sae.cfg.metadata.norm_limit = 90.0
    return sae


def test_latents_are_zero_where_the_sae_was_not_trained(trained_toy, sae, rows):
    latents = sae_latents(trained_toy, sae, rows)
    _, cache = trained_toy.run_with_cache(rows)
    x = cache[HOOK]
    left_out = (rows == 0) | (x.norm(dim=-1) > 90)
    assert (latents[left_out] == 0).all() and left_out.sum() > (rows == 0).sum()
    assert torch.allclose(latents[~left_out], sae.encode(x[~left_out]), atol=1e-3)


def test_contexts_are_the_strongest_of_each_row(trained_toy, sae, rows):
    contexts = top_contexts(trained_toy, sae, rows, n_contexts=5)
    latents = sae_latents(trained_toy, sae, rows)
    assert contexts.n_tokens == rows.numel()
    assert torch.allclose(contexts.frequency, (latents > 0).float().mean(dim=(0, 1)))
    for feature in range(30):
        strongest, places = latents[..., feature].max(dim=1)
        order = strongest.argsort(descending=True)[:5]
        assert torch.allclose(contexts.activations[feature, :, BEFORE], strongest[order], atol=1e-4)
        if strongest[order[0]] > strongest[order[1]]:
            row, place = order[0], int(places[order[0]])
            for offset in range(-BEFORE, AFTER + 1):
                inside = 0 <= place + offset < rows.shape[1]
                assert contexts.tokens[feature, 0, BEFORE + offset] == (rows[row, place + offset] if inside else 0)
                expected = latents[row, place + offset, feature].item() if inside else 0
                assert contexts.activations[feature, 0, BEFORE + offset].item() == pytest.approx(expected, abs=1e-3)
    assert contexts.frequency[3] == 0 and (contexts.activations[3] == 0).all()


def test_contexts_survive_the_file(trained_toy, sae, rows, tmp_path):
    contexts = top_contexts(trained_toy, sae, rows, n_contexts=3)
    save_contexts(tmp_path / "contexts.safetensors", contexts)
    loaded = load_contexts(tmp_path / "contexts.safetensors")
    assert torch.equal(loaded.tokens, contexts.tokens) and loaded.n_tokens == contexts.n_tokens
    assert torch.allclose(loaded.activations, contexts.activations, rtol=1e-3)
    with pytest.raises(FileNotFoundError, match="There are no contexts at .* scripts.train_sae"):
        load_contexts(tmp_path / "elsewhere")
    large = contexts._replace(tokens=contexts.tokens + 150_000)  # a vocabulary of more than 2**16
    save_contexts(tmp_path / "large", large)
    assert torch.equal(load_contexts(tmp_path / "large").tokens, large.tokens)


def test_a_context_reads_from_the_beginning_of_its_text(trained_toy):
    bos, words = trained_toy.tokenizer.bos_token_id, trained_toy.to_tokens("the old door", prepend_bos=False)[0]
    ids = torch.cat([words[:1], torch.tensor([bos, bos]), words])
    assert context_text(trained_toy, ids) == context_text(trained_toy, words) == "the old door"
