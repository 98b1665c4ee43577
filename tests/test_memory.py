"""Selective caching, moving to the CPU, and counting memory once."""

import gc
import mmap
import weakref

import pytest
import torch

from scripts.interp.runs.caches import cache_filter, cache_megabytes, cpu_hooks, free_memory, memory_report

PROMPT = "When John and Mary went to the store, John gave a book to"


def test_filter_caches_what_was_asked_for_and_little_else(language_model):
    layers = [1, language_model.cfg.n_layers - 1]
    names = cache_filter(language_model, "resid_post", "pattern", "ln1.hook_scale", "embed", layers=layers)
    _, some = language_model.run_with_cache(PROMPT, names_filter=names)
    _, full = language_model.run_with_cache(PROMPT)
    inside = ("hook_resid_post", "attn.hook_pattern", "ln1.hook_scale")
    asked = {"hook_embed"} | {f"blocks.{layer}.{name}" for layer in layers for name in inside}
    assert asked <= set(some)
    assert {name for name in full if names(name)} == asked
    assert all(torch.equal(some[name], full[name]) for name in asked)
    expected = sum(some[name].numel() * 4 for name in asked) / 1e6
    assert cache_megabytes(some) == pytest.approx(expected)


def test_filter_on_all_layers_and_one_layer(toy):
    every = cache_filter(toy, "pattern")
    assert every("blocks.0.attn.hook_pattern") and every("blocks.1.attn.hook_pattern")
    assert not every("hook_embed")
    assert cache_filter(toy, "z", layers=1)("blocks.1.attn.hook_z")
    assert not cache_filter(toy, "z", layers=1)("blocks.0.attn.hook_z")


@pytest.mark.parametrize(
    "kinds, layers, message",
    [
        (["resid_pots"], None, "no activation 'resid_pots'.*resid_pre.*resid_post"),
        (["scale"], None, "no activation 'scale'"),  # three different ones end in it
        (["z"], [0, 2], "no layer 2: this model's layers are 0 to 1"),
        (["z"], -1, "no layer -1"),
        (["z"], [], "Nothing would be cached"),
        ([], None, "Nothing would be cached"),
    ],
)
def test_unknown_kinds_and_layers(toy, kinds, layers, message):
    with pytest.raises(ValueError, match=message):
        cache_filter(toy, *kinds, layers=layers)


def test_cpu_hooks_store_copies_under_the_names_asked_for(language_model):
    names = ["blocks.1.hook_resid_post", "blocks.0.attn.hook_q"]
    store = {}
    language_model.run_with_hooks(PROMPT, fwd_hooks=cpu_hooks(language_model, names, store))
    _, cache = language_model.run_with_cache(PROMPT)
    assert set(store) == set(names)
    assert all(torch.equal(store[name], cache[name]) and store[name].device.type == "cpu" for name in names)


def test_cpu_hooks_copy_even_on_the_cpu(toy):
    store, activation = {}, torch.ones(2)
    [(_, hook)] = cpu_hooks(toy, ["hook_embed"], store)
    hook(activation, None)
    activation.zero_()
    assert store["hook_embed"].tolist() == [1, 1]


def test_cpu_hooks_refuse_unknown_names(toy):
    with pytest.raises(ValueError, match="no hook 'blocks.2.hook_resid_post'"):
        cpu_hooks(toy, ["blocks.2.hook_resid_post"], {})


def test_megabytes_count_a_tensor_once_whatever_its_names():
    tensor = torch.zeros(1000, 250)  # 1 MB is 1,000,000 bytes
    other = torch.zeros(500, 250, dtype=torch.float64)
    cache = {"a": tensor, "alias": tensor, "view": tensor[:, :10], "reshaped": tensor.view(250, 1000)}
    cache["other"] = other
    assert cache_megabytes(cache) == pytest.approx(2.0)
    assert cache_megabytes({}) == 0


def test_a_full_cache_has_many_aliases(model):
    _, cache = model.run_with_cache(PROMPT)
    by_name = sum(tensor.numel() * tensor.element_size() for tensor in cache.values()) / 1e6
    assert 10 < cache_megabytes(cache) < 0.8 * by_name


def test_report_notices_what_the_process_takes():
    before = memory_report().resident
    taken = mmap.mmap(-1, 200_000_000)  # unlike a tensor's, this memory is never left over from an earlier one
    taken[:: mmap.PAGESIZE] = bytes(len(range(0, len(taken), mmap.PAGESIZE)))
    during = memory_report().resident
    taken.close()
    assert during - before == pytest.approx(200, abs=20)
    assert memory_report().resident - before == pytest.approx(0, abs=20)


def test_free_memory_collects_cycles():
    class Node:
        pass

    gc.disable()
    try:
        node = Node()
        node.itself, gone = node, weakref.ref(node)
        del node
        assert gone() is not None
        free_memory()
        assert gone() is None
    finally:
        gc.enable()


def test_report_prints():
    report = memory_report()
    assert str(report).startswith(f"RAM {report.resident:,.0f} MB")
    assert ("no GPU" in str(report)) == (not torch.cuda.is_available())
    with_gpu = report._replace(cuda_allocated=1200, cuda_reserved=2000)
    assert str(with_gpu).endswith("GPU 1,200 MB in tensors, 2,000 MB reserved")
