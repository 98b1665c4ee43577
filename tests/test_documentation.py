"""What the documentation names is there: files, make's targets, commands and their options, names in the code."""

import ast
import re
from pathlib import Path

import pytest

from scripts.interp.base.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md", "checkpoints/README.md")),
    *(ROOT / "docs").glob("*.md"),
]
COMMANDS = sorted(path for path in (ROOT / "scripts").rglob("*.py") if "__main__" in path.read_text(encoding="utf-8"))
# what a run or a person makes, and folders of submissions
MADE = (
    "outputs/", "graded/", "submissions/", "feedback/", ".venv/", "course/", "/path/to/", "/etc/", "release/",
    "source/", "checkpoints/fetched/", "/srv/", "wheels/", "START-HERE.txt", "timestamp.txt",
)  # fmt: skip


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def files_not_there(page: Path, root: Path) -> list[str]:
    """The files that a page of the repository in `root` names or links to, and that are not in it."""
    text = page.read_text(encoding="utf-8")
    paths = [name for name in quoted(text) if re.fullmatch(r"[\w./-]+(/|\.(py|md|json|toml|txt|lock|ipynb|xz))", name)]
    paths = [name for name in paths if not name.startswith(MADE) and "NN" not in name]
    known = {
        path.name
        for folder in ("scripts", "tests", "data", "docs", "checkpoints")
        for path in (root / folder).rglob("*")
    }

    def is_there(name: str) -> bool:
        bare = "/" not in name.rstrip("/")
        return (page.parent / name).exists() or (root / name).exists() or bare and name.rstrip("/") in known

    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    return [name for name in paths if not is_there(name)] + [
        link for link in links if not (page.parent / link).exists()
    ]


def targets_not_there(page: Path, root: Path) -> set[str]:
    """The targets of make that a page names and that the Makefile in `root` has not."""
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M))
    return set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M)) - targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    assert files_not_there(page, ROOT) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_that_a_page_names_are_there(page):
    assert targets_not_there(page, ROOT) == set()


def test_options_of_commands_are_named_as_they_are():
    """In pages, in docstrings and in model cards."""
    cards = list((ROOT / "checkpoints").rglob("README.md"))
    for path in [*PAGES, *cards, *COMMANDS, ROOT / "Makefile"]:
        text = path.read_text(encoding="utf-8")
        for module, arguments in re.findall(r"-m (scripts\.[\w.]+)((?: +[^\s`#)]+)*)", text):
            source = ROOT / (module.replace(".", "/") + ".py")
            assert source.exists(), f"{path.name} names {module}"
            given = source.read_text(encoding="utf-8") + (ROOT / "scripts/interp/base/command_line.py").read_text()
            given += "".join(
                file.read_text(encoding="utf-8") for file in (ROOT / "scripts/interp/saes").glob("recipes.py")
            )
            for option in re.findall(r"--([a-z][\w-]*)", arguments):
                field = option.replace("-", "_")
                assert re.search(rf'"--{option}"|^    {field}: ', given, re.M), f"{path.name}: {module} --{option}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_defaults_are_those_that_a_docstring_says(command):
    source = command.read_text(encoding="utf-8")
    said = dict(re.findall(r"\[--([\w-]+) (\d+)\]", ast.get_docstring(ast.parse(source)) or ""))
    assert not re.search(r"default \d", source), "write %(default)s"
    for option, number in said.items():
        assert re.search(rf'"--{option}"[^)]*default={number}\b', source), f"--{option} {number}"


def test_names_that_contributors_are_sent_to_are_in_the_code():
    code = "".join(
        path.read_text(encoding="utf-8") for folder in ("scripts", "tests") for path in (ROOT / folder).rglob("*.py")
    )
    code += (ROOT / "conftest.py").read_text(encoding="utf-8")
    names = [
        n
        for n in quoted((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
        if re.fullmatch(r"[A-Za-z]+_\w+|[A-Z]{4,}", n)
    ]
    assert len(names) > 10 and [name for name in names if not re.search(rf"\b{name}\b", code)] == []


def test_names_stand_in_the_files_that_a_page_says():
    pattern = r"`(\w+)`\s+(?:in|of)\s+`([\w/]+\.py)`"
    pairs = [pair for page in PAGES for pair in re.findall(pattern, page.read_text(encoding="utf-8"))]
    assert len(pairs) > 5
    for name, file in pairs:
        places = [ROOT / file] if (ROOT / file).exists() else (ROOT / "scripts").rglob(file)
        assert any(re.search(rf"\b{name}\b", place.read_text(encoding="utf-8")) for place in places), (name, file)
