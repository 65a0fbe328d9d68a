"""Optima to which draws lead: EM climbs from the best draw of each chain, once all are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from bayesgmm.answers.relabelling import alignment
from bayesgmm.data import Rows
from bayesgmm.engines.em.climbs import Climbs, climb, spurious
from bayesgmm.engines.em.em import EM, polished
from bayesgmm.engines.em.search import SAME_OBJECTIVE, alike
from bayesgmm.model.parameters import MixtureParameters, Optima
from bayesgmm.model.priors import Prior, is_exchangeable


def with_ascents(
    optima: Optima, draws: MixtureParameters, log_posterior: Float[np.ndarray, "chain draw"], data: Rows, prior: Prior
) -> Optima:
    """Return the optima, and those that no start led to but the best draw of some chain does.

    Chains may be where EM did not search, and labels are aligned to where they are. No start ended in what is added:
    its ``basin_share`` is 0. All is in the coordinates in which ``data`` is seen.
    """
    if draws.n_components == 1:
        return optima
    first = draws[np.arange(len(log_posterior)), log_posterior.argmax(axis=1)]
    climbs = climb(first, data, prior, EM().stopping)
    ended = np.flatnonzero(climbs.converged)
    for at in ended[np.argsort(-climbs.log_posterior[ended], kind="stable")]:
        if not _is_known(climbs, at, optima):
            optima = _with_one_more(optima, polished(climbs, at, data, prior, EM().stopping), at, data, prior)
    return optima


def _is_known(climbs: Climbs, at: int, optima: Optima) -> bool:
    """Return whether a climb ended at one of the optima, as near as its tolerance takes it."""
    near = max(SAME_OBJECTIVE, 2 * EM().tol * abs(climbs.log_posterior[at]))
    as_high = np.flatnonzero(np.abs(optima.log_posterior - climbs.log_posterior[at]) <= near)
    return any(alike(climbs.parameters[at], optima.parameters[other]) for other in as_high)


def _with_one_more(optima: Optima, climbs: Climbs, at: int, data: Rows, prior: Prior) -> Optima:
    """Return the optima with the end of a climb in its place by height, all aligned to the first."""
    kind, free = prior.covariance_type, is_exchangeable(prior)
    new = climbs.parameters[np.array([at])]
    if free:
        new = new.permuted(alignment(new, optima.parameters[0], data, kind))
    arrays = zip(optima.parameters.arrays, new.arrays, strict=True)
    parameters = MixtureParameters(*(np.concatenate(pair) for pair in arrays))
    height = np.append(optima.log_posterior, climbs.log_posterior[at])
    doubtful = np.append(optima.spurious, spurious(climbs, data, prior)[at])
    rank = np.lexsort((-height, doubtful))
    parameters = parameters[rank]
    if free:
        parameters = parameters.permuted(alignment(parameters, parameters[0], data, kind))
    return replace(
        optima,
        parameters=parameters,
        log_posterior=height[rank],
        basin_share=np.append(optima.basin_share, 0.0)[rank],
        spurious=doubtful[rank],
        converged=np.append(optima.is_reached, True)[rank],
        by_draws=np.append(optima.is_by_draws, True)[rank],
    )
