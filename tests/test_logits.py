"""Logit differences, top predictions and the logit lens."""

import pytest
import torch

from scripts.interp.runs.logits import compute_logit_diff, get_top_predictions, logit_lens
from scripts.interp.runs.read_out import follow_up, logits_follow

PROMPT = "When John and Mary went to the store, John gave a book to"


def test_logit_diff_on_known_numbers():
    logits = torch.zeros(2, 3, 5)
    logits[0, -1, 4], logits[0, -1, 1] = 7.0, 2.0
    logits[1, -1, 2], logits[1, -1, 4] = 1.0, 4.0
    logits[:, 0, 4] = 100.0  # another position
    assert compute_logit_diff(logits, [4, 2], [1, 4]).item() == 1.0
    each = compute_logit_diff(logits, [4, 2], torch.tensor([1, 4]), per_prompt=True)
    assert each.tolist() == [5.0, -3.0]
    assert compute_logit_diff(logits[:, -1], [4, 2], [1, 4], per_prompt=True).tolist() == [5.0, -3.0]
    assert compute_logit_diff(logits, 4, 1, per_prompt=True).tolist() == [5.0, 4.0]
    assert compute_logit_diff(logits, 4, 1).dim() == 0


@pytest.mark.parametrize(
    "shape, answers, message",
    [
        ((5,), 1, "logits has shape"),
        ((1, 2, 3, 5), 1, "logits has shape"),
        ((0, 5), 1, "logits has shape"),
        ((2, 3, 5), [1], "one for each of the 2 prompts"),
        ((2, 3, 5), [[1, 2]], "one for each of the 2 prompts"),
        ((2, 3, 5), [1.0, 2.0], "one for each of the 2 prompts"),
        ((2, 3, 5), [1, 5], "from 0 to 4"),
        ((2, 3, 5), [1, -1], "from 0 to 4"),
    ],
)
def test_logit_diff_refuses(shape, answers, message):
    with pytest.raises(ValueError, match=message):
        compute_logit_diff(torch.zeros(shape), answers, 0)
    if "shape" not in message:
        with pytest.raises(ValueError, match=message):
            compute_logit_diff(torch.zeros(shape), 0, answers)


def test_the_model_prefers_the_right_name(model):
    ids = model.to_single_token(" Mary"), model.to_single_token(" John")
    assert compute_logit_diff(model(PROMPT), *ids) > 2


def test_top_predictions(language_model):
    top = get_top_predictions(language_model, PROMPT, k=4)
    probabilities = language_model(PROMPT)[0, -1].softmax(-1)
    assert len(top) == 4
    assert [prediction.probability for prediction in top] == sorted(probabilities.tolist(), reverse=True)[:4]
    assert top[0].token_id == probabilities.argmax().item()
    assert top[0].token == language_model.to_string(probabilities.argmax())
    first = str(top).splitlines()[0].split()
    assert first[0] == "1" and first[-1] == f"{top[0].probability:.2%}" and repr(top[0].token) in str(top)


def test_top_predictions_on_the_embedded_model(model):
    assert get_top_predictions(model, PROMPT)[0].token == " Mary"
    assert len(get_top_predictions(model, PROMPT)) == 10


def test_top_predictions_without_tokenizer(toy, toy_tokens):
    top = get_top_predictions(toy, toy_tokens, k=23)
    assert sum(prediction.probability for prediction in top) == pytest.approx(1, abs=1e-5)
    assert top[0].token == str(top[0].token_id)


def test_bad_k_and_prompt(toy, toy_tokens, model):
    for k in (0, -1, 24, 2.0, True):
        with pytest.raises(ValueError, match="from 1 to 23"):
            get_top_predictions(toy, toy_tokens, k=k)
    for function in (get_top_predictions, logit_lens):
        with pytest.raises(ValueError, match="empty"):
            function(model, "")
        with pytest.raises(ValueError, match="2 prompts"):
            function(model, [PROMPT, PROMPT])


@pytest.mark.parametrize("name", ["model", "gpt2", "toy"])
def test_lens_of_the_last_layer_is_the_model(request, name, toy_tokens):
    model = request.getfixturevalue(name)
    prompt = toy_tokens if name == "toy" else PROMPT
    logits, lens = model(prompt), logit_lens(model, prompt)
    assert lens.shape == (model.cfg.n_layers, logits.shape[1], model.cfg.d_vocab)
    torch.testing.assert_close(lens[-1], logits[0], atol=2e-4, rtol=1e-4)
    assert (lens[0] - logits[0]).abs().max() > 0.01


@pytest.mark.parametrize("name", ["gemma2", "granite", "olmo2"])
def test_lens_follows_scales_and_soft_caps(tiny, name):
    """Every layer's, so the lens of layer 1 is the model whose last layer writes nothing."""
    model, tokens = tiny(name), torch.randint(1, 300, (1, 8), generator=torch.Generator().manual_seed(0))
    lens = logit_lens(model, tokens)
    torch.testing.assert_close(lens[-1], model(tokens)[0], atol=1e-5, rtol=1e-5)
    silent = [(f"blocks.2.hook_{part}_out", lambda x, hook: torch.zeros_like(x)) for part in ("attn", "mlp")]
    torch.testing.assert_close(lens[1], model.run_with_hooks(tokens, fwd_hooks=silent)[0], atol=1e-5, rtol=1e-5)


def test_a_declared_scale_is_used_where_the_model_uses_it(tiny):
    """Some architectures declare one that TransformerLens has folded into the weights already."""
    model, raw = tiny("granite"), torch.randn(1, 4, 300, generator=torch.Generator().manual_seed(0))
    assert logits_follow(model, raw, raw / 8) and not logits_follow(model, raw, raw)
    torch.testing.assert_close(follow_up(model, raw), raw / 8)
    for logits in (raw / 2, raw * torch.nan):
        with pytest.raises(ValueError, match="can't be read as logits"):
            logits_follow(model, raw, logits)


def test_lens_of_logits_that_come_about_otherwise_is_refused(tiny, monkeypatch):
    model, tokens = tiny("gemma2"), torch.tensor([[3, 1, 4]])
    monkeypatch.setattr(model.adapter, "apply_output_logits_transform", lambda logits: logits)
    with pytest.raises(ValueError, match="differ from its own by .* Gemma2ForCausalLM does something else"):
        logit_lens(model, tokens)


def test_lens_of_an_early_layer_is_the_model_cut_short(toy, toy_tokens):
    def cut(activation, hook):
        return torch.zeros_like(activation)

    later = [("blocks.1.hook_attn_out", cut), ("blocks.1.hook_mlp_out", cut)]
    stopped = toy.run_with_hooks(toy_tokens, fwd_hooks=later)
    torch.testing.assert_close(logit_lens(toy, toy_tokens)[:1], stopped)
