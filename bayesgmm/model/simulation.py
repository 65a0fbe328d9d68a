"""Rows drawn from a mixture whose parameters are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from bayesgmm.arguments import random_generator, whole_number
from bayesgmm.data import Observations
from bayesgmm.model.given import one_mixture
from bayesgmm.model.parameters import MixtureParameters


def simulate(parameters: MixtureParameters, n: int, *, seed: Any = None) -> tuple[Observations, Int[np.ndarray, " n"]]:
    """Draw rows, and the component of each, from one mixture.

    Parameters
    ----------
    parameters : MixtureParameters
        One value, not a grid.
    n : int
        Number of rows.
    seed : int or numpy Generator, optional
        The same seed gives the same rows.

    Returns
    -------
    observations : Observations
        The rows.
    labels : int array (n,)
        The component of each.

    Raises
    ------
    ModelError
        If the parameters are a grid, or n or the seed do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import bayesgmm as bg
    >>> two = bg.MixtureParameters(np.array([.5, .5]), np.array([[-3.], [3.]]), np.ones((2, 1, 1)))
    >>> observations, labels = bg.simulate(two, 100, seed=1)
    >>> observations.values.shape
    (100, 1)
    """
    parameters = one_mixture(parameters, "parameters")
    n = whole_number(n, "n", 1)
    each = MixtureParameters(*(np.broadcast_to(a, (n, *a.shape)) for a in parameters.arrays))
    rows, labels = draw_rows(each, random_generator(seed))
    return Observations.of(rows), labels


def draw_rows(
    parameters: MixtureParameters, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """Draw one row, and its component, from each mixture of a grid (n,)."""
    n, d = len(parameters.weights), parameters.n_features
    labels = (rng.random(n)[:, None] > np.cumsum(parameters.weights, axis=1)[:, :-1]).sum(axis=1)
    at = np.arange(n), labels
    roots = np.linalg.cholesky(parameters.covariances[at])
    return parameters.means[at] + np.einsum("nij,nj->ni", roots, rng.standard_normal((n, d))), labels
