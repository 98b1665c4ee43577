"""The text corpus: what the embedded model itself writes, in 22 genres, split for training and packed into rows.

`data/corpus.jsonl.xz` was written by `.venv/bin/python -m scripts.sample_corpus`; `data/corpus.json` says from
what and how.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from scripts.interp.base.numbers import is_integer
from scripts.interp.base.paths import ROOT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CORPUS_FILE = ROOT / "data" / "corpus.jsonl.xz"
LIBRARY = (
    "argparse collections csv datetime decimal difflib doctest fractions functools heapq html.parser http.cookiejar "
    "json logging mailbox os pathlib pickle random re shutil statistics string subprocess tempfile textwrap threading "
    "timeit unittest urllib.parse urllib.request xml.etree.ElementTree zipfile"
).split()  # modules of Python whose documentation `library_documentation` gives
SPLITS = {"train": 90, "validation": 5, "test": 5}  # percent of the documents


class Document(NamedTuple):
    """One text of the corpus; it starts with the opening that it was sampled from."""

    genre: str
    text: str


def load_corpus(split: str | None = None, path: Path | str = CORPUS_FILE) -> list[Document]:
    """A corpus, or one split of it ("train", "validation" or "test"), in the order of the file.

    path: JSON lines, {"genre": …, "text": …} each, compressed if it ends in .xz; empty: the project's own
    Raises ValueError for another split or format, and FileNotFoundError where there is no corpus.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"There is no split {split!r}: give {', '.join(map(repr, SPLITS))}, or None for everything.")
    path = Path(path or CORPUS_FILE)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no corpus at {path}: restore that file, or sample one with "
            "`.venv/bin/python -m scripts.sample_corpus`."
        )
    content = path.read_bytes()
    try:
        documents = read_documents(lzma.decompress(content) if path.suffix == ".xz" else content)
    except (TypeError, ValueError, lzma.LZMAError) as error:
        raise ValueError(
            f'{path} is no corpus ({error}): write one {{"genre": …, "text": …}} a line, in a .jsonl or .jsonl.xz file.'
        ) from error
    return [document for document in documents if split in (None, split_of(document.text))]


def split_of(text: str) -> str:
    """The split that a text belongs to. Its hash decides: other documents, their number and order don't."""
    percent = int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") % 100
    for split, share in SPLITS.items():
        if percent < share:
            return split
        percent -= share
    raise AssertionError("the shares of the splits do not add up to 100")


def library_documentation(shortest: int = 300) -> list[Document]:
    """Documentation of Python's own library: text that no model of this project wrote or was trained on here.

    The docstrings of modules, classes and functions with `shortest` characters or more, in alphabetical order of their
    names. They differ a little between versions of Python.
    """
    texts: dict[str, str] = {}
    for name in LIBRARY:
        module = importlib.import_module(name)
        parts = [(name, module)] + [
            (f"{name}.{part}", thing)
            for part, thing in vars(module).items()
            if not part.startswith("_")
            and inspect.isroutine(thing) | inspect.isclass(thing)
            and thing.__module__ == name
        ]
        for full_name, part in parts:
            text = inspect.getdoc(part) or ""
            if len(text) >= shortest and text not in texts.values():
                texts[full_name] = text
    return [Document("documentation", texts[name]) for name in sorted(texts)]


def packed_tokens(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, context: int
) -> Int[Tensor, "n_rows context"]:
    """Token ids of the documents, one after the other in rows without padding; long [n_rows, context].

    Every row starts with BOS, and BOS stands between two documents in a row. A document that does not fit goes on in
    the next row, after that row's BOS; a document that starts with a row shares its BOS. A tokenizer without BOS gives
    the texts' tokens alone. Only the last row is dropped if it is not full: fewer than `context` tokens. Pack each
    split by itself, and no row holds tokens of two.

    Raises ValueError where the documents don't fill one row, or `context` is not an integer of 2 or more.
    """
    return pack(token_ids((document.text for document in documents), tokenizer), tokenizer.bos_token_id, context)


def pack(texts: Iterable[list[int]], bos_token_id: int | None, context: int) -> Int[Tensor, "n_rows context"]:
    """`packed_tokens` of texts whose token ids are known, without BOS."""
    if not is_integer(context) or context < 2:
        raise ValueError(f"context is {context!r}: give an integer of 2 or more, as every row starts with BOS.")
    start = [] if bos_token_id is None else [bos_token_id]
    rows, row, n_texts = [], start.copy(), 0
    for ids in texts:
        n_texts += 1
        if row != start:
            row += start
        while len(row) + len(ids) >= context:
            room = context - len(row)
            rows.append(row + ids[:room])
            row, ids = start.copy(), ids[room:]
        row += ids
    if not rows:
        raise ValueError(
            f"{n_texts} documents do not fill one row of {context} tokens: give more, or a smaller context."
        )
    return torch.tensor(rows)


def beginnings(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase, length: int, n: int
) -> Int[Tensor, "n_rows length"]:
    """BOS and the beginnings of the first n documents that are long enough, one a row: long [n_rows, length].

    A tokenizer without BOS gives the texts' tokens alone; where fewer documents are long enough, there are fewer rows.
    Raises ValueError where none is.
    """
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    texts = (start + ids for ids in token_ids((document.text for document in documents), tokenizer))
    rows = [text[:length] for text in texts if len(text) >= length][:n]
    if not rows:
        raise ValueError(f"No document has {length} tokens: give longer ones, or a smaller length.")
    return torch.tensor(rows)


def token_ids(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The ids of each text, without BOS; a text that spells a special token out gets no special token."""
    texts = list(texts)
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True).input_ids if texts else []


def read_documents(content: bytes) -> list[Document]:
    """The documents in JSON lines, {"genre": …, "text": …} each."""
    # Not splitlines: a text may hold the other characters that it takes for the end of a line.
    documents = [Document(**json.loads(line)) for line in content.decode("utf-8").split("\n") if line]
    if odd := [document for document in documents if not all(isinstance(part, str) for part in document)]:
        raise TypeError(f"{odd[0]} holds something else than text")
    return documents


def documents_as_bytes(documents: Iterable[Document]) -> bytes:
    """The documents as JSON lines, what `read_documents` reads."""
    lines = (json.dumps(document._asdict(), ensure_ascii=False) + "\n" for document in documents)
    return "".join(lines).encode("utf-8")
