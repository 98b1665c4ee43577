"""Training in parts: by several processes, and with gradients that add up; both as one process and one piece do it."""

import json
import os
import signal
import sys
from dataclasses import replace

import pytest
import torch

from scripts.interp.saes import make, split, start, train as training, train_with_sae_lens
from scripts.interp.saes.recipes import Settings
from scripts.interp.saes.split import SPLITTABLE, How
from scripts.interp.saes.train import train
from scripts.interp.training.processes import sum_over, together
from scripts.train_sae import main
from tests.fixtures.processes import in_processes
from tests.test_train_sae import HOOK, SMALL, planted, small  # noqa: F401

# A rate at which latents die, so that TopK's auxiliary loss and the counters of all parts count
SETTINGS = Settings("toy-attn-2l", HOOK, width=5, k=3, batch=48, passes=4, sparsity=0.3, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(start, "CHECKPOINT_EVERY", 20)
    monkeypatch.setattr(start, "RECORD_EVERY", 10)


def tiny_activations():
    return planted(n_features=30, d_in=8, n=1000)[0]


def close(curve, other):
    """Whether two curves have the same losses, to 1e-5."""
    return [row["loss"] for row in curve] == pytest.approx([row["loss"] for row in other], rel=1e-5)


@pytest.mark.filterwarnings("ignore:decoder_init_norm must be set to 1")
@pytest.mark.parametrize("architecture", SPLITTABLE)
def test_parts_add_up_to_the_whole(architecture, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "set_threshold", lambda *_: None)  # BatchTopK's stays as the steps have left it
    settings = replace(SETTINGS, architecture=architecture)
    whole, record = train(settings, tiny_activations(), tmp_path / "whole", progress=False)
    parts, again = train(settings, tiny_activations(), tmp_path / "parts", progress=False, how=How(accumulate=3))
    assert close(again["curve"], record["curve"]) and again["accumulate"] == 3
    assert all(mine["dead"] == theirs["dead"] for mine, theirs in zip(again["curve"], record["curve"]))
    if architecture == "topk":
        assert record["curve"][-2]["dead"] > 0
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, parts.state_dict()[name], atol=1e-4), name


@pytest.mark.parametrize("architecture", ["standard", "batchtopk", "topk", "hybrid"])
def test_two_processes_do_what_one_does(architecture, tmp_path, capsys):
    settings = replace(SETTINGS, architecture=architecture)
    _, record = train(settings, tiny_activations(), tmp_path / "one", progress=False)

    def part(rank):
        with together("cpu") as processes:
            how = How(processes, accumulate=2)
            sae, record = train(settings, tiny_activations(), tmp_path / f"of-{rank}", progress=False, how=how)
        torch.save({"weights": sae.state_dict(), "curve": record["curve"]}, tmp_path / f"{rank}.pt")

    assert in_processes(part, 2, tmp_path) == ([0, 0], ["", ""])
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert close(first["curve"], record["curve"]) and first["curve"] == second["curve"]
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert list((tmp_path / "of-0").iterdir()) and not (tmp_path / "of-1").exists()  # the first one alone writes


def test_where_a_process_is_killed_the_others_stop_and_the_command_goes_on(small, monkeypatch, capfd):  # noqa: F811
    monkeypatch.setattr(make, "judge", lambda *_: {})
    monkeypatch.setattr(make, "model_card", lambda *_: "")
    arguments = [HOOK, *SMALL, "--width", "1", "--k", "8", "--batch", "24", "--passes", "3", "--no-contexts"]
    metrics = small / "checkpoints" / f"toy-attn-2l-{HOOK}" / "metrics.json"
    assert main(arguments) == 0
    whole = json.loads(metrics.read_text())
    for path in [metrics, *(small / "outputs" / "saes").glob("*.pt")]:
        path.unlink()
    step = split.split_step

    def killed(trainer, *others):
        if os.environ["RANK"] == "1" and trainer.n_training_steps == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer, *others)

    monkeypatch.setattr(train_with_sae_lens, "split_step", killed)
    codes, (error, _) = in_processes(lambda rank: main(arguments), 2, small)
    assert codes == [1, -signal.SIGKILL]
    assert error.startswith("Process 0 of 2 stops, because another one has ended") and error.count("\n") == 1
    (checkpoint,) = (small / "outputs" / "saes").glob("*.pt")
    assert torch.load(checkpoint, weights_only=True)["step"] == 20 and not metrics.exists()
    monkeypatch.setattr(train_with_sae_lens, "split_step", step)
    capfd.readouterr()
    assert in_processes(lambda rank: main(arguments), 2, small) == ([0, 0], ["", ""])
    again = json.loads(metrics.read_text())
    assert close(again["curve"], whole["curve"]) and (again["processes"], whole["processes"]) == (2, 1)
    lines = [line for line in capfd.readouterr().out.splitlines() if ", step " in line]
    assert len(lines) == len(whole["curve"]) - 2  # the first one alone prints, and only what was not done


def test_where_a_process_is_told_to_end_all_stop(tmp_path):
    def part(rank):
        try:
            with together("cpu") as processes:
                for step in range(100):
                    if (rank, step) == (1, 5):
                        os.kill(os.getpid(), signal.SIGTERM)
                    sum_over(processes, [torch.ones(2)])
        except ConnectionError as error:
            print(error, file=sys.stderr)
            return 1

    codes, errors = in_processes(part, 2, tmp_path)
    assert codes == [1, 1] and "Process 1 of 2 stops, it was told to end: the last checkpoint is whole" in errors[1]
    assert "Process 0 of 2 stops, because another one has ended" in errors[0]


def test_a_process_without_the_activations_says_so(small, capfd):  # noqa: F811
    def elsewhere(rank):
        if rank == 1:
            os.environ["LAB_OUTPUTS"] = str(small / "other")
        return main([HOOK, *SMALL, "--width", "1", "--k", "8", "--batch", "24", "--no-contexts"])

    codes, errors = in_processes(elsewhere, 2, small)
    assert codes == [1, 1] and "does not hold the activations that the first process has written" in errors[1]


@pytest.mark.parametrize("arguments, sentence", [
    (["--accumulate", "0"], "--accumulate 0 is no number of parts: give 1 or more."),
    (["--accumulate", "3", "--batch", "64"], "--batch 64 does not split into 3 equal parts"),
    (["--accumulate", "2", "--architecture", "monosemanticity"], "'monosemanticity' is trained by one process and"),
    (["--accumulate", "2", "--architecture", "hybrid", "--ranking", "low_rank"], "--ranking low_rank looks at whole"),
    (["--device", "tpu"], "There is no device 'tpu': give one of cpu, cuda."),
])  # fmt: skip
def test_what_can_not_be_done_in_parts_is_refused(small, capsys, arguments, sentence):  # noqa: F811
    assert main([HOOK, *SMALL, *arguments]) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed(small, capsys):  # noqa: F811
    assert main([HOOK, *SMALL, "--device", "cuda"]) == 1
    assert "needs a GPU of its own, and PyTorch sees 0" in capsys.readouterr().err
