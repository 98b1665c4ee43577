#!/usr/bin/env bash
# TopK with use_sparse_activations=True can't be trained as sae-lens configures it: backward raises.
#
# sae-lens 6.54.12 offers sparse activations for TopK training, to save memory and time. By default the same
# configuration has rescale_acts_by_decoder_norm=True, and then the sparse activations are divided by the decoder's norms
# before they are decoded; of that product torch 2.13.0 has no derivative for sparse tensors. A good guess is that two
# settings of one configuration, one of them a default, work together. With rescale_acts_by_decoder_norm=False they do.
#
# Seen: the forward pass works with both; backward raises NotImplementedError with the default and gives a gradient
# without it. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sae-lens==6.54.12 transformer-lens==3.9.0 transformers==5.23.0
cat >"$folder/try.py" <<'PYTHON'
import torch
from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.saes.sae import TrainStepInput


def backward(**options):
    torch.manual_seed(0)
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=16, d_sae=64, k=4, use_sparse_activations=True, **options))
    given = TrainStepInput(
        sae_in=torch.randn(32, 16), coefficients={}, dead_neuron_mask=None, n_training_steps=0, is_logging_step=False
    )
    loss = sae.training_forward_pass(step_input=given).loss
    try:
        loss.backward()
    except RuntimeError as error:
        return f"{type(error).__name__}: {str(error)[:80]} …"
    return f"gradient of norm {sae.W_enc.grad.norm():.4f}"


default, without = backward(), backward(rescale_acts_by_decoder_norm=False)
print("as configured:", default)
print("without rescaling:", without)
assert default.startswith("NotImplementedError") and without.startswith("gradient of norm"), "sae-lens behaves differently now"
PYTHON
cd "$folder"
HF_HUB_OFFLINE=1 PATH="$folder/venv/bin:$PATH" python -W ignore try.py
