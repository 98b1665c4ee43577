"""The command that trains adapters: its configuration, and a whole run of a tiny model."""

import json
import os

import pytest
import torch

from scripts import judge_selfie, score_feature_labels, train_selfie
from scripts.interp.base.paths import ROOT
from scripts.interp.selfie.adapters import load_adapter
from scripts.interp.selfie.settings import checked, read_settings
from scripts.interp.selfie.training_data import write_training_data
from tests.fixtures.processes import in_processes
from tests.tiny_models import CONFIGS, tiny_model


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_configurations_of_the_repository_are_read(path):
    settings = read_settings(path)
    assert settings["soft_prompt"]["template"].count(settings["soft_prompt"]["reserved_token"]) == 2
    assert settings["soft_prompt"]["template"].endswith('is "')


def test_published_values_are_those_of_the_configuration_for_llama():
    training = read_settings(ROOT / "configs" / "scalar_affine_8b_goodfire.yaml")["training"]
    published = {"learning_rate": 0.01, "optimizer_type": "adamw", "weight_decay": 0.01, "num_epochs": 2,
                 "gradient_clip_norm": 0.5, "scheduler_type": "cosine", "warmup_steps": 10,
                 "validation_every_n_steps": 50, "val_fraction": 0.1}  # fmt: skip
    assert {name: training[name] for name in published} == published


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"modle": {}}, "section 'modle', which is unknown: give some of model"),
        ({"training": {"learning_rat": 1.0}}, "sets training.learning_rat, which is unknown"),
        ({"training": {"learning_rate": "1e-3"}}, "YAML reads 1e-3 as text"),
        ({"training": {"num_epochs": 1.5}}, "a whole number"),
        ({"data": {"shuffle": "yes"}}, "give true or false"),
        ({"training": 3}, "give settings in lines of their own"),
        ({"projection": {"type": "affine"}}, "'identity', or 'scale_only'"),
        ({"projection": {"type": "low_rank_only"}}, "low_rank_rank is not given"),
        ({"model": {"load_in_8bit": True}}, "weights in 8 bits are not supported"),
        ({"logging": {"use_mlflow": True}}, "MLflow is not supported"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(given, says):
    with pytest.raises(ValueError, match="(?s)mine.yaml.*") as error:
        checked(given, "mine.yaml")
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def config(tmp_path):
    """A configuration for a tiny model and twelve labelled vectors; both are in the test's folder."""
    tiny_model(CONFIGS["llama"](), tmp_path / "model")
    torch.manual_seed(0)
    labels = {i: [f"{'hello' if i % 2 else 'world'} {i}", f"of {i}"] for i in range(12)}
    splits = {i: "val" if i > 8 else "train" for i in labels}
    write_training_data(tmp_path, "mine", torch.randn(12, 32), labels, splits, {"layer": 1})
    (tmp_path / "run.yaml").write_text(f"""
model: {{name: {tmp_path / "model"}, device_map: cpu}}
data: {{labels_file: {tmp_path / "mine_labels.json"}, batch_size: 6}}
projection: {{type: scalar_affine, init_scale: 2.0}}
soft_prompt: {{template: 'What is "@"? It is "', reserved_token: "@"}}
training: {{num_epochs: 2, warmup_steps: 1, validation_every_n_steps: 2, checkpoint_dir: {tmp_path / "out"}}}
logging: {{log_sample_generations: 1}}
""")
    return tmp_path / "run.yaml"


def test_a_run_leaves_adapters_a_record_and_goes_on_where_it_was(config, capsys):
    assert train_selfie.main(["--config", str(config), "--threads", "1"]) == 0
    folder = config.parent / "out" / "run"
    assert "Lowest validation loss" in capsys.readouterr().out
    record = json.loads((folder / "record.json").read_text())
    assert record["steps"] == 6 and record["n_parameters"] == 33 and record["curve"][-1]["samples"]
    adapter, saved = load_adapter(folder / "best.safetensors")
    assert adapter.kind == "scalar_affine" and saved.best_val_loss == record["best"]["val_loss"]
    assert train_selfie.main(["--config", str(config), "--threads", "1"]) == 0  # nothing is left to do
    assert json.loads((folder / "record.json").read_text())["curve"] == record["curve"]
    capsys.readouterr()
    for adapter in ([], ["--adapter", str(folder / "best.safetensors")]):
        assert train_selfie.main(["--config", str(config), "--eval-only", "--threads", "1", *adapter]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["val_loss"] == pytest.approx(saved.best_val_loss, abs=1e-5) and found["n_val"] == 3


def test_two_processes_train_what_one_trains_and_write_it_once(config, tmp_path, monkeypatch, capfd):
    """With two vectors in a batch, or one, for which the second process has nothing to do."""
    config.write_text(
        config.read_text().replace("batch_size: 6", "batch_size: 4").replace(str(tmp_path / "out"), "out")
    )

    def part(rank):
        (tmp_path / f"of-{rank}").mkdir()
        os.chdir(tmp_path / f"of-{rank}")
        return train_selfie.main(["--config", str(config), "--threads", "1"])

    monkeypatch.chdir(tmp_path)
    assert train_selfie.main(["--config", str(config), "--threads", "1"]) == 0
    capfd.readouterr()
    assert in_processes(part, 2, tmp_path) == ([0, 0], ["", ""])
    assert capfd.readouterr().out.count("Lowest validation loss") == 1 and not list((tmp_path / "of-1").iterdir())
    one, two = tmp_path / "out" / "run", tmp_path / "of-0" / "out" / "run"
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    curves = [json.loads((folder / "record.json").read_text())["curve"] for folder in (one, two)]
    assert len(curves[0]) == len(curves[1]) > 3
    for row, other in zip(*curves):
        assert row.keys() == other.keys() and row.get("samples") == other.get("samples")
        assert [v for v in other.values() if isinstance(v, float)] == pytest.approx(
            [v for v in row.values() if isinstance(v, float)], rel=1e-5
        )
    for name in ("best", "final"):
        (mine, _), (theirs, _) = (load_adapter(folder / f"{name}.safetensors") for folder in (one, two))
        torch.testing.assert_close(dict(theirs.named_parameters()), dict(mine.named_parameters()), atol=1e-5, rtol=1e-5)


def test_without_held_out_vectors_the_last_adapter_is_the_best(config, capsys):
    labels, splits = {0: ["hello"], 1: ["world"]}, {0: "train", 1: "train"}
    write_training_data(config.parent, "all", torch.randn(2, 32), labels, splits, {"layer": 1})
    config.write_text(config.read_text().replace("mine_labels", "all_labels"))
    assert train_selfie.main(["--config", str(config), "--threads", "1"]) == 0
    assert "Nothing was held out" in capsys.readouterr().out
    folder = config.parent / "out" / "run"
    assert json.loads((folder / "record.json").read_text())["best"]["val_loss"] is None
    best, last = (load_adapter(folder / f"{name}.safetensors")[0] for name in ("best", "final"))
    assert torch.equal(best.bias, last.bias) and best.bias.any()


@pytest.mark.parametrize(
    "command",
    [
        lambda config: train_selfie.main(["--config", str(config)]),
        lambda config: judge_selfie.main([]),
        lambda config: score_feature_labels.main(["--check"]),
    ],
    ids=["train", "judge", "score"],
)
def test_a_model_that_is_not_there_is_one_sentence(config, command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAB_MODELS", str(tmp_path / "none"))
    monkeypatch.setenv("LAB_OUTPUTS", str(tmp_path / "outputs"))
    config.write_text(config.read_text().replace(f"name: {tmp_path / 'model'}", "name: smollm2-135m"))
    assert command(config) == 1
    assert "run `make model`" in capsys.readouterr().err.splitlines()[-1]


def test_gradient_checkpointing_gives_the_same_adapter(config):
    train_selfie.main(["--config", str(config), "--threads", "1"])
    other = config.with_name("other.yaml")
    other.write_text(
        config.read_text().replace("device_map: cpu", "device_map: cpu, enable_gradient_checkpointing: true")
    )
    assert train_selfie.main(["--config", str(other), "--threads", "1"]) == 0
    one, two = (load_adapter(config.parent / "out" / name / "final.safetensors")[0] for name in ("run", "other"))
    torch.testing.assert_close(one.bias, two.bias, atol=1e-5, rtol=1e-4)


def test_what_can_not_be_trained_is_one_sentence(config, capsys):
    wide = config.with_name("wide.yaml")
    write_training_data(config.parent, "wide", torch.randn(3, 8), {0: ["a"]}, {0: "train"}, {"layer": 1})
    wide.write_text(config.read_text().replace("mine_labels", "wide_labels"))
    nowhere = config.with_name("nowhere.yaml")
    nowhere.write_text(config.read_text().replace(str(config.parent / "model"), "no-such-model"))
    for path, says in (
        (wide, "8 dimensions"),
        (nowhere, "There is no model 'no-such-model'"),
        ("none.yaml", "none.yaml"),
    ):
        assert train_selfie.main(["--config", str(path), "--threads", "1"]) == 1
        said = capsys.readouterr().err.strip().splitlines()
        assert says in said[-1], said
