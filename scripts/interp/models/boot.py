"""One model as a TransformerLens bridge: folded as far as that leaves what it says alone."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TextIO
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from scripts.interp.base.errors import in_short
from scripts.interp.base.quiet import quiet_libraries
from scripts.interp.models.as_original import disagreement, tried_log_probs
from scripts.interp.models.folders import check_language_model

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# From all that compatibility mode does to nothing but its names; each with what a warning says of it.
_FOLDINGS = (
    ({}, ""),
    ({"fold_value_biases": False}, "with its value biases where they are"),
    ({"no_processing": True}, "with its weights as they are, neither folded nor centred"),
)
FOLDED_WITH: WeakKeyDictionary[TransformerBridge, dict[str, bool]] = WeakKeyDictionary()  # options of `fold`


class WholeModel:
    """Stands in for the transformers class that the bridge would load, and refuses a checkpoint with gaps.

    transformers itself fills gaps with random numbers and merely logs that.
    """

    @staticmethod
    def from_pretrained(source: str, **options):
        from transformer_lens.model_bridge.sources.transformers import (
            determine_architecture_from_hf_config,
            get_hf_model_class_for_architecture,
        )

        check_language_model(options["config"], source)
        model_class = get_hf_model_class_for_architecture(determine_architecture_from_hf_config(options["config"]))
        model, report = model_class.from_pretrained(source, output_loading_info=True, **options)
        if report["missing_keys"]:
            raise ValueError(
                f"{source} lacks {len(report['missing_keys'])} of the model's weight tensors, for example "
                f"{sorted(report['missing_keys'])[0]}: fetch it again, or save the Hugging Face model anew."
            )
        return model


def boot(
    source: str,
    name: str,
    device: str,
    dtype: torch.dtype,
    check: bool,
    bars: TextIO | None = None,
    model_class: type = WholeModel,
) -> TransformerBridge:
    """The model with as much folding as leaves its log-probabilities alone."""
    from transformer_lens.model_bridge import TransformerBridge

    original: list[Tensor] = []  # of the model before the bridge takes its layers

    class Tried(model_class):
        @staticmethod
        def from_pretrained(source: str, **options):
            model = model_class.from_pretrained(source, **options).to(device)
            if check and not original:
                original.append(tried_log_probs(model.eval(), model.config.get_text_config().vocab_size))
                if not original[0].isfinite().all():
                    raise ValueError(f"{source} computes NaN or infinity: its weights are damaged, so fetch it again.")
            return model

    changed = None
    for folding, says in _FOLDINGS:
        with quiet_libraries(bars):
            model = TransformerBridge.boot_transformers(source, device=device, dtype=dtype, model_class=Tried).eval()
            if not getattr(model.adapter, "supports_compatibility_mode", True):
                raise ValueError(
                    f"{name} can't be used: TransformerLens knows that it computes another model than this one "
                    "(no compatibility mode); choose another model."
                )
            # The share of attention that a sink takes reads no value, so value biases can't move behind attention.
            sinks = any(name.endswith("sinks") for name, _ in model.original_model.named_parameters())
            folding = folding | ({"fold_value_biases": False} if sinks and not folding else {})
            fold(model, **folding)
        _check_vocabulary(model, name)
        off = _off(model, name, original[0]) if check else None
        if off is None:
            if changed is not None:
                warnings.warn(
                    f"{name} is used {says}: folding changes its log-probabilities by {changed:.2g} nats.", stacklevel=4
                )
            FOLDED_WITH[model] = folding
            model.cfg.model_name = name
            return model.requires_grad_(False)
        changed = changed or off
    raise ValueError(
        f"{name} can't be used: TransformerLens' log-probabilities differ from the original model's by {off:.2g} "
        "nats, folded or not; choose another model, or look for a newer TransformerLens (check=False loads it "
        "all the same)."
    )


def fold(model: TransformerBridge, **options: bool) -> None:
    """Compatibility mode, with the options of TransformerLens; parameters keep the model's type of number.

    TransformerLens makes biases that a model lacks in float32, which no layer in 16 bits can add; some layers keep
    copies of them.
    """
    meant = {name for name, parameter in model.original_model.named_parameters() if parameter.dtype != model.cfg.dtype}
    model.enable_compatibility_mode(disable_warnings=True, **options)
    for name, parameter in model.original_model.named_parameters():
        if name not in meant:
            parameter.data = parameter.data.to(model.cfg.dtype)
    for component in model.modules():
        for name, copied in vars(component).items():
            if name.startswith("_processed_") and isinstance(copied, Tensor) and copied.dtype != model.cfg.dtype:
                setattr(component, name, copied.to(model.cfg.dtype))


def _off(model: TransformerBridge, name: str, original: Tensor) -> float | None:
    """`disagreement`, with a sentence where TransformerLens mixes types of number."""
    try:
        return disagreement(model, original)
    except RuntimeError as error:
        if "dtype" not in str(error) or model.cfg.dtype == torch.float32:
            raise
        raise ValueError(
            f"TransformerLens can't run {name} in {model.cfg.dtype} ({in_short(error)}): load it in float32."
        ) from error


def _check_vocabulary(model: TransformerBridge, name: str) -> None:
    tokenizer = model.tokenizer
    if tokenizer is not None and tokenizer.vocab_size > model.cfg.d_vocab:
        raise ValueError(
            f"The tokenizer of {name} has {tokenizer.vocab_size} tokens and the model knows {model.cfg.d_vocab}: they "
            "do not belong together; save the model's own tokenizer with it."
        )
