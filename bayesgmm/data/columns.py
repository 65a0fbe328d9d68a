"""Which columns of a table are features, which names its rows, and why others are left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.arguments import suggested
from bayesgmm.data.names import shown
from bayesgmm.data.options import Reading, known
from bayesgmm.errors import DataError

if TYPE_CHECKING:
    from bayesgmm.data.cells import Column

#: Names of columns that number rows, or name what a row is about.
UNNAMED = re.compile(r"|Unnamed: 0(?:\.\d+)?|__index_level_0__|level_0")
ID = re.compile(r"(?:.*[\s_.-])?(?:id|ids|uid|uuid|guid)(?:[\s_.-].*)?", re.IGNORECASE)
CAMEL_ID = re.compile(r".*[a-z](?:Id|ID)|(?:id|ID)[A-Z].*")
NUMBERING = re.compile(
    r"(?:index|idx|row|rows|rowid|nr|no|num|number|#|key|record|obs|observation|serial|case|sample)\.?"
    r"|(?:row|record|obs|observation|case|sample|serial)[\s_.-]?(?:index|idx|nr|no|num|number|name)\.?",
    re.IGNORECASE,
)
NUMBERS_ROWS = "numbers the rows"


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose columns are chosen.

    Attributes
    ----------
    values : array (n, d)
        Of the features.
    features : tuple of str
        Their names.
    index : array (n,), or None
        Names of the rows, if a column has them.
    weights : array (n,), or None
        Of the rows, if a column was named for them.
    said : tuple of str
        What was converted, set aside or left out.
    fresh : bool
        Whether nobody else holds the values.
    """

    values: Any
    features: tuple[str, ...]
    index: np.ndarray | None = None
    weights: np.ndarray | None = None
    said: tuple[str, ...] = ()
    fresh: bool = False


def chosen(
    columns: Sequence[Column], reading: Reading, source: str, *, weights: str | None = None, has_names: bool = False
) -> Table:
    """Choose the features among the columns of a table, and what names its rows.

    Parameters
    ----------
    columns : sequence of Column
        All that there are.
    reading : Reading
        What the user decided.
    source : str
        The table, as it is called in a sentence.
    weights : str, optional
        Column of row weights.
    has_names : bool
        Whether the rows have names that are no column.

    Raises
    ------
    DataError
        If a column that is wanted is not there, or has cells that are no numbers; if no column has numbers.
    """
    table = {column.name: column for column in columns}
    if weights is not None:
        known(weights, list(table), f"{'--weights' if reading.door == 'terminal' else '`sample_weight`'}: {source}")
    if reading.index is not None:
        known(reading.index, list(table), source)
    wanted = tuple(name for name in reading.wanted(list(table), source) if name != weights)
    if reading.columns is not None and not wanted and not reading.of_fit:
        raise DataError(f"{reading.option('columns')} names no feature beside the weights {weights!r}")
    free = [column for column in columns if column.name not in (weights, reading.index, *wanted)]
    aside = naming(free, columns[0])
    if wanted:
        features, left = _asked_for(table, wanted, reading, source), {}
    else:
        features = _of_numbers(free, aside, reading, source)
        left = {c.name: aside.get(c.name) or c.kind for c in free if c not in features}
    index = reading.index
    if index is None and not has_names:
        index = _index([column for column in free if column.name in aside and column not in features])
    said = [] if reading.of_fit else _converted(features)
    if left and reading.index is None and index is not None:
        said.append(f"column {shown(index)} names the rows and is no feature: it {left.pop(index)}")
    if left:
        listed = ", ".join(f"{shown(name)} ({why})" for name, why in left.items())
        said.append(f"columns left out: {listed}; {reading.option('columns')} decides")
    return Table(
        np.column_stack([np.asarray(column.values) for column in features]),
        tuple(column.name for column in features),
        None if index is None else table[index].names(),
        None if weights is None else _weights(table[weights], source, reading),
        tuple(said),
        fresh=True,
    )


def naming(columns: Sequence[Column], first: Column) -> dict[str, str]:
    """Return which columns name or number the rows, with the reason."""
    found = {column.name: _why_names(column, column is first) for column in columns}
    return {name: why for name, why in found.items() if why}


def names_rows(name: str) -> bool:
    """Return whether a column is called like a name of the rows."""
    return any(pattern.fullmatch(name.strip()) for pattern in (ID, CAMEL_ID, UNNAMED))


def _why_names(column: Column, is_first: bool) -> str:
    """Return why a column names the rows; empty if it does not."""
    if column.found.is_spoilt or column.kind == "empty":
        return ""
    name, is_text = column.name.strip(), column.values is None
    is_id = ID.fullmatch(name) or CAMEL_ID.fullmatch(name)
    if (is_id or NUMBERING.fullmatch(name) or UNNAMED.fullmatch(name)) and (is_text or column.is_whole):
        if column.is_distinct:
            return "is called like a name of rows and differs in each"
        if is_id and not is_text:
            return "is called like an id"
    if is_first and column.kind == "text" and column.is_distinct:
        return "is text that differs in each row"
    return NUMBERS_ROWS if column.is_in_order else ""


def _index(columns: list[Column]) -> str | None:
    """Return the column among those set aside that names the rows best."""
    distinct = [column for column in columns if column.is_distinct]
    by_worth = sorted(distinct, key=lambda c: (UNNAMED.fullmatch(c.name.strip()) is not None, c.is_in_order))
    return by_worth[0].name if by_worth else None


def _asked_for(table: dict[str, Column], wanted: tuple[str, ...], reading: Reading, source: str) -> list[Column]:
    """Return the columns that were asked for, in that order, or say which is none of numbers."""
    missing = [name for name in wanted if name not in table]
    if missing:
        raise DataError(
            f"`data` has to have the columns {list(wanted)} of the fit, got {list(table)}{suggested(missing[0], table)}"
        )
    features = [table[name] for name in wanted]
    for column in features:
        if column.values is None:
            _refuse_cells(column, source, reading)
            who = "`data` has to have the columns of the fit" if reading.of_fit else reading.option("columns")
            raise DataError(f"{who}: {shown(column.name)} cannot be a feature, for it is {column.kind}")
    return features


def _of_numbers(columns: list[Column], aside: dict[str, str], reading: Reading, source: str) -> list[Column]:
    """Return the columns of numbers; those that count the rows only if there are no others."""
    free = [column for column in columns if column.name not in aside]
    for column in free:
        if column.found.is_spoilt:
            _refuse_cells(column, source, reading)
    features = [column for column in free if not column.kind]
    features = features or [c for c in columns if aside.get(c.name) == NUMBERS_ROWS and not c.kind]
    if not features:
        why = ", ".join(f"{shown(c.name)} ({aside.get(c.name) or c.kind})" for c in columns[:8])
        raise DataError(f"`data` has no numeric column among {why or 'none'}; convert some to numbers")
    return features


def _refuse_cells(column: Column, source: str, reading: Reading) -> None:
    """Name the cells that are no numbers, where others are."""
    found = column.found
    if not found.numbers:
        return
    cells, odd = column.cells(), found.odd
    listed = ", ".join(f"{shown(cells[at])} at row {at}" for at in odd[:3]) + (", ..." if len(odd) > 3 else "")
    raise DataError(
        f"{source} has {len(odd)} of {len(cells)} cells in column {shown(column.name)} that are no numbers of the form "
        f"of the others: {listed}; mend them, leave them empty where a value is missing, or name the features with "
        f"{reading.option('columns')}"
    )


def _converted(features: Sequence[Column]) -> list[str]:
    """Return what was converted, in a sentence."""
    found = [f"{shown(column.name)} ({column.found.form})" for column in features if column.found.form]
    return [f"columns were converted to numbers: {', '.join(found)}"] if found else []


def _weights(column: Column, source: str, reading: Reading) -> np.ndarray:
    """Return the row weights that a column holds."""
    if column.values is None:
        _refuse_cells(column, source, reading)
        raise DataError(f"`sample_weight` has to hold real numbers, but column {shown(column.name)} is {column.kind}")
    return column.values
