"""Prompts with a known answer: which of two names is the indirect object (IOI)."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import TYPE_CHECKING

from scripts.interp.base.numbers import check_positive
from scripts.interp.base.words import mentions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# In every template S is the subject, mentioned twice, and IO the indirect object, mentioned once: the answer.
TEXTBOOK = ("{S} and {IO} went to the store. {S} gave a book to",)
WHEN_TEMPLATES = (
    "When {IO} and {S} went to the {PLACE}, {S} gave a {OBJECT} to",  # ABBA
    "When {S} and {IO} went to the {PLACE}, {S} gave a {OBJECT} to",  # BABA
)
# The templates that begin with a clause, in both name orders, of Wang et al., "Interpretability in the Wild:
# a Circuit for Indirect Object Identification in GPT-2 small" (2022), appendix, table of templates.
IOI_TEMPLATES = tuple(
    template.format(NAMES=names, S="{S}", PLACE="{PLACE}", OBJECT="{OBJECT}")
    for template in (
        "After {NAMES} went to the {PLACE}, {S} gave a {OBJECT} to",
        "When {NAMES} got a {OBJECT} at the {PLACE}, {S} decided to give it to",
        "When {NAMES} got a {OBJECT} at the {PLACE}, {S} decided to give the {OBJECT} to",
        "While {NAMES} were working at the {PLACE}, {S} gave a {OBJECT} to",
        "While {NAMES} were commuting to the {PLACE}, {S} gave a {OBJECT} to",
    )
    for names in ("{IO} and {S}", "{S} and {IO}")
)
NAMES = (
    *("John", "Mary", "Tom", "James", "Dan", "Martin", "Amy", "Anna", "Paul", "Laura", "David", "Sarah"),
    *("Robert", "Alice", "Mark", "Jane", "Peter", "Susan", "Michael", "Emma", "Kevin", "Maria", "George"),
)
PLACES = ("store", "park", "school", "office", "garden", "station", "library", "market", "beach", "museum")
OBJECTS = ("book", "drink", "ball", "ring", "letter", "ticket", "flower", "key", "pen", "gift")


def create_ioi_dataset(
    n_samples: int = 100,
    names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    tokenizer: PreTrainedTokenizerBase | None = None,
    templates: Sequence[str] = TEXTBOOK,
) -> list[dict[str, str]]:
    """Indirect-object prompts: "John and Mary went to the store. John gave a book to" -> " Mary".

    Returns n_samples dicts with "clean"; "corrupted", where the other name does the giving ("… Mary gave a
    book to"); "answer" (" Mary"), the right one after "clean"; and "wrong_answer" (" John"). Answers begin
    with a space.

    The templates take turns, so name orders are as balanced as they are in `templates`. Every second round
    through them repeats the round before with the two names exchanged, so that a model's taste for a name
    averages out: a multiple of 2 · len(templates) samples is exactly balanced. The same arguments give the
    same dataset.

    Args:
        names: at least two, default `NAMES`. In each pair the first in this list is the subject first.
        tokenizer: with one, only names, places and objects are used that are a single token wherever they
            stand, and all prompts, clean and corrupted, are equally long.
        templates: TEXTBOOK, WHEN_TEMPLATES, IOI_TEMPLATES or your own texts with the slots {S} twice, {IO}
            once, and {PLACE} and {OBJECT} if you like.

    Raises ValueError for arguments that can't be used, fewer than two single-token names, and templates that
    are not equally long for the tokenizer.

    Task and names of the roles: Wang et al., "Interpretability in the Wild" (2022).
    """
    check_positive("n_samples", n_samples)
    templates = [templates] if isinstance(templates, str) else list(templates)
    _check_templates(templates)
    fillers = {"NAME": _checked_names(names), "PLACE": PLACES, "OBJECT": OBJECTS}
    if tokenizer is not None:
        fillers = {slot: _single_tokens(tokenizer, slot, words, templates) for slot, words in fillers.items()}
    generator = random.Random(seed)
    pairs = list(itertools.combinations(fillers["NAME"], 2))
    generator.shuffle(pairs)
    pair = itertools.cycle(pairs)
    samples: list[dict[str, str]] = []
    while len(samples) < n_samples:
        drawn = [
            (template, next(pair), generator.choice(fillers["PLACE"]), generator.choice(fillers["OBJECT"]))
            for template in templates
        ]
        samples += [_sample(template, s, io, place, thing) for template, (s, io), place, thing in drawn]
        samples += [_sample(template, s, io, place, thing) for template, (io, s), place, thing in drawn]
    if tokenizer is not None:
        _check_equal_lengths(tokenizer, samples, templates)
    return samples[:n_samples]


def stranger_prompts(samples: Sequence[Mapping[str, str]], names: Sequence[str], turn: int = 0) -> list[str]:
    """The clean prompts with a third name in place of the subject's second mention: no name is repeated.

    samples: as `create_ioi_dataset` gives them; names: where third names are taken from, in turn
    turn: another one gives the same prompts other third names, as far as there are enough

    Means over such prompts keep what a name's position means and forget which name was repeated: the ABC prompts
    of Wang et al. (2022). Raises ValueError if there is no third name.
    """
    prompts = []
    for index, sample in enumerate(samples):
        subject = sample["wrong_answer"].strip()
        third = [name for name in names if name not in (subject, sample["answer"].strip())]
        if not third:
            raise ValueError(f"names is {list(names)}: give at least one that is not in {sample['clean']!r}.")
        found = mentions(sample["clean"], subject)
        if len(found) < 2:
            raise ValueError(f"{subject!r} is mentioned {len(found)} times in {sample['clean']!r}: two are needed.")
        start, end = found[1]
        name = third[(index + turn * len(samples)) % len(third)]
        prompts.append(sample["clean"][:start] + name + sample["clean"][end:])
    return prompts


def _sample(template: str, s: str, io: str, place: str, thing: str) -> dict[str, str]:
    first, second = template.rsplit("{S}", 1)
    fillers = {"S": s, "IO": io, "PLACE": place, "OBJECT": thing}
    return {
        "clean": template.format(**fillers),
        "corrupted": (first + "{IO}" + second).format(**fillers),
        "answer": f" {io}",
        "wrong_answer": f" {s}",
    }


def _checked_names(names: Sequence[str] | None) -> list[str]:
    chosen = list(NAMES if names is None else [names] if isinstance(names, str) else names)
    if not all(isinstance(name, str) and name and name == name.strip() for name in chosen):
        raise ValueError(f"names is {chosen}: give texts without spaces around them.")
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise ValueError(f"names is {chosen}: give at least two, all different.")
    return chosen


def _slots(template: str) -> Iterator[tuple[str, str]]:
    """(text before it, slot) for every slot of a template, in order."""
    return ((before, slot) for before, slot, _, _ in Formatter().parse(template) if slot is not None)


def _check_templates(templates: list[str]) -> None:
    if not templates:
        raise ValueError("There are no templates: give at least one, such as TEXTBOOK.")
    for template in templates:
        try:
            slots = [slot for _, slot in _slots(template)]
        except (TypeError, ValueError):  # no text, or an unmatched brace
            slots = []
        unknown = set(slots) - {"S", "IO", "PLACE", "OBJECT"}
        if slots.count("S") != 2 or slots.count("IO") != 1 or unknown:
            raise ValueError(
                f"The template {template!r} can't be used: it needs the slots {{S}} twice and {{IO}} once, "
                f"and may have {{PLACE}} and {{OBJECT}}, as in {WHEN_TEMPLATES[0]!r}."
            )
        if template != template.rstrip():
            raise ValueError(f"The template {template!r} ends with a space: that belongs to the answer.")


def _single_tokens(
    tokenizer: PreTrainedTokenizerBase, slot: str, words: Sequence[str], templates: list[str]
) -> list[str]:
    """The words that are one token wherever the templates put them; names also as answers, after a space."""
    roles = ("S", "IO") if slot == "NAME" else (slot,)
    places = [before for template in templates for before, role in _slots(template) if role in roles]
    spaces = {" " if before.endswith(" ") else "" for before in places}
    if slot == "NAME":
        spaces.add(" ")
    kept = [word for word in words if all(_n_tokens(tokenizer, space + word) == 1 for space in spaces)]
    needed = 2 if slot == "NAME" else 1
    if len(kept) < needed:
        raise ValueError(
            f"{len(kept)} of {', '.join(words)} are single tokens for this tokenizer wherever the templates "
            f"put them (at the start of a text there is no space before a word): at least {needed} must be; "
            "give other names or other templates."
        )
    return kept


def _check_equal_lengths(
    tokenizer: PreTrainedTokenizerBase, samples: list[dict[str, str]], templates: list[str]
) -> None:
    by_length = defaultdict(set)
    for sample, template in zip(samples, itertools.cycle(templates)):  # they took turns
        for kind in ("clean", "corrupted"):
            by_length[_n_tokens(tokenizer, sample[kind])].add(template)
    if len(by_length) > 1:
        each = "; ".join(f"{length}: {sorted(found)}" for length, found in sorted(by_length.items()))
        raise ValueError(
            "The templates are not equally long for this tokenizer, and padding would move the last "
            f"position: give those of one length only. Number of tokens without BOS: {each}"
        )


def _n_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False).input_ids)
