"""Mode, draws and log density of a prior, as the compiled loops compute them, over grids of parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesgmm.data.statistics import SufficientStatistics
from bayesgmm.errors import ModelError
from bayesgmm.kernels.conditionals import draw_means_and_covariances, log_priors, modes
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import COVARIANCE_TYPES, MixtureParameters
from bayesgmm.model.priors.densities import factorised

NONE = np.empty((1, 0, 0))


def as_arrays(prior: Any) -> tuple[Any, ...]:
    """Return the hyperparameters as compiled updates and draws read them: see `kernels.conditionals`."""
    if np.ndim(prior.loc) != 2:
        raise ModelError(
            "a prior of scalars stands for no number of components and features yet: use prior.bound(k, d, kind)"
        )
    is_conjugate = hasattr(prior, "shrinkage")
    shrinkage, spread = (prior.shrinkage, NONE) if is_conjugate else (np.empty(0), prior.loc_covariance)
    has_scale = not hasattr(prior, "scale_dof")
    scale, scale_dof, scale_rate = (
        (prior.scale, 0.0, NONE[0]) if has_scale else (prior.known_scale, prior.scale_dof, prior.scale_rate)
    )
    given = (prior.concentration, prior.loc, shrinkage, spread, prior.dof, scale)
    arrays = (np.ascontiguousarray(values) for values in given)
    kind = COVARIANCE_TYPES.index(prior.covariance_type)
    return kind, is_conjugate, *arrays, float(scale_dof), np.ascontiguousarray(scale_rate)


def mean_factors(prior: Any) -> np.ndarray:
    """Return precision factors (k, d, d) of the means' prior covariance, empty where it is that of the component."""
    return NONE if hasattr(prior, "shrinkage") else np.ascontiguousarray(factorised(prior.loc_covariance)[0])


def factors_of(parameters: MixtureParameters, prior: Any) -> np.ndarray:
    """Return precision factors (g, k, d, d) of a grid of covariances, or their diagonals (g, k, d)."""
    k, d = parameters.means.shape[-2:]
    if not cov.is_diagonal(prior.covariance_type):
        return factorised(parameters.covariances.reshape(-1, k, d, d))[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 / np.sqrt(np.diagonal(parameters.covariances, axis1=-2, axis2=-1).reshape(-1, k, d))


def log_density_but_constant(prior: Any, parameters: MixtureParameters) -> np.ndarray:
    """Return the log density of a grid of parameters, but for the normalising constant."""
    flat = parameters.reshaped((-1,))
    weights, means = np.ascontiguousarray(flat.weights), np.ascontiguousarray(flat.means)
    found = log_priors(as_arrays(prior), mean_factors(prior), weights, means, factors_of(parameters, prior))
    return found.reshape(parameters.grid)


def no_rows(prior: Any) -> SufficientStatistics:
    """Return the statistics of no rows, about the prior's location."""
    k, d = prior.loc.shape
    return SufficientStatistics(prior.loc, np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d)))


def mode_given(prior: Any, stats: SufficientStatistics, last: MixtureParameters | None = None) -> MixtureParameters:
    """Return the mode given a grid of statistics; ``last`` are the parameters before, where the scale is unknown."""
    grid, k, d = stats.counts.shape[:-1], *stats.about.shape[-2:]
    about, counts, first, second = _flat(stats)
    found = np.empty((len(counts), k)), np.empty((len(counts), k, d)), np.empty((len(counts), k, d, d))
    modes(as_arrays(prior), _factors(prior, last, len(counts)), about, counts, first, second, *found)
    return MixtureParameters(*found).reshaped(grid)


def drawn_given(
    prior: Any, stats: SufficientStatistics, rng: np.random.Generator, last: MixtureParameters | None = None
) -> MixtureParameters:
    """Draw weights, means and covariances given statistics; ``last`` as in `mode_given`."""
    about, counts, first, second = (array[0] for array in _flat(stats))
    means, covariances = np.empty(about.shape), np.empty((*about.shape, about.shape[-1]))
    factors = _factors(prior, last, 1)[0]
    draw_means_and_covariances(rng, as_arrays(prior), factors, about, counts, first, second, means, covariances)
    return MixtureParameters(rng.dirichlet(prior.concentration + counts), means, covariances)


def _flat(stats: SufficientStatistics) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return points, counts, first and second moments on a flat grid."""
    k, d = stats.about.shape[-2:]
    shapes = (-1, k, d), (-1, k), (-1, k, d), (-1, *stats.second.shape[stats.counts.ndim - 1 :])
    arrays = stats.about, stats.counts, stats.first, stats.second
    about, counts, first, second = (
        np.ascontiguousarray(a).reshape(shape) for a, shape in zip(arrays, shapes, strict=True)
    )
    return np.ascontiguousarray(np.broadcast_to(about, first.shape)), counts, first, second


def _factors(prior: Any, last: MixtureParameters | None, number: int) -> np.ndarray:
    """Return the precision factors of the parameters before, or room for none: compiled loops then read nothing."""
    if last is not None:
        return factors_of(last, prior)
    k, d = prior.loc.shape[-2:]
    return np.empty((number, *cov.factors_shape(prior.covariance_type, (k, d))))
