"""Low-rank adapters: a fine-tune that is a small correction to some weight matrices, W + scale · B A.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021). A folder holds `adapter.safetensors` (A
and B of every matrix, float16), adapter.json (base model, rank, scale) and what is known of its training.
`load_model(folder)` gives the base model with the correction added to its weights; after that nothing tells it from any
other model.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

WEIGHTS_FILE, CONFIG_FILE = "adapter.safetensors", "adapter.json"
ROLEPLAY_FOLDER = ROOT / "checkpoints" / "smollm2-135m-roleplay"  # the one that ships


def add_adapter(model: nn.Module, rank: int, scale: float, seed: int = 0) -> dict[str, nn.Parameter]:
    """Give every linear layer but the unembedding a trainable correction, at first zero; everything else is frozen.

    model: as transformers loads it
    Returns the parameters by name: "<layer>.A" [rank, d_in] and "<layer>.B" [d_out, rank].
    """
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    parameters = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and layer is not model.get_output_embeddings():
            A = torch.randn(rank, layer.in_features, generator=generator) / math.sqrt(layer.in_features)
            A, B = nn.Parameter(A), nn.Parameter(torch.zeros(layer.out_features, rank))
            layer.register_forward_hook(lambda _, inputs, output, A=A, B=B: output + scale * (inputs[0] @ A.T) @ B.T)
            parameters |= {f"{name}.A": A, f"{name}.B": B}
    return parameters


def merge_adapter(model: nn.Module, adapter: Mapping[str, Tensor], scale: float) -> None:
    """Add the correction to the weights of a model that was loaded anew.

    Raises ValueError where the adapter has matrices that the model has not.
    """
    layers = dict(model.named_modules())
    for name in sorted({key.rpartition(".")[0] for key in adapter}):
        A, B = adapter[f"{name}.A"].float(), adapter[f"{name}.B"].float()
        weight = getattr(layers.get(name), "weight", None)
        if weight is None or weight.shape != (B.shape[0], A.shape[1]):
            raise ValueError(
                f"The adapter corrects {name} [{B.shape[0]}, {A.shape[1]}], which this model does not have: it belongs "
                "to another base model."
            )
        with torch.no_grad():
            weight += (scale * B @ A).to(weight)


def save_adapter(folder: Path, parameters: Mapping[str, Tensor], base: str, rank: int, scale: float) -> None:
    """Write the adapter in half precision, and what it belongs to."""
    weights = {name: value.detach().half().contiguous() for name, value in parameters.items()}
    write_atomically(folder / WEIGHTS_FILE, save(weights))
    write_atomically(folder / CONFIG_FILE, json.dumps({"base": base, "rank": rank, "scale": scale}, indent=1) + "\n")


def random_adapter(folder: Path, new: Path, seed: int = 0) -> Path:
    """A control for the adapter in a folder: random corrections of the same rank and the same size in every matrix.

    Writes it to another folder and returns that. The size is the Frobenius norm of B A.
    """
    weights, base, scale = load_adapter(folder)
    generator, random = torch.Generator().manual_seed(seed), {}
    for name in sorted({key.rpartition(".")[0] for key in weights}):
        A, B = (weights[f"{name}.{part}"].float() for part in "AB")
        other_A, other_B = (torch.randn(part.shape, generator=generator) for part in (A, B))
        ratio = ((B @ A).norm() / (other_B @ other_A).norm().clamp(min=1e-12)).sqrt()
        random |= {f"{name}.A": ratio * other_A, f"{name}.B": ratio * other_B}
    save_adapter(new, random, base, len(A), scale)
    return new


def load_adapter(folder: Path) -> tuple[dict[str, Tensor], str, float]:
    """The adapter in a folder, the name of its base model, and its scale."""
    config = json.loads((folder / CONFIG_FILE).read_text())
    return load_file(folder / WEIGHTS_FILE), config["base"], config["scale"]
