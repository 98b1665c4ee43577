"""Toy models with circuits that were put there by hand, so that every result is known beforehand; and a random one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from scripts.interp.circuits.prompt_pairs import PromptPairs
from scripts.interp.models.toys import new_toy

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

N_TOKENS = 8  # vocabulary, context and width of a head; the residual stream has one part of that width a use
TOKEN, POSITION, MOVED, OUT, UNREAD = (slice(8 * part, 8 * part + 8) for part in range(5))
SHARP = 200.0  # scores this large make attention look at one position only
INDUCTION_SHARP = 30.0  # most of the weight at the match, some elsewhere: a score below 1


class Planted(NamedTuple):
    """The model, pairs of prompts that differ at position `source` only, and the heads of the circuit."""

    model: TransformerBridge
    pairs: PromptPairs
    source: int = 3
    mover: tuple[int, int] = (0, 1)
    writer: tuple[int, int] = (1, 2)
    against: tuple[int, int] = (1, 0)


def planted_circuit(n_key_value_heads: int | None = None) -> Planted:
    """Two layers of four heads that read a prompt of six tokens, and copy one token of it.

    Head `mover` of layer 0 looks at position `source` from every later position and copies the token it finds into a
    place of its own in the residual stream. Head `writer` of layer 1 reads that place and raises the token's logit by
    3; head `against` of layer 1 reads it too and lowers the logit by 1. All other heads look somewhere and write where
    nobody reads. There is no norm, so effects are exact: denoised one at a time, mover has effect 1, writer 1.5,
    against -0.5, all others 0.

    n_key_value_heads: 4 (default), 2 or 1; the circuit is the same, keys and values shared or not
    """
    fields = {"n_layers": 2, "n_heads": 4, "n_key_value_heads": n_key_value_heads, "d_model": 40, "d_head": N_TOKENS}
    model = _blank({**fields, "d_mlp": 4, "n_ctx": N_TOKENS}, N_TOKENS, TOKEN, POSITION, OUT)
    eye, here = torch.eye(N_TOKENS), torch.arange(N_TOKENS)
    clean = torch.tensor([[0, 5, 6, 1, 7, 6], [0, 2, 7, 3, 6, 6], [0, 4, 4, 5, 7, 1]])
    planted = Planted(model, PromptPairs(clean, clean.clone(), clean[:, 3].clone(), torch.tensor([2, 4, 1])))
    planted.pairs.corrupted[:, planted.source] = planted.pairs.wrong_answers
    generator = torch.Generator().manual_seed(0)
    for layer, block in enumerate(model.blocks):
        part = {name: getattr(block.attn, name).original_component.weight for name in "qkvo"}
        for head in range(n_key_value_heads or model.cfg.n_heads):
            rows = slice(head * N_TOKENS, (head + 1) * N_TOKENS)
            part["k"][rows, POSITION] = eye
            part["v"][rows, TOKEN if layer == 0 else MOVED] = eye
        for head in range(model.cfg.n_heads):
            rows = slice(head * N_TOKENS, (head + 1) * N_TOKENS)
            looks_at, writes_to, strength = (torch.randint(N_TOKENS, (N_TOKENS,), generator=generator), UNREAD, 1.0)
            if (layer, head) == planted.mover:
                looks_at, writes_to = here.clamp(max=planted.source), MOVED
            elif (layer, head) == planted.writer:
                looks_at, writes_to, strength = here, OUT, 3.0
            elif (layer, head) == planted.against:
                looks_at, writes_to, strength = here, OUT, -1.0
            part["q"][rows, POSITION] = SHARP * eye[looks_at].T
            part["o"][writes_to, rows] = strength * eye
    model.enable_compatibility_mode(disable_warnings=True)
    return planted._replace(model=model.eval().requires_grad_(False))


class PlantedInduction(NamedTuple):
    """A model with an induction circuit, and where its heads are."""

    model: TransformerBridge
    previous: tuple[int, int] = (0, 2)
    induction: tuple[int, int] = (1, 1)


def planted_induction() -> PlantedInduction:
    """Two attention-only layers of four heads without a norm, with an induction circuit put there by hand.

    Head `previous` of layer 0 looks at the position before and writes the token it finds into a place of its own. Head
    `induction` of layer 1 looks where that place holds the present token, so at the token after its last time, and
    raises that token's logit. Its queries and values read the tokens themselves. All other heads look somewhere and
    write where nobody reads. 24 tokens (0 stands for BOS), 24 positions.
    """
    n = 24  # tokens, positions and width of a head
    token, position, before, out, unread = (slice(n * part, n * part + n) for part in range(5))
    fields = {"n_layers": 2, "n_heads": 4, "d_model": 5 * n, "d_head": n, "n_ctx": n, "attn_only": True}
    planted = PlantedInduction(_blank(fields, n, token, position, out))
    model, eye, here = planted.model, torch.eye(n), torch.arange(n)
    generator = torch.Generator().manual_seed(0)
    for layer, block in enumerate(model.blocks):
        part = {name: getattr(block.attn, name).original_component.weight for name in "qkvo"}
        for head in range(model.cfg.n_heads):
            rows = slice(head * n, (head + 1) * n)
            looks_at, writes_to, strength = torch.randint(n, (n,), generator=generator), unread, 1.0
            if (layer, head) == planted.previous:
                looks_at, writes_to = (here - 1).clamp(min=0), before
            part["v"][rows, token] = eye
            if (layer, head) == planted.induction:
                part["q"][rows, token], part["k"][rows, before] = INDUCTION_SHARP * eye, eye
                writes_to, strength = out, 8.0
            else:
                part["q"][rows, position], part["k"][rows, position] = SHARP * eye[looks_at].T, eye
            part["o"][writes_to, rows] = strength * eye
    model.enable_compatibility_mode(disable_warnings=True)
    return planted._replace(model=model.eval().requires_grad_(False))


def _blank(fields: dict[str, Any], d_vocab: int, token: slice, position: slice, out: slice) -> TransformerBridge:
    """A model that only writes tokens and positions into their parts of the stream and reads logits from part `out`."""
    plain = {"act_fn": "relu", "normalization_type": None, "positional_embedding_type": "standard"}
    model = new_toy({**fields, **plain}, d_vocab).requires_grad_(False)
    for parameter in model.parameters():
        parameter.zero_()
    model.embed.original_component.weight[:, token] = torch.eye(d_vocab)
    model.pos_embed.original_component.weight[:, position] = torch.eye(fields["n_ctx"])
    model.unembed.original_component.weight[:, out] = torch.eye(d_vocab)
    return model


def random_attention_toy(
    seed: int = 0, *, n_heads: int = 4, n_key_value_heads: int | None = None, folded: bool = True
) -> TransformerBridge:
    """Three attention-only layers with LayerNorm, all weights and biases random and large; 24 tokens, 24 positions.

    What a function gets wrong that only shows with norms and biases shows here.

    folded: False leaves out compatibility mode, so every norm keeps weights and biases of its own
    """
    fields = {
        "n_layers": 3, "n_heads": n_heads, "n_key_value_heads": n_key_value_heads, "d_model": 20, "d_head": 6,
        "n_ctx": 24, "attn_only": True, "act_fn": "relu",
        "normalization_type": "LN", "positional_embedding_type": "standard",
    }  # fmt: skip
    model = new_toy(fields, 24, seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    if folded:
        model.enable_compatibility_mode(disable_warnings=True)
    return model.eval().requires_grad_(False)
