"""Releases of SAEs that the method was published with, and where sae-lens and Neuronpedia have them."""

from __future__ import annotations

import re
from typing import NamedTuple


class Release(NamedTuple):
    """What is known of a release without fetching anything."""

    model: str
    sae_ids: str  # `{layer}` stands for a number
    layers: tuple[int, ...]
    d_model: int
    n_features: int  # of each SAE
    on_neuronpedia: bool  # whether Neuronpedia's exports hold labels; if not, they come from a file


_LAYERS = tuple(range(32))
_BASE, _INSTRUCT, _LARGE = "Llama-3.1-8B", "Llama-3.1-8B-Instruct", "Llama-3.3-70B-Instruct"
RELEASES = {
    "llama_scope_lxr_8x": Release(_BASE, "l{layer}r_8x", _LAYERS, 4096, 8 * 4096, True),  # residual stream
    "llama_scope_lxr_32x": Release(_BASE, "l{layer}r_32x", _LAYERS, 4096, 32 * 4096, True),
    "llama_scope_lxm_8x": Release(_BASE, "l{layer}m_8x", _LAYERS, 4096, 8 * 4096, True),  # what an MLP adds to it
    "llama_scope_lxm_32x": Release(_BASE, "l{layer}m_32x", _LAYERS, 4096, 32 * 4096, True),
    "goodfire-llama-3.3-70b-instruct": Release(_LARGE, "layer_{layer}", (50,), 8192, 65_536, True),
    "goodfire-llama-3.1-8b-instruct": Release(_INSTRUCT, "layer_{layer}", (19,), 4096, 65_536, False),
}


def check_release(release: str, sae_id: str) -> str | None:
    """The name of this SAE on Neuronpedia ("model/source") by sae-lens' directory, None where it says none.

    A repository on the hub ("owner/name") that is not in the directory may be one: it has no name until it is fetched.
    Raises ValueError for a release or an SAE that is in no directory.
    """
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    directory = get_pretrained_saes_directory()
    if release not in directory:
        if re.fullmatch(r"[\w.-]+/[\w.-]+", release):
            return None
        raise ValueError(
            f"sae-lens knows no release {release!r}: give one of its documentation, such as {next(iter(RELEASES))!r}, "
            "or a repository on the hub as owner/name."
        )
    known = directory[release]
    if sae_id not in known.saes_map:
        raise ValueError(
            f"{release} has no SAE {sae_id!r}: give one of its {len(known.saes_map)}, such as "
            f"{next(iter(known.saes_map))!r}."
        )
    return known.neuronpedia_id.get(sae_id)


def check_labels_can_be_fetched(release: str) -> None:
    """Raise ValueError for a release whose labels are not in Neuronpedia's exports, whatever sae-lens says."""
    if release in RELEASES and not RELEASES[release].on_neuronpedia:
        raise ValueError(
            f"The labels of {release} are not on Neuronpedia: give a file of them with --labels-json. "
            "https://github.com/agencyenterprise/selfie-adapters has one: data/goodfire_8b_sae_labels.json.gz."
        )
