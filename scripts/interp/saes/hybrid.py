"""HybridSAE: a TopK SAE that ranks its latents in low precision, and computes the few that it keeps exactly.

A cheap pass over all latents only ranks them; the exact pre-activations of the first few decide which k are kept, and
what they are. Its latents and reconstructions are those of the TopK SAE with the same weights wherever the exact top k
are among the candidates, and its decoder is linear, so that a latent is still a direction. It is registered with
sae-lens as the architecture "hybrid" when this module is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from sae_lens.registry import SAE_CLASS_REGISTRY, register_sae_class, register_sae_training_class
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig
from torch import Tensor

from scripts.interp.base.precision import multiplies_bfloat16
from scripts.interp.saes.rankings import KINDS, RANK, LowPrecision, best_of, largest

Config = TypeVar("Config", "HybridSAEConfig", "HybridTrainingSAEConfig")


def usual_candidates(k: int, d_sae: int) -> int:
    """How many latents the ranking proposes where nobody says so: a quarter more than are kept."""
    return min(d_sae, k + max(1, k // 4))


@dataclass
class HybridSAEConfig(TopKSAEConfig):
    """The configuration of a HybridSAE: sae-lens' of TopK, and how many candidates the ranking proposes."""

    n_candidates: int = 0  # 0 is a quarter more than k

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_numbers(self)

    @classmethod
    def architecture(cls) -> str:
        return "hybrid"


@dataclass
class HybridTrainingSAEConfig(TopKTrainingSAEConfig):
    """The same for training, and by what `train` ranks: see `rankings`."""

    n_candidates: int = 0  # 0 is a quarter more than k
    ranking: str = "bfloat16"
    rank: int = RANK  # of the ranking "low_rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_numbers(self)
        if self.ranking not in KINDS:
            raise ValueError(f"There is no ranking {self.ranking!r}: give one of {', '.join(KINDS)}.")

    @classmethod
    def architecture(cls) -> str:
        return "hybrid"


def _check_numbers(cfg: HybridSAEConfig | HybridTrainingSAEConfig) -> None:
    """Raise ValueError where there are fewer latents than k or than candidates, or fewer candidates than k."""
    if not 1 <= cfg.k <= cfg.d_sae:
        raise ValueError(f"k is {cfg.k} of {cfg.d_sae} latents: give 1 to {cfg.d_sae}.")
    if cfg.n_candidates != 0 and not cfg.k <= cfg.n_candidates <= cfg.d_sae:
        raise ValueError(
            f"n_candidates is {cfg.n_candidates}, of {cfg.d_sae} latents with k {cfg.k}: give {cfg.k} to {cfg.d_sae}, "
            "or 0 for a quarter more than k."
        )


def _config(config_class: type[Config], d_model: int | Config, n_features: int | None, k_sparse: int | None) -> Config:
    """The configuration that was given, or one of these sizes. Raises ValueError for impossible ones."""
    if isinstance(d_model, (HybridSAEConfig, HybridTrainingSAEConfig)) and n_features is None and k_sparse is None:
        return d_model
    sizes = {"d_model": d_model, "n_features": n_features, "k_sparse": k_sparse}
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{name} is {value!r}: give a whole number of 1 or more, or a {config_class.__name__} alone."
            )
    if k_sparse > n_features:
        raise ValueError(f"k_sparse is {k_sparse} of {n_features} latents: give at most n_features.")
    return config_class(d_in=d_model, d_sae=n_features, k=k_sparse)


class _Ranked:
    """What both classes do: the encoder in two stages, and an encoder matrix that lies in memory latent by latent."""

    def initialize_weights(self) -> None:
        super().initialize_weights()
        self.W_enc.data = self.W_enc.data.T.contiguous().T

    def process_state_dict_for_loading(self, state_dict: dict[str, Any]) -> None:
        super().process_state_dict_for_loading(state_dict)
        state_dict["W_enc"] = state_dict["W_enc"].T.contiguous().T

    def process_state_dict_for_saving(self, state_dict: dict[str, Any]) -> None:
        super().process_state_dict_for_saving(state_dict)
        state_dict["W_enc"] = state_dict["W_enc"].contiguous()

    @property
    def n_candidates(self) -> int:
        """How many latents the ranking proposes for a token."""
        return self.cfg.n_candidates or usual_candidates(self.cfg.k, self.cfg.d_sae)

    def _ranking(self, norms: Tensor | None) -> LowPrecision | None:
        """All latents by their weights in bfloat16; None where exact values cost no more, or are not more exact."""
        if self.dtype != torch.float32 or not multiplies_bfloat16(self.W_enc.device):
            return None
        ranking = LowPrecision(self.cfg.d_sae, self.cfg.d_in, self.W_enc.device)
        scale = 1 if norms is None else norms
        ranking.refresh(slice(None), (self.W_enc * scale).T, self.b_enc * scale)
        return ranking

    def _hooked(self) -> bool:
        """Whether somebody looks at the pre-activations, or changes them."""
        return bool(self.hook_sae_acts_pre._forward_hooks or self.hook_sae_acts_pre._backward_hooks)

    @torch.no_grad()
    def _quickly(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """Latents [n, d_sae] from the exact pre-activations of candidates alone."""
        norms = self.W_dec.norm(dim=-1) if self.cfg.rescale_acts_by_decoder_norm else None
        chosen, pre = best_of(self._ranking(norms), x, self.W_enc.T, self.b_enc, norms, self.cfg.k, self.n_candidates)
        chosen = chosen.long()
        values = (pre if norms is None else pre * norms[chosen]).relu().to(x.dtype)  # autocast may have made it another
        return x.new_zeros(len(x), self.cfg.d_sae).scatter_(1, chosen, values)

    def _of_all(self, x: Float[Tensor, "n d_in"]) -> tuple[Float[Tensor, "n d_sae"], Float[Tensor, "n d_sae"]]:
        """Latents and pre-activations, [n, d_sae] each, by PyTorch's operators on all latents: has a gradient.

        Where hooks see the pre-activations, these alone decide which latents are kept: a ranking knows nothing of what
        a hook has changed.
        """
        pre = self.hook_sae_acts_pre(x @ self.W_enc + self.b_enc)
        norms = self.W_dec.norm(dim=-1) if self.cfg.rescale_acts_by_decoder_norm else None
        pre = pre if norms is None else pre * norms
        with torch.no_grad():
            ranking = None if self._hooked() else self._ranking(norms)
            if ranking is None:
                chosen = pre.topk(self.cfg.k, sorted=False).indices
            else:
                _, candidates = largest(ranking.scores(x), self.n_candidates)
                best = pre.gather(1, candidates).topk(self.cfg.k, sorted=False).indices
                chosen = candidates.gather(1, best)
        return torch.zeros_like(pre).scatter(1, chosen, pre.gather(1, chosen).relu()), pre

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        """The latents of activations [..., d_in], k at most of a token above zero: [..., d_sae]."""
        sae_in = self.process_sae_in(x)
        flat = sae_in.reshape(-1, sae_in.shape[-1])
        read = [flat, self.W_enc, self.b_enc, *[self.W_dec] * self.cfg.rescale_acts_by_decoder_norm]
        needs_gradient = torch.is_grad_enabled() and any(each.requires_grad for each in read)
        acts = self._of_all(flat)[0] if needs_gradient or self._hooked() else self._quickly(flat)
        return self.hook_sae_acts_post(acts.reshape(*sae_in.shape[:-1], self.cfg.d_sae))


class HybridSAE(_Ranked, TopKSAE):
    """A HybridSAE to use: `HybridSAE(d_model, n_features, k_sparse)`, or with a configuration as sae-lens gives it.

    d_model: width of the activations; n_features: how many latents; k_sparse: how many of them a token keeps at most
    """

    def __init__(
        self,
        d_model: int | HybridSAEConfig,
        n_features: int | None = None,
        k_sparse: int | None = None,
        use_error_term: bool = False,
    ) -> None:
        super().__init__(_config(HybridSAEConfig, d_model, n_features, k_sparse), use_error_term)


class HybridTrainingSAE(_Ranked, TopKTrainingSAE):
    """The same to train: by sae-lens' own trainer, which works on all latents, or sooner by `SparseTopK`."""

    def __init__(
        self,
        d_model: int | HybridTrainingSAEConfig,
        n_features: int | None = None,
        k_sparse: int | None = None,
        use_error_term: bool = False,
    ) -> None:
        super().__init__(_config(HybridTrainingSAEConfig, d_model, n_features, k_sparse), use_error_term)

    def encode_with_hidden_pre(
        self, x: Float[Tensor, "... d_in"]
    ) -> tuple[Float[Tensor, "... d_sae"], Float[Tensor, "... d_sae"]]:
        """Latents, and the pre-activations of all latents, [..., d_sae] each."""
        sae_in = self.process_sae_in(x)
        shape = (*sae_in.shape[:-1], self.cfg.d_sae)
        acts, pre = self._of_all(sae_in.reshape(-1, sae_in.shape[-1]))
        return self.hook_sae_acts_post(acts.reshape(shape)), pre.reshape(shape)


if "hybrid" not in SAE_CLASS_REGISTRY:  # a module that is imported anew must not register its classes twice
    register_sae_class("hybrid", HybridSAE, HybridSAEConfig)
    register_sae_training_class("hybrid", HybridTrainingSAE, HybridTrainingSAEConfig)
