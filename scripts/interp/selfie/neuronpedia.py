"""Labels of SAE features from Neuronpedia's public bucket (https://docs.neuronpedia.org/api-and-data/exports).

The explanations of a source are `v1/<model>/<source>/explanations/batch-<n>.jsonl.gz`, some hundred files. The bucket
lists them in pages of a thousand, as S3 does. What comes from there has the form that it should have, or is refused.
Sources may have further folders, such as `explanations-<model>`, by other explainers: they are left alone.
"""

from __future__ import annotations

import gzip
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeVar

from scripts.interp.base.errors import ModelUnavailable, in_short
from scripts.interp.base.files import write_atomically
from scripts.interp.base.progress import progress_bar
from scripts.interp.selfie.label_files import GZIP, Labels, labels_of_lines

BUCKET = "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com"
TRIES = 5  # for each file, before giving up
FIRST_PAUSE = 1.0  # seconds before the second try; each pause is twice the one before
SECONDS = 60.0  # that a server may be silent, and that an answer may take in all, and again for each megabyte
LARGEST = 256 * 2**20  # bytes of a batch, packed or not; those of today have less than one million
LARGEST_LISTING = 2 * 2**20  # bytes of a page; a thousand entries have 0.4 million
_S3 = "{http://s3.amazonaws.com/doc/2006-03-01/}"

Answer = TypeVar("Answer")


class _Again(Exception):
    """Something that another try may mend."""


class Batch(NamedTuple):
    """A file of the bucket."""

    key: str  # its whole name there
    n_bytes: int

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


def fetch_labels(neuronpedia_id: str, folder: Path, bucket: str = BUCKET, progress: bool | None = None) -> Labels:
    """All labels of a source, of each feature in the order of the batches.

    neuronpedia_id: "model/source", as sae-lens' `neuronpedia_id` has it
    folder: where batches are kept; one that is there is not fetched again, so that a killed run goes on where it was
    bucket: the address of the bucket, or of one like it
    progress: True for a bar, None for a bar where somebody watches

    Raises ValueError for a name or an address that is none, and for answers that are not what they should be;
    ModelUnavailable where there are no labels or the bucket can't be reached.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", neuronpedia_id):
        raise ValueError(f"{neuronpedia_id!r} is no source on Neuronpedia: they have names like 'gpt2-small/6-res-jb'.")
    if urllib.parse.urlsplit(bucket).scheme not in ("http", "https"):
        raise ValueError(f"{bucket!r} is no address of a bucket: give one with https:// or http://.")
    bucket = bucket.rstrip("/")
    batches = list_batches(f"v1/{neuronpedia_id}/explanations/", bucket)
    labels: dict[int, list[str]] = {}
    n_blank = 0
    with progress_bar(len(batches), f"labels of {neuronpedia_id}", progress) as bar:
        for batch in sorted(batches, key=_number):
            found = _labels_of_batch(batch, folder / neuronpedia_id, bucket)
            for index, mine in found.labels.items():
                known = labels.setdefault(index, [])
                known += [label for label in mine if label not in known]
            n_blank += found.n_blank
            bar.update()
    if not labels:
        raise ModelUnavailable(
            f"The explanations of {neuronpedia_id} in {bucket} are all blank: give a file of labels."
        )
    return Labels(labels, None, n_blank)


def list_batches(prefix: str, bucket: str = BUCKET) -> list[Batch]:
    """The batches whose names begin with `prefix`, from all pages of the bucket's listing."""
    batches: dict[str, Batch] = {}
    tokens: list[str] = []
    while True:
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": tokens[-1]} if tokens else {})
        url = f"{bucket}/?{urllib.parse.urlencode(query)}"
        page, token = _try(url, lambda: read_listing(_get(url, LARGEST_LISTING), prefix))
        batches |= {batch.key: batch for batch in page}
        if token is None:
            break
        if token in tokens:
            raise ValueError(f"{bucket} lists the same page of {prefix} again and again: this is no listing as S3's.")
        tokens.append(token)
    if not batches:
        raise ModelUnavailable(
            f"{bucket} has no explanations at {prefix}: look for the source there, or give a file of labels."
        )
    return list(batches.values())


def read_listing(content: bytes, prefix: str) -> tuple[list[Batch], str | None]:
    """The batches of one page of a listing, and the token of the next page if there is one.

    Raises ValueError for what is no page of S3's: another document, a name outside of the prefix, entities.
    """
    try:
        text = content.decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:  # S3's has none, and entities can grow without bound
            raise ValueError("it declares a document type")
        root = ElementTree.fromstring(text)
        if root.tag != f"{_S3}ListBucketResult":
            raise ValueError(f"it is a {root.tag.rpartition('}')[2]:.40}")
        batches = [_batch(entry, prefix) for entry in root.findall(f"{_S3}Contents")]
        truncated, token = root.findtext(f"{_S3}IsTruncated"), root.findtext(f"{_S3}NextContinuationToken")
        if truncated not in ("true", "false") or (truncated == "true") != bool(token):
            raise ValueError("it does not say whether more pages follow")
    except (ValueError, ElementTree.ParseError) as error:
        raise ValueError(f"the listing of {prefix} is not S3's ({error})") from error
    return [batch for batch in batches if batch.name.endswith(".jsonl.gz")], token


def _batch(entry: ElementTree.Element, prefix: str) -> Batch:
    key, size = entry.findtext(f"{_S3}Key") or "", entry.findtext(f"{_S3}Size") or ""
    if not key.startswith(prefix) or not re.fullmatch(r"(?:\w[\w.-]*)?", key[len(prefix) :], re.ASCII):
        raise ValueError(f"it names {key!r:.80}")
    if not re.fullmatch(r"\d{1,12}", size, re.ASCII) or int(size) > LARGEST:
        raise ValueError(f"it gives {key} a size of {size!r:.20}")
    return Batch(key, int(size))


def _number(batch: Batch) -> tuple[int, str]:
    """Batches in the order of their numbers: `batch-2` before `batch-10`."""
    number = re.search(r"\d{1,9}", batch.name)
    return int(number[0]) if number else 0, batch.name


def _labels_of_batch(batch: Batch, folder: Path, bucket: str) -> Labels:
    """The labels of a batch, from the folder if it is there whole; what is fetched is kept there once it was read."""
    path = folder / batch.name
    if path.is_file() and path.stat().st_size == batch.n_bytes:
        try:
            return _read_batch(path.read_bytes(), batch.name)
        except ValueError:
            pass  # damaged since
    url = f"{bucket}/{urllib.parse.quote(batch.key)}"

    def fetch() -> Labels:
        content = _get(url, batch.n_bytes)
        if len(content) != batch.n_bytes:
            raise _Again(f"{len(content):,} bytes came and not {batch.n_bytes:,}")
        labels = _read_batch(content, batch.name)
        write_atomically(path, content)
        return labels

    return _try(url, fetch)


def _read_batch(content: bytes, name: str) -> Labels:
    """The labels in a batch's bytes; raises ValueError where they are damaged or something else."""
    try:
        if not content.startswith(GZIP):
            raise gzip.BadGzipFile("something else")  # which nothing at all would not raise
        with gzip.GzipFile(fileobj=BytesIO(content)) as file:
            unpacked = file.read(LARGEST + 1)
        if len(unpacked) > LARGEST:
            raise ValueError(f"{name} holds more than {LARGEST:,} bytes")
        text = unpacked.decode("utf-8")
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise ValueError(f"{name} is no whole gzip file of text ({in_short(error)})") from error
    return labels_of_lines(text.split("\n"), name)


def _get(url: str, n_bytes: int) -> bytes:
    """What is at an address, no more than one byte over `n_bytes`: too much is seen so. Raises _Again or OSError."""
    deadline = time.monotonic() + SECONDS * (1 + n_bytes / 2**20)
    content = bytearray()
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        while len(content) <= n_bytes and (piece := answer.read1(min(65_536, n_bytes + 1 - len(content)))):
            content += piece
            if time.monotonic() > deadline:  # a byte now and then would never be a time-out
                raise _Again("the answer did not end")
        if not piece and answer.length:  # what the header promised and did not come
            raise _Again(f"{answer.length:,} bytes of the answer are missing")
    return bytes(content)


def _try(url: str, step: Callable[[], Answer]) -> Answer:
    """What `step` gives, tried again after pauses while there is hope; raises one sentence about the address if not."""
    for number in range(TRIES):
        try:
            return step()
        except urllib.error.HTTPError as error:
            reason = f"HTTP status {error.code}, {error.reason}"
            if error.code not in (408, 429, 500, 502, 503, 504):
                raise ModelUnavailable(f"{url} can't be had ({reason}): check the source and the bucket.") from error
        except (OSError, http.client.HTTPException, _Again, ValueError) as error:
            reason = str(error) if isinstance(error, (_Again, ValueError)) else in_short(error)
        if number < TRIES - 1:
            time.sleep(FIRST_PAUSE * 2**number)
    raise ModelUnavailable(
        f"{url} could not be read in {TRIES} tries (the last: {reason}): try again later, which goes on with what is "
        "here, or give a file of labels."
    )
