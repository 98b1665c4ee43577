"""The beginnings of the corpus's texts: short, so that the model and not this project writes the text.

`data/openings.json` holds openings by genre, and what fills their gaps. {name} and {name2} are two different names;
{Topic} and {TOPIC} are a topic in capitals.
"""

import json
import random

from scripts.interp.base.paths import ROOT

_WORDS = json.loads((ROOT / "data" / "openings.json").read_text(encoding="utf-8"))
OPENINGS: dict[str, list[str]] = _WORDS["openings"]
FILLERS: dict[str, list[str]] = _WORDS["fillers"] | {
    "year": [str(year) for year in range(1605, 2024, 3)],
    "n": [str(n) for n in range(2, 60)],
}


def random_opening(rng: random.Random) -> tuple[str, str]:
    """A genre and one of its openings, filled."""
    genre = rng.choice(list(OPENINGS))
    opening = rng.choice(OPENINGS[genre])
    words = {}
    for gap, fillers in FILLERS.items():
        for key, word in zip((gap, gap + "2"), rng.sample(fillers, 2)):
            words[key] = word
            words[key.capitalize()] = word[0].upper() + word[1:]
            words[key.upper()] = word.upper()
    return genre, opening.format(**words)
