"""Whether two names are those of one model: hubs, TransformerLens, sae-lens and folders call it differently."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from scripts.interp.models.registry import MODELS, TOY_SOURCE

_MOVED = {"openai-community": ""}  # owners that were none once: openai-community/gpt2 was gpt2


def same_model(one: str, other: str) -> bool:
    """Whether two names are known to be those of one model; upper and lower case are alike.

    Known are this project's names, TransformerLens' aliases, and a repository's name with or without its owner. Two
    owners are two models: the second may have fine-tuned the first's.
    """
    one, other = sorted((_official(one), _official(other)), key=lambda name: "/" in name)
    if one == other:
        return True
    return "/" not in one and one not in _aliases().values() and other.rpartition("/")[2] == one


def name_of_folder(folder: Path) -> str:
    """What a folder's model is called: its repository, where the folder is one of a hub's cache, else the folder."""
    folder = folder.resolve()
    repository = folder.parent.parent.name  # models--<owner>--<name>/snapshots/<commit>
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/")
    return folder.name


def _official(name: str) -> str:
    name = name.lower()
    owner, _, bare = name.rpartition("/")
    name = bare if _MOVED.get(owner) == "" else name
    return _aliases().get(name, name)


@cache
def _aliases() -> dict[str, str]:
    """Every name in small letters, and the model's official one."""
    from transformer_lens.supported_models import MODEL_ALIASES

    official = {alias.lower(): name.lower() for name, aliases in MODEL_ALIASES.items() for alias in aliases}
    ours = {name: model.source.lower() for name, model in MODELS.items() if "/" in model.source or name in official}
    return official | {name: source for name, source in ours.items() if source != TOY_SOURCE}
