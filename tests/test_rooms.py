"""The rooms of scripts/interp stand on floors: a room imports only from rooms below it, and none from a command."""

import ast
from pathlib import Path

import pytest

from scripts.interp.base.paths import ROOT

INTERP = ROOT / "scripts" / "interp"
FLOORS = (  # from the ground up; rooms on one floor don't know each other
    {"base"},
    {"text", "models", "runs", "training"},
    {"features", "circuits"},
    {"saes", "planted", "figures"},
    {"selfie", "costs"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported_modules(source: str) -> set[str]:
    """The dotted names that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def wrong_imports(room: str, source: str) -> list[str]:
    """What a file in `room` imports from scripts without being allowed to."""
    wrong = []
    for name in imported_modules(source):
        parts = name.split(".")
        if parts[0] != "scripts":
            continue
        in_a_room = parts[1] == "interp" and parts[2] in FLOOR_OF
        if not in_a_room or parts[2] != room and FLOOR_OF[parts[2]] >= FLOOR_OF[room]:
            wrong.append(name)
    return wrong


def test_every_room_has_a_floor():
    assert {path.parent.name for path in INTERP.glob("*/*.py")} == set(FLOOR_OF)
    assert [path.name for path in INTERP.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", sorted(INTERP.glob("*/*.py")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_go_downwards(path: Path):
    assert wrong_imports(path.parent.name, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from scripts.interp.figures.heads import plot_curves",
        "from scripts.interp.runs import logits",
        "def later():\n    import scripts.train_sae",
        "from scripts.course.checks import expect",
    ],
)
def test_an_import_that_goes_elsewhere_is_seen(source):
    assert wrong_imports("models", source) != []
    assert wrong_imports("models", "from scripts.interp.base.paths import ROOT\nimport torch") == []
