"""The random variables of the PyMC model: their dims, and their values at given parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior, Prior, SeparationPrior
from bayesgmm.model.priors.densities import factorised
from bayesgmm.posterior.compact import SMALLEST_WEIGHT


def variable_dims(prior: Prior) -> dict[str, tuple[str, ...]]:
    """Return the dims of each random variable, by its name, in the order in which the model has them."""
    kind, d = prior.covariance_type, prior.loc.shape[-1]
    of_means = {"means_offset" if isinstance(prior, ConjugatePrior) else "means": ("component", "feature")}
    if isinstance(prior, SeparationPrior):
        return {"weights": ("component",)} | _separation_dims(prior) | of_means
    chi = {"tied": ("feature",), "spherical": ("component",)}.get(kind, ("component", "feature"))
    dims = {"weights": ("component",)} | (_scale_dims(prior) if isinstance(prior, HierarchicalPrior) else {})
    dims |= {"precision_chi": chi}
    if cov.block_size(kind, d) > 1:
        dims["precision_lower"] = ("feature_pair",) if kind == "tied" else ("component", "feature_pair")
    return dims | of_means


def _scale_dims(prior: HierarchicalPrior) -> dict[str, tuple[str, ...]]:
    kind, d = prior.covariance_type, prior.loc.shape[-1]
    if cov.is_diagonal(kind):
        return {"scale": ("feature",) if kind == "diag" else ()}
    return {"scale_chi": ("feature",)} | ({"scale_lower": ("feature_pair",)} if d > 1 else {})


def _separation_dims(prior: SeparationPrior) -> dict[str, tuple[str, ...]]:
    kind, k = prior.covariance_type, len(prior.loc)
    if cov.is_diagonal(kind):
        return {"deviation": ("component", "feature") if kind == "diag" else ("component",)}
    return {f"cholesky_reversed_{c}": ("lower_triangle",) for c in range(1 if kind == "tied" else k)}


def pairs_of(features: Sequence[Any]) -> list[str]:
    """Return the names of the pairs of features, in the order of a lower triangle."""
    return [f"{features[i]}:{features[j]}" for i in range(len(features)) for j in range(i)]


def initial_values(prior: Prior, start: MixtureParameters) -> dict[str, np.ndarray]:
    """Return a value for every random variable, from the parameters of one mixture in the units of the prior.

    The scale of covariances, where it is unknown, takes its mean given them; no weight is below 1e-4.
    """
    lifted = np.maximum(start.weights, SMALLEST_WEIGHT)
    return variable_values(prior, start) | {"weights": lifted / lifted.sum()}


def variable_values(
    prior: Prior, parameters: MixtureParameters, rng: np.random.Generator | None = None
) -> dict[str, np.ndarray]:
    """Return the value of every random variable at each mixture of a grid, in the units of the prior.

    The scale of covariances, where it is unknown, is drawn given them, or takes its mean where there is no ``rng``.
    """
    values = {"weights": parameters.weights, "means": parameters.means}
    if isinstance(prior, ConjugatePrior):
        factor, _ = factorised(parameters.covariances)
        offset = np.einsum("...kji,...kj->...ki", factor, parameters.means - prior.loc)
        values = {"weights": parameters.weights, "means_offset": offset * np.sqrt(prior.shrinkage)[:, None]}
    if isinstance(prior, SeparationPrior):
        return values | _separation_values(prior, parameters)
    if not isinstance(prior, HierarchicalPrior):
        return values | _bartlett_values(prior, parameters, prior.scale)
    scale = prior.scale_given(parameters, rng)
    whole = prior.known_scale + scale[..., None, :, :]
    return values | _bartlett_values(prior, parameters, whole) | _scale_values(prior, scale)


def _bartlett_values(
    prior: Prior, parameters: MixtureParameters, scale: Float[np.ndarray, "*#grid k d d"]
) -> dict[str, np.ndarray]:
    """Return the squares of the diagonals of the matrices ``A``, and what is below: precisions are root A A' root'."""
    kind, grid, d = prior.covariance_type, parameters.grid, parameters.n_features
    factors, _ = factorised(cov.blocks(parameters.covariances, kind))
    roots, _ = factorised(cov.blocks(scale, kind))
    a = np.linalg.solve(np.broadcast_to(roots, factors.shape), factors)
    k, (blocks, p) = parameters.n_components, a.shape[-3:-1]
    shape = {"full": (k, d), "tied": (d,), "diag": (k, d), "spherical": (k,)}[kind]
    values = {"precision_chi": (np.diagonal(a, axis1=-2, axis2=-1) ** 2).reshape(*grid, *shape)}
    if p > 1:
        lower = a[..., *np.tril_indices(p, -1)]
        values["precision_lower"] = lower.reshape(*grid, -1) if kind == "tied" else lower.reshape(*grid, blocks, -1)
    return values


def _scale_values(prior: HierarchicalPrior, scale: Float[np.ndarray, "*grid d d"]) -> dict[str, np.ndarray]:
    """Return the values of the random variables that make a scale."""
    diagonal = np.diagonal(scale, axis1=-2, axis2=-1)
    if cov.is_diagonal(prior.covariance_type):
        return {"scale": diagonal if prior.covariance_type == "diag" else diagonal[..., 0]}
    root = np.linalg.cholesky(np.linalg.inv(prior.scale_rate))
    own = np.linalg.solve(np.broadcast_to(root, scale.shape), np.linalg.cholesky(scale))
    values = {"scale_chi": np.diagonal(own, axis1=-2, axis2=-1) ** 2}
    d = scale.shape[-1]
    return values | ({"scale_lower": own[..., *np.tril_indices(d, -1)]} if d > 1 else {})


def _separation_values(prior: SeparationPrior, parameters: MixtureParameters) -> dict[str, np.ndarray]:
    kind, (k, d) = prior.covariance_type, prior.loc.shape
    if cov.is_diagonal(kind):
        deviation = np.sqrt(np.diagonal(parameters.covariances, axis1=-2, axis2=-1))
        return {"deviation": deviation if kind == "diag" else deviation[..., 0]}
    lower = np.linalg.cholesky(parameters.covariances[..., ::-1, ::-1])[..., *np.tril_indices(d)]
    return {f"cholesky_reversed_{c}": lower[..., c, :] for c in range(1 if kind == "tied" else k)}
