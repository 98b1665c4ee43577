"""Every measurement in docs/errata.md: its blocks run, in their order, and print what the page says."""

import contextlib
import io
import re

import pytest

from scripts import mech_interp_utils
from scripts.interp.base.paths import ROOT

PAGE = ROOT / "docs" / "errata.md"
MARK = "<!-- tested by: tests/test_errata.py -->"
BLOCK = re.compile(rf"^{re.escape(MARK)}\n```python\n(.*?)^```\n\n```text\n(.*?)^```\n", re.M | re.S)


def entries(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The headings of a page, each with its blocks: what is run, and what it prints."""
    return [(part.split("\n", 1)[0], BLOCK.findall(part)) for part in text.split("\n## ")[1:]]


def printed_by(entries: list, given: dict) -> list[list[str]]:
    """What the blocks of each entry print, all run in one namespace, which they add to."""
    found = []
    for _, blocks in entries:
        found.append([])
        for source, _ in blocks:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(source, str(PAGE), "exec"), given)
            found[-1].append(out.getvalue())
    return found


@pytest.fixture(scope="module")
def printed(model, trained_toy):
    """What the page's blocks print; models that other tests share are not loaded again."""
    shared = {None: model, "toy-attn-2l": trained_toy}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mech_interp_utils, "load_model", lambda name=None: shared[name])
        patch.chdir(ROOT)
        return printed_by(ENTRIES, {"__name__": "errata"})


ENTRIES = entries(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", range(len(ENTRIES)), ids=[title for title, _ in ENTRIES])
def test_an_entry_prints_what_the_page_says(number, printed):
    assert printed[number] == [said for _, said in ENTRIES[number][1]]


def test_every_block_is_run_and_every_entry_says_what_it_means():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(MARK) == text.count("```python") == sum(len(blocks) for _, blocks in ENTRIES)
    for title, part in zip((title for title, _ in ENTRIES), text.split("\n## ")[1:], strict=True):
        for word in ("**Published.**", "**So it is.**", "**For you.**"):
            assert part.count(word) == 1, (title, word)
