"""The file `activations.pt`: activations of some prompts at one layer, saved for later."""

import io
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.base.files import write_atomically
from scripts.interp.base.numbers import is_integer

KEYS = {"activations", "layer", "prompts", "metadata"}


def save_activations(
    path: str | Path,
    activations: Float[Tensor, "n_samples d_model"],
    *,
    layer: int,
    prompts: list[str],
    model_name: str,
) -> Path:
    """Save activations with where they come from; return the path.

    activations: [n_samples, d_model], one row for each prompt
    layer: the layer they were taken from, counted from 0
    prompts: n_samples texts

    The file holds {'activations', 'layer', 'prompts', 'metadata': {'model', 'timestamp'}}, the timestamp
    being now, in UTC and ISO 8601. It appears whole or not at all. Raises ValueError if the parts do not fit
    together.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    content = {
        "activations": activations.detach().cpu().clone() if isinstance(activations, Tensor) else activations,
        "layer": layer,
        "prompts": list(prompts) if isinstance(prompts, tuple) else prompts,
        "metadata": {"model": model_name, "timestamp": now},
    }
    _check(content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = Path(path)
    write_atomically(path, buffer.getvalue())
    return path


def load_activations(path: str | Path) -> dict[str, Any]:
    """Load what `save_activations` wrote, as a dict; the activations, [n_samples, d_model], are on the CPU.

    Nothing in the file is executed. Raises ValueError if it is something else or damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        raise ValueError(f"{path} is no activations file ({type(error).__name__}): save it again.") from error
    _check(content)
    return content


def _check(content: Any) -> None:
    if not isinstance(content, dict) or set(content) != KEYS:
        got = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"An activations file holds {', '.join(sorted(KEYS))}; this one: {got}.")
    activations, prompts, metadata = content["activations"], content["prompts"], content["metadata"]
    if not isinstance(activations, Tensor) or activations.dim() != 2 or not activations.is_floating_point():
        got = tuple(activations.shape) if isinstance(activations, Tensor) else type(activations).__name__
        raise ValueError(f"activations is {got}: give floating-point numbers [n_samples, d_model].")
    if not is_integer(content["layer"]) or content["layer"] < 0:
        raise ValueError(f"layer is {content['layer']!r}: give a layer's number, counted from 0.")
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise ValueError("prompts is not a list of texts: give one for each row of activations.")
    if len(prompts) != len(activations) or not prompts:
        rows = len(activations)
        raise ValueError(f"{len(prompts)} prompts do not fit {rows} rows: give one for each, at least one.")
    known = isinstance(metadata, dict) and [type(metadata.get(key)) for key in ("model", "timestamp")]
    if known != [str, str]:
        raise ValueError("metadata lacks the model's name or the timestamp: give model_name as a text.")
