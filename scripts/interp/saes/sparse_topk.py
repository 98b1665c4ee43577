"""Training a TopK SAE where only the k latents of a token are worked on: decoding, gradients and their norm.

What comes out is what sae-lens' own trainer gives (Adam, its auxiliary loss for dead latents, gradients clipped to
norm 1) up to rounding; its dense products with all latents are left out where they are products with zero. A ranking
(see `rankings`) leaves out the exact encoder as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.adam import adam

from scripts.interp.saes.bags import bag_dots, bag_sums, by_latent, latent_rows
from scripts.interp.saes.rankings import LowPrecision, LowRank, best_of, recall
from scripts.interp.training.processes import ALONE, Processes, of_all

GROUP = 2048  # latents whose weights are renewed at once: their gradients, moments and weights fit into a cache
LARGEST_NORM = 1.0  # of all gradients together, as in sae-lens
RECALL_EVERY, RECALL_TOKENS, LEAST_RECALL, GROWTH = 10, 64, 0.999, 1.25
REFIT_EVERY = 50  # steps after which a low-rank ranking chooses its directions anew


class Factors(NamedTuple):
    """What the gradients of a step are made of, much smaller than they are; of parts of a batch they are put together.

    A gradient of the decoder is the sum over tokens of value times d_rebuilt, of the encoder of d_value times x.
    """

    x: Float[Tensor, "n d_in"]  # what the encoder multiplies
    chosen: Int[Tensor, "n k"]  # the latents that are kept
    values: Float[Tensor, "n k"]
    d_values: Float[Tensor, "n k"]  # how the loss changes with them
    d_rebuilt: Float[Tensor, "n d_in"]  # with the reconstruction
    aux_chosen: Int[
        Tensor, "n k_aux"
    ]  # the same for dead latents that rebuild the error; k_aux is 0 where none is dead
    aux_values: Float[Tensor, "n k_aux"]
    aux_d_values: Float[Tensor, "n k_aux"]
    aux_d_rebuilt: Float[Tensor, "n d_in_or_0"]
    losses: Float[Tensor, "n 2"]  # every token's squared error, and its part of the auxiliary loss
    recalls: Float[Tensor, " n_measured"]  # of the exact top k, for some of the tokens; for none in most steps


def together(parts: Sequence[Factors]) -> Factors:
    """The factors of several parts of a batch as those of the whole."""
    return parts[0] if len(parts) == 1 else Factors(*(torch.cat(each) for each in zip(*parts)))


class SparseTopK:
    """A TopK SAE in training: weights with a row for every latent, Adam's moments, how long each latent is silent.

    W_enc: [d_in, d_sae]; b_enc: [d_sae]; W_dec: [d_sae, d_in]; b_dec: [d_in]: they are trained in place where they lie
        as needed; `weights` gives them back
    ranking: None looks at all pre-activations
    n_candidates: how many latents a ranking proposes at first; it grows by a quarter when fewer than 99.9 % of
        the exact top k are among them
    rescale: multiply pre-activations by the norms of decoder rows before they are compared, as sae-lens does
    center: subtract b_dec from what the encoder reads
    dead_after: steps without an activation after which a latent counts as dead
    """

    def __init__(
        self,
        W_enc: Float[Tensor, "d_in d_sae"],
        b_enc: Float[Tensor, " d_sae"],
        W_dec: Float[Tensor, "d_sae d_in"],
        b_dec: Float[Tensor, " d_in"],
        k: int,
        *,
        ranking: LowPrecision | LowRank | None = None,
        n_candidates: int = 0,
        rescale: bool = True,
        center: bool = False,
        aux_coefficient: float = 1.0,
        dead_after: int = 1000,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.enc, self.dec = W_enc.detach().T.contiguous(), W_dec.detach().contiguous()
        self.b_enc, self.b_dec = b_enc.detach(), b_dec.detach()
        self.k, self.ranking, self.n_candidates = k, ranking, min(max(n_candidates, k), len(self.dec))
        self.rescale, self.center = rescale, center
        self.aux_coefficient, self.dead_after, self.betas = aux_coefficient, dead_after, betas
        self.n_steps = 0
        self.silent = torch.zeros(len(self.dec), dtype=torch.int32, device=self.dec.device)  # steps
        self.moments = {
            name: (torch.zeros_like(each), torch.zeros_like(each)) for name, each in self._parameters().items()
        }
        self.norms = torch.ones_like(self.b_enc)
        self._renew_ranking(None)

    def _parameters(self) -> dict[str, Tensor]:
        return {"enc": self.enc, "dec": self.dec, "b_enc": self.b_enc, "b_dec": self.b_dec}

    def weights(self) -> dict[str, Tensor]:
        """The weights by their names and in the shapes of sae-lens; they share memory with those in training."""
        return {"W_enc": self.enc.T, "b_enc": self.b_enc, "W_dec": self.dec, "b_dec": self.b_dec}

    def state(self) -> dict[str, Any]:
        """What `restore` takes, and `torch.load(weights_only=True)` reads."""
        return {
            **self._parameters(), "moments": self.moments, "silent": self.silent, "n_steps": self.n_steps,
            "n_candidates": self.n_candidates,
            "fitted": self.ranking.fitted() if isinstance(self.ranking, LowRank) else (),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, value in self._parameters().items():
            value.copy_(state[name])
            for mine, saved in zip(self.moments[name], state["moments"][name]):
                mine.copy_(saved)
        self.silent.copy_(state["silent"])
        self.n_steps, self.n_candidates = state["n_steps"], state["n_candidates"]
        if isinstance(self.ranking, LowRank):
            for mine, saved in zip(self.ranking.fitted(), state["fitted"]):
                mine.copy_(saved)
        self._renew_ranking(None)

    @property
    def dead(self) -> Tensor:
        """Which latents were silent for longer than `dead_after` steps: bool [d_sae]."""
        return self.silent > self.dead_after

    def step(
        self, x: Float[Tensor, "n d_in"], learning_rate: float, parts: int = 1, processes: Processes = ALONE
    ) -> Factors:
        """Train on activations x [n, d_in]. Returns what the losses, L0 and recall of this step are read from.

        parts: into how many the batch is split, one after the other, for less memory
        processes: those that train together; x is the share of this one, and what is returned is of the whole batch
        """
        factors = together([self.look(part, len(x) * processes.count) for part in x.chunk(parts)])
        factors = Factors(*(of_all(processes, each) for each in factors))
        self.learn(factors, learning_rate)
        return factors

    @torch.no_grad()
    def look(self, x: Float[Tensor, "n d_in"], n_in_batch: int) -> Factors:
        """What these activations have to say to the gradients of a batch of `n_in_batch`, of which they are a part."""
        read = x - self.b_dec if self.center else x
        if isinstance(self.ranking, LowRank) and self.n_steps % REFIT_EVERY == 0:
            self._renew_ranking(read)
        norms = self.norms if self.rescale else None
        chosen, pre = best_of(self.ranking, read, self.enc, self.b_enc, norms, self.k, self.n_candidates)
        values = pre.relu()
        error = bag_sums(values, chosen, self.dec) + self.b_dec - x
        d_rebuilt = error * (2 / n_in_batch)
        d_values = bag_dots(d_rebuilt, chosen, self.dec) * (pre > 0)
        aux = self._look_at_dead(read, error, n_in_batch)
        losses = torch.stack([error.square().sum(dim=1), aux[-1]], dim=1)
        return Factors(read, chosen, values, d_values, d_rebuilt, *aux[:-1], losses, self._recalls(read, chosen, norms))

    def _look_at_dead(self, read: Tensor, error: Tensor, n_in_batch: int) -> tuple[Tensor, ...]:
        """The factors of the auxiliary loss, and every token's part of it: dead latents rebuild what is missing."""
        dead = self.dead.nonzero().flatten()
        k_aux = min(read.shape[1] // 2, len(dead))
        if k_aux == 0 or self.aux_coefficient == 0:
            none = read.new_zeros(len(read), 0)
            return none.int(), none, none, read.new_zeros(len(read), 0), read.new_zeros(len(read))
        weight = self.aux_coefficient * min(len(dead) / (read.shape[1] // 2), 1.0)
        norms = self.norms[dead] if self.rescale else None
        chosen, values = best_of(None, read, self.enc[dead], self.b_enc[dead], norms, k_aux, 0)
        chosen = dead.int()[chosen]
        missing = bag_sums(values, chosen, self.dec) + error
        d_rebuilt = missing * (2 * weight / n_in_batch)
        return chosen, values, bag_dots(d_rebuilt, chosen, self.dec), d_rebuilt, weight * missing.square().sum(dim=1)

    def _recalls(self, read: Tensor, chosen: Tensor, norms: Tensor | None) -> Tensor:
        if self.ranking is None or self.n_steps % RECALL_EVERY:
            return read.new_zeros(0)
        some = slice(RECALL_TOKENS)
        wanted, _ = best_of(None, read[some], self.enc, self.b_enc, norms, self.k, 0)
        return recall(chosen[some], wanted)

    @torch.no_grad()
    def learn(self, factors: Factors, learning_rate: float) -> None:
        """Renew all weights by the gradients that are made of these factors, of a whole batch."""
        self._count_silent(factors)
        self.n_steps += 1
        tokens = torch.arange(len(factors.x), dtype=torch.int32, device=factors.x.device)
        of_aux = factors.aux_chosen.shape[1]
        latents = torch.cat([factors.chosen, factors.aux_chosen], dim=1).flatten()
        values = torch.cat([factors.values, factors.aux_values], dim=1).flatten()
        d_values = torch.cat([factors.d_values, factors.aux_d_values], dim=1).flatten()
        reads = tokens[:, None].expand(-1, self.k + of_aux).flatten()
        writes, d_rebuilt = reads, factors.d_rebuilt
        if of_aux:
            at_aux = tokens[:, None].expand(-1, of_aux) + len(tokens)
            writes = torch.cat([tokens[:, None].expand(-1, self.k), at_aux], dim=1).flatten()
            d_rebuilt = torch.cat([d_rebuilt, factors.aux_d_rebuilt])
        pairs = by_latent(latents, len(self.dec), GROUP)
        sides = {"enc": (d_values, reads, factors.x), "dec": (values, writes, d_rebuilt)}
        d_b_enc = torch.zeros_like(self.b_enc).index_add_(0, latents, d_values)
        d_b_dec = factors.d_rebuilt.sum(dim=0) - (d_b_enc @ self.enc if self.center else 0)
        groups = range(len(pairs.starts) - 1)
        # Twice, because what they are scaled by is known after all of them, and keeping them takes the most memory.
        norms = [latent_rows(pairs, i, *side).norm() for side in sides.values() for i in groups]
        norm = torch.stack([*norms, d_b_enc.norm(), d_b_dec.norm()]).norm()
        scale = (LARGEST_NORM / (norm + 1e-6)).clamp(max=1.0)
        for i in groups:
            latents = slice(i * GROUP, (i + 1) * GROUP)
            for name, side in sides.items():
                self._adam(name, latents, latent_rows(pairs, i, *side).mul_(scale), learning_rate)
        for name, gradient in (("b_enc", d_b_enc), ("b_dec", d_b_dec)):
            self._adam(name, slice(None), gradient * scale, learning_rate)
        self._renew_ranking(None)
        self._grow(factors.recalls)

    def _adam(self, name: str, rows: slice, gradient: Tensor, learning_rate: float) -> None:
        """One step of Adam for some rows of a parameter."""
        first, second = (moment[rows] for moment in self.moments[name])
        before = torch.tensor(float(self.n_steps - 1), device=gradient.device)
        adam(
            [self._parameters()[name][rows]], [gradient], [first], [second], [], [before],
            fused=gradient.device.type in ("cpu", "cuda"), amsgrad=False, beta1=self.betas[0], beta2=self.betas[1],
            lr=learning_rate, weight_decay=0.0, eps=1e-8, maximize=False,
        )  # fmt: skip

    def _count_silent(self, factors: Factors) -> None:
        self.silent += 1
        self.silent[factors.chosen[factors.values > 0].long()] = 0

    def _renew_ranking(self, read: Tensor | None) -> None:
        """Tell decoder norms and the ranking the weights as they are now; with activations, choose directions anew."""
        if isinstance(self.ranking, LowRank) and read is not None:
            self.ranking.fit(read, self.enc * self.norms[:, None])
        for low in range(0, len(self.dec), GROUP):
            latents = slice(low, low + GROUP)
            if self.rescale:
                self.norms[latents] = self.dec[latents].norm(dim=1)
            if self.ranking is not None:
                norms = self.norms[latents]
                self.ranking.refresh(latents, self.enc[latents] * norms[:, None], self.b_enc[latents] * norms)

    def _grow(self, recalls: Tensor) -> None:
        if len(recalls) and recalls.mean() < LEAST_RECALL:
            self.n_candidates = min(len(self.dec), math.ceil(self.n_candidates * GROWTH))
