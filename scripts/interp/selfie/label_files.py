"""Labels of an SAE's features out of files: JSON lines as Neuronpedia exports them, or one JSON document."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from scripts.interp.selfie.splits import TRAIN, VAL

GZIP = b"\x1f\x8b"  # how a gzip file begins, whatever its name


class Labels(NamedTuple):
    """What a file says about features."""

    labels: dict[int, list[str]]  # of each feature, different ones, without spaces around them; at least one
    splits: dict[int, str] | None  # "train" or "val" for each of these features, or None where nothing is said
    n_blank: int  # labels that were left out because there is nothing in them


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, gzip or plain. Raises ValueError where it is missing, damaged or something else."""
    path = Path(path).expanduser()
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if content.startswith(GZIP) else content).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: give JSON, plain or in gzip.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged gzip file ({error}): download or make it again.") from error
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error.strerror}): give a file of labels.") from error


def labels_of_lines(lines: Iterable[str], where: str) -> Labels:
    """Labels out of JSON lines with `index`, a number or its digits, and `description`; other fields are passed over.

    A feature may have several lines: each different label is kept, in their order. where: names the file in errors
    Raises ValueError for a line that is something else.
    """
    found: dict[int, list[str]] = {}
    n_blank = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Line {number} of {where} is no JSON ({error}).") from error
        if not isinstance(entry, dict) or "index" not in entry or "description" not in entry:
            raise ValueError(f"Line {number} of {where} is no object with an index and a description.")
        index, label = _index(entry["index"], f"Line {number} of {where}"), entry["description"]
        if label is not None and not isinstance(label, str):
            raise ValueError(f"Line {number} of {where} has a description that is no text: {label!r:.60}.")
        n_blank += not _add(found, index, label)
    return Labels(found, None, n_blank)


def read_labels_jsonl(path: str | Path) -> Labels:
    """Labels out of a file of JSON lines, gzip or plain (see `labels_of_lines`).

    Raises ValueError for what is no such file, and where no label is left.
    """
    return _not_empty(labels_of_lines(read_text(path).split("\n"), str(path)), path)


def read_labels_json(path: str | Path) -> Labels:
    """Labels out of a JSON document, gzip or plain: {"12": "a label" or ["two", "labels"]}, or training data.

    Training data are a list with one section (see `training_data`), whose vectors may lack `split`; nothing else of the
    section counts. Raises ValueError for what is neither, and where no label is left.
    """
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}): for a file of JSON lines give --labels-jsonl.") from error
    if isinstance(content, list):
        return _not_empty(_labels_of_sections(content, path), path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {content!r:.40}: give labels by feature, or training data with one section.")
    found: dict[int, list[str]] = {}
    n_blank = sum(_collect(found, key, value, f"Feature {key!r:.40} in {path}") for key, value in content.items())
    return _not_empty(Labels(found, None, n_blank), path)


def _labels_of_sections(sections: list[Any], path: str | Path) -> Labels:
    """Labels and splits of training data, which may name no file of vectors and no split."""
    if len(sections) != 1:
        raise ValueError(f"{path} has {len(sections)} sections: an SAE's labels are one, so give a file with that one.")
    vectors = sections[0].get("vectors") if isinstance(sections[0], dict) else None
    if not isinstance(vectors, list) or not all(isinstance(each, dict) and "index" in each for each in vectors):
        raise ValueError(f"The section in {path} has no list of vectors, each with an index and labels.")
    found: dict[int, list[str]] = {}
    splits: dict[int, str] = {}
    n_blank = 0
    for vector in vectors:
        where = f"The vector with index {vector['index']!r:.40} in {path}"
        n_blank += _collect(found, vector["index"], vector.get("labels"), where)
        index, split = int(vector["index"]), vector.get("split")
        if split not in (TRAIN, VAL, None):
            raise ValueError(f"{where} has the split {split!r:.40}: allowed are {TRAIN!r} and {VAL!r}.")
        if splits.setdefault(index, split) != split:
            raise ValueError(f"{where} stands there twice, with two splits: put all its labels into one list.")
    splits = {index: splits[index] for index in found}
    n_without = sum(split is None for split in splits.values())
    if n_without in (0, len(splits)):
        return Labels(found, splits if not n_without else None, n_blank)
    raise ValueError(
        f"{n_without:,} of the {len(splits):,} vectors in {path} have no split: give all of them one, or none."
    )


def _collect(found: dict[int, list[str]], key: Any, value: Any, where: str) -> int:
    """Add a feature's label or labels to those found; how many were blank."""
    labels = value if isinstance(value, list) else [value]
    if not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{where} has {value!r:.60} for labels: give a text or a list of texts.")
    index = _index(key, where)
    return sum(not _add(found, index, label) for label in labels)


def _index(value: Any, where: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where} has the index {value!r:.40}: give the number of a feature, from 0.")
    return value


def _add(found: dict[int, list[str]], index: int, label: str | None) -> bool:
    """Add a label to a feature's, if it says something; whether it does."""
    text = (label or "").encode("utf-8", "replace").decode("utf-8").strip()  # half of a character becomes "?"
    if text and text not in found.setdefault(index, []):
        found[index].append(text)
    return bool(text)


def _not_empty(labels: Labels, path: str | Path) -> Labels:
    if not labels.labels:
        raise ValueError(
            f"{path} holds no label: {labels.n_blank:,} of its descriptions are blank, and there are no others."
        )
    return labels
