"""docs/api.md is what the docstrings say, and a test fails when the two have drifted apart."""

import inspect
import re

import pytest

from scripts.course.api_page import PAGE, api_page, described
from scripts.interp.base.paths import ROOT


def test_the_page_is_what_the_docstrings_say():
    assert (ROOT / PAGE).read_text(encoding="utf-8") == api_page(), "run `make release`"


def test_every_name_that_labs_import_is_on_the_page():
    from scripts import mech_interp_utils

    listed = re.findall(r"^#### (\w+)$", api_page(), re.M)
    assert set(mech_interp_utils.__all__) <= set(listed) and len(listed) == len(set(listed))


@pytest.fixture
def root(tmp_path):
    """A repository with one room and one module."""
    room = tmp_path / "scripts" / "interp" / "rooms"
    room.mkdir(parents=True)
    (tmp_path / "scripts" / "mech_interp_utils.py").write_text(
        "from scripts.interp.rooms.module import LIMIT, helper as called\n"
    )
    (room / "__init__.py").write_text('"""What is it?"""\n')
    (room / "module.py").write_text('''"""One thing. Source: a paper."""
class Result(NamedTuple):
    """What comes out."""

    effect: Float[Tensor, "n"]  # in logits

    def interval(self) -> float:
        """How sure."""


LIMIT = 3  # in norms


def helper(
    rows: Int[Tensor, "batch pos"], limit: float = 1.0, *, names: Sequence[str] = ("a", "b"), other: int = 0) -> Result:
    """Does it for <b> and $x.

    rows, limit: token ids,
        over two lines
    Returns a result.
    Raises ValueError for others.
    """
''')
    return tmp_path


def test_an_entry_has_signature_arguments_result_and_errors(root):
    page = api_page(root)
    assert "## rooms\n\nWhat is it?\n\n### rooms/module.py\n\nOne thing. Source: a paper.\n" in page
    assert "#### LIMIT\n\n```text\nLIMIT = 3  # in norms\n```\n" in page
    assert (
        "#### called\n\n```text\ncalled(\n    rows: Int[Tensor, 'batch pos'],\n    limit: float = 1.0,\n    *,\n"
        "    names: Sequence[str] = ('a', 'b'),\n    other: int = 0,\n) -> Result\n```\n\n"
        "Does it for \\<b> and \\$x.\n\n- **rows, limit:** token ids, over two lines\n- Returns a result.\n"
        "- Raises ValueError for others.\n"
    ) in page
    assert '#### Result\n\n```text\neffect: Float[Tensor, "n"]  # in logits\n```\n\nWhat comes out.\n' in page
    assert "`Result.interval`(): How sure.\n" in page


def test_an_argument_an_error_and_a_result_are_an_item_each():
    text = """Does it; limit: is prose here.

    Args:
        rows: token ids,
            over two lines; limit: in norms. Returns a result.
        names: of both

    Raises:
        ValueError: none given
        OSError: no file
    """
    assert described(inspect.cleandoc(text), ["rows", "limit", "names"]) == (
        "Does it; limit: is prose here.\n\n- **rows:** token ids, over two lines\n- **limit:** in norms.\n"
        "- Returns a result.\n- **names:** of both\n- Raises ValueError: none given\n- Raises OSError: no file\n"
    )


def test_a_name_without_a_docstring_is_refused(root):
    module = root / "scripts" / "interp" / "rooms" / "module.py"
    module.write_text("def helper():\n    pass\nLIMIT = 1\n")
    with pytest.raises(ValueError, match="helper in module.py has no docstring"):
        api_page(root)
