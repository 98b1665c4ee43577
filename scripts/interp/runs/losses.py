"""Cross-entropies of next tokens."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge


def next_token_losses(model: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos-1"]:
    """Cross-entropy in nats of every token but the first: tokens [batch, pos] to [batch, pos - 1].

    Entry i is the loss of the token at position i + 1, predicted from those before it.
    """
    with torch.no_grad():
        log_probs = model(tokens)[:, :-1].log_softmax(dim=-1)
    return -log_probs.gather(-1, tokens[:, 1:, None])[..., 0]
