"""Names of columns and rows, as text that a file can hold; cells as a sentence quotes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesgmm.errors import DataError


def joined_name(name: Any) -> str:
    """Return a name as text, several levels of one joined."""
    return " / ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of columns, or say which stands more than once or cannot be written to a file."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"`data` has columns of the same name, more than once: {twice[:5]}; rename them")
    plain_names(np.array(names, dtype=object), "column")
    return names


def plain_names(names: np.ndarray, what: str) -> np.ndarray:
    """Return names as numbers, dates or text that a file can hold; levels of one name are joined."""
    if names.dtype.kind != "O":
        return names
    written = [joined_name(name) for name in names]
    for name in written:
        if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"`data` has a {what} name that no file can hold: {name!r}; rename it")
    return np.array(written, dtype=str)


def shown(value: Any, most: int = 40) -> str:
    """Return a cell as it may be quoted in a sentence."""
    quoted = repr(value)
    return quoted if len(quoted) <= most else quoted[: most - 3] + "..."
