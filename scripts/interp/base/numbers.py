"""Whole numbers as arguments."""


def is_integer(value: object) -> bool:
    """Whether `value` is an int; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_positive(name: str, value: int) -> None:
    """Raise ValueError, naming the argument, unless `value` is a whole number, at least 1."""
    if not is_integer(value) or value < 1:
        raise ValueError(f"{name} is {value!r}: give a whole number, at least 1.")
