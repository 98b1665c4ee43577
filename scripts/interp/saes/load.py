"""Loading sparse autoencoders in sae-lens' format, and checking that they belong to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

from scripts.interp.base.errors import ModelUnavailable, in_short
from scripts.interp.base.paths import ROOT
from scripts.interp.models.hub import ask_hub, hub_lookups
from scripts.interp.models.names import same_model
from scripts.interp.runs.hooks import check_hooks
from scripts.interp.runs.through_sae import check_by_trying, check_sae

if TYPE_CHECKING:
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge

SAE_FOLDER = ROOT / "checkpoints" / "saes"
FILES = ("cfg.json", "sae_weights.safetensors")


def sae_folder(model: TransformerBridge, name: str | None = None) -> Path:
    """The folder of an SAE that ships with the project for a model. Raises ValueError where there is none.

    name: of one of several for this model, such as "8x"; None is the one for a layer's resid_post
    """
    model_name = model.cfg.model_name
    if name is not None:
        folder = SAE_FOLDER / f"{model_name}-{name}"
        if not folder.is_dir():
            known = ", ".join(
                sorted(
                    path.name.removeprefix(f"{model_name}-")
                    for path in SAE_FOLDER.glob(f"{model_name}-*")
                    if path.is_dir()
                )
            )
            raise ValueError(f"No SAE {name!r} ships for {model_name}; there are: {known or 'none'}.")
        return folder
    shipped = sorted(SAE_FOLDER.glob(f"{model_name}-blocks.*.hook_resid_post"))
    if not shipped:
        raise ValueError(
            f"No SAE ships for {model_name}: give the folder of one, or train one with "
            f"`.venv/bin/python -m scripts.train_sae --model {model_name} blocks.<layer>.hook_resid_post`."
        )
    return shipped[0]


def sweep_file(model_name: str) -> Path:
    """What `.venv/bin/python -m scripts.train_sae --sweep` found about a model's layers: a JSON list, an entry each."""
    return SAE_FOLDER / f"{model_name}-sweep.json"


def load_sae(model: TransformerBridge, folder: str | Path | None = None, *, check_model: bool = True) -> SAE:
    """The SAE in a folder, in float32 on the model's device; its `cfg.metadata` says for which hook point.

    folder: one that sae-lens wrote or that was downloaded by hand; None is the one that ships with the project for this
        model
    check_model: False takes an SAE although its model's name is not known to be another name of this model

    Raises ValueError where a file is missing or damaged, where no SAE ships for this model, where the SAE is for
    another model, another hook point or another width, and for what is no SAE or not as it was trained: transcoders,
    normalisation that is not folded in (see `check_sae`).
    """
    folder = Path(folder).expanduser() if folder is not None else sae_folder(model)
    sae = open_sae(folder, str(model.cfg.device))
    _check(sae, model, f"The SAE in {folder}", check_model)
    return sae.eval().requires_grad_(False)


def open_sae(folder: Path, device: str) -> SAE:
    """The SAE in a folder in sae-lens' format, in float32, whichever model it is for.

    Raises ValueError where a file is missing or damaged.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {' and '.join(missing)}: an SAE's folder holds {' and '.join(FILES)}.")
    from sae_lens import SAE  # takes seconds to import, which only those who load an SAE should spend

    from scripts.interp.saes import hybrid  # noqa: F401  # registers its architecture

    try:
        sae = SAE.load_from_disk(folder, device=device, dtype="float32")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AssertionError, SafetensorError) as error:
        raise ValueError(
            f"{folder} holds no whole SAE ({type(error).__name__}: {error}): restore or download it again."
        ) from error
    return sae


def load_hub_sae(model: TransformerBridge, release: str, sae_id: str, *, check_model: bool = True) -> SAE:
    """An SAE of a release that sae-lens knows by name, from the local Hugging Face cache or from the hub.

    release, sae_id: for example "gpt2-small-res-jb" and "blocks.8.hook_resid_pre", with `load_model("gpt2-small")`
    check_model: as for `load_sae`

    Raises ValueError for a name that sae-lens does not know and for another model's SAE, ModelUnavailable where the SAE
    is not here and the hub can't be reached.
    """
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    releases = get_pretrained_saes_directory()
    if release not in releases:
        raise ValueError(
            f"sae-lens knows no release {release!r}: its documentation lists them; 'gpt2-small-res-jb' is one."
        )
    if sae_id not in releases[release].saes_map:
        raise ValueError(f"{release} has no SAE {sae_id!r}: give one like {next(iter(releases[release].saes_map))!r}.")
    sae, _ = fetch_sae(release, sae_id, str(model.cfg.device))
    _check(sae, model, f"The SAE {release}/{sae_id}", check_model)
    return sae.eval().requires_grad_(False)


def fetch_sae(release: str, sae_id: str, device: str) -> tuple[SAE, dict[str, Any]]:
    """An SAE of a release or of a repository, in float32, from the Hugging Face cache or the hub, and its settings.

    Raises ModelUnavailable where it is not in the cache and the hub can't be reached.
    """
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_repo_id_and_folder_name

    repository, subfolder = get_repo_id_and_folder_name(release, sae_id)
    load = SAE.from_pretrained_with_cfg_and_sparsity
    try:
        with hub_lookups(False):
            return load(release, sae_id, device=device, dtype="float32")[:2]
    except (OSError, HfHubHTTPError):  # not in the cache
        with hub_lookups(True):
            ask_hub(repository, ".gitattributes")  # which every repository has
            try:
                return load(release, sae_id, device=device, dtype="float32")[:2]
            except (OSError, HfHubHTTPError) as error:
                raise ModelUnavailable(
                    f"The download of {repository}/{subfolder} stopped ({in_short(error)}): run it again to go on."
                ) from error


def _check(sae: SAE, model: TransformerBridge, which: str, check_model: bool) -> None:
    """Raise ValueError where an SAE is not for this model as the labs load it."""
    check_sae(sae, which)
    check_by_trying(sae, which)
    metadata, cfg = sae.cfg.metadata, model.cfg
    if check_model and metadata.model_name is not None and not same_model(metadata.model_name, cfg.model_name):
        raise ValueError(
            f"{which} is for {metadata.model_name}; this model is {cfg.model_name}. If you know that they are one "
            "model by two names, give check_model=False."
        )
    if metadata.hook_name is None:
        raise ValueError(f"{which} does not say for which hook point it is: add metadata.hook_name to its cfg.json.")
    check_hooks(model, [metadata.hook_name])
    if "resid" in metadata.hook_name and sae.cfg.d_in != cfg.d_model:
        raise ValueError(f"{which} takes {sae.cfg.d_in} numbers a token; this model's d_model is {cfg.d_model}.")
    settings = metadata.model_from_pretrained_kwargs or {}
    if (
        settings
        and (cfg.normalization_type or "").startswith("LN")
        and not settings.get("center_writing_weights", True)
    ):
        raise ValueError(
            f"{which} asks for a model whose writing weights are not centred; the labs' models are (`load_model`)."
        )
