"""The loop that survives a kill, its learning rates, and command lines with recipes; what is trained is one number."""

import json
from dataclasses import asdict, dataclass

import pytest
import torch

from scripts.interp.base.command_line import command_parser, recipe_text
from scripts.interp.training import loop
from scripts.interp.training.schedules import capped_cosine, cosine_to_a_tenth, set_learning_rate, trapezoid


def counting(killed_at=None, **others) -> loop.Training:
    """A training whose weight is the sum of its batches 1, 2, 3, …, each of which is its loss too."""
    weight = [0]

    def step(number: int, batch: int) -> loop.Step:
        if number == killed_at:
            raise KeyboardInterrupt
        weight[0] += batch
        return loop.Step(float(batch), (float(batch),))

    usual = dict(
        name="counting",
        settings={"steps": 7},
        steps=7,
        batches=lambda step: iter(range(step + 1, 100)),
        step=step,
        row=lambda step, averages: {"average": averages and averages[0], "weight": weight[0]},
        is_recorded=lambda step: step % 3 == 0,
        checkpoint_every=2,
        state=lambda: {"weight": weight[0]},
        restore=lambda saved: weight.__setitem__(0, saved["weight"]),
        line=lambda row: f"{row['step']}: {row['weight']}" * (row["step"] > 0),
    )
    return loop.Training(**usual | others)


def test_a_kill_changes_nothing_but_the_seconds(tmp_path, monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock.__setitem__(0, clock[0] + 10) or clock[0])
    whole = loop.run(counting(), None, progress=False)
    assert whole.rows == [
        {"step": 0, "average": None, "weight": 0},
        {"step": 3, "average": 2.0, "weight": 6},
        {"step": 6, "average": 5.0, "weight": 21},
    ]
    assert capsys.readouterr().out == "3: 6\n6: 21\n"
    checkpoint = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        loop.run(counting(killed_at=5), checkpoint, progress=False)
    saved = torch.load(checkpoint, weights_only=True)
    assert (saved["step"], saved["running"]) == (4, [(4.0,)])
    again = loop.run(counting(), checkpoint, progress=False)
    assert again.rows == whole.rows and again.seconds > saved["seconds"] > 0
    done = loop.run(counting(killed_at=7), checkpoint, progress=False)  # the last step has a checkpoint as well
    assert done.rows == whole.rows and done.seconds >= again.seconds


def test_who_watches_sees_the_record_so_far_after_a_kill_too(tmp_path):
    seen = []
    for last in (5, None, None):  # killed, gone on with, done already
        try:
            run = counting(last, watch=lambda rows: seen.append([row["step"] for row in rows]))
            loop.run(run, tmp_path / "run.pt", progress=False)
        except KeyboardInterrupt:
            seen.append("killed")
    assert seen == [[0], [0, 3], "killed", [0, 3], [0, 3, 6], [0, 3, 6]]


def test_several_start_from_what_one_has_read(tmp_path):
    whole = loop.run(counting(), None, progress=False)
    with pytest.raises(KeyboardInterrupt):
        loop.run(counting(killed_at=5), tmp_path / "run.pt", progress=False)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    assert loop.run(counting(agree=lambda mine: mine or saved), None, progress=False).rows == whole.rows


def test_another_run_s_checkpoint_and_a_loss_that_is_no_number_are_refused(tmp_path):
    loop.run(counting(), tmp_path / "run.pt", progress=False)
    with pytest.raises(ValueError, match=r"run.pt belongs to a run with other settings \(\{'steps': 7\}\): delete it"):
        loop.run(counting(settings={"steps": 8}), tmp_path / "run.pt", progress=False)
    endless = counting(step=lambda number, batch: loop.Step(float("inf"), (0.0,)))
    with pytest.raises(ValueError, match="The loss is inf at step 0: give a lower --learning-rate"):
        loop.run(endless, tmp_path / "endless.pt", progress=False)
    assert not (tmp_path / "endless.pt").exists()


def test_learning_rates_go_up_and_down():
    rates = [trapezoid(step, 100, 2.0, 0.1, 0.5) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[10:50] == [2.0] * 40 and rates[99] == pytest.approx(0.04)
    rates = [capped_cosine(step, 100, 2.0, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.2) and max(rates) < 2 and rates[50] == pytest.approx(1) and rates[100] == 0
    rates = [cosine_to_a_tenth(step, 100, 2.0, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == rates[10] == 2.0 and rates[100] == pytest.approx(0.2)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    set_learning_rate(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] == 0.5


@dataclass(frozen=True)
class Settings:
    """What is made."""

    width: int = 8  # how wide it is
    learning_rate: float = 0.1  # how fast it learns


@dataclass(frozen=True)
class Options:
    """How it is made."""

    threads: int = 1  # how many threads it takes


def parse(*arguments):
    parser = command_parser("scripts.make", "Make it.", {"settings": Settings, "options": Options}, list(arguments))
    return parser.parse_args(list(arguments))


def test_a_recipe_gives_what_the_command_line_does_not(tmp_path, capsys):
    made = parse("--learning-rate", "0.5")
    assert (made.settings, made.options) == (Settings(8, 0.5), Options(1))
    (tmp_path / "recipe.json").write_text(recipe_text(asdict(Settings(4, 0.2)), Options(2)))
    assert json.loads((tmp_path / "recipe.json").read_text())["options"] == {"threads": 2}
    for path in (tmp_path, tmp_path / "recipe.json"):
        again = parse("--recipe", str(path), "--width", "5")
        assert (again.settings, again.options) == (Settings(5, 0.2), Options(2))
    with pytest.raises(SystemExit):
        parse("--help")
    assert all(text in capsys.readouterr().out for text in ["how wide it is (default: 8)"])


@pytest.mark.parametrize("content, why", [
    (None, "No such file"), ("{", "Expecting property name"), ('{"settings": {"depth": 3}}', "unexpected keyword"),
])  # fmt: skip
def test_what_is_no_recipe_is_refused(tmp_path, capsys, content, why):
    if content is not None:
        (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(SystemExit) as exit_:
        parse("--recipe", str(tmp_path))
    error = capsys.readouterr().err.splitlines()[-1]
    assert exit_.value.code == 2 and "holds no recipe for this command" in error and why in error
