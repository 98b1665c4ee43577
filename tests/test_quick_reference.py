"""docs/quick-reference.md: hook names have the shapes that it says, and helpers are those that the labs import."""

import re

from scripts import mech_interp_utils
from scripts.interp.base.paths import ROOT

PAGE = (ROOT / "docs" / "quick-reference.md").read_text(encoding="utf-8")


def test_hooks_have_the_shapes_that_the_table_says(model):
    tokens = model.to_tokens(["The keeper of the lighthouse slept.", "The keeper of the lighthouse sang."])
    _, cache = model.run_with_cache(tokens)
    sizes = dict(batch=tokens.shape[0], pos=tokens.shape[1], **{"1": 1})
    rows = re.findall(r"^\| `([\w.{}]+)` \| \[(.*?)\]", PAGE, re.M)
    assert len(rows) > 12
    for name, shape in rows:
        name = name.format(i=model.cfg.n_layers // 2)
        said = tuple(sizes[size] if size in sizes else getattr(model.cfg, size) for size in shape.split(", "))
        assert tuple(cache[name].shape) == said and name in model.hook_dict, name
    assert tokens.shape[0] != model.cfg.n_key_value_heads != model.cfg.n_heads  # no two sizes are equal by chance


def test_weights_have_the_shapes_that_the_page_says(model):
    cfg, attention = model.cfg, model.blocks[0].attn
    assert "`model.W_E` is [d_vocab, d_model], `model.W_U` [d_model, d_vocab]" in PAGE
    assert model.W_E.shape == (cfg.d_vocab, cfg.d_model) and model.W_U.shape == (cfg.d_model, cfg.d_vocab)
    assert attention.W_V.shape == (cfg.n_key_value_heads, cfg.d_model, cfg.d_head)
    assert attention.W_O.shape == (cfg.n_heads, cfg.d_head, cfg.d_model)


def test_helpers_that_are_named_can_be_imported():
    (also,) = re.findall(r"^Also there: (.*)\.$", PAGE, re.M)
    names = re.findall(r"`(\w+)`", also) + re.findall(r"`(\w+)\(", PAGE)
    assert len(names) > 6 and [name for name in names if name not in mech_interp_utils.__all__ and name != "help"] == []
