"""Features of a sparse autoencoder on text: where they are active, and the contexts that activate them most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save
from torch import Tensor

from scripts.interp.base.files import write_atomically
from scripts.interp.base.progress import progress_bar
from scripts.interp.runs.at_hooks import hook_activations, kept_positions, special_positions
from scripts.interp.runs.through_sae import check_sae, encode, part_for

if TYPE_CHECKING:  # importing sae-lens takes seconds, which only those who load an SAE should spend
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge

CONTEXTS_FILE = "contexts.safetensors"  # in the folder of an SAE
BATCH_ROWS = 8
BEFORE, AFTER = 12, 4  # tokens of a context around the one where the feature is strongest: window = 17


class TopContexts(NamedTuple):
    """For every feature the contexts in which it is strongest, one a row of text, strongest first."""

    tokens: Int[Tensor, "n_features n_contexts window"]  # ids; BOS where the row of text begins or ends
    activations: Float[Tensor, "n_features n_contexts window"]  # at these tokens; the strongest is at index BEFORE
    frequency: Float[Tensor, " n_features"]  # share of the tokens at which the feature is above zero
    n_tokens: int  # that were looked at


def sae_latents(
    model: TransformerBridge, sae: SAE, tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos d_sae"]:
    """What every latent is at every position, [batch, pos, d_sae]; zero at positions the SAE was not trained for.

    tokens: [batch, pos], each row starting with BOS

    Raises ValueError for what is no SAE (see `check_sae`) and for one that takes another width.
    """
    check_sae(sae)
    name, limit = sae.cfg.metadata.hook_name, sae.cfg.metadata.norm_limit
    x = part_for(sae, hook_activations(model, tokens, [name])[name], name)
    kept = kept_positions(x, special_positions(model, tokens), float("inf") if limit is None else limit)
    with torch.no_grad():
        return encode(sae, x).masked_fill(~kept[..., None], 0.0)


def top_contexts(
    model: TransformerBridge, sae: SAE, rows: Int[Tensor, "n_rows pos"], n_contexts: int = 8
) -> TopContexts:
    """Look at all features on rows of text [n_rows, pos]. Takes one run of the model up to the SAE's layer."""
    bos = model.tokenizer.bos_token_id
    return strongest_contexts(lambda batch: sae_latents(model, sae, batch), sae.cfg.d_sae, rows, bos, n_contexts)


def strongest_contexts(
    values_of: Callable[[Int[Tensor, "batch pos"]], Float[Tensor, "batch pos n_features"]],
    n_features: int,
    rows: Int[Tensor, "n_rows pos"],
    bos_token_id: int,
    n_contexts: int = 8,
) -> TopContexts:
    """The same for anything that has a value at every token, neurons for example.

    values_of: takes token ids [batch, pos] and returns [batch, pos, n_features]; only values above zero count
    """
    window = torch.arange(-BEFORE, AFTER + 1)
    best = torch.full((n_features, n_contexts), -1.0)
    tokens = torch.full((n_features, n_contexts, len(window)), bos_token_id)
    activations = torch.zeros(n_features, n_contexts, len(window))
    n_active, n_tokens = torch.zeros(n_features), 0
    with progress_bar(len(rows), "contexts") as bar:
        for batch in rows.split(BATCH_ROWS):
            values, batch = values_of(batch).float().cpu(), batch.cpu()
            n_active += (values > 0).sum(dim=(0, 1))
            n_tokens += batch.numel()
            value, place = values.max(dim=1)  # [batch, n_features]
            # Most rows of text have none of a feature's strongest contexts: they are left out before
            # anything is copied.
            best, order = torch.cat([best, value.T], dim=1).topk(n_contexts, dim=1)  # [n_features, n_contexts]
            feature, slot = (order >= n_contexts).nonzero(as_tuple=True)
            row = order[feature, slot] - n_contexts
            at = place[row, feature][:, None] + window  # [n_new, window]
            inside = (at >= 0) & (at < batch.shape[1])
            at = at.clamp(0, batch.shape[1] - 1)
            here = torch.where(inside, values[row[:, None], at, feature[:, None]], 0.0)
            kept = order.clamp(max=n_contexts - 1)[..., None].expand(-1, -1, len(window))
            activations, tokens = activations.gather(1, kept), tokens.gather(1, kept)
            activations[feature, slot] = here
            tokens[feature, slot] = torch.where(inside, batch[row[:, None], at], bos_token_id)
            bar.update(len(batch))
    return TopContexts(tokens, activations, n_active / n_tokens, n_tokens)


def context_text(model: TransformerBridge, ids: Int[Tensor, " n"]) -> str:
    """Token ids of a context as text, from the beginning of the last text in them."""
    starts = (ids == model.tokenizer.bos_token_id).nonzero().flatten().tolist()
    return model.tokenizer.decode(ids[starts[-1] + 1 if starts else 0 :])


def save_contexts(path: Path, contexts: TopContexts) -> None:
    """Write contexts as safetensors: ids in 16 bits (32 for a larger vocabulary), activations in half precision."""
    content = {
        "tokens": contexts.tokens.to(torch.uint16 if contexts.tokens.max() < 2**16 else torch.int32),
        "activations": contexts.activations.half(),
        "frequency": contexts.frequency,
        "n_tokens": torch.tensor(contexts.n_tokens),
    }
    write_atomically(path, save({name: value.contiguous() for name, value in content.items()}))


def load_contexts(path: Path) -> TopContexts:
    """Read what `save_contexts` wrote."""
    if not path.is_file():
        raise FileNotFoundError(
            f"There are no contexts at {path}: restore the file; `.venv/bin/python -m scripts.train_sae` makes it."
        )
    content = load_file(path)
    return TopContexts(
        content["tokens"].long(), content["activations"].float(), content["frequency"], int(content["n_tokens"])
    )
