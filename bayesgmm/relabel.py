"""Label switching: permute the components of each draw to agree with a reference."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from bayesgmm.data import Observations
from bayesgmm.estep import responsibilities
from bayesgmm.parameters import CovarianceType, MixtureParameters

#: Rows on which responsibilities are compared; more do not change an assignment of k labels.
ALIGNMENT_ROWS = 1000
#: Responsibilities held at a time: 16 MB.
BATCH_VALUES = 2_000_000


def alignment(
    parameters: MixtureParameters, reference: MixtureParameters, data: Observations, kind: CovarianceType
) -> Int[np.ndarray, "*grid k"]:
    """Return for each value of the grid the order of components that agrees best with the reference.

    Best is the largest sum over rows of products of responsibilities, by linear assignment: the
    equivalence-class representative of Papastamoulis & Iliopoulos (2010, doi:10.1198/jcgs.2010.09008)
    with soft memberships in place of labels.

    Parameters
    ----------
    parameters : MixtureParameters
        Grid of values, in the coordinates in which ``data`` is seen.
    reference : MixtureParameters
        One value, in the same coordinates.
    data : Observations
        At most `ALIGNMENT_ROWS` rows are used, always the same ones.
    kind : {"full", "tied", "diag", "spherical"}
        Covariance type.

    Returns
    -------
    order : int array (*grid, k)
        ``parameters.permuted(order)`` carries the labels of the reference.
    """
    k, grid = parameters.n_components, parameters.grid
    flat = parameters.reshaped((int(np.prod(grid)),))
    sample = data.subsample(ALIGNMENT_ROWS, np.random.default_rng(0))
    target = responsibilities(reference, sample, kind) * sample.sample_weight
    batch = max(1, BATCH_VALUES // (k * len(sample)))
    order = np.empty((len(flat.weights), k), dtype=np.intp)
    for start in range(0, len(order), batch):
        part = responsibilities(flat[start : start + batch], sample, kind)
        order[start : start + batch] = assigned(np.swapaxes(part @ target.T, -1, -2))
    return order.reshape(*grid, k)


def assigned(agreement: Float[np.ndarray, "g k k"]) -> Int[np.ndarray, "g k"]:
    """Return for each matrix the permutation of columns with the largest trace."""
    # Where every row's best column is another one, no assignment can beat it.
    best = agreement.argmax(axis=-1)
    contested = np.flatnonzero((np.sort(best, axis=-1) != np.arange(best.shape[-1])).any(axis=-1))
    for at in contested:
        best[at] = linear_sum_assignment(agreement[at], maximize=True)[1]
    return best


def switch_rate(order: Int[np.ndarray, "chain draw k"]) -> float:
    """Return the share of draws whose labels differ from those of the draw before in their chain."""
    if order.shape[1] < 2:
        return 0.0
    return float((order[:, 1:] != order[:, :-1]).any(axis=-1).mean())
