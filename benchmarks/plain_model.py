"""The mixture as PyMC's users write it: `pm.Mixture` of `pm.MvNormal`, under the conjugate prior."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.linalg import solve_triangular

from bayesgmm.data import Observations
from bayesgmm.model.priors import ConjugatePrior
from bayesgmm.posterior.compact import Coordinates


def build_plain_model(data: Observations, prior: ConjugatePrior) -> pm.Model:
    """Return the model in the random variables of `build_pymc_model`, so that densities are equal.

    Features are taken in reverse order: there the inverse transpose of a lower precision factor is
    the lower Cholesky factor that `pm.MvNormal` asks for, and no matrix need be factored.
    """
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", a=prior.concentration)
        roots = _roots(prior)
        offset: Any = pm.Normal("means_offset", 0, 1, shape=prior.loc.shape)
        shift = (roots.mT @ offset[..., None])[..., 0] / np.sqrt(prior.shrinkage)[:, None]
        means: Any = pm.Deterministic("means", prior.loc + shift)
        pm.Deterministic("covariances", roots.mT @ roots)
        components = pm.MvNormal.dist(mu=means[:, ::-1], chol=roots.mT[:, ::-1, ::-1])
        pm.Mixture("observations", w=weights, comp_dists=components, observed=data.values[:, ::-1].copy())
    return model


def build_standardised_plain_model(data: Observations, prior: ConjugatePrior) -> pm.Model:
    """Return the model in the coordinates in which ``data`` is seen."""
    return build_plain_model(replace(data, values=(data.values - data.origin) / data.unit), prior)


def _roots(prior: ConjugatePrior) -> Any:
    """Return the inverses of Bartlett's precision factors, (k, d, d)."""
    k, d = prior.loc.shape
    chi: Any = pm.ChiSquared("precision_chi", nu=prior.dof[:, None] - np.arange(d), shape=(k, d))
    a: Any = pt.zeros((k, d, d))
    a = a[:, np.arange(d), np.arange(d)].set(chi**0.5)
    if d > 1:
        rows, columns = np.tril_indices(d, -1)
        lower = pm.Normal("precision_lower", 0, 1, shape=(k, len(rows)))
        a = a[:, rows, columns].set(lower)
    return solve_triangular(Coordinates.of(prior, d).root @ a, pt.eye(d), lower=True)  # pyright: ignore
