"""Where a word stands in a text, in any script."""

from __future__ import annotations

import re
import unicodedata

# Scripts that leave no space between words, by the first word of their characters' names in Unicode.
_UNSPACED = {"CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"}


def mentions(text: str, word: str) -> list[tuple[int, int]]:
    """Where `word` begins and ends in `text`, each time that it stands there by itself and not inside another word.

    A combining mark belongs to the letter before it, so "Rene" is not in "Rene\u0301". Scripts such as Chinese,
    Japanese and Thai have no spaces between words: there every occurrence counts, also one that is part of a longer
    word. Raises ValueError if the word occurs only in the other Unicode form: accents composed with their letters, or
    decomposed from them.
    """
    found = [match.span() for match in re.finditer(re.escape(word), text)]
    found = [(start, end) for start, end in found if not _goes_on(text, start) and not _goes_on(text, end)]
    if not found:
        same_form = [unicodedata.normalize("NFC", each) for each in (text, word)]
        if same_form != [text, word] and mentions(*same_form):
            raise ValueError(
                f"{word!r} occurs in {text!r} only in another Unicode form (an accent composed with its letter, or a "
                "character of its own): bring both to one with unicodedata.normalize('NFC', …)."
            )
    return found


def _goes_on(text: str, at: int) -> bool:
    """Whether the characters before and after this place of the text belong to one word."""
    if at in (0, len(text)):
        return False
    before, after = text[at - 1], text[at]
    if unicodedata.category(after)[0] == "M":
        return True
    if _is_unspaced(before) or _is_unspaced(after):
        return False
    return _is_of_words(before) and _is_of_words(after)


def _is_of_words(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def _is_unspaced(character: str) -> bool:
    return unicodedata.name(character, "").split(" ")[0] in _UNSPACED
