"""Write the table in checkpoints/README.md: what ships there, from the cards and files of each folder.

.venv/bin/python -m scripts.list_checkpoints
"""

import argparse
import json
import re
from pathlib import Path

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

FOLDER = ROOT / "checkpoints"
BEGIN, END = "<!-- .venv/bin/python -m scripts.list_checkpoints writes this table -->\n", "<!-- end of the table -->\n"
FORMATS = {  # by the file that holds the weights
    "model.safetensors": "weights and `config.json`; read by `load_model`",
    "adapter.safetensors": "weights; read by {reader}",
    "sae_weights.safetensors": "sae-lens' own; read by `load_sae` or `SAE.load_from_disk`",
    "tokenizer.json": "Hugging Face's own; read with the toys",
    "": "none: its numbers ship and its weights, which are large, do not",
}


def folders(root: Path = FOLDER) -> list[Path]:
    """The folders that ship, each with the weights of one thing, in order; fetched models are none of them."""
    found = [path for path in root.iterdir() if path.is_dir() and path.name not in ("fetched", "saes")]
    return sorted(found) + sorted(path for path in (root / "saes").iterdir() if path.is_dir())


def row(folder: Path) -> dict[str, str]:
    """What a folder's card and files say of it. Raises ValueError where the card lacks something."""
    card = " ".join((folder / "README.md").read_text(encoding="utf-8").split("\n", 1)[1].split())
    name = folder.relative_to(FOLDER).as_posix()
    command, licence = (
        re.search(r"`\.venv/bin/python -m (scripts\.[^`]+)`", card),
        re.search(r"Licence: (.+?)\.(?: |$)", card),
    )
    if not (command and licence):
        raise ValueError(f"The card of {name} lacks `.venv/bin/python -m scripts.…` or `Licence: ….`: add it.")
    made = (
        f"scripts.train_sae --recipe checkpoints/{name}" if command[1].startswith("scripts.train_sae ") else command[1]
    )
    weights = next((file for file in FORMATS if (folder / file).exists()), "")  # the largest SAE ships its numbers only
    minutes = re.search(r"(\d+) minutes with (\d+) thread", card)
    record = folder / "record.json"
    seconds = json.loads(record.read_text(encoding="utf-8")).get("seconds") if record.exists() else None
    took = f"{minutes[1]} min" if minutes else f"{seconds / 60:.0f} min" if seconds else "not recorded"
    reader = "`load_adapter`" if "load_adapter" in card else "`load_model`"
    return {
        "folder": f"[{name}]({name}/README.md)",
        "what it is": re.split(r"(?<=[a-z)0-9])\. ", card)[0].partition(", trained by this project")[0],
        "MB": f"{sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.2f}",
        "format": FORMATS[weights].format(reader=reader),
        "licence": licence[1].replace("as the project's", "MIT, as the project's"),
        "made by `.venv/bin/python -m …`": f"`{made}`",
        "took": took,
    }


def table() -> str:
    rows = [row(folder) for folder in folders()]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(each.values()) for each in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_table(page: str) -> str:
    """The page with the table of now. Raises ValueError where the page has no place for it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"checkpoints/README.md has no place for the table: it needs the lines {BEGIN!r} and {END!r}.")
    return before + begin + "\n" + table() + "\n" + end + after


def main() -> int:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    page = FOLDER / "README.md"
    write_atomically(page, with_table(page.read_text(encoding="utf-8")))
    print(f"written: {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
