"""Every artefact that ships lies beside the recipe that its command makes it again from, and both say the same."""

import json
from dataclasses import asdict

import pytest

from scripts import train_adapter, train_toy_models
from scripts.interp.base.command_line import RECIPE_FILE, command_parser, recipe_text
from scripts.interp.features.contexts import CONTEXTS_FILE
from scripts.interp.models.lora import ROLEPLAY_FOLDER
from scripts.interp.models.toys import TOKENIZER_FOLDER, TOY_FOLDER, TOYS
from scripts.interp.saes.load import SAE_FOLDER, sweep_file
from scripts.interp.saes.recipes import Options, Settings

SAES = sorted(path.name for path in SAE_FOLDER.iterdir() if path.is_dir())


def parsed(path, **groups):
    """What a command makes of `--recipe path`."""
    arguments = ["--recipe", str(path)]
    return command_parser("scripts.make", "", groups, arguments).parse_args(arguments)


@pytest.mark.parametrize("name", SAES)
def test_an_sae_has_the_recipe_of_its_metrics(name):
    folder = SAE_FOLDER / name
    metrics, made = (
        json.loads((folder / "metrics.json").read_text()),
        parsed(folder, settings=Settings, options=Options),
    )
    assert made.settings == Settings(**metrics["settings"]) and made.options.threads == metrics["threads"]
    assert (made.options.folder or f"{made.settings.model}-{made.settings.hook_name}") == name
    assert made.options.no_contexts != (folder / CONTEXTS_FILE).exists() and not made.options.sweep
    assert (folder / RECIPE_FILE).read_text() == recipe_text(asdict(made.settings), made.options)


def test_the_sweep_has_its_recipe():
    made = parsed(SAE_FOLDER / f"smollm2-135m-sweep-{RECIPE_FILE}", settings=Settings, options=Options)
    results = json.loads(sweep_file("smollm2-135m").read_text())
    assert [f"blocks.{layer}.hook_resid_post" for layer in made.options.sweep] == [
        result["settings"]["hook_name"] for result in results
    ]
    for result in results:
        assert made.settings == Settings(**{**result["settings"], "hook_name": ""})
        assert made.options.threads == result["threads"]


@pytest.mark.parametrize("name", list(TOYS))
def test_a_toy_has_the_recipe_of_its_record(name):
    record = json.loads((TOY_FOLDER / name / "record.json").read_text())
    recipe = train_toy_models.RECIPES[name]._asdict()
    assert recipe | record["settings"] == record["settings"] | recipe  # an earlier record does not have them all
    assert (TOY_FOLDER / name / RECIPE_FILE).read_text() == train_toy_models.recipe_of(
        record | {"settings": recipe | record["settings"]}
    )


def test_the_tokenizer_has_its_recipe():
    options = parsed(TOKENIZER_FOLDER, options=train_toy_models.Options).options
    assert options == train_toy_models.Options(tokenizer=True)


def test_the_adapter_has_the_recipe_of_its_record():
    record = json.loads((ROLEPLAY_FOLDER / "record.json").read_text())
    made = parsed(ROLEPLAY_FOLDER, settings=train_adapter.Settings, options=train_adapter.Options)
    assert asdict(made.settings) == record["settings"] and made.options.threads == record["threads"]


def test_a_toy_is_made_as_its_recipe_says(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(train_toy_models, "save", lambda *arguments: None)
    monkeypatch.setattr(train_toy_models, "train", lambda *arguments: made.append(arguments) or (None, {}))
    monkeypatch.setenv("LAB_OUTPUTS", str(tmp_path))
    recipe = json.loads((TOY_FOLDER / "toy-mlp-1l" / RECIPE_FILE).read_text())
    recipe["settings"]["steps"], recipe["options"]["seed"] = 7, 3
    (tmp_path / RECIPE_FILE).write_text(json.dumps(recipe))
    assert train_toy_models.main(["--recipe", str(tmp_path)]) == 0
    ((name, _, seed, _, how),) = made
    assert (name, seed, how) == ("toy-mlp-1l", 3, train_toy_models.RECIPES["toy-mlp-1l"]._replace(steps=7))
