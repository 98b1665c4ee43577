"""Models and SAEs on a GPU, text on either device: no helper lets tensors of two devices meet.

The GPU is pretended, see `pretended_gpu.py`, which says what it can't see; `test_gpu.py` runs on a real one.
"""

import warnings

import numpy as np
import pytest
import torch

from scripts.interp.runs.at_hooks import special_tokens
from tests.helper_calls import CALLS
from tests.pretended_gpu import GPU, moved, pretended_gpu
from tests.scene import new_scene, numbers_in


@pytest.fixture(scope="module")
def scene(tiny_folder, tiny_pairs):
    """Everything on the CPU."""
    return new_scene(tiny_folder("llama"), tiny_pairs)


@pytest.fixture(scope="module")
def on_gpu(tiny_folder, tiny_pairs):
    """Models and SAE on the GPU, text on the CPU."""
    scene = new_scene(tiny_folder("llama"), tiny_pairs)
    with pretended_gpu():
        moved_parts = {name: moved(getattr(scene, name)) for name in ("toy", "sae", "random")}
        return scene._replace(plain=scene.plain._replace(model=moved(scene.plain.model)), **moved_parts)


@pytest.mark.parametrize("name", CALLS)
def test_helpers_bring_them_together(scene, on_gpu, tmp_path, name):
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR|No exact route")
        expected = list(numbers_in(CALLS[name](scene._replace(folder=tmp_path / "cpu"))))
        with pretended_gpu():
            for where in (torch.device("cpu"), GPU):
                here = on_gpu.with_text(where)._replace(folder=tmp_path / where.type)
                found = list(numbers_in(CALLS[name](here)))
                for one, other in zip(found, expected, strict=True):
                    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize(
    "fault",
    [
        lambda on_gpu, x, there: torch.isin(on_gpu.rows, special_tokens(on_gpu.toy)),
        lambda on_gpu, x, there: on_gpu.toy(on_gpu.rows),
        lambda on_gpu, x, there: x + there,
        lambda on_gpu, x, there: x[there > 0],
        lambda on_gpu, x, there: x.add_(there[0, 0]),
        lambda on_gpu, x, there: there.__setitem__(torch.tensor([0]), x[:1]),
        lambda on_gpu, x, there: torch.cat([x, there]),
        lambda on_gpu, x, there: torch.stack([x[0, 0], there[0, 0]]),
        lambda on_gpu, x, there: torch.where(x > 0, there, 0.0),
        lambda on_gpu, x, there: there @ x.T,
        lambda on_gpu, x, there: there.numpy(),
        lambda on_gpu, x, there: np.asarray(there),
        lambda on_gpu, x, there: torch.multinomial(there.exp(), 1, generator=torch.Generator()),
        lambda on_gpu, x, there: torch.rand(2, generator=torch.Generator(GPU)),
    ],
)
def test_what_a_gpu_refuses_is_refused(on_gpu, fault):
    with pretended_gpu():
        x = torch.arange(6.0).view(2, 3)
        with pytest.raises((RuntimeError, TypeError), match="same device|to numpy|generator"):
            fault(on_gpu, x, x.to(GPU))


def test_what_a_gpu_takes_is_taken():
    with pretended_gpu():
        x = torch.arange(6.0).view(2, 3)
        there = x.to(GPU)
        there[0, [1, 2]] = 7
        there[x == 3] = torch.tensor(8.0)
        assert there.device == GPU and (there + torch.tensor(1.0)).cpu()[1].tolist() == [9, 5, 6]
        assert there[torch.tensor([1])].tolist() == [[8, 4, 5]] and there[x > 4].numel() == 1
        assert f"{there[0, 1]:.1f}" == "7.0" and int(there.argmax()) == 3 and bool((there > 7).any())
        assert torch.tensor([there[0, 0], 1.0], device=GPU).device == GPU
        weight = torch.nn.Linear(3, 1).to(GPU).weight
        (there @ weight.T).sum().backward()
        assert weight.grad.device == GPU and weight.grad[0].tolist() == there.sum(dim=0).tolist()
        drawn = torch.rand(2, generator=torch.Generator(GPU).manual_seed(0), device=GPU)
        assert torch.equal(drawn.cpu(), torch.rand(2, generator=torch.Generator().manual_seed(0)))
