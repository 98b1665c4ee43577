"""What pages show can be run: every block of shell and Python runs, or says what it needs or which test runs it.

Blocks run in a copy of the repository, from its root, as in a shell in which nobody has activated `.venv`; what they
leave behind there, but for files in outputs/, is named. `tests/code_blocks.py` has the rules.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.interp.base.paths import ROOT
from scripts.interp.models.embedded import embedded_model_folder
from tests.code_blocks import Block, blocks_of, complaint, run_page

PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data/README.md"]
    + [*(ROOT / "docs").glob("*.md"), *(ROOT / "checkpoints").rglob("README.md")]
)
BLOCKS = [
    pytest.param(page, block, id=f"{page.relative_to(ROOT)}:{block.line}")
    for page in PAGES
    for block in blocks_of(page.read_text(encoding="utf-8"))
]
RUN = [page for page in PAGES if any(block.is_run for block in blocks_of(page.read_text(encoding="utf-8")))]


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Sizes and dates of all files but those in outputs/ and compiled modules."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", ".venv"} & set(path.parts)
        if path.relative_to(folder).parts[0] != "outputs"
    }


def copy_of_the_repository(folder: Path) -> None:
    """What git tracks, or would: nothing that was set up, fetched or written by a run."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def as_nobody_active(folder: Path) -> str:
    """Put this Python where pages expect it, in `folder`/.venv/bin; returns a PATH without its tools."""
    ours = folder / ".venv" / "bin"
    shadows = folder / ".venv" / "none"
    for path in (ours / "python", *(shadows / tool for tool in ("python", "pip", "jupyter", "nbgrader", "pytest"))):
        path.parent.mkdir(parents=True, exist_ok=True)
        calls = (
            f'exec "{sys.executable}" "$@"' if path.parent == ours else f"echo {path.name}: not active >&2; exit 127"
        )
        path.write_text(f"#!/bin/sh\n{calls}\n")
        path.chmod(0o755)
    others = [each for each in os.environ["PATH"].split(os.pathsep) if Path(each) != Path(sys.executable).parent]
    return os.pathsep.join([str(shadows), *others])


def run_blocks(folder: Path, pages: list[str]) -> dict[str, list[dict]]:
    """Run the blocks of pages in one process, from `folder`; returns what became of each, by page."""
    environment = {name: value for name, value in os.environ.items() if name not in ("LAB_OUTPUTS", "LAB_MODEL")}
    environment |= {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAB_MODELS": str(embedded_model_folder().parent),
        "PATH": as_nobody_active(folder),
        "PYTHON3": "",  # make stops at once: set-up would begin with downloads
    }
    command = [sys.executable, "-m", "tests.code_blocks", *pages]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    results = {page: [] for page in pages}
    for line in found.stdout.splitlines():
        result = json.loads(line)
        results[result["page"]].append(result)
    return results


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What became of every block that is run, and what they left behind."""
    folder = tmp_path_factory.mktemp("pages") / "labs"
    copy_of_the_repository(folder)
    before = files_in(folder)
    results = run_blocks(folder, [str(page.relative_to(ROOT)) for page in RUN])
    left = {name for name, state in files_in(folder).items() if before.get(name) != state} | before.keys() - files_in(
        folder
    ).keys()
    return results, left


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_runs(page, ran):
    results = ran[0][str(page.relative_to(ROOT))]
    failures = "\n".join(f"line {result['line']}: {result['failed']}" for result in results if result["failed"])
    assert not failures, (
        f"{failures}\n(CONTRIBUTING.md, 'A page', says how a block is marked that can't run everywhere)"
    )
    expected = [block.line for block in blocks_of(page.read_text(encoding="utf-8")) if block.is_run]
    assert [result["line"] for result in results] == expected


def test_what_pages_show_leaves_nothing_behind_but_outputs(ran):
    assert ran[1] == set()


@pytest.mark.parametrize("page, block", BLOCKS)
def test_a_block_is_well_formed_and_marked(page, block):
    assert not complaint(block), f"{page.relative_to(ROOT)}, line {block.line}: this block {complaint(block)}"
    if block.tested_by:
        assert not untested(block, ROOT), f"{page.relative_to(ROOT)}, line {block.line}: {untested(block, ROOT)}"


def untested(block: Block, root: Path) -> str:
    """Which command of a block its test file does not name; "" if it names all."""
    file = root / block.tested_by
    if not re.fullmatch(r"tests/test_\w+\.py", block.tested_by) or not file.exists():
        return f"there is no test file {block.tested_by}"
    names = names_of_commands(block, (root / "Makefile").read_text(encoding="utf-8"))
    if not names:
        return "it holds no target of make, command of ours or import of ours that a test could run"
    text = file.read_text(encoding="utf-8")
    missing = [shown for shown, wanted in names.items() if not any(re.search(rf"\b{w}\b", text) for w in wanted)]
    return f"{block.tested_by} does not name {', '.join(missing)}" if missing else ""


def names_of_commands(block: Block, makefile: str) -> dict[str, list[str]]:
    """For each command in a block, the names by which a test may call it: a target's own, or that of its module."""
    if block.language == "python":
        imports = [node for node in ast.walk(ast.parse(block.code)) if isinstance(node, ast.ImportFrom)]
        ours = [node for node in imports if (node.module or "").startswith("scripts")]
        return {alias.name: [alias.name] for node in ours for alias in node.names}
    module = re.compile(r"scripts[./]([\w./]+)")
    called = {name: [last_part(name)] for name in module.findall(block.code)}
    for target in re.findall(r"\bmake +(?:\w+=\S+ +)*([a-z][a-z-]*)", block.code):
        recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.M)
        modules = module.findall(recipe[1]) if recipe else []
        called[f"make {target}"] = [f"make {target}", *map(last_part, modules)]
    return called


def last_part(module: str) -> str:
    """`grade` of "course.grade", "course/grade.py"."""
    return re.split(r"[./]", re.sub(r"\.(py|sh)$", "", module))[-1]


PAGE = """# A page
<!-- needs: a GPU -->
```python
no_such_gpu()
```
1. A list
   ```sh
   echo hello > outputs/hello.txt
   ```
```python
here = open("outputs/hello.txt").read()
```
```python
assert here == "hello\\n"; import scripts
```
<!-- tested by: tests/test_grade.py -->
```sh
make grade SUBMISSIONS=dir OUT=dir
```
~~~text
```sh
~~~
"""


def run_one(folder, text):
    (folder / "tests").mkdir()
    (folder / "outputs").mkdir()
    shutil.copy(ROOT / "tests/code_blocks.py", folder / "tests")
    (folder / "page.md").write_text(text)
    (folder / "scripts.py").touch()
    return run_blocks(folder, ["page.md"])["page.md"]


def test_blocks_run_in_order_and_python_in_one_process(tmp_path):
    languages = [(block.language, block.is_run) for block in blocks_of(PAGE)]
    assert languages == [
        ("python", False), ("sh", True), ("python", True), ("python", True), ("sh", False), ("text", False),
    ]  # fmt: skip
    assert [result["failed"] for result in run_one(tmp_path, PAGE)] == ["", "", ""]
    assert files_in(tmp_path).keys() == {"page.md", "scripts.py", "tests/code_blocks.py"}


@pytest.mark.parametrize(
    "old, new, line, said",
    [
        ("<!-- needs: a GPU -->", "", 3, "NameError"),
        ("echo hello", "false\n   echo hello", 7, "exit status 1"),
        ('here == "hello', 'here == "bye', 13, "AssertionError"),
        ("<!-- tested by: tests/test_grade.py -->", "", 17, "Set-up stopped|No rule|no makefile"),
        ("echo hello", "python -c 1\n   echo hello", 7, "python: not active"),
        ("echo hello", ".venv/bin/python -c 1\n   .venv/bin/nbgrader", 7, "nbgrader: not found"),
    ],
)
def test_a_block_that_does_not_run_is_seen(tmp_path, old, new, line, said):
    last = run_one(tmp_path, PAGE.replace(old, new))[-1]
    assert re.search(said, last["failed"]) and last["line"] - line in (0, new.count("\n"))


def test_what_a_page_says_is_printed_is_what_is_printed(tmp_path):
    (tmp_path / "page.md").write_text(
        """```python\nprint("FVU", 0.117)\n```\n<!-- prints -->\n```text\nFVU 0.118\n```\n"""
    )
    (rounding,) = run_page(tmp_path / "page.md")
    assert rounding["failed"] == "" and rounding["line"] == 1
    for old, new in (("0.118", "0.127"), ("FVU 0", "L0 0"), ("0.118", "0.118, 1")):
        (tmp_path / "other.md").write_text(
            re.sub(r"(?s)(```text\n.*)" + re.escape(old), lambda m: m[1] + new, (tmp_path / "page.md").read_text())
        )
        (wrong,) = run_page(tmp_path / "other.md")
        assert "and it prints\nFVU 0.117" in wrong["failed"], new


@pytest.mark.parametrize(
    "text, said",
    [
        ("```\nx\n```", "has no language"),
        ("```bash\nls\n```", "is called bash"),
        ("<!-- needs: Docker -->\n```sh\nif true; do\n```", "is no shell script"),
        ("<!-- needs: a GPU -->\n```python\nx = (\n```", "is no Python"),
        ('```json\n{"a": }\n```', "is no JSON"),
    ],
)
def test_a_malformed_block_is_named(text, said):
    assert said in complaint(blocks_of(text)[0])


def test_a_mark_that_leads_nowhere_is_named():
    def said(mark, code, language="sh"):
        return untested(blocks_of(f"<!-- tested by: {mark} -->\n```{language}\n{code}\n```")[0], ROOT)

    assert said("tests/test_grade.py", "make grade SUBMISSIONS=dir OUT=dir") == ""
    assert said("tests/test_setup.py", "python -m scripts.start_jupyterlab") == ""
    assert "no test file" in said("tests/test_no_such.py", "make grade")
    both = "make grade\npython -m scripts.train_sae HOOK"
    assert said("tests/test_grade.py", both) == "tests/test_grade.py does not name train_sae"
    assert said("tests/test_figures.py", "make student DEST=x").endswith("does not name make student")
    assert "holds no target" in said("tests/test_setup.py", "ls")
    assert said("tests/test_figures.py", "from scripts.interp.figures.pages import save_figure", "python") == ""
    with pytest.raises(ValueError, match="line 2.*no end"):
        blocks_of("\n```sh\nls\n")
