"""The files that adapters are trained on: vectors, and what each of them means.

`N_labels.json`, plain or in gzip, is a list of sections, one for each file of vectors:

    [{"metadata": {"dataset_name": "…", "filename": "N.pt", "layer": 12, "source": "…", "vector_type": "sae_decoder"},
      "vectors": [{"index": 0, "labels": ["a label", "another"], "split": "train"}, …]}]

`filename`, seen from the folder of the labels, is a tensor [num_vectors, model_dim] that `torch.save` wrote, which
sections may share; `index` is a row of it. Metadata may hold more. The format is that of
https://github.com/agencyenterprise/selfie-adapters, whose published labels lack `filename`: reading them takes the
vectors as an argument or finds `N.pt` beside `N_labels.json`.

By hand, from any SAE:

    labels = {7: ["French words"], 12: ["the word after a comma", "what follows a comma"]}
    write_training_data("outputs/selfie", "mine", sae.W_dec, labels, split_by_label(labels), {"layer": 12})
    data = load_training_data("outputs/selfie/mine_labels.json")

Rows of `W_dec` are what the SAE's loader made of them: normalise them, or say by what they were divided.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from scripts.interp.base.files import open_atomically
from scripts.interp.selfie.label_files import read_text
from scripts.interp.selfie.splits import TRAIN, VAL, Leaks, count_leaks

METADATA = ("dataset_name", "filename", "layer", "source", "vector_type")  # what every section says
LABELS_ENDING = "_labels.json"


class Item(NamedTuple):
    """A vector that has labels."""

    index: int  # of a row of all vectors
    labels: tuple[str, ...]  # one or more
    split: str  # "train" or "val"
    section: dict[str, Any]  # the metadata of its section


class TrainingData(NamedTuple):
    """All sections of a file put together."""

    vectors: Float[Tensor, "vector d_model"]  # float32 on the CPU; those without labels too
    items: list[Item]

    def leaks(self) -> Leaks:
        """Labels that stand both in training and in validation."""
        labels = {item.index: item.labels for item in self.items}
        return count_leaks(labels, {item.index: item.split for item in self.items})


def load_training_data(labels_file: str | Path, vectors: Tensor | str | Path | None = None) -> TrainingData:
    """Read a file of labels and the vectors that it is about.

    vectors: [num_vectors, model_dim] or a file with such a tensor, for a file of one section, in place of what its
        `filename` says; None reads that, or `N.pt` beside `N_labels.json` where there is no `filename`

    Raises ValueError, in one sentence, for a file that is missing, damaged or of another form, a vector without labels,
    a blank label, a split that is neither "train" nor "val", an index that is no row of the vectors or stands there
    twice, and vectors that are no numbers.
    """
    path = Path(labels_file).expanduser()
    sections = _sections(path)
    if vectors is not None and len(sections) > 1:
        raise ValueError(
            f"{path} has {len(sections)} sections, and vectors were given for one: write each section's file into its "
            "metadata as filename."
        )
    parts: dict[Path | None, TrainingData] = {}  # by the file that their vectors are from
    for number, section in enumerate(sections, 1):
        where = f"Section {number} of {path}"
        file = _vectors_file(path, section["metadata"], where) if vectors is None else None
        if file not in parts:
            given = vectors if vectors is not None else file
            mine = check_vectors(given, "The tensor") if isinstance(given, Tensor) else read_vectors(given)
            parts[file] = TrainingData(mine, [])
        part = parts[file]
        first = next(iter(parts.values())).vectors
        if part.vectors.shape[1] != first.shape[1]:
            raise ValueError(
                f"{where} has vectors of {part.vectors.shape[1]} numbers and those before it {first.shape[1]}."
            )
        items = _items(section, where, len(part.vectors))
        twice = {item.index for item in part.items} & {item.index for item in items}
        if twice:
            raise ValueError(f"{where} has vector {min(twice)}, as a section before it: put all its labels into one.")
        part.items.extend(items)
    return join(*parts.values())


def join(*parts: TrainingData) -> TrainingData:
    """Vectors of several sources one after another, with their labels and splits as they are (see `leaks`).

    Raises ValueError for vectors of different widths.
    """
    if len(parts) == 1:
        return parts[0]
    widths = [part.vectors.shape[1] for part in parts]
    if len(set(widths)) > 1:
        raise ValueError(f"There are vectors of {widths} numbers: those of one width can be put together.")
    items, first_row = [], 0
    for part in parts:
        items += [item._replace(index=first_row + item.index) for item in part.items]
        first_row += len(part.vectors)
    return TrainingData(torch.cat([part.vectors for part in parts]), items)


def read_vectors(path: str | Path) -> Float[Tensor, "vector d_model"]:
    """Vectors out of a file that `torch.save` wrote, in float32 on the CPU.

    Raises ValueError for anything but one tensor of rows of finite numbers; nothing in the file is executed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"There is no file of vectors {path}: give one that torch.save wrote, with rows of vectors.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch.load raises depends on where in the file it gets lost
        raise ValueError(
            f"{path} holds no tensor that torch.load reads with weights_only ({type(error).__name__}): save one with "
            "torch.save(vectors, path)."
        ) from error
    return check_vectors(content, str(path))


def check_vectors(vectors: Any, where: str) -> Float[Tensor, "vector d_model"]:
    """These vectors in float32 on the CPU, rows one after another in memory.

    Raises ValueError for what is no tensor [num_vectors, model_dim] of finite numbers. where: names it in errors
    """
    if not isinstance(vectors, Tensor):
        raise ValueError(f"{where} holds a {type(vectors).__name__}: give one tensor [num_vectors, model_dim].")
    if vectors.ndim != 2 or 0 in vectors.shape or not vectors.is_floating_point():
        raise ValueError(
            f"{where} holds {vectors.dtype} of shape {list(vectors.shape)}: give real numbers [num_vectors, model_dim]."
        )
    vectors = vectors.detach().to("cpu", torch.float32).contiguous()
    finite = vectors.isfinite().all(dim=1)
    if not finite.all():
        raise ValueError(
            f"{where} has {int((~finite).sum()):,} vectors with NaN or infinity, the first in row "
            f"{int((~finite).nonzero()[0])}: all have to be finite numbers."
        )
    return vectors


def write_training_data(
    folder: str | Path,
    name: str,
    vectors: Float[Tensor, "vector d_model"],
    labels: Mapping[int, Sequence[str]],
    splits: Mapping[int, str],
    metadata: Mapping[str, Any],
) -> TrainingData:
    """Write `name.pt` and `name_labels.json` with one section into a folder; returns what reading them gives.

    labels: those of each feature that has any, by its row of `vectors`
    splits: "train" or "val" for each of them (see `split_by_label`)
    metadata: `layer`, and what else is to be remembered; `filename` is added, and, where they are not given,
        `dataset_name`, `source` and `vector_type`

    Raises ValueError for what `load_training_data` would refuse. Both files are there, whole, or what was there before.
    """
    usual = {"dataset_name": name, "source": "by hand", "vector_type": "sae_decoder"}
    section = usual | dict(metadata)
    items = [Item(index, tuple(labels[index]), splits.get(index), section) for index in sorted(labels)]
    return write_joined(folder, name, TrainingData(vectors, items))


def write_joined(folder: str | Path, name: str, data: TrainingData) -> TrainingData:
    """The same for training data, with a section for each metadata; all share `name.pt`."""
    folder = Path(folder).expanduser()
    if not name or Path(name).name != name:
        raise ValueError(f"{name!r} is no name for files: give one without a folder.")
    vectors, path = check_vectors(data.vectors, "The tensor"), folder / f"{name}{LABELS_ENDING}"
    sections = [
        {
            "metadata": metadata | {"filename": f"{name}.pt"},
            "vectors": [{"index": item.index, "labels": list(item.labels), "split": item.split} for item in items],
        }
        for metadata, items in groupby(data.items, key=lambda item: item.section)
    ]
    if not sections:
        raise ValueError(f"{path} would have no labels: give those of one vector or more.")
    items = []
    for section in sections:
        _check_section(section, str(path))
        items += _items(section, str(path), len(vectors))
    with open_atomically(folder / f"{name}.pt") as tensor_file, open_atomically(path) as labels_file:
        torch.save(vectors, tensor_file)
        text = json.dumps(sections, indent=1, ensure_ascii=False) + "\n"
        labels_file.write(text.encode("utf-8"))
    return TrainingData(vectors, items)


def _sections(path: Path) -> list[dict[str, Any]]:
    """The sections of a file of labels, each with metadata and a list of vectors."""
    try:
        sections = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}).") from error
    if not isinstance(sections, list) or not sections:
        raise ValueError(f"{path} is not a list of sections, each with metadata and vectors.")
    for number, section in enumerate(sections, 1):
        _check_section(section, f"Section {number} of {path}")
    return sections


def _check_section(section: Any, where: str) -> None:
    """Raise ValueError for what is no section; only `filename` may be missing."""
    if not isinstance(section, dict) or not {"metadata", "vectors"} <= section.keys():
        raise ValueError(f"{where} is no object with metadata and vectors.")
    metadata, vectors = section["metadata"], section["vectors"]
    if not isinstance(metadata, dict) or not isinstance(vectors, list) or not vectors:
        raise ValueError(f"{where} needs an object as metadata and a list of one or more vectors.")
    missing = [field for field in METADATA if field not in metadata and field != "filename"]
    if missing:
        raise ValueError(f"{where} lacks {' and '.join(missing)} in its metadata.")
    texts = [field for field in METADATA if field != "layer" and not isinstance(metadata.get(field, ""), str)]
    if texts:
        raise ValueError(f"{where} has metadata that is no text: {' and '.join(texts)}.")
    layer = metadata["layer"]
    if layer is not None and (isinstance(layer, bool) or not isinstance(layer, int) or layer < 0):
        raise ValueError(f"{where} has the layer {layer!r:.40}: give a number from 0, or null for vectors of no layer.")


def _vectors_file(path: Path, metadata: Mapping[str, Any], where: str) -> Path:
    """Where the vectors of a section lie; `where` names it in errors."""
    if metadata.get("filename"):
        return path.parent / metadata["filename"]
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(LABELS_ENDING).removesuffix(".json") + ".pt")
    if not beside.is_file():
        raise ValueError(
            f"{where} names no file of vectors, and there is no {beside.name} beside it: give load_training_data the "
            "vectors, or make both files with .venv/bin/python -m scripts.prepare_sae_training_data --labels-json."
        )
    return beside


def _items(section: dict[str, Any], where: str, n_vectors: int) -> list[Item]:
    """A section's vectors as items; raises ValueError for one that is wrong."""
    items, seen = [], set()
    for vector in section["vectors"]:
        if not isinstance(vector, dict) or not {"index", "labels", "split"} <= vector.keys():
            raise ValueError(f"{where} has {vector!r:.60} as a vector: each is an object with index, labels and split.")
        index, labels, split = vector["index"], vector["labels"], vector["split"]
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < n_vectors:
            raise ValueError(f"{where} has the index {index!r:.40}: its vectors are rows 0 to {n_vectors - 1}.")
        if index in seen:
            raise ValueError(f"{where} has the index {index} twice: put all labels of a vector into one list.")
        if not isinstance(labels, list) or not labels:
            raise ValueError(f"{where} has {labels!r:.40} as labels of vector {index}: give a list of one or more.")
        if not all(isinstance(label, str) and label.strip() for label in labels):
            raise ValueError(f"{where} has a blank label, or one that is no text, for vector {index}: {labels!r:.60}.")
        if split not in (TRAIN, VAL):
            raise ValueError(f"{where} has the split {split!r:.40} for vector {index}: allowed are 'train' and 'val'.")
        seen.add(index)
        items.append(Item(index, tuple(label.strip() for label in labels), split, section["metadata"]))
    return items
