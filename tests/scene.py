"""What helpers are called with in `helper_calls.py`: small models, an SAE, text, pairs of prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from scripts.interp.circuits.prompt_pairs import PromptPairs
from scripts.interp.features.contexts import sae_latents
from scripts.interp.features.matching import named_positions
from scripts.interp.features.predicates import PREDICATES
from scripts.interp.models.load import load_model
from scripts.interp.models.plain import PlainModel, load_plain_model
from scripts.interp.runs.at_hooks import hook_activations
from scripts.interp.saes.load import load_sae, sae_folder
from scripts.interp.text.corpus import load_corpus, packed_tokens

if TYPE_CHECKING:
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge


class Scene(NamedTuple):
    """What helpers are called with. Text, masks and pairs may lie elsewhere than the models."""

    toy: TransformerBridge  # one layer with an MLP, and a tokenizer
    sae: SAE  # of its neurons
    rows: Tensor  # of text, [n_rows, pos]
    wanted: Tensor  # bool [n_rows, pos]
    random: TransformerBridge  # three layers, random weights
    pairs: PromptPairs  # for it
    plain: PlainModel  # as transformers runs it
    folder: Path

    @property
    def hook(self) -> str:
        return self.sae.cfg.metadata.hook_name

    def x(self) -> Tensor:
        """Activations [n, d_in]."""
        return hook_activations(self.toy, self.rows, [self.hook])[self.hook].flatten(0, 1)

    def named(self) -> Tensor:
        """Where a predicate says yes, bool [n]."""
        return named_positions(PREDICATES["continues_word"], self.toy.tokenizer, self.rows).flatten()

    def active(self) -> Tensor:
        """Where latents are above zero, bool [n, d_sae]."""
        return sae_latents(self.toy, self.sae, self.rows).flatten(0, 1) > 0

    def with_text(self, device: torch.device | str) -> Scene:
        """The same, with text, masks and pairs on a device."""
        pairs = PromptPairs(*(part.to(device) for part in self.pairs))
        return self._replace(rows=self.rows.to(device), wanted=self.wanted.to(device), pairs=pairs)


def new_scene(folder: Path, pairs: PromptPairs, dtype: str = "float32", device: str = "cpu") -> Scene:
    """With text on the CPU. folder: of a random model of three layers, which `pairs` are for"""
    toy = load_model("toy-mlp-1l", device=device, dtype=dtype)
    rows = packed_tokens(load_corpus("test"), toy.tokenizer, 72)[::60][:4]
    wanted = torch.rand(rows.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    plain = load_plain_model(folder, device, getattr(torch, dtype))
    random = load_model(folder, device=device, dtype=dtype)
    return Scene(toy, load_sae(toy, sae_folder(toy, "1x")), rows, wanted, random, pairs, plain, Path())


def numbers_in(result: Any) -> Iterator[Tensor]:
    """The tensors and numbers of a result, tensors on the CPU, in double precision."""
    if isinstance(result, Tensor):
        yield result.detach().cpu().double()
    elif isinstance(result, (int, float)):
        yield torch.tensor(float(result)).double()
    else:
        for part in result:
            yield from numbers_in(part)
