"""Loading a sparse autoencoder in sae-lens' folder format, and checking that it belongs to a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

from safetensors import SafetensorError
from transformer_lens.model_bridge import TransformerBridge

from scripts.interp.hooks import check_hooks
from scripts.interp.paths import ROOT

if TYPE_CHECKING:
    from sae_lens import SAE

SAE_FOLDER = ROOT / "checkpoints" / "saes"
FILES = ("cfg.json", "sae_weights.safetensors")


def load_sae(model: TransformerBridge, folder: Optional[Union[str, Path]] = None) -> "SAE":
    """The SAE in a folder, in float32 on the model's device; its `cfg.metadata` says for which hook point.

    folder: one that sae-lens wrote or that was downloaded by hand; None is the one that ships with the project for this model

    Raises ValueError where a file is missing or damaged, where no SAE ships for this model, and where the SAE is for another
    model, another hook point or another width.
    """
    if folder is None:
        shipped = sorted(SAE_FOLDER.glob(f"{model.cfg.model_name}-blocks.*.hook_resid_post"))
        if not shipped:
            raise ValueError(
                f"No SAE ships for {model.cfg.model_name}: give the folder of one, or train one with "
                f"`python -m scripts.train_sae --model {model.cfg.model_name} blocks.<layer>.hook_resid_post`."
            )
        folder = shipped[0]
    folder = Path(folder).expanduser()
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {' and '.join(missing)}: an SAE's folder holds {' and '.join(FILES)}.")
    from sae_lens import SAE  # takes seconds to import, which only those who load an SAE should spend

    try:
        sae = SAE.load_from_disk(folder, device=str(model.cfg.device), dtype="float32")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AssertionError, SafetensorError) as error:
        raise ValueError(f"{folder} holds no whole SAE ({type(error).__name__}: {error}): restore or download it again.") from error
    metadata = sae.cfg.metadata
    if metadata.model_name not in (None, model.cfg.model_name):
        raise ValueError(f"The SAE in {folder} is for {metadata.model_name}; this model is {model.cfg.model_name}.")
    if metadata.hook_name is None:
        raise ValueError(f"The SAE in {folder} does not say for which hook point it is: add metadata.hook_name to its cfg.json.")
    check_hooks(model, [metadata.hook_name])
    if "resid" in metadata.hook_name and sae.cfg.d_in != model.cfg.d_model:
        raise ValueError(f"The SAE in {folder} takes {sae.cfg.d_in} numbers a token; this model's d_model is {model.cfg.d_model}.")
    return sae.eval().requires_grad_(False)
