"""Scores of heads on repeated random tokens, and losses by position."""

import pytest
import torch
import torch.nn.functional as F

from scripts.interp.circuits.head_scores import repeat_scores
from scripts.interp.models.load import random_weight_copy
from scripts.interp.planted.circuits import planted_induction, random_attention_toy
from scripts.interp.runs.losses import in_context_scores, next_token_losses
from scripts.interp.text.repeats import create_induction_dataset


def repeats(period, n=6, seed=0):
    return torch.cat(create_induction_dataset(n, period, 1, d_vocab=24, bos_token_id=0, seed=seed))


@pytest.mark.parametrize("period", [4, 7, 11])
def test_planted_heads_are_found_whatever_the_period(period):
    planted = planted_induction()
    scores = repeat_scores(planted.model, repeats(period), period)
    assert all(score.shape == (2, 4) for score in scores)
    induction, previous = scores.induction.clone(), scores.previous_token.clone()
    assert induction[planted.induction] > 0.9 and previous[planted.previous] == pytest.approx(1)
    induction[planted.induction] = previous[planted.previous] = 0
    assert induction.max() < 0.4 and previous.max() < 0.4 and scores.duplicate_token.max() < 0.4


def test_scores_by_hand():
    toy, tokens, period = random_attention_toy(), repeats(5, n=3), 5
    _, cache = toy.run_with_cache(tokens)
    scores = repeat_scores(toy, tokens, period)
    for layer in range(3):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        for head in range(4):
            for kind, offset in (("induction", 4), ("previous_token", 1), ("duplicate_token", 5)):
                weights = [pattern[row, head, q, q - offset] for row in range(3) for q in range(6, 11)]
                assert getattr(scores, kind)[layer, head].item() == pytest.approx(
                    torch.stack(weights).mean().item(), abs=1e-6
                )


def test_the_planted_circuit_predicts_the_repeat_and_random_weights_do_not():
    planted = planted_induction()
    tokens = repeats(9)
    losses = next_token_losses(planted.model, tokens)
    assert losses.shape == (6, 18)
    assert losses[:, :9].mean() > 3 and losses[:, 10:].mean() < 0.1
    null = random_weight_copy(planted.model)
    assert repeat_scores(null, tokens, 9).induction.max() < 0.3
    losses = next_token_losses(null, tokens)
    assert abs(losses[:, :9].mean() - losses[:, 10:].mean()) < 0.3


def test_losses_are_cross_entropies(language_model):
    tokens = torch.randint(5, 500, (2, 9), generator=torch.Generator().manual_seed(0))
    expected = F.cross_entropy(language_model(tokens)[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    assert torch.allclose(next_token_losses(language_model, tokens), expected, atol=1e-3)
    assert next_token_losses(language_model, tokens).requires_grad is False


def test_in_context_scores_compare_the_last_quarter_with_early_tokens():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(11, (3, 72), generator=generator)
    logits = torch.randn(3, 72, 11, generator=generator)
    losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    expected = [row[54:].mean() - row[16:48].mean() for row in losses]
    torch.testing.assert_close(in_context_scores(logits, tokens), torch.stack(expected))
    assert in_context_scores(logits[:, :64], tokens[:, :64]).shape == (3,)
    with pytest.raises(ValueError, match="have 63 tokens: give at least 64"):
        in_context_scores(logits[:, :63], tokens[:, :63])
