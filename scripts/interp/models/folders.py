"""What may be wrong with a folder that should hold a model, each in one sentence, before a library stumbles over it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from scripts.interp.base.errors import in_short

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# What transformers makes a tokenizer from; a tokenizer_config.json alone is none.
_TOKENIZERS = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tokenization_*.py")
_NOT_LANGUAGE_MODELS = ("MaskedLM", "PreTraining", "Classification", "QuestionAnswering", "MultipleChoice")
_LFS = b"version https://git-lfs"


def check_model_folder(folder: Path) -> None:
    """Raise ValueError, saying what is missing or damaged and what to do, unless a folder may hold a whole model.

    Looks at which files are there, at JSON files and at the headers of safetensors files; not at weights.
    """
    is_adapter = (folder / "adapter_config.json").is_file() and not any(folder.glob("model*.safetensors"))
    if not (folder / "config.json").is_file() or is_adapter:
        raise ValueError(f"{folder} holds no model: {_what_is_there_instead(folder)}.")
    for file in sorted(folder.iterdir()):
        if file.is_file():
            _check_file(file)
    if "model_type" not in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        raise ValueError(f"{folder}/config.json names no model_type: fetch it again, or save the model anew.")
    for index in folder.glob("*.index.json"):
        missing = sorted({*json.loads(index.read_text())["weight_map"].values()} - {x.name for x in folder.iterdir()})
        if missing:
            raise ValueError(
                f"{folder} holds no complete model: {len(missing)} of the files that {index.name} names are missing, "
                f"{missing[0]} for example; copy or fetch them again."
            )
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        raise ValueError(
            f"{folder} holds no tokenizer: save it there too, with tokenizer.save_pretrained({str(folder)!r})."
        )


def check_language_model(config: PretrainedConfig, source: str) -> None:
    """Raise ValueError unless a configuration is of a model that predicts the next token."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    architecture = next(iter(config.architectures or []), config.model_type)
    if (
        config.is_encoder_decoder
        or config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        or architecture.endswith(_NOT_LANGUAGE_MODELS)
    ):
        raise ValueError(
            f"{source} holds a {architecture}, which does not predict the next token from those before it: give a "
            "causal language model, such as GPT-2, Llama or Gemma."
        )


def _what_is_there_instead(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return (
            "it is a PEFT adapter without its base model; add it to the base with PEFT's merge_and_unload(), and save "
            "model and tokenizer with save_pretrained"
        )
    if any(folder.glob("*.gguf")):
        return "a GGUF file is not read as it is; load it with transformers' gguf_file=… and save_pretrained it"
    return "there is no config.json in it; give a folder of save_pretrained, or of an adapter"


def _check_file(file: Path) -> None:
    with file.open("rb") as opened:
        if opened.read(len(_LFS)) == _LFS:
            raise ValueError(
                f"{file} is a git-lfs pointer and not the file itself: run `git lfs pull` in its repository."
            )
    try:
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
        elif file.suffix == ".safetensors":
            with safe_open(file, framework="pt"):
                pass
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"{file} is damaged or cut off ({in_short(error)}): copy or fetch it again.") from error
