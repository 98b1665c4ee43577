"""What a training of an adapter is: the published configuration files, every value checked.

Sections, names and defaults are those of the published code (agencyenterprise/selfie-adapters, training/config.py).
What this project does not do is refused, not passed over.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from scripts.interp.base.paths import ROOT
from scripts.interp.base.rules import Rule, check_value, flag, number, one_of, or_none, read_yaml, text, whole
from scripts.interp.selfie.adapters import KINDS
from scripts.interp.selfie.prompt import PLACEHOLDER, TEMPLATE

EXAMPLE = ROOT / "configs" / "scalar_affine_smollm2_135m.yaml"


def only(value: Any, why: str) -> Rule:
    """One value that can be given, and why no other."""
    return lambda given: None if type(given) is type(value) and given == value else f"{value!r}: {why}"


def characters(value: Any) -> str | None:
    """Some characters, or none."""
    return None if type(value) is str else "text, '' for none"


SECTIONS: dict[str, dict[str, tuple[Any, Rule]]] = {  # default and rule of each setting
    "model": {
        "name": ("smollm2-135m", text),
        "device_map": ("auto", one_of("auto", "cpu", "cuda")),
        "dtype": ("float32", one_of("float32", "bfloat16", "float16")),
        "enable_gradient_checkpointing": (False, flag),
        "load_in_8bit": (False, only(False, "weights in 8 bits are not supported")),
    },
    "data": {
        "labels_file": ("labels.json", text),
        "batch_size": (80, whole(1)),
        "shuffle": (True, flag),
        "num_workers": (0, whole(0)),
        "strip_labels": (False, flag),
        "eos_token": ("", characters),
        "train_dataset_ratios": (None, only(None, "put into one file what is to be trained on")),
        "val_dataset_ratios": (None, only(None, "put into one file what is to be trained on")),
        "resample_each_epoch": (True, flag),
        "debug_dataset_mixing": (False, only(False, "data sets are not mixed")),
    },
    "projection": {
        "type": ("scalar_affine", one_of(*KINDS)),
        "normalize_input": (True, flag),
        "init_scale": (30.0, number()),
        "low_rank_rank": (None, or_none(whole(1))),
        "low_rank_init_factor": (0.01, number()),
    },
    "soft_prompt": {"template": (TEMPLATE, text), "reserved_token": (PLACEHOLDER, text)},
    "training": {
        "learning_rate": (0.01, number(above=False)),
        "scale_learning_rate": (None, or_none(number())),
        "direction_learning_rate": (None, only(None, "no kind of adapter here has such a parameter")),
        "bias_learning_rate": (None, or_none(number())),
        "optimizer_type": ("adamw", one_of("adamw", "sgd_momentum")),
        "weight_decay": (0.01, number(above=False)),
        "momentum": (0.9, number(1.0, above=False)),
        "num_epochs": (2, whole(1)),
        "max_steps": (None, or_none(whole(1))),
        "gradient_accumulation_steps": (1, whole(1)),
        "gradient_clip_norm": (0.5, number()),
        "label_smoothing": (0.0, number(1.0, above=False)),
        "max_loss": (100.0, number()),
        "scheduler_type": ("cosine", one_of("cosine", "linear", "constant")),
        "warmup_steps": (10, whole(0)),
        "validation_every_n_steps": (50, whole(1)),
        "val_fraction": (1.0, number(1.0)),
        "checkpoint_every_n_steps": (100, whole(1)),
        "checkpoint_dir": ("./checkpoints", text),
        "save_final_checkpoint": (True, flag),
        "resume_from_checkpoint": (None, only(None, "the same command goes on by itself")),
    },
    "logging": {
        "use_mlflow": (False, only(False, "MLflow is not supported")),
        "mlflow_tracking_uri": ("http://localhost:5000", text),
        "mlflow_experiment_name": ("selfie-adapter-training", text),
        "use_wandb": (False, flag),
        "wandb_project": ("selfie-adapter-training", text),
        "wandb_entity": (None, or_none(text)),
        "wandb_run_name": (None, or_none(text)),
        "log_every_n_steps": (1, whole(1)),
        "log_sample_generations": (5, whole(0)),
        "log_generations_every_n_steps": (100, whole(1)),
        "log_singular_values_every_n_steps": (50, whole(0)),
    },
}
TOP: dict[str, tuple[Any, Rule]] = {"seed": (42, whole(0)), "experiment_name": (None, or_none(text))}

Settings = dict[str, Any]


def default_settings() -> Settings:
    """A configuration with the default of everything."""
    sections = {name: {key: default for key, (default, _) in each.items()} for name, each in SECTIONS.items()}
    return copy.deepcopy(sections | {name: default for name, (default, _) in TOP.items()})


def read_settings(path: Path) -> Settings:
    """The configuration in a YAML file; what it does not name has its default.

    Raises ValueError, in one sentence, for what is no such file, an unknown or repeated name, a value of the wrong kind
    and one that asks for what is not supported.
    """
    return checked(read_yaml(path, EXAMPLE), str(path))


def checked(given: dict[str, Any], where: str) -> Settings:
    """A whole configuration out of some of its values. Raises ValueError like `read_settings`."""
    settings = default_settings()
    for name, value in given.items():
        if name in TOP:
            check_value(where, name, value, TOP[name][1])
            settings[name] = value
            continue
        if name not in SECTIONS:
            known = ", ".join((*SECTIONS, *TOP))
            raise ValueError(f"{where} has a section {name!r}, which is unknown: give some of {known}.")
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {name} is {value!r}; give settings in lines of their own under {name}:.")
        for key, each in value.items():
            if key not in SECTIONS[name]:
                raise ValueError(
                    f"{where} sets {name}.{key}, which is unknown: give some of {', '.join(SECTIONS[name])}."
                )
            check_value(where, f"{name}.{key}", each, SECTIONS[name][key][1])
            settings[name][key] = each
    if "low_rank" in settings["projection"]["type"] and settings["projection"]["low_rank_rank"] is None:
        raise ValueError(f"{where}: projection.low_rank_rank is not given; give the rank, 64 for example.")
    return settings
