"""Train the project's toy models on its own corpus; a killed run goes on where it was.

    python -m scripts.train_toy_models --tokenizer    # once, before the first model: seconds
    python -m scripts.train_toy_models toy-attn-2l    # about 20 minutes of one core

Only the corpus is trained on. For the attention-only models a passage of it is repeated in some rows: without them
induction heads form as well, but attend less surely. While a model trains, it is measured at more and more distant steps:
loss on held-out text, by position; induction and previous-token scores of its heads on repeated random tokens. The same
seed gives the same model on the same machine with the same number of threads.
"""

import argparse
import io
import itertools
import json
import math
import platform
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save as save_tensors
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import outputs_folder
from scripts.interp.circuits import exact
from scripts.interp.circuits.attention_routes import find_route
from scripts.interp.circuits.head_scores import repeat_scores
from scripts.interp.models.toys import TOKENIZER_FOLDER, TOY_FOLDER, TOYS, load_toy_tokenizer, new_toy, plain_name
from scripts.interp.text.corpus import load_corpus, pack, token_ids
from scripts.interp.text.repeats import create_induction_dataset

D_VOCAB = 2048
BOS = "<|bos|>"
BATCH_ROWS = 16
WARM_UP, LEARNING_RATE, WEIGHT_DECAY, CLIP = 200, 3e-3, 0.01, 1.0
CHECKPOINT_EVERY = 500
PERIODS = (20, 35, 50)  # of the repeated random tokens that are measured on
HELD_OUT_ROWS = 96
EARLY, LATE = (16, 48), (96, 128)  # positions whose losses the in-context-learning score compares


class Recipe(NamedTuple):
    """What differs between the trainings of TOYS."""

    steps: int
    schedule: int  # steps after which the learning rate would be a tenth; see `learning_rate`
    repeated: float  # share of the rows in which a passage of the text comes again and again


_FOR_INDUCTION = Recipe(steps=4_750, schedule=8_000, repeated=0.15)
RECIPES = {
    "toy-attn-1l": _FOR_INDUCTION,
    "toy-attn-2l": _FOR_INDUCTION,
    "toy-mlp-1l": Recipe(steps=12_000, schedule=12_000, repeated=0.0),
}


def train_tokenizer(texts: list[str], folder: Path = TOKENIZER_FOLDER) -> None:
    """Byte-pair encoding with D_VOCAB tokens, the first of which is BOS, trained on these texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=D_VOCAB,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=BOS, pad_token=BOS, clean_up_tokenization_spaces=False
    )
    wrapped.save_pretrained(folder)


def batches(
    texts: list[list[int]], bos_token_id: int, context: int, seed: int, step: int, repeated: float
) -> Iterator[Tensor]:
    """Rows of text for step `step` (from 0) and those after it, [BATCH_ROWS, context] each, epoch after epoch.

    Every epoch takes the texts in another order, and so cuts them into other rows. A share of `repeated` of the rows is
    filled with its own beginning after BOS, again and again; how long the beginning is varies.
    """
    done = 0
    for epoch in itertools.count():
        order = random.Random(f"{seed} {epoch}").sample(texts, len(texts))
        rows = pack(order, bos_token_id, context)
        for start in range(0, len(rows) - BATCH_ROWS + 1, BATCH_ROWS):
            if done >= step:
                yield with_repeats(rows[start : start + BATCH_ROWS], random.Random(f"{seed} repeats {done}"), repeated)
            done += 1


def with_repeats(rows: Tensor, draw: random.Random, repeated: float) -> Tensor:
    """The rows [n, context], a share `repeated` of them filled with their beginning: 8 tokens to half of the context at a time."""
    rows = rows.clone()
    length = rows.shape[1] - 1
    for row in rows:
        if draw.random() < repeated:
            period = draw.randint(min(8, length // 2), length // 2)
            row[1:] = row[1 : 1 + period].repeat(length // period + 1)[:length]
    return rows


def start_positions_as_sinusoids(model: TransformerBridge) -> None:
    """Give the learned positions the values of sinusoids, as large as the embeddings of tokens are.

    They are trained on like every other weight. From random positions, heads find the previous token later,
    since every position has to be learned by itself. Wavelengths from 4 positions to twice the context. Source of the
    idea: Vaswani et al., "Attention Is All You Need" (2017), section 3.5.
    """
    n_ctx, d_model = model.cfg.n_ctx, model.cfg.d_model
    wavelengths = torch.logspace(math.log10(4), math.log10(2 * n_ctx), d_model // 2)
    angles = 2 * math.pi * torch.arange(n_ctx)[:, None] / wavelengths
    sinusoids = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    with torch.no_grad():
        model.pos_embed.original_component.weight.copy_(
            sinusoids * math.sqrt(2) * model.embed.original_component.weight.std()
        )


def losses(model: TransformerBridge, tokens: Tensor) -> Tensor:
    """Cross-entropy in nats of every next token: tokens [batch, pos] to [batch, pos - 1].

    Through the engine of the patching sweeps, which does not write out attention patterns.
    """
    resid = exact.run(model, find_route(model), tokens, keep=()).resid_pre[-1]
    logits = model.unembed(model.ln_final(resid[:, :-1]))
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view_as(tokens[:, 1:])


def measure(model: TransformerBridge, held_out: Tensor, repeats: dict[int, Tensor]) -> dict[str, Any]:
    """What is recorded of a model during training.

    held_out: [rows, n_ctx], the beginning of one text a row; repeats: for every period, BOS and tokens that come twice
    """
    with torch.no_grad():
        text = torch.cat([losses(model, rows) for rows in held_out.split(BATCH_ROWS)])
        halves = [losses(model, tokens) for tokens in repeats.values()]
        scores = [repeat_scores(model, tokens, period) for period, tokens in repeats.items()]
    # The loss at index i is that of the token at position i + 1. The first token of the second half is unpredictable.
    first = torch.cat([loss[:, :period].flatten() for loss, period in zip(halves, repeats)])
    second = torch.cat([loss[:, period + 1 :].flatten() for loss, period in zip(halves, repeats)])
    early, late = (text[:, slice(*positions)].mean().item() for positions in (EARLY, LATE))
    return {
        "validation_loss": text.mean().item(),
        "in_context_score": late - early,
        "repeat_loss_first_half": first.mean().item(),
        "repeat_loss_second_half": second.mean().item(),
    } | {
        kind: [
            [round(x, 4) for x in row] for row in torch.stack([getattr(each, kind) for each in scores]).mean(0).tolist()
        ]
        for kind in scores[0]._fields
    }


def is_recorded(step: int, last: int) -> bool:
    """Often while much happens, seldom later."""
    return step % (50 if step <= 2000 else 250) == 0 or step == last


def learning_rate(step: int, schedule: int) -> float:
    """Up in a line, then along a cosine that would be down to a tenth after `schedule` steps.

    The attention-only models' training ends before: with the last, small learning rates the held-out loss still falls a little, and the induction
    scores fall as well.
    """
    if step < WARM_UP:
        return LEARNING_RATE * (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(1, schedule - WARM_UP)
    return LEARNING_RATE * (0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2)


def train(name: str, work: Path, seed: int, progress: bool) -> tuple[TransformerBridge, dict[str, Any]]:
    """Train one of TOYS, from its last checkpoint in `work` if there is one. Returns the model and its record."""
    tokenizer = load_toy_tokenizer()
    bos, n_ctx = tokenizer.bos_token_id, TOYS[name]["n_ctx"]
    steps, schedule, repeated = RECIPES[name]
    model = new_toy(TOYS[name], D_VOCAB, seed)
    start_positions_as_sinusoids(model)
    parameters = dict(model.original_model.named_parameters())
    matrices = [p for p in parameters.values() if p.dim() > 1]
    vectors = [p for p in parameters.values() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}],
        lr=LEARNING_RATE, betas=(0.9, 0.98),
    )  # fmt: skip
    settings = {
        "name": name, "seed": seed, "steps": steps, "schedule": schedule, "batch_rows": BATCH_ROWS,
        "learning_rate": LEARNING_RATE, "repeated": repeated, "config": TOYS[name],
    }  # fmt: skip
    step, seconds, record, running = 0, 0.0, [], []
    checkpoint = work / f"{name}.pt"
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["settings"] != settings:
            raise ValueError(
                f"{checkpoint} belongs to a run with other settings ({saved['settings']}): delete it to start anew."
            )
        model.original_model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, seconds, record, running = saved["step"], saved["seconds"], json.loads(saved["record"]), saved["running"]

    texts = token_ids((document.text for document in load_corpus("train")), tokenizer)
    held_out = [
        ids for ids in token_ids((d.text for d in load_corpus("validation")), tokenizer) if len(ids) >= n_ctx - 1
    ]
    held_out = torch.tensor([[bos, *ids[: n_ctx - 1]] for ids in held_out[:HELD_OUT_ROWS]])
    repeats = {
        period: torch.cat(create_induction_dataset(
            16, period, vocab_start=257, vocab_end=D_VOCAB, seed=period, bos_token_id=bos))
        for period in PERIODS
    }  # fmt: skip
    began = time.monotonic()
    data = batches(texts, bos, n_ctx, seed, step, repeated)
    with tqdm(total=steps, initial=step, desc=name, disable=not progress) as bar:
        while True:
            if is_recorded(step, steps) and (not record or record[-1]["step"] < step):
                train_loss = sum(running) / len(running) if running else None
                record.append({"step": step, "train_loss": train_loss} | measure(model, held_out, repeats))
                running = []
                best = max(map(max, record[-1]["induction"]))
                bar.set_postfix(loss=round(record[-1]["validation_loss"], 3), induction=round(best, 3))
                if not progress:
                    print(
                        f"{name}, step {step}: loss {record[-1]['validation_loss']:.3f}, best induction score {best:.3f}",
                        flush=True,
                    )
            if step == steps:
                break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, schedule)
            loss = losses(model, next(data)).mean()
            if not math.isfinite(loss.item()):
                raise ValueError(
                    f"The loss of {name} is {loss.item()} at step {step}: its last checkpoint before that is "
                    f"{checkpoint}; delete it and lower LEARNING_RATE."
                )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
            optimizer.step()
            running.append(loss.item())
            step += 1
            bar.update()
            if step % CHECKPOINT_EVERY == 0:
                now = time.monotonic()
                seconds, began = seconds + now - began, now
                content = io.BytesIO()
                torch.save({
                    "settings": settings, "step": step, "seconds": seconds, "record": json.dumps(record), "running": running,
                    "model": model.original_model.state_dict(), "optimizer": optimizer.state_dict(),
                }, content)  # fmt: skip
                write_atomically(checkpoint, content.getvalue())
    return model, {
        "settings": settings,
        "seconds": round(seconds + time.monotonic() - began),
        "epochs": steps * BATCH_ROWS * n_ctx / sum(map(len, texts)),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "steps": record,
    }


def save(name: str, model: TransformerBridge, record: dict[str, Any], folder: Path = TOY_FOLDER) -> None:
    """Write what the labs load: weights, configuration, record and model card."""
    weights = {
        plain_name(key): value.to(torch.float16).contiguous()
        for key, value in model.original_model.state_dict().items()
    }
    folder = folder / name
    write_atomically(folder / "model.safetensors", save_tensors(weights))
    config = {**TOYS[name], "d_vocab": D_VOCAB, "seed": record["settings"]["seed"]}
    write_atomically(folder / "config.json", json.dumps(config, indent=1) + "\n")
    write_atomically(folder / "record.json", json.dumps(record) + "\n")
    write_atomically(folder / "README.md", model_card(name, record, sum(value.numel() for value in weights.values())))


def model_card(name: str, record: dict[str, Any], n_parameters: int) -> str:
    """What the model is, how it was made, what came out; every number from the record."""
    settings, last = record["settings"], record["steps"][-1]
    first_seen = "".join(
        f"| {row['step']} | {row['validation_loss']:.2f} | {row['in_context_score']:+.3f} "
        f"| {max(map(max, row['induction'])):.2f} | {max(map(max, row['previous_token'])):.2f} |\n"
        for row in record["steps"]
        if row["step"] % 1000 == 0 or row is last
    )
    if settings["config"].get("attn_only"):
        what = "An attention-only transformer, trained by this project for its lab on induction heads."
        rows = f"""In {settings["repeated"]:.0%} of the rows a passage of that text, of varying length, was repeated until the
  row was full. Random tokens were never trained on."""
    else:
        what = "A one-layer transformer with an MLP, trained by this project to look for features in its neurons."
        rows = "No passage was repeated."
    config = ", ".join(f"{key} {value}" for key, value in settings["config"].items())
    return f"""# {name}

{what} {n_parameters / 1e6:.1f} million
parameters: {config}, vocabulary {D_VOCAB}. `load_model("{name}")` loads it.

- **Data**: the training split of `data/corpus.jsonl.xz`, text that SmolLM2-135M-Instruct wrote (see `data/README.md`),
  {record["epochs"]:.1f} times over. {rows}
- **Start**: random weights; positions start as sinusoids, and are trained.
- **Training**: `python -m scripts.train_toy_models {name} --seed {settings["seed"]}`: {settings["steps"]:,} steps of
  {settings["batch_rows"]} rows of {settings["config"]["n_ctx"]} tokens, AdamW with a learning rate of
  {settings["learning_rate"]}, {record["seconds"] / 60:.0f} minutes with {record["threads"]} thread(s) on {record["machine"]},
  torch {record["torch"]}.
- **Measured while it trained** (`record.json` has every step and head), on held-out text and on repeated random tokens:

| step | held-out loss | in-context score | best induction head | best previous-token head |
|---|---|---|---|---|
{first_seen}
Losses are in nats a token. The in-context score is the loss at positions {LATE[0]} to {LATE[1]} minus that at positions
{EARLY[0]} to {EARLY[1]}. A head's score is the average attention that it pays, from the second half of random tokens that
come twice, to the token after the same token's first time, or to the token before.

The weights are stored in half precision and computed with in single. It has seen little text and writes nonsense: it is
meant to be looked into. Licence: as the project's.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.train_toy_models", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*TOYS, []], help=f"of the models: {', '.join(TOYS)}")
    parser.add_argument("--tokenizer", action="store_true", help="train the tokenizer that all of them share")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (%(default)s)")
    options = parser.parse_args(arguments)
    if not options.names and not options.tokenizer:
        parser.error("name a model, or give --tokenizer")
    torch.set_num_threads(options.threads)
    try:
        if options.tokenizer:
            train_tokenizer([document.text for document in load_corpus("train")])
        for name in options.names:
            save(name, *train(name, outputs_folder("toy_models"), options.seed, progress=sys.stderr.isatty()))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
