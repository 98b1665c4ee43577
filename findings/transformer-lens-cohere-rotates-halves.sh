#!/usr/bin/env bash
# The bridge of a Cohere model computes another model's log-probabilities.
#
# Cohere rotates neighbouring pairs of a query's dimensions, as GPT-J does; Llama rotates the first half against the
# second. transformer-lens 3.9.0 computes Cohere's attention with Llama's rotation. A good guess is that a bridge that
# boots, and whose layers and shapes are the original's, gives the original's logits.
#
# Seen, on random weights of 2 layers, transformers 5.23.0, torch 2.13.0, float32: Cohere's log-probabilities differ by
# 0.2 nats, Llama's by 4e-6. Fails if Cohere's agree, or Llama's don't.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformer-lens==3.9.0 transformers==5.23.0
cat >"$folder/try.py" <<'PYTHON'
import torch, transformers
from transformer_lens.model_bridge import TransformerBridge

torch.manual_seed(0)
sizes = dict(vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, bos_token_id=0, eos_token_id=0, pad_token_id=0)
tokens = torch.arange(1, 17)[None]


def difference(model_class, config):
    original = model_class(config).eval()
    with torch.no_grad():
        for parameter in original.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        expected = original(tokens).logits.log_softmax(-1)
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        config._attn_implementation = "eager"
        bridge = build_bridge_from_module(original, type(original).__name__, hf_config=config)
        return (bridge(tokens).log_softmax(-1) - expected).abs().max().item()


cohere = difference(transformers.CohereForCausalLM, transformers.CohereConfig(**sizes))
llama = difference(transformers.LlamaForCausalLM, transformers.LlamaConfig(**sizes))
print(f"largest difference of log-probabilities between bridge and original: Cohere {cohere:.2g}, Llama {llama:.2g}")
assert cohere > 0.1 and llama < 1e-4, "TransformerLens behaves differently now"
PYTHON
cd "$folder"
HF_HUB_OFFLINE=1 PATH="$folder/venv/bin:$PATH" python -W ignore try.py
