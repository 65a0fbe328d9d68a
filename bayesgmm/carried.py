"""Variables of the PyMC model in a posterior, computed when they are read."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from bayesgmm.parameters import MixtureParameters
from bayesgmm.priors import Prior
from bayesgmm.variables import pairs_of, variable_dims, variable_values


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


def carrying(posterior: xr.Dataset, prior: Prior) -> xr.Dataset:
    """Return a posterior with the values of all random variables of `build_pymc_model`, as PyMC reads one.

    ``prior`` is that of the fit, in the units of the draws. Nothing is computed here.
    """
    bare, names = without_carried(posterior, prior), carried_names(prior)
    dims, features = variable_dims(prior), posterior["feature"].values
    draws = MixtureParameters(*(posterior[name].values for name in ("weights", "means", "covariances")))
    pairs, values = pairs_of(list(features)), Values(prior, draws)
    lengths = dict(posterior.sizes) | {"feature_pair": len(pairs), "lower_triangle": len(pairs) + len(features)}
    arrays = {}
    for name in names:
        whole = ("chain", "draw", *dims[name])
        shape = tuple(lengths[dim] for dim in whole)
        arrays[name] = xr.Variable(whole, indexing.LazilyIndexedArray(Carried(values, name, shape)))
    paired = {"feature_pair": pairs} if any("feature_pair" in dims[name] for name in names) else {}
    return bare.assign_coords(paired).assign(arrays)


def without_carried(posterior: xr.Dataset, prior: Prior) -> xr.Dataset:
    """Return a posterior without what `carrying` adds."""
    return posterior.drop_vars([*carried_names(prior), "feature_pair"], errors="ignore")
