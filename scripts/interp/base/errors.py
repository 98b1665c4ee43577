"""Errors that more than one room raises, and errors in a sentence."""


class ModelUnavailable(RuntimeError):
    """A model can't be had right now; the message says why and what to do."""


def in_short(error: BaseException) -> str:
    """What kind of error it is and its first line, to put into a sentence."""
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"
