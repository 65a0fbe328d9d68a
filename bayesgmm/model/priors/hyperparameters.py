"""Hyperparameters as users give them: once for all components, or per component."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from bayesgmm.errors import ModelError
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import CovarianceType


def numbers(value: Any, name: str) -> np.ndarray:
    """Return finite numbers, or say which argument is none."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iufO":
            raise ModelError(f"`{name}` has to hold real numbers, got {array.dtype}")
        array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"`{name}` has to be a number or an array of numbers, got {value!r}") from error
    if not np.isfinite(array).all():
        raise ModelError(f"`{name}` has to be finite, got {value!r}")
    return array


def per_component(value: Any, name: str, k: int, above: float) -> Float[np.ndarray, " k"]:
    """Return one number above a bound for each component."""
    array = numbers(value, name)
    if array.shape not in ((), (k,)):
        raise ModelError(f"`{name}` has to be a number or have shape ({k},), one per component; got {array.shape}")
    if (array <= above).any():
        raise ModelError(f"`{name}` has to be above {above:g}, got {array.min():g}")
    return np.broadcast_to(array, (k,)).copy()


def per_feature(value: Any, name: str, k: int, d: int) -> Float[np.ndarray, "k d"]:
    """Return a vector for each component from a number, (d,) or (k, d)."""
    array = numbers(value, name)
    if array.shape not in ((), (d,), (k, d)):
        raise ModelError(f"`{name}` has to be a number or have shape ({d},) or ({k}, {d}); got {array.shape}")
    return np.broadcast_to(array, (k, d)).copy()


def matrices(value: Any, name: str, k: int, d: int) -> Float[np.ndarray, "k d d"]:
    """Return a positive definite matrix for each component from a number, (d,), (d, d) or (k, d, d)."""
    array = numbers(value, name)
    if array.shape not in ((), (d,), (d, d), (k, d, d)):
        raise ModelError(
            f"`{name}` has to be a number or have shape ({d},), ({d}, {d}) or ({k}, {d}, {d}); got {array.shape}"
        )
    array = array * np.eye(d) if array.ndim < 2 else array
    array = np.broadcast_to(array, (k, d, d)).copy()
    if not np.allclose(array, np.swapaxes(array, -1, -2), rtol=1e-9, atol=0):
        raise ModelError(f"`{name}` has to be symmetric")
    try:
        np.linalg.cholesky(array / _magnitudes(array))
    except np.linalg.LinAlgError as error:
        raise ModelError(f"`{name}` has to be positive definite, with positive variances") from error
    return array


def scales(value: Any, k: int, d: int, covariance_type: CovarianceType) -> Float[np.ndarray, "k d d"]:
    """Return inverse-Wishart scale matrices: diagonals alone for diagonal covariances, their mean for spherical."""
    array = matrices(value, "scale", k, d)
    if covariance_type == "spherical":
        return cov.pooled(array, "spherical") / d
    return array * np.eye(d) if cov.is_diagonal(covariance_type) else array


def refuse_unequal(covariance_type: str, **values: np.ndarray) -> None:
    """Refuse hyperparameters of a tied covariance that differ between components."""
    if covariance_type == "tied" and any(np.ptp(value, axis=0).max() > 0 for value in values.values()):
        names = " and ".join(f"`{name}`" for name in values)
        raise ModelError(f"{names} has to be equal for all components of a tied covariance")


def _magnitudes(array: Float[np.ndarray, "k d d"]) -> Float[np.ndarray, "k d d"]:
    """Return products of standard deviations, so that definiteness is judged free of units."""
    deviations = np.sqrt(np.abs(np.diagonal(array, axis1=-2, axis2=-1)).clip(np.finfo(float).tiny))
    return deviations[..., :, None] * deviations[..., None, :]
