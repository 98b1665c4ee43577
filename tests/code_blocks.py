"""The code that pages show: which blocks there are, how they are marked, and how to run them (`python -m`, below).

A block is fenced and has a language. `sh` and `python` are run, unless the line before the fence says why not:

    <!-- needs: a GPU -->                        what a machine of ours need not have; the reason is free text
    <!-- tested by: tests/test_grade.py -->      a test file that runs these commands

A `text` block with `<!-- prints -->` before it holds what the block of Python before it prints.
"""

import ast
import contextlib
import io
import json
import re
import subprocess
import sys
import textwrap
import time
import traceback
from pathlib import Path
from typing import NamedTuple

RUN = ("sh", "python")
SHOWN = ("text", "json", "yaml", "toml", "ini", "csv", "html", "markdown", "bibtex", "dockerfile", "powershell")
FENCE = re.compile(r"^( *)(`{3,}|~{3,}) *(\S*)(.*)$")
MARK = re.compile(r"^ *<!-- *(needs|tested by) *: *(.*?) *-->$")
PRINTS = re.compile(r"^ *<!-- *prints *-->$")
SECONDS = 60  # for one block of shell


class Block(NamedTuple):
    line: int  # of the opening fence, from 1
    language: str  # "" where none is given
    code: str
    needs: str = ""  # what it needs, if it is marked so
    tested_by: str = ""  # the test file, if it is marked so
    is_printed: bool = False  # by the block before it

    @property
    def is_run(self) -> bool:
        return self.language in RUN and not self.needs and not self.tested_by


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page, in order. Raises ValueError where a fence has no end."""
    found, lines, at = [], text.splitlines(), 0
    while at < len(lines):
        opening = FENCE.match(lines[at])
        if not opening:
            at += 1
            continue
        _, fence, language, _ = opening.groups()
        ends = (
            end for end in range(at + 1, len(lines)) if re.fullmatch(rf" *{fence[0]}{{{len(fence)},}} *", lines[end])
        )
        end = next(ends, None)
        if end is None:
            raise ValueError(f"line {at + 1}: this block has no end; close it with {fence}")
        mark = MARK.match(lines[at - 1]) if at else None
        reason = {mark[1].replace(" ", "_"): mark[2]} if mark else {}
        reason["is_printed"] = bool(at and PRINTS.match(lines[at - 1]))
        found.append(Block(at + 1, language, textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n", **reason))
        at = end + 1
    return found


def complaint(block: Block) -> str:
    """What is wrong with a block before anything runs, with what to do; "" if nothing is."""
    if not block.language:
        return "has no language: ```sh, ```python, ```text …"
    if block.language not in RUN + SHOWN:
        return f"is called {block.language}; write sh, python (both are run) or one of {', '.join(SHOWN)}"
    if block.language == "python":
        try:
            ast.parse(block.code)
        except SyntaxError as error:
            return f"is no Python: {error}"
    if block.language == "json":
        try:
            json.loads(block.code)
        except ValueError as error:
            return f"is no JSON: {error}"
    if block.language == "sh":
        found = subprocess.run(["sh", "-n", "-c", block.code], capture_output=True, text=True)
        if found.returncode:
            return f"is no shell script: {found.stderr.strip()}"
    return ""


def run_page(page: Path):
    """Run a page's blocks in order, its Python in one namespace. Yields one dictionary a block; stops at a failure."""
    names = {"__name__": "__main__"}
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    for block, after in zip(blocks, [*blocks[1:], None]):
        if not block.is_run:
            continue
        started = time.perf_counter()
        printed = after.code if after and after.is_printed else None
        if block.language == "sh":
            said = run_shell(block.code)
        else:
            said = run_python(block.code, names, page, block.line, printed)
        yield {"line": block.line, "failed": said, "seconds": round(time.perf_counter() - started, 1)}
        if said:
            return


def run_shell(code: str) -> str:
    """What a block said that failed, or ""."""
    try:
        found = subprocess.run(
            ["sh", "-e", "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"took more than {SECONDS} s; what takes long is marked, <!-- needs: … -->"
    return f"exit status {found.returncode}:\n{found.stdout}{found.stderr}" if found.returncode else ""


def run_python(code: str, names: dict, page: Path, line: int, printed: str | None = None) -> str:
    """What went wrong, or "". Lines in tracebacks are the page's. printed: what the page says that it prints"""
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile("\n" * line + code, str(page), "exec"), names)
    except BaseException:  # SystemExit too
        return traceback.format_exc()
    if printed is not None:
        from tests.rounding import same_but_for_rounding

        if not same_but_for_rounding(said.getvalue(), printed):
            return f"the page says that it prints\n{printed}and it prints\n{said.getvalue()}"
    return ""


if (
    __name__ == "__main__"
):  # .venv/bin/python -m tests.code_blocks PAGE…: one process for all, since imports take longest
    for name in sys.argv[1:]:
        for result in run_page(Path(name)):
            print(json.dumps({"page": name, **result}), flush=True)
