"""Memberships: responsibilities averaged over draws, with intervals and the split of their entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from bayesgmm.data import Observations
from bayesgmm.expectation.pass_over_rows import log_densities, whiten
from bayesgmm.kernels.memberships import average_rows
from bayesgmm.kernels.threads import mapped, worth
from bayesgmm.model.parameters import CovarianceType, MixtureParameters

if TYPE_CHECKING:
    import xarray as xr

#: Draws that are averaged: evenly spaced over the chains when there are more.
MOST_DRAWS = 2000
#: Rows that a thread takes at a time.
ROWS_A_THREAD = 4096
#: Responsibilities held at a time: 32 MB.
BATCH_VALUES = 4_000_000


def thinned(parameters: MixtureParameters, most: int = MOST_DRAWS) -> MixtureParameters:
    """Return a flat grid of at most ``most`` draws, evenly spaced."""
    draws = int(np.prod(parameters.grid))
    flat = parameters.reshaped((draws,))
    return flat if draws <= most else flat[np.linspace(0, draws - 1, most).round().astype(int)]


def memberships(parameters: MixtureParameters, data: Observations, kind: CovarianceType, ci_prob: float) -> xr.Dataset:
    """Return the membership of every row in every component.

    Parameters
    ----------
    parameters : MixtureParameters
        Grid of relabelled draws (one for a point estimate), in the coordinates in which ``data`` is seen.
    data : Observations
        Training or new rows; weights do not matter.
    kind : {"full", "tied", "diag", "spherical"}
        Covariance type.
    ci_prob : float
        Probability inside ``lower`` and ``upper``.

    Returns
    -------
    xarray.Dataset
        ``probability``, ``lower``, ``upper`` (observation, component); ``label``, ``entropy``,
        ``entropy_overlap``, ``entropy_parameter`` (observation), in nats; the last is NaN where there is one draw,
        as ``lower`` and ``upper`` are.
    """
    import xarray as xr

    draws = thinned(parameters)
    n, k, is_point = len(data), draws.n_components, len(draws.weights) == 1
    probability, lower, upper = np.empty((n, k)), np.full((n, k), np.nan), np.full((n, k), np.nan)
    overlap = np.empty(n)
    tail, white = (1 - ci_prob) / 2, whiten(draws, kind)
    seen = data.values, data.origin, 1 / data.unit
    wanted = (lower, upper) if not is_point else (np.empty((0, k)), np.empty((0, k)))

    def average(start: int) -> None:
        rows = slice(start, min(start + ROWS_A_THREAD, n))
        low, high = (w[rows] for w in wanted)
        written = probability[rows], low, high, overlap[rows]
        average_rows(*seen, *white.arrays, tail, start, rows.stop, *written)

    starts = range(0, n, ROWS_A_THREAD)
    mapped(average, starts, worth(n * len(draws.weights) * k, most=len(starts)))
    entropy = entr(probability).sum(axis=1)
    overlap = entropy if is_point else overlap
    pair = ("observation", "component")
    return xr.Dataset(
        {
            "probability": (pair, probability),
            "lower": (pair, lower),
            "upper": (pair, upper),
            "label": ("observation", probability.argmax(axis=1)),
            "entropy": ("observation", entropy),
            "entropy_overlap": ("observation", overlap),
            "entropy_parameter": ("observation", np.full(n, np.nan) if is_point else entropy - overlap),
        },
        coords={"observation": data.index, "component": np.arange(k)},
        attrs={
            "ci_prob": ci_prob,
            "draws": len(draws.weights),
            "entropy_unit": "nats",
        },
    )


def log_average_density(
    parameters: MixtureParameters, data: Observations, kind: CovarianceType
) -> Float[np.ndarray, " n"]:
    """Return the log of the density averaged over draws, in nats per data unit: the predictive density."""
    draws = thinned(parameters)
    out = np.empty(len(data))
    rows = max(1, BATCH_VALUES // len(draws.weights))
    for start in range(0, len(data), rows):
        each = log_densities(draws, data.rows(start, start + rows), kind)
        out[start : start + rows] = np.logaddexp.reduce(each, axis=0) - np.log(len(each))
    return out
