"""What the making of an SAE is: settings, options, and the architectures that can be named."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from simple_parsing import field

from scripts.interp.base.command_line import at_least_one
from scripts.interp.models.embedded import NAME as EMBEDDED

TRIED = (
    "batchtopk",
    "topk",
    "hybrid",
    "standard",
    "monosemanticity",
    "gated",
    "jumprelu",
)  # trained in this project's tests


@dataclass(frozen=True)
class Settings:
    """What a run is; two runs with equal settings give the same SAE."""

    model: str = EMBEDDED  # the model, as load_model knows it
    hook_name: str = field(default="", positional=True, nargs="?", metavar="hook_name")
    """The hook point whose activations the SAE is trained on, for example blocks.12.hook_resid_post."""
    architecture: str = "batchtopk"  # "monosemanticity", or one that sae-lens knows
    width: int = 8  # latents per dimension of the activation
    k: int = 40  # latents above zero per token, where the architecture sets it (matching_pursuit: at most)
    sparsity: float = 1.0  # weight of the sparsity loss, where the architecture has one
    ranking: str = "bfloat16"  # of hybrid: what proposes candidates, "bfloat16" or "low_rank"
    n_candidates: int = 0  # of hybrid: how many are proposed for a token at first; 0 is a quarter more than k
    tokens: int = 0  # how many tokens of the training split; 0 is all of them
    passes: float = 3.0  # how often it sees the activations, each time in another order
    batch: int = 2048  # tokens in a step
    learning_rate: float = 1e-3  # the largest learning rate, after warm-up and before decay
    seed: int = 0  # decides the first weights and the order of the activations
    context: int = 256  # tokens in a row of text; no more than the model's n_ctx
    judged_rows: int = 40  # rows of held-out text on which cross-entropy is measured
    corpus: str = ""
    """A file of other text to train and judge on, .jsonl or .jsonl.xz (data/README.md); empty: the project's own."""
    chat: bool = field(default=False, action="store_true")
    """Make conversations of the text with the model's chat template, whose own tokens are left out."""


@dataclass(frozen=True)
class Options:
    """What does not belong to the SAE: where it goes, and what its making may take."""

    sweep: list[int] = field(default_factory=list, metavar="LAYER")
    """Train a small SAE for resid_post of each of these layers instead."""
    folder: str = ""
    """Name of the result's folder in checkpoints/saes; if empty, of the model, hook point and architecture."""
    no_contexts: bool = field(default=False, action="store_true")  # leave the features' strongest contexts out
    budget_gb: float = 4.0  # disk space that the activations may take
    threads: int = field(default=1, type=at_least_one)  # how many threads of the CPU to use


@dataclass(frozen=True)
class Means:
    """How a training is computed and watched; the SAE is the same but for rounding, and no recipe holds it."""

    accumulate: int = 1  # take a batch in so many parts, one after another, where it does not fit
    device: str = "cpu"  # where the SAE is trained; with cuda, each process of torchrun takes a GPU
    live: bool = field(default=False, action="store_true")
    """Write outputs/saes/<name>.html while the training goes on, a page that shows its curves and some latents."""
    tensorboard: bool = field(default=False, action="store_true")
    """Write the curves to outputs/saes/tensorboard/<name> as TensorBoard reads them; needs its package."""


def usual_name(settings: Settings) -> str:
    """What the folder of an SAE is called where nobody says so; the architecture stands there unless it is the usual.

    So one that is trained to compare does not replace the SAE that a lab loads.
    """
    other = settings.architecture != Settings.architecture
    return f"{settings.model}-{settings.hook_name}" + f"-{settings.architecture}" * other


def architectures() -> list[str]:
    """The names that `Settings.architecture` can have: the project's own, and all that sae-lens has a class for."""
    return [*TRIED, *(name for name in training_classes() if name not in TRIED)]


def training_classes() -> dict[str, tuple[type, type]]:
    """Of every architecture that sae-lens knows, the project's own among them: training class and configuration."""
    from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY  # takes seconds to import

    from scripts.interp.saes import hybrid  # noqa: F401  # registers its architecture

    return SAE_TRAINING_CLASS_REGISTRY


def check_architecture(name: str) -> None:
    """Raise ValueError, with those that there are, unless there is an architecture of this name."""
    if name not in architectures():
        raise ValueError(f"There is no architecture {name!r}: give one of {', '.join(architectures())}.")


AT_LEAST = {
    "width": 1, "k": 1, "n_candidates": 0, "tokens": 0, "batch": 1, "seed": 0, "context": 2, "judged_rows": 2,
}  # fmt: skip


def check_numbers(settings: Settings) -> None:
    """Raise ValueError for a setting that no training can have: too small, or no finite number."""
    for name, least in AT_LEAST.items():
        if getattr(settings, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(settings, name)}: give {least} or more.")
    for name in ("passes", "learning_rate", "sparsity"):
        value = getattr(settings, name)
        if not math.isfinite(value) or value < 0 or value == 0 and name != "sparsity":
            allowed = "0 or more" if name == "sparsity" else "a number above 0"
            raise ValueError(f"--{name.replace('_', '-')} is {value:g}: give {allowed}.")


def check_sparsity(settings: Settings) -> None:
    """Raise ValueError where a setting was given that the architecture does not take."""
    takes = sparsity_settings(settings.architecture)
    usual = Settings()
    for name in ("k", "sparsity"):
        if getattr(settings, name) != getattr(usual, name) and name not in takes:
            instead = " or ".join(f"--{each}" for each in sorted(takes))
            raise ValueError(
                f"--{name} does nothing for {settings.architecture}: give {instead or 'neither --k nor --sparsity'}."
            )
    for name in ("ranking", "n_candidates"):
        if getattr(settings, name) != getattr(usual, name) and settings.architecture != "hybrid":
            raise ValueError(f"--{name} does nothing for {settings.architecture}: it is for --architecture hybrid.")


def sparsity_settings(architecture: str) -> set[str]:
    """Which settings decide how many latents are above zero: "k", "sparsity", or neither."""
    if architecture == "monosemanticity":
        return {"sparsity"}
    return {SPARSITY_FIELDS[name] for name in config_fields(architecture) & SPARSITY_FIELDS.keys()}


def revives_latents(architecture: str) -> bool:
    """Whether training has a way to bring latents back that are zero on everything."""
    return architecture == "monosemanticity" or "aux_loss_coefficient" in config_fields(architecture)


SPARSITY_FIELDS = {  # of sae-lens' training configurations, and the setting that each is
    "k": "k", "max_iterations": "k", "l1_coefficient": "sparsity", "l0_coefficient": "sparsity",
}  # fmt: skip


def config_fields(architecture: str) -> set[str]:
    """What the training configuration of an architecture of sae-lens can be given."""
    return {each.name for each in dataclasses.fields(training_classes()[architecture][1])}


def sae_config(settings: Settings, d_in: int, steps: int) -> Any:
    """The training configuration of an architecture that sae-lens trains; what it has no field for is left out."""
    config_class = training_classes()[settings.architecture][1]
    d_sae = settings.width * d_in
    values = {
        "d_in": d_in,
        "d_sae": d_sae,
        "normalize_activations": "expected_average_only_in",
        "k": settings.k,
        "ranking": settings.ranking,
        "n_candidates": settings.n_candidates,
        "max_iterations": settings.k,  # of matching pursuit, which adds one latent in each
        "l1_coefficient": settings.sparsity,
        "l0_coefficient": settings.sparsity,
        "l1_warm_up_steps": steps // 10,
        "l0_warm_up_steps": steps // 10,
        "use_sparse_activations": False,
        "matryoshka_widths": sorted({max(1, d_sae // share) for share in (8, 4, 2, 1)}),
    }
    known = config_fields(settings.architecture)
    return config_class(**{name: value for name, value in values.items() if name in known})
