"""Notebooks as they arrive: in any encoding, with broken characters, damaged, or something else altogether."""

import json

import nbformat
import pytest

from scripts.course.cells import UnreadableNotebook, read_notebook
from scripts.course.judging import clean
from scripts.course.reading import mended

ONE = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
TEXT = json.dumps(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("# Zoë 雷\nx = 1")]), ensure_ascii=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_any_encoding_of_unicode_is_read(tmp_path, encoding):
    path = tmp_path / "x.ipynb"
    path.write_bytes(TEXT.encode(encoding))
    assert read_notebook(path).cells[0].source == "# Zoë 雷\nx = 1"


def test_half_an_emoji_costs_nothing(tmp_path):
    """A lone surrogate is read as the replacement character, wherever it stands, and can be written again."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("# \ud83d half\nx = '\\ud83d'")])
    notebook.metadata["\udc00"] = ["\ud83d", "\ud83d\ude00"]
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text="\ude00")]
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(notebook))
    read = read_notebook(path)
    assert read.cells[0].source == "# \ufffd half\nx = '\\ud83d'"  # an escape in the code is no broken character
    assert read.metadata["\ufffd"] == ["\ufffd", "😀"] and read.cells[0].outputs[0].text == "\ufffd"
    nbformat.writes(read).encode("utf-8")
    path.write_bytes(TEXT.replace("雷", "\ud83d").encode("utf-8", "surrogatepass"))
    assert read_notebook(path).cells[0].source == "# Zoë \ufffd\nx = 1"


def test_what_is_well_formed_stays_as_it_is():
    value = {"a": ["😀", 1, None, {"ü": 2.5}], "b": True}
    assert mended(value) == value


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"%PDF-1.4", "it is a PDF"),
        (b"PK\x03\x04", "zip archive"),
        (b"\n<!DOCTYPE html><p>Sign in", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ('{"a": "ä"}'.encode("latin-1"), "its text is not UTF-8.*save it as UTF-8"),
        (TEXT[:60].encode(), "line 1: .*cut off or damaged, and JupyterLab can't open it either.*checkpoints"),
        (TEXT.encode("utf-16")[:61], "its text is not UTF-16"),
        (b"[" * 100_000, "nested too deeply"),
        (
            b'{\n "cells": [\n<<<<<<< HEAD\n  1\n=======\n  2\n>>>>>>> theirs\n]}',
            r"line 3 is .* conflict.*git checkout --ours",
        ),
        (json.dumps({**ONE, "cells": {"a": 1}}).encode(), "fresh copy of the lab"),
        (json.dumps({**ONE, "cells": [{"cell_type": "odd", "source": "", "metadata": {}}]}).encode(), "fresh copy"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(tmp_path, data, said):
    (tmp_path / "x.ipynb").write_bytes(data)
    with pytest.raises(UnreadableNotebook, match=f"(?s)^x.ipynb is not a valid notebook .*{said}"):
        read_notebook(tmp_path / "x.ipynb")


@pytest.mark.parametrize("character", ["\x0c", "\u2028", "\r", "\x0b"])
def test_an_odd_character_in_a_comment_costs_no_other_cell(character):
    source = f"def f(x):\n    return x\n# one {character} two"  # IPython's tokenizer takes what follows for a line
    assert clean.plain_python(source).startswith("def f(x):")
