"""The models the labs can use, and one function that loads any of them as a TransformerLens bridge.

The embedded model needs no model hub. The others are fetched from one when they are asked for, and are looked
up in the local Hugging Face cache first.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

from scripts.interp.base.errors import ModelUnavailable, in_short
from scripts.interp.base.quiet import quiet_libraries
from scripts.interp.models.boot import FOLDED_WITH, WholeModel, boot, fold
from scripts.interp.models.embedded import NAME as EMBEDDED, embedded_model_folder, is_prepared, prepared_model_folder
from scripts.interp.models.folders import check_model_folder
from scripts.interp.models.hub import ask_hub, hub_lookups, in_hub_cache
from scripts.interp.models.lora import CONFIG_FILE as ADAPTER_CONFIG, load_adapter, merge_adapter
from scripts.interp.models.names import name_of_folder
from scripts.interp.models.registry import BY_SOURCE, MODELS, TOY_SOURCE
from scripts.interp.models.toys import TOY_FOLDER, load_toy

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def load_model(
    name: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    check: bool = True,
) -> TransformerBridge:
    """Load a model for the labs: a TransformerBridge in compatibility and eval mode, its parameters frozen.

    Compatibility mode folds and centres the weights as HookedTransformer did, which logit lens and direct
    logit attribution rely on; log-probabilities stay the same, which is tried on 16 tokens. Where folding changes them,
    a model is used with less of it or as it is, with a warning that says so; where even that changes them, it is
    refused. Parameters are frozen because labs only run the model: a forward pass that records gradients takes twice
    the time and gigabytes for a batch. `model.requires_grad_(True)` gives gradients back, for attribution patching say.

    Args:
        name: a name from `available_models()`, a hub repository ("owner/name") or a folder that
            `save_pretrained` or `.venv/bin/python -m scripts.train_adapter` wrote. Default: the environment variable
            LAB_MODEL, then the embedded model.
        device: default "cuda" where there is one, else "cpu". "mps" is refused unless LAB_ALLOW_MPS=1.
        dtype: a floating torch dtype or its name. Default: the environment variable LAB_DTYPE, then float32.
        check: False trusts the folded weights without trying them, which saves the time of two short runs: for models
            of many gigabytes that were tried before. The project's own toys have no original to compare with.

    Raises:
        ValueError: no such model or folder, a folder that holds no whole causal language model, a model whose
            log-probabilities TransformerLens changes, or a device or dtype that can't be used.
        ModelUnavailable: the model exists but is not here: not prepared yet, or its hub can't be reached.
    """
    name = os.fspath(name if name is not None else os.environ.get("LAB_MODEL") or EMBEDDED)
    device, dtype = _device(device), _dtype(dtype if dtype is not None else os.environ.get("LAB_DTYPE") or None)
    model = MODELS.get(name) or BY_SOURCE.get(name)
    if model is not None and model.name == EMBEDDED:
        return boot(str(prepared_model_folder()), EMBEDDED, device, dtype, check)
    if model is not None and model.source == TOY_SOURCE:
        return _boot_toy(model.name, device, dtype)
    if model is not None:
        return _boot_from_hub(model.source, model.name, device, dtype, check)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _boot_folder(folder, device, dtype, check)
    if name.count("/") == 1 and not name.startswith(("/", ".", "~")):
        return _boot_from_hub(name, name, device, dtype, check)
    raise ValueError(
        f"There is no model {name!r}: choose one of {', '.join(MODELS)}, a hub repository such as "
        "'owner/name', or a folder that exists."
    )


def random_weight_copy(model: TransformerBridge, seed: int = 0) -> TransformerBridge:
    """The same architecture, tokenizer and mode with freshly initialised weights: what a circuit has to beat.

    The same seed gives the same weights; torch's global random state is left alone.
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]), quiet_libraries():
        torch.default_generator.manual_seed(seed)
        if model.cfg.architecture == "TransformerLensNative":
            cfg = copy.deepcopy(model.cfg)
            cfg.init_weights, cfg.seed = True, seed
            fresh = TransformerBridge.boot_native(cfg).original_model
        else:
            config = copy.deepcopy(model.original_model.config)
            fresh = AutoModelForCausalLM.from_config(config, attn_implementation=config._attn_implementation)
        fresh = fresh.to(device=model.cfg.device, dtype=model.cfg.dtype).train(model.training)
        # Handing the tokenizer to the builder would read it again from where it once came from.
        twin = build_bridge_from_module(fresh, model.cfg.architecture, tl_config=model.cfg)
        twin.tokenizer = model.tokenizer
        if model.compatibility_mode:
            fold(twin, **FOLDED_WITH.get(model, {}))
    return twin.requires_grad_(any(parameter.requires_grad for parameter in model.parameters()))


def _device(device: str | torch.device | None) -> str:
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = None
    if kind == "mps" and os.environ.get("LAB_ALLOW_MPS") != "1":
        raise ValueError(
            "Device 'mps' is refused because it has computed wrong numbers without any error: GPT-2's logit "
            "difference on the IOI task came out with the wrong sign (TransformerLens issue 1178), linear "
            "layers were wrong in torch 2.8 (PyTorch issue 161640); use device='cpu', or set LAB_ALLOW_MPS=1 "
            "to try it all the same."
        )
    if kind not in ("cpu", "cuda", "mps") or (kind == "cuda" and not torch.cuda.is_available()):
        raise ValueError(
            f"Device {str(device)!r} can't be used here: leave it out, or use 'cpu' or an existing 'cuda'."
        )
    return str(device)


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    given = dtype
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype.replace("torch.", "", 1), None)
    if given is None:
        return torch.float32
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype {given!r} can't be used: give 'float32', 'bfloat16', 'float16' or the torch dtype.")
    return dtype


def _with_adapter(folder: Path) -> type:
    """Like WholeModel; a low-rank fine-tune is added to the weights before the bridge folds them."""
    adapter, _, scale = load_adapter(folder)

    class WithAdapter(WholeModel):
        @staticmethod
        def from_pretrained(source: str, **options):
            model = WholeModel.from_pretrained(source, **options)
            merge_adapter(model, adapter, scale)
            return model

    return WithAdapter


def _boot_toy(name: str, device: str, dtype: torch.dtype) -> TransformerBridge:
    try:
        with quiet_libraries():
            model = load_toy(name, device, dtype)
            fold(model)
    except FileNotFoundError as error:
        raise ModelUnavailable(
            f"The toy model {name} is not whole ({in_short(error)}): restore the folder {TOY_FOLDER / name}, or "
            f"train it with `.venv/bin/python -m scripts.train_toy_models {name}`."
        ) from error
    return model.eval().requires_grad_(False)


def _boot_folder(folder: Path, device: str, dtype: torch.dtype, check: bool) -> TransformerBridge:
    if (folder / ADAPTER_CONFIG).is_file():
        return _boot_adapter(folder, device, dtype, check)
    check_model_folder(folder)
    try:
        return boot(str(folder), name_of_folder(folder), device, dtype, check)
    except RuntimeError as error:
        if "mismatched_sizes" not in str(error):  # transformers' word for it
            raise
        raise ValueError(
            f"{folder} holds no complete model: its weights have other sizes than its config.json says; fetch it again."
        ) from error
    except (OSError, KeyError, AttributeError, TypeError, IndexError, SafetensorError) as error:
        raise ValueError(
            f"{folder} holds no complete model, or one that TransformerLens does not know ({in_short(error)})."
        ) from error


def _boot_adapter(folder: Path, device: str, dtype: torch.dtype, check: bool) -> TransformerBridge:
    base = json.loads((folder / ADAPTER_CONFIG).read_text())["base"]
    if base != EMBEDDED:
        raise ValueError(f"The adapter in {folder} is for {base}: only those for {EMBEDDED} can be loaded.")
    if not is_prepared():
        raise ModelUnavailable(
            f"The adapter in {folder} needs {EMBEDDED}, which is not prepared yet: run `make model` in the "
            "project's folder."
        )
    try:
        model_class = _with_adapter(folder)
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(
            f"{folder} holds no whole adapter ({in_short(error)}): restore it, or train it with "
            "`.venv/bin/python -m scripts.train_adapter`."
        ) from error
    return boot(str(embedded_model_folder()), folder.resolve().name, device, dtype, check, model_class=model_class)


def _boot_from_hub(repository: str, name: str, device: str, dtype: torch.dtype, check: bool) -> TransformerBridge:
    """From the local Hugging Face cache if it is whole there, else from the hub that HF_ENDPOINT names."""
    if in_hub_cache(repository):
        with hub_lookups(False):
            return boot(repository, name, device, dtype, check)
    with hub_lookups(True):
        ask_hub(repository)
        started = time.monotonic()
        size = f", {MODELS[name].download_gb:.2g} GB," if name in MODELS else ""
        print(f"Downloading {repository}{size} from {huggingface_hub.constants.ENDPOINT}", flush=True)
        os.environ["TQDM_POSITION"] = "-1"  # huggingface_hub's word for: show the bar in notebooks as well
        try:
            model = boot(repository, name, device, dtype, check, bars=sys.stdout)
        except (OSError, HfHubHTTPError) as error:
            cause: BaseException = error  # transformers wraps what happened in advice that does not fit
            while cause.__cause__ or cause.__context__:
                cause = cause.__cause__ or cause.__context__
            raise ModelUnavailable(
                f"The download of {repository} stopped ({in_short(cause)}): run it again to go on, or use "
                f"the embedded model with LAB_MODEL={EMBEDDED}."
            ) from error
        print(f"{name} is ready after {time.monotonic() - started:.0f} s", flush=True)
        return model
