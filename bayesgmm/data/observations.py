"""Observations: a table that was checked once, and the coordinates in which it is seen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float

from bayesgmm.data import sums
from bayesgmm.data.reading import as_doubles, distinct, plain_names, read_table
from bayesgmm.data.sums import block_bounds, folded, summed
from bayesgmm.errors import DataError
from bayesgmm.kernels.steps import moments_about
from bayesgmm.suffstats import SufficientStatistics

#: Spreads outside these leave no room for squares and determinants in double precision.
SMALLEST_SPREAD, LARGEST_SPREAD = 1e-152, 1e152


class Rows:
    """What can be asked of rows wherever they are kept: in memory (`Observations`) or not (`StoredObservations`)."""

    __slots__ = ()
    features: tuple[str, ...]
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

    def matching(self, features: tuple[str, ...]) -> Self:
        """Return the columns that carry these names."""
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

    def standardised(self, unit: Literal["feature", "common"] = "feature") -> Self:
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
        extent = self.extent()
        _check_spread(extent, self.features)
        middle, half = extent.low / 2 + extent.high / 2, extent.high / 2 - extent.low / 2
        mean, covariance = self.in_units(middle, half).moments()
        deviations = half * np.sqrt(np.diag(covariance))
        if unit == "common":
            largest = deviations.max()
            deviations = np.full_like(deviations, largest * np.sqrt(np.mean((deviations / largest) ** 2)))
        return self.in_units(middle + half * mean, deviations)

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
        table, features, index = read_table(data)
        values = as_doubles(table, "data")
        if values.ndim not in (1, 2):
            raise DataError(f"`data` has to be (n,) or (n, d), got shape {values.shape}")
        values = np.ascontiguousarray(values[:, None] if values.ndim == 1 else values)
        n, d = values.shape
        if n == 0 or d == 0:
            raise DataError(f"`data` is empty: got shape {values.shape}; give at least one row and one column")
        features = distinct(features) or tuple(f"x{j}" for j in range(d))
        _check_finite(values, features)
        index = range(n) if index is None else plain_names(index, "row")
        weight = alike(1.0, n) if sample_weight is None else checked_weight(sample_weight, n)
        return cls(values, weight, features, index, np.zeros(d), np.ones(d))

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

    def matching(self, features: tuple[str, ...]) -> Self:
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


def _named(index: np.ndarray | range, at: Any) -> np.ndarray | range:
    """Return the names of the rows that an index or slice names, without all names being written out."""
    if isinstance(at, slice) or not isinstance(index, range):
        return index[at]
    at = np.asarray(at)
    return index.start + index.step * (np.flatnonzero(at) if at.dtype == bool else at)


def _check_finite(values: Float[np.ndarray, "n d"], features: tuple[str, ...]) -> None:
    blocks = (values[start : start + sums.CHUNK_ROWS] for start in range(0, len(values), sums.CHUNK_ROWS))
    if not all(np.isfinite(block).all() for block in blocks):
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


def alike(weight: float, n: int) -> Float[np.ndarray, " n"]:
    """Return n equal weights that take the room of one; they cannot be written to."""
    return np.broadcast_to(np.float64(weight), n)


def collected(weight: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return row weights as `alike` if they are: a file holds each of them, and sums differ in the last digit."""
    stays = weight.strides == (0,) or not (weight == weight[0]).all()
    return weight if stays else alike(weight[0], len(weight))


def checked_weight(sample_weight: Any, n: int) -> Float[np.ndarray, " n"]:
    """Return n row weights, or say what keeps them from being frequencies."""
    weight = as_doubles(sample_weight, "sample_weight")
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
    return weight if weight.strides == (0,) else np.ascontiguousarray(weight)


@dataclass(frozen=True, slots=True, eq=False)
class Extent:
    """How far rows reach.

    Attributes
    ----------
    low, high : array (d,)
        Least and largest value among the rows that count; infinite and crossed where none does.
    rows : int
        Rows that count.
    missing, infinite : tuple of int
        Number of rows with such a value, the first of them (-1 if none) and a column of it.
    """

    low: Float[np.ndarray, " d"]
    high: Float[np.ndarray, " d"]
    rows: int
    missing: tuple[int, int, int] = (0, -1, -1)
    infinite: tuple[int, int, int] = (0, -1, -1)

    def __add__(self, other: Extent) -> Extent:
        """Pool two parts of the rows, the first before the second."""
        bad = [
            (one[0] + two[0], *(one if one[0] else two)[1:])
            for one, two in ((self.missing, other.missing), (self.infinite, other.infinite))
        ]
        low, high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
        return Extent(low, high, self.rows + other.rows, *bad)


def extent_of(block: Observations, start: int) -> Extent:
    """Return how far a block of rows reaches."""
    del start
    x = block.values if (block.weights > 0).all() else block.values[block.sample_weight > 0]
    if len(x) == 0:
        return Extent(np.full(block.n_features, np.inf), np.full(block.n_features, -np.inf), 0)
    return Extent(x.min(axis=0), x.max(axis=0), len(x))


def moments_of(block: Observations, start: int, about: Float[np.ndarray, " d"]) -> SufficientStatistics:
    """Return weighted sums of a block about a point, as seen."""
    del start
    d = block.n_features

    def one_part(start: int, stop: int, totals: Any) -> None:
        for chunk, first_row in enumerate(range(start, stop, sums.CHUNK_ROWS)):
            rows = slice(first_row, min(first_row + sums.CHUNK_ROWS, stop))
            x = (block.values[rows] - block.origin) * (1 / block.unit)
            found = moments_about(x, block.sample_weight[rows], about)
            for total, amount in zip(totals, found, strict=True):
                total[chunk] = amount

    counts, first, second = folded(one_part, len(block), [(1,), (1, d), (1, d, d)])
    return SufficientStatistics(about[None], counts, first, second)


def _check_spread(extent: Extent, features: tuple[str, ...]) -> None:
    """Refuse columns that are constant to rounding, or too widely or narrowly spread."""
    low, high = extent.low, extent.high
    spread = high / 2 - low / 2
    constant = spread <= 8 * np.finfo(float).eps * np.maximum(np.abs(low), np.abs(high)) / 2
    if constant.any():
        names = ", ".join(repr(features[j]) for j in np.flatnonzero(constant))
        what = "all rows of `data` are equal in" if extent.rows > 1 else "`data` has only one row that counts in"
        raise DataError(f"{what} column {names}: a constant says nothing about groups; drop it or give more rows")
    extreme = np.flatnonzero((spread < SMALLEST_SPREAD) | (spread > LARGEST_SPREAD))
    if extreme.size:
        j = extreme[0]
        raise DataError(
            f"`data` column {features[j]!r} spreads over {spread[j]:.3g}, whose square a double cannot hold; "
            "measure it in another unit"
        )
