"""The sparse autoencoder of "Towards Monosemanticity": one hidden ReLU layer, an L1 penalty, dead latents brought back.

    f = ReLU((x - b_dec) W_enc + b_enc)        x̂ = f W_dec + b_dec        loss = |x - x̂|² + l1 Σ f, averaged over tokens

Rows of W_dec have unit norm; otherwise small f with large rows would pay no penalty. Source: Bricken et al. (2023),
https://transformer-circuits.pub/2023/monosemantic-features, section "Sparse Autoencoder Setup" and appendix "Advice for
Training Sparse Autoencoders". What differs here, besides the size: activations are scaled to a mean norm of √d_in,
b_dec starts at their mean rather than at their geometric median, W_enc starts as the transpose of W_dec, a resampled
latent takes the direction of what is missing at a token, x - x̂, rather than of x, Adam has no momentum, which would go
on moving latents that are silent already, and the learning rate has a warm-up and falls to zero from half time on.
"""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scripts.interp.saes.stored_activations import shuffled_batches
from scripts.interp.training import loop, schedules

RESAMPLED_AT = (1 / 8, 1 / 4, 3 / 8, 1 / 2)  # of all steps; the second half is left for what was resampled to settle
RESAMPLED_FROM = 50_000  # tokens whose loss is looked at when dead latents are resampled
ENCODER_NORM = 0.2  # of a resampled latent, as a share of the mean norm of the latents that are alive
DENSE = 0.05  # share of latents above zero from which dense products are faster than sparse ones
WARM_UP, DECAY = 0.01, 0.5  # of all steps, at the beginning and at the end
RECORD_EVERY, CHECKPOINT_EVERY = 50, 250  # steps


class Dictionary(NamedTuple):
    """The parameters of an autoencoder with d_sae latents for activations of width d_in."""

    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]  # rows of unit norm
    b_dec: Float[Tensor, " d_in"]


class DictionaryRecipe(NamedTuple):
    """How a dictionary is trained; two runs with equal recipes on equal activations give the same one."""

    d_sae: int
    l1: float
    steps: int
    batch: int = 2048
    learning_rate: float = 1e-3
    window: int = 100_000  # tokens: a latent that was above zero on none of the last ones is dead
    seed: int = 0


class Gradients(NamedTuple):
    """The gradients of the loss, and what it is made of."""

    of: Dictionary
    error: float  # |x - x̂|², averaged over tokens
    active: Int[Tensor, " d_sae"]  # number of tokens at which each latent is above zero


def new_dictionary(d_in: int, d_sae: int, mean: Float[Tensor, " d_in"], generator: torch.Generator) -> Dictionary:
    """Random directions of unit norm, alike for encoder and decoder; `mean` [d_in] is what no latent at all gives."""
    W_dec = torch.randn(d_sae, d_in, generator=generator)
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    return Dictionary(W_dec.T.clone(), torch.zeros(d_sae), W_dec, mean.clone())


def encode(dictionary: Dictionary, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
    """The latents of activations x [n, d_in]: [n, d_sae], never negative."""
    return torch.addmm(dictionary.b_enc, x - dictionary.b_dec, dictionary.W_enc).relu_()


def gradients(dictionary: Dictionary, x: Float[Tensor, "n d_in"], l1: float) -> Gradients:
    """Gradients of mean |x - x̂|² + l1 Σ f over the tokens x [n, d_in].

    Latents at zero get no gradient from ReLU. Few are above zero, so all products but the encoder's are sparse.
    """
    W_enc, _, W_dec, b_dec = dictionary
    n = len(x)
    f = encode(dictionary, x)
    is_dense = f.count_nonzero() > DENSE * f.numel()
    if is_dense:
        active = (f > 0).sum(dim=0)
    else:
        f = f.to_sparse_csr()
        active = f.col_indices().bincount(minlength=f.shape[1])
    error = f @ W_dec + b_dec - x
    by_output = 2 / n * error
    if is_dense:
        by_latent = (by_output @ W_dec.T + l1 / n) * (f > 0)
    else:  # only where f is above zero
        products = torch.sparse.sampled_addmm(f, by_output, W_dec.T, beta=0.0)
        by_latent = torch.sparse_csr_tensor(
            f.crow_indices(), f.col_indices(), products.values() + l1 / n, f.shape, check_invariants=False
        )
    b_enc = (by_latent.t() @ torch.ones(n, 1, device=x.device))[:, 0]
    found = Dictionary((by_latent.t() @ (x - b_dec)).T, b_enc, f.t() @ by_output, by_output.sum(dim=0) - W_enc @ b_enc)
    return Gradients(found, error.square().sum(dim=1).mean().item(), active)


def keep_lengths(gradient: Float[Tensor, "d_sae d_in"], W_dec: Float[Tensor, "d_sae d_in"]) -> None:
    """Change a gradient so that it turns the rows of W_dec, which have unit norm, without making them longer.

    The length is set back after every step; without this, Adam would adapt to what is undone.
    """
    gradient.addcmul_(torch.linalg.vecdot(gradient, W_dec)[:, None], W_dec, value=-1)


def resample(
    dictionary: Dictionary,
    optimizer: torch.optim.Adam,
    dead: Bool[Tensor, " d_sae"],
    x: Float[Tensor, "n d_in"],
    generator: torch.Generator,
) -> None:
    """Point dead latents, bool [d_sae], at what is missing at tokens x [n, d_in]; changes the dictionary.

    A token is drawn with a probability proportional to the square of its loss |x - x̂|², without replacement. The
    optimizer forgets what it knows of the latents.
    """
    n_dead = int(dead.sum())
    if n_dead == 0:
        return
    W_enc, b_enc, W_dec, b_dec = dictionary
    missing = torch.cat([part - encode(dictionary, part) @ W_dec - b_dec for part in x.split(4096)])
    if n_dead > len(x):
        raise ValueError(
            f"{n_dead} latents are dead and there are {len(x)} tokens to resample them from: give more tokens."
        )
    losses = missing.square().sum(dim=1).double()
    directions = missing[torch.multinomial(losses.square(), n_dead, generator=generator)]
    directions /= directions.norm(dim=1, keepdim=True)
    alive_norm = W_enc[:, ~dead].norm(dim=0).mean() if n_dead < len(dead) else torch.tensor(1.0)
    W_dec[dead] = directions
    W_enc[:, dead] = (ENCODER_NORM * alive_norm * directions).T
    b_enc[dead] = 0
    for parameter, rows in ((W_enc, (slice(None), dead)), (b_enc, dead), (W_dec, dead)):
        for moment in ("exp_avg", "exp_avg_sq"):
            if parameter in optimizer.state:
                optimizer.state[parameter][moment][rows] = 0


class Learner(NamedTuple):
    """A dictionary that is being trained, and what its training remembers."""

    dictionary: Dictionary
    optimizer: torch.optim.Adam
    last_active: Int[Tensor, " d_sae"]  # the step after which each latent was last above zero or was resampled
    resampled: list[dict[str, int]]  # when, and how many latents
    scale: float  # of the activations
    variance: float  # of the scaled activations: their mean squared distance from their mean


def new_learner(values: Float[np.ndarray, "n_tokens d_in"], recipe: DictionaryRecipe) -> Learner:
    """The start of a training on activations [n_tokens, d_in]; scale, mean and variance come from a sample of them."""
    n_tokens, d_in = values.shape
    sample = next(shuffled_batches(values, min(n_tokens, 20_000), recipe.seed))
    scale = math.sqrt(d_in) / sample.norm(dim=1).mean().item()
    generator = torch.Generator().manual_seed(recipe.seed)
    dictionary = new_dictionary(d_in, recipe.d_sae, scale * sample.mean(dim=0), generator)
    return Learner(
        dictionary,
        torch.optim.Adam(dictionary, lr=recipe.learning_rate, betas=(0.0, 0.999), fused=True),
        torch.zeros(recipe.d_sae, dtype=torch.long),
        [],
        scale,
        (scale * sample).var(dim=0, correction=0).sum().item(),
    )


def dead_latents(learner: Learner, recipe: DictionaryRecipe, step: int) -> Bool[Tensor, " d_sae"]:
    """The latents that were above zero on none of the last `recipe.window` tokens before this step, bool [d_sae]."""
    return step - learner.last_active >= max(1, round(recipe.window / recipe.batch))


def resample_dead(
    learner: Learner, recipe: DictionaryRecipe, values: Float[np.ndarray, "n_tokens d_in"], step: int
) -> None:
    """Before this step, point dead latents at what is missing at RESAMPLED_FROM of the tokens [n_tokens, d_in]."""
    dead = dead_latents(learner, recipe, step)
    draw = np.random.default_rng([recipe.seed, step]).choice(
        len(values), min(len(values), RESAMPLED_FROM), replace=False
    )
    x = learner.scale * torch.from_numpy(values[np.sort(draw)]).float()
    resample(learner.dictionary, learner.optimizer, dead, x, torch.Generator().manual_seed(recipe.seed + step))
    learner.resampled.append({"step": step, "latents": int(dead.sum())})
    learner.last_active[dead] = step


def learn(learner: Learner, recipe: DictionaryRecipe, step: int, x: Float[Tensor, "batch d_in"]) -> loop.Step:
    """One step on activations x [batch, d_in] as they are given. What is averaged: FVU and L0."""
    dictionary, optimizer = learner.dictionary, learner.optimizer
    rate = schedules.trapezoid(step, recipe.steps, recipe.learning_rate, WARM_UP, DECAY)
    schedules.set_learning_rate(optimizer, rate)
    found = gradients(dictionary, learner.scale * x, recipe.l1)
    for parameter, gradient in zip(dictionary, found.of):
        parameter.grad = gradient
    keep_lengths(dictionary.W_dec.grad, dictionary.W_dec)
    optimizer.step()
    dictionary.W_dec.div_(dictionary.W_dec.norm(dim=1, keepdim=True))
    learner.last_active[found.active > 0] = step + 1
    return loop.Step(found.error, (found.error / learner.variance, found.active.sum().item() / recipe.batch))


def train_dictionary(
    values: Float[np.ndarray, "n_tokens d_in"],
    recipe: DictionaryRecipe,
    checkpoint: Path | None = None,
    progress: bool | None = None,
    watch: Callable[[list[dict[str, Any]], int, Callable], None] | None = None,
) -> tuple[Dictionary, dict[str, Any]]:
    """Train a dictionary on activations [n_tokens, d_in], from a checkpoint if there is that file.

    progress: True for a bar, False for a line now and then, None for a bar where somebody watches
    watch: sees the record so far, the number of steps, and a function from activations to latents

    Returns it, for activations as they are given, and a record of the run. Raises ValueError where the checkpoint
    belongs to another run, and for a loss that is no number.
    """
    n_tokens, d_in = values.shape
    if n_tokens < recipe.batch or recipe.steps < 1:
        raise ValueError(
            f"{n_tokens} tokens, {recipe.steps} steps: give at least one step, and a batch of {recipe.batch} tokens."
        )
    learner = new_learner(values, recipe)
    resample_at = {round(share * recipe.steps) for share in RESAMPLED_AT} - {0}

    def step(number: int, batch: Float[Tensor, "batch d_in"]) -> loop.Step:
        if number in resample_at:
            resample_dead(learner, recipe, values, number)
        return learn(learner, recipe, number, batch)

    def row(step: int, averages: tuple[float, ...] | None) -> dict[str, float]:
        fvu, l0 = averages
        dead = dead_latents(learner, recipe, step).float().mean().item()
        return {"fvu": round(fvu, 4), "l0": round(l0, 2), "dead": round(dead, 4)}

    def state() -> dict[str, Any]:
        return {
            "dictionary": list(learner.dictionary), "optimizer": learner.optimizer.state_dict(),
            "last_active": learner.last_active, "resampled": learner.resampled,
        }  # fmt: skip

    def restore(saved: dict[str, Any]) -> None:
        for parameter, value in zip(learner.dictionary, saved["dictionary"]):
            parameter.copy_(value)
        learner.optimizer.load_state_dict(saved["optimizer"])
        learner.last_active.copy_(saved["last_active"])
        learner.resampled.extend(saved["resampled"])

    training = loop.Training(
        "dictionary",
        {**recipe._asdict(), "n_tokens": n_tokens, "d_in": d_in},
        recipe.steps,
        batches=lambda step: shuffled_batches(values, recipe.batch, recipe.seed, step),
        step=step,
        row=row,
        is_recorded=lambda step: step > 0 and step % RECORD_EVERY == 0 or step == recipe.steps,
        checkpoint_every=CHECKPOINT_EVERY,
        state=state,
        restore=restore,
        line=lambda row: f"step {row['step']} of {recipe.steps}: {row}" * (row["step"] % CHECKPOINT_EVERY == 0),
        not_finite="The loss is {loss} at step {step}: give a lower learning rate.",
        watch=lambda rows: watch and watch(rows, recipe.steps, lambda x: encode(learner.dictionary, learner.scale * x)),
    )
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        outcome = loop.run(training, checkpoint, progress)
    W_enc, b_enc, W_dec, b_dec = learner.dictionary
    unscaled = Dictionary(W_enc, b_enc / learner.scale, W_dec, b_dec / learner.scale)  # f is divided by it as well
    return unscaled, {
        "steps": recipe.steps,
        "seconds": outcome.seconds,
        **loop.where_it_ran(),
        "resampled": learner.resampled,
        "curve": outcome.rows,
    }
