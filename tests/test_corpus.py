"""The corpus: sampling, resuming, packing into a file, splits, rows of tokens."""

import gzip
import hashlib
import json
import lzma
import os
import string
from collections import Counter
from random import Random

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from scripts import sample_corpus
from scripts.interp.text.corpus import (
    CORPUS_FILE,
    Document,
    beginnings,
    documents_as_bytes,
    library_documentation,
    load_corpus,
    packed_tokens,
    split_of,
)
from scripts.interp.text.openings import FILLERS, OPENINGS, random_opening
from scripts.sample_corpus import (
    check_settings,
    continue_prompts,
    finish,
    main,
    sample,
    sample_batch,
    sampled,
    sampler,
    sampling_settings,
    take_head_start,
)

BOS, EOS = "<|im_start|>", "<|im_end|>"
ODD = Document("code", 'a\u2028b\r\nc\x85 "é"\n')  # characters that some readers take for the end of a line


def make_tokenizer(bos=BOS):
    """A small byte-level BPE that, like the embedded model's, puts BOS before a text unless it is told not to."""
    bpe = ByteLevelBPETokenizer()
    texts = [random_opening(Random(seed))[1] for seed in range(300)]
    bpe.train_from_iterator(texts, vocab_size=400, special_tokens=["<unk>", BOS, EOS], show_progress=False)
    if bos:
        bpe.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token=bos, eos_token=EOS, unk_token="<unk>")


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def llama(tokenizer):
    """Grouped keys, rotary, and weights large enough that a token depends on all tokens before it."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.4, bos_token_id=1, eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


@pytest.fixture
def short(monkeypatch):
    """Texts short enough for the tiny model's context."""
    monkeypatch.setattr(sample_corpus, "NEW_TOKENS", 6)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write_head_start(path, documents):
    path.write_bytes(gzip.compress(documents_as_bytes(documents), mtime=0))
    return path


# --- sampling


def test_together_prompts_of_all_lengths_get_the_greedy_text_they_get_alone(llama):
    rng, banned = Random(0), [0, 1, 2]
    prompts = [[rng.randrange(3, 400) for _ in range(length)] for length in (1, 9, 2, 5, 9, 30)]
    texts = continue_prompts(llama, prompts, 20, sampler(banned, 0, llama.device, top_k=1))
    assert len({tuple(text[-20:]) for text in texts}) == len(prompts)  # the prompt decides
    for prompt, text in zip(prompts, texts):
        alone = llama.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),
            max_new_tokens=20,
            do_sample=False,
            suppress_tokens=banned,
            pad_token_id=0,
        )
        assert text == alone[0].tolist()


def test_tokens_are_drawn_from_the_likeliest_at_the_temperature():
    logits = torch.tensor([9.0, 2.0, 1.0, 0.5, 0.4, -1.0]).repeat(20_000, 1)
    drawn = sampler([0], 3, logits.device, top_k=3)(logits).bincount(minlength=6) / 20_000
    expected = torch.tensor([2.0, 1.0, 0.5]).div(0.9).softmax(0)
    assert torch.allclose(drawn[1:4], expected, atol=0.015) and drawn[0] == drawn[4] == drawn[5] == 0


def test_a_batch_is_given_by_its_number(llama, tokenizer, short):
    state = torch.get_rng_state()
    first, again, second = (sample_batch(llama, tokenizer, number, 5) for number in (1, 1, 2))
    assert first == again and torch.equal(state, torch.get_rng_state())
    assert not {document.text for document in first} & {document.text for document in second}


def test_texts_start_with_their_opening_and_hold_no_special_token(llama, tokenizer, monkeypatch):
    monkeypatch.setattr(sample_corpus, "NEW_TOKENS", 30)
    rng = Random(7)
    openings = [random_opening(rng) for _ in range(60)]
    documents = sample_batch(llama, tokenizer, 7, 60)
    for (genre, opening), document in zip(openings, documents):
        assert document.genre == genre and document.text.startswith(opening) and len(document.text) > len(opening)
        assert not any(special in document.text for special in (BOS, EOS, "<unk>"))


def test_openings_are_many_whole_and_rarely_repeat():
    assert len(OPENINGS) == 22 and all(len(set(openings)) == len(openings) >= 12 for openings in OPENINGS.values())
    assert all(len(set(fillers)) == len(fillers) and all(fillers) for fillers in FILLERS.values())
    for opening in (opening for openings in OPENINGS.values() for opening in openings):
        assert not opening.endswith(" ")  # the space belongs to the next token
        gaps = {gap.rstrip("2").lower() for _, gap, _, _ in string.Formatter().parse(opening) if gap}
        assert gaps and gaps <= set(FILLERS)
    rng = Random(0)
    drawn = [random_opening(rng) for _ in range(4400)]
    assert len(set(drawn)) > 0.97 * len(drawn) and set(Counter(genre for genre, _ in drawn)) == set(OPENINGS)
    assert min(Counter(genre for genre, _ in drawn).values()) > 120


# --- the work folder


def test_a_killed_run_goes_on_to_the_same_texts(llama, tokenizer, short, tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    sample(llama, tokenizer, whole, 400, 2)
    assert len(files(whole)) > 3
    replace = os.replace

    def kill_at_the_third(source, target):
        if str(target).endswith("batch-00003.jsonl"):
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", kill_at_the_third)
        sample(llama, tokenizer, killed, 400, 2)
    assert list(files(killed)) == ["batch-00001.jsonl", "batch-00002.jsonl"]
    sample(llama, tokenizer, killed, 400, 2)
    assert files(killed) == files(whole)


def test_what_a_kill_left_of_a_batch_is_no_batch(llama, tokenizer, short, tmp_path):
    sample(llama, tokenizer, tmp_path, 300, 4)
    before = files(tmp_path)
    (tmp_path / "batch-00002.jsonl").rename(tmp_path / ".batch-00002.jsonl.k1ll3d")
    assert len(sampled(tmp_path)) == 4 * (len(before) - 1)
    sample(llama, tokenizer, tmp_path, 300, 4)
    assert {name: content for name, content in files(tmp_path).items() if name[0] != "."} == before


def test_sampling_stops_at_the_number_of_tokens(llama, tokenizer, short, tmp_path, capsys):
    sample(llama, tokenizer, tmp_path, 300, 4)
    n_tokens = sum(len(tokenizer(d.text, add_special_tokens=False).input_ids) for d in sampled(tmp_path))
    last = sum(len(tokenizer(d.text, add_special_tokens=False).input_ids) for d in sampled(tmp_path)[-4:])
    assert n_tokens - last < 300 <= n_tokens
    printed = capsys.readouterr()
    assert f"{n_tokens:,} of 300 tokens" in printed.out.splitlines()[-1] and "0 minutes left" in printed.out
    before = files(tmp_path)
    sample(llama, tokenizer, tmp_path, 300, 4)
    assert files(tmp_path) == before and printed.err == ""


def test_a_head_start_comes_first_and_counts(llama, tokenizer, short, tmp_path):
    taken = [Document("story", f"Number {n}. " + "word " * 30) for n in range(5)]
    path = write_head_start(tmp_path / "old.jsonl.gz", taken)
    take_head_start(path, tmp_path / "work")
    take_head_start(path, tmp_path / "work")  # the same again
    sample(llama, tokenizer, tmp_path / "work", 300, 4)
    sample(llama, tokenizer, tmp_path / "alone", 300, 4)
    with_it, without = sampled(tmp_path / "work"), sampled(tmp_path / "alone")
    assert with_it[:5] == taken and 5 <= len(with_it) < len(without)
    with pytest.raises(ValueError, match="another head start"):
        take_head_start(write_head_start(tmp_path / "other.jsonl.gz", taken[:2]), tmp_path / "work")
    assert sampled(tmp_path / "work") == with_it


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"not gzip", id="not gzip"),
        pytest.param(gzip.compress(b"[]"), id="no object"),
        pytest.param(gzip.compress(b"{"), id="no JSON"),
        pytest.param(gzip.compress(b'{"text": "no genre"}'), id="no genre"),
        pytest.param(gzip.compress(b'{"genre": "story", "text": "cut"}')[:-12], id="cut"),
        pytest.param(gzip.compress(b""), id="empty"),
    ],
)
def test_bad_head_starts_are_refused(content, tmp_path):
    path = tmp_path / "head.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="head.jsonl.gz is (no head start|empty)"):
        take_head_start(path, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_other_settings_are_refused(tmp_path, monkeypatch):
    check_settings(tmp_path, sampling_settings(96))
    check_settings(tmp_path, sampling_settings(96))
    with pytest.raises(ValueError, match="begun with batch_size 96"):
        check_settings(tmp_path, sampling_settings(48))
    monkeypatch.setitem(OPENINGS, "story", ["Once"])
    with pytest.raises(ValueError, match="begun with openings_sha256"):
        check_settings(tmp_path, sampling_settings(96))


# --- the committed file


def test_finish_packs_everything_once_with_its_provenance(tokenizer, tmp_path):
    work = tmp_path / "work"
    taken = [Document("story", "Once."), ODD]
    take_head_start(write_head_start(tmp_path / "old.jsonl.gz", taken), work)
    check_settings(work, sampling_settings(2))
    (work / "batch-00002.jsonl").write_bytes(documents_as_bytes([Document("list", "Last."), taken[0]]))
    (work / "batch-00001.jsonl").write_bytes(documents_as_bytes([Document("story", "Then."), taken[1]]))
    outputs = []
    for name in ("first", "second"):
        finish(work, tmp_path / name / "corpus.jsonl.xz", tokenizer)
        outputs.append(files(tmp_path / name))
    assert outputs[0] == outputs[1]
    corpus = tmp_path / "first" / "corpus.jsonl.xz"
    assert load_corpus(path=corpus) == taken + [Document("story", "Then."), Document("list", "Last.")]
    says = json.loads((tmp_path / "first" / "corpus.json").read_text())
    assert says["sha256"] == hashlib.sha256(corpus.read_bytes()).hexdigest()
    assert says["documents"] == 4 and says["head_start"]["documents"] == 2 and says["licence"] == "Apache-2.0"
    assert says["settings"]["batch_size"] == 2 and says["settings"]["temperature"] == 0.9
    assert says["genres"]["story"]["documents"] == 2 and list(says["genres"]) == ["code", "list", "story"]
    n_tokens = sum(len(tokenizer(d.text, add_special_tokens=False).input_ids) for d in load_corpus(path=corpus))
    assert says["tokens"] == n_tokens == sum(genre["tokens"] for genre in says["genres"].values())


def test_finish_needs_samples(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="no samples"):
        finish(tmp_path, tmp_path / "corpus.jsonl.xz", tokenizer)
    assert not (tmp_path / "corpus.jsonl.xz").exists()


def test_the_command(llama, tokenizer, short, tmp_path, monkeypatch, capsys):
    llama.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(sample_corpus, "prepare_embedded_model", lambda: tmp_path / "model")
    monkeypatch.setattr(sample_corpus, "CORPUS_FILE", tmp_path / "corpus.jsonl.xz")
    work = ["--work", str(tmp_path / "work")]
    threads = torch.get_num_threads()
    try:
        assert main(["--finish", *work]) == 1 and "no samples" in capsys.readouterr().err
        assert main(["--tokens", "150", "--batch-size", "3", *work]) == 0
        assert main(["--tokens", "150", "--batch-size", "4", *work]) == 1
        assert "was begun with batch_size 3" in capsys.readouterr().err
        assert main(["--finish", *work]) == 0 and "corpus.jsonl.xz" in capsys.readouterr().out
        monkeypatch.setattr(sample_corpus, "sample", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["--tokens", "999", "--batch-size", "3", *work]) == 130
    finally:
        torch.set_num_threads(threads)
    assert load_corpus(path=tmp_path / "corpus.jsonl.xz") == sampled(tmp_path / "work") != []
    for arguments in (["--tokens", "0"], ["--batch-size", "-1"], ["--threads", "two"], ["--device", "abacus"]):
        with pytest.raises(SystemExit):
            main(arguments)


@pytest.mark.skipif(not CORPUS_FILE.exists(), reason="data/corpus.jsonl.xz has not been sampled yet")
def test_the_committed_corpus_is_what_its_provenance_says():
    packed, says = CORPUS_FILE.read_bytes(), json.loads(CORPUS_FILE.with_name("corpus.json").read_text())
    assert len(packed) <= 6_000_000 and hashlib.sha256(packed).hexdigest() == says["sha256"]
    documents = load_corpus()
    assert len(documents) == len({document.text for document in documents}) == says["documents"]
    assert Counter(d.genre for d in documents) == {name: genre["documents"] for name, genre in says["genres"].items()}
    assert set(says["genres"]) == set(OPENINGS) and says["tokens"] >= 2_000_000


# --- splits


def test_splits_divide_the_corpus_whatever_else_is_in_it(tmp_path):
    documents = [Document("story", f"Text number {n}.") for n in range(2000)]

    def splits(documents):
        path = tmp_path / "corpus.jsonl.xz"
        path.write_bytes(lzma.compress(documents_as_bytes(documents)))
        assert load_corpus(path=path) == documents
        return {name: load_corpus(name, path) for name in ("train", "validation", "test")}

    whole = splits(documents)
    assert sorted(document for part in whole.values() for document in part) == sorted(documents)
    shares = {name: len(part) / len(documents) for name, part in whole.items()}
    assert shares == pytest.approx({"train": 0.9, "validation": 0.05, "test": 0.05}, abs=0.02)
    for others in (documents[::-1], documents[500:], [*documents, ODD, Document("poem", "O!")]):
        for name, part in splits(others).items():
            assert set(part) & set(documents) == set(whole[name]) & set(others)


def test_a_corpus_need_not_be_compressed_and_no_path_is_the_projects_own(tmp_path):
    (tmp_path / "mine.jsonl").write_bytes(documents_as_bytes([ODD, Document("poem", "O!")]))
    assert load_corpus(path=tmp_path / "mine.jsonl") == [ODD, Document("poem", "O!")]
    assert load_corpus("test", "") == load_corpus("test")


def test_documentation_of_the_library_is_other_text_and_always_the_same():
    documents = library_documentation()
    texts = [document.text for document in documents]
    assert len(texts) > 100 and len(set(texts)) == len(texts) and min(map(len, texts)) >= 300
    assert any(text.startswith("Create a new thread-local") or "ArgumentParser" in text for text in texts)
    assert not set(texts) & {document.text for document in load_corpus()} and library_documentation() == documents
    assert len(library_documentation(shortest=2000)) < len(texts)


def test_the_split_of_a_text_never_changes():
    """A change here moves documents that a model was trained on into its test set."""
    first = {name: next(n for n in range(200) if split_of(str(n)) == name) for name in ("train", "validation", "test")}
    assert first == {"train": 0, "validation": 26, "test": 8}


def test_bad_corpus_input(tmp_path):
    with pytest.raises(ValueError, match="no split 'dev': give 'train', 'validation', 'test', or None"):
        load_corpus("dev")
    with pytest.raises(FileNotFoundError, match=r"no corpus at .*nowhere.*: restore that file, or sample"):
        load_corpus(path=tmp_path / "nowhere.jsonl.xz")
    for name, content in (
        ("pile.jsonl", b'{"text": "A.", "meta": {"pile_set_name": "Pile-CC"}}\n'),
        ("plain.jsonl", b"A.\n"),
        ("numbers.jsonl", b'{"genre": "a", "text": 3}\n'),
        ("not-compressed.jsonl.xz", b'{"genre": "a", "text": "A."}\n'),
        ("not-utf8.jsonl", b'{"genre": "a", "text": "\xff"}\n'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r'is no corpus \(.*\): write one {"genre": …, "text": …} a line'):
            load_corpus(path=tmp_path / name)


# --- rows of tokens

TEXTS = [Document("story", "abc " * n + "\n") for n in (1, 30, 2, 3, 0, 55, 4)]


@pytest.mark.parametrize("context", range(2, 40))
def test_packing_keeps_every_token_in_order(tokenizer, context):
    rows = packed_tokens(TEXTS, tokenizer, context)
    assert rows.dtype == torch.long and rows.shape[1] == context and (rows[:, 0] == 1).all()
    ids = [id for d in TEXTS for id in tokenizer(d.text, add_special_tokens=False).input_ids]
    kept = [id for id in rows.flatten().tolist() if id != 1]
    assert kept == ids[: len(kept)] and len(ids) - len(kept) < context


@pytest.mark.parametrize("context", range(2, 40))
def test_every_document_follows_bos_and_bos_never_itself_in_a_row(tokenizer, context):
    rows = packed_tokens(TEXTS, tokenizer, context)
    assert not ((rows[:, 1:] == 1) & (rows[:, :-1] == 1)).any()
    ids = [tokenizer(d.text, add_special_tokens=False).input_ids for d in TEXTS]
    begins = {sum(map(len, ids[:n])) for n in range(len(ids))}
    place, followed = 0, set()
    for row in rows.tolist():
        for column, id in enumerate(row):
            if id == 1:
                assert column in (0, context - 1) or place in begins
                followed.add(place)
            else:
                assert place not in begins or row[column - 1] == 1
                place += 1


def test_packing_without_bos(tokenizer):
    rows = packed_tokens(TEXTS, make_tokenizer(bos=None), 16)
    ids = [id for d in TEXTS for id in tokenizer(d.text, add_special_tokens=False).input_ids]
    assert rows.flatten().tolist() == ids[: len(ids) // 16 * 16]


def test_a_special_token_spelled_out_in_a_text_stays_text(tokenizer):
    rows = packed_tokens([Document("code", f"x = '{BOS}' + '{EOS}' " * 20)], tokenizer, 16)
    assert (rows == 1).sum() == len(rows) and (rows != 2).all()


@pytest.mark.parametrize("context", [1, 0, -4, 8.0, True, None])
def test_bad_contexts(tokenizer, context):
    with pytest.raises(ValueError, match="integer of 2 or more"):
        packed_tokens(TEXTS, tokenizer, context)


@pytest.mark.parametrize("documents", [[], TEXTS[:1]])
def test_too_few_documents_for_a_row(tokenizer, documents):
    with pytest.raises(ValueError, match=f"{len(documents)} documents do not fill one row of 64"):
        packed_tokens(documents, tokenizer, 64)


def test_beginnings_are_bos_and_the_first_tokens_of_texts_that_are_long_enough(tokenizer):
    ids = [[1] + tokenizer(d.text, add_special_tokens=False).input_ids for d in TEXTS]
    long_enough = [text for text in ids if len(text) >= 7]
    shortest = min(map(len, long_enough))
    assert len(long_enough) > 2 and any(len(text) < 7 for text in ids)
    rows = beginnings(TEXTS, tokenizer, shortest, 100)  # one is exactly as long as that
    assert rows.tolist() == [text[:shortest] for text in long_enough]
    assert torch.equal(beginnings(TEXTS, tokenizer, shortest, 2), rows[:2])
    without = beginnings(TEXTS, make_tokenizer(bos=None), 6, 2)
    assert without.shape == (2, 6) and not (without == 1).any()
    with pytest.raises(ValueError, match="No document has 9000 tokens"):
        beginnings(TEXTS, tokenizer, 9000, 2)
