"""Training data for adapters: their files, splits that do not leak, and the command that prepares them."""

import gzip
import json
import re

import pytest
import torch
from safetensors.torch import save_file

from scripts import prepare_sae_training_data as command
from scripts.interp.base.paths import ROOT
from scripts.interp.base.reference import reference_value
from scripts.interp.saes.load import SAE_FOLDER, open_sae
from scripts.interp.selfie import neuronpedia, releases, training_data
from scripts.interp.selfie.releases import RELEASES, check_release
from scripts.interp.selfie.splits import count_leaks, groups_by_label, split_by_label
from scripts.interp.selfie.training_data import load_training_data, read_vectors, write_training_data
from scripts.interp.selfie.vectors import vectors_of_release
from tests.fixtures.bucket import batch, served_bucket

SHIPPED = SAE_FOLDER / "smollm2-135m-blocks.12.hook_resid_post"
LABELS = {0: ["a"], 1: ["b", "c"], 2: ["C "], 3: ["d"], 4: ["e  E"], 5: ["E e", "f"], 6: ["F"], 7: ["g"]}


@pytest.fixture(scope="module")
def W_dec():
    return open_sae(SHIPPED, "cpu").W_dec


# --- splits


def test_features_that_share_labels_stand_on_one_side():
    assert groups_by_label({5: ["x"], 2: ["y", "z"], 9: [" X"], 3: ["Z", "x"], 4: ["w"]}) == [[2, 3, 5, 9], [4]]
    for seed in range(30):
        for fraction in (0.1, 0.4, 0.9):
            splits = split_by_label(LABELS, fraction, seed)
            assert list(splits) == list(LABELS) and set(splits.values()) == {"train", "val"}
            assert splits[1] == splits[2] and splits[5] == splits[6]
            assert count_leaks(LABELS, splits).leaking == 0


def test_the_fraction_and_the_seed():
    labels = {index: [f"label {index % 900}"] for index in range(1000)}  # 100 pairs, 800 alone
    splits = split_by_label(labels, 0.1, seed=1)
    assert sum(split == "val" for split in splits.values()) == 100
    assert split_by_label(dict(reversed(labels.items())), 0.1, seed=1) == splits != split_by_label(labels, 0.1, seed=2)
    times = [sum(split_by_label(labels, 0.1, seed)[index] == "val" for seed in range(40)) for index in (0, 500)]
    assert all(0 < count < 15 for count in times)  # those in pairs and those alone have a chance
    large = {index: ["the same"] for index in range(50)} | {50: ["another"]}
    assert [i for i, split in split_by_label(large, 0.5).items() if split == "val"] == [50]
    assert sum(split == "val" for split in split_by_label({0: ["a"], 1: ["a"], 2: ["b"], 3: ["b"]}, 0.1).values()) == 2


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_fraction_that_leaves_a_side_empty_is_refused(fraction):
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        split_by_label(LABELS, fraction)


def test_labels_that_tie_all_together_are_refused():
    with pytest.raises(ValueError, match="3 features with 2 different labels hang together"):
        split_by_label({0: ["a"], 1: ["a", "b"], 2: ["B"]})


def test_leaks_are_counted():
    splits = dict.fromkeys(LABELS, "train") | {2: "val", 5: "val", 7: "val"}
    leaks = count_leaks(LABELS | {3: ["g"]}, splits)
    assert leaks == (3, 3, 1, 4)  # texts: c, e e, f, g
    assert str(leaks) == "3 of 3 validation vectors share a label with a training vector (1 word for word; 4 texts)"
    assert "none of the 1 validation vectors" in str(count_leaks(LABELS, dict.fromkeys(LABELS, "train") | {0: "val"}))


# --- files


def section(n=4, **changes):
    metadata = {"dataset_name": "d", "filename": "v.pt", "layer": 3, "source": "s", "vector_type": "sae_decoder"}
    vectors = [{"index": index, "labels": [f"label {index}", "x"], "split": "train"} for index in range(1, n, 2)]
    return {"metadata": metadata, "vectors": vectors} | changes


def write(tmp_path, *sections, n_rows=4, name="d_labels.json"):
    torch.save(torch.arange(n_rows * 2.0).reshape(n_rows, 2), tmp_path / "v.pt")
    path = tmp_path / name
    content = json.dumps(sections).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["d_labels.json", "d_labels.json.gz"])
def test_sections_are_put_together(tmp_path, name):
    other = section(2, metadata=section()["metadata"] | {"filename": "w.pt", "layer": None, "more": 1})
    path = write(tmp_path, section(), other, name=name)
    torch.save(torch.ones(3, 2, dtype=torch.bfloat16).T.contiguous().T, tmp_path / "w.pt")
    data = load_training_data(path)
    assert data.vectors.shape == (7, 2) and data.vectors.dtype == torch.float32 and data.vectors.is_contiguous()
    assert torch.equal(data.vectors[:4], torch.arange(8.0).reshape(4, 2)) and data.vectors[4:].eq(1).all()
    assert [item.index for item in data.items] == [1, 3, 5]
    assert data.items[2] == (5, ("label 1", "x"), "train", other["metadata"])


def test_a_file_without_filename(tmp_path):
    unnamed = section(metadata={k: v for k, v in section()["metadata"].items() if k != "filename"})
    path = write(tmp_path, unnamed)
    with pytest.raises(
        ValueError, match="names no file of vectors, and there is no d.pt beside it: give load_training"
    ):
        load_training_data(path)
    assert torch.equal(load_training_data(path, torch.ones(4, 3)).vectors, torch.ones(4, 3))
    assert load_training_data(path, tmp_path / "v.pt").vectors.shape == (4, 2)
    (tmp_path / "v.pt").rename(tmp_path / "d.pt")
    assert load_training_data(path).vectors.shape == (4, 2)
    assert load_training_data(write(tmp_path, unnamed, name="d_labels.json.gz")).vectors.shape == (4, 2)
    (tmp_path / "d.pt").rename(tmp_path / "e.pt")
    assert load_training_data(write(tmp_path, unnamed, name="e.json")).vectors.shape == (4, 2)
    with pytest.raises(ValueError, match="has 2 sections, and vectors were given for one"):
        load_training_data(write(tmp_path, unnamed, section()), torch.ones(4, 3))


def vector(**changes):
    return section(vectors=[{"index": 1, "labels": ["a"], "split": "val"} | changes])


def metadata(**changes):
    return section(metadata=section()["metadata"] | changes)


@pytest.mark.parametrize(
    "content, said",
    [
        ("[", "is no JSON"), ({}, "is not a list of sections"), ([], "is not a list of sections"),
        ([section(), 3], "Section 2 of .* is no object"), ([{"vectors": []}], "no object with metadata and vectors"),
        ([section(metadata=[])], "needs an object as metadata"), ([section(vectors=[])], "one or more vectors"),
        ([section(metadata={"layer": 3, "source": "s"})], "lacks dataset_name and vector_type"),
        ([metadata(source=3)], "metadata that is no text: source"), ([metadata(layer="3")], "has the layer '3'"),
        ([metadata(layer=-1)], "has the layer -1"), ([metadata(filename=3)], "no text: filename"),
        ([metadata(filename="none.pt")], "There is no file of vectors .*none.pt"),
        ([section(vectors=[[1, "a"]])], "as a vector: each is an object"),
        ([section(vectors=[{"index": 1, "labels": ["a"]}])], "with index, labels and split"),
        ([vector(index=4)], "has the index 4: its vectors are rows 0 to 3"), ([vector(index=-1)], "the index -1"),
        ([vector(index="1")], "the index '1'"), ([vector(index=True)], "the index True"),
        ([vector(split="test")], "the split 'test' for vector 1: allowed are 'train' and 'val'"),
        ([vector(split=None)], "the split None"), ([vector(labels=[])], r"has \[\] as labels of vector 1"),
        ([vector(labels="a")], "has 'a' as labels"), ([vector(labels=["a", " "])], "has a blank label"),
        ([vector(labels=[None])], "has a blank label, or one that is no text"),
        ([section(vectors=2 * vector()["vectors"])], "has the index 1 twice"),
    ],
)  # fmt: skip
def test_files_of_another_form_are_refused(tmp_path, content, said):
    path = write(tmp_path)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=said) as caught:
        load_training_data(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, said",
    [
        ({"W_dec": torch.ones(2, 2)}, "holds a dict"), (torch.ones(3), r"of shape \[3\]"),
        (torch.ones(0, 3), r"of shape \[0, 3\]"),
        (torch.ones(2, 2, dtype=torch.int64), "holds torch.int64"), (torch.ones(2, 2, dtype=torch.cfloat), "complex"),
        (torch.tensor([[0.0], [float("nan")], [float("inf")]]), "has 2 vectors with NaN or inf.*, the first in row 1"),
        (ROOT, "no tensor that torch.load reads with weights_only .UnpicklingError"),
    ],
)  # fmt: skip
def test_vectors_that_are_none_are_refused(tmp_path, content, said):
    torch.save(content, tmp_path / "v.pt")
    with pytest.raises(ValueError, match=said) as caught:
        read_vectors(tmp_path / "v.pt")
    assert "\n" not in str(caught.value)


def test_damaged_vectors_are_refused(tmp_path):
    path = write(tmp_path, section()).with_name("v.pt")
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="holds no tensor that torch.load reads"):
            read_vectors(path)


def test_sections_of_different_widths_are_refused(tmp_path):
    path = write(tmp_path, section(), metadata(filename="w.pt"))
    torch.save(torch.ones(4, 3), tmp_path / "w.pt")
    with pytest.raises(ValueError, match="Section 2 of .* has vectors of 3 numbers and those before it 2"):
        load_training_data(path)


def test_writing_refuses_what_reading_does_and_leaves_what_was_there(tmp_path, monkeypatch):
    splits = split_by_label(LABELS)
    given = write_training_data(tmp_path, "n", torch.ones(8, 2), LABELS, splits, {"layer": 1})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["n.pt", "n_labels.json"]
    again = load_training_data(tmp_path / "n_labels.json")
    assert again.items == given.items and torch.equal(again.vectors, given.vectors)

    wrong = [
        (torch.ones(7, 2), LABELS, splits, {"layer": 1}), (torch.ones(8, 2), LABELS | {1: [""]}, splits, {"layer": 1}),
        (torch.ones(8, 2), LABELS, {}, {"layer": 1}), (torch.ones(8, 2), LABELS, splits, {}),
        (torch.full((8, 2), torch.nan), LABELS, splits, {"layer": 1}), (torch.ones(8, 2), {}, {}, {"layer": 1}),
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(ValueError):
            write_training_data(tmp_path, "n", *arguments)
    with pytest.raises(ValueError, match="is no name for files"):
        write_training_data(tmp_path, "a/n", torch.ones(8, 2), LABELS, splits, {"layer": 1})

    def stops(tensor, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(training_data.torch, "save", stops)
    with pytest.raises(KeyboardInterrupt):
        write_training_data(tmp_path, "n", torch.zeros(8, 2), LABELS, splits, {"layer": 2})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- releases


def test_releases_are_those_of_sae_lens():
    from sae_lens.loading.pretrained_sae_loaders import get_goodfire_config_from_hf
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    assert len(RELEASES) == 6
    for name, release in RELEASES.items():
        known = get_pretrained_saes_directory()[name]
        assert known.model == f"meta-llama/{release.model}"
        assert list(known.saes_map) == [release.sae_ids.format(layer=layer) for layer in release.layers]
        for layer, sae_id in zip(release.layers, known.saes_map, strict=True):
            model, source = check_release(name, sae_id).split("/")
            assert source.split("-")[0] == str(layer)
            if known.conversion_func == "goodfire":
                shape = get_goodfire_config_from_hf(known.repo_id, known.saes_map[sae_id], "cpu")
                assert (shape["d_in"], shape["d_sae"]) == (release.d_model, release.n_features)
                assert shape["hook_name"] == f"blocks.{layer}.hook_resid_post"
                assert source == f"{layer}-resid-post-gf"
            else:
                place = {"r": "res", "m": "mlp"}[sae_id.split("_")[0][-1]]
                assert source == f"{layer}-llamascope-{place}-{release.n_features // 1024 * 1024 // 1000}k"
                assert known.conversion_func == "llama_scope" and model == "llama3.1-8b"
    assert [name for name, release in RELEASES.items() if not release.on_neuronpedia] == [
        "goodfire-llama-3.1-8b-instruct"
    ]
    table = re.findall(r"^\| `([\w.-]+)` \| `(.*?)` \| ([\d,]+) \| ([\d,]+) \| (\w+)", page(), re.M)
    assert table == [
        (
            name, release.sae_ids if len(release.layers) > 1 else release.sae_ids.format(layer=release.layers[0]),
            f"{release.n_features:,}", f"{release.d_model:,}", "Neuronpedia" if release.on_neuronpedia else "a",
        )
        for name, release in RELEASES.items()
    ]  # fmt: skip


def page():
    return (ROOT / "docs" / "selfie.md").read_text(encoding="utf-8")


@pytest.fixture
def llama_scope(tmp_path, monkeypatch):
    """An SAE of Llama Scope's layout, 6 features of width 4 and unit norm, where the hub's cache would have layer 3."""
    from sae_lens.loading import pretrained_sae_loaders

    folder = tmp_path / "hub"
    folder.mkdir()
    rows = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    save_file(
        {
            "encoder.weight": rows, "decoder.weight": rows.T.contiguous(),
            "encoder.bias": torch.zeros(6), "decoder.bias": torch.zeros(4),
        },
        folder / "final.safetensors",
    )  # fmt: skip
    settings = {
        "d_model": 4, "d_sae": 6, "jump_relu_threshold": 0.1, "dataset_average_activation_norm": {"in": 3.0},
        "hook_point_in": "blocks.3.hook_resid_post",
    }  # fmt: skip
    (folder / "hyperparams.json").write_text(json.dumps(settings))
    asked = []

    def download(repo_id, filename, **_):
        asked.append(repo_id)
        return str(folder / filename.split("/")[-1])

    monkeypatch.setattr(pretrained_sae_loaders, "hf_hub_download", download)
    monkeypatch.setitem(releases.RELEASES, "llama_scope_lxr_8x", RELEASES["llama_scope_lxr_8x"]._replace(
        n_features=6, d_model=4
    ))  # fmt: skip
    return rows, asked


def prepare(tmp_path, *arguments, name="n"):
    """The command's exit status, with these arguments and where to write."""
    return command.main([*map(str, arguments), "--output-dir", str(tmp_path / "out"), "--output-name", name])


RELEASE = ("--release", "llama_scope_lxr_8x", "--sae-id", "l3r_8x")


def test_a_release_with_labels_from_neuronpedia(llama_scope, tmp_path, monkeypatch, capsys):
    rows, asked = llama_scope
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(neuronpedia, "FIRST_PAUSE", 0.01)
    prefix = "v1/llama3.1-8b/3-llamascope-res-32k/explanations"
    with served_bucket() as bucket:
        where = ("--bucket", bucket.url, "--downloads", tmp_path / "kept")
        assert prepare(tmp_path, *RELEASE, *where) == 1  # nothing there: no SAE is fetched, nothing is written
        assert "has no explanations at v1/llama3.1-8b/3-llama" in capsys.readouterr().err and asked == []
        assert not (tmp_path / "out").exists()
        for number, index in enumerate((0, 2, 5, 5)):
            entry = {"index": str(index), "description": f" about {number}"}
            bucket.objects[f"{prefix}/batch-{number}.jsonl.gz"] = batch(entry)
        assert prepare(tmp_path, *RELEASE, *where) == 0
    assert asked[0] == "fnlp/Llama3_1-8B-Base-LXR-8x"
    data = load_training_data(tmp_path / "out" / "n_labels.json")
    assert [item.labels for item in data.items] == [("about 0",), ("about 1",), ("about 2", "about 3")]
    section = data.items[0].section
    factor = 27.0  # by sae-lens' directory, near it
    assert section["rows_divided_by"] == pytest.approx(factor, rel=0.5)
    assert torch.allclose(data.vectors * section["rows_divided_by"], rows, atol=1e-6)
    assert section["mean_row_norm"] == pytest.approx(1 / section["rows_divided_by"], abs=1e-6)
    assert section["source"] == "Neuronpedia llama3.1-8b/3-llamascope-res-32k" and section["layer"] == 3
    assert section["dataset_name"] == "llama_scope_lxr_8x/l3r_8x" and section["hook_name"] == "blocks.3.hook_resid_post"


def test_an_sae_of_another_shape_than_its_release_is_refused(llama_scope, monkeypatch):
    monkeypatch.setitem(releases.RELEASES, "llama_scope_lxr_8x", RELEASES["llama_scope_lxr_8x"]._replace(d_model=5))
    with pytest.raises(ValueError, match=r"l3r_8x is \[6, 4\] and should be \[6, 5\]"):
        vectors_of_release("llama_scope_lxr_8x", "l3r_8x", "cpu")


def test_a_release_that_cannot_be_opened_is_one_sentence(llama_scope, tmp_path, capsys):
    labels = tmp_path / "labels.json"
    labels.write_text('{"1": "a", "2": "b"}')
    save_file({"encoder.weight": torch.ones(6, 4)}, tmp_path / "hub" / "final.safetensors")
    for content in ((tmp_path / "hub" / "final.safetensors").read_bytes(), b"damaged"):
        (tmp_path / "hub" / "final.safetensors").write_bytes(content)
        assert prepare(tmp_path, *RELEASE, "--labels-json", labels) == 1
        printed = capsys.readouterr().err
        assert "sae-lens can't open llama_scope_lxr_8x/l3r_8x (" in printed and printed.count("\n") == 1


# --- the command, offline


def test_the_shipped_sae_with_a_file_as_the_published_one(tmp_path, capsys, W_dec):
    vectors = [
        {"index": index, "labels": [label], "split": split}
        for index, label, split in [
            (4607, "dates", "train"), (12, "Dates", "val"), (13, "dates", "val"), (700, "names", "train"),
            (800, "verbs", "val"), (801, "quotes ", "train"),
        ]
    ]  # fmt: skip
    about = {"dataset_name": "d", "layer": 12, "source": "s", "vector_type": "sae_decoder"}
    given = tmp_path / "published.json.gz"
    given.write_bytes(gzip.compress(json.dumps([{"metadata": about, "vectors": vectors}]).encode()))

    assert prepare(tmp_path, "--sae-folder", SHIPPED, "--labels-json", given) == 0
    printed = capsys.readouterr().out
    assert "leaks: 2 of 3 validation vectors share" in printed and "1 word for word; 1 texts" in printed
    assert "--force-new-split mends it" in printed and "4,608 vectors of 576 numbers" in printed
    saved = torch.load(tmp_path / "out" / "n.pt", weights_only=True)
    assert type(saved) is torch.Tensor and torch.equal(saved, W_dec.detach())
    data = load_training_data(tmp_path / "out" / "n_labels.json")
    assert [(item.index, item.split) for item in data.items] == sorted((v["index"], v["split"]) for v in vectors)
    assert data.items[4].labels == ("quotes",)
    section = data.items[0].section
    assert section["layer"] == 12 and section["filename"] == "n.pt" and section["rows_divided_by"] == 1
    assert section["source"] == "published.json.gz" and section["split"] == "as given"
    assert (section["num_vectors"], section["model_dim"]) == (4608, 576)

    again = ("--sae-folder", SHIPPED, "--labels-json", tmp_path / "out" / "n_labels.json")  # what was written, read
    assert prepare(tmp_path, *again, "--force-new-split", "--val-fraction", 0.5, "--layer", 11) == 0
    assert "leaks: none of the 3 validation vectors" in capsys.readouterr().out
    data = load_training_data(tmp_path / "out" / "n_labels.json")
    assert data.leaks().leaking == 0 and data.items[0].section["layer"] == 11
    assert data.items[0].section["split"] == "by label, fraction 0.5, seed 42"


def test_any_vectors_with_lines_of_labels(tmp_path, capsys):
    torch.save(torch.ones(9, 3, dtype=torch.float16), tmp_path / "v.pt")
    lines = tmp_path / "labels.jsonl"
    lines.write_bytes(batch(*({"index": index, "description": f"label {index}"} for index in range(9))))
    splits = []
    for seed in (1, 1, 4):
        arguments = ("--vectors", tmp_path / "v.pt", "--labels-jsonl", lines, "--seed", seed, "--val-fraction", 0.4)
        assert prepare(tmp_path, *arguments) == 0
        data = load_training_data(tmp_path / "out" / "n_labels.json")
        splits.append([item.split for item in data.items])
    assert splits[0] == splits[1] != splits[2] and splits[0].count("val") == 4
    assert data.items[0].section["layer"] is None and data.items[0].section["vector_type"] == "given"
    capsys.readouterr()
    torch.save(torch.ones(8, 3), tmp_path / "v.pt")
    assert prepare(tmp_path, *arguments, name="m") == 1
    assert "labels.jsonl has a label for feature 8, and there are 8 vectors" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("m*"))


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--release", "llama_scope", "--sae-id", "x"), "sae-lens knows no release 'llama_scope'"),
        (("--release", "llama_scope_lxr_8x", "--sae-id", "l32r_8x"), "has no SAE 'l32r_8x': give one of its 32,"),
        (("--release", "goodfire-llama-3.1-8b-instruct", "--sae-id", "layer_19"), "are not on Neuronpedia: give a"),
        (("--release", "sae_bench_gemma-2-2b_topk_width-2pow14_date-1109", "--sae-id", "x"), "has no SAE 'x'|knows no"),
        (("--sae-folder", "none"), "none lacks cfg.json and sae_weights"),
        (("--sae-folder", SHIPPED), "has no name on Neuronpedia, as far as it says: give labels with --labels-json"),
        (("--vectors", "none.pt"), "There is no file of vectors"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(tmp_path, capsys, arguments, said):
    assert prepare(tmp_path, *arguments) == 1
    printed = capsys.readouterr().err
    assert re.search(said, printed) and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "required"), (("--release", "a"), "go together"), (("--vectors", "a", "--sae-id", "b"), "go together"),
        (("--vectors", "a", "--sae-folder", "b"), "not allowed with"),
        (("--vectors", "a", "--layer", "-1"), "is less than 0"),
        (("--vectors", "a", "--labels-json", "b", "--labels-jsonl", "c"), "not allowed with"),
        (("--vectors", "a", "--val-fraction", "1"), "is not between 0 and 1"),
        (("--vectors", "a", "--val-fraction", "nan"), "is not between 0 and 1"),
        (("--vectors", "a", "--output-name", "b/c"), "is no name for files"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(tmp_path, capsys, arguments, said):
    with pytest.raises(SystemExit):
        command.main(["--output-dir", str(tmp_path / "out"), "--output-name", "n", *arguments])
    assert said in capsys.readouterr().err


def test_what_the_page_says(tmp_path, capsys, W_dec):
    code = re.search(r"### By hand\s+```python\n(.*?)```", page(), re.S)[1].replace("outputs/selfie", str(tmp_path))
    names = {}
    exec(code, names)
    assert capsys.readouterr().out.startswith("torch.Size([4608, 576]) none of the 1 validation vectors")
    assert torch.equal(names["data"].vectors, W_dec.detach())
    leaks = reference_value("llama-3.1-8b-instruct/published_label_leaks")
    counts = [f"{leaks['word_for_word']} of the {leaks['val_vectors']:,} validation features", f"{leaks['leaking']} if"]
    assert all(count in " ".join(page().split()) for count in counts)
    assert json.loads(re.search(r"```json\n(.*?)```", page(), re.S)[1])[0].keys() == {"metadata", "vectors"}
