"""How a learning rate goes up and down again over a training; steps are counted from 0.

sae-lens has schedules of its own for what its trainer trains.
"""

import math

import torch


def trapezoid(step: int, steps: int, peak: float, warm_up: float, decay: float) -> float:
    """Up in a line, constant, down to zero in a line.

    warm_up, decay: shares of all steps, at the beginning and at the end
    """
    share = step / steps
    return peak * min(1, (share + 1 / steps) / warm_up, (1 - share) / decay)


def capped_cosine(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Down to zero along a cosine; in the first `warm_up` steps at most as far up as a line has come."""
    return peak * min((step + 1) / warm_up, (1 + math.cos(math.pi * step / steps)) / 2)


def cosine_to_a_tenth(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Up in a line for `warm_up` steps, then along a cosine that is down to a tenth after `steps`."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return peak * (0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the optimizer's next step, for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate
