"""Observations: a table that was checked once, and the coordinates in which it is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
from jaxtyping import Float

from bayesgmm.errors import DataError

#: Rows that a NumPy expression takes at a time: a few megabytes whatever the table.
BLOCK_ROWS = 65_536
#: Spreads outside these leave no room for squares and determinants in double precision.
SMALLEST_SPREAD, LARGEST_SPREAD = 1e-152, 1e152


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Rows of numbers with their weights and names, checked by `of`.

    Attributes
    ----------
    values : array (n, d)
        In the user's units.
    sample_weight : array (n,)
        How often each row counts (frequency weights): weight 3 equals the row three times.
    features : tuple of str
        Names of the d columns.
    index : array (n,)
        Names of the rows.
    origin, unit : array (d,)
        The pass over the data sees ``(values - origin) / unit``; 0 and 1 until `standardised`.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> bg.Observations.of([1.0, 2.0, 4.0]).values.shape
    (3, 1)
    """

    values: Float[np.ndarray, "n d"]
    sample_weight: Float[np.ndarray, " n"]
    features: tuple[str, ...]
    index: np.ndarray
    origin: Float[np.ndarray, " d"]
    unit: Float[np.ndarray, " d"]

    @classmethod
    def of(cls, data: Any, sample_weight: Any = None) -> Observations:
        """Check a table and its row weights.

        Parameters
        ----------
        data : array (n,) or (n, d), list, DataFrame or Series (pandas, polars), xarray object
            The numeric columns of a data frame become features; its index names the rows.
        sample_weight : array (n,), optional
            Non-negative frequency weights; all 1 where not given.

        Raises
        ------
        DataError
            If the table is empty, ragged, not numeric, not finite, or the weights do not fit.
        """
        if isinstance(data, Observations):
            return data if sample_weight is None else data._weighted(sample_weight)
        table, features, index = _read(data)
        values = _numeric(table, "data")
        if values.ndim not in (1, 2):
            raise DataError(f"`data` has to be (n,) or (n, d), got shape {values.shape}")
        values = np.ascontiguousarray(values[:, None] if values.ndim == 1 else values)
        n, d = values.shape
        if n == 0 or d == 0:
            raise DataError(f"`data` is empty: got shape {values.shape}; give at least one row and one column")
        features = _distinct(features) or tuple(f"x{j}" for j in range(d))
        _check_finite(values, features)
        index = np.arange(n) if index is None else _plain_names(index, "row")
        weight = np.ones(n) if sample_weight is None else _checked_weight(sample_weight, n)
        return cls(values, weight, features, index, np.zeros(d), np.ones(d))

    def _weighted(self, sample_weight: Any) -> Observations:
        return replace(self, sample_weight=_checked_weight(sample_weight, len(self)))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_features(self) -> int:
        """Number of columns, d."""
        return self.values.shape[1]

    @property
    def total_weight(self) -> float:
        """Number of rows that the weights stand for."""
        return float(self.sample_weight.sum())

    def in_units(self, origin: Float[np.ndarray, " d"], unit: Float[np.ndarray, " d"]) -> Observations:
        """Return the same rows, seen by the pass as ``(values - origin) / unit``."""
        return replace(self, origin=origin, unit=unit)

    def standardised(self, unit: Literal["feature", "common"] = "feature") -> Observations:
        """Return the same rows, seen with mean 0 and standard deviation 1.

        Everything is computed in these coordinates, so that results do not depend on the
        offset and scale of the columns. Nothing is copied.

        Parameters
        ----------
        unit : {"feature", "common"}
            Whether each column is divided by its own standard deviation, or all by one (the root
            of their mean variance), which keeps spherical covariances spherical.

        Raises
        ------
        DataError
            If a column is constant, or its spread is beyond what squares can hold.
        """
        _check_spread(self)
        counted = self.counted()
        low, high = counted.values.min(axis=0), counted.values.max(axis=0)
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        mean, covariance = counted.in_units(middle, half).moments()
        deviations = half * np.sqrt(np.diag(covariance))
        if unit == "common":
            largest = deviations.max()
            deviations = np.full_like(deviations, largest * np.sqrt(np.mean((deviations / largest) ** 2)))
        return self.in_units(middle + half * mean, deviations)

    def blocks(self) -> Iterator[tuple[Float[np.ndarray, "rows d"], Float[np.ndarray, " rows"]]]:
        """Yield the rows as the pass sees them, with their weights, block by block."""
        for start in range(0, len(self), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            yield (self.values[rows] - self.origin) / self.unit, self.sample_weight[rows]

    def moments(self) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
        """Return the weighted mean and the sample covariance (divisor total weight - 1), as seen."""
        total = self.total_weight
        mean = sum((v @ x for x, v in self.blocks()), start=np.zeros(self.n_features)) / total
        scatter = np.zeros((self.n_features, self.n_features))
        for x, v in self.blocks():
            scatter += (v[:, None] * (x - mean)).T @ (x - mean)
        return mean, scatter / (total - 1)

    def counted(self) -> Observations:
        """Return the rows of positive weight."""
        return self if (self.sample_weight > 0).all() else self.taken(np.flatnonzero(self.sample_weight))

    def subsample(self, rows: int, rng: np.random.Generator) -> Observations:
        """Return at most ``rows`` rows of positive weight, drawn without replacement."""
        counted = self.counted()
        if len(counted) <= rows:
            return counted
        return counted.taken(np.sort(rng.choice(len(counted), rows, replace=False)))

    def rows(self, start: int, stop: int) -> Observations:
        """Return rows ``start ... stop``, without a copy."""
        return self.taken(slice(start, stop))

    def taken(self, at: Any) -> Observations:
        """Return the rows that an index or slice names."""
        return replace(self, values=self.values[at], sample_weight=self.sample_weight[at], index=self.index[at])

    def matching(self, features: tuple[str, ...]) -> Observations:
        """Return the columns that carry these names, or all if unnamed and as many.

        Raises
        ------
        DataError
            If a named column is missing, or the number of columns differs.
        """
        if self.features == features:
            return self
        if set(features) <= set(self.features):
            at = [self.features.index(name) for name in features]
            values = np.ascontiguousarray(self.values[:, at])
            return replace(self, values=values, features=features, origin=self.origin[at], unit=self.unit[at])
        unnamed = self.features == tuple(f"x{j}" for j in range(self.n_features))
        if unnamed and self.n_features == len(features):
            return replace(self, features=features)
        raise DataError(f"`data` has to have the columns {list(features)} of the fit, got {list(self.features)}")


def _read(data: Any) -> tuple[Any, tuple[str, ...], np.ndarray | None]:
    """Return the table of a data frame, xarray object or array, with its names where it has some."""
    if data is None or isinstance(data, (str, bytes)):
        raise DataError(f"`data` has to be a table of numbers, got {type(data).__name__}; read the file first")
    if hasattr(data, "dims") and hasattr(data, "coords"):
        return _read_xarray(data)
    if not hasattr(data, "collect") and hasattr(data, "columns"):
        _distinct(tuple(_name(name) for name in data.columns))
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
    columns = [_numeric(frame.get_column(name).to_numpy(), f"data[{name!r}]") for name in numeric]
    index = getattr(nw.to_native(frame), "index", None)
    return np.column_stack(columns), tuple(_name(n) for n in numeric), None if index is None else np.asarray(index)


def _name(name: Any) -> str:
    """Return a name as text, several levels of one joined."""
    return " / ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of columns, or say which stands more than once or cannot be written to a file."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"`data` has columns of the same name, more than once: {twice[:5]}; rename them")
    _plain_names(np.array(names, dtype=object), "column")
    return names


def _plain_names(names: np.ndarray, what: str) -> np.ndarray:
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


def _numeric(values: Any, name: str) -> np.ndarray:
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
        return array.astype(np.float64, copy=False)


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


def _check_finite(values: Float[np.ndarray, "n d"], features: tuple[str, ...]) -> None:
    if not np.isfinite(values).all():
        _refuse_rows(np.isnan(values), features, "missing (NaN)")
        _refuse_rows(np.isinf(values), features, "infinite")


def _refuse_rows(bad: np.ndarray, features: tuple[str, ...], word: str) -> None:
    rows = np.flatnonzero(bad.any(axis=1))
    if rows.size:
        columns = [features[j] for j in np.flatnonzero(bad.any(axis=0))]
        named = ", ".join(repr(c) for c in columns[:5]) + (f" and {len(columns) - 5} more" if len(columns) > 5 else "")
        listed = ", ".join(str(r) for r in rows[:5]) + (", ..." if rows.size > 5 else "")
        raise DataError(
            f"`data` has {rows.size} of {len(bad)} rows with {word} values, the first at row {rows[0]} "
            f"(rows {listed}; columns {named}); drop or replace them"
        )


def _checked_weight(sample_weight: Any, n: int) -> Float[np.ndarray, " n"]:
    weight = _numeric(sample_weight, "sample_weight")
    if weight.shape != (n,):
        raise DataError(f"`sample_weight` has to have shape ({n},), one weight per row, got {weight.shape}")
    bad = np.flatnonzero(~np.isfinite(weight) | (weight < 0))
    if bad.size:
        raise DataError(
            f"`sample_weight` has to be finite and at least 0, got {weight[bad[0]]} at row {bad[0]} "
            f"({bad.size} of {n} rows)"
        )
    with np.errstate(over="ignore"):
        total = weight.sum()
    # Normalised weights sum to 1 but for rounding.
    if total <= 1 + 1e-9 or not np.isfinite(total):
        raise DataError(
            f"`sample_weight` sums to {total:.6g}: weights count rows (weight 3 equals the row three "
            "times), so they have to sum to more than 1; multiply normalised weights by the number of rows"
        )
    return weight


def _check_spread(data: Observations) -> None:
    """Refuse columns that are constant to rounding, or too widely or narrowly spread."""
    used = data.counted().values
    low, high = used.min(axis=0), used.max(axis=0)
    spread = high / 2 - low / 2
    constant = spread <= 8 * np.finfo(float).eps * np.maximum(np.abs(low), np.abs(high)) / 2
    if constant.any():
        names = ", ".join(repr(data.features[j]) for j in np.flatnonzero(constant))
        what = "all rows of `data` are equal in" if len(used) > 1 else "`data` has only one row that counts in"
        raise DataError(f"{what} column {names}: a constant says nothing about groups; drop it or give more rows")
    extreme = np.flatnonzero((spread < SMALLEST_SPREAD) | (spread > LARGEST_SPREAD))
    if extreme.size:
        j = extreme[0]
        raise DataError(
            f"`data` column {data.features[j]!r} spreads over {spread[j]:.3g}, whose square a double cannot hold; "
            "measure it in another unit"
        )
