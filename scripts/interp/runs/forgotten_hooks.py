"""Hooks that somebody left on a model: every run goes through them, and every number is about another model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge import TransformerBridge

_told: WeakKeyDictionary[TransformerBridge, set[str]] = WeakKeyDictionary()  # which hook points a warning has named


def warn_of_forgotten_hooks(model: TransformerBridge) -> None:
    """Warn, once for each hook point, of hooks that `model.add_hook` left on the model.

    Hooks that a `with model.hooks(…)` around the call removes again are meant, and so are permanent ones.
    """
    from transformer_lens.hook_points import HookPoint

    points = {point for point in model.modules() if isinstance(point, HookPoint) and _is_hooked(point)}
    if not points:
        return
    # A hook point has several names; hook_in and hook_out are the least telling.
    names = {point.name: point.name for point in points}
    names |= {
        point.name: name
        for name, point in model.hook_dict.items()
        if point in points and not name.endswith(("hook_in", "hook_out"))
    }
    told = _told.setdefault(model, set())
    new = set(names.values()) - told
    if new:
        told |= new
        warnings.warn(
            f"Hooks were left on this model at {', '.join(sorted(new))}: every run goes through them and they may "
            "change its numbers; model.reset_hooks() removes them.",
            stacklevel=4,
        )


def _is_hooked(point: HookPoint) -> bool:
    return any(hook.context_level is None and not hook.is_permanent for hook in point.fwd_hooks)
