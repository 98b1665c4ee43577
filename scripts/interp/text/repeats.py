"""Random tokens that come twice: only a model that copies from before can predict the repeat."""

import torch
from jaxtyping import Int
from torch import Tensor

from scripts.interp.base.numbers import check_positive, is_integer


def create_induction_dataset(
    n_samples: int = 100,
    seq_length: int = 50,
    vocab_start: int = 1000,
    vocab_end: int | None = None,
    *,
    d_vocab: int | None = None,
    seed: int = 0,
    bos_token_id: int | None = None,
) -> list[Int[Tensor, "1 length"]]:
    """Random tokens, then the same tokens again: only a model that copies from before can predict the repeat.

    Returns n_samples LongTensors [1, 2 * seq_length], with `bos_token_id` in front [1, 1 + 2 * seq_length] if
    it is given. Tokens are drawn from vocab_start (included) to vocab_end (excluded), none twice inside a
    half, never BOS. The same arguments give the same dataset.

    vocab_end: default 10000, or d_vocab if that is smaller
    d_vocab: the size of the model's vocabulary; a small model has fewer than 10000 tokens

    Raises ValueError if the range has fewer than seq_length tokens, or goes beyond d_vocab.
    """
    if d_vocab is not None:
        check_positive("d_vocab", d_vocab)
    if vocab_end is None:
        vocab_end = min(10000, d_vocab or 10000)
    check_positive("n_samples", n_samples)
    check_positive("seq_length", seq_length)
    if not is_integer(vocab_start) or not is_integer(vocab_end) or vocab_start < 0:
        raise ValueError(f"The range is {vocab_start!r} to {vocab_end!r}: give whole numbers from 0 up.")
    if d_vocab is not None and vocab_end > d_vocab:
        raise ValueError(
            f"The range goes to {vocab_end} (excluded), but the vocabulary has {d_vocab} tokens: "
            "end it there or earlier."
        )
    if bos_token_id is not None and (not is_integer(bos_token_id) or bos_token_id < 0):
        raise ValueError(f"bos_token_id is {bos_token_id!r}: give a token id or None.")
    vocabulary = torch.tensor([token for token in range(vocab_start, vocab_end) if token != bos_token_id])
    if len(vocabulary) < seq_length:
        raise ValueError(
            f"From {vocab_start} to {vocab_end} (excluded) there are {len(vocabulary)} tokens besides BOS: a "
            f"sequence of {seq_length} different tokens needs at least {seq_length}; widen the range or "
            "shorten seq_length."
        )
    generator = torch.Generator().manual_seed(seed)
    bos = torch.tensor([] if bos_token_id is None else [bos_token_id], dtype=torch.long)
    dataset = []
    for _ in range(n_samples):
        half = vocabulary[torch.randperm(len(vocabulary), generator=generator)[:seq_length]]
        dataset.append(torch.cat([bos, half, half])[None])
    return dataset
