"""Tables as users have them, turned into arrays of doubles with their names, or refused in a sentence."""

from __future__ import annotations

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from bayesgmm.errors import DataError


def read_table(data: Any) -> tuple[Any, tuple[str, ...], np.ndarray | None]:
    """Return the table of a data frame, xarray object or array, with its names where it has some."""
    if data is None or isinstance(data, (str, bytes)):
        raise DataError(f"`data` has to be a table of numbers, got {type(data).__name__}; read the file first")
    if hasattr(data, "dims") and hasattr(data, "coords"):
        return _read_xarray(data)
    if not hasattr(data, "collect") and hasattr(data, "columns"):
        distinct(tuple(_name(name) for name in data.columns))
    frame = nw.from_native(data, pass_through=True, allow_series=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, nw.Series):
        frame = frame.alias(str(frame.name or "x0")).to_frame()
    if not isinstance(frame, nw.DataFrame):
        return data, (), None
    numeric = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    if not numeric:
        raise DataError(f"`data` has no numeric column among {list(frame.columns)}; convert some to numbers")
    table = np.empty((len(frame), len(numeric)))
    for j, name in enumerate(numeric):
        table[:, j] = as_doubles(frame.get_column(name).to_numpy(), f"data[{name!r}]")
    index = getattr(nw.to_native(frame), "index", None)
    return table, tuple(_name(n) for n in numeric), None if index is None else np.asarray(index)


def _name(name: Any) -> str:
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
    written = [_name(name) for name in names]
    for name in written:
        if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"`data` has a {what} name that no file can hold: {name!r}; rename it")
    return np.array(written, dtype=str)


def _read_xarray(data: Any) -> tuple[Any, tuple[str, ...], np.ndarray | None]:
    """Return rows (first dimension) and columns (second, or the variables of a Dataset)."""
    array = data.to_dataarray("feature").transpose(..., "feature") if hasattr(data, "data_vars") else data
    if array.ndim not in (1, 2):
        raise DataError(f"`data` has to have one or two dimensions, got {dict(array.sizes)}")
    row, *column = array.dims
    features = tuple(str(name) for name in array[column[0]].values) if column and column[0] in array.coords else ()
    return array.values, features, array[row].values if row in array.coords else None


def as_doubles(values: Any, name: str) -> np.ndarray:
    """Return an array of doubles, missing ones NaN, or say why it is none."""
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "iuf":
        values = np.where(np.ma.getmaskarray(values), np.nan, values.data)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"`{name}` is ragged: its rows differ in length ({error})") from error
    if array.dtype == object:
        array = _objects_as_numbers(array, name)
    if array.dtype.kind not in "iuf":
        raise DataError(f"`{name}` has to hold real numbers, got dtype {array.dtype}; convert or encode it first")
    with np.errstate(over="ignore"):
        # One copy at most: to another order and type at once.
        return array.astype(np.float64, order="C", copy=False)


def _objects_as_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """Convert an object array whose every element is a real number or missing."""
    numbers = np.empty(array.shape)
    for position, value in np.ndenumerate(array):
        missing = value is None or type(value).__name__ == "NAType"
        if not missing and (isinstance(value, (bool, str, bytes, complex)) or not hasattr(value, "__float__")):
            raise DataError(
                f"`{name}` has to hold real numbers, got {_short(value)} ({type(value).__name__}) at {position}; "
                "convert or encode it first"
            )
        try:
            numbers[position] = np.nan if missing else float(value)  # pyright: ignore[reportArgumentType]
        except (OverflowError, TypeError, ValueError) as error:
            raise DataError(f"`{name}` has a value at {position} that no double holds ({error})") from error
    return numbers


def _short(value: Any) -> str:
    """Return what a value looks like, in a few words."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
