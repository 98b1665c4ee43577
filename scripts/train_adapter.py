"""Fine-tune the embedded model a little, on stories and dialogues only; a killed run goes on where it was.

    .venv/bin/python -m scripts.train_adapter    # about half an hour of one core
    .venv/bin/python -m scripts.train_adapter --recipe checkpoints/smollm2-135m-roleplay    # the same, as it was made

Trained are low-rank corrections to the weight matrices (see scripts/interp/models/lora.py) on conversations made of the
corpus's training split, in the genres of ROLEPLAY, through the model's chat template; template tokens have no loss. The
result is not a better model. It is a fine-tune that is small enough to ship, for the extension on comparing a model
with its fine-tune.
"""

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.interp.base.command_line import RECIPE_FILE, command_parser, recipe_text
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import outputs_folder
from scripts.interp.models.embedded import NAME as EMBEDDED, embedded_model_folder, is_prepared
from scripts.interp.models.lora import ROLEPLAY_FOLDER as FOLDER, add_adapter, save_adapter
from scripts.interp.runs.losses import losses_of_logits
from scripts.interp.text.chat import ChatRows, chat_rows
from scripts.interp.text.corpus import load_corpus
from scripts.interp.training import loop, schedules

ROLEPLAY = ("dialogue", "story")
CONTEXT = 192  # tokens of a conversation
MEASURED_ROWS = 24  # of held-out text of each kind
WARM_UP, RECORD_EVERY = 20, 50  # steps; with each row of the record there is a checkpoint


@dataclass(frozen=True)
class Settings:
    """What a run is; two runs with equal settings give the same adapter."""

    rank: int = 4  # of the correction to each weight matrix
    scale: float = 2.0  # number by which corrections are multiplied
    steps: int = 300  # how many steps to train
    batch_rows: int = 4  # conversations in a step
    learning_rate: float = 1e-3  # the largest learning rate, after warm-up
    seed: int = 0  # decides the first weights and the order of the conversations


def loss(model: Any, tokens: Tensor, is_content: Tensor) -> Tensor:
    """Cross-entropy in nats of the tokens that are content, given those before: tokens [batch, pos] to a scalar."""
    losses = losses_of_logits(model(tokens).logits[:, :-1], tokens[:, 1:])
    return losses[is_content[:, 1:]].mean()


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


def train(settings: Settings, checkpoint: Path, progress: bool | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train an adapter, from its checkpoint if there is that file. Returns its parameters and a record of the run."""
    folder = embedded_model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    parameters = add_adapter(model, settings.rank, settings.scale, settings.seed)
    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=0.0)
    rows = chat_rows([d for d in load_corpus("train") if d.genre in ROLEPLAY], tokenizer, CONTEXT)
    measured = held_out(tokenizer)

    def step(number: int, batch: tuple[Tensor, Tensor]) -> loop.Step:
        rate = schedules.capped_cosine(number, settings.steps, settings.learning_rate, WARM_UP)
        schedules.set_learning_rate(optimizer, rate)
        value = loss(model, *batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return loop.Step(value.item(), (value.item(),))

    def state() -> dict[str, Any]:
        values = {name: value.detach() for name, value in parameters.items()}
        return {"parameters": values, "optimizer": optimizer.state_dict()}

    def restore(saved: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, value in saved["parameters"].items():
                parameters[name].copy_(value)
        optimizer.load_state_dict(saved["optimizer"])

    training = loop.Training(
        FOLDER.name,
        asdict(settings),
        settings.steps,
        batches=lambda step: batches(rows, settings, step),
        step=step,
        row=lambda _, averages: {"train": averages and round(averages[0], 4)} | measure(model, measured),
        is_recorded=lambda step: step % RECORD_EVERY == 0 or step == settings.steps,
        checkpoint_every=RECORD_EVERY,
        state=state,
        restore=restore,
        line=lambda row: f"step {row['step']} of {settings.steps}: {row}",
    )
    outcome = loop.run(training, checkpoint, progress)
    return parameters, {
        "settings": asdict(settings),
        "base": EMBEDDED,
        "genres": list(ROLEPLAY),
        "conversations": len(rows.tokens),
        "too_short": rows.n_short,
        "context": CONTEXT,
        "seconds": outcome.seconds,
        **loop.where_it_ran(),
        **loop.versions("torch"),
        "steps": outcome.rows,
    }


def model_card(record: dict[str, Any], n_parameters: int) -> str:
    """What the adapter is, how it was made, what it changed; every number from the record."""
    settings = Settings(**record["settings"])
    table = "".join(
        f"| {row['step']} | {'' if row['train'] is None else format(row['train'], '.3f')} "
        f"| {row['roleplay']:.3f} | {row['other']:.3f} |\n"
        for row in record["steps"]
    )
    base, genres = record["base"], " and ".join(record["genres"])
    passes, minutes = settings.steps * settings.batch_rows / record["conversations"], record["seconds"] / 60
    return f"""# {FOLDER.name}

A low-rank fine-tune of {base} on stories and dialogues, trained by this project for its extension on comparing a \
model with its fine-tune.
{n_parameters / 1e6:.2f} million parameters: rank {settings.rank}, scale {settings.scale:g}, all linear layers but the \
unembedding. `load_model` of this folder gives the
fine-tuned model.

- **Data**: {record["conversations"]:,} conversations made of the genres {genres} of the corpus's training split (see \
`data/README.md`), which {base}
  wrote itself: the user says a text's first sentence, the assistant goes on. Cut after {record["context"]} tokens; \
{record["too_short"]:,} shorter ones were left
  out. The template's tokens have no loss.
- **Training**: `.venv/bin/python -m scripts.train_adapter`: {settings.steps} steps of {settings.batch_rows} \
conversations ({passes:.1f} passes), AdamW with a learning
  rate of {settings.learning_rate:g}, seed {settings.seed}; {minutes:.0f} minutes with {record["threads"]} thread(s) \
on {record["machine"]}, torch {record["torch"]}.
- **Measured** on held-out conversations of these genres and of the others, in nats a token of content:

| step | training | held out, {genres} | held out, other genres |
|---|---|---|---|
{table}
The base model wrote all of this text itself, so there is little to learn but which kind of text it is. The adapter is \
meant to be compared, not used.
Licence: Apache-2.0, as the base model's.
"""


@dataclass(frozen=True)
class Options:
    """What does not belong to the adapter."""

    threads: int = 1  # how many threads of the CPU to use


def main(arguments: list[str] | None = None) -> int:
    groups = {"settings": Settings, "options": Options}
    given = command_parser("scripts.train_adapter", __doc__.splitlines()[0], groups, arguments).parse_args(arguments)
    settings = given.settings
    torch.set_num_threads(given.options.threads)
    if not is_prepared():
        print("The embedded model is not prepared yet: run `make model`.", file=sys.stderr)
        return 1
    try:
        parameters, record = train(settings, outputs_folder("adapters") / "roleplay.pt", progress=sys.stdout.isatty())
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    save_adapter(FOLDER, parameters, EMBEDDED, settings.rank, settings.scale)
    write_atomically(FOLDER / "record.json", json.dumps(record, indent=1) + "\n")
    write_atomically(FOLDER / RECIPE_FILE, recipe_text(asdict(settings), given.options))
    write_atomically(FOLDER / "README.md", model_card(record, sum(value.numel() for value in parameters.values())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
