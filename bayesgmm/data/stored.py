"""Observations that stay where they are: checked once, then read block by block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from bayesgmm.data.extent import Extent
from bayesgmm.data.observations import Observations, Rows
from bayesgmm.data.sources import Source
from bayesgmm.data.sums import block_bounds, summed
from bayesgmm.data.weights import alike, checked_weight
from bayesgmm.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A block function with all that it needs beside the rows: what a source sends to where they are.

    Attributes
    ----------
    block_function : callable
        Of a block, its first row and the arguments.
    arguments : tuple
        Of the function.
    sample_weight, features, origin, unit
        As the rows have them.
    """

    block_function: Callable[..., Any]
    arguments: tuple[Any, ...]
    sample_weight: Float[np.ndarray, " n"] | None
    features: tuple[str, ...]
    origin: Float[np.ndarray, " d"]
    unit: Float[np.ndarray, " d"]

    def __call__(self, values: Float[np.ndarray, "rows d"], start: int) -> Any:
        """Apply the function to what was read."""
        n = len(values)
        weight = alike(1.0, n) if self.sample_weight is None else self.sample_weight[start : start + n]
        block = Observations(values, weight, self.features, range(start, start + n), self.origin, self.unit)
        return self.block_function(block, start, *self.arguments)


@dataclass(frozen=True, slots=True, eq=False)
class StoredObservations(Rows):
    """Rows of a source with their weights, checked by `of`.

    Attributes
    ----------
    source : Source
        What reads them, in the user's units.
    sample_weight : array (n,), or None
        Positive; 1 for every row where there is none.
    features : tuple of str
        Names of the d columns.
    origin, unit : array (d,)
        The pass over the data sees ``(values - origin) / unit``.
    reach : Extent
        Found when the rows were checked.
    named : bool
        Whether the columns have names of their own.
    """

    source: Source
    sample_weight: Float[np.ndarray, " n"] | None
    features: tuple[str, ...]
    origin: Float[np.ndarray, " d"]
    unit: Float[np.ndarray, " d"]
    reach: Extent
    named: bool = True

    @classmethod
    def of(cls, source: Source, sample_weight: Any = None) -> StoredObservations:
        """Check every row of a source: one pass.

        Raises
        ------
        DataError
            If it has no rows, or some that are missing or infinite, or the weights do not fit.
        """
        n, d = len(source), len(source.features)
        if n == 0 or d == 0:
            raise DataError(
                f"`data` is empty: {source.describe()} has shape {(n, d)}; give at least one row and column"
            )
        weight = None if sample_weight is None else checked_weight(sample_weight, n)
        if weight is not None and (weight == 0).any():
            raise DataError("`sample_weight` of a source has to be positive, got 0; leave those rows out of the file")
        reach = summed(source.each(_reach, block_bounds(n, d)))
        _refuse(reach, source.features, n)
        return cls(source, weight, source.features, np.zeros(d), np.ones(d), reach, source.named)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def index(self) -> np.ndarray:
        """Names of the rows: their numbers."""
        return np.arange(len(self))

    @property
    def total_weight(self) -> float:
        """Number of rows that the weights stand for."""
        return float(len(self) if self.sample_weight is None else self.sample_weight.sum())

    @property
    def weights(self) -> Float[np.ndarray, " any"]:
        """Row weights, or a single 1 where all rows count once."""
        return np.ones(1) if self.sample_weight is None else self.sample_weight

    def extent(self) -> Extent:
        """Return the least and largest value of each column."""
        return self.reach

    def each(self, block_function: Callable[..., Any], arguments: tuple[Any, ...]) -> Iterable[Any]:
        """Yield ``block_function(block, start, *arguments)`` of each block, in order."""
        work = Work(block_function, arguments, self.sample_weight, self.features, self.origin, self.unit)
        return self.source.each(work, self.bounds)

    def counted(self) -> Self:
        """Return the rows of positive weight: all."""
        return self

    def subsample(self, rows: int, rng: np.random.Generator) -> Observations:
        """Return at most ``rows`` rows in memory, drawn without replacement as `Observations.subsample` draws them."""
        n = len(self)
        at = np.arange(n) if n <= rows else np.sort(rng.choice(n, rows, replace=False))
        parts: list[np.ndarray] = []
        self.map_blocks(_picked, at, sink=lambda _, values: parts.append(values))
        weight = alike(1.0, len(at)) if self.sample_weight is None else self.sample_weight[at]
        return Observations(np.concatenate(parts), weight, self.features, at, self.origin, self.unit, self.named)

    def fingerprint(self) -> str:
        """Return a digest of what names the source, how far its rows reach, their weights and coordinates."""
        digest = hashlib.sha256(json.dumps([self.source.describe(), len(self), self.features]).encode())
        for part in (self.reach.low, self.reach.high, self.weights, self.origin, self.unit):
            digest.update(np.ascontiguousarray(part))
        return digest.hexdigest()

    def picked(self, features: tuple[str, ...]) -> Self:
        """Refuse to choose among the columns of a source: its reader chooses.

        Raises
        ------
        DataError
            Always.
        """
        raise DataError(f"`data` has to have the columns {list(features)} of the fit, got {list(self.features)}")


def _picked(block: Observations, start: int, at: np.ndarray) -> np.ndarray:
    """Return a copy, which outlives the block, of those of its rows that have these numbers."""
    first, last = np.searchsorted(at, [start, start + len(block)])
    return block.values[at[first:last] - start]


def _reach(values: np.ndarray, start: int) -> Extent:
    """Return how far a block reaches, and which of its rows are not finite."""
    low, high = values.min(axis=0), values.max(axis=0)
    if np.isfinite(low).all() and np.isfinite(high).all():
        return Extent(low, high, len(values))
    found = []
    for bad in (np.isnan(values), np.isinf(values)):
        rows = np.flatnonzero(bad.any(axis=1))
        first = (start + int(rows[0]), int(bad[rows[0]].argmax())) if rows.size else (-1, -1)
        found.append((int(rows.size), *first))
    return Extent(low, high, len(values), *found)


def _refuse(reach: Extent, features: tuple[str, ...], n: int) -> None:
    for (number, row, column), word in ((reach.missing, "missing (NaN)"), (reach.infinite, "infinite")):
        if number:
            raise DataError(
                f"`data` has {number} of {n} rows with {word} values, the first at row {row} "
                f"(column {features[column]!r}); drop or replace them"
            )
