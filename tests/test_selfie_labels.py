"""Labels from Neuronpedia's bucket, served on this machine, and from files."""

import gzip
import json
import os
import subprocess
import sys
import time

import pytest

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.paths import ROOT
from scripts.interp.selfie import neuronpedia
from scripts.interp.selfie.label_files import read_labels_json, read_labels_jsonl
from scripts.interp.selfie.neuronpedia import fetch_labels, list_batches, read_listing
from tests.fixtures.bucket import S3, batch, listing, served_bucket

SOURCE = "tiny-model/3-res-1k"
PREFIX = f"v1/{SOURCE}/explanations/"


@pytest.fixture
def bucket(monkeypatch):
    """Three pages with five batches; features 0 to 4 have a label each, 2 has two, one is blank."""
    monkeypatch.setattr(neuronpedia, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(neuronpedia, "TRIES", 3)
    monkeypatch.setenv("no_proxy", "*")
    with served_bucket() as bucket:
        for number in (0, 1, 2, 3, 10):
            bucket.objects[f"{PREFIX}batch-{number}.jsonl.gz"] = batch(
                {"index": str(min(number, 4)), "description": f" label {number}", "embedding": [0.5, 1]}
            )
        bucket.objects[f"{PREFIX}batch-3.jsonl.gz"] = batch(
            {"index": "3", "description": "label 3"},
            {"index": "3", "description": "  "},
            {"index": "2", "description": "second of 2"},
            {"index": "2", "description": "label 2 "},
            {"index": "7", "description": None},
        )
        bucket.objects["v1/tiny-model/3-res-1k/features/batch-0.jsonl.gz"] = b"not asked for"
        yield bucket


LABELS = {0: ["label 0"], 1: ["label 1"], 2: ["label 2", "second of 2"], 3: ["label 3"], 4: ["label 10"]}


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_all_pages_several_labels_and_blanks(bucket, tmp_path):
    found = fetch_labels(SOURCE, tmp_path, bucket.url + "/")
    assert found.labels == LABELS and found.n_blank == 2 and found.splits is None
    assert bucket.asked[:3] == ["listing"] * 3
    assert bucket.asked[3:] == [f"batch-{n}.jsonl.gz" for n in (0, 1, 2, 3, 10)]  # by number, not by name
    assert (tmp_path / SOURCE / "batch-10.jsonl.gz").read_bytes() == bucket.objects[f"{PREFIX}batch-10.jsonl.gz"]


def test_what_is_there_whole_is_not_fetched_again(bucket, tmp_path):
    fetch_labels(SOURCE, tmp_path, bucket.url)
    folder = tmp_path / SOURCE
    (folder / "batch-1.jsonl.gz").unlink()
    damaged = bytearray((folder / "batch-2.jsonl.gz").read_bytes())
    damaged[-6] ^= 1  # its length is right, its check sum is not
    (folder / "batch-2.jsonl.gz").write_bytes(damaged)
    (folder / "batch-10.jsonl.gz").write_bytes(b"\x1f\x8b")
    bucket.asked.clear()
    assert fetch_labels(SOURCE, tmp_path, bucket.url).labels == LABELS
    assert sorted(set(bucket.asked)) == ["batch-1.jsonl.gz", "batch-10.jsonl.gz", "batch-2.jsonl.gz", "listing"]
    bucket.objects[f"{PREFIX}batch-0.jsonl.gz"] = batch({"index": "0", "description": "another label now"})
    assert fetch_labels(SOURCE, tmp_path, bucket.url).labels == LABELS | {0: ["another label now"]}


def test_a_killed_run_goes_on(bucket, tmp_path):
    bucket.trouble["batch-2.jsonl.gz"] = ["held"]
    code = (
        "import sys; from pathlib import Path; from scripts.interp.selfie.neuronpedia import fetch_labels\n"
        "fetch_labels(sys.argv[1], Path(sys.argv[2]), sys.argv[3])"
    )
    run = subprocess.Popen([sys.executable, "-c", code, SOURCE, str(tmp_path), bucket.url], cwd=ROOT, env=os.environ)
    deadline = time.monotonic() + 60
    while "batch-2.jsonl.gz" not in bucket.asked and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    run.kill()
    assert run.wait() < 0
    bucket.go_on.set()
    assert files(tmp_path) == ["batch-0.jsonl.gz", "batch-1.jsonl.gz"]
    bucket.asked.clear()
    assert fetch_labels(SOURCE, tmp_path, bucket.url).labels == LABELS
    assert bucket.asked[3:] == [f"batch-{n}.jsonl.gz" for n in (2, 3, 10)]


@pytest.mark.parametrize("trouble", [[503, 503], [500], [429], ["cut"], ["silent"], ["drip", 502]], ids=str)
@pytest.mark.parametrize("where", ["batch-1.jsonl.gz", "listing"])
def test_what_passes_is_waited_for(bucket, tmp_path, monkeypatch, where, trouble):
    monkeypatch.setattr(neuronpedia, "SECONDS", 0.25)
    monkeypatch.setattr(neuronpedia, "TRIES", 8)  # on a busy machine a sound answer may take long as well
    bucket.trouble[where] = list(trouble)
    assert fetch_labels(SOURCE, tmp_path, bucket.url).labels == LABELS
    assert bucket.trouble[where] == []


@pytest.mark.parametrize(
    "trouble, said",
    [
        ([404], "HTTP status 404"), ([403], "HTTP status 403"), ([503] * 3, "in 3 tries .*HTTP status 503"),
        (["silent"] * 3, "in 3 tries .*timed out"), (["drip"] * 3, "did not end"), (["cut"] * 3, "are missing"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("where", ["batch-1.jsonl.gz", "listing"])
def test_what_does_not_pass_is_one_sentence(bucket, tmp_path, monkeypatch, where, trouble, said):
    monkeypatch.setattr(neuronpedia, "SECONDS", 0.25)
    bucket.trouble[where] = list(trouble)
    with pytest.raises(ModelUnavailable, match=rf"^http://127.0.0.1:.*{said}") as caught:
        fetch_labels(SOURCE, tmp_path, bucket.url)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == (["batch-0.jsonl.gz"] if where != "listing" else [])


GOOD = batch({"index": "1", "description": "label 1"})


@pytest.mark.parametrize(
    "content, said",
    [
        (GOOD[:-9], "no whole gzip file"), (GOOD[:-8] + b"\0" * 8, "no whole gzip file"), (b"", "no whole gzip file"),
        (b"index,description", "no whole gzip file"), (gzip.compress(b"\xff\xfe"), "no whole gzip file"),
        (gzip.compress(b'{"index": "1", "description": "a"}\n{"index": "1", "desc'), "Line 2 of batch-1.* no JSON"),
        (gzip.compress(b"[1, 2]"), "Line 1 of batch-1.* no object"),
        (gzip.compress(b'{"index": "1"}'), "Line 1 of batch-1.* no object with an index and a description"),
        (batch({"index": "one", "description": "a"}), "has the index 'one'"),
        (batch({"index": -1, "description": "a"}), "has the index -1"),
        (batch({"index": "1", "description": ["a"]}), "a description that is no text"),
    ],
    ids=[  # gzip writes the second into what it compresses, and all processes have to give a test the same name
        "cut", "wrong sum", "empty", "no gzip", "no UTF-8", "cut line", "list", "no description", "index in words",
        "negative index", "several descriptions",
    ],
)  # fmt: skip
def test_a_damaged_batch_is_one_sentence(bucket, tmp_path, content, said):
    bucket.objects[f"{PREFIX}batch-1.jsonl.gz"] = content
    with pytest.raises(ModelUnavailable, match=rf"in 3 tries .*{said}"):
        fetch_labels(SOURCE, tmp_path, bucket.url)
    assert files(tmp_path) == ["batch-0.jsonl.gz"]


def test_a_batch_that_unpacks_to_too_much_is_refused(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(neuronpedia, "LARGEST", 2000)
    bucket.objects[f"{PREFIX}batch-1.jsonl.gz"] = gzip.compress(b" " * 3000)
    with pytest.raises(ModelUnavailable, match="holds more than 2,000 bytes"):
        fetch_labels(SOURCE, tmp_path, bucket.url)


KEY = f"{PREFIX}batch-0.jsonl.gz"


@pytest.mark.parametrize(
    "page, said",
    [
        (b"<html><body>Sign in</body></html>", "it is a html"), (b"no XML", "syntax error"), (b"\xff", "can't decode"),
        (listing({KEY: 5})[:-20], "not well-formed|unclosed"),
        (listing({KEY: 5}).replace(S3.encode(), b"other"), "it is a ListBucketResult"),
        (listing({KEY: 5}).replace(b"<ListB", b'<!DOCTYPE a [<!ENTITY b "c">]><ListB'), "declares a document type"),
        (listing({"v1/other/batch-0.jsonl.gz": 5}), "it names 'v1/other"),
        (listing({f"{PREFIX}../../batch-0.jsonl.gz": 5}), "it names"), (listing({"": 5}), "it names ''"),
        (listing({KEY: -5}), "a size of '-5'"), (listing({KEY: 10**11}), "a size of"),
        (listing({KEY: ""}), "a size of ''"),
        (listing({KEY: 5}).replace(b"false", b"true"), "whether more pages"),
        (listing({KEY: 5}, "on").replace(b"true", b"false"), "whether more pages"),
        (listing({KEY: 5}).replace(b"false", b"perhaps"), "whether more pages"),
    ],
)  # fmt: skip
def test_a_listing_of_another_form_is_refused(page, said):
    with pytest.raises(ValueError, match=f"^the listing of {PREFIX} is not S3's.*{said}"):
        read_listing(page, PREFIX)


def test_a_listing_that_is_wrong_or_empty_is_one_sentence(bucket, tmp_path):
    bucket.pages[""] = b"<html></html>"
    with pytest.raises(ModelUnavailable, match="in 3 tries .*it is a html"):
        fetch_labels(SOURCE, tmp_path, bucket.url)
    bucket.pages[""] = listing({PREFIX: 0, f"{PREFIX}index.html": 12}, "2")
    assert len(list_batches(PREFIX, bucket.url)) == 3
    bucket.pages["2"] = listing({KEY: 5}, "2")
    with pytest.raises(ValueError, match="the same page .* again and again"):
        list_batches(PREFIX, bucket.url)
    bucket.pages[""] = listing({KEY: len(bucket.objects[KEY]) + 1})
    with pytest.raises(ModelUnavailable, match="in 3 tries .* bytes came and not"):
        fetch_labels(SOURCE, tmp_path, bucket.url)
    bucket.pages[""] = listing({f"{PREFIX}index.html": 12})
    with pytest.raises(ModelUnavailable, match=f"has no explanations at {PREFIX}"):
        fetch_labels(SOURCE, tmp_path, bucket.url)
    bucket.objects, bucket.pages = {KEY: batch({"index": "1", "description": " "})}, {}
    with pytest.raises(ModelUnavailable, match="are all blank"):
        fetch_labels(SOURCE, tmp_path, bucket.url)


@pytest.mark.parametrize("source", ["../etc", "a/..", "a/b/c", "a", "a/b?x", "/a/b", "a/b "])
def test_a_name_that_is_none_is_refused(source, tmp_path):
    with pytest.raises(ValueError, match="is no source on Neuronpedia"):
        fetch_labels(source, tmp_path, "http://127.0.0.1:1")


def test_an_address_that_is_none_or_gives_nothing_is_one_sentence(bucket, tmp_path):
    with pytest.raises(ValueError, match="is no address of a bucket"):
        fetch_labels(SOURCE, tmp_path, "file:///etc")
    with pytest.raises(ModelUnavailable, match="in 3 tries .*Connection refused"):
        fetch_labels(SOURCE, tmp_path, "http://127.0.0.1:1")


def test_labels_out_of_files(tmp_path):
    path = tmp_path / "labels"
    path.write_text(json.dumps({"3": " one ", "12": ["two", "", "three", "two"], "4": " ", "5": "half \ud83d"}))
    found = read_labels_json(path)
    assert found.labels == {3: ["one"], 12: ["two", "three"], 5: ["half ?"]} and found.n_blank == 2
    vectors = [{"index": 7, "labels": ["a", "b"], "split": "val"}, {"index": 8, "labels": ["c"], "split": "train"}]
    path.write_bytes(gzip.compress(json.dumps([{"metadata": {}, "vectors": vectors}]).encode()))
    assert read_labels_json(path) == ({7: ["a", "b"], 8: ["c"]}, {7: "val", 8: "train"}, 0)
    path.write_text(json.dumps([{"vectors": [{"index": 7, "labels": ["a"]}]}]))
    assert read_labels_json(path) == ({7: ["a"]}, None, 0)
    path.write_bytes(batch({"index": 7, "description": " a"}, {"index": "7", "description": "b"}))
    assert read_labels_jsonl(path) == ({7: ["a", "b"]}, None, 0)


VECTOR = {"index": 1, "labels": ["a"], "split": "val"}


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "is no JSON"), ('{"index": 1}\n{"index": 2}', "is no JSON .* --labels-jsonl"), ("[" * 9999, "is no JSON"),
        (3, "holds 3"), ([], "has 0 sections"), ([{}, {}], "has 2 sections"), ([[VECTOR]], "has no list of vectors"),
        ([{"vectors": [{"labels": ["a"]}]}], "has no list of vectors, each with an index"),
        ({"one": "a"}, "has the index 'one'"), ({"1": 5}, "has 5 for labels"), ({"1": ["a", None]}, "for labels"),
        ({"1": " "}, "holds no label: 1 of"), ({}, "holds no label"),
        ([{"vectors": [VECTOR | {"index": True}]}], "has the index True"),
        ([{"vectors": [VECTOR | {"split": "test"}]}], "the split 'test': allowed are 'train' and 'val'"),
        ([{"vectors": [VECTOR, VECTOR | {"split": "train"}]}], "twice, with two splits"),
        ([{"vectors": [VECTOR, {"index": 2, "labels": ["a"]}]}], "1 of the 2 vectors .* have no split"),
    ],
)  # fmt: skip
def test_files_of_labels_of_another_form_are_refused(tmp_path, content, said):
    path = tmp_path / "labels.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=said) as caught:
        read_labels_json(path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ValueError, match="can't be read .No such file"):
        read_labels_jsonl(tmp_path / "none")
    (tmp_path / "cut").write_bytes(GOOD[:-4])
    with pytest.raises(ValueError, match="is a damaged gzip file"):
        read_labels_jsonl(tmp_path / "cut")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(ValueError, match="is not text in UTF-8"):
        read_labels_json(tmp_path / "latin")
