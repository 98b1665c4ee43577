"""Descriptions of features as predicates: functions of a text's tokens and a position that say yes or no.

A description that cannot be wrong says nothing. These are about the context of a token, not about the token alone: a
feature that is active at one word wherever it stands is a detector of that word. They are a fixed library, so that
features, neurons and other directions can be compared on equal terms. Those about topics (`about_…`) were added for an
example of steering, after features had been looked at; the others were written before.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

Predicate = Callable[[Sequence[str], int], bool]


def line_before(tokens: Sequence[str], position: int) -> str:
    """The text of the line that a token stands in, up to the token, without it."""
    first = position  # of the tokens that lie wholly on this line
    while first > 0 and "\n" not in tokens[first - 1]:
        first -= 1
    begun = tokens[first - 1].rpartition("\n")[2] if first > 0 else ""
    return begun + "".join(tokens[first:position])


def inside_quotation(tokens: Sequence[str], position: int) -> bool:
    """Between double quotes, on one line."""
    line = line_before(tokens, position)
    return line.count('"') % 2 == 1 or line.count("“") > line.count("”")


def inside_parentheses(tokens: Sequence[str], position: int) -> bool:
    """After an opening parenthesis that is still open, on one line."""
    line = line_before(tokens, position)
    return line.count("(") > line.count(")")


def inside_brackets(tokens: Sequence[str], position: int) -> bool:
    """After an opening square bracket that is still open, on one line."""
    line = line_before(tokens, position)
    return line.count("[") > line.count("]")


def inside_bold(tokens: Sequence[str], position: int) -> bool:
    """Between two pairs of asterisks, which make text bold in Markdown."""
    return line_before(tokens, position).count("**") % 2 == 1


def in_heading(tokens: Sequence[str], position: int) -> bool:
    """On a line that starts with the number signs of a Markdown heading."""
    return re.match(r"#+ ", line_before(tokens, position)) is not None


def in_list_item(tokens: Sequence[str], position: int) -> bool:
    """On a line that starts with a dash, an asterisk or a number with a dot, after that."""
    return re.match(r"\s*([-*•]|\d+[.)])\s", line_before(tokens, position)) is not None


def starts_list_item(tokens: Sequence[str], position: int) -> bool:
    """The first token after the dash, asterisk or number of a list's item."""
    return (
        bool(tokens[position].strip())
        and re.fullmatch(r"\s*([-*•]|\d+[.)])\s*", line_before(tokens, position)) is not None
    )


def starts_line(tokens: Sequence[str], position: int) -> bool:
    """The first token of a line."""
    return position > 0 and tokens[position - 1].endswith("\n")


def starts_sentence(tokens: Sequence[str], position: int) -> bool:
    """A word after a full stop, a question mark or an exclamation mark, on one line."""
    return tokens[position][:1] == " " and re.search(r"[.!?][\"”)]?$", line_before(tokens, position)) is not None


def continues_word(tokens: Sequence[str], position: int) -> bool:
    """A piece of a word that is not its first: letters after letters, without a space."""
    return position > 0 and tokens[position][:1].isalpha() and tokens[position - 1][-1:].isalpha()


def continues_number(tokens: Sequence[str], position: int) -> bool:
    """A digit after a digit, or after a digit and a dot or comma."""
    return tokens[position].isdigit() and re.search(r"\d[.,]?$", line_before(tokens, position)) is not None


def continues_name(tokens: Sequence[str], position: int) -> bool:
    """A word with a capital letter after another one, inside a sentence: a surname, often."""
    return (
        re.match(r" [A-Z][a-z]", tokens[position]) is not None
        and re.search(r"[\w,] [A-Z][a-z]+$", line_before(tokens, position)) is not None
    )


def after_comma(tokens: Sequence[str], position: int) -> bool:
    """The first word after a comma, on one line."""
    return tokens[position][:1] == " " and line_before(tokens, position).endswith(",")


def after_to(tokens: Sequence[str], position: int) -> bool:
    """The word after "to"."""
    return tokens[position][:1] == " " and re.search(r"\bto$", line_before(tokens, position)) is not None


def after_article(tokens: Sequence[str], position: int) -> bool:
    """The word after "the", "a" or "an"."""
    return tokens[position][:1] == " " and re.search(r"\b([Tt]he|[Aa]n?)$", line_before(tokens, position)) is not None


def after_possessive(tokens: Sequence[str], position: int) -> bool:
    """The word after "my", "your", "his", "her", "its", "our" or "their"."""
    return (
        tokens[position][:1] == " "
        and re.search(r"\b([Mm]y|[Yy]our|[Hh]is|[Hh]er|[Ii]ts|[Oo]ur|[Tt]heir)$", line_before(tokens, position))
        is not None
    )


def after_speaker(tokens: Sequence[str], position: int) -> bool:
    """The first token after the colon that follows a name at the start of a line."""
    return re.fullmatch(r"[A-Z][\w. ]{0,20}:\s*", line_before(tokens, position)) is not None


def in_indented_line(tokens: Sequence[str], position: int) -> bool:
    """On a line that starts with two or more spaces, after them: program code, mostly."""
    return re.match(r"(  |\t)\s*\S", line_before(tokens, position)) is not None


def in_python_def(tokens: Sequence[str], position: int) -> bool:
    """On the line of a Python function's header, after `def`."""
    return re.match(r"\s*def\b", line_before(tokens, position)) is not None


def in_comment(tokens: Sequence[str], position: int) -> bool:
    """After // or, inside a line, # : a comment in program code."""
    return re.search(r"(//|\S\s+#)\s", line_before(tokens, position)) is not None


def repeats(tokens: Sequence[str], position: int) -> bool:
    """The token before was followed by this same token earlier in the text."""
    pair = (tokens[position - 1], tokens[position]) if position > 0 else None
    return pair is not None and pair in zip(tokens[: position - 1], tokens[1:position])


def starts_text(tokens: Sequence[str], position: int) -> bool:
    """One of the first eight tokens of a text."""
    return position < 8


def about(topic: str, tokens: Sequence[str], position: int) -> bool:
    """Among the thirty tokens before there are two words of a topic, as TOPICS lists them."""
    words = re.findall(r"[a-z]+", "".join(tokens[max(0, position - 30) : position]).lower())
    return sum(word in TOPICS[topic] for word in words) >= 2


def about_code(tokens: Sequence[str], position: int) -> bool:
    """Among the thirty tokens before there are five of the signs = ( ) { } [ ] ; _ < >."""
    return len(re.findall(r"[=(){}\[\];_<>]", "".join(tokens[max(0, position - 30) : position]))) >= 5


TOPICS: Mapping[str, frozenset[str]] = {
    topic: frozenset(words.split())
    for topic, words in {
        "cooking": (
            "cup cups tablespoon tablespoons teaspoon teaspoons butter sugar salt flour oven bake recipe sauce "
            "cook dish ingredients"
        ),
        "family": (
            "mother father mom dad sister brother son daughter aunt uncle grandmother grandfather grandma grandpa "
            "wife husband cousin family"
        ),
        "law": (
            "court law legal agreement party parties contract rights liability clause terms license judge "
            "provision policy"
        ),
        "numbers": "number numbers sum add subtract multiply divide equation equals total zero plus minus calculate",
        "music": "music song songs band album guitar piano singer sing concert melody rhythm orchestra",
        "science": (
            "science scientists research study theory energy galaxy galaxies planet universe experiment physics "
            "species cells"
        ),
        "school": "school student students teacher teachers class classroom college university lesson exam education",
        "war": "war army soldiers battle military weapons enemy troops attack fight",
    }.items()
}

PREDICATES: Mapping[str, Predicate] = {f"about_{topic}": partial(about, topic) for topic in TOPICS} | {
    predicate.__name__: predicate
    for predicate in (
        about_code,
        inside_quotation,
        inside_parentheses,
        inside_brackets,
        inside_bold,
        in_heading,
        in_list_item,
        starts_list_item,
        starts_line,
        starts_sentence,
        continues_word,
        continues_number,
        continues_name,
        after_comma,
        after_to,
        after_article,
        after_possessive,
        after_speaker,
        in_indented_line,
        in_python_def,
        in_comment,
        repeats,
        starts_text,
    )
}
