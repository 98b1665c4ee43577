"""Tables of results: printed in a notebook, and saved with a name on every value."""

import json
from collections.abc import Mapping, Sequence
from numbers import Number
from pathlib import Path
from typing import Any

from scripts.interp.base.files import write_atomically

NOTHING = "–"  # where a row has no value


def table(rows: Sequence[Mapping[str, Any]], formats: Mapping[str, str] | None = None) -> str:
    """Rows as aligned text with a line of column names. Numbers stand at the right, text at the left.

    rows: one mapping from column name to value for each row; columns come in the order in which they first occur.
        Values are text, numbers or tensors with one entry; None, or a column that a row lacks, is shown as "–"
    formats: format specification of a column's numbers by its name, such as {"effect": "+.3f"}; without one, whole
        numbers get thousands separators and others three decimals
    Raises ValueError for a format of a column that is not there.
    """
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    columns = list(dict.fromkeys(name for row in plain for name in row))
    formats = dict(formats or {})
    unknown = formats.keys() - set(columns)
    if rows and unknown:
        raise ValueError(f"There is no column {sorted(unknown)[0]!r} to format: the columns are {columns}.")
    shown = []
    for name in columns:
        values = [row.get(name) for row in plain]
        entries = [name, *(_written(value, formats.get(name)) for value in values)]
        width = max(map(len, entries))
        numeric = all(value is None or isinstance(value, Number) for value in values)
        shown.append([entry.rjust(width) if numeric else entry.ljust(width) for entry in entries])
    return "\n".join("  ".join(line).rstrip() for line in zip(*shown, strict=True))


def save_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as a JSON list with one object a row, so that every value has its name. Returns the path.

    Values as in `table`, numbers in full precision. The file is written whole or not at all.
    """
    lines = ",\n".join(
        json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False) for row in rows
    )
    write_atomically(path, f"[\n{lines}\n]\n")
    return path


def with_interval(value: float, low: float, high: float, form: str = ".3f") -> str:
    """A number and its interval as text: "0.938 [0.930, 0.946]"."""
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value  # tensors with one entry and NumPy's numbers


def _written(value: Any, specification: str | None) -> str:
    if value is None:
        return NOTHING
    if not isinstance(value, Number) or isinstance(value, bool):
        return str(value)
    written = format(value, specification or ("," if isinstance(value, int) else ".3f"))
    if written.strip("+-0.,%"):
        return written
    # Minus zero is a small number, rounded: whether there is a minus depends on the order of summing.
    return written.replace("-", "+" if "+" in (specification or "") else "")
