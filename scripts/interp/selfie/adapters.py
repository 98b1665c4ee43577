"""Adapters: the few parameters between a direction in a model and the soft token that the model reads it from.

With x̂ = x / |x| and s = exp(log_scale), the kinds are (parameters for width d and rank r in brackets):

    identity                      x̂                        (0)
    scale_only                    s x̂                      (1)
    scalar_affine                 s x̂ + b                  (d + 1)
    low_rank_only                 x̂ U V' + b               (2 d r + d)
    scalar_affine_plus_low_rank   s x̂ + x̂ U V' + b         (d + 2 d r + 1)
    full_rank                     W x̂ + b                  (d² + d)

Source: arXiv 2602.10352. Names of kinds, parameters and files are those of its code (agencyenterprise/selfie-adapters),
so that adapters can be exchanged.
"""

from __future__ import annotations

import io
import json
import math
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from scripts.interp.base.errors import in_short
from scripts.interp.base.files import write_atomically

KINDS: dict[str, tuple[str, ...]] = {  # with the parameters of each
    "identity": (),
    "scale_only": ("log_scale",),
    "scalar_affine": ("log_scale", "bias"),
    "low_rank_only": ("U", "V", "bias"),
    "scalar_affine_plus_low_rank": ("log_scale", "U", "V", "bias"),
    "full_rank": ("weight", "bias"),
}
FORMAT_VERSION = 1
_NOT_SUCH_A_FILE = (SafetensorError, pickle.UnpicklingError)


class Adapter(nn.Module):
    """One adapter, in single precision.

    kind: a name of KINDS
    d_model: the width of the model
    init_scale: what scale begins with
    rank, init_factor: of U and V, which begin as normal numbers with standard deviation
        init_scale · init_factor / √rank
    normalize_input: False takes x itself instead of x / |x|

    Raises ValueError for another kind, and for sizes that can't be.
    """

    def __init__(
        self,
        kind: str,
        d_model: int,
        *,
        init_scale: float = 30.0,
        rank: int = 64,
        init_factor: float = 0.01,
        normalize_input: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"There is no adapter {kind!r}: give one of {', '.join(KINDS)}.")
        if d_model < 1 or init_scale <= 0 or "U" in KINDS[kind] and rank < 1:
            raise ValueError(
                f"d_model is {d_model}, rank {rank}, init_scale {init_scale}: give sizes from 1, a scale above 0."
            )
        self.kind, self.d_model, self.normalize_input = kind, d_model, normalize_input
        self.init_scale, self.rank, self.init_factor = init_scale, rank, init_factor
        generator = torch.Generator().manual_seed(seed)
        begins = {
            "log_scale": lambda: torch.full((1,), math.log(init_scale)),
            "bias": lambda: torch.zeros(d_model),
            "U": lambda: torch.randn(d_model, rank, generator=generator) * init_scale * init_factor / rank**0.5,
            "V": lambda: torch.randn(d_model, rank, generator=generator) * init_scale * init_factor / rank**0.5,
            "weight": lambda: torch.randn(d_model, d_model, generator=generator) * init_scale / d_model**0.5,
        }
        for name in KINDS[kind]:
            self.register_parameter(name, nn.Parameter(begins[name]()))

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """The soft tokens of vectors x [..., d_model], on the adapter's device."""
        if x.shape[-1] != self.d_model:
            raise ValueError(f"The vectors have {x.shape[-1]} dimensions, the adapter takes {self.d_model}.")
        x = x.to(next(self.parameters(), x).device).float()
        if self.normalize_input:
            x = x / (x.norm(dim=-1, keepdim=True) + 1e-8)
        parts = KINDS[self.kind]
        out = x if not parts else x @ self.weight.T if "weight" in parts else torch.zeros_like(x)
        if "log_scale" in parts:
            out = out + self.log_scale.exp() * x
        if "U" in parts:
            out = out + x @ self.U @ self.V.T
        return out + self.bias if "bias" in parts else out

    def n_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    def settings(self) -> dict[str, Any]:
        """The `projection` section of a configuration that makes such an adapter."""
        return {
            "type": self.kind, "normalize_input": self.normalize_input, "init_scale": self.init_scale,
            "low_rank_rank": self.rank if "U" in KINDS[self.kind] else None, "low_rank_init_factor": self.init_factor,
        }  # fmt: skip


def new_adapter(projection: dict[str, Any], d_model: int, seed: int = 0) -> Adapter:
    """The untrained adapter that a `projection` section describes."""
    return Adapter(
        projection["type"], d_model,
        init_scale=projection.get("init_scale") or 30.0,
        rank=projection.get("low_rank_rank") or 64,
        init_factor=projection.get("low_rank_init_factor") or 0.01,
        normalize_input=projection.get("normalize_input", True),
        seed=seed,
    )  # fmt: skip


class Saved(NamedTuple):
    """What an adapter's file says of its training, besides the weights."""

    global_step: int | None = None
    best_val_loss: float | None = None
    config: dict[str, Any] | None = None  # all of it, where the file has it


UNTRAINED = Saved()


def save_adapter(path: Path, adapter: Adapter, saved: Saved = UNTRAINED) -> None:
    """Write an adapter, atomically: as safetensors with everything else in the header, or (".pt") as torch does it."""
    path = Path(path)
    config = (saved.config or {}) | {"projection": adapter.settings()}
    state = {name: value.detach().cpu().contiguous() for name, value in adapter.state_dict().items()}
    if path.suffix == ".pt":
        content = io.BytesIO()
        torch.save({
            "projection_state": state, "config": config, "model_dim": adapter.d_model,
            "checkpoint_format_version": FORMAT_VERSION, "projection_num_params": adapter.n_parameters(),
            "global_step": saved.global_step, "best_val_loss": saved.best_val_loss,
        }, content)  # fmt: skip
        write_atomically(path, content.getvalue())
        return
    about = {
        "format": "selfie_adapter_v1", "projection_type": adapter.kind, "model_dim": str(adapter.d_model),
        "normalize_input": str(adapter.normalize_input).lower(), "init_scale": str(adapter.init_scale),
        "config_json": json.dumps(config),
    }  # fmt: skip
    if "U" in state:
        about["low_rank_rank"] = str(adapter.rank)
    for name in ("global_step", "best_val_loss"):
        if getattr(saved, name) is not None:
            about[name] = str(getattr(saved, name))
    # safetensors has no file without tensors
    write_atomically(path, save(state or {"no_parameters": torch.zeros(0)}, metadata=about))


def load_adapter(path: Path) -> tuple[Adapter, Saved]:
    """Read an adapter from a file of either layout.

    Raises ValueError, in one sentence, for a file that holds none, or whose weights do not fit what it says of itself.
    """
    path = Path(path)
    try:
        state, projection, d_model, saved = _read_pt(path) if path.suffix == ".pt" else _read_safetensors(path)
        if d_model is None:
            d_model = next(len(state[name]) for name in ("bias", "U", "weight") if name in state)
        adapter = new_adapter(projection, d_model)
        adapter.load_state_dict(state)
    except FileNotFoundError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        StopIteration,
        RuntimeError,
        TypeError,
        EOFError,
        *_NOT_SUCH_A_FILE,
    ) as error:
        raise ValueError(
            f"{path} holds no adapter ({in_short(error)}): give a file that `.venv/bin/python -m scripts.train_selfie` "
            "or the published code has written, .safetensors or .pt."
        ) from error
    return adapter, saved


def _read_pt(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], int | None, Saved]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    config = content["config"]
    saved = Saved(content.get("global_step"), content.get("best_val_loss"), config)
    return content["projection_state"], config["projection"], content.get("model_dim"), saved


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], int | None, Saved]:
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys() if name != "no_parameters"}
    config = json.loads(about["config_json"]) if "config_json" in about else None
    projection = (config or {}).get("projection") or {
        "type": about["projection_type"],
        "normalize_input": about.get("normalize_input", "true").lower() == "true",
        "init_scale": float(about.get("init_scale", 30.0)),
        "low_rank_rank": int(about["low_rank_rank"]) if about.get("low_rank_rank") else None,
    }
    saved = Saved(
        int(about["global_step"]) if "global_step" in about else None,
        float(about["best_val_loss"]) if "best_val_loss" in about else None,
        config,
    )
    return state, projection, int(about["model_dim"]) if "model_dim" in about else None, saved
