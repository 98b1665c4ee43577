"""A GPT-2 with random weights, for tests: its architecture, layers and heads, and a tokenizer, without the download."""

from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

END = "<|endoftext|>"
NAMES = ["Mary", "John", "Tom", "James", "Dan", "Martin", "Amy", "Anna", "Paul", "Laura", "Paris"]
TEXT = [
    f"When {a} and {b} went to the {place}, {b} gave a {thing} to {a}. Then {a} and {b} thanked {a}."
    for a in NAMES
    for b in NAMES
    for place, thing in [("store", "drink"), ("park", "book"), ("school", "ball"), ("office", "ring")]
]


def make_gpt2_folder(path: Path) -> Path:
    """Write random weights, 12 layers of 12 heads as GPT-2 has, and a small byte-level BPE tokenizer to `path`.

    As with GPT-2's own tokenizer, `<|endoftext|>` is BOS and EOS and is not added to a text. The names in
    NAMES and the fillers in TEXT are single tokens with the space before them.
    """
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXT, vocab_size=600, special_tokens=[END], show_progress=False)
    bpe.save_model(str(path))  # vocab.json and merges.txt, what GPT-2's tokenizer is made from
    tokenizer = GPT2Tokenizer.from_pretrained(path, bos_token=END, eos_token=END, unk_token=END)
    config = GPT2Config(
        vocab_size=600, n_embd=192, initializer_range=0.04,  # a quarter as wide: weights twice as large do as much
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(135)  # a random copy made with the same seed would be the same model
        GPT2LMHeadModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
