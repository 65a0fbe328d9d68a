"""Sufficient statistics of a Gaussian mixture, which add up over parts of the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True, eq=False)
class SufficientStatistics:
    """Weighted moments of the data, one set per component, about fixed points.

    Moments are taken about ``about`` (the means of the current iterate) rather than
    the origin: raw moments lose every digit once the mean is far larger than the spread.

    Attributes
    ----------
    about : array (*grid, k, d)
        Reference points.
    counts : array (*grid, k)
        Expected number of rows of each component.
    first : array (*grid, k, d)
        Sums of ``r (x - about)``.
    second : array (*grid, k, d, d)
        Sums of ``r (x - about)(x - about)'``; only the diagonals for diagonal covariances. Inside a pass
        lower triangles of these, with zeros above, or diagonals by themselves: (*grid, k, d).
    """

    about: Float[np.ndarray, "*grid k d"]
    counts: Float[np.ndarray, "*grid k"]
    first: Float[np.ndarray, "*grid k d"]
    second: Float[np.ndarray, "*grid k d d"] | Float[np.ndarray, "*grid k d"]

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        """Pool two disjoint parts of the data seen from the same reference points."""
        return SufficientStatistics(
            self.about, self.counts + other.counts, self.first + other.first, self.second + other.second
        )


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """What one pass over (part of) the data returns.

    Attributes
    ----------
    log_likelihood : array (*grid,)
        In nats.
    stats : SufficientStatistics
        Expected statistics about the current means.
    """

    log_likelihood: Float[np.ndarray, "*grid"]
    stats: SufficientStatistics

    def __add__(self, other: Expectation) -> Expectation:
        """Pool the passes over two disjoint parts of the data."""
        return Expectation(self.log_likelihood + other.log_likelihood, self.stats + other.stats)
