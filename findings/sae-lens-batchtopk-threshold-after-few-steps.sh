#!/usr/bin/env bash
# A BatchTopK SAE that was trained for few steps has many times k latents a token once it is saved.
#
# For inference sae-lens 6.54.12 replaces BatchTopK by a threshold: a running mean of the smallest chosen activation, at
# a rate of 0.01 a step. The mean starts at 0 and is not corrected for that, so after n steps it is too low by a share of
# 0.99^n. A good guess is that the saved SAE has about k latents a token, as in training.
#
# Seen with k = 8 of 256 latents on sums of 4 of 128 random directions, torch 2.13.0: 134 latents a token after 40 steps,
# 7.7 after 1,200. Fails if 40 steps give less than twice k, or 1,200 steps more than 1.3 times.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sae-lens==6.54.12 transformer-lens==3.9.0 transformers==5.23.0
cat >"$folder/try.py" <<'PYTHON'
import tempfile

import torch
from sae_lens import SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.sae import TrainStepInput

torch.manual_seed(0)
directions = torch.nn.functional.normalize(torch.randn(128, 32), dim=1)


def draw(n):
    active = torch.rand(n, 128).topk(4, dim=1).indices
    return (torch.rand(n, 4, 1) + 0.5).mul(directions[active]).sum(dim=1)


def saved_l0(steps):
    torch.manual_seed(1)
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=32, d_sae=256, k=8))
    adam = torch.optim.Adam(sae.parameters(), lr=1e-3)
    for step in range(steps):
        given = TrainStepInput(sae_in=draw(512), coefficients={}, dead_neuron_mask=None, n_training_steps=step, is_logging_step=False)
        adam.zero_grad()
        sae.training_forward_pass(step_input=given).loss.backward()
        adam.step()
    with tempfile.TemporaryDirectory() as folder:
        sae.save_inference_model(folder)
        saved = SAE.load_from_disk(folder, device="cpu")
    return (saved.encode(draw(2048)) > 0).sum(dim=1).float().mean().item()


few, many = saved_l0(40), saved_l0(1200)
print(f"latents a token with k = 8: {few:.1f} after 40 steps, {many:.1f} after 1,200")
assert few > 16 and many < 10.4, "sae-lens behaves differently now"
PYTHON
cd "$folder"
HF_HUB_OFFLINE=1 PATH="$folder/venv/bin:$PATH" python -W ignore try.py
