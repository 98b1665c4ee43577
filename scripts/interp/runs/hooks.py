"""Running a model with hooks, without two silent failures: hooks that are nowhere, hooks that do nothing."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.runs.heads import check_head
from scripts.interp.runs.prompts import Prompt, prompt_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def check_hooks(model: TransformerBridge, names: Sequence[str]) -> list[str]:
    """Return `names`; raise ValueError, naming similar ones, if the model has no hook of one of these names.

    TransformerLens ignores a name that it does not know.
    """
    names = [names] if isinstance(names, str) else list(names)
    known = model.hook_dict
    for name in names:
        if name not in known:
            similar = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
            example = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
            raise ValueError(
                f"This model has no hook {name!r}; "
                + (f"similar names: {', '.join(similar)}" if similar else f"names look like {example}")
                + f" (layers are 0 to {model.cfg.n_layers - 1})."
            )
    return names


def run_with_hooks(
    model: TransformerBridge,
    prompt: Prompt,
    hooks: Sequence[tuple[str, Callable]],
    *,
    clean_logits: Float[Tensor, "batch pos d_vocab"] | None = None,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Run the model with hooks that change something; return its logits, [batch, pos, d_vocab].

    hooks: pairs (name, function); function(activation, hook) returns what takes the activation's place, converted to
        the model's precision; at hook_resid_mid it takes its place in the residual stream, not only before the MLP
    clean_logits: logits of the same prompt without hooks, [batch, pos, d_vocab]; they are computed if not
        given, so giving them halves the time when the same prompt is run many times

    Warns, naming the hooks, if not a single logit changed: the usual reasons are a forgotten `return`, a
    position or head that is not the one meant, and a hook point that this model only shows and does not use.
    Raises ValueError for an unknown hook name and for a hook that the model never reached.
    """
    tokens = prompt_tokens(model, prompt)
    names = check_hooks(model, [name for name, _ in hooks])
    if clean_logits is None:
        clean_logits = model(tokens)
    reached = set()

    def noting(index: int, function: Callable) -> Callable:
        @wraps(function)
        def noted(activation, hook):
            reached.add(index)
            return put_in_place(names[index], activation, function(activation, hook=hook))

        return noted

    noted_hooks = [(name, noting(i, function)) for i, (name, function) in enumerate(hooks)]
    with cached_hook_dict(model):
        logits = model.run_with_hooks(tokens, fwd_hooks=noted_hooks)
    missed = [name for i, name in enumerate(names) if i not in reached]
    if missed:
        where = ", ".join(missed)
        raise ValueError(f"{where} exists but was never reached: this model computes nothing there.")
    if clean_logits.shape != logits.shape:
        raise ValueError(
            f"clean_logits has shape {tuple(clean_logits.shape)}, the run gives {tuple(logits.shape)}: give "
            "the logits of the same prompt without hooks."
        )
    if torch.equal(logits, clean_logits):
        warnings.warn(
            f"The hooks on {', '.join(names) or 'nothing'} changed no logit: do they return the changed "
            "activation, and do they change what you meant?",
            stacklevel=2,
        )
    return logits


def put_in_place(name: str, activation: Tensor, changed: Tensor | None) -> Tensor | None:
    """What a hook on `name` returns to the model, if a function made `changed` of the activation there.

    In the activation's precision, or the next matrix would refuse it. Between attention and MLP the bridge shows the
    residual stream at the MLP's norm only: what is returned there would miss the skip connection, so it is written into
    the activation.
    """
    if not isinstance(changed, Tensor) or changed is activation:
        return changed
    if name.endswith("hook_resid_mid") and changed.shape == activation.shape:
        return activation.copy_(changed)
    return changed.to(activation.dtype)


@contextmanager
def cached_hook_dict(model: TransformerBridge) -> Iterator[None]:
    """Inside, the model looks its hook points up once.

    TransformerLens does it anew for every hook that it attaches; with a hook in every layer that takes as long as
    the run itself. Which hook points there are must not change meanwhile.
    """
    kind, points = type(model), model.hook_dict
    # A class for this model alone: other models keep theirs.
    object.__setattr__(model, "__class__", type(kind.__name__, (kind,), {"hook_dict": points}))
    try:
        yield
    finally:
        object.__setattr__(model, "__class__", kind)


def zero_head(model: TransformerBridge, layer: int, head: int) -> tuple[str, Callable]:
    """A hook for `run_with_hooks` that removes one head: its output `z` is zero at every position.

    Raises ValueError for a layer or a head that the model does not have, both counted from 0.
    """
    layer, head = check_head(model, (layer, head))

    def remove(z: Tensor, hook: object) -> Tensor:
        z = z.clone()
        z[:, :, head] = 0
        return z

    return f"blocks.{layer}.attn.hook_z", remove
