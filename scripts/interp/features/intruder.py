"""The intruder test without a person: among contexts of one feature, is the one that belongs to another feature found?

Five contexts in which a feature is strongest are mixed with one in which another feature is strongest. If the feature
is about one thing, the intruder looks different. Here nobody looks: contexts are compared by the tokens that they
share, rare tokens counting more. It needs no other model, and sees less than a reader does. Source of the idea: Chang
et al., "Reading Tea Leaves" (2009), for topic models.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scripts.interp.features.contexts import BEFORE, TopContexts

TRIALS_AT_ONCE = 8  # a trial's vectors take 10 MB for a vocabulary of 150,000


class Trials(NamedTuple):
    """One intruder test for every feature that has enough contexts."""

    feature: Int[Tensor, " n_trials"]
    tokens: Int[Tensor, "n_trials n_contexts window"]  # token ids; n_contexts is n_shown + 1
    intruder: Int[Tensor, " n_trials"]  # which of them is the intruder


def intruder_trials(contexts: TopContexts, n_shown: int = 5, seed: int = 0) -> Trials:
    """For each feature its n_shown strongest contexts and, at a random place among them, another feature's strongest.

    Features that are above zero in fewer than n_shown of their contexts are left out, as features and as intruders.
    Raises ValueError where fewer than two are left, and where there are fewer contexts than n_shown.
    """
    if contexts.tokens.shape[1] < n_shown:
        raise ValueError(
            f"There are {contexts.tokens.shape[1]} contexts a feature: n_shown is {n_shown}; "
            "give no more than there are."
        )
    feature = (contexts.activations[:, n_shown - 1, BEFORE] > 0).nonzero().flatten()
    if len(feature) < 2:
        raise ValueError(
            f"{len(feature)} features are above zero in {n_shown} rows of text: give more text, or a smaller n_shown."
        )
    generator = torch.Generator().manual_seed(seed)
    n = len(feature)
    other = (torch.arange(n) + torch.randint(1, n, (n,), generator=generator)) % n  # never the feature itself
    tokens = contexts.tokens[feature, :n_shown]
    shown = torch.cat([tokens, contexts.tokens[feature[other], :1]], dim=1)
    intruder = torch.randint(n_shown + 1, (n,), generator=generator)
    swapped = shown.clone()  # the intruder, now last, changes places
    rows = torch.arange(n)
    swapped[rows, intruder], swapped[:, -1] = shown[:, -1], shown[rows, intruder]
    return Trials(feature, swapped, intruder)


def context_vectors(
    tokens: Int[Tensor, "... window"], rarity: Float[Tensor, " d_vocab"], with_token: bool = True
) -> Float[Tensor, "... d_out"]:
    """Contexts as vectors whose cosine is large if they share tokens: [..., window] to [..., 2 or 3 times d_vocab].

    One part for the tokens before, wherever they stand; one for the last of them; one for the token itself, where the
    feature is strongest, unless `with_token` is False. The tokens after are left out: the model has not seen them
    there.

    rarity: the weight of every token, [d_vocab], see `token_rarity`
    """
    places = [slice(BEFORE), slice(BEFORE - 1, BEFORE)] + [slice(BEFORE, BEFORE + 1)] * with_token
    rarity = rarity.to(tokens.device)
    vectors = torch.zeros(*tokens.shape[:-1], len(places), len(rarity), dtype=rarity.dtype, device=tokens.device)
    for part, place in enumerate(places):
        ids = tokens[..., place]
        vectors[..., part, :].scatter_(-1, ids, rarity[ids])
    return vectors.flatten(-2)


def token_rarity(rows: Int[Tensor, "n_rows pos"], d_vocab: int) -> Float[Tensor, " d_vocab"]:
    """Minus the logarithm of every token's share in text [n_rows, pos], [d_vocab]; one count is added to each."""
    counts = torch.bincount(rows.flatten().cpu(), minlength=d_vocab) + 1.0
    return -(counts / counts.sum()).log()


def intruders_found(
    trials: Trials, rarity: Float[Tensor, " d_vocab"], with_token: bool = True
) -> Bool[Tensor, " n_trials"]:
    """For each trial whether the odd one out is the intruder, bool [n_trials]. By chance it is one in n_shown + 1.

    The odd one out is the context whose vector has the lowest mean cosine with the others'.
    """
    found = []
    for part in trials.tokens.split(TRIALS_AT_ONCE):
        unit = F.normalize(context_vectors(part, rarity, with_token), dim=-1)
        cosines = unit @ unit.transpose(-1, -2)
        found.append((cosines.sum(dim=-1) - cosines.diagonal(dim1=-2, dim2=-1)).argmin(dim=-1))
    return torch.cat(found) == trials.intruder
