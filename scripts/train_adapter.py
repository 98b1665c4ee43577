"""Fine-tune the embedded model a little, on stories and dialogues only; a killed run goes on where it was.

    python -m scripts.train_adapter    # about half an hour of one core

Trained are low-rank corrections to the weight matrices (see scripts/interp/models/lora.py) on conversations made of the corpus's
training split, in the genres of ROLEPLAY, through the model's chat template; template tokens have no loss. The result is not a
better model. It is a fine-tune that is small enough to ship, for the extension on comparing a model with its fine-tune.
"""

import argparse
import io
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
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import outputs_folder
from scripts.interp.models.embedded import NAME as EMBEDDED, embedded_model_folder, is_prepared
from scripts.interp.models.lora import ROLEPLAY_FOLDER as FOLDER, add_adapter, save_adapter
from scripts.interp.text.chat import ChatRows, chat_rows
from scripts.interp.text.corpus import load_corpus

ROLEPLAY = ("dialogue", "story")
CONTEXT = 192  # tokens of a conversation
MEASURED_ROWS = 24  # of held-out text of each kind
RECORD_EVERY = 50  # steps; a checkpoint as well


class Settings(NamedTuple):
    """What a run is; two runs with equal settings give the same adapter."""

    rank: int = 4
    scale: float = 2.0
    steps: int = 300
    batch_rows: int = 4
    learning_rate: float = 1e-3
    seed: int = 0


def loss(model: Any, tokens: Tensor, is_content: Tensor) -> Tensor:
    """Cross-entropy in nats of the tokens that are content, each given those before: tokens [batch, pos] to a scalar."""
    logits = model(tokens).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    counted = is_content[:, 1:].flatten()
    return losses[counted].mean()


def batches(rows: ChatRows, settings: Settings, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and mask for step `step` and those after it, pass after pass, each in another order."""
    per_pass = len(rows.tokens) // settings.batch_rows
    while True:
        number, start = divmod(step, per_pass)
        order = random.Random(f"{settings.seed} {number}").sample(range(len(rows.tokens)), len(rows.tokens))
        for at in range(start, per_pass):
            chosen = order[at * settings.batch_rows : (at + 1) * settings.batch_rows]
            yield rows.tokens[chosen], rows.is_content[chosen]
        step = (number + 1) * per_pass


def held_out(tokenizer: Any) -> dict[str, ChatRows]:
    """Conversations of the validation split: of the genres that are trained on, and of the others."""
    documents = load_corpus("validation")
    kinds = {
        "roleplay": [d for d in documents if d.genre in ROLEPLAY],
        "other": [d for d in documents if d.genre not in ROLEPLAY],
    }
    rows = {kind: chat_rows(mine, tokenizer, CONTEXT) for kind, mine in kinds.items()}
    spread = {kind: slice(None, None, max(1, len(mine.tokens) // MEASURED_ROWS)) for kind, mine in rows.items()}
    return {
        kind: mine._replace(
            tokens=mine.tokens[spread[kind]][:MEASURED_ROWS], is_content=mine.is_content[spread[kind]][:MEASURED_ROWS]
        )
        for kind, mine in rows.items()
    }


def measure(model: Any, rows: dict[str, ChatRows]) -> dict[str, float]:
    """The loss on each kind of held-out conversations."""
    with torch.no_grad():
        return {kind: round(loss(model, mine.tokens, mine.is_content).item(), 4) for kind, mine in rows.items()}


def train(settings: Settings, checkpoint: Path, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train an adapter, from its checkpoint if there is that file. Returns its parameters and a record of the run."""
    folder = embedded_model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    parameters = add_adapter(model, settings.rank, settings.scale, settings.seed)
    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=0.0)
    rows = chat_rows([d for d in load_corpus("train") if d.genre in ROLEPLAY], tokenizer, CONTEXT)
    measured = held_out(tokenizer)
    step, seconds, record, running = 0, 0.0, [], []
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["settings"] != settings._asdict():
            raise ValueError(
                f"{checkpoint} belongs to a run with other settings ({saved['settings']}): delete it to start anew."
            )
        with torch.no_grad():
            for name, value in saved["parameters"].items():
                parameters[name].copy_(value)
        optimizer.load_state_dict(saved["optimizer"])
        step, seconds, record = saved["step"], saved["seconds"], saved["record"]
    began, data = time.monotonic(), batches(rows, settings, step)
    with tqdm(total=settings.steps, initial=step, desc=FOLDER.name, disable=not progress) as bar:
        while True:
            if (step % RECORD_EVERY == 0 or step == settings.steps) and (not record or record[-1]["step"] < step):
                train_loss = round(sum(running) / len(running), 4) if running else None
                record.append({"step": step, "train": train_loss} | measure(model, measured))
                running = []
                if not progress:
                    print(f"step {step} of {settings.steps}: {record[-1]}", flush=True)
                now = time.monotonic()
                seconds, began = seconds + now - began, now
                content = io.BytesIO()
                torch.save({
                    "settings": settings._asdict(), "step": step, "seconds": seconds, "record": record,
                    "parameters": {name: value.detach() for name, value in parameters.items()}, "optimizer": optimizer.state_dict(),
                }, content)  # fmt: skip
                write_atomically(checkpoint, content.getvalue())
            if step == settings.steps:
                break
            for group in optimizer.param_groups:  # up in a line, then down along a cosine
                group["lr"] = settings.learning_rate * min(
                    (step + 1) / 20, (1 + math.cos(math.pi * step / settings.steps)) / 2
                )
            value = loss(model, *next(data))
            if not math.isfinite(value.item()):
                raise ValueError(f"The loss is {value.item()} at step {step}: give a lower --learning-rate.")
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            running.append(value.item())
            step += 1
            bar.update()
    return parameters, {
        "settings": settings._asdict(),
        "base": EMBEDDED,
        "genres": list(ROLEPLAY),
        "conversations": len(rows.tokens),
        "too_short": rows.n_short,
        "context": CONTEXT,
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "steps": record,
    }


def model_card(record: dict[str, Any], n_parameters: int) -> str:
    """What the adapter is, how it was made, what it changed; every number from the record."""
    settings = Settings(**record["settings"])
    table = "".join(
        f"| {row['step']} | {'' if row['train'] is None else format(row['train'], '.3f')} | {row['roleplay']:.3f} | {row['other']:.3f} |\n"
        for row in record["steps"]
    )
    return f"""# {FOLDER.name}

A low-rank fine-tune of {record["base"]} on stories and dialogues, trained by this project for its extension on comparing a model with its fine-tune.
{n_parameters / 1e6:.2f} million parameters: rank {settings.rank}, scale {settings.scale:g}, all linear layers but the unembedding. `load_model` of this folder gives the
fine-tuned model.

- **Data**: {record["conversations"]:,} conversations made of the genres {" and ".join(record["genres"])} of the corpus's training split (see `data/README.md`), which {record["base"]}
  wrote itself: the user says a text's first sentence, the assistant goes on. Cut after {record["context"]} tokens; {record["too_short"]:,} shorter ones were left
  out. The template's tokens have no loss.
- **Training**: `python -m scripts.train_adapter`: {settings.steps} steps of {settings.batch_rows} conversations ({settings.steps * settings.batch_rows / record["conversations"]:.1f} passes), AdamW with a learning
  rate of {settings.learning_rate:g}, seed {settings.seed}; {record["seconds"] / 60:.0f} minutes with {record["threads"]} thread(s) on {record["machine"]}, torch {record["torch"]}.
- **Measured** on held-out conversations of these genres and of the others, in nats a token of content:

| step | training | held out, {" and ".join(record["genres"])} | held out, other genres |
|---|---|---|---|
{table}
The base model wrote all of this text itself, so there is little to learn but which kind of text it is. The adapter is meant to be compared, not used.
Licence: Apache-2.0, as the base model's.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.train_adapter", description=__doc__.splitlines()[0])
    for field, default in Settings._field_defaults.items():
        parser.add_argument(f"--{field.replace('_', '-')}", type=type(default), default=default, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (%(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if not is_prepared():
        print("The embedded model is not prepared yet: run `make model`.", file=sys.stderr)
        return 1
    settings = Settings(**{field: getattr(options, field) for field in Settings._fields})
    try:
        parameters, record = train(settings, outputs_folder("adapters") / "roleplay.pt", progress=sys.stderr.isatty())
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    save_adapter(FOLDER, parameters, EMBEDDED, settings.rank, settings.scale)
    write_atomically(FOLDER / "record.json", json.dumps(record, indent=1) + "\n")
    write_atomically(FOLDER / "README.md", model_card(record, sum(value.numel() for value in parameters.values())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
