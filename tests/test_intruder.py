"""The intruder test: planted themes are found, contexts without one give chance."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from scripts.interp.features.contexts import AFTER, BEFORE, TopContexts
from scripts.interp.features.intruder import Trials, context_vectors, intruder_trials, intruders_found, token_rarity

WINDOW, D_VOCAB = BEFORE + 1 + AFTER, 400


def random_contexts(n_features=300, n_contexts=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, D_VOCAB, (n_features, n_contexts, WINDOW), generator=generator)
    activations = torch.rand(n_features, n_contexts, WINDOW, generator=generator) + 0.1
    return TopContexts(tokens, activations, torch.full((n_features,), 0.1), 1000)


def themed_contexts(place):
    """Every feature's contexts share one token of its own, `place` tokens from the strongest."""
    contexts = random_contexts()
    contexts.tokens[:, :, BEFORE + place] = (torch.arange(300) + 1)[:, None]
    return contexts


def test_trials_hold_the_features_contexts_and_one_of_another():
    contexts = random_contexts()
    contexts.activations[7, 3:, BEFORE] = 0  # above zero in three contexts only
    trials = intruder_trials(contexts, n_shown=5)
    assert len(trials.feature) == 299 and 7 not in trials.feature
    for feature, tokens, intruder in zip(*trials):
        own = contexts.tokens[feature, :5].tolist()
        shown = tokens.tolist()
        stranger = shown.pop(intruder)
        assert sorted(shown) == sorted(own) and stranger not in own
        assert stranger in contexts.tokens[:, 0].tolist()
    assert len(trials.intruder.unique()) == 6
    assert not torch.equal(intruder_trials(contexts, seed=1).intruder, trials.intruder)


RARITY = torch.ones(D_VOCAB)


def test_a_theme_is_found_and_no_theme_is_chance():
    found = intruders_found(intruder_trials(themed_contexts(0)), RARITY)
    assert found.float().mean() > 0.95
    chance = torch.cat(
        [intruders_found(intruder_trials(random_contexts(seed=seed), seed=seed), RARITY) for seed in range(6)]
    )
    assert chance.float().mean() == pytest.approx(1 / 6, abs=0.03)


def test_what_is_seen_without_the_token_and_what_is_never_seen():
    own_token, before, after = (intruder_trials(themed_contexts(place)) for place in (0, -4, 2))
    assert intruders_found(own_token, RARITY, with_token=False).float().mean() < 0.25
    assert intruders_found(before, RARITY, with_token=False).float().mean() > 0.6
    assert intruders_found(after, RARITY).float().mean() < 0.25


def test_vectors_compare_places_as_described():
    tokens = torch.randint(1, 50, (WINDOW,))
    vector = context_vectors(tokens, torch.ones(50))
    assert (
        vector.shape == (150,)
        and vector[100:].argmax() == tokens[BEFORE]
        and vector[50:100].argmax() == tokens[BEFORE - 1]
    )
    mixed = tokens.clone()
    mixed[: BEFORE - 1] = tokens[: BEFORE - 1].flip(0)  # order before the last does not matter
    mixed[BEFORE + 1 :] = 3
    assert torch.equal(context_vectors(mixed, torch.ones(50)), vector)
    assert context_vectors(tokens, torch.ones(50), with_token=False).shape == (100,)


def test_vectors_are_the_marks_of_tokens_times_their_rarity():
    generator = torch.Generator().manual_seed(0)
    tokens, rarity = torch.randint(0, 30, (5, 6, WINDOW), generator=generator), torch.rand(30, generator=generator)
    marks = torch.nn.functional.one_hot(tokens, 30)
    parts = [marks[..., :BEFORE, :].amax(dim=-2), marks[..., BEFORE - 1, :], marks[..., BEFORE, :]]
    assert torch.equal(context_vectors(tokens, rarity), torch.cat([part * rarity for part in parts], dim=-1))


class LargestTensor(TorchDispatchMode):
    """Notes the size in bytes of the largest tensor that is made inside."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.numel() * tensor.element_size())
        return made


def test_memory_at_the_vocabulary_of_a_language_model():
    trials = intruder_trials(random_contexts(n_features=80))
    with LargestTensor() as largest:
        intruders_found(trials, torch.ones(50_000))
    assert 1e6 < largest.size < 5e7


def test_rare_tokens_weigh_more():
    rarity = token_rarity(torch.tensor([[1, 1, 1, 2], [1, 1, 1, 3]]), 5)
    assert rarity[1] < rarity[2] == rarity[3] < rarity[4] == rarity[0]
    assert rarity[1].item() == pytest.approx(-torch.tensor(7 / 13).log().item())


def test_the_odd_one_is_least_like_the_others():
    tokens = torch.arange(1, 4 * WINDOW + 1).view(4, WINDOW)  # no token twice
    tokens[[0, 2, 3], BEFORE] = D_VOCAB - 1
    trials = Trials(torch.tensor([0, 1]), torch.stack([tokens, tokens.flip(0)]), torch.tensor([1, 2]))
    assert intruders_found(trials, RARITY).all()
    assert not intruders_found(trials._replace(intruder=torch.tensor([0, 3])), RARITY).any()


def test_bad_input_gets_one_sentence():
    with pytest.raises(ValueError, match="6 contexts a feature: n_shown is 7"):
        intruder_trials(random_contexts(), n_shown=7)
    contexts = random_contexts()
    contexts.activations[1:] = 0
    with pytest.raises(ValueError, match="1 features are above zero in 5 rows"):
        intruder_trials(contexts)
