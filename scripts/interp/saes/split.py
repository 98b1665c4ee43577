"""A training step on a batch in several parts: one after another where it does not fit, and in several processes.

The losses are means over tokens. So the gradient of a batch is the mean of the gradients of its parts, if these are of
one size, and that is what the optimizer gets, once. What looks at the whole batch is done for the whole: clipping, the
count of steps since a latent was above zero, and BatchTopK's choice of the largest k · batch pre-activations. The
result is that of `SAETrainer.step` of sae-lens, but for the order in which numbers are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from sae_lens.saes.batchtopk_sae import BatchTopK
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from torch import Tensor

from scripts.interp.saes.recipes import Settings
from scripts.interp.training.processes import ALONE, Processes, of_all, sum_over

if TYPE_CHECKING:
    from sae_lens import TrainingSAE
    from sae_lens.training.sae_trainer import SAETrainer

# What is tried in the tests. TopK and Hybrid have a trainer of their own, `SparseTopK`, which takes parts itself.
SPLITTABLE = ("batchtopk", "matryoshka_batchtopk", "topk", "hybrid", "standard", "gated", "jumprelu")


class How(NamedTuple):
    """What a training takes besides its settings; none of it changes what the SAE becomes, but for rounding."""

    processes: Processes = ALONE
    accumulate: int = 1  # parts of a process's share of a batch, one after another
    device: str = "cpu"  # where the weights are
    watch: Callable[[list[dict[str, Any]], int, Callable], None] | None = None
    """Sees the record so far, the number of steps, and a function from activations [n, d_in] to latents [n, d_sae]."""

    @property
    def parts(self) -> int:
        """Of how many parts a batch is."""
        return self.processes.count * self.accumulate


USUAL = How()


def check_how(settings: Settings, how: How) -> None:
    """Raise ValueError unless the SAE of these settings can be trained like this."""
    if how.accumulate < 1:
        raise ValueError(f"--accumulate {how.accumulate} is no number of parts: give 1 or more.")
    if how.parts > 1 and settings.architecture not in SPLITTABLE:
        raise ValueError(
            f"{settings.architecture!r} is trained by one process and without --accumulate: what it does to a whole "
            f"batch can't be put together from parts. Those that can: {', '.join(SPLITTABLE)}."
        )
    if how.parts > 1 and settings.architecture == "hybrid" and settings.ranking != "bfloat16":
        raise ValueError(
            f"--ranking {settings.ranking} looks at whole batches, and is for one process without --accumulate: give "
            "--ranking bfloat16."
        )
    if how.device != "cpu" and settings.architecture == "monosemanticity":
        raise ValueError(f"'monosemanticity' is trained on the CPU, not on {how.device!r}: leave --device out.")
    if settings.batch % how.parts:
        raise ValueError(
            f"--batch {settings.batch} does not split into {how.parts} equal parts "
            f"({how.processes.count} process(es), --accumulate {how.accumulate}): give a multiple of {how.parts}."
        )


def split_step(
    trainer: SAETrainer, batch: Float[Tensor, "batch d_in"], n_parts: int, processes: Processes
) -> Float[Tensor, " n_sums"]:
    """One step on this process's share of a batch, in `n_parts` parts. Returns the sums of the whole batch."""
    sae = trainer.sae.train()
    parts = trainer.activation_scaler(batch.to(sae.device)).chunk(n_parts)
    dead, coefficients = trainer.dead_neurons, trainer.get_coefficients()
    fired, sums = torch.zeros_like(trainer.act_freq_scores), 0
    with whole_batch_topk(sae, parts, processes):
        for part in parts:
            step_input = TrainStepInput(
                sae_in=part,
                dead_neuron_mask=dead,
                coefficients=coefficients,
                n_training_steps=trainer.n_training_steps,
                is_logging_step=False,
            )
            output = sae.training_forward_pass(step_input=step_input)
            (output.loss / (n_parts * processes.count)).backward()
            fired += (output.feature_acts.detach() != 0).sum(dim=0)
            sums = sums + batch_sums(output)
    gradients = [each.grad for each in sae.parameters() if each.grad is not None]
    sum_over(processes, [*gradients, fired, sums])
    trainer.n_training_samples += len(batch) * processes.count
    trainer.n_forward_passes_since_fired += 1
    trainer.n_forward_passes_since_fired[fired > 0] = 0
    trainer.act_freq_scores += fired
    trainer.n_frac_active_samples += trainer.cfg.train_batch_size_samples
    torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.lr_scheduler.step()
    for scheduler in trainer.coefficient_schedulers.values():
        scheduler.step()
    return sums


class Above(torch.nn.Module):
    """ReLU of what is above a threshold, and of so many that equal it: tokens that occur twice give equal numbers."""

    def __init__(self, threshold: Float[Tensor, ""], n_equal: int):
        super().__init__()
        self.threshold, self.n_equal = threshold, n_equal

    def forward(self, x: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        kept = x > self.threshold
        equal = (x == self.threshold).flatten().nonzero().flatten()[: self.n_equal]
        kept.view(-1)[equal] = True
        self.n_equal -= len(equal)
        return torch.where(kept, x, 0.0).relu()


@contextmanager
def whole_batch_topk(
    sae: TrainingSAE, parts: Sequence[Float[Tensor, "n d_in"]], processes: Processes
) -> Iterator[None]:
    """Inside, BatchTopK keeps of each part what is among the largest of the whole batch; other SAEs are left alone.

    The smallest that is kept comes from a look at all parts beforehand, which takes a second run of the encoder. The
    threshold that sae-lens keeps a running mean of moves once, as in one step.
    """
    if not isinstance(sae.activation_fn, BatchTopK):
        yield
        return
    usual, before = sae.activation_fn, sae.topk_threshold
    n = int(usual.k * sum(len(part) for part in parts) * processes.count)
    sae.activation_fn = torch.nn.Identity()
    largest = parts[0].new_empty(0)
    with torch.no_grad():
        for part in parts:
            found = torch.cat([largest, sae.encode_with_hidden_pre(part)[1].relu().flatten()])
            largest = found.topk(min(n, len(found))).values
        candidates = of_all(processes, largest)
        largest = candidates.topk(min(n, len(candidates))).values
    threshold = largest[-1]
    n_equal = len(largest) - int((largest > threshold).sum())
    in_others = (candidates.view(processes.count, -1)[: processes.rank] == threshold).sum()  # those before this one
    sae.activation_fn = Above(threshold, max(0, n_equal - int(in_others)))
    try:
        yield
    finally:
        sae.activation_fn, sae.topk_threshold = usual, before
    sae.update_topk_threshold(largest)


class Measured(NamedTuple):
    """Of a batch, averaged over its tokens."""

    loss: float  # all that is trained on
    mse: float  # |x - x̂|²
    fvu: float  # that, as a share of the variance in the batch
    l0: float


def batch_sums(output: TrainStepOutput) -> Float[Tensor, " n_sums"]:
    """What `measured` needs of a batch, or of a part, summed over its tokens: those of parts can be added."""
    x, n = output.sae_in.detach().double(), len(output.sae_in)
    loss, mse = output.loss.detach() * n, output.losses["mse_loss"].detach() * n
    active = (output.feature_acts.detach() != 0).sum()
    return torch.cat([torch.stack([x.new_tensor(n), loss, mse, active, x.square().sum()]).double(), x.sum(dim=0)])


def measured(sums: Float[Tensor, " n_sums"]) -> Measured:
    """The averages in a batch whose sums these are."""
    n = sums[0].item()
    loss, mse, l0, square = (sums[1:5] / n).tolist()
    variance = square - (sums[5:] / n).square().sum().item()
    return Measured(loss, mse, mse / variance, l0)
