"""Training SAEs: every architecture, resuming, what is saved, and that the planted dictionary is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sae_lens import SAE
from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY, get_sae_training_class
from sae_lens.training.sae_trainer import SAETrainer

from scripts.interp.models.load import load_model
from scripts.interp.saes import judge, make, start, train as training
from scripts.interp.saes.cards import command_of, model_card
from scripts.interp.saes.load import load_sae
from scripts.interp.saes.recipes import Options, Settings, architectures, check_architecture, sae_config
from scripts.interp.saes.sparse_topk import SparseTopK
from scripts.interp.saes.stored_activations import StoredActivations
from scripts.interp.saes.train import OWN_RECIPES, l0_of_saved, save_in_half_precision, train
from scripts.interp.saes.untrained import mean_l0
from scripts.interp.text.corpus import Document, documents_as_bytes, load_corpus, packed_tokens
from scripts.train_sae import main

HOOK = "blocks.0.hook_resid_post"


def planted(n_features=24, d_in=12, n=4000, seed=0):
    """Activations that are sums of few of 24 directions and a bias, and the directions."""
    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(n_features, d_in))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strengths = (generator.random((n, n_features)) < 2 / n_features) * generator.uniform(2, 4, (n, n_features))
    values = strengths @ directions + generator.normal(size=d_in)
    return StoredActivations(values.astype(np.float16), 50.0, 7, 3), torch.tensor(directions).float()


SETTINGS = Settings("toy-attn-2l", HOOK, width=2, k=2, batch=100, passes=15, learning_rate=3e-3)


def test_the_planted_dictionary_is_found_and_more_than_untrained(tmp_path):
    activations, directions = planted(n=8000)
    sae, record = train(replace(SETTINGS, width=4, batch=200, passes=30), activations, tmp_path, progress=False)

    def best_matches(W_dec):
        return torch.nn.functional.cosine_similarity(directions[:, None], W_dec[None], dim=-1).amax(dim=1).mean().item()

    torch.manual_seed(1)
    assert best_matches(sae.W_dec) > 0.9 > 0.75 > best_matches(torch.randn(48, 12))
    assert record["steps"] == 1200 and record["curve"][-1]["step"] == 1200 and record["curve"][-1]["fvu"] < 0.15
    assert record["curve"][0]["fvu"] > record["curve"][-1]["fvu"] and record["curve"][-1]["l0"] == pytest.approx(
        2, abs=0.01
    )
    assert (record["tokens"], record["tokens_special"], record["tokens_massive"]) == (8000, 7, 3)
    x = torch.from_numpy(activations.values).float()
    error = (sae(x) - x).square().sum() / (x - x.mean(dim=0)).square().sum()  # the scale is folded in
    assert error < 0.15


@pytest.mark.parametrize("architecture", ["batchtopk", "jumprelu", "topk", "hybrid"])
def test_a_killed_run_ends_with_the_same_sae_and_curve(tmp_path, monkeypatch, architecture):
    monkeypatch.setattr(start, "CHECKPOINT_EVERY", 40)
    monkeypatch.setattr(start, "RECORD_EVERY", 30)
    activations, _ = planted(n=1000)
    settings = replace(SETTINGS, architecture=architecture)
    whole, record = train(settings, activations, tmp_path / "whole", progress=False)
    trainer = SparseTopK if training.OWN_RECIPES.get(architecture) else SAETrainer
    step, calls = trainer.step, []

    def killed(self, *given):
        calls.append(1)
        if len(calls) == 90:
            raise KeyboardInterrupt
        return step(self, *given)

    monkeypatch.setattr(trainer, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(settings, activations, tmp_path / "cut", progress=False)
    (checkpoint,) = (tmp_path / "cut").iterdir()
    assert torch.load(checkpoint, weights_only=True)["step"] == 80
    resumed, again = train(settings, activations, tmp_path / "cut", progress=False)
    assert len(calls) == 90 + 150 - 80
    assert again["curve"] == record["curve"] and again["steps"] == record["steps"] == 150
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.filterwarnings("ignore:decoder_init_norm must be set to 1")
@pytest.mark.parametrize("architecture", architectures())
def test_every_architecture_is_saved_and_loaded(architecture, tmp_path):
    activations, _ = planted(n=1000)
    settings = replace(SETTINGS, architecture=architecture, sparsity=0.3, passes=20)
    sae, record = train(settings, activations, tmp_path / "work", progress=False)
    assert record["curve"][-1]["fvu"] < 0.6 < record["curve"][0]["fvu"] + 0.4
    save_in_half_precision(sae, settings, 50.0, tmp_path / "sae")
    loaded = SAE.load_from_disk(tmp_path / "sae")
    assert loaded.W_dec.dtype == torch.float32 and (loaded.cfg.d_in, loaded.cfg.d_sae) == (12, 24)
    metadata = loaded.cfg.metadata
    assert (metadata.model_name, metadata.hook_name, metadata.norm_limit) == ("toy-attn-2l", HOOK, 50.0)
    x = torch.from_numpy(activations.values).float()
    error = (loaded(x) - x).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert error < 0.6
    assert sorted(file.name for file in (tmp_path / "sae").iterdir()) == ["cfg.json", "sae_weights.safetensors"]


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
@pytest.mark.parametrize("passes", [1, 4])
def test_a_short_run_is_saved_with_k_latents_a_token(architecture, passes, tmp_path):
    """sae-lens' threshold is a running mean from 0: after 40 steps it is 0.33 of what it should be."""
    activations, _ = planted(n=4000)
    settings = replace(SETTINGS, architecture=architecture, passes=passes)
    sae, record = train(settings, activations, tmp_path / "work", progress=False)
    save_in_half_precision(sae, settings, 50.0, tmp_path / "sae")
    x = torch.from_numpy(activations.values).float()
    assert record["steps"] == 40 * passes
    assert mean_l0(SAE.load_from_disk(tmp_path / "sae"), x) == pytest.approx(2, rel=0.1)
    assert l0_of_saved(tmp_path / "sae", settings, activations) == pytest.approx(2, rel=0.06)


def test_a_threshold_that_is_right_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "set_threshold", lambda *_: pytest.fail("It was set anew."))
    activations, _ = planted(n=4000)
    train(replace(SETTINGS, passes=20), activations, tmp_path, progress=False)


@pytest.mark.parametrize("architecture", ["jumprelu", "standard", "gated", "monosemanticity"])
def test_a_larger_weight_of_the_sparsity_loss_makes_an_sae_sparser(architecture, tmp_path):
    activations, _ = planted(n=2000)
    l0 = []
    for sparsity in (0.05, 0.5, 5.0):
        settings = replace(SETTINGS, architecture=architecture, sparsity=sparsity, width=4, passes=15)
        sae, _ = train(settings, activations, tmp_path / "work", progress=False)
        save_in_half_precision(sae, settings, 50.0, tmp_path / "sae")
        l0.append(l0_of_saved(tmp_path / "sae", settings, activations))
    assert l0[0] > 1.2 * l0[1] > 1.2**2 * l0[2], l0


def test_an_sae_for_heads_takes_them_where_it_is_loaded(small, capsys):
    arguments = ["blocks.1.attn.hook_z", *SMALL, "--width", "1", "--k", "8", "--batch", "64", "--judged-rows", "6"]
    assert main(arguments) == 0, capsys.readouterr().err
    toy, folder = load_model("toy-attn-2l", device="cpu"), small / "checkpoints" / "toy-attn-2l-blocks.1.attn.hook_z"
    sae = load_sae(toy, folder)
    assert sae.cfg.d_in == 256 and sae(torch.randn(2, 3, 4, 64)).shape == (2, 3, 4, 64)
    result = json.loads((folder / "metrics.json").read_text())
    assert result["held_out"]["test"]["fvu"][0] < 1 and result["l0_saved"] == pytest.approx(8, rel=0.06)
    assert (
        f"k 8 (L0 of what was saved, on these activations: {result['l0_saved']:.1f})"
        in (folder / "README.md").read_text()
    )


@pytest.mark.filterwarnings("ignore:decoder_init_norm must be set to 1")
def test_whatever_sae_lens_registers_can_be_named(monkeypatch):
    for name in set(architectures()) - set(OWN_RECIPES):
        config = sae_config(Settings(architecture=name, k=5, sparsity=0.3), 12, 100)
        sae = get_sae_training_class(name)[0](config)
        assert sae.W_dec.shape == (96, 12) and getattr(config, "k", 5) == 5
        assert getattr(config, "max_iterations", 5) == 5
        assert getattr(config, "l1_coefficient", 0.3) == getattr(config, "l0_coefficient", 0.3) == 0.3
    with pytest.raises(ValueError, match="There is no architecture 'mine'"):
        check_architecture("mine")
    monkeypatch.setitem(SAE_TRAINING_CLASS_REGISTRY, "mine", get_sae_training_class("topk"))
    check_architecture("mine")
    assert sae_config(Settings(architecture="mine", k=3), 12, 100).k == 3


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The whole command on a toy and a few documents, in folders of its own."""
    words = "the old man saw a red house and then again the cat went home because Mary took a garden".split()
    documents = [Document("words", " ".join(words[i % 7 :] * 6)) for i in range(12)]
    for module in (make, judge):
        monkeypatch.setattr(module, "load_corpus", lambda split, _: documents if split == "train" else documents[:6])
    monkeypatch.setattr(judge, "library_documentation", lambda: documents[6:])
    monkeypatch.setattr(make, "SAE_FOLDER", tmp_path / "checkpoints")
    monkeypatch.setenv("LAB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


SMALL = ["--model", "toy-attn-2l", "--context", "32"]


def test_the_command_leaves_sae_metrics_and_card(small, capsys):
    arguments = [HOOK, *SMALL, "--width", "1", "--k", "8", "--batch", "64", "--passes", "3"]
    assert main(arguments) == 0, capsys.readouterr().err
    folder = small / "checkpoints" / f"toy-attn-2l-{HOOK}"
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "cfg.json",
        "contexts.safetensors",
        "metrics.json",
        "recipe.json",
        "sae_weights.safetensors",
    ]
    result = json.loads((folder / "metrics.json").read_text())
    assert (folder / "README.md").read_text() == model_card(folder.name, result)
    assert set(result["held_out"]) == {"test", "library"} and result["settings"]["k"] == 8
    assert 0 < result["held_out"]["test"]["fvu"][0] < 1


def test_the_own_recipe_goes_to_a_folder_of_its_own_and_comes_back_as_it_is(small, capsys):
    arguments = [HOOK, *SMALL, "--architecture", "monosemanticity", "--width", "2", "--sparsity", "2", "--batch", "64"]
    assert main([*arguments, "--passes", "4", "--folder", "mine", "--no-contexts", "--judged-rows", "6"]) == 0, (
        capsys.readouterr().err
    )
    folder = small / "checkpoints" / "mine"
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "cfg.json",
        "metrics.json",
        "recipe.json",
        "sae_weights.safetensors",
    ]
    result, card = json.loads((folder / "metrics.json").read_text()), (folder / "README.md").read_text()
    assert len(result["resampled"]) > 0 and result["curve"][-1]["fvu"] < result["curve"][0]["fvu"]
    assert 0 < result["held_out"]["test"]["fvu"][0] < 1
    assert (
        "--architecture monosemanticity --width 2 --sparsity 2.0 --passes 4.0 --batch 64 --judged-rows 6 --folder mine"
        in card
    )
    W_dec = SAE.load_from_disk(folder).W_dec
    assert torch.allclose(W_dec.norm(dim=1), torch.ones(len(W_dec)), atol=1e-3)


def test_conversations_leave_the_template_out(small, monkeypatch, capsys):
    toy = load_model("toy-attn-2l")
    toy.tokenizer.chat_template = (
        "{% for message in messages %}Role {{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    )
    monkeypatch.setattr(make, "load_model", lambda name: toy)
    arguments = [
        HOOK,
        *SMALL,
        "--width",
        "1",
        "--k",
        "8",
        "--batch",
        "64",
        "--chat",
        "--folder",
        "talk",
        "--no-contexts",
    ]
    assert main(arguments) == 0, capsys.readouterr().err
    result = json.loads((small / "checkpoints" / "talk" / "metrics.json").read_text())
    assert result["tokens_special"] > 12 * 5 and result["held_out"]["test"]["n_special"] > 6 * 5
    assert "--chat --folder talk" in (small / "checkpoints" / "talk" / "README.md").read_text()


def test_another_corpus_is_trained_and_judged_on(small, monkeypatch, capsys):
    for module in (make, judge):
        monkeypatch.setattr(module, "load_corpus", load_corpus)
    file = small / "code.jsonl"
    texts = [f"def f{n}(x):\n    return x * {n} + 1\n\n\nprint(f{n}({n}))\n" for n in range(300)]
    file.write_bytes(documents_as_bytes([Document("code", text) for text in texts]))
    arguments = [HOOK, *SMALL, "--width", "1", "--k", "8", "--batch", "64", "--passes", "1", "--corpus", str(file)]
    assert main([*arguments, "--folder", "code", "--no-contexts"]) == 0, capsys.readouterr().err
    folder = small / "checkpoints" / "code"
    result, tokenizer = json.loads((folder / "metrics.json").read_text()), load_model("toy-attn-2l").tokenizer

    def n_tokens(split):
        return packed_tokens(load_corpus(split, file), tokenizer, 32).numel()

    judged = result["held_out"]["test"]
    assert result["tokens"] + result["tokens_special"] + result["tokens_massive"] == n_tokens("train")
    assert judged["n_tokens"] + judged["n_special"] + judged["n_massive"] == n_tokens("test")
    assert f"training split of `{file}`," in (folder / "README.md").read_text()
    assert json.loads((folder / "recipe.json").read_text())["settings"]["corpus"] == str(file)


def test_the_sweep_judges_every_layer_alike(small, capsys):
    arguments = ["--sweep", "0", "1", *SMALL, "--width", "1", "--k", "8", "--batch", "64", "--passes", "1"]
    assert main(arguments) == 0, capsys.readouterr().err
    results = json.loads((small / "checkpoints" / "toy-attn-2l-sweep.json").read_text())
    assert [each["settings"]["hook_name"] for each in results] == [
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_post",
    ]
    assert len({each["held_out"]["validation"]["n_predicted"] for each in results}) == 1
    assert all(0 <= each["predicate_f1"] <= 1 for each in results)
    assert "blocks.1.hook_resid_post: recovered" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, sentence", [
    ([HOOK, "--architecture", "sparse"], "There is no architecture 'sparse': give one of batchtopk, topk"),
    (["blocks.7.hook_resid_post"], "This model has no hook 'blocks.7.hook_resid_post'"),
    ([HOOK, "--sparsity", "3"], "--sparsity does nothing for batchtopk: give --k."),
    ([HOOK, "--architecture", "jumprelu", "--k", "3"], "--k does nothing for jumprelu: give --sparsity."),
    ([HOOK, "--architecture", "monosemanticity", "--k", "3"], "--k does nothing for monosemanticity: give --sparsity."),
    ([HOOK, "--budget-gb", "0.0000001"], "the budget is 1e-07 GB"),
    ([HOOK, "--batch", "100000"], "do not fill one batch of 100000"),
    ([HOOK, "--batch", "0"], "--batch is 0: give 1 or more."),
    ([HOOK, "--seed", "-1"], "--seed is -1: give 0 or more."),
    ([HOOK, "--passes", "inf"], "--passes is inf: give a number above 0."),
    ([HOOK, "--learning-rate", "nan"], "--learning-rate is nan: give a number above 0."),
    ([HOOK, "--architecture", "gated", "--sparsity", "-1"], "--sparsity is -1: give 0 or more."),
    ([HOOK, "--batch", "64", "--passes", "0.01"], "--passes is 0.01, less than one batch of 64: give more."),
    ([HOOK, "--width", "1", "--k", "257"], "--k is 257 of 256 latents: give 256 or less, or a larger --width."),
])  # fmt: skip
def test_bad_input(small, capsys, arguments, sentence):
    assert main([*arguments, *SMALL]) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_an_sae_of_another_architecture_does_not_replace_the_one_that_a_lab_loads():
    usual, other = Settings("toy", HOOK), Settings("toy", HOOK, architecture="hybrid")
    assert make.name_of(usual, Options()) == f"toy-{HOOK}" and make.name_of(other, Options()) == f"toy-{HOOK}-hybrid"
    assert make.name_of(other, Options(folder="mine")) == "mine"
    assert "--folder" not in command_of(other, f"toy-{HOOK}-hybrid") and "--folder mine" in command_of(other, "mine")


def test_no_threads_are_refused(capsys):
    with pytest.raises(SystemExit):
        main([HOOK, *SMALL, "--threads", "0"])
    assert "'0' is not a whole number of 1 or more" in capsys.readouterr().err
