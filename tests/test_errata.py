"""docs/errata.md: every entry says what was published, what is so and what follows; each measurement shows its outcome.

The blocks themselves are run, and what they print is compared, in `tests/test_documentation_runs.py`.
"""

from scripts.interp.base.paths import ROOT
from tests.code_blocks import blocks_of


def test_every_measurement_shows_what_it_prints_and_every_entry_says_what_it_means():
    text = (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")
    blocks = blocks_of(text)
    measured = [(block, after) for block, after in zip(blocks, blocks[1:]) if block.language == "python"]
    assert len(measured) > 5 and all(block.is_run and after.is_printed for block, after in measured)
    for part in text.split("\n## ")[1:]:
        for word in ("**Published.**", "**So it is.**", "**For you.**"):
            assert part.count(word) == 1, (part.partition("\n")[0], word)
