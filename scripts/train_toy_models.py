"""Train the project's toy models on its own corpus; a killed run goes on where it was.

    .venv/bin/python -m scripts.train_toy_models --tokenizer    # once, before the first model: seconds
    .venv/bin/python -m scripts.train_toy_models toy-attn-2l    # about 20 minutes of one core
    .venv/bin/python -m scripts.train_toy_models --recipe checkpoints/toy-attn-2l    # the same, as it was made

Only the corpus is trained on. For the attention-only models a passage of it is repeated in some rows: without them
induction heads form as well, but attend less surely. While a model trains, it is measured at more and more distant
steps: loss on held-out text, by position; induction and previous-token scores of its heads on repeated random tokens.
The same seed gives the same model on the same machine with the same number of threads.
"""

import itertools
import json
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save as save_tensors
from simple_parsing import field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from scripts.interp.base.command_line import RECIPE_FILE, command_parser, read_recipe, recipe_text
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import outputs_folder
from scripts.interp.circuits import exact
from scripts.interp.circuits.attention_routes import find_route
from scripts.interp.circuits.head_scores import repeat_scores
from scripts.interp.models.toys import TOKENIZER_FOLDER, TOY_FOLDER, TOYS, load_toy_tokenizer, new_toy, plain_name
from scripts.interp.runs.losses import EARLY, losses_of_logits
from scripts.interp.text.corpus import beginnings, load_corpus, pack, token_ids
from scripts.interp.text.repeats import create_induction_dataset
from scripts.interp.training import loop, schedules

D_VOCAB = 2048
BOS = "<|bos|>"
BATCH_ROWS = 16
WARM_UP, LEARNING_RATE, WEIGHT_DECAY, CLIP = 200, 3e-3, 0.01, 1.0
CHECKPOINT_EVERY = 500
PERIODS = (20, 35, 50)  # of the repeated random tokens that are measured on
HELD_OUT_ROWS = 96
LATE = (96, 128)  # whose losses the in-context-learning score compares with those at EARLY


class Recipe(NamedTuple):
    """What differs between the trainings of TOYS."""

    steps: int
    schedule: int  # steps after which the learning rate would be a tenth
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
    """The rows [n, context], a share `repeated` of them filled with their beginning.

    That is 8 tokens to half of the context at a time.
    """
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
    return losses_of_logits(logits, tokens[:, 1:])


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


def held_out_rows(tokenizer: PreTrainedTokenizerFast, n_ctx: int) -> Tensor:
    """BOS and the beginnings of HELD_OUT_ROWS texts of the validation split that are long enough, [rows, n_ctx]."""
    return beginnings(load_corpus("validation"), tokenizer, n_ctx, HELD_OUT_ROWS)


def new_optimizer(parameters: dict[str, torch.nn.Parameter]) -> torch.optim.AdamW:
    """Matrices decay, vectors do not."""
    matrices = [p for p in parameters.values() if p.dim() > 1]
    vectors = [p for p in parameters.values() if p.dim() <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )


def train(
    name: str, work: Path, seed: int, progress: bool | None, recipe: Recipe | None = None
) -> tuple[TransformerBridge, dict[str, Any]]:
    """Train one of TOYS, from its last checkpoint in `work` if there is one. Returns the model and its record.

    recipe: None is the one in RECIPES
    """
    tokenizer = load_toy_tokenizer()
    bos, n_ctx = tokenizer.bos_token_id, TOYS[name]["n_ctx"]
    steps, schedule, repeated = recipe or RECIPES[name]
    model = new_toy(TOYS[name], D_VOCAB, seed)
    start_positions_as_sinusoids(model)
    parameters = dict(model.original_model.named_parameters())
    optimizer = new_optimizer(parameters)
    texts = token_ids((document.text for document in load_corpus("train")), tokenizer)
    held_out = held_out_rows(tokenizer, n_ctx)
    repeats = {
        period: torch.cat(create_induction_dataset(
            16, period, vocab_start=257, vocab_end=D_VOCAB, seed=period, bos_token_id=bos))
        for period in PERIODS
    }  # fmt: skip
    checkpoint = work / f"{name}.pt"

    def step(number: int, rows: Tensor) -> loop.Step:
        # The attention-only models' training ends before the cosine does: with the last, small learning rates the
        # held-out loss still falls a little, and the induction scores fall as well.
        schedules.set_learning_rate(optimizer, schedules.cosine_to_a_tenth(number, schedule, LEARNING_RATE, WARM_UP))
        loss = losses(model, rows).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        optimizer.step()
        return loop.Step(loss.item(), (loss.item(),))

    def restore(saved: dict[str, Any]) -> None:
        model.original_model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])

    def line(row: dict[str, Any]) -> str:
        best = max(map(max, row["induction"]))
        return f"{name}, step {row['step']}: loss {row['validation_loss']:.3f}, best induction score {best:.3f}"

    training = loop.Training(
        name,
        {
            "name": name, "seed": seed, "steps": steps, "schedule": schedule, "batch_rows": BATCH_ROWS,
            "learning_rate": LEARNING_RATE, "repeated": repeated, "config": TOYS[name],
        },
        steps,
        batches=lambda step: batches(texts, bos, n_ctx, seed, step, repeated),
        step=step,
        row=lambda step, averages: {"train_loss": averages and averages[0]} | measure(model, held_out, repeats),
        is_recorded=lambda step: is_recorded(step, steps),
        checkpoint_every=CHECKPOINT_EVERY,
        state=lambda: {"model": model.original_model.state_dict(), "optimizer": optimizer.state_dict()},
        restore=restore,
        line=line,
        not_finite=f"The loss of {name} is {{loss}} at step {{step}}: its last checkpoint before that is {checkpoint}; "
        "delete it and lower LEARNING_RATE.",
    )  # fmt: skip
    outcome = loop.run(training, checkpoint, progress)
    return model, {
        "settings": training.settings,
        "seconds": outcome.seconds,
        "epochs": steps * BATCH_ROWS * n_ctx / sum(map(len, texts)),
        **loop.where_it_ran(),
        **loop.versions("torch"),
        "steps": outcome.rows,
    }


def save(name: str, model: TransformerBridge, record: dict[str, Any], folder: Path = TOY_FOLDER) -> None:
    """Write what the labs load, which is weights, configuration and record, and a recipe and a model card."""
    weights = {
        plain_name(key): value.to(torch.float16).contiguous()
        for key, value in model.original_model.state_dict().items()
    }
    folder = folder / name
    write_atomically(folder / "model.safetensors", save_tensors(weights))
    config = {**TOYS[name], "d_vocab": D_VOCAB, "seed": record["settings"]["seed"]}
    write_atomically(folder / "config.json", json.dumps(config, indent=1) + "\n")
    write_atomically(folder / "record.json", json.dumps(record) + "\n")
    write_atomically(folder / RECIPE_FILE, recipe_of(record))
    write_atomically(folder / "README.md", model_card(name, record, sum(value.numel() for value in weights.values())))


def recipe_of(record: dict[str, Any]) -> str:
    """The recipe that makes a model again, from its record."""
    settings = record["settings"]
    options = Options([settings["name"]], seed=settings["seed"], threads=record["threads"])
    return recipe_text({key: settings[key] for key in Recipe._fields}, options)


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
        rows = f"""In {settings["repeated"]:.0%} of the rows a passage of that text, of varying length, was repeated \
until the
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
- **Training**: `.venv/bin/python -m scripts.train_toy_models {name} --seed {settings["seed"]}`: {settings["steps"]:,} \
steps of
  {settings["batch_rows"]} rows of {settings["config"]["n_ctx"]} tokens, AdamW with a learning rate of
  {settings["learning_rate"]}, {record["seconds"] / 60:.0f} minutes with {record["threads"]} thread(s) on \
{record["machine"]},
  torch {record["torch"]}.
- **Measured while it trained** (`record.json` has every step and head), on held-out text and on repeated random \
tokens:

| step | held-out loss | in-context score | best induction head | best previous-token head |
|---|---|---|---|---|
{first_seen}
Losses are in nats a token. The in-context score is the loss at positions {LATE[0]} to {LATE[1]} minus \
that at positions
{EARLY[0]} to {EARLY[1]}. A head's score is the average attention that it pays, from the second half of random tokens \
that
come twice, to the token after the same token's first time, or to the token before.

The weights are stored in half precision and computed with in single. It has seen little text and writes nonsense: it is
meant to be looked into. Licence: as the project's.
"""


@dataclass(frozen=True)
class Options:
    """What to train, and with what."""

    names: list[str] = field(default_factory=list, positional=True, nargs="*", metavar="name")
    """The models: toy-attn-1l, toy-attn-2l or toy-mlp-1l."""
    tokenizer: bool = field(default=False, action="store_true")  # train the tokenizer that all of them share
    seed: int = 0  # decides the first weights and the order of the text
    threads: int = 1  # how many threads of the CPU to use


def main(arguments: list[str] | None = None) -> int:
    parser = command_parser("scripts.train_toy_models", __doc__.splitlines()[0], {"options": Options}, arguments)
    given = parser.parse_args(arguments)
    options = given.options
    settings = read_recipe(Path(given.recipe))["settings"] if given.recipe else None
    recipe = Recipe(**settings) if settings else None
    if not options.names and not options.tokenizer:
        parser.error("name a model, or give --tokenizer")
    if unknown := sorted(set(options.names) - set(TOYS)):
        parser.error(f"there is no {', '.join(unknown)}: name {', '.join(TOYS)}")
    torch.set_num_threads(options.threads)
    try:
        if options.tokenizer:
            train_tokenizer([document.text for document in load_corpus("train")])
        for name in options.names:
            work, progress = outputs_folder("toy_models"), sys.stdout.isatty()
            save(name, *train(name, work, options.seed, progress, recipe))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
