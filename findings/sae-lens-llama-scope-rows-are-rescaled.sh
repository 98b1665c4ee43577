#!/usr/bin/env bash
# The decoder rows of a loaded Llama Scope SAE are not those of its file, and what is loaded does not say so.
#
# sae-lens 6.54.12 divides the rows by a factor that its directory of releases has for each SAE, so that the SAE reads
# activations as they are. It then sets normalize_activations to "none" in the SAE's configuration and in the dictionary
# of settings that it returns, and neither holds the factor. A good guess is that an SAE whose settings say that nothing
# is normalised has the published rows; across layers, rows that were of one length no longer are.
#
# The files are made here, in the layout that the loader reads, with rows of unit norm; the download is pointed at them.
#
# Seen with torch 2.13.0: rows of norm 0.0170 at layer 0 and 1.1641 at layer 31, "none" in both places, no number that is
# the factor or its inverse. Fails if the rows are the file's, or if what is loaded tells.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sae-lens==6.54.12 transformer-lens==3.9.0 transformers==5.23.0
cat >"$folder/try.py" <<'PYTHON'
import json
from math import isclose, sqrt
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.loading import pretrained_sae_loaders
from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor, get_repo_id_and_folder_name
from safetensors.torch import save_file

RELEASE, D_IN, D_SAE = "llama_scope_lxr_8x", 16, 64


def local(repo_id, filename, subfolder=None, **options):
    return str(Path(repo_id) / (subfolder or "") / filename)


pretrained_sae_loaders.hf_hub_download = local


def write(sae_id, factor):
    """An SAE in the layout of the published ones. Returns its decoder's rows."""
    torch.manual_seed(0)
    folder = Path(*get_repo_id_and_folder_name(RELEASE, sae_id))
    (folder / "checkpoints").mkdir(parents=True)
    norm, hook = sqrt(D_IN) / factor, f"blocks.{sae_id[1:].split('r')[0]}.hook_resid_post"
    (folder / "hyperparams.json").write_text(json.dumps({
        "d_model": D_IN, "d_sae": D_SAE, "hook_point_in": hook, "hook_point_out": hook, "act_fn": "jumprelu",
        "jump_relu_threshold": 0.2, "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": norm, "out": norm},
    }))
    rows = torch.nn.functional.normalize(torch.randn(D_SAE, D_IN), dim=1)
    save_file({
        "encoder.weight": rows.clone(), "encoder.bias": torch.zeros(D_SAE),
        "decoder.weight": rows.T.contiguous(), "decoder.bias": torch.zeros(D_IN),
    }, folder / "checkpoints" / "final.safetensors")
    return rows


def numbers(value):
    """All numbers in what was loaded."""
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)


for sae_id in ("l0r_8x", "l31r_8x"):
    factor = get_norm_scaling_factor(RELEASE, sae_id)
    rows = write(sae_id, factor)
    sae, settings, _ = SAE.from_pretrained_with_cfg_and_sparsity(RELEASE, sae_id)
    said = [settings["normalize_activations"], sae.cfg.normalize_activations]
    held = list(numbers([settings, sae.cfg.to_dict(), vars(sae.cfg.metadata)]))
    tells = any(isclose(number, known, rel_tol=1e-2) for number in held for known in (factor, 1 / factor))
    norm = sae.W_dec.norm(dim=1).mean().item()
    print(f"{sae_id}: rows of norm 1 in the file, {norm:.4f} loaded; settings say {said}; the factor is there: {tells}")
    assert torch.allclose(sae.W_dec * factor, rows, atol=1e-5) and not torch.allclose(sae.W_dec, rows, atol=1e-2), sae_id
    assert said == ["none", "none"] and not tells, "sae-lens behaves differently now"
PYTHON
cd "$folder"
HF_HUB_OFFLINE=1 PATH="$folder/venv/bin:$PATH" python -W ignore try.py
