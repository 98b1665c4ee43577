"""Reading logits: logit differences, the most likely next tokens, and the logit lens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.interp.base.numbers import is_integer
from scripts.interp.base.precision import at_least_float32
from scripts.interp.runs.caches import cache_filter
from scripts.interp.runs.prompts import Prompt, single_prompt_tokens
from scripts.interp.runs.read_out import follow_up, logits_follow

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TokenIds = int | list[int] | Int[Tensor, ""] | Int[Tensor, " batch"]


def compute_logit_diff(
    logits: Float[Tensor, "batch pos d_vocab"] | Float[Tensor, "batch d_vocab"],
    answer_tokens: TokenIds,
    wrong_tokens: TokenIds,
    per_prompt: bool = False,
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    """Logit of the right answer minus logit of the wrong one, at the last position.

    logits: [batch, pos, d_vocab] or, at one position already, [batch, d_vocab]
    answer_tokens, wrong_tokens: token ids, one for each prompt [batch]; a single int serves all prompts
    Returns the mean over the prompts (a scalar tensor), or [batch] with `per_prompt=True`; in logits, in float32
        even if they are in half precision.

    Raises ValueError for other shapes and for ids outside the vocabulary.
    """
    if logits.dim() not in (2, 3) or 0 in logits.shape:
        shape = tuple(logits.shape)
        raise ValueError(f"logits has shape {shape}: give [batch, pos, d_vocab] or [batch, d_vocab].")
    last = logits[:, -1] if logits.dim() == 3 else logits
    answers = _token_ids("answer_tokens", answer_tokens, last)
    wrongs = _token_ids("wrong_tokens", wrong_tokens, last)
    right, wrong = (at_least_float32(last.gather(1, ids[:, None])[:, 0]) for ids in (answers, wrongs))
    difference = right - wrong
    return difference if per_prompt else difference.mean()


class Prediction(NamedTuple):
    """One possible next token."""

    token: str
    probability: float
    token_id: int


class TopPredictions(list):
    """A list of `Prediction`s, most likely first; prints as a table."""

    def __repr__(self) -> str:
        width = max(len(repr(prediction.token)) for prediction in self)
        return "\n".join(
            f"{rank:>3}  {prediction.token!r:<{width}}  {prediction.probability:7.2%}"
            for rank, prediction in enumerate(self, start=1)
        )


def get_top_predictions(model: TransformerBridge, prompt: Prompt, k: int = 10) -> TopPredictions:
    """The `k` most likely tokens after one prompt, with their probabilities. Print it.

    Raises ValueError for an empty prompt and for a `k` that is not between 1 and the size of the vocabulary.
    """
    if not is_integer(k) or not 1 <= k <= model.cfg.d_vocab:
        raise ValueError(f"k is {k!r}: give a whole number from 1 to {model.cfg.d_vocab}.")
    with torch.no_grad():
        probabilities = model(single_prompt_tokens(model, prompt)[None])[0, -1].float().softmax(dim=-1)
    top = probabilities.topk(k)
    return TopPredictions(
        Prediction(model.to_string(token) if model.tokenizer else str(token), probability, token)
        for probability, token in zip(top.values.tolist(), top.indices.tolist())
    )


def logit_lens(model: TransformerBridge, prompt: Prompt) -> Float[Tensor, "n_layers pos d_vocab"]:
    """The logits if the model stopped after each layer, for one prompt: [n_layers, pos, d_vocab].

    Every layer's `resid_post` goes through the model's own final norm, unembedding and, where it has them, logit scale
    and soft cap; the last layer's logits are the model's, which is checked in every call. Source: nostalgebraist,
    "interpreting GPT: the logit lens" (2020).

    Raises ValueError for an empty prompt, and for a model whose logits do not come about in this way. Takes
    n_layers × pos × d_vocab numbers, so keep the prompt short.
    """
    tokens = single_prompt_tokens(model, prompt)
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens[None], names_filter=cache_filter(model, "resid_post"))
        lens = torch.cat(
            [
                model.unembed(model.ln_final(cache[f"blocks.{layer}.hook_resid_post"]))
                for layer in range(model.cfg.n_layers)
            ]
        )
        return follow_up(model, lens) if logits_follow(model, lens[-1:], logits) else lens


def _token_ids(name: str, tokens: TokenIds, logits: Tensor) -> Tensor:
    """Token ids as a tensor [batch] that fits `logits` [batch, d_vocab]."""
    batch, d_vocab = logits.shape
    ids = torch.as_tensor(tokens, device=logits.device)
    if ids.dtype not in (torch.int64, torch.int32) or tuple(ids.shape) not in ((), (batch,)):
        raise ValueError(f"{name} is {tokens!r}: give one token id, or one for each of the {batch} prompts.")
    if ids.min() < 0 or ids.max() >= d_vocab:
        raise ValueError(f"{name} is {tokens!r}: token ids go from 0 to {d_vocab - 1}.")
    return ids.long().expand(batch)
