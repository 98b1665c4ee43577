"""Train an adapter with which a model describes its own directions; a killed run goes on where it was.

    .venv/bin/python -m scripts.train_selfie --config configs/scalar_affine_smollm2_135m.yaml    # embedded, offline
    .venv/bin/python -m scripts.train_selfie --config configs/scalar_affine_8b_goodfire.yaml     # Llama 3.1 8B
    .venv/bin/python -m scripts.train_selfie --config configs/identity_baseline.yaml --eval-only
    .venv/bin/python -m torch.distributed.run --nproc-per-node=2 -m scripts.train_selfie --config …    # two processes

The labels come from `.venv/bin/python -m scripts.prepare_sae_training_data`. Adapters, the record and a checkpoint go
to a folder of the experiment's name in `training.checkpoint_dir`. docs/selfie.md says what the settings are.
"""

import argparse
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.interp.base.command_line import at_least_one, cores
from scripts.interp.base.errors import ModelUnavailable


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.train_selfie", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--config", type=Path, required=True, help="a YAML file such as configs/*.yaml")
    parser.add_argument("--vectors", type=Path, help="the file of vectors, where the labels' file names none")
    parser.add_argument("--adapter", type=Path, help="start with the adapter of this file")
    parser.add_argument("--eval-only", action="store_true", help="print the validation loss, and train nothing")
    parser.add_argument(
        "--threads", type=at_least_one, default=cores(), help="compute with so many threads of the CPU (%(default)s)"
    )
    options = parser.parse_args(arguments)

    from scripts.interp.selfie.settings import read_settings  # a wrong argument is answered at once

    try:
        settings = read_settings(options.config)
        settings["experiment_name"] = settings["experiment_name"] or options.config.stem
        if settings["logging"]["use_wandb"] and find_spec("wandb") is None:
            raise ValueError(
                "logging.use_wandb needs the package wandb: `.venv/bin/python -m pip install wandb`, or set it false."
            )
        run(settings, options)
    except (ModelUnavailable, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(settings: dict[str, Any], options: argparse.Namespace) -> None:
    """Train, or only evaluate."""
    import torch

    from scripts.interp.models.plain import load_plain_model
    from scripts.interp.selfie.adapters import load_adapter, new_adapter
    from scripts.interp.selfie.examples import read_examples
    from scripts.interp.selfie.losses import new_reading
    from scripts.interp.selfie.prompt import read_prompt
    from scripts.interp.selfie.training import train, validation_loss
    from scripts.interp.training.processes import together

    torch.set_num_threads(options.threads)
    model, prompt = settings["model"], settings["soft_prompt"]
    device = model["device_map"] if model["device_map"] != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    with together(device) as processes:
        plain = load_plain_model(model["name"], device, getattr(torch, model["dtype"]))
        examples = read_examples(settings, plain.tokenizer, options.vectors, device)
        width = plain.model.get_input_embeddings().embedding_dim
        if examples.vectors.shape[1] != width:
            raise ValueError(
                f"The vectors have {examples.vectors.shape[1]} dimensions, {model['name']} has {width}: give vectors "
                "of this model."
            )
        saves_memory = model["enable_gradient_checkpointing"]
        if saves_memory:
            plain.model.gradient_checkpointing_enable()
            plain.model.train()  # it checkpoints in this mode only, where dropout would be at work as well
            for part in plain.model.modules():
                if isinstance(part, torch.nn.Dropout):
                    part.eval()
        template = read_prompt(plain.tokenizer, prompt["template"], prompt["reserved_token"])
        reading = new_reading(plain, template, keep_prefix=not saves_memory)
        adapter = new_adapter(settings["projection"], width, settings["seed"])
        if options.adapter:
            adapter, _ = load_adapter(options.adapter)
        adapter.to(device)
        if options.eval_only:
            loss = validation_loss(reading, adapter, examples, settings, processes)
            if processes.rank == 0:
                print(
                    json.dumps({"val_loss": loss, "n_val": len(examples.val), "n_parameters": adapter.n_parameters()})
                )
            return
        folder = Path(settings["training"]["checkpoint_dir"]) / settings["experiment_name"]
        watch = wandb_log(settings) if settings["logging"]["use_wandb"] and processes.rank == 0 else lambda rows: None
        trained = train(reading, adapter, examples, settings, folder, sys.stdout.isatty(), processes, watch)
        if processes.rank == 0:
            best = trained.record["best"]
            lowest = (
                "Nothing was held out"
                if best["val_loss"] is None
                else (f"Lowest validation loss {best['val_loss']:.4f} at step {best['step']:,}")
            )
            print(f"{lowest}; adapters are in {folder}.")


def wandb_log(settings: dict[str, Any]) -> Callable[[list[dict[str, Any]]], None]:
    """A function that sends the newest row to Weights & Biases, where the labs' own runs never go."""
    import os
    from importlib import import_module

    wandb = import_module("wandb")  # no requirement of the labs: who asks for it has it
    logging = settings["logging"]
    asked = os.environ.get("WANDB_MODE", "")  # the labs' package has set "disabled", unless the user set something
    wandb.init(
        project=logging["wandb_project"], entity=logging["wandb_entity"], name=logging["wandb_run_name"],
        config=settings, mode=asked if asked != "disabled" else "online",
    )  # fmt: skip
    return lambda rows: wandb.log({name: value for name, value in rows[-1].items() if isinstance(value, float)})


if __name__ == "__main__":
    sys.exit(main())
