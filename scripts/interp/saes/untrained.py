"""An untrained control for an SAE: random directions, as sparse as the trained one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.runs.through_sae import check_sae, encode, heads_flattened

if TYPE_CHECKING:
    from sae_lens import SAE

CLOSE = 0.01  # how far the control's L0 may be from the trained one's, as a share of it, before it is searched for
HALVINGS = 40


def untrained_copy(sae: SAE, x: Float[Tensor, "n d_in"], seed: int = 0) -> SAE:
    """A control: random directions in the place of the trained ones, and as many latents active on x, [n, d_in].

    Encoder and decoder share the directions, each of its trained row's norm in the decoder; b_dec stays. How many are
    active is set by one threshold for all latents; an architecture that keeps the k largest needs none.
    x: activations that the SAE takes, heads side by side

    Raises ValueError for what is no SAE (see `check_sae`), and for an architecture that no threshold makes as sparse.
    """
    check_sae(sae)
    if not any(getattr(sae, name, None) is not None for name in ("b_enc", "b_gate")):
        raise ValueError(
            f"This SAE ({sae.cfg.architecture()}) has no encoder with a bias of its own: no untrained copy can be made "
            "as sparse as it is."
        )
    generator = torch.Generator().manual_seed(seed)
    control = _own_copy(sae)
    with torch.no_grad():
        directions = torch.randn(sae.W_dec.shape, generator=generator).to(sae.W_dec)
        directions /= directions.norm(dim=1, keepdim=True)
        control.W_dec.copy_(directions * sae.W_dec.norm(dim=1, keepdim=True))
        control.W_enc.copy_(directions.T)
        if getattr(control, "r_mag", None) is not None:  # of Gated: the scale between gate and magnitude
            control.r_mag.zero_()
        _make_as_sparse(control, x, mean_l0(sae, x))
    return control


def mean_l0(sae: SAE, x: Float[Tensor, "n d_in"]) -> float:
    """Latents that are not zero, per token of x [n, d_in]."""
    return (encode(sae, x) != 0).sum(dim=-1).float().mean().item()


def _own_copy(sae: SAE) -> SAE:
    """A deep copy whose functions for heads and normalisation are its own: copied ones write to the original."""
    control = copy.deepcopy(sae)
    control._setup_activation_normalization()
    if sae.hook_z_reshaping_mode:
        control.turn_on_forward_pass_hook_z_reshaping()
    return control


def _set_threshold(control: SAE, threshold: float) -> None:
    """Let a latent be active where its direction's product with the input is above `threshold`."""
    if hasattr(control, "threshold"):  # of JumpReLU, as which BatchTopK is saved too; below zero the ReLU cuts
        control.threshold.fill_(max(threshold, 0.0))
        control.b_enc.fill_(max(-threshold, 0.0))
    elif getattr(control, "b_gate", None) is not None:
        control.b_gate.fill_(-threshold)
        control.b_mag.fill_(-threshold)
    else:
        control.b_enc.fill_(-threshold)


def _make_as_sparse(control: SAE, x: Float[Tensor, "n d_in"], l0: float) -> None:
    """Set the threshold at which `l0` latents of the control are active per token of x [n, d_in].

    Raises ValueError where there is none.
    """

    def is_close(share: float = CLOSE) -> bool:
        return abs(mean_l0(control, x) - l0) <= share * l0

    _set_threshold(control, 0.0)
    if hasattr(control.cfg, "k") and is_close():
        return
    with heads_flattened(control):
        before = (control.process_sae_in(x.to(control.device)) @ control.W_enc).flatten()
    high = before.kthvalue(max(1, before.numel() - round(l0 * len(x)))).values.item()
    _set_threshold(control, high)
    if is_close():
        return
    low = before.min().item() - 1  # where k latents at most are kept, fewer than are above the threshold
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        _set_threshold(control, middle)
        low, high = (low, middle) if mean_l0(control, x) < l0 else (middle, high)
    _set_threshold(control, low)
    if not is_close(10 * CLOSE):
        raise ValueError(
            f"No threshold makes an untrained copy of this SAE ({control.cfg.architecture()}) as sparse as it is: L0 "
            f"{mean_l0(control, x):.1f} instead of {l0:.1f}."
        )
