"""How good an SAE is that was just trained: on held-out text, and against the fixed predicates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from sae_lens import SAE
from torch import Tensor

from scripts.interp.features.contexts import sae_latents
from scripts.interp.features.matching import best_feature, feature_f1, named_positions
from scripts.interp.features.predicates import PREDICATES
from scripts.interp.saes.evaluate import evaluate_sae
from scripts.interp.saes.recipes import Settings
from scripts.interp.text.chat import chat_rows
from scripts.interp.text.corpus import Document, library_documentation, load_corpus, packed_tokens

SWEEP_ROWS = 12  # of held-out text, on which the SAEs of a sweep are judged
PREDICATE_ROWS, LEAST_NAMED = 32, 20  # of text on which predicates are tried; tokens that one must name to count


def rows_of(
    documents: Sequence[Document], tokenizer: Any, settings: Settings
) -> tuple[Int[Tensor, "n_rows context"], Bool[Tensor, "n_rows context"] | None]:
    """Token rows [n_rows, context] of documents, and which of their positions count; None where all do."""
    if settings.chat:
        rows = chat_rows(documents, tokenizer, settings.context)
        return rows.tokens, rows.is_content
    return packed_tokens(documents, tokenizer, settings.context), None


def judge(settings: Settings, model: Any, limit: float, half: Path, single: Path) -> dict[str, Any]:
    """What metrics.json says of an SAE that lies in two folders, in half precision and in single.

    Judged on the test split and on documentation of the Python library, by its weights in half precision.
    """
    texts = {"test": load_corpus("test", settings.corpus), "library": library_documentation()}
    rows = {name: rows_of(documents, model.tokenizer, settings) for name, documents in texts.items()}

    def judged(folder: Path, name: str, n_rows: int | None = None) -> dict[str, Any]:
        mine, wanted = (each if each is None else each[:n_rows] for each in rows[name])
        n_spliced = min(len(mine), settings.judged_rows)
        sae = SAE.load_from_disk(folder, device=str(model.cfg.device))
        return evaluate_sae(model, sae, settings.hook_name, mine, limit, n_spliced, wanted)._asdict()

    sae = SAE.load_from_disk(half, device=str(model.cfg.device))
    return {
        "held_out": {name: judged(half, name) for name in rows},
        "predicate_f1": predicate_f1(model, sae, settings, "validation", "test"),
        "precision": {
            name: judged(folder, "test", settings.judged_rows) for name, folder in (("single", single), ("half", half))
        },
    }


def judge_in_sweep(settings: Settings, model: Any, limit: float, folder: Path) -> dict[str, Any]:
    """The same of one SAE of a sweep, on few rows of the validation split.

    What chooses must not be what the SAE that is chosen is judged on.
    """
    rows = packed_tokens(load_corpus("validation", settings.corpus), model.tokenizer, settings.context)[:SWEEP_ROWS]
    sae = SAE.load_from_disk(folder, device=str(model.cfg.device))
    return {
        "held_out": {"validation": evaluate_sae(model, sae, settings.hook_name, rows, limit, len(rows))._asdict()},
        "predicate_f1": predicate_f1(model, sae, settings, "train", "validation"),
    }


def predicate_f1(model: Any, sae: SAE, settings: Settings, chosen_on: str, reported_on: str) -> float:
    """How well features fit the fixed predicates: mean F1 on one split of those that fit best on another.

    Predicates that name fewer than LEAST_NAMED tokens of either are left out.
    """
    active, named = {}, {}
    for split in (chosen_on, reported_on):
        rows = packed_tokens(load_corpus(split, settings.corpus), model.tokenizer, settings.context)
        rows = rows[:: max(1, len(rows) // PREDICATE_ROWS)][:PREDICATE_ROWS]  # from all over the split
        active[split] = torch.cat([(sae_latents(model, sae, batch).flatten(0, 1) > 0).cpu() for batch in rows.split(8)])
        named[split] = {
            name: named_positions(predicate, model.tokenizer, rows).flatten() for name, predicate in PREDICATES.items()
        }
    scores = []
    for name in PREDICATES:
        if min(named[split][name].sum() for split in named) >= LEAST_NAMED:
            feature = best_feature(active[chosen_on], named[chosen_on][name]).feature
            scores.append(feature_f1(active[reported_on][:, [feature]], named[reported_on][name]).item())
    if not scores:
        raise ValueError(f"No predicate names {LEAST_NAMED} tokens in both splits.")
    return sum(scores) / len(scores)
