"""The instructors' pages: mistakes are those of the tests, numbers in graded examples those that the labs print."""

import re

import nbformat

from scripts.course import mistakes
from scripts.interp.base.paths import ROOT

GRADING = (ROOT / "docs" / "grading-written-answers.md").read_text(encoding="utf-8")
WORDS = {"01": 150, "02": 200, "03": 200, "04": 200}  # that a written answer may have, as the lab says


def sections(level: str, text: str) -> dict[str, str]:
    """The parts of a page below headings of one level, by heading."""
    parts = re.split(rf"^{level} (.+)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def printed(lab: str) -> str:
    """What the solved lab prints, as it is committed, and what the page shows of cells with other lines in them."""
    (path,) = (ROOT / "solutions").glob(f"{lab}-*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output.get("text", "") for cell in cells for output in cell.get("outputs", [])]
    return "\n".join(outputs + re.findall(r"^```text\n(.*?)^```", GRADING, re.M | re.S))


def quoted(text: str) -> str:
    return " ".join(re.findall(r"^> (.*)$", text, re.M))


def numbers_in(answer: str) -> set[str]:
    """Numbers with a decimal point, and heads."""
    return set(re.findall(r"(?<![\w.])\d+\.\d+|\bL\d+H\d+", answer))


def test_the_page_of_mistakes_is_that_of_the_tests():
    assert mistakes.PAGE.read_text(encoding="utf-8") == mistakes.page(), (
        "run: .venv/bin/python -m scripts.course.mistakes"
    )


def test_a_hint_is_shown_whole_if_one_text_only_holds_it():
    texts = mistakes.texts_in('expect(x, "The sign is wrong.", f"{n} rows: the sum", "a {kind} of 2", "a of 2")')
    assert set(texts) == {"The sign is wrong.", "… rows: the sum", "a … of 2", "a of 2"}
    assert mistakes.whole_hint("sign", texts) == "The sign is wrong."
    assert mistakes.whole_hint("of 2", texts) == "… of 2 …" and "no hint" in mistakes.whole_hint("", texts)


def test_graded_examples_quote_what_the_labs_print():
    labs = {title[4:6]: text for title, text in sections("##", GRADING).items() if title.startswith("Lab ")}
    labs = {f"0{number.strip(' :')}": text for number, text in labs.items()}
    assert labs.keys() == WORDS.keys()
    for lab, text in labs.items():
        examples = sections("###", text)
        assert [title.partition(":")[0] for title in examples] == ["Full", "Half", "Little"]
        for title, example in examples.items():
            answer, known = quoted(example), printed(lab)
            assert {n for n in numbers_in(answer) if not re.search(rf"(?<![\d.]){re.escape(n)}(?!\d)", known)} == set()
            assert 20 < len(answer.split()) <= WORDS[lab], (lab, title, len(answer.split()))


def test_graded_examples_add_up_and_full_ones_have_all_points():
    for title, example in sections("###", GRADING).items():
        if found := re.fullmatch(r"(\w+): (\d+) of 10.*", title):
            given = [(int(a), int(b)) for a, b in re.findall(r"^\| (\d) of (\d) \|", example, re.M)]
            assert [b for _, b in given] == [3, 3, 2, 2] and sum(a for a, _ in given) == int(found[2]), title
            assert (found[1] == "Full") == (found[2] == "10")


def test_the_report_examples_quote_notebook_05():
    answer = quoted(GRADING.partition("## Reports")[2])
    assert len(numbers_in(answer)) > 10 and not {n for n in numbers_in(answer) if n not in printed("05")}


def test_the_guides_hours_are_those_of_the_readme():
    rows = re.findall(r"^\| \[(\d\d) .*\| (\d+ (?:min|h)) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    guide = (ROOT / "docs" / "instructor-guide.md").read_text(encoding="utf-8")
    assert len(rows) == 8 and all(f"| {number} | {time} |" in guide for number, time in rows)
