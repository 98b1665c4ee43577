"""Sample the text corpus of the labs from the embedded model; a killed run goes on where it was.

    .venv/bin/python -m scripts.sample_corpus --tokens 2100000    # hours on a CPU; the texts collect in outputs/corpus
    .venv/bin/python -m scripts.sample_corpus --finish            # packs what is there into data/corpus.jsonl.xz

A text starts with a short opening, whose gaps are filled at random, and goes on for NEW_TOKENS sampled tokens. No chat
template, no BOS, no special tokens, no trimming: a text stops in the middle of a sentence. The number of a batch is the
seed of its openings and of its sampling, so that it is the same batch whenever it is made, on the same machine with the
same number of threads.
"""

import argparse
import gzip
import hashlib
import json
import lzma
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer

from scripts.interp.base.command_line import at_least_one
from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import outputs_folder
from scripts.interp.base.quiet import quiet_libraries
from scripts.interp.models.embedded import LICENCE, SOURCE, prepare_embedded_model
from scripts.interp.text.corpus import CORPUS_FILE, Document, documents_as_bytes, read_documents, token_ids
from scripts.interp.text.openings import FILLERS, OPENINGS, random_opening

NEW_TOKENS = 256  # a text
TEMPERATURE = 0.9
TOP_K = 60
BATCH_SIZE = 96  # the fastest of 48, 96 and 192 with one thread
HEAD_START = "head-start.jsonl.gz"  # in the work folder, if another run's samples were taken over


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer in memory that is set aside once: a third faster than appending copies them."""

    def __init__(self, length: int):
        super().__init__()
        self.length, self.used = length, 0

    def update(self, keys: Tensor, values: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
            batch, heads, _, d_head = keys.shape
            self.all_keys, self.all_values = keys.new_empty(2, batch, heads, self.length, d_head)
        end = self.used + keys.shape[2]
        self.all_keys[:, :, self.used : end], self.all_values[:, :, self.used : end] = keys, values
        self.used = end
        self.keys, self.values = self.all_keys[:, :, :end], self.all_values[:, :, :end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self.used


@torch.inference_mode()
def continue_prompts(
    model: PreTrainedModel,
    prompts: list[list[int]],
    n_new: int,
    choose: Callable[[Tensor], Tensor],
    after_token: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Each prompt's token ids followed by `n_new` chosen ones.

    choose: logits [batch, d_vocab] to token ids [batch]

    Prompts of different lengths need no padding: all start together, and at a place where a row's prompt still goes
    on, the row gets the prompt's token and not the chosen one.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    total = max(map(len, prompts)) + n_new
    tokens = torch.zeros(len(prompts), total, dtype=torch.long, device=model.device)
    for row, prompt in zip(tokens, prompts):
        row[: len(prompt)] = torch.tensor(prompt)
    cache = Cache(layers=[GrowingLayer(total) for _ in range(model.config.num_hidden_layers)])
    seen = 0
    for position in range(min(map(len, prompts)), total):
        logits = model(tokens[:, seen:position], past_key_values=cache, logits_to_keep=1).logits[:, -1]
        tokens[:, position] = torch.where(position < lengths, tokens[:, position], choose(logits))
        seen = position
        after_token()
    return [row[: len(prompt) + n_new] for row, prompt in zip(tokens.tolist(), prompts)]


def sampler(banned: list[int], seed: int, device: torch.device, top_k: int = TOP_K) -> Callable[[Tensor], Tensor]:
    """Draws from the `top_k` likeliest tokens that are not banned, at TEMPERATURE; `top_k` 1 is greedy."""
    generator = torch.Generator(device).manual_seed(seed)

    def choose(logits: Tensor) -> Tensor:
        logits[:, banned] = -torch.inf
        best, ids = logits.topk(top_k)
        drawn = torch.multinomial((best / TEMPERATURE).softmax(-1), 1, generator=generator)
        return ids.gather(1, drawn)[:, 0]

    return choose


def sample_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    number: int,
    batch_size: int,
    after_token: Callable[[], None] = lambda: None,
) -> list[Document]:
    """Batch `number`: the same texts whenever it is sampled."""
    rng = random.Random(number)
    genres, openings = zip(*(random_opening(rng) for _ in range(batch_size)))
    banned = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    choose = sampler(sorted(banned.union(tokenizer.all_special_ids)), number, model.device)
    ids = continue_prompts(model, token_ids(openings, tokenizer), NEW_TOKENS, choose, after_token)
    texts = tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)
    return [Document(genre, text) for genre, text in zip(genres, texts)]


def take_head_start(path: Path, work: Path) -> None:
    """Put another run's samples into the work folder, as the first documents. Raises ValueError if they aren't any."""
    try:
        content = path.read_bytes()
        documents = read_documents(gzip.decompress(content))
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise ValueError(
            f'{path} is no head start ({error}): give a .jsonl.gz file with {{"genre", "text"}} lines.'
        ) from error
    present = work / HEAD_START
    if present.exists() and present.read_bytes() != content:
        raise ValueError(f"{work} was begun with another head start: give that one, or another work folder.")
    if not documents:
        raise ValueError(f"{path} is empty: leave --head-start out, or give a file with documents.")
    write_atomically(present, content)


def sampling_settings(batch_size: int) -> dict:
    """What the texts of a batch depend on, besides its number."""
    openings = json.dumps([OPENINGS, FILLERS]).encode("utf-8")
    return {
        "new_tokens": NEW_TOKENS,
        "temperature": TEMPERATURE,
        "top_k": TOP_K,
        "batch_size": batch_size,
        "openings_sha256": hashlib.sha256(openings).hexdigest(),
    }


def check_settings(work: Path, settings: dict) -> None:
    """Write down how the batches in the work folder are sampled. Raises ValueError if it was begun in another way."""
    file = work / "settings.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else settings
    if before != settings:
        changed = ", ".join(f"{key} {before.get(key)!r}" for key in settings if before.get(key) != settings[key])
        raise ValueError(f"{work} was begun with {changed}: go on like that, or move that folder away.")
    write_atomically(file, json.dumps(settings, indent=1) + "\n")


def batch_file(work: Path, number: int) -> Path:
    return work / f"batch-{number:05}.jsonl"


def sampled(work: Path) -> list[Document]:
    """Everything in the work folder: the head start, then the batches by number; each text once."""
    head_start = work / HEAD_START
    parts = [read_documents(gzip.decompress(head_start.read_bytes()))] if head_start.exists() else []
    parts += [read_documents(path.read_bytes()) for path in sorted(work.glob("batch-*.jsonl"))]
    return list({document.text: document for part in parts for document in part}.values())


def n_tokens(documents: list[Document], tokenizer: PreTrainedTokenizerBase) -> int:
    return sum(map(len, token_ids((document.text for document in documents), tokenizer)))


def sample(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, work: Path, tokens: int, batch_size: int
) -> None:
    """Add the missing batches, from 1 up, until the work folder holds `tokens` tokens."""
    done, number = n_tokens(sampled(work), tokenizer), 0
    started, before = time.monotonic(), done
    with tqdm(total=tokens, initial=done, unit="tok", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        while done < tokens:
            number += 1
            if batch_file(work, number).exists():
                continue
            documents = sample_batch(model, tokenizer, number, batch_size, lambda: bar.update(batch_size))
            write_atomically(batch_file(work, number), documents_as_bytes(documents))
            done += n_tokens(documents, tokenizer)
            bar.n = min(done, tokens)
            bar.refresh()
            if bar.disable:
                speed = (done - before) / (time.monotonic() - started)
                left = max(0, tokens - done) / speed / 60
                line = f"batch {number}: {done:,} of {tokens:,} tokens, {speed:.0f} a second, {left:.0f} minutes left"
                print(line, flush=True)


def finish(work: Path, corpus: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Pack what the work folder holds into `corpus`, and where it comes from into corpus.json beside it.

    The same work folder gives the same bytes. Raises ValueError if it holds nothing.
    """
    documents, settings = sampled(work), work / "settings.json"
    if not documents or not settings.exists():
        raise ValueError(f"There are no samples in {work}: run this without --finish first.")
    lines = documents_as_bytes(documents)
    packed = lzma.compress(lines, preset=9 | lzma.PRESET_EXTREME)  # smaller than gzip's and bzip2's
    by_genre = {genre: [d for d in documents if d.genre == genre] for genre in sorted({d.genre for d in documents})}
    provenance = {
        "command": ".venv/bin/python -m scripts.sample_corpus, then the same with --finish",
        "model": f"{SOURCE.gguf}, dequantised to float32",
        "source": SOURCE.requirement,
        "gguf_sha256": SOURCE.gguf_sha256,
        "licence": LICENCE,
        "settings": json.loads(settings.read_text(encoding="utf-8")),
        "head_start": head_start_provenance(work, tokenizer),
        **size(documents, tokenizer),
        "genres": {genre: size(part, tokenizer) for genre, part in by_genre.items()},
        "sha256": hashlib.sha256(packed).hexdigest(),
        "sha256_unpacked": hashlib.sha256(lines).hexdigest(),  # another liblzma may pack differently
    }
    write_atomically(corpus, packed)
    write_atomically(corpus.with_name("corpus.json"), json.dumps(provenance, indent=1) + "\n")


def head_start_provenance(work: Path, tokenizer: PreTrainedTokenizerBase) -> dict | None:
    """What was taken over from another run: the first documents of the corpus."""
    if not (work / HEAD_START).exists():
        return None
    content = (work / HEAD_START).read_bytes()
    documents = read_documents(gzip.decompress(content))
    return {**size(documents, tokenizer), "sha256": hashlib.sha256(content).hexdigest()}


def size(documents: list[Document], tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    return {"documents": len(documents), "tokens": n_tokens(documents, tokenizer)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.sample_corpus", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--tokens", type=at_least_one, default=2_100_000, help="how many in all (default: %(default)s)")
    parser.add_argument("--batch-size", type=at_least_one, default=BATCH_SIZE, help="texts at a time (%(default)s)")
    parser.add_argument("--threads", type=at_least_one, default=1, help="threads of the CPU (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where the model runs (%(default)s)")
    parser.add_argument("--head-start", type=Path, metavar="PATH", help="a .jsonl.gz of samples to begin with")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where batches collect (outputs/corpus)")
    parser.add_argument("--finish", action="store_true", help=f"pack the batches into data/{CORPUS_FILE.name}")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    work = options.work or outputs_folder("corpus")
    try:
        folder = prepare_embedded_model()
        with quiet_libraries():
            tokenizer = AutoTokenizer.from_pretrained(folder)
        if options.finish:
            finish(work, CORPUS_FILE, tokenizer)
            print(f"{CORPUS_FILE}: {CORPUS_FILE.stat().st_size / 1e6:.2f} MB")
            return 0
        if options.head_start:
            take_head_start(options.head_start, work)
        check_settings(work, sampling_settings(options.batch_size))
        with quiet_libraries():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        sample(model.to(options.device).eval(), tokenizer, work, options.tokens, options.batch_size)
    except (ModelUnavailable, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the finished batches are kept, so run this again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
