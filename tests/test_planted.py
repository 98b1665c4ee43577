"""The planted circuit does what its docstring says, however keys and values are shared."""

import pytest
import torch

from scripts.interp.circuits.patching import patch_heads, patch_stream
from scripts.interp.circuits.path_patching import path_patch
from scripts.interp.planted.circuits import planted_circuit


@pytest.mark.parametrize("n_key_value_heads", [None, 4, 2, 1])
@pytest.mark.parametrize("plain", [False, True], ids=["exact", "plain"])
def test_every_effect_is_the_planted_one(n_key_value_heads, plain):
    planted = planted_circuit(n_key_value_heads)
    heads = patch_heads(planted.model, planted.pairs, plain=plain)
    assert heads.clean.tolist() == pytest.approx([2, 2, 2]) and heads.corrupted.tolist() == pytest.approx([-2, -2, -2])
    expected = torch.zeros(2, 4)
    expected[planted.mover], expected[planted.writer], expected[planted.against] = 1, 1.5, -0.5
    assert torch.allclose(heads.effect, expected, atol=1e-5)
    stream = torch.zeros(2, 6)
    stream[0, planted.source] = stream[1, -1] = 1
    assert torch.allclose(patch_stream(planted.model, planted.pairs, plain=plain).effect, stream, atol=1e-5)


@pytest.mark.parametrize("n_key_value_heads, through_values", [(4, 1.5), (2, 1.5), (1, 1.0)])
@pytest.mark.filterwarnings("ignore:Patching hook_[qk]")
def test_the_mover_acts_through_the_writers_values_only(n_key_value_heads, through_values):
    """With a single value head the writer shares it with the head against it, so the path carries both."""
    planted = planted_circuit(n_key_value_heads)
    layer, head = planted.writer
    for through, receiver in (("q", head), ("k", head * n_key_value_heads // 4), ("v", head * n_key_value_heads // 4)):
        effect = path_patch(planted.model, planted.pairs, [(layer, receiver)], through).effect
        expected = torch.zeros(2, 4)
        expected[planted.mover] = through_values if through == "v" else 0
        assert torch.allclose(effect, expected, atol=1e-5), through
