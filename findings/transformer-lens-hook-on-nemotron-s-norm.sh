#!/usr/bin/env bash
# A hook that returns what it was given changes a Nemotron's logits, if it stands in a norm.
#
# Nemotron's LayerNorm multiplies by one plus its weight. When something hooks hook_scale, transformer-lens 3.9.0
# computes the norm anew from the hooked value, without that one. A good guess is that an identity hook changes nothing.
#
# Seen on random weights, transformers 5.23.0, torch 2.13.0, float32: logits differ by 0.11, Llama's by 7e-8. Fails if
# Nemotron's stay, or Llama's don't.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformer-lens==3.9.0 transformers==5.23.0
cat >"$folder/try.py" <<'PYTHON'
import torch, transformers
from transformer_lens.model_bridge.sources import build_bridge_from_module


def difference(model_class, config):
    torch.manual_seed(0)
    bridge = build_bridge_from_module(model_class(config).eval(), model_class.__name__, hf_config=config)
    tokens = torch.arange(1, 9)[None]
    with torch.no_grad():
        changed = bridge.run_with_hooks(tokens, fwd_hooks=[("blocks.1.ln1.hook_scale", lambda scale, hook: scale.clone())])
        return (changed - bridge(tokens)).abs().max().item()


sizes = dict(vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, bos_token_id=0, eos_token_id=0, pad_token_id=0, attn_implementation="eager")
nemotron = difference(transformers.NemotronForCausalLM, transformers.NemotronConfig(**sizes))
llama = difference(transformers.LlamaForCausalLM, transformers.LlamaConfig(**sizes))
print(f"a hook on ln1.hook_scale that returns what it was given changes logits by {nemotron:.2g} (Nemotron), {llama:.2g} (Llama)")
assert nemotron > 0.01 and llama < 1e-5, "TransformerLens behaves differently now"
PYTHON
cd "$folder"
HF_HUB_OFFLINE=1 PATH="$folder/venv/bin:$PATH" python -W ignore try.py
