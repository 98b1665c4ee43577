"""Soft tokens: where they go, what labels cost after them, adapters and their files, descriptions, training."""

import copy
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.interp.models.plain import load_plain_model
from scripts.interp.selfie import training
from scripts.interp.selfie.adapters import KINDS, Adapter, Saved, load_adapter, save_adapter
from scripts.interp.selfie.describe import describe
from scripts.interp.selfie.losses import label_losses, new_reading, plain_losses
from scripts.interp.selfie.prompt import Prompt, insert, label_ids, read_prompt
from scripts.interp.selfie.settings import checked, default_settings
from scripts.interp.selfie.training import Examples, Item, batches, planned_batches, rate_at, train, validation_loss
from tests.tiny_models import CONFIGS, tiny_model

D = 32  # width of the tiny models
LABELS = [[[5, 9, 4], [7, 4]], [[11]], [[6, 8, 12, 13, 4], [3, 3, 4], [9, 4]]]  # token ids, for three vectors
PROMPT = Prompt(torch.tensor([1, 20, 0, 22, 23, 0, 25]), (2, 5))


@pytest.fixture(scope="module", params=["llama", "gemma2", "neox"])
def tiny(request, tmp_path_factory):
    return load_plain_model(tiny_model(CONFIGS[request.param](), tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return load_plain_model(tiny_model(CONFIGS["llama"](), tmp_path_factory.mktemp("llama")))


def soft_tokens(n=3, scale=1.0):
    return scale * torch.randn(n, D, generator=torch.Generator().manual_seed(1))


# Losses


@pytest.mark.parametrize("prompt", [PROMPT, Prompt(torch.tensor([0, 20, 21]), (0,))], ids=["words first", "at once"])
@pytest.mark.parametrize("keep_prefix", [True, False])
def test_the_fast_losses_are_the_plain_ones(tiny, prompt, keep_prefix):
    soft = soft_tokens()
    reading = new_reading(tiny, prompt, keep_prefix)
    assert reading.n_before == (prompt.places[0] if keep_prefix else 0)
    for options in ({}, {"max_loss": 4.0, "label_smoothing": 0.1}):
        fast, plain = (
            label_losses(reading, soft, LABELS, **options), plain_losses(tiny, prompt, soft, LABELS, **options)
        )  # fmt: skip
        torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
    assert fast.max() <= 4.0 < label_losses(reading, soft, LABELS).max()


def test_the_losses_are_means_of_cross_entropies_of_the_labels_tokens(llama):
    soft = soft_tokens()
    embed = llama.model.get_input_embeddings()
    rows = insert(embed(PROMPT.ids), PROMPT.places, soft)
    label = LABELS[2][0]
    logits = llama.model(inputs_embeds=torch.cat([rows[2], embed(torch.tensor(label))])[None]).logits[0]
    said = logits.log_softmax(dim=-1)[len(PROMPT.ids) - 1 : -1]
    expected = -said.gather(1, torch.tensor(label)[:, None]).mean()
    torch.testing.assert_close(label_losses(new_reading(llama, PROMPT), soft, LABELS)[3], expected)


def test_their_gradients_agree(tiny):
    gradients = []
    for way in (
        lambda soft: label_losses(new_reading(tiny, PROMPT), soft, LABELS),
        lambda soft: plain_losses(tiny, PROMPT, soft, LABELS),
    ):
        soft = soft_tokens().requires_grad_()
        way(soft).sum().backward()
        gradients.append(soft.grad)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)
    assert gradients[0].norm(dim=1).min() > 1e-4


def test_labels_of_a_vector_do_not_see_each_other(llama):
    reading, soft = new_reading(llama, PROMPT), soft_tokens()
    changed = copy.deepcopy(LABELS)
    changed[2][0], changed[2][2] = [30, 31, 32], [33, 34, 35, 36]
    before, after = label_losses(reading, soft, LABELS), label_losses(reading, soft, changed)
    torch.testing.assert_close(before[[0, 1, 2, 4]], after[[0, 1, 2, 4]])
    assert not torch.isclose(before[[3, 5]], after[[3, 5]]).any()


# The prompt


def test_the_soft_token_stands_at_every_placeholder_and_nowhere_else():
    embeddings, soft = torch.randn(7, D), soft_tokens().requires_grad_()
    rows = insert(embeddings, (2, 5), soft)
    assert torch.equal(rows[:, 2], soft) and torch.equal(rows[:, 5], soft)
    others = [0, 1, 3, 4, 6]
    assert torch.equal(rows[:, others], embeddings[others].expand(3, -1, -1))
    rows.sum().backward()
    assert (soft.grad == 2).all()


def test_a_template_is_cut_at_its_placeholders(llama):
    tokenizer = llama.tokenizer
    prompt = read_prompt(tokenizer, 'What is "@"? It ("@") is "', "@")
    pieces = [tokenizer(each, add_special_tokens=False)["input_ids"] for each in ('What is "', '"? It ("', '") is "')]
    assert prompt.ids.tolist() == [*pieces[0], 0, *pieces[1], 0, *pieces[2]]
    assert prompt.places == (len(pieces[0]), len(pieces[0]) + 1 + len(pieces[1]))
    for template in ("no such thing", "ends with @"):
        with pytest.raises(ValueError, match="placeholder"):
            read_prompt(tokenizer, template, "@")
    assert tokenizer.decode(label_ids(tokenizer, "a word")) == 'a word"'


# Adapters

NUMBERS = {
    "identity": 0, "scale_only": 1, "scalar_affine": D + 1, "low_rank_only": 2 * D * 4 + D,
    "scalar_affine_plus_low_rank": D + 2 * D * 4 + 1, "full_rank": D * D + D,
}  # fmt: skip


def moved(kind, **options):
    """An adapter none of whose parameters is zero."""
    adapter = Adapter(kind, D, rank=4, init_scale=3.0, **options)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return adapter


@pytest.mark.parametrize("normalize_input", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_what_their_formulas_say(kind, normalize_input):
    adapter, x = moved(kind, normalize_input=normalize_input), soft_tokens(scale=7.0)
    unit = x / x.norm(dim=1, keepdim=True) if normalize_input else x
    expected = {
        "identity": lambda a: unit,
        "scale_only": lambda a: torch.exp(a.log_scale) * unit,
        "scalar_affine": lambda a: torch.exp(a.log_scale) * unit + a.bias,
        "low_rank_only": lambda a: torch.stack([a.V @ (a.U.T @ row) for row in unit]) + a.bias,
        "scalar_affine_plus_low_rank": lambda a: (
            torch.exp(a.log_scale) * unit + torch.stack([a.V @ (a.U.T @ row) for row in unit]) + a.bias
        ),
        "full_rank": lambda a: torch.stack([a.weight @ row for row in unit]) + a.bias,
    }[kind](adapter)
    torch.testing.assert_close(adapter(x), expected)
    assert adapter.n_parameters() == NUMBERS[kind]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "identity"])
def test_untrained_adapters_begin_as_published(kind):
    adapter = Adapter(kind, 400, rank=64, init_scale=5.0, init_factor=0.01)
    for name, parameter in adapter.named_parameters():
        if name == "log_scale":
            assert parameter.exp().item() == pytest.approx(5.0)
        elif name == "bias":
            assert not parameter.any()
        else:
            expected = {"U": 0.05 / 8, "V": 0.05 / 8, "weight": 5.0 / 20}[name]
            assert parameter.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_comes_back_from_its_file(tmp_path, kind, suffix):
    adapter, x = moved(kind), soft_tokens()
    save_adapter(tmp_path / f"a{suffix}", adapter, Saved(70, 1.5, {"seed": 3}))
    again, saved = load_adapter(tmp_path / f"a{suffix}")
    assert torch.equal(again(x), adapter(x)) and again.settings() == adapter.settings()
    assert (saved.global_step, saved.best_val_loss, saved.config["seed"]) == (70, 1.5, 3)


def test_published_files_are_read(tmp_path):
    """Of their layouts, with the names that the published code gives; flat headers have no configuration."""
    bias, log_scale = torch.randn(D), torch.tensor([1.5])
    expected = math.exp(1.5) * torch.nn.functional.normalize(soft_tokens(), dim=1) + bias
    flat = {"projection_type": "scalar_affine", "normalize_input": "true", "init_scale": "30.0"}
    save_file({"log_scale": log_scale, "bias": bias}, tmp_path / "flat.safetensors", metadata=flat)
    config = {"projection": {"type": "scalar_affine", "normalize_input": True, "init_scale": 30.0,
                             "low_rank_rank": None, "low_rank_init_factor": 0.01}}  # fmt: skip
    torch.save({
        "global_step": 12, "current_epoch": 0, "current_batch_in_epoch": 12, "best_val_loss": 2.0, "model_dim": D,
        "projection_state": {"log_scale": log_scale, "bias": bias}, "optimizer_state": {"state": {}},
        "scheduler_state": {}, "config": config, "checkpoint_format_version": 1, "projection_num_params": D + 1,
    }, tmp_path / "checkpoint.pt")  # fmt: skip
    for name in ("flat.safetensors", "checkpoint.pt"):
        adapter, _ = load_adapter(tmp_path / name)
        torch.testing.assert_close(adapter(soft_tokens()), expected)
    save_adapter(tmp_path / "ours.safetensors", adapter)
    assert set(load_file(tmp_path / "ours.safetensors")) == {"log_scale", "bias"}


def test_files_that_hold_no_adapter_are_refused(tmp_path):
    save_file({"bias": torch.zeros(3)}, tmp_path / "says nothing.safetensors")
    save_file({"bias": torch.zeros(3)}, tmp_path / "lacks.safetensors", metadata={"projection_type": "scalar_affine"})
    torch.save({"projection_state": {}}, tmp_path / "no config.pt")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match="holds no adapter"):
            load_adapter(path)
    with pytest.raises(ValueError, match="give one of identity, scale_only"):
        Adapter("affine", D)
    with pytest.raises(ValueError, match="3 dimensions"):
        Adapter("identity", D)(torch.zeros(2, 3))


# Descriptions


def test_a_description_is_what_the_model_generates_up_to_the_quotation_mark(llama):
    reading, soft = new_reading(llama, PROMPT), soft_tokens(scale=3.0)
    rows = insert(reading.embeddings, PROMPT.places, soft)
    expected = []
    for row in rows:
        ids = llama.model.generate(
            inputs_embeds=row[None], attention_mask=torch.ones(1, len(row)), max_new_tokens=12, min_new_tokens=12,
            do_sample=False, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        expected.append(llama.tokenizer.decode(ids[0], skip_special_tokens=True).split('"')[0].strip())
    assert describe(reading, soft, 12) == expected
    drawn = [describe(reading, soft, 12, temperature=1.0, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


# Training


def settings_of(**given):
    """Small settings: rates that learn something in 20 steps."""
    usual = {"learning_rate": 0.05, "warmup_steps": 2, "validation_every_n_steps": 5, "num_epochs": 10,
             "checkpoint_every_n_steps": 4}  # fmt: skip
    projection = {"type": "full_rank", "init_scale": 1.0}
    return checked({
        "data": {"batch_size": given.pop("batch_size", 6)}, "training": usual | given, "projection": projection,
        "logging": {"log_sample_generations": 0},
    }, "test")  # fmt: skip


def planted_examples():
    """Two kinds of vectors, each with its labels; those held out are of the same kinds."""
    generator = torch.Generator().manual_seed(2)
    kinds = torch.randn(2, D, generator=generator)
    vectors = torch.stack([kinds[i % 2] + 0.3 * torch.randn(D, generator=generator) for i in range(16)])
    labels = [((40, 41, 4), (42, 4)), ((50, 51, 52, 4), (53, 4))]
    items = [Item(i, labels[i % 2]) for i in range(16)]
    return Examples(vectors, items[:12], items[12:])


def test_training_learns_what_holds_for_held_out_vectors(llama):
    reading, examples, settings = new_reading(llama, PROMPT), planted_examples(), settings_of()
    adapter = Adapter("full_rank", D, init_scale=1.0)
    before = validation_loss(reading, adapter, examples, settings)
    weights = {name: value.clone() for name, value in llama.model.state_dict().items()}
    trained = train(reading, adapter, examples, settings)
    assert trained.record["best"]["val_loss"] < before - 0.5
    assert validation_loss(reading, trained.best, examples, settings) == pytest.approx(
        trained.record["best"]["val_loss"], abs=1e-5
    )
    assert all(torch.equal(value, weights[name]) for name, value in llama.model.state_dict().items())
    swapped = examples._replace(
        val=[Item(item.vector, examples.val[1 - i % 2].labels) for i, item in enumerate(examples.val)]
    )
    assert validation_loss(reading, trained.best, swapped, settings) > trained.record["best"]["val_loss"] + 0.1


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_to_the_same_end(llama, tmp_path, monkeypatch):
    reading, examples, settings = new_reading(llama, PROMPT), planted_examples(), settings_of(num_epochs=4)
    whole = train(reading, Adapter("scalar_affine", D), examples, settings, tmp_path / "whole")
    usual, calls = training.mean_loss, []

    def dies(*given):
        calls.append(0)
        if len(calls) == 18:
            raise Killed
        return usual(*given)

    monkeypatch.setattr(training, "mean_loss", dies)
    with pytest.raises(Killed):
        train(reading, Adapter("scalar_affine", D), examples, settings, tmp_path / "killed")
    monkeypatch.setattr(training, "mean_loss", usual)
    resumed = train(reading, Adapter("scalar_affine", D), examples, settings, tmp_path / "killed")
    assert resumed.record["curve"] == whole.record["curve"]
    for name in ("best", "final"):
        one, other = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "killed"))
        assert all(torch.equal(one[key], other[key]) for key in one)
    other = settings_of(num_epochs=4, learning_rate=0.01)
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        train(reading, Adapter("scalar_affine", D), examples, other, tmp_path / "killed")


def test_parts_of_a_batch_count_as_labels_of_one(llama):
    """A step of two batches of three vectors each, of two labels, is a step of one batch with all of them."""
    reading, examples = new_reading(llama, PROMPT), planted_examples()
    once = settings_of(batch_size=12, max_steps=1, warmup_steps=0)
    twice = settings_of(batch_size=6, max_steps=1, warmup_steps=0, gradient_accumulation_steps=2)
    for settings in (once, twice):
        settings["data"]["shuffle"] = False
    one, other = (train(reading, Adapter("full_rank", D), examples, each).adapter for each in (once, twice))
    torch.testing.assert_close(one.weight, other.weight)
    assert not torch.equal(one.weight, Adapter("full_rank", D).weight)


def test_the_shares_of_processes_add_up(llama):
    reading, examples, settings = new_reading(llama, PROMPT), planted_examples(), settings_of()
    adapter, batch = moved("scalar_affine"), examples.train[:5]
    whole = training.mean_loss(reading, adapter, examples.vectors, batch, settings, training.ALONE)
    shares = [
        training.mean_loss(reading, adapter, examples.vectors, batch, settings, training.Processes(rank, 2))
        for rank in range(2)
    ]
    torch.testing.assert_close(sum(shares), whole)


def test_an_epoch_has_every_item_once_and_labels_of_a_vector_stay_together():
    items = [Item(i, ((1,) * (i % 5 + 1),) * (i % 3 + 1)) for i in range(40)]
    settings = default_settings()
    settings["data"]["batch_size"], settings["training"]["num_epochs"] = 7, 2
    plan = planned_batches(items, settings)
    assert plan == planned_batches(items, settings)
    seen = [item for batch in plan for item in batch]
    assert sorted(seen) == sorted(items * 2) and seen[:40] != seen[40:]
    assert all(sum(len(item.labels) for item in batch) <= 7 for batch in plan)
    assert [item for batch in batches(items, 7, None) for item in batch] == items
    assert len(batches([Item(0, ((1,),) * 9)], 7, None)) == 1


def test_rates_go_up_in_a_line_and_down_along_a_cosine():
    given = default_settings()["training"]
    assert [rate_at(step, 110, given) for step in (0, 5, 10, 60)] == pytest.approx([1e-6, 0.5, 1.0, 0.5], abs=1e-5)
    assert rate_at(109, 110, given) < 1e-3
    assert rate_at(60, 110, given | {"scheduler_type": "constant"}) == 1
    optimizer = training.new_optimizer(moved("scalar_affine"), given | {"bias_learning_rate": 0.5})
    assert [(group["peak"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.01, 0.0), (0.5, 0.01)]
