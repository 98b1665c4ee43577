"""activations.pt: what goes in comes out, and nothing else gets in or out."""

import os
from datetime import datetime, timedelta, timezone

import pytest
import torch

from scripts.interp.runs.activation_file import load_activations, save_activations

PROMPTS = ["When John", "Then Mary", "After lunch"]


def save(path, activations=None, **changes):
    arguments = {"layer": 4, "prompts": PROMPTS, "model_name": "a model", **changes}
    return save_activations(path, torch.randn(3, 5) if activations is None else activations, **arguments)


def test_round_trip(tmp_path):
    whole = torch.randn(3, 100, 5, requires_grad=True)
    path = save(tmp_path / "new folder" / "activations.pt", whole[:, -1])
    content = load_activations(path)
    assert set(content) == {"activations", "layer", "prompts", "metadata"}
    assert torch.equal(content["activations"], whole[:, -1]) and not content["activations"].requires_grad
    assert content["layer"] == 4 and content["prompts"] == PROMPTS
    assert set(content["metadata"]) == {"model", "timestamp"} and content["metadata"]["model"] == "a model"
    stamp = datetime.fromisoformat(content["metadata"]["timestamp"])
    assert stamp.utcoffset() == timedelta(0)
    assert abs(datetime.now(timezone.utc) - stamp) < timedelta(minutes=1)
    assert path.stat().st_size < 4000  # the slice, not the tensor it was cut from
    assert os.listdir(path.parent) == ["activations.pt"]


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(activations=torch.randn(3, 2, 5)), r"\(3, 2, 5\).*\[n_samples, d_model\]"),
        (dict(activations=torch.ones(3, 5, dtype=torch.long)), "floating-point"),
        (dict(activations=[[1.0]]), "floating-point"),
        (dict(activations=torch.randn(2, 5)), "3 prompts do not fit 2 rows"),
        (dict(activations=torch.randn(0, 5), prompts=[]), "0 prompts"),
        (dict(prompts="abc"), "list of texts"),
        (dict(prompts=[1, 2, 3]), "list of texts"),
        (dict(layer=-1), "layer is -1"),
        (dict(layer="4"), "layer is '4'"),
        (dict(model_name=None), "model's name"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_file(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path / "activations.pt", **changes)
    assert os.listdir(tmp_path) == []


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = save(tmp_path / "activations.pt")
    old = path.read_bytes()

    def half(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save(path)
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["activations.pt"]


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile",)


def test_nothing_in_the_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"activations": Hostile()}, "activations.pt")
    with pytest.raises(ValueError, match="no activations file"):
        load_activations("activations.pt")
    assert not (tmp_path / "hostile").exists()


def test_damaged_and_foreign_files(tmp_path):
    path = save(tmp_path / "activations.pt")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="no activations file"):
        load_activations(path)
    torch.save({"activations": torch.randn(3, 5)}, path)
    with pytest.raises(ValueError, match=r"layer, metadata, prompts; this one: \['activations'\]"):
        load_activations(path)
    torch.save(torch.randn(3, 5), path)
    with pytest.raises(ValueError, match="this one: Tensor"):
        load_activations(path)
    with pytest.raises(FileNotFoundError):
        load_activations(tmp_path / "nowhere.pt")
