"""Tables as users have them, turned into arrays with their names, or refused in a sentence."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np

from bayesgmm.data.columns import Table, chosen
from bayesgmm.data.doubles import as_doubles
from bayesgmm.data.names import distinct, joined_name
from bayesgmm.data.options import Reading
from bayesgmm.errors import DataError, DataWarning

if TYPE_CHECKING:
    from bayesgmm.data.files import Columns

PACKAGE = str(Path(__file__).parent.parent)


def read_table(data: Any, reading: Reading, weights: str | None = None) -> Table:
    """Return the table of a data frame, xarray object or array, with its names where it has some."""
    if data is None or isinstance(data, (str, bytes)):
        raise DataError(f"`data` has to be a table of numbers, got {type(data).__name__}; read the file first")
    if hasattr(data, "dims") and hasattr(data, "coords"):
        return _unchosen(_read_xarray(data), reading, weights)
    if not hasattr(data, "collect") and hasattr(data, "columns"):
        distinct(tuple(joined_name(name) for name in data.columns))
    frame = nw.from_native(data, pass_through=True, allow_series=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, nw.Series):
        return _read_series(frame, reading, weights)
    if not isinstance(frame, nw.DataFrame):
        return _unchosen(Table(data, ()), reading, weights)
    from bayesgmm.data.files import columns_of

    return choose(columns_of(frame), reading, "`data`", weights)


def table_of_file(path: str, reading: Reading, weights: str | None = None) -> Table:
    """Return the table of a file, or of standard input."""
    from bayesgmm.data.files import read_file

    return choose(read_file(path, reading), reading, "standard input" if path == "-" else repr(path), weights)


def choose(found: Columns, reading: Reading, source: str, weights: str | None = None) -> Table:
    """Return the features of a table among its columns."""
    if not found.columns:
        raise DataError("`data` has no numeric column among none; convert some to numbers")
    rows = len(found.columns[0].cells())
    if not rows:
        raise DataError(f"`data` is empty: got shape {(0, len(found.columns))}; give at least one row and one column")
    has_names = found.index is not None and not _counts(found.index)
    reading = reading if found.named else replace(reading, of_fit=())
    table = chosen(found.columns, reading, source, weights=weights, has_names=has_names)
    said = () if reading.of_fit else (*found.said, *table.said)
    index = found.index if table.index is None else table.index
    return replace(table, index=index, said=said, features=table.features if found.named else ())


def say(said: tuple[str, ...]) -> None:
    """Tell the user what was recognised, converted, set aside or left out of a table."""
    for sentence in said:
        warnings.warn(DataWarning(sentence), skip_file_prefixes=(PACKAGE,))


def _counts(index: np.ndarray) -> bool:
    """Return whether names of rows are the numbers that every data frame has."""
    return index.dtype.kind == "i" and bool((index == np.arange(len(index))).all())


def _read_series(series: nw.Series[Any], reading: Reading, weights: str | None) -> Table:
    """Return one column; it has a name, or none."""
    from bayesgmm.data.files import columns_of

    named = series.name is not None and str(series.name) != ""
    found = columns_of(series.alias(str(series.name) if named else "x0").to_frame())
    if not named:
        found, reading = replace(found, named=False), replace(reading, of_fit=())
    else:
        # It is the one column that was meant, even if it counts the rows.
        reading = reading if reading.of_fit else replace(reading, columns=[str(series.name)])
    return choose(found, reading, "`data`", weights)


def _unchosen(table: Table, reading: Reading, weights: str | None) -> Table:
    """Return a table of numbers alone, of which columns can be chosen if it has names."""
    if weights is not None:
        raise DataError(f"`sample_weight` is {weights!r}, but `data` has no column of weights: give an array of them")
    asked = {"columns": reading.columns, "index": reading.index}
    for option, value in asked.items():
        if value is not None and not reading.of_fit and not (option == "columns" and table.features):
            raise DataError(f"{reading.option(option)} is {value!r}, but `data` has no names to choose by")
    wanted = reading.wanted(list(table.features), "`data`") if table.features else ()
    if not wanted:
        return table
    missing = [name for name in wanted if name not in table.features]
    if missing:
        raise DataError(f"`data` has to have the columns {list(wanted)} of the fit, got {list(table.features)}")
    values = as_doubles(table.values, "data")[:, [table.features.index(name) for name in wanted]]
    return replace(table, values=values, features=wanted)


def _read_xarray(data: Any) -> Table:
    """Return rows (first dimension) and columns (second, or the variables of a Dataset)."""
    array = data.to_dataarray("feature").transpose(..., "feature") if hasattr(data, "data_vars") else data
    if array.ndim not in (1, 2):
        raise DataError(f"`data` has to have one or two dimensions, got {dict(array.sizes)}")
    row, *column = array.dims
    features = tuple(str(name) for name in array[column[0]].values) if column and column[0] in array.coords else ()
    return Table(array.values, features, array[row].values if row in array.coords else None)
