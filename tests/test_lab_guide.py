"""docs/lab-guide.md: times, files and links are those of the notebooks, and its numbers those of the reference file."""

import json
import re

import pytest

from scripts.interp.base.paths import ROOT
from scripts.interp.base.reference import reference_value
from tests.rounding import close

PAGE = (ROOT / "docs" / "lab-guide.md").read_text(encoding="utf-8")
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))
LABS = [path.name[:2] for path in SOLUTIONS]
IN_WORDS = {"two": 120, "two and a half": 150, "three": 180}


def minutes(text: str) -> int:
    """The first time in a text, such as "about 90 minutes" or "two and a half hours"."""
    found = re.search(rf"(\d+) min|(\d+) h\b|({'|'.join(sorted(IN_WORDS, key=len, reverse=True))})\s+hours", text)
    return int(found[1] or 0) or 60 * int(found[2] or 0) or IN_WORDS[found[3]]


def section(lab: str) -> str:
    (found,) = (part for part in re.split(r"^## ", PAGE, flags=re.M) if f"[Notebook](../notebooks/{lab}-" in part)
    return found


def cells(lab: str) -> list[dict]:
    return json.loads(SOLUTIONS[LABS.index(lab)].read_text(encoding="utf-8"))["cells"]


def saved_by(lab: str) -> set[str]:
    """The files that a notebook saves to outputs/: those that it names in its code, and those that it prints."""
    found, folder = set(), ""
    for cell in cells(lab):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        folder = (re.findall(r'outputs = outputs_folder\("(\w+)"\)', source) or [folder])[-1]
        found |= {f"{folder}/{name}" for name in re.findall(r'\boutputs / "([\w.]+)"', source)}
        found |= {"/".join(pair) for pair in re.findall(r'outputs_folder\("(\w+)"\) / "([\w.]+\.\w+)"', source)}
        printed = "".join("".join(output.get("text", "")) for output in cell["outputs"])
        if re.search(r"\bsave\w*\(", source):
            found |= set(re.findall(r"^(\w+/\w+\.(?:html|json|pt))(?::|$)", printed, re.M))
    return found


@pytest.mark.parametrize("lab", LABS)
def test_the_files_that_a_lab_leaves_are_listed(lab):
    listed = re.findall(r"^outputs/(\S+)$", section(lab), re.M)
    assert len(listed) == len(set(listed)) and set(listed) == saved_by(lab) and len(listed) > 3


@pytest.mark.parametrize("lab", LABS)
def test_a_lab_takes_the_time_that_its_notebook_says(lab):
    title = "".join(cells(lab)[0]["source"])
    of_notebook = minutes(title.partition("**Time**")[2])
    row = re.search(r"^\| time \|(.*)\|$", PAGE, re.M)[1].split("|")
    readme = next(line for line in (ROOT / "README.md").read_text().splitlines() if f"(notebooks/{lab}-" in line)
    assert (
        minutes(section(lab)) == minutes(row[int(lab) - 1]) == of_notebook == minutes(readme.rpartition("|")[0][-12:])
    )


@pytest.mark.parametrize("lab", LABS)
def test_a_section_has_all_its_parts(lab):
    text = section(lab)
    for part in (
        "**Ready?**",
        "**Read again:**",
        "**Quick test: ",
        "**What goes wrong at the start**",
        "**Bring to class:**",
    ):
        assert part in text, part
    assert "](concepts.md#" in text and "```python" in text and "<!-- prints -->" in text
    exercises = len([cell for cell in cells(lab) if re.match(r"### Exercise \d", "".join(cell["source"]))])
    assert {"five": 5, "six": 6, "seven": 7}[re.search(r"(\w+)\s+exercises", text)[1]] == exercises


def test_the_logit_difference_is_the_reference_files():
    mean, above = re.search(r"^clean: mean logit difference ([\d.]+), above zero on (\d+) of 32$", PAGE, re.M).groups()
    assert close(mean, f"{reference_value('smollm2-135m/ioi_when_logit_diff'):.2f}")
    assert int(above) == 32 * reference_value("smollm2-135m/ioi_when_accuracy")


def anchors(page: str) -> set[str]:
    """The places in a page that links can go to, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"(?s)```.*?```", "", page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["lab-guide.md", "concepts.md", "quick-reference.md", "quick-start.md"])
def test_links_to_parts_of_a_page_lead_there(name):
    folder = ROOT / "docs"
    links = re.findall(r"\]\(([\w.-]*\.md)?#([\w-]+)\)", (folder / name).read_text(encoding="utf-8"))
    wrong = [(page, part) for page, part in links if part not in anchors((folder / (page or name)).read_text())]
    assert not wrong and anchors("## A b: c\n") == {"a-b-c"}
