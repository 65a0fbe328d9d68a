"""Parameters that were given: checked, or told apart from what is no mixture."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesgmm.errors import ModelError
from bayesgmm.model.parameters import MixtureParameters

#: Means and variances beyond this, or variances below its inverse, in standard deviations of the data leave no room for
#: products in double precision; no fit leads there.
FARTHEST = 1e50
#: A feature whose width, given others, is no more of its own is a plane's to rounding.
FLATTEST = 2e-8
#: Numbers that are checked at a time: 8 MB.
MOST_AT_ONCE = 1_000_000


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


def are_mixtures(parameters: MixtureParameters, kind: str, origin: Any = 0.0, unit: Any = 1.0) -> bool:
    """Return whether every value of a grid is a mixture that can be computed with, as seen from an origin in a unit."""
    flat = parameters.reshaped((-1,))
    at_once = max(1, MOST_AT_ONCE // flat.covariances[0].size)
    with np.errstate(all="ignore"):
        blocks = (flat[at : at + at_once].moved(origin, unit) for at in range(0, len(flat.weights), at_once))
        return all(_are_mixtures(block, kind) for block in blocks)


def _are_mixtures(parameters: MixtureParameters, kind: str) -> bool:
    weights, means, covariances = parameters.arrays
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    return bool(
        (weights >= 0).all()
        and (np.abs(weights.sum(axis=-1) - 1) < 1e-6).all()
        and (np.abs(means) < FARTHEST).all()
        and ((variances > 1 / FARTHEST) & (variances < FARTHEST)).all()
        and _has_type(covariances, variances, kind)
        and is_covariance(covariances)
    )


def _has_type(covariances: np.ndarray, variances: np.ndarray, kind: str) -> bool:
    """Return whether covariances have only what their type leaves free."""
    if kind == "tied":
        return np.allclose(covariances, covariances[:, :1], rtol=1e-9, atol=0)
    is_alike = kind != "spherical" or np.allclose(variances, variances[..., :1], rtol=1e-9, atol=0)
    is_round = kind == "full" or not (covariances * (1 - np.eye(covariances.shape[-1]))).any()
    return is_alike and is_round


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
        factors = np.linalg.cholesky(correlations)
    except np.linalg.LinAlgError:
        return False
    return bool((np.diagonal(factors, axis1=-2, axis2=-1) > FLATTEST).all())
