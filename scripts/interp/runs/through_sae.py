"""An SAE at a hook point: which SAEs the helpers take, what one takes of an activation, what it makes of it.

Activations of heads, [batch, pos, n_heads, d_head], are laid side by side, [batch, pos, n_heads · d_head]; an SAE for
one head takes that head's part. An SAE computes in its own precision and on its own device. What it gives is where the
activations are; what goes back into the model has the model's precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:  # importing sae-lens takes seconds, which only those who load an SAE should spend
    from sae_lens import SAE

UNFOLDED = {  # run-time normalisations of sae-lens that an SAE does not do itself, and how they are folded in
    "expected_average_only_in": "sae.fold_activation_norm_scaling_factor(sae.cfg.d_in**0.5 / mean_norm), with the mean "
    "norm of the activations that it was trained on,",
    "covariance_whitening": "sae.fold_activation_whitening(…)",
}


def check_sae(sae: SAE, which: str = "This SAE") -> None:
    """Raise ValueError for what sae-lens loads like an SAE, and what is none or not as it was trained.

    An SAE rebuilds the activation that it reads, every position by itself. Transcoders and crosscoders compute another
    activation, temporal SAEs look at the positions before; a BatchTopK SAE in training looks at the rest of the batch.
    Where activations were scaled in training and the scale is not folded in, latents and reconstruction are wrong.
    """
    cfg, metadata = sae.cfg, sae.cfg.metadata
    kind = f"{cfg.architecture()} {metadata.training_architecture or ''}"
    places = [name for key, name in metadata.items() if key.startswith("hook_name")]
    several = [name for name in places if isinstance(name, (list, tuple)) and len(name) > 1]
    if "crosscoder" in kind or several:
        raise ValueError(f"{which} is a crosscoder ({several or kind.strip()}): give an SAE, which has one hook point.")
    elsewhere = metadata.hook_name_out not in (None, "", metadata.hook_name)
    if "transcoder" in kind or elsewhere or sae.W_dec.shape[-1] != cfg.d_in:
        raise ValueError(
            f"{which} is a transcoder: it computes {metadata.hook_name_out or 'another activation'} from "
            f"{metadata.hook_name}; give an SAE, which rebuilds the activation that it reads."
        )
    if "temporal" in kind:
        raise ValueError(
            f"{which} is a temporal one: it rebuilds a position from the positions before; give an SAE that takes "
            "every position by itself."
        )
    if hasattr(sae, "topk_threshold"):
        raise ValueError(
            f"{which} is still in training: what its latents are depends on the rest of the batch. Save it with "
            "`save_inference_model` and load that."
        )
    if cfg.normalize_activations in UNFOLDED:
        raise ValueError(
            f"{which} was trained on normalised activations ({cfg.normalize_activations!r}), and this is not folded "
            f"into its weights: open it with sae-lens' own SAE.load_from_disk or SAE.from_pretrained; "
            f"{UNFOLDED[cfg.normalize_activations]} folds it in."
        )


def check_by_trying(sae: SAE, which: str = "This SAE") -> None:
    """The same for architectures that `check_sae` does not know: three random positions go through the SAE.

    Each must have the latents that it has alone, and the SAE's output must be what its decoder makes of the latents.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, sae.cfg.d_in, generator=generator).to(sae.W_dec) + sae.b_dec
    with torch.no_grad(), heads_flattened(sae):
        latents = sae.encode(x)
        rebuilt = sae.decode(latents)
        alone = torch.cat([sae.encode(x[:, i : i + 1]) for i in range(3)], dim=1)
        sae.encode(x)  # some keep the norm of what they encoded last
        whole = rebuilt if sae.use_error_term else sae(x)
    for what, given, wanted, share in (
        # in half precision, rounding exchanges a latent now and then
        ("what its latents are at a position depends on the other positions", alone, latents, 0.1),
        ("its output is not what its decoder makes of its latents", whole, rebuilt, 0.01),
    ):
        if (given - wanted).float().norm() > share * wanted.float().norm():
            raise ValueError(
                f"{which} ({sae.cfg.architecture()}) does not rebuild an activation position by position: {what}."
            )


@contextmanager
def heads_flattened(sae: SAE) -> Iterator[None]:
    """Inside, an SAE for `hook_z` takes heads side by side, like every other. sae-lens' reshaping stays as it was."""
    names = ("reshape_fn_in", "reshape_fn_out", "d_head", "hook_z_reshaping_mode")
    before = {name: sae.__dict__[name] for name in names if name in sae.__dict__}  # no d_head before the first use
    sae.turn_off_forward_pass_hook_z_reshaping()
    try:
        yield
    finally:
        for name in names:
            del sae.__dict__[name]
        sae.__dict__.update(before)


def encode(sae: SAE, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
    """The latents of activations x [..., d_in], heads side by side: [..., d_sae]."""
    with heads_flattened(sae):
        return sae.encode(x.to(sae.device)).to(x.device)


def through_sae(sae: SAE, x: Float[Tensor, "... d_in"]) -> tuple[Float[Tensor, "... d_sae"], Float[Tensor, "... d_in"]]:
    """The latents of activations x [..., d_in], and what they decode to, [..., d_in], without an error term."""
    with heads_flattened(sae):
        latents = sae.encode(x.to(sae.device))
        return latents.to(x.device), sae.decode(latents).to(x.device)


def latent_and_direction(
    sae: SAE, x: Float[Tensor, "... d_in"], feature: int
) -> tuple[Float[Tensor, "... 1"], Float[Tensor, "... d_in"]]:
    """What a latent is on activations x [..., d_in], and what the reconstruction gains when it grows by one.

    That is W_dec[feature] where nothing is normalised at run time. Otherwise the decoder scales it, at every position
    in its own way; its derivative (forward mode) knows, for any architecture.
    """
    with heads_flattened(sae):
        latents = sae.encode(x.to(sae.device))
        grows = torch.zeros_like(latents)
        grows[..., feature] = 1
        _, direction = torch.func.jvp(sae.decode, (latents,), (grows,))
    return latents[..., feature, None].to(x.device), direction.to(x.device)


def part_for(sae: SAE, activation: Float[Tensor, "batch pos ..."], name: str) -> Float[Tensor, "batch pos d_in"]:
    """What an SAE takes of the activation of hook point `name`: heads side by side, or its one head.

    Raises ValueError where that has another width.
    """
    flat, d_in, head = activation.flatten(2), sae.cfg.d_in, sae.cfg.metadata.hook_head_index
    part = flat if head is None else flat[..., head * d_in : (head + 1) * d_in]
    if part.shape[-1] != d_in:
        of_head = "" if head is None else f" for head {head}"
        raise ValueError(
            f"The SAE takes {d_in} numbers a token, {name} gives {part.shape[-1]}{of_head}: is it another model's?"
        )
    return part


def on_its_part(sae: SAE, change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, object], Tensor]:
    """A hook function that puts change(x) in the place of x [batch, pos, d_in], the part that an SAE takes.

    Other heads stay; the activation keeps its shape and its precision.
    """

    def put(activation: Tensor, hook: object) -> Tensor:
        x = part_for(sae, activation, getattr(hook, "name", None) or "this activation")
        changed = change(x).to(activation.dtype)
        head = sae.cfg.metadata.hook_head_index
        if head is not None:
            start, flat = head * sae.cfg.d_in, activation.flatten(2)
            changed = torch.cat([flat[..., :start], changed, flat[..., start + sae.cfg.d_in :]], dim=-1)
        return changed.reshape(activation.shape)

    return put
