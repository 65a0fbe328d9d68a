"""How far rows reach, and their moments: what coordinates are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bayesgmm.data import sums
from bayesgmm.data.statistics import SufficientStatistics
from bayesgmm.data.sums import folded
from bayesgmm.errors import DataError
from bayesgmm.kernels.steps import moments_about

if TYPE_CHECKING:
    from bayesgmm.data.observations import Observations

#: Spreads outside these leave no room for squares and determinants in double precision.
SMALLEST_SPREAD, LARGEST_SPREAD = 1e-152, 1e152


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


def check_spread(extent: Extent, features: tuple[str, ...]) -> None:
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
