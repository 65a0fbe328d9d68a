"""Variables of the PyMC model in a posterior, computed when they are read."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import Prior
from bayesgmm.posterior.variables import pairs_of, variable_dims, variable_values


class Values:
    """Values of all random variables at the draws, computed once, when one is asked for.

    The scale of covariances is no part of the draws: it is drawn given them, always alike.
    """

    def __init__(self, prior: Prior, draws: MixtureParameters) -> None:
        self.prior, self.draws, self.found, self.lock = prior, draws, {}, Lock()

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the values (chain, draw, ...) of a variable."""
        with self.lock:
            self.found = self.found or variable_values(self.prior, self.draws, np.random.default_rng(0))
        return self.found[name]

    def __reduce__(self) -> Any:
        """Copy and store without the lock, which belongs to a process."""
        return type(self), (self.prior, self.draws)


class Carried(BackendArray):
    """The values of one random variable, as xarray reads arrays that are not in memory."""

    def __init__(self, values: Values, name: str, shape: tuple[int, ...]) -> None:
        self.values, self.name, self.shape, self.dtype = values, name, shape, np.dtype(float)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        """Return the values at an index."""
        whole = self.values[self.name]
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, whole.__getitem__)


def carried_names(prior: Prior) -> list[str]:
    """Return the names of the variables that a posterior carries beside weights, means and covariances."""
    return [name for name in variable_dims(prior) if name not in ("weights", "means")] if prior.is_proper else []


def carried(prior: Prior, draws: MixtureParameters, features: list[str]) -> dict[str, Any]:
    """Return the variables of `build_pymc_model` that draws do not hold, and the names of pairs of features if needed.

    ``draws`` have the grid (chain, draw); ``prior`` is that of the fit, in their units. Nothing is computed here.
    """
    dims, pairs, values = variable_dims(prior), pairs_of(features), Values(prior, draws)
    lengths = {"component": draws.n_components, "feature": len(features)}
    lengths |= {"feature_pair": len(pairs), "lower_triangle": len(pairs) + len(features)}
    found: dict[str, Any] = {}
    for name in carried_names(prior):
        shape = (*draws.grid, *(lengths[dim] for dim in dims[name]))
        lazy = indexing.LazilyIndexedArray(Carried(values, name, shape))
        found[name] = xr.Variable(("chain", "draw", *dims[name]), lazy)
    if any("feature_pair" in variable.dims for variable in found.values()):
        found["feature_pair"] = pairs
    return found


def carrying(posterior: xr.Dataset, prior: Prior) -> xr.Dataset:
    """Return a posterior with the values of all random variables of `build_pymc_model`, as PyMC reads one."""
    draws = MixtureParameters(*(posterior[name].values for name in ("weights", "means", "covariances")))
    features = [str(name) for name in posterior["feature"].values]
    return without_carried(posterior, prior).assign(carried(prior, draws, features))


def without_carried(posterior: xr.Dataset, prior: Prior) -> xr.Dataset:
    """Return a posterior without what `carrying` adds."""
    return posterior.drop_vars([*carried_names(prior), "feature_pair"], errors="ignore")
