"""docs/concepts.md: its pictures are what the models give now, small, and have words for those who can't see them."""

import re
import xml.etree.ElementTree as ET

import pytest
import torch

from scripts import draw_concepts
from scripts.draw_concepts import PICTURES, picture_file
from scripts.interp.base.paths import ROOT
from scripts.interp.figures import svg
from scripts.interp.figures.concepts import attention_picture, induction_picture, superposition_picture

PAGE = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")
SVG = "{http://www.w3.org/2000/svg}"


def cells(drawn: str) -> dict[tuple[float, float], str]:
    """The colours of a drawing's rectangles by their corners."""
    return {
        (float(rect.get("x")), float(rect.get("y"))): rect.get("fill")
        for rect in ET.fromstring(drawn).iter(f"{SVG}rect")
        if rect.get("fill") != "none"
    }


def words(drawn: str) -> str:
    return " ".join(text.text or "" for text in ET.fromstring(drawn).iter(f"{SVG}text"))


def same_picture(drawn: str, kept: str) -> bool:
    """Whether two drawings differ by a pixel, a shade or a unit of the last digit at most."""
    if NUMBER.sub("#", drawn) != NUMBER.sub("#", kept):
        return False
    pairs = zip(NUMBER.findall(drawn), NUMBER.findall(kept))
    return all(abs(float(a.replace(",", "")) - float(b.replace(",", ""))) <= 1.01 for a, b in pairs)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_is_drawn_now(name, model, trained_toy):
    draw, of = PICTURES[name]
    drawn = draw({draw_concepts.EMBEDDED: model, draw_concepts.TOY: trained_toy, None: None}[of])
    kept = picture_file(name).read_text(encoding="utf-8")
    assert same_picture(drawn, kept), f".venv/bin/python -m scripts.draw_concepts {name} draws it anew"


def test_a_difference_between_pictures_is_seen():
    kept = picture_file("features").read_text(encoding="utf-8")
    number = next(text.text for text in ET.fromstring(kept).iter(f"{SVG}text") if (text.text or "").isdigit())
    assert same_picture(kept, kept) and same_picture(kept.replace(f">{number}<", f">{int(number) + 1}<"), kept)
    for old, new in (
        (f">{number}<", f">{int(number) + 2}<"),
        ("latent 8", "latent 9"),
        ("␣the", "␣a"),
        ("<rect", "<line"),
    ):
        assert not same_picture(kept.replace(old, new, 1), kept), old


def test_the_page_shows_every_picture_with_words_for_it():
    shown = dict(re.findall(r"!\[(.+?)\]\(concepts/([\w-]+)\.svg\)", PAGE))
    assert list(shown.values()) == [
        "attention",
        "residual-stream",
        "patching",
        "induction",
        "superposition",
        "features",
    ]
    assert set(shown.values()) == PICTURES.keys()
    assert sorted(draw_concepts.FOLDER.iterdir()) == sorted(map(picture_file, PICTURES))
    assert all(len(alt) > 150 for alt in shown)
    sections = re.split(r"^## ", PAGE, flags=re.M)[1:]
    for part in (
        "**Where that breaks.**",
        "**What you will do with it.**",
        "**A common misunderstanding.**",
        "**Like**",
    ):
        assert [part in section for section in sections] == [True] * 6 + [False], part


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_needs_no_network_and_says_what_it_shows(name):
    text = picture_file(name).read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert len(text.encode()) < 40_000 and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert {element.tag for element in root.iter()} <= {
        SVG + tag for tag in "svg title desc rect line circle text".split()
    }
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("role") == "img" and root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert len(description.text) > 150 and title.text in words(text)
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.get(side)) for side in ("x", "y", "width", "height"))
        assert min(x, y, w, h) >= 0 and x + w <= width and y + h <= height


def test_a_weight_is_drawn_where_it_is_and_what_is_nearly_zero_is_left_white():
    pattern = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.004, 0.896, 0.1]])
    found = cells(attention_picture(pattern, ["<|bos|>", " a", " b"], "L3H1 of a model", "a b"))
    at = {(column, row): found.get((130 + 26 * column, 44 + 26 * row)) for column in range(3) for row in range(3)}
    assert {place for place, colour in at.items() if colour} == {(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)}
    assert at[0, 0] == "rgb(31,111,178)" and at[0, 1] == at[1, 1] == svg.shade(0.5)
    assert svg.shade(-2) == "rgb(192,57,43)" and svg.shade(0) == "rgb(255,255,255)"
    drawn = words(attention_picture(pattern, ["<|bos|>", " a", " b"], "L3H1 of a model", "a b"))
    assert "␣b gives 90% to ␣a." in drawn and "<bos>" in drawn


def test_the_frames_are_where_an_induction_head_should_look():
    pattern = torch.zeros(7, 7)
    for query in range(7):
        pattern[query, query - 2 if query >= 4 else 0] = 1.0  # period 3: two places back, in the second half
    drawn = induction_picture(pattern, ["<|bos|>", " a", " b", " c", " a", " b", " c"], 3, "L1H0 of a toy")
    frames = [
        (float(rect.get("x")) + 1, float(rect.get("y")) + 1)
        for rect in ET.fromstring(drawn).iter(f"{SVG}rect")
        if rect.get("fill") == "none" and rect.get("width") == "23"
    ]
    assert len(frames) == 3 and all(cells(drawn)[corner] == svg.shade(1) for corner in frames)
    assert "the second ␣a gives 100% to ␣b, and ␣b comes next" in words(drawn)


def test_bars_are_as_high_as_what_is_put_in_and_read_back():
    put_in, read = torch.eye(2)[:1], torch.tensor([[0.5, 0.25]])
    drawn = superposition_picture(torch.eye(2), put_in, read, 0.9)
    heights = [
        float(rect.get("height")) for rect in ET.fromstring(drawn).iter(f"{SVG}rect") if rect.get("width") == "18"
    ]
    assert heights == [60, 30, 0, 15] and "feature 1 alone" in words(drawn)
    assert "feature 1 alone as 0.5, 0.2" in drawn.partition("</desc>")[0]


def test_the_command_draws_what_it_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(draw_concepts, "FOLDER", ROOT / "outputs" / tmp_path.name)
    monkeypatch.setattr(draw_concepts, "write_atomically", lambda path, text: written.append((path.name, text)))
    monkeypatch.setitem(PICTURES, "superposition", PICTURES["superposition"]._replace(draw=lambda _: "<svg/>"))
    written = []
    draw_concepts.main(["superposition"])
    assert written == [("superposition.svg", "<svg/>")] and "superposition.svg: 0 kB" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        draw_concepts.main(["pentagon"])
    assert "there is no picture pentagon: choose from attention, residual-stream" in capsys.readouterr().err
