"""The page that shows a training while it goes on, and what TensorBoard gets."""

import re
import sys
import types

import pytest
import torch

from scripts.course.pages import remote_parts
from scripts.interp.base.paths import outputs_folder
from scripts.interp.figures import live
from scripts.interp.saes import start
from scripts.interp.training.tensorboard import event_writer
from scripts.train_sae import main
from tests.test_train_sae import HOOK, SMALL, small  # noqa: F401


class Tokenizer:
    bos_token_id = 0

    def decode(self, ids):
        return f" <{ids[0]}>"


@pytest.fixture
def sample():
    """Four rows of 30 tokens, numbered; BOS is seen by no SAE."""
    tokens = torch.arange(120).view(4, 30)
    tokens[:, 0] = 0
    return live.Sample(tokens, torch.randn(4, 30, 5), tokens > 0, Tokenizer())


def encode(x):
    """Of four latents one is above zero everywhere, one nowhere, one at two tokens, one at five."""
    latents = torch.zeros(len(x), 4)
    latents[:, 0] = 1
    latents[[3, 4], 2] = 9.0
    latents[[10, 11, 40, 70, 100], 3] = torch.tensor([1.0, 5.0, 4.0, 3.0, 2.0])
    return latents


ROWS = [{"step": 10 * i, "loss": 100 / i, "fvu": 1 / i, "l0": 8.0, "dead": 0.25} for i in range(1, 6)]


def test_the_page_shows_curves_and_latents_and_refreshes_until_it_is_done(sample, tmp_path):
    path = tmp_path / "a <b>.html"
    live.write_live_page(path, "a <b>", ROWS[:4], 50, encode, sample)
    page = path.read_text()
    assert live.REFRESH in page and "step 40 of 50, it goes on" in page and "<title>a &lt;b&gt;</title>" in page
    assert [float(number) for number in re.findall(r"<figcaption>[^:]+: ([\d.]+)<", page)] == [25, 0.25, 8, 0.25]
    assert "<script" not in page and "src=" not in page and "href=" not in page and remote_parts(page) == []
    assert len(page) < 20_000
    assert re.findall(r"latent (\d+), above zero at ([\d.]+)%", page) == [("3", "4.3")]  # 5 of 116 tokens
    strongest = [int(n) for n in re.findall(r"underline\">␣&lt;(\d+)&gt;", page)]
    seen = sample.tokens[sample.kept]
    assert strongest == seen[[11, 40, 70]].tolist()  # one of a row, strongest first
    live.write_live_page(path, "a <b>", ROWS, 50, encode, sample)
    page = path.read_text()
    assert "refresh" not in page and "step 50 of 50, it is done" in page
    live.stop_live_page(path, "never")
    assert path.read_text() == page and list(tmp_path.iterdir()) == [path]


def test_a_training_that_fails_leaves_a_page_that_says_so(tmp_path):
    path = tmp_path / "a.html"
    live.stop_live_page(path, "before there was a page")
    assert not path.exists()
    live.write_live_page(path, "a", ROWS[:1], 50, encode)
    assert "<h2>" not in path.read_text()
    live.stop_live_page(path, "the loss is <inf>")
    page = path.read_text()
    assert "refresh" not in page and "step 10 of 50, stopped" in page and " the loss is &lt;inf&gt;</p>" in page


def test_a_curve_keeps_its_ends():
    drawn = live.curve(range(1, 1001), [float(i) for i in range(1, 1001)], "y", 2000)
    points = [tuple(map(float, each.split(","))) for each in re.search(r'points="([^"]+)"', drawn)[1].split()]
    assert len(points) <= live.MOST_POINTS
    assert points[-1] == (227.5, 8.0)  # half way to the right, at the top
    assert points[0][1] == pytest.approx(130, abs=1) and [x for x, _ in points] == sorted(x for x, _ in points)
    assert 'points="62.2,8.0"' in live.curve([1], [3.0], "y", 150)


def test_no_latent_is_in_between(sample):
    assert "None is above zero" in live.latents_now(lambda x: torch.ones(len(x), 3), sample)


class Writer:
    """What torch.utils.tensorboard writes, kept."""

    made = []

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.scalars = folder, purge_step, []
        Writer.made.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def flush(self):
        pass


@pytest.fixture
def tensorboard(monkeypatch):
    monkeypatch.setattr(Writer, "made", [])
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    return Writer.made


def test_tensorboard_gets_every_row_once(tensorboard, tmp_path):
    write = event_writer(tmp_path)
    assert tensorboard == []
    write(ROWS[:3])  # a run that goes on after a kill
    write(ROWS[:4])
    (writer,) = tensorboard
    assert writer.purge_step == 10 and [s for s in writer.scalars if s[0] == "loss"] == [
        ("loss", row["loss"], row["step"]) for row in ROWS[:4]
    ]
    assert len(writer.scalars) == 4 * 4


@pytest.mark.parametrize("architecture", ["batchtopk", "hybrid", "monosemanticity"])
def test_the_command_shows_its_training(small, tensorboard, monkeypatch, capsys, architecture):  # noqa: F811
    versions = []
    write = live.write_live_page
    monkeypatch.setattr(
        live, "write_live_page", lambda path, *others: write(path, *others) or versions.append(path.read_text())
    )
    arguments = [HOOK, *SMALL, "--architecture", architecture, "--width", "1", "--batch", "64", "--passes", "10"]
    assert main([*arguments, "--folder", "seen", "--live", "--tensorboard", "--no-contexts", "--judged-rows", "6"]) == 0
    page = outputs_folder("saes") / "seen.html"
    assert page.read_text() == versions[-1] and len(versions) > 2
    assert [live.REFRESH in version for version in versions] == [True] * (len(versions) - 1) + [False]
    assert "variance unexplained" in versions[-1] and "<h2>Latents" in versions[-1]
    (writer,) = tensorboard
    assert writer.folder == str(outputs_folder("saes") / "tensorboard" / "seen")
    assert {name for name, *_ in writer.scalars} >= {"fvu", "l0", "dead"}


def test_the_command_says_on_its_page_that_it_failed(small, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(start, "RECORD_EVERY", 1)
    arguments = [HOOK, *SMALL, "--width", "1", "--batch", "64", "--passes", "10", "--folder", "failed", "--live"]
    assert main([*arguments, "--architecture", "standard", "--learning-rate", "1e18"]) == 1
    error = capsys.readouterr().err
    page = (outputs_folder("saes") / "failed.html").read_text()
    assert error.startswith("The loss is ") and error.strip() in page and "refresh" not in page


def test_flags_that_can_not_be_followed_are_refused(small, monkeypatch, capsys):  # noqa: F811
    with pytest.raises(SystemExit):
        main(["--sweep", "0", "--live", *SMALL])
    assert "--live and --tensorboard show one training: leave them out" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main([HOOK, *SMALL, "--tensorboard"]) == 1
    error = capsys.readouterr().err
    assert "--tensorboard needs the package tensorboard" in error and error.count("\n") == 1
