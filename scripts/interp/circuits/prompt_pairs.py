"""Pairs of a clean and a corrupted prompt, as tokens: what every patching experiment starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.runs.logits import compute_logit_diff
from scripts.interp.runs.prompts import prompt_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class PromptPairs(NamedTuple):
    """Prompts that differ in what they ask for, and the two answers they ask for."""

    clean: Int[Tensor, "batch pos"]  # token ids
    corrupted: Int[Tensor, "batch pos"]  # token ids
    answers: Int[Tensor, " batch"]  # token ids: right after the clean prompt
    wrong_answers: Int[Tensor, " batch"]  # token ids: right after the corrupted prompt


def prompt_pairs(model: TransformerBridge, samples: Sequence[Mapping[str, str]]) -> PromptPairs:
    """Turn samples as `create_ioi_dataset` gives them ("clean", "corrupted", "answer", "wrong_answer") to tokens.

    Raises ValueError for samples that `ready_pairs` refuses, prompts of different lengths (create the dataset
    with `tokenizer=model.tokenizer`) and answers that are not one token.
    """
    if not samples:
        raise ValueError("There are no samples: give at least one.")
    clean, corrupted = ([sample[kind] for sample in samples] for kind in ("clean", "corrupted"))
    tokens = prompt_tokens(model, clean + corrupted)
    answers, wrong = (
        torch.tensor([_answer(model, sample[kind]) for sample in samples], device=tokens.device)
        for kind in ("answer", "wrong_answer")
    )
    return ready_pairs(model, PromptPairs(tokens[: len(samples)], tokens[len(samples) :], answers, wrong))


def pair_differences(
    logits: Float[Tensor, "batch pos d_vocab"] | Float[Tensor, "batch d_vocab"], pairs: PromptPairs
) -> Float[Tensor, " batch"]:
    """Logit of each pair's answer minus logit of its wrong answer, at the last position: [batch], in logits.

    logits: of the pairs' clean prompts, their corrupted prompts, or one of them with something changed; [batch, pos,
        d_vocab] or, at one position already, [batch, d_vocab]
    Raises ValueError for logits of another number of prompts.
    """
    return compute_logit_diff(logits, pairs.answers, pairs.wrong_answers, per_prompt=True)


def ready_pairs(model: TransformerBridge, pairs: PromptPairs) -> PromptPairs:
    """The pairs on the model's device.

    Raises ValueError unless the tokens fit together: equal lengths, a difference in every pair, two answers.
    """
    clean, corrupted = prompt_tokens(model, pairs.clean), prompt_tokens(model, pairs.corrupted)
    if clean.shape != corrupted.shape:
        raise ValueError(
            f"The clean prompts have shape {tuple(clean.shape)}, the corrupted ones {tuple(corrupted.shape)}: "
            "a patch goes from a position to the same position, so give equally many and equally long prompts."
        )
    if pairs.clean.dim() != 2:
        raise ValueError(f"The prompts have shape {tuple(pairs.clean.shape)}: give token ids [batch, pos].")
    for name, tokens in (("answers", pairs.answers), ("wrong_answers", pairs.wrong_answers)):
        if not isinstance(tokens, Tensor):
            raise ValueError(f"{name} is a {type(tokens).__name__}: give a tensor of token ids, one a pair.")
        if tuple(tokens.shape) != (len(clean),):
            raise ValueError(f"{name} has shape {tuple(tokens.shape)}: give one token id a pair, [{len(clean)}].")
        if tokens.min() < 0 or tokens.max() >= model.cfg.d_vocab:
            raise ValueError(f"{name} has ids outside 0 to {model.cfg.d_vocab - 1}: give tokens of this model.")
    same = (clean == corrupted).all(dim=1).nonzero().flatten().tolist()
    if same:
        raise ValueError(
            f"In pairs {same} the clean and the corrupted prompt are identical: there is nothing to patch; "
            "corrupted must ask for the other answer."
        )
    equal = (pairs.answers == pairs.wrong_answers).nonzero().flatten().tolist()
    if equal:
        raise ValueError(f"In pairs {equal} the answer is the wrong answer too: their difference is always 0.")
    return PromptPairs(clean, corrupted, pairs.answers.to(clean.device), pairs.wrong_answers.to(clean.device))


def swap(pairs: PromptPairs) -> PromptPairs:
    """The same pairs with clean and corrupted exchanged; the answers stay what they are."""
    return pairs._replace(clean=pairs.corrupted, corrupted=pairs.clean)


def _answer(model: TransformerBridge, text: str) -> int:
    tokens = model.to_tokens(text, prepend_bos=False)[0].tolist()
    if len(tokens) != 1:
        raise ValueError(
            f"The answer {text!r} is {len(tokens)} tokens: choose answers that are one token for this model, "
            "with the space before them."
        )
    return tokens[0]
