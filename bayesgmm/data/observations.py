"""Observations: a table that was checked once, and the coordinates in which it is seen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float

from bayesgmm.data import sums
from bayesgmm.data.columns import Table
from bayesgmm.data.doubles import as_doubles, read_only
from bayesgmm.data.extent import Extent, check_spread, extent_of, moments_of
from bayesgmm.data.frame import Frame
from bayesgmm.data.names import distinct, plain_names
from bayesgmm.data.options import Reading, short_list
from bayesgmm.data.reading import read_table, say
from bayesgmm.data.sums import block_bounds, summed
from bayesgmm.data.weights import COPIED_VALUES, alike, checked_weight
from bayesgmm.errors import DataError


class Rows:
    """What can be asked of rows wherever they are kept: in memory (`Observations`) or not (`StoredObservations`)."""

    __slots__ = ()
    features: tuple[str, ...]
    named: bool
    origin: Float[np.ndarray, " d"]
    unit: Float[np.ndarray, " d"]

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def total_weight(self) -> float:
        """Number of rows that the weights stand for."""
        raise NotImplementedError

    @property
    def weights(self) -> Float[np.ndarray, " any"]:
        """Row weights, or a single one where all are known to be alike."""
        raise NotImplementedError

    @property
    def n_features(self) -> int:
        """Number of columns, d."""
        return len(self.features)

    @property
    def counted_rows(self) -> int:
        """Number of rows of positive weight."""
        return len(self)

    @property
    def is_one_chunk(self) -> bool:
        """Whether the rows are in memory and few: compiled loops then run without Python between passes."""
        return False

    def map_reduce(self, block_function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the sum of ``block_function(block, start, *arguments)`` over blocks of rows.

        A block is `Observations` in memory that begin at row ``start``. What is returned is added up by ``+`` in a
        fixed tree (`sums`), so that it is the same to the bit wherever the rows are and whoever works on them.
        """
        return summed(self.each(block_function, arguments))

    def map_blocks(self, block_function: Callable[..., Any], *arguments: Any, sink: Callable[[int, Any], None]) -> None:
        """Hand ``sink(start, block_function(block, start, *arguments))`` the result for each block, in order."""
        for (start, _), found in zip(self.bounds, self.each(block_function, arguments), strict=True):
            sink(start, found)

    def each(self, block_function: Callable[..., Any], arguments: tuple[Any, ...]) -> Iterable[Any]:
        """Yield ``block_function(block, start, *arguments)`` of each block, in order."""
        raise NotImplementedError

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """Where blocks begin and end."""
        return block_bounds(len(self), self.n_features)

    def subsample(self, rows: int, rng: np.random.Generator) -> Observations:
        """Return at most ``rows`` rows of positive weight in memory, drawn without replacement."""
        raise NotImplementedError

    def standing_for_all(self, rows: int, rng: np.random.Generator) -> Observations:
        """Return a `subsample` whose weights sum to those of all rows."""
        return self.subsample(rows, rng).weighing(self.total_weight)

    def counted(self) -> Self:
        """Return the rows of positive weight."""
        raise NotImplementedError

    def matching(self, features: tuple[str, ...], named: bool = True) -> Self:
        """Return the columns of a fit: by name, or by position and number where either has no names.

        Parameters
        ----------
        features : tuple of str
            Columns of the fit.
        named : bool
            Whether those are names that its table had.

        Raises
        ------
        DataError
            If a named column is missing, or the number of columns differs.
        """
        if not self.named and self.n_features == len(features):
            return replace(self, features=features, named=named)  # pyright: ignore[reportArgumentType, reportReturnType, reportCallIssue]
        if self.named and self.features == features:
            return self
        if self.named and named and set(features) <= set(self.features):
            return self.picked(features)
        given = f"{list(self.features)}" if self.named else f"{self.n_features} columns without names"
        if self.named and not named:
            raise DataError(
                f"`data` has the columns {short_list(self.features)}, but what was fitted had none of its own: give "
                f"an array of {len(features)} columns, in the order of the fit"
            )
        raise DataError(f"`data` has to have the columns {list(features)} of the fit, got {given}")

    def picked(self, features: tuple[str, ...]) -> Self:
        """Return some of the columns, by their names."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return a digest that differs between data, and between ways to see them."""
        raise NotImplementedError

    def in_units(self, origin: Float[np.ndarray, " d"], unit: Float[np.ndarray, " d"]) -> Self:
        """Return the same rows, seen by the pass as ``(values - origin) / unit``."""
        return replace(self, origin=origin, unit=unit)  # pyright: ignore[reportArgumentType, reportReturnType, reportCallIssue]

    def extent(self) -> Extent:
        """Return the least and largest value of each column among the rows that count."""
        return self.map_reduce(extent_of)

    def frame(self) -> Frame:
        """Return where the rows lie, in two passes over them.

        Raises
        ------
        DataError
            If a column is constant, or its spread is beyond what squares can hold.
        """
        extent = self.extent()
        check_spread(extent, self.features)
        middle, half = extent.low / 2 + extent.high / 2, extent.high / 2 - extent.low / 2
        return Frame(middle, half, *self.in_units(middle, half).moments())

    def standardised(self, unit: Literal["feature", "common"] = "feature", frame: Frame | None = None) -> Self:
        """Return the same rows, seen with mean 0 and standard deviation 1.

        Everything is computed in these coordinates, so that results do not depend on the
        offset and scale of the columns. Nothing is copied.

        Parameters
        ----------
        unit : {"feature", "common"}
            Whether each column is divided by its own standard deviation, or all by one (the root
            of their mean variance), which keeps spherical covariances spherical.
        frame : Frame, optional
            Of these rows, where it is known.

        Raises
        ------
        DataError
            If a column is constant, or its spread is beyond what squares can hold.
        """
        frame = self.frame() if frame is None else frame
        deviations = frame.deviations
        if unit == "common":
            largest = deviations.max()
            deviations = np.full_like(deviations, largest * np.sqrt(np.mean((deviations / largest) ** 2)))
        return self.in_units(frame.origin, deviations)

    def moments(self) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
        """Return the weighted mean and the sample covariance (divisor total weight - 1), as seen."""
        about = self.map_reduce(moments_of, np.zeros(self.n_features))
        mean = about.first[0] / about.counts[0]
        scatter = self.map_reduce(moments_of, mean).second[0]
        return mean, (scatter + np.tril(scatter, -1).T) / (self.total_weight - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Observations(Rows):
    """Rows of numbers with their weights and names, checked by `of`.

    Attributes
    ----------
    values : array (n, d)
        In the user's units.
    sample_weight : array (n,)
        How often each row counts (frequency weights): weight 3 equals the row three times. Not to be written to.
    features : tuple of str
        Names of the d columns.
    index : array (n,), or range
        Names of the rows.
    origin, unit : array (d,)
        The pass over the data sees ``(values - origin) / unit``; 0 and 1 until `standardised`.
    named : bool
        Whether the columns had names; those of others are made up, and never matched.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> bg.Observations.of([1.0, 2.0, 4.0]).values.shape
    (3, 1)
    """

    values: Float[np.ndarray, "n d"]
    sample_weight: Float[np.ndarray, " n"]
    features: tuple[str, ...]
    index: np.ndarray | range
    origin: Float[np.ndarray, " d"]
    unit: Float[np.ndarray, " d"]
    named: bool = True

    @classmethod
    def of(cls, data: Any, sample_weight: Any = None, reading: Reading | None = None) -> Observations:
        """Check a table and its row weights.

        Parameters
        ----------
        data : array (n,) or (n, d), list, DataFrame or Series (pandas, polars), xarray object
            Columns of numbers become features, whatever their type; the index of a data frame, or a column of ids,
            names the rows.
        sample_weight : array (n,) or str, optional
            Non-negative frequency weights, or the column that has them; all 1 where not given.
        reading : Reading, optional
            Which columns are features, what names the rows, what becomes of missing values.

        Raises
        ------
        DataError
            If the table is empty, ragged, not numeric, not finite, or the weights do not fit.

        Warns
        -----
        DataWarning
            If columns are left out, set aside as names of the rows, or converted.
        """
        if isinstance(data, Observations):
            rows = data._own_again()
            return rows if sample_weight is None else rows._weighted(sample_weight)
        reading = (reading or Reading()).checked()
        weights = sample_weight if isinstance(sample_weight, str) else None
        table = read_table(data, reading, weights)
        return cls.of_table(table, sample_weight if weights is None else table.weights, reading)

    @classmethod
    def of_table(cls, table: Table, sample_weight: Any, reading: Reading) -> Observations:
        """Check a table whose columns are chosen; a copy is kept, but of many values."""
        values = as_doubles(table.values, "data")
        if values.ndim not in (1, 2):
            raise DataError(f"`data` has to be (n,) or (n, d), got shape {values.shape}")
        values = _own(values[:, None] if values.ndim == 1 else values, table)
        n, d = values.shape
        if n == 0 or d == 0:
            raise DataError(f"`data` is empty: got shape {values.shape}; give at least one row and one column")
        features = distinct(table.features) or tuple(f"x{j}" for j in range(d))
        index = range(n) if table.index is None else plain_names(table.index, "row")
        weight = alike(1.0, n) if sample_weight is None else checked_weight(sample_weight, n)
        rows = cls(values, weight, features, index, np.zeros(d), np.ones(d), bool(table.features))
        said = table.said
        if reading.missing == "drop":
            rows, dropped = rows.without_missing()
            said = (*said, *dropped)
        _check_finite(rows.values, features, reading)
        say(said)
        return rows

    def without_missing(self) -> tuple[Self, tuple[str, ...]]:
        """Return the rows that have every value, and a sentence on those that have not."""
        bad = np.isnan(self.values).any(axis=1)
        if not bad.any():
            return self, ()
        if bad.all():
            raise DataError(f"`data` has a missing value in each of its {len(bad)} rows: none is left")
        at = np.flatnonzero(bad)
        listed = ", ".join(str(row) for row in at[:5]) + (", ..." if at.size > 5 else "")
        kept = self.taken(np.flatnonzero(~bad))
        if kept.sample_weight.strides != (0,):
            checked_weight(kept.sample_weight, len(kept))
        return kept, (f"{at.size} of {len(bad)} rows were dropped, for they have missing values: rows {listed}",)

    def frozen(self) -> Self:
        """Return the same rows, not to be written to."""
        return replace(self, values=read_only(self.values), sample_weight=read_only(self.sample_weight))

    def _own_again(self) -> Self:
        """Return frozen rows as a copy: compiled loops are made for arrays that can be written to."""
        if self.values.flags.writeable or self.values.size > COPIED_VALUES:
            return self
        weight = self.sample_weight if self.sample_weight.strides == (0,) else self.sample_weight.copy()
        return replace(self, values=self.values.copy(), sample_weight=weight)

    def _weighted(self, sample_weight: Any) -> Observations:
        return replace(self, sample_weight=checked_weight(sample_weight, len(self)))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def total_weight(self) -> float:
        """Number of rows that the weights stand for."""
        return float(self.sample_weight.sum())

    @property
    def weights(self) -> Float[np.ndarray, " any"]:
        """Row weights, or a single one where all are known to be alike: compiled loops then read no more."""
        return self.sample_weight[:1].copy() if self.sample_weight.strides == (0,) else self.sample_weight

    @property
    def counted_rows(self) -> int:
        """Number of rows of positive weight."""
        return int(np.count_nonzero(self.sample_weight))

    @property
    def is_one_chunk(self) -> bool:
        """Whether the rows are few: compiled loops then run without Python between passes."""
        return len(self) <= sums.CHUNK_ROWS

    def each(self, block_function: Callable[..., Any], arguments: tuple[Any, ...]) -> Iterable[Any]:
        """Yield ``block_function(block, start, *arguments)`` of each block, in order."""
        return (block_function(self.rows(start, stop), start, *arguments) for start, stop in self.bounds)

    def counted(self) -> Self:
        """Return the rows of positive weight."""
        return self if (self.weights > 0).all() else self.taken(np.flatnonzero(self.sample_weight))

    def subsample(self, rows: int, rng: np.random.Generator) -> Observations:
        """Return at most ``rows`` rows of positive weight, drawn without replacement."""
        counted = self.counted()
        if len(counted) <= rows:
            return counted
        return counted.taken(np.sort(rng.choice(len(counted), rows, replace=False)))

    def fingerprint(self) -> str:
        """Return a digest of values, weights and coordinates."""
        parts = self.values, self.sample_weight, self.origin, self.unit
        digest = hashlib.sha256()
        for part in parts:
            digest.update(np.ascontiguousarray(part))
        return digest.hexdigest()

    def weighing(self, total: float) -> Self:
        """Return the same rows with weights that are multiplied so as to sum to ``total``."""
        weights = self.weights * (total / self.total_weight)
        return replace(self, sample_weight=weights if len(weights) == len(self) else alike(weights[0], len(self)))

    def rows(self, start: int, stop: int) -> Self:
        """Return rows ``start ... stop``, without a copy."""
        return self.taken(slice(start, stop))

    def taken(self, at: Any) -> Self:
        """Return the rows that an index or slice names."""
        values, weights = self.values[at], self.weights
        weight = self.sample_weight[at] if len(weights) == len(self) else alike(weights[0], len(values))
        return replace(self, values=values, sample_weight=weight, index=_named(self.index, at))

    def picked(self, features: tuple[str, ...]) -> Self:
        """Return some of the columns, by their names."""
        at = [self.features.index(name) for name in features]
        values = np.ascontiguousarray(self.values[:, at])
        return replace(self, values=values, features=features, origin=self.origin[at], unit=self.unit[at])


def _named(index: np.ndarray | range, at: Any) -> np.ndarray | range:
    """Return the names of the rows that an index or slice names, without all names being written out."""
    if isinstance(at, slice) or not isinstance(index, range):
        return index[at]
    at = np.asarray(at)
    return index.start + index.step * (np.flatnonzero(at) if at.dtype == bool else at)


def _own(values: np.ndarray, table: Table) -> np.ndarray:
    """Return rows in order, as a copy if others hold them too and they are not too many."""
    ordered, given = np.ascontiguousarray(values), table.values
    converted = isinstance(given, (list, tuple)) or (
        isinstance(given, np.ndarray) and not np.may_share_memory(ordered, given)
    )
    return ordered if table.fresh or converted or ordered.size > COPIED_VALUES else ordered.copy()


def _check_finite(values: Float[np.ndarray, "n d"], features: tuple[str, ...], reading: Reading) -> None:
    blocks = (values[start : start + sums.CHUNK_ROWS] for start in range(0, len(values), sums.CHUNK_ROWS))
    if not all(np.isfinite(block).all() for block in blocks):
        drop = f"drop ({reading.option('missing')} drop) or replace them"
        _refuse_rows(np.isnan(values), features, "missing (NaN)", drop)
        _refuse_rows(np.isinf(values), features, "infinite", "drop or replace them")


def _refuse_rows(bad: np.ndarray, features: tuple[str, ...], word: str, advice: str) -> None:
    rows = np.flatnonzero(bad.any(axis=1))
    if rows.size:
        columns = [features[j] for j in np.flatnonzero(bad.any(axis=0))]
        named = ", ".join(repr(c) for c in columns[:5]) + (f" and {len(columns) - 5} more" if len(columns) > 5 else "")
        listed = ", ".join(str(r) for r in rows[:5]) + (", ..." if rows.size > 5 else "")
        raise DataError(
            f"`data` has {rows.size} of {len(bad)} rows with {word} values, the first at row {rows[0]} "
            f"(rows {listed}; columns {named}); {advice}"
        )
