"""Which SAEs are trained for a scaling law: those that it is fitted to, and those that it has to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Run(NamedTuple):
    """One SAE to train."""

    width: int  # latents per dimension of the activation
    k: int
    tokens: int  # each is seen once
    seed: int
    learning_rate: float


@dataclass(frozen=True)
class Plan:
    """Which runs there are."""

    model: str
    hook_name: str
    d_in: int
    widths: tuple[int, ...] = (1, 2, 4, 8)
    ks: tuple[int, ...] = (16, 32, 64, 128)
    tokens: int = 409_600
    rates: tuple[float, ...] = (1.5e-3, 3e-3, 6e-3)  # learning rates; all runs get the best of them at `rates_at`
    rates_at: tuple[tuple[int, int], ...] = ((1, 16), (8, 128))  # width and k
    several_seeds_at: tuple[tuple[int, int], ...] = ((1, 16), (2, 64), (4, 32), (8, 128))
    seeds: tuple[int, ...] = (0, 1, 2)
    token_counts: tuple[int, ...] = (51_200, 102_400, 204_800, 409_600, 819_200)
    token_counts_at: tuple[int, int] = (4, 32)
    larger: int = 16  # a width that is held out
    other_ks: tuple[int, ...] = (48, 96)  # held out
    more_tokens: int = 1_638_400  # held out
    batch: int = 1024
    architecture: str = "hybrid"
    one_in: int = 4  # of the tokens of the validation split, on which every SAE is judged

    def to_choose_rate(self) -> list[Run]:
        return [Run(*place, self.tokens, self.seeds[0], rate) for rate in self.rates for place in self.rates_at]

    def to_fit(self, rate: float) -> list[Run]:
        """The grid, the other seeds at a few of its points, other numbers of tokens at one."""
        grid = [Run(width, k, self.tokens, self.seeds[0], rate) for width in self.widths for k in self.ks]
        seeds = [Run(*place, self.tokens, seed, rate) for seed in self.seeds[1:] for place in self.several_seeds_at]
        tokens = [Run(*self.token_counts_at, n, self.seeds[0], rate) for n in self.token_counts if n != self.tokens]
        return grid + seeds + tokens

    def held_out(self, rate: float) -> list[Run]:
        """Other k at sizes of the grid, a larger size with all k, more tokens."""
        between = [
            Run(width, k, self.tokens, self.seeds[0], rate) for width in self.widths[1::2] for k in self.other_ks
        ]
        larger = [Run(self.larger, k, self.tokens, self.seeds[0], rate) for k in self.ks]
        return between + larger + [Run(*self.token_counts_at, self.more_tokens, self.seeds[0], rate)]

    def to_check(self, rate: float) -> list[Run]:
        """After all else: the size that was held out with the other learning rates, at a k in the middle."""
        k = self.ks[len(self.ks) // 2]
        return [Run(self.larger, k, self.tokens, self.seeds[0], each) for each in self.rates if each != rate]
