"""checkpoints/README.md: every folder that ships has its card and its row, and the commands in it exist."""

import re
import subprocess

import pytest

from scripts import list_checkpoints
from scripts.interp.base.paths import ROOT
from scripts.list_checkpoints import FOLDER, folders, row, with_table

PAGE = FOLDER / "README.md"


def test_the_table_is_that_of_the_folders():
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "out of date: .venv/bin/python -m scripts.list_checkpoints"


def test_every_folder_that_git_tracks_has_a_row():
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files", "checkpoints"], capture_output=True, text=True).stdout
    holders = {line.rpartition("/")[0] for line in tracked.split()} - {"checkpoints", "checkpoints/saes"}
    assert holders == {folder.relative_to(ROOT).as_posix() for folder in folders()}


def test_the_commands_are_there_and_the_recipes_too():
    for folder in folders():
        module = row(folder)["made by `.venv/bin/python -m …`"].strip("`").split()[0]
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), folder
        assert (folder / "recipe.json").exists() or "configs/" in (folder / "README.md").read_text(), folder
        assert re.search(r"\d", row(folder)["took"]) or folder.name == "toy-tokenizer", folder


def test_a_card_that_lacks_something_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(list_checkpoints, "FOLDER", tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text(
        "# mine\n\nSomething. `.venv/bin/python -m scripts.train_sae` made it.\n"
    )
    with pytest.raises(ValueError, match="The card of mine lacks .*Licence"):
        row(tmp_path / "mine")
    with pytest.raises(ValueError, match="has no place for the table"):
        with_table("# Weights\n")
