"""What pages, labs and commands tell people to run works in a shell in which nobody has activated `.venv`.

A command is a target of make or begins with `.venv/bin/`: a bare `python` is another Python there, or none.
"""

import json
import re

import pytest

from scripts.interp.base.paths import ROOT
from tests.code_blocks import blocks_of

TOOLS = r"(?:python3?|pip3?|ipython|jupyter|nbgrader|pytest|torchrun|ruff)"
BARE = re.compile(rf"(?<![\w./-])(?<!-m ){TOOLS} +[\w./<…-].*")  # in a line of shell
OURS = re.compile(r"(?<![\w./-])python3?\s+(?:-m\s+)?(?:scripts|tests)[./][\w./]*")  # anywhere
INLINE = re.compile(rf"(?<!`)`((?:\w+=\S+ )*{TOOLS} [^`\n]+)`")  # in backticks

# where another Python than that of `.venv` is meant, or nothing is to be run
RIGHT = {
    "pip config list": "what pip is set to, for whichever Python",
    "pip install -r requirements.txt": "what fails in a container",
    "pip install torch": "quoted from the published guide",
    "pip could not install …": "quoted from a message",
    "jupyter --paths": "the hub's own Jupyter",
    "python -c 'import sys; print(sys.executable)')\"": "conda's own Python",
    "python3 -m scripts.setup_environment": "makes .venv",
    "pip install": "what set-up itself runs",
    "pip download": "what the bundle itself runs",
    "python -m": "what a submission may not run",
}
PAGES = ("*.md", "docs/*.md", "data/*.md", "checkpoints/**/*.md")
SOURCES = ("scripts/**/*.py", "scripts/*.sh", "configs/*.yaml", "experiments/**/*.yaml")


def in_page(text: str) -> list[str]:
    """The commands of a page, in its blocks of shell and its prose, that need an active environment."""
    shell = "".join(block.code for block in blocks_of(text) if block.language == "sh")
    lines = [re.sub(r"(^| )#.*", "", line) for line in shell.splitlines()]
    prose = re.sub(r"(?ms)^ *(`{3,}|~{3,}).*?^ *\1", "", text)
    return [found for line in lines for found in BARE.findall(line)] + in_source(prose)


def in_source(text: str) -> list[str]:
    """The same in docstrings, comments and messages: what stands in backticks, and commands of ours."""
    text = re.sub(r'"\n *f?"', "", text)  # a message that goes on in the next line
    return INLINE.findall(text) + OURS.findall(text)


def in_notebook(text: str) -> list[str]:
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
    return [found for source, kind in cells for found in (in_page if kind == "markdown" else in_source)(source)]


def found_in(pattern: str, commands) -> list[tuple[str, str]]:
    paths = [path for path in sorted(ROOT.glob(pattern)) if "fetched" not in path.parts]
    named = [(path.relative_to(ROOT).as_posix(), commands(path.read_text(encoding="utf-8"))) for path in paths]
    return [(name, command) for name, found in named for command in found]


def test_no_command_needs_an_active_environment():
    found = [each for pattern in PAGES for each in found_in(pattern, in_page)]
    found += found_in("solutions/*.ipynb", in_notebook)
    found += [each for pattern in SOURCES for each in found_in(pattern, in_source)]
    wrong = [f"{name}: {command}" for name, command in found if command not in RIGHT]
    assert not wrong, "write `.venv/bin/python -m …` or a target of make:\n" + "\n".join(wrong)
    assert RIGHT.keys() == {command for _, command in found}, "RIGHT lists what nobody writes any more"


@pytest.mark.parametrize(
    "text, commands",
    [
        ("```sh\npython -m scripts.train_sae\n```", ["python -m scripts.train_sae"]),
        ("```sh\nA=1 pytest tests  # runs\n```", ["pytest tests "]),
        ("```sh\ncd a && jupyter lab\n.venv/bin/jupyter lab\n# python x\n```", ["jupyter lab"]),
        ("```sh\n.venv/bin/python -m pip cache dir\nsudo apt-get install python3-venv make\n```", []),
        ("```text\n%pip install x\n```\nThen `nbgrader list`, `A=1 python -m x`", ["nbgrader list", "A=1 python -m x"]),
        ("`.venv/bin/python -m scripts.doctor`, `make doctor`, `python` and *python scripts/doctor.py*",
         ["python scripts/doctor.py"]),
    ],
)  # fmt: skip
def test_a_command_that_needs_one_is_seen(text, commands):
    assert in_page(text) == commands
