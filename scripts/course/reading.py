"""The bytes of a notebook file, whoever saved it and wherever it has been: its text, and in words what is wrong."""

import json
import re

MAX_NOTEBOOK_BYTES = 200_000_000
# The first bytes of what people save under the name of a notebook, and what to do about it
_OTHER_FILES = {
    b"%pdf": "it is a PDF: hand in the .ipynb file itself",
    b"pk\x03\x04": "it is a zip archive: unpack it, or call it .zip",
    b"<!doctype html": "it is a web page: download the file itself, not the page that shows it",
    b"<html": "it is a web page: download the file itself, not the page that shows it",
    b"version https://git-lfs": "it is a pointer of git-lfs: `git lfs pull` fetches the notebook",
}
_CONFLICT = re.compile(r"^(<{7}|>{7}|\|{7}) ", re.M)  # at the start of a line, where a notebook's JSON has none


def text_of(data: bytes) -> str:
    """A JSON file's text: UTF-8, UTF-16 or UTF-32, with or without a byte order mark. Raises UnicodeDecodeError."""
    return data.decode(json.detect_encoding(data), errors="surrogatepass")


def mended(value):
    """The same JSON value with halves of surrogate pairs replaced: text that holds one can't be written or sent.

    Editors leave such a half where they cut an emoji in two; in the file it stands as an escape, "\\ud83d".
    """
    if isinstance(value, str):
        try:
            value.encode("utf-8")
            return value
        except UnicodeEncodeError:  # two halves in a row that belong together are put together
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {mended(key): mended(item) for key, item in value.items()}
    return [mended(item) for item in value] if isinstance(value, list) else value


def what_is_wrong(data: bytes, error: Exception) -> str:
    """Why these bytes are no notebook, and what to do, in words that follow "is not a valid notebook"."""
    start = data[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data.strip():
        return "(it is empty): save it again."
    for magic, said in _OTHER_FILES.items():
        if start.startswith(magic):
            return f"({said})."
    if isinstance(error, UnicodeDecodeError):
        return f"(its text is not {error.encoding.upper()}): save it as UTF-8 in a text editor."
    text = text_of(data)
    conflict = _CONFLICT.search(text)
    if conflict:
        line = text[: conflict.start()].count("\n") + 1
        return (
            f"(line {line} is the mark of a merge conflict): settle the conflict in a text editor, or take one side "
            "whole with `git checkout --ours FILE` or `--theirs`."
        )
    try:
        json.loads(text)
    except (ValueError, RecursionError) as broken:
        where = (
            f"line {broken.lineno}: {broken.msg}" if isinstance(broken, json.JSONDecodeError) else "nested too deeply"
        )
        return (
            f"({where}): it is cut off or damaged, and JupyterLab can't open it either. An earlier version may lie in "
            "the folder .ipynb_checkpoints beside it."
        )
    reason = str(error).strip().partition("\n")[0][:80] or type(error).__name__
    return f"({reason}): copy the answers into a fresh copy of the lab."
