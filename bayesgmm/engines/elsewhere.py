"""Draws that were made elsewhere: by an edited PyMC model, NumPyro, Stan, JAGS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesgmm.data import Rows
from bayesgmm.engines.nuts.nuts import SAMPLE_STATS, modes_before, told
from bayesgmm.errors import DataError, ModelError
from bayesgmm.model import covariance as cov
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import Draws, MixtureParameters
from bayesgmm.model.priors import Prior
from bayesgmm.model.priors.densities import factorised
from bayesgmm.posterior.chain_starts import refuse_flat

#: What is read, and how many dims it has beside chain and draw.
READ = {"weights": 1, "means": 2, "covariances": 3}
#: Weights of a draw sum to one to within this, and covariances are symmetrical and structured to within it.
CLOSE = 1e-6


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is known of a sampler that is not of this package: the size of its run.

    Attributes
    ----------
    draws, chains : int
        Draws of each chain, and chains.
    """

    draws: int
    chains: int


def draws_from(
    given: Any, names: Mapping[str, str], data: Rows, model: MixtureModel, prior: Prior, rng: np.random.Generator
) -> Draws:
    """Return draws in the coordinates in which ``data`` is seen, as is ``prior``, with the modes that EM finds.

    Raises
    ------
    DataError, ModelError
        If an array is missing, of another shape, or holds no mixtures of the model.
    """
    refuse_flat(prior)
    group = _group(given, "posterior")
    arrays = {name: _array(group, names.get(name, name), beside, data) for name, beside in READ.items()}
    parameters = _checked(MixtureParameters(**arrays), data, model).moved(data.origin, data.unit)
    stats = _stats(given, parameters.grid)
    return told(parameters, stats, modes_before(data, prior, None, rng), data, prior, rng)


def _group(given: Any, name: str) -> Any:
    """Return a group of a tree, or of a mapping of groups; what has none is one itself."""
    try:
        return given[name]
    except (KeyError, TypeError, IndexError):
        return given


def _array(group: Any, name: str, beside: int, data: Rows) -> np.ndarray:
    """Return an array (chain, draw, ...), columns in the order of the data."""
    try:
        found = group[name]
    except (KeyError, TypeError, IndexError) as error:
        held = list(group) if isinstance(group, Mapping) else type(group).__name__
        raise ModelError(
            f"`draws` have no {name!r}, but {held}; give names={{...}} where weights, means and covariances are called "
            "otherwise, and compute them where they are not kept"
        ) from error
    if hasattr(found, "dims"):
        found = _in_order(found, data)
    values = np.asarray(found, dtype=np.float64)
    values = values[None] if values.ndim == beside + 1 else values
    if values.ndim != beside + 2:
        raise ModelError(f"{name!r} has to have {beside} axes beside chain and draw, got shape {values.shape}")
    return values


def _in_order(array: Any, data: Rows) -> Any:
    """Return an array of xarray with chain and draw first, and features found by name where both have names."""
    for dim in array.dims:
        named = array.coords.get(dim) if dim not in ("chain", "draw") else None
        if named is None or not data.named or named.dtype.kind not in "UOT":
            continue
        held = [str(value) for value in named.values]
        if sorted(held) != sorted(data.features):
            raise DataError(f"draws have {dim} {held}, but `data` has the columns {list(data.features)}")
        array = array.isel({dim: [held.index(feature) for feature in data.features]})
    first = [dim for dim in ("chain", "draw") if dim in array.dims]
    return array.transpose(*first, ...)


def _checked(parameters: MixtureParameters, data: Rows, model: MixtureModel) -> MixtureParameters:
    """Refuse draws that are no mixtures of the model."""
    k, d, kind = model.n_components, data.n_features, model.covariance_type
    weights, means, covariances = parameters.arrays
    grid = weights.shape[:2]
    expected = {"weights": (*grid, k), "means": (*grid, k, d), "covariances": (*grid, k, d, d)}
    for name, array in zip(READ, parameters.arrays, strict=True):
        if array.shape != expected[name]:
            raise ModelError(f"draws of {name} have shape {array.shape}, expected (chain, draw, ...) {expected[name]}")
        if not np.isfinite(array).all():
            raise ModelError(f"draws of {name} hold values that are not finite")
    if (weights < 0).any() or np.abs(weights.sum(axis=-1) - 1).max() > CLOSE:
        raise ModelError("draws of weights are no shares of one")
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    scale = np.sqrt(np.abs(variances[..., :, None] * variances[..., None, :]))
    structured = cov.from_blocks(cov.blocks(covariances, kind), kind, k, d)
    alike = max(np.abs(covariances - other).max(initial=0, where=np.abs(covariances - other) > CLOSE * scale)
                for other in (np.swapaxes(covariances, -1, -2), structured))  # fmt: skip
    if alike > 0:
        raise ModelError(f"draws of covariances are not symmetrical, or not {kind}, as the model says")
    if (variances <= 0).any() or not np.isfinite(factorised(covariances)[0]).all():
        raise ModelError("draws of covariances are not positive definite")
    own = (covariances + np.swapaxes(covariances, -1, -2)) / 2
    return MixtureParameters(weights / weights.sum(axis=-1, keepdims=True), means, own)


def _stats(given: Any, grid: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return what a sampler of Hamiltonian trajectories said of each draw, if it is there, by ArviZ's names."""
    group = _group(given, "sample_stats")
    if group is given:
        return {}
    kept = {}
    for name, as_kept in SAMPLE_STATS.items():
        values = np.asarray(group[name]) if name in group else np.empty(0)
        if values.shape == grid:
            kept[as_kept] = values
    return kept
