"""Asking a model hub, or the local cache of one, without waiting for half a minute."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub.constants
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.models.embedded import NAME as EMBEDDED

HUB_SECONDS = 4  # how long a hub may take to answer at all


def in_hub_cache(repository: str) -> bool:
    """Whether config, tokenizer and all weights of a repository are in the local Hugging Face cache."""
    config = huggingface_hub.try_to_load_from_cache(repository, "config.json")
    if not isinstance(config, str):
        return False
    snapshot = Path(config).parent
    weights = [{"model.safetensors"}, {"pytorch_model.bin"}]
    weights += [set(json.loads(index.read_text())["weight_map"].values()) for index in snapshot.glob("*.index.json")]
    tokenizers = ("tokenizer.json", "tokenizer.model", "vocab.json")
    return any((snapshot / name).exists() for name in tokenizers) and any(
        all((snapshot / name).exists() for name in names) for names in weights
    )


@contextmanager
def hub_lookups(allowed: bool) -> Iterator[None]:
    """Switch hub look-ups on or off: huggingface_hub reads HF_HUB_OFFLINE only when it is imported."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = not allowed
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


def ask_hub(repository: str, filename: str = "config.json") -> None:
    """Return when the hub says, within seconds, that it has this file; raise ModelUnavailable otherwise.

    The libraries themselves would try again and again for half a minute.
    """
    answer: list[Exception | None] = []

    def ask() -> None:
        try:
            url = huggingface_hub.hf_hub_url(repository, filename)
            huggingface_hub.get_hf_file_metadata(url, timeout=HUB_SECONDS)
            answer.append(None)
        except Exception as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)  # looking up a host name ignores every timeout
    thread.start()
    thread.join(HUB_SECONDS + 1)
    error = answer[0] if answer else TimeoutError("no answer")
    if isinstance(error, (RepositoryNotFoundError, EntryNotFoundError)):
        raise ModelUnavailable(
            f"{huggingface_hub.constants.ENDPOINT} has no model {repository!r} that you may read: check the "
            "name, and if the model is gated, accept its licence there and log in with `hf auth login`."
        ) from error
    if error is not None:
        raise ModelUnavailable(
            f"{repository} is not on this machine and {huggingface_hub.constants.ENDPOINT} can't be reached "
            f"({type(error).__name__}): connect to the network, or use the embedded model with "
            f"LAB_MODEL={EMBEDDED}."
        ) from error
