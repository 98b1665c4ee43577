"""CITATION.cff says of the project what pyproject.toml and LICENSE say, and invents nothing."""

import re

import yaml

from scripts.interp.base.paths import ROOT

REQUIRED = {"authors", "cff-version", "message", "title"}  # by the schema of the Citation File Format 1.2.0
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_version_and_licence_are_the_projects():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert str(CITATION["version"]) == re.search(r'^version = "(.+)"', project, re.M)[1]
    assert CITATION["license"] == re.search(r'^license = "(.+)"', project, re.M)[1] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_it_has_what_the_format_requires_and_names_no_address_that_does_not_exist():
    assert REQUIRED <= CITATION.keys() and CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert all(author.keys() == {"name"} for author in CITATION["authors"])  # the project, as an entity
    assert not {"doi", "url", "repository-code", "identifiers", "date-released"} & CITATION.keys()
