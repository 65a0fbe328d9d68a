"""A column of a data frame, of whatever type, as far as it is numbers."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pyarrow as pa

from bayesgmm.data.doubles import as_doubles
from bayesgmm.data.numerals import Numerals, are_codes, numerals, trimmed

#: Kinds of values that no arithmetic is for, by what a sentence calls them.
KINDS = {
    (bool, np.bool_): "yes or no",
    (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64): "dates or times",
    (complex, np.complexfloating): "complex numbers",
    (list, tuple, set, dict, np.ndarray): "lists",
    (bytes,): "bytes",
}
NONE = np.empty(0, int)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
        As the table has it.
    read : callable
        Returns its cells as `Numerals`.
    cells : callable
        Returns them as they are.
    """

    name: str
    read: Callable[[], Numerals]
    cells: Callable[[], np.ndarray]

    @cached_property
    def found(self) -> Numerals:
        """Its cells, as far as they are numbers."""
        return self.read()

    @property
    def values(self) -> np.ndarray | None:
        """Its numbers, if it has some and nothing else."""
        found = self.found
        return found.values if found.numbers else None

    @cached_property
    def kind(self) -> str:
        """What it holds, where it is no feature; empty where it may be one."""
        found = self.found
        if not found.numbers:
            return found.form or "empty"
        if found.values is None:
            return found.form
        if self._are_codes():
            return "codes with leading zeros"
        return "dates written as whole numbers" if are_dates(found.values) else ""

    def _are_codes(self) -> bool:
        text = self.cells()
        return bool(text.dtype.kind in "OU" and isinstance(text[0], str)) and are_codes(_text(text))

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers alone, none missing."""
        values = self.values
        return values is not None and bool(np.isfinite(values).all() and (values == np.floor(values)).all())

    @cached_property
    def is_distinct(self) -> bool:
        """Whether no cell is missing or there twice."""
        import pandas as pd

        cells = pd.Series(self.cells())
        return bool(cells.notna().all() and cells.is_unique and not (cells.astype(str) == "").any())

    @property
    def is_in_order(self) -> bool:
        """Whether it counts the rows."""
        values = self.values
        return self.is_whole and values is not None and len(values) > 2 and bool((np.diff(values) == 1).all())

    def names(self) -> np.ndarray:
        """Return its cells as names of rows: whole numbers, or text."""
        values = self.values
        if self.is_whole and not self._are_codes() and values is not None and np.abs(values).max() < 2**53:
            return values.astype(np.int64)
        return np.array(["" if cell is None else str(cell) for cell in self.cells()], dtype=object)


def are_dates(values: np.ndarray) -> bool:
    """Return whether whole numbers are dates such as 20240131, all of them."""
    present = values[~np.isnan(values)]
    if len(present) < 3 or not ((present >= 18000101) & (present <= 21001231) & (present == np.floor(present))).all():
        return False
    month, day = present // 100 % 100, present % 100
    return bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())


def text_column(name: str, text: pa.Array, decimal: str) -> Column:
    """Return a column of a text file."""
    return Column(name, lambda: numerals(text, decimal), lambda: text.to_numpy(zero_copy_only=False))


def series_column(name: str, series: nw.Series[Any]) -> Column:
    """Return a column of a data frame."""

    def cells() -> np.ndarray:
        return _objects(_dense(series))

    return Column(name, lambda: _read(name, series), cells)


def _dense(series: nw.Series[Any]) -> Any:
    """Return a series as it is, or written out if it is kept sparse."""
    native: Any = nw.to_native(series)
    return native.sparse.to_dense() if hasattr(native, "sparse") else series


def _objects(values: Any) -> np.ndarray:
    """Return the values of a series one by one; missing ones None."""
    import pandas as pd

    listed = values.to_list() if hasattr(values, "to_list") else list(values)
    cells = np.empty(len(listed), dtype=object)
    cells[:] = [None if _is_missing(value, pd) else value for value in listed]
    return cells


def _is_missing(value: Any, pd: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)  # noqa: PLR0124, only NaN differs from itself


def _read(name: str, series: nw.Series[Any]) -> Numerals:
    """Return the cells of a series as numbers, as far as they are some."""
    dtype, dense = series.dtype, _dense(series)
    if dtype.is_numeric() or (dense is not series and dense.dtype.kind in "iuf"):
        values = as_doubles(dense.to_numpy(), f"data[{name!r}]")
        return Numerals(values, "", NONE, int(np.count_nonzero(~np.isnan(values))))
    for kind, word in ((dtype.is_temporal(), "dates or times"), (dtype == nw.Boolean, "yes or no")):
        if kind:
            return Numerals(None, word, np.arange(len(series)), 0)
    return objects_as_numerals(_objects(dense), name)


def objects_as_numerals(cells: np.ndarray, name: str) -> Numerals:
    """Return objects as numbers: numbers of any type, and text that says one."""
    present = np.array([cell is not None for cell in cells], dtype=bool)
    texts = np.array([isinstance(cell, str) for cell in cells], dtype=bool)
    if (texts == present).all() and present.any():
        return numerals(_text(cells))
    real = np.array([is_real(cell) for cell in cells], dtype=bool)
    values = np.full(len(cells), np.nan)
    values[real] = as_doubles(cells[real], f"data[{name!r}]")
    odd = present & ~real
    if texts.any() and real.any():
        words = cells.copy()
        words[~texts] = None
        said = numerals(_text(words))
        if said.values is not None and not said.form:
            values[texts], odd = said.values[texts], odd & ~texts
    numbers = int(present.sum() - odd.sum())
    if odd.any() or not numbers:
        return Numerals(None, _kind(cells[odd]), np.flatnonzero(odd), numbers)
    return Numerals(values, "", NONE, numbers)


def is_real(value: Any) -> bool:
    """Return whether this is a number that a double can hold, but for its size."""
    never = (bool, np.bool_, str, bytes, complex, np.complexfloating, np.datetime64, np.timedelta64, np.ndarray)
    return hasattr(value, "__float__") and not isinstance(value, never)


def _text(cells: np.ndarray) -> pa.Array:
    try:
        return trimmed(pa.array(cells, pa.large_string()))
    except UnicodeEncodeError:
        plain = [None if cell is None else cell.encode("utf-8", "replace").decode() for cell in cells]
        return trimmed(pa.array(plain, pa.large_string()))


def _kind(cells: np.ndarray) -> str:
    """Return what objects are that are no numbers."""
    if not len(cells):
        return "empty"
    for types, word in KINDS.items():
        if all(isinstance(cell, types) for cell in cells):
            return word
    return "text" if any(isinstance(cell, str) for cell in cells) else f"{type(cells[0]).__name__} objects"
