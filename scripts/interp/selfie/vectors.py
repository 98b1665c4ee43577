"""Vectors to be described: the rows of an SAE's decoder, as its loader gives them, or any others out of a file."""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from scripts.interp.base.errors import ModelUnavailable, in_short
from scripts.interp.models.hub import hub_lookups
from scripts.interp.saes.load import fetch_sae, open_sae
from scripts.interp.selfie.releases import RELEASES
from scripts.interp.selfie.training_data import check_vectors, read_vectors

if TYPE_CHECKING:
    from sae_lens import SAE


class Vectors(NamedTuple):
    """Vectors and what is known about them."""

    vectors: Float[Tensor, "vector d_model"]  # float32 on the CPU
    layer: int | None  # of the model, None where nothing says it
    neuronpedia_id: str | None  # "model/source"
    metadata: dict[str, Any]  # for the section that the vectors become, without `layer`


def vectors_of_release(release: str, sae_id: str, device: str) -> Vectors:
    """The decoder of an SAE by its name in sae-lens, or of a repository on the hub.

    sae-lens divides Llama Scope's published rows by the factor that its directory has for the SAE
    (`norm_scaling_factor`), so that the SAE reads the model's activations as they are: `rows_divided_by` says by what.
    An SAE without a factor, or named by its repository, is not divided.

    Raises ValueError for what sae-lens can't open and where the decoder has another shape than the release is known
    for, ModelUnavailable where it can't be fetched.
    """
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    try:
        sae, settings = fetch_sae(release, sae_id, device)
    except ModelUnavailable:
        raise
    except (KeyError, TypeError, RuntimeError, AssertionError, SafetensorError, UnpicklingError) as error:
        raise ValueError(f"sae-lens can't open {release}/{sae_id} ({in_short(error)}): is it an SAE?") from error
    known = get_pretrained_saes_directory().get(release)
    neuronpedia_id = known.neuronpedia_id.get(sae_id) if known else settings.get("neuronpedia_id")
    found = _of_sae(sae, f"The SAE {release}/{sae_id}", neuronpedia_id)
    if release in RELEASES:
        expected = [RELEASES[release].n_features, RELEASES[release].d_model]
        if list(found.vectors.shape) != expected:
            raise ValueError(
                f"The decoder of {release}/{sae_id} is {list(found.vectors.shape)} and should be {expected}: delete it "
                "from the Hugging Face cache, and fetch it again."
            )
    origin = {"dataset_name": f"{release}/{sae_id}", "saelens_release": release, "saelens_sae_id": sae_id}
    scale = {"rows_divided_by": _divided_by(release, sae_id)}
    return found._replace(metadata=origin | found.metadata | scale)


def _divided_by(release: str, sae_id: str) -> float:
    """By what sae-lens has divided the decoder's rows of an SAE that it has just fetched.

    It does so where its directory has a factor and the SAE's own settings ask for it; what it gives after loading no
    longer says whether they did.
    """
    from sae_lens.loading.pretrained_sae_loaders import load_sae_config_from_huggingface
    from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor

    factor = get_norm_scaling_factor(release, sae_id)
    if factor is None:
        return 1.0
    with hub_lookups(False):
        settings = load_sae_config_from_huggingface(release, sae_id)
    return factor if settings.get("normalize_activations") == "expected_average_only_in" else 1.0


def vectors_of_folder(folder: str | Path, device: str) -> Vectors:
    """The decoder of an SAE in a folder in sae-lens' format, as it lies there: opening a folder divides nothing.

    Raises ValueError where a file is missing or damaged.
    """
    folder = Path(folder).expanduser()
    sae = open_sae(folder, device)
    found = _of_sae(sae, f"The SAE in {folder}", sae.cfg.metadata.neuronpedia_id)
    name = folder.resolve().name
    return found._replace(metadata={"dataset_name": name} | found.metadata | {"rows_divided_by": 1.0})


def vectors_of_tensor(path: str | Path) -> Vectors:
    """Vectors out of a file that `torch.save` wrote (see `read_vectors`); of which layer, nothing says."""
    return Vectors(read_vectors(path), None, None, {"dataset_name": Path(path).stem, "vector_type": "given"})


def _of_sae(sae: SAE, which: str, neuronpedia_id: str | None) -> Vectors:
    """The decoder's rows of an SAE, and of which layer they are, by its hook point or its name on Neuronpedia."""
    metadata = sae.cfg.metadata
    hook_name = metadata.hook_name_out or metadata.hook_name  # a transcoder writes elsewhere than it reads
    vectors = check_vectors(getattr(sae, "W_dec", None), f"The decoder of {which[0].lower()}{which[1:]}")
    stated = re.search(r"\bblocks\.(\d+)\.", str(hook_name)) or re.search(r"/(\d+)-", str(neuronpedia_id))
    about = {
        "vector_type": "sae_decoder",
        "model": metadata.model_name,
        "hook_name": hook_name,
        "architecture": sae.cfg.architecture(),
        "normalize_activations": sae.cfg.normalize_activations,  # what is left of it after loading
        "mean_row_norm": round(vectors.norm(dim=1).mean().item(), 6),
    }
    name = neuronpedia_id if isinstance(neuronpedia_id, str) else None
    return Vectors(vectors, int(stated[1]) if stated else None, name, about)
