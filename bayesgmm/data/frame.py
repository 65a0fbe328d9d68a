"""Where rows lie: the middle and the width of each column, from which coordinates and priors are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Moments of rows, found once, in coordinates in which each column reaches from -1 to 1.

    Attributes
    ----------
    middle, half : array (d,)
        Middle and half of the range of each column, in data units.
    mean : array (d,)
        Weighted mean of ``(x - middle) / half``.
    covariance : array (d, d)
        Sample covariance of the same.
    """

    middle: Float[np.ndarray, " d"]
    half: Float[np.ndarray, " d"]
    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]

    @property
    def origin(self) -> Float[np.ndarray, " d"]:
        """Means of the columns, in data units."""
        return self.middle + self.half * self.mean

    @property
    def deviations(self) -> Float[np.ndarray, " d"]:
        """Standard deviations of the columns, in data units."""
        return self.half * np.sqrt(np.diag(self.covariance))

    @property
    def correlations(self) -> Float[np.ndarray, "d d"]:
        """Sample covariance of the columns in units of their standard deviations."""
        deviations = np.sqrt(np.diag(self.covariance))
        return self.covariance / np.multiply.outer(deviations, deviations)
