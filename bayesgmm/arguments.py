"""Arguments checked at the door: numbers, words and parameters, refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

from bayesgmm.errors import ModelError
from bayesgmm.parameters import MixtureParameters


def whole_number(value: Any, name: str, least: int) -> int:
    """Return a whole number of at least ``least``, or say which argument is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ModelError(f"`{name}` has to be a whole number, got {value!r}")
    if value < least:
        raise ModelError(f"`{name}` has to be at least {least}, got {value}")
    return int(value)


def real_number(value: Any, name: str, least: float, most: float = np.inf) -> float:
    """Return a real number between two bounds, or say which argument is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ModelError(f"`{name}` has to be a number, got {value!r}")
    if not least <= value <= most:
        raise ModelError(f"`{name}` has to be between {least:g} and {most:g}, got {value}")
    return float(value)


def one_of(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Return one of several words, or say which argument is none."""
    if not isinstance(value, str) or value not in choices:
        raise ModelError(f"`{name}` has to be one of {choices}, got {value!r}")
    return value


def one_mixture(value: Any, name: str, expected: str = "k components and d features") -> MixtureParameters:
    """Return the parameters of one mixture, or say what they lack."""
    if not isinstance(value, MixtureParameters):
        raise ModelError(f"`{name}` has to be MixtureParameters, got {type(value).__name__}")
    try:
        arrays = [np.asarray(a) for a in value.arrays]
    except ValueError as error:
        raise ModelError(f"`{name}` has ragged parameters") from error
    if any(a.dtype.kind not in "iuf" for a in arrays):
        raise ModelError(f"`{name}` has to hold real numbers, got {[str(a.dtype) for a in arrays]}")
    weights, means, covariances = (a.astype(np.float64) for a in arrays)
    k, d = means.shape if means.ndim == 2 else (0, 0)
    if not k or not d or weights.shape != (k,) or covariances.shape != (k, d, d):
        raise ModelError(
            f"`{name}` has to be one mixture of {expected}: weights (k), means (k, d) and covariances (k, d, d); "
            f"got shapes {[a.shape for a in arrays]}"
        )
    if not all(np.isfinite(a).all() for a in (weights, means, covariances)):
        raise ModelError(f"`{name}` has parameters that are not finite")
    if (weights < 0).any() or abs(weights.sum() - 1) > 1e-8:
        raise ModelError(f"`{name}` has weights that are no shares of one: {weights}")
    if not is_covariance(covariances):
        raise ModelError(f"`{name}` has a covariance that is not symmetric and positive definite")
    return MixtureParameters(weights, means, covariances)


def is_covariance(matrices: np.ndarray) -> bool:
    """Return whether every matrix is symmetric and positive definite, whatever the units of its rows."""
    variances = np.diagonal(matrices, axis1=-2, axis2=-1)
    if not (variances > 0).all():
        return False
    deviations = np.sqrt(variances)
    correlations = matrices / deviations[..., :, None] / deviations[..., None, :]
    if np.abs(correlations - np.swapaxes(correlations, -1, -2)).max() > 1e-8:
        return False
    try:
        np.linalg.cholesky(correlations)
    except np.linalg.LinAlgError:
        return False
    return True


def suggested(name: Any, names: Iterable[Any]) -> str:
    """Return which of several names may have been meant, as the middle of a sentence; empty if none is close."""
    known = {str(one).casefold().strip(): str(one) for one in names}
    close = difflib.get_close_matches(str(name).casefold().strip(), known, n=1)
    return f" (did you mean {known[close[0]]!r}?)" if close else ""
