"""Norms of the residual stream."""

import pytest
import torch

from scripts.interp.runs.residual import get_residual_stream_norms, relative_error

PROMPT = "When John and Mary went to the store, John gave a book to"


@pytest.mark.parametrize("name", ["model", "gpt2", "toy"])
def test_rows_are_the_embedding_and_every_layer(request, name, toy_tokens):
    model = request.getfixturevalue(name)
    prompt = toy_tokens if name == "toy" else PROMPT
    norms = get_residual_stream_norms(model, prompt)
    _, cache = model.run_with_cache(prompt)
    assert norms.shape == (model.cfg.n_layers + 1, cache["hook_embed"].shape[1])
    last = model.cfg.n_layers - 1
    for row, name in {0: "0.hook_resid_pre", 1: "0.hook_resid_post", -1: f"{last}.hook_resid_post"}.items():
        torch.testing.assert_close(norms[row], cache[f"blocks.{name}"][0].pow(2).sum(-1).sqrt())


def test_bos_is_far_longer_than_the_rest(model):
    middle = get_residual_stream_norms(model, PROMPT)[model.cfg.n_layers // 2]
    assert middle[0] > 20 * middle[1:].max()


def test_empty_prompt(model):
    with pytest.raises(ValueError, match="empty"):
        get_residual_stream_norms(model, "")


def test_relative_error_is_that_of_each_position():
    exact = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    rebuilt = torch.tensor([[3.0, 4.5], [1.0, 2.0]])
    torch.testing.assert_close(relative_error(rebuilt, exact), torch.tensor([0.1, 0.5]))
