"""Row weights: frequencies, checked, that take no room where they are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from bayesgmm.data.doubles import as_doubles
from bayesgmm.errors import DataError

#: A table of no more values (64 MB) is copied, so that it is the result's own; larger ones are not.
COPIED_VALUES = 8_000_000


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
    if weight.strides == (0,):
        return weight
    return np.array(weight) if n <= COPIED_VALUES else np.ascontiguousarray(weight)
