#!/usr/bin/env bash
# What a hook on hook_resid_mid returns reaches the MLP, but not the residual stream.
#
# In compatibility mode of transformer-lens 3.9.0 the hook point stands on the way into the second norm. A hook that
# returns a new tensor changes what the MLP reads; the skip connection keeps the old one. A hook that writes into its
# argument changes both. A good guess is that both ways of writing a hook do the same, as at hook_resid_pre.
#
# Seen on a random Llama, transformers 5.23.0, torch 2.13.0: of a vector added to resid_mid, 0 arrives in resid_post past
# the MLP if the hook returns it, all of it if it writes in place. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformer-lens==3.9.0 transformers==5.23.0
cat >"$folder/try.py" <<'PYTHON'
import torch, transformers
from transformer_lens.model_bridge.sources import build_bridge_from_module

torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    bos_token_id=0, eos_token_id=0, pad_token_id=0, attn_implementation="eager",
)
bridge = build_bridge_from_module(transformers.LlamaForCausalLM(config).eval(), "LlamaForCausalLM", hf_config=config)
bridge.enable_compatibility_mode(disable_warnings=True)
tokens, added = torch.arange(1, 9)[None], torch.randn(32)
seen = {}


def returned(resid_mid, hook):
    return resid_mid + added


def in_place(resid_mid, hook):
    resid_mid += added


def resid_post(hooks):
    bridge.run_with_hooks(tokens, fwd_hooks=[*hooks, ("blocks.0.hook_resid_post", lambda x, hook: seen.update(x=x.clone()))])
    return seen["x"]


with torch.no_grad():
    clean = resid_post([])
    mlp = {}
    for name, function in (("returned", returned), ("in place", in_place)):
        out = {}
        hooks = [("blocks.0.hook_resid_mid", function), ("blocks.0.hook_mlp_out", lambda x, hook: out.update(x=x.clone()))]
        post = resid_post(hooks)
        clean_out = {}
        bridge.run_with_hooks(tokens, fwd_hooks=[("blocks.0.hook_mlp_out", lambda x, hook: clean_out.update(x=x.clone()))])
        mlp[name] = ((post - clean) - (out["x"] - clean_out["x"]) ).norm(dim=-1).mean().item() / added.norm().item()
print("share of what was added to resid_mid that reaches resid_post past the MLP:", {k: round(v, 3) for k, v in mlp.items()})
assert mlp["returned"] < 1e-3 and abs(mlp["in place"] - 1) < 1e-3, "TransformerLens behaves differently now"
PYTHON
cd "$folder"
HF_HUB_OFFLINE=1 PATH="$folder/venv/bin:$PATH" python -W ignore try.py
