"""What a model writes about vectors: how it goes on after a prompt with a soft token, up to a quotation mark."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.selfie.losses import Reading, keys_and_values
from scripts.interp.selfie.prompt import insert

AT_ONCE = 64  # vectors


@torch.no_grad()
def describe(
    reading: Reading,
    soft: Float[Tensor, "n d_model"],
    max_new_tokens: int = 20,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """A description for each soft token [n, d_model], without the quotation mark that ends it.

    temperature: 0 takes the likeliest token each time; more draws tokens, the same ones for the same seed
    """
    generator = torch.Generator(device=reading.embeddings.device).manual_seed(seed)
    return [
        text for part in soft.split(AT_ONCE) for text in _write(reading, part, max_new_tokens, temperature, generator)
    ]


def _write(
    reading: Reading, soft: Tensor, max_new_tokens: int, temperature: float, generator: torch.Generator
) -> list[str]:
    model, tokenizer = reading.plain
    first = reading.n_before
    x = insert(reading.embeddings[first:], tuple(place - first for place in reading.prompt.places), soft)
    cache, ids = keys_and_values(reading, len(soft)), []
    said = [""] * len(soft)
    for _ in range(max_new_tokens):
        output = model(inputs_embeds=x, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, logits = output.past_key_values, output.logits[:, -1].float()
        if temperature == 0:
            new = logits.argmax(dim=-1)
        else:
            new = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)[:, 0]
        ids.append(new)
        said = tokenizer.batch_decode(torch.stack(ids, dim=1), skip_special_tokens=True)
        if all('"' in text for text in said):
            break
        x = model.get_input_embeddings()(new)[:, None]
    return [text.split('"')[0].strip() for text in said]
