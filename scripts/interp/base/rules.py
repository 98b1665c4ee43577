"""Settings out of YAML files: a rule for each of them, and one sentence for what breaks it.

A rule takes a value and says what is allowed instead, or None where the value is right.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Rule = Callable[[Any], str | None]


def text(value: Any) -> str | None:
    """What is allowed, if `value` is not: some text. The other rules below answer alike."""
    return None if type(value) is str and value.strip() else "some text"


def whole(least: int) -> Rule:
    """A whole number, not a number as text."""
    return lambda value: (
        None if type(value) is int and value >= least else f"a whole number without quotes, at least {least}"
    )


def number(most: float = math.inf, above: bool = True) -> Rule:
    """A number above 0 (or, where `above` is False, from 0), and `most` at most."""
    allowed = f"a number without quotes, {'above' if above else 'at least'} 0" + f" and at most {most:g}" * (
        most < math.inf
    )

    def rule(value: Any) -> str | None:
        if type(value) not in (int, float) or not math.isfinite(value):
            return allowed
        return None if (value > 0 if above else value >= 0) and value <= most else allowed

    return rule


def several(rule: Rule) -> Rule:
    """A list in which each entry fits a rule, and none stands twice."""

    def of_list(value: Any) -> str | None:
        if type(value) is not list or not value or any(value.count(each) > 1 for each in value):
            return "a list, [first, second], of one entry or more, none of them twice"
        wrong = [allowed for each in value if (allowed := rule(each))]
        return f"a list with, for each entry, {wrong[0]}" if wrong else None

    return of_list


def by_name(rule: Rule) -> Rule:
    """Names with a value each that fits a rule."""

    def of_mapping(value: Any) -> str | None:
        if type(value) is not dict or any(type(name) is not str for name in value):
            return "names with a value each, {name: value}"
        wrong = [allowed for each in value.values() if (allowed := rule(each))]
        return f"names with, for each, {wrong[0]}" if wrong else None

    return of_mapping


def flag(value: Any) -> str | None:
    """true or false."""
    return None if type(value) is bool else "true or false"


def one_of(*allowed: Any) -> Rule:
    """One of these values."""
    return lambda value: None if value in allowed and type(value) is not bool else ", or ".join(map(repr, allowed))


def or_none(rule: Rule) -> Rule:
    """Nothing (null), or what fits a rule."""
    return lambda value: None if value is None or not (allowed := rule(value)) else f"null, or {allowed}"


def check_value(where: str, name: str, value: Any, rule: Rule) -> None:
    """Raise ValueError, in one sentence, for a value that breaks its rule."""
    if allowed := rule(value):
        parts = value if type(value) is list else value.values() if type(value) is dict else [value]
        is_text = "number" in allowed and any(type(each) is str for each in parts)
        hint = " (YAML reads 1e-3 as text: write 0.001 or 1.0e-3)" if is_text else ""
        raise ValueError(f"{where}: {name} is {value!r}; give {allowed}{hint}.")


def read_yaml(path: Path, example: Path) -> dict[str, Any]:
    """The settings in a file, of which none may be there twice.

    Raises ValueError, in one sentence that names an example, for what is no such file.
    """
    try:
        content = Path(path).read_text(encoding="utf-8")
        tree = yaml.compose(content, Loader=yaml.SafeLoader)
        values = yaml.safe_load(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise ValueError(
            f"{path} can't be read as YAML ({' '.join(str(error).split())}): give a file like {example}."
        ) from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no settings: write lines like those in {example}, name: value.")
    _check_names(path, tree, "")
    return values


def _check_names(path: Path, tree: yaml.MappingNode, within: str) -> None:
    names = [name.value for name, _ in tree.value]
    for name, value in tree.value:
        if names.count(name.value) > 1:
            raise ValueError(f"{path} sets {within}{name.value} twice: leave one of the lines.")
        if isinstance(value, yaml.MappingNode):
            _check_names(path, value, f"{within}{name.value}.")
