"""Tiny models with random weights, made by transformers' configurations: an architecture without a download."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig

D_VOCAB = 300  # of the tokenizer
SIZES = {
    "vocab_size": D_VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
"""What most configurations call their sizes."""
GROUPED = SIZES | {"num_key_value_heads": 2}
WIDE = GROUPED | {"head_dim": 16}  # the heads together are wider than the stream
GRANITE = {"residual_multiplier": 0.22, "logits_scaling": 8.0, "embedding_multiplier": 12.0}
MLA = {
    "moe_intermediate_size": 16, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip

OLD = {
    "vocab_size": D_VOCAB,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
CONFIGS = {  # by what is special: makes the configuration when it is asked for
    "llama": partial(transformers.LlamaConfig, **GROUPED),
    # A norm after attention, and one of the three sums scaled or capped.
    "gemma2": partial(transformers.Gemma2Config, **WIDE, final_logit_softcapping=5.0, query_pre_attn_scalar=16),
    "gemma3": partial(transformers.Gemma3TextConfig, **WIDE, query_pre_attn_scalar=16),
    "glm4": partial(transformers.Glm4Config, **WIDE),
    "olmo2": partial(transformers.Olmo2Config, **GROUPED),
    "granite": partial(transformers.GraniteConfig, **GROUPED, **GRANITE),
    # Attention and MLP side by side; the second scales its logits too.
    "neox": partial(transformers.GPTNeoXConfig, **SIZES),
    "cohere": partial(transformers.CohereConfig, **GROUPED, logit_scale=0.25),
    # LayerNorm that TransformerLens does not fold, and one without weights; experts; keys and values from a latent.
    "nemotron": partial(transformers.NemotronConfig, **GROUPED),
    "olmo": partial(transformers.OlmoConfig, **GROUPED),
    "mixtral": partial(transformers.MixtralConfig, **GROUPED, num_local_experts=4),
    # Attention sinks; weights rounded when they are used; what TransformerLens refuses to fold.
    "gpt_oss": partial(transformers.GptOssConfig, **WIDE, num_local_experts=4, num_experts_per_tok=2),
    "bitnet": partial(transformers.BitNetConfig, **GROUPED),
    "vaultgemma": partial(transformers.VaultGemmaConfig, **WIDE),
    # Architectures that lack biases which folding makes.
    "qwen2": partial(transformers.Qwen2Config, **GROUPED),
    "stablelm": partial(transformers.StableLmConfig, **GROUPED),
    "gptj": partial(transformers.GPTJConfig, **OLD, rotary_dim=4),
    "codegen": partial(transformers.CodeGenConfig, **OLD, rotary_dim=4),
    "gpt_neo": partial(
        transformers.GPTNeoConfig, **SIZES | {"attention_types": [[["global", "local", "global"], 1]], "window_size": 8}
    ),
    "deepseek3": partial(transformers.DeepseekV3Config, **SIZES, num_key_value_heads=4, **MLA),
}


def tiny_model(config: PretrainedConfig, folder: Path, scale: float = 0.3, seed: int = 0) -> Path:
    """Write a causal language model of this configuration and a tokenizer to `folder`; return the folder.

    Every parameter is moved at random, norms and biases too: what leaves one out shows. scale: by how much
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += scale * torch.randn_like(parameter)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tiny_tokenizer(folder)
    return folder


def tiny_tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer of D_VOCAB tokens to `folder`; "<s>", its BOS, has id 0."""
    from tokenizers import ByteLevelBPETokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["hello world"] * 3, vocab_size=D_VOCAB, special_tokens=["<s>"], show_progress=False)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="<s>")
    tokenizer.save_pretrained(folder)
