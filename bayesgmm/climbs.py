"""Climbs of EM: from a grid of starting values, all advancing together, one pass over the data for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from bayesgmm import estep
from bayesgmm.data import Observations
from bayesgmm.parameters import MixtureParameters

#: A component narrower than this, in standard deviations of the data, has collapsed onto a point or plane;
NARROWEST = 1e-10
#: so has one whose width, given its other features, is no more than rounding of its own spread.
FLATTEST = 1e-7


@dataclass(frozen=True, slots=True)
class Stopping:
    """When a climb ends, and what is kept of it.

    Attributes
    ----------
    max_iter : int
        Most iterations.
    tol : float
        Of the rise still to come, relative to the size of the log posterior; 0 never stops.
    trace : {"objective", "parameters"}
        What is kept of every iteration.
    """

    max_iter: int
    tol: float
    trace: Literal["objective", "parameters"] = "objective"


@dataclass(frozen=True, slots=True, eq=False)
class Climbs:
    """Where each start ended, and the way there.

    Attributes
    ----------
    parameters : MixtureParameters
        Grid (start,).
    log_posterior, remaining : array (start,)
        At the end, and the rise estimated to be still to come; nats.
    converged, collapsed : bool array (start,)
        Whether it met the tolerance; whether a component lost its width.
    iterations : int array (start,)
        Updates made.
    history : list of dict
        Per iteration: the starts that were active, and what is kept of them.
    """

    parameters: MixtureParameters
    log_posterior: Float[np.ndarray, " start"]
    remaining: Float[np.ndarray, " start"]
    converged: np.ndarray
    collapsed: np.ndarray
    iterations: np.ndarray
    history: list[dict[str, Any]]

    def trace_of(self, start: int) -> dict[str, np.ndarray]:
        """Return what was kept of one start, by iteration."""
        kept = [(step, int(np.searchsorted(step["active"], start))) for step in self.history if start in step["active"]]
        names = [name for name in self.history[0] if name != "active"]
        return {name: np.stack([step[name][at] for step, at in kept]) for name in names}


def climb(first: MixtureParameters, data: Observations, prior: Any, rule: Stopping, weights: Any = None) -> Climbs:
    """Run EM from a grid (start,) of starting values until each has converged or collapsed.

    ``weights (start, n)``, where given, stand for the row weights: other ones for each start.
    """
    kind, n = prior.covariance_type, len(first.weights)
    end = MixtureParameters(first.weights.copy(), first.means.copy(), first.covariances.copy())
    values, gains, remaining = np.full(n, -np.inf), np.full(n, np.nan), np.full(n, np.inf)
    converged, collapsed, iterations = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, int)
    active, params, history = np.arange(n), first, []
    for iteration in range(rule.max_iter + 1):
        white = estep.whiten(params, kind)
        lost = white.singular | (narrow(white, params) if not prior.is_proper else False)
        if lost.any():
            collapsed[active[lost]] = True
            active, params = active[~lost], params[~lost]
            white = estep.whiten(params, kind)
        if active.size == 0:
            break
        own = None if weights is None else weights[active]
        expected = estep.expect(white, data, params.grid, own)
        now = expected.log_likelihood + prior.log_density(params)
        history.append(_kept(active, now, params, rule))
        for whole, part in zip(end.arrays, params.arrays, strict=True):
            whole[active] = part
        iterations[active] = iteration
        gain = now - values[active]
        remaining[active] = rise_to_come(gain, gains[active])
        gains[active], values[active] = gain, now
        done = (remaining[active] <= rule.tol * np.abs(now)) & (rule.tol > 0)
        converged[active[done]] = True
        active, stats = active[~done], expected.stats
        if active.size == 0 or iteration == rule.max_iter:
            break
        params = prior.updated(_only(stats, ~done)).mode()
    return Climbs(end, values, remaining, converged, collapsed, iterations, history)


def rise_to_come(gain: Float[np.ndarray, " start"], before: Float[np.ndarray, " start"]) -> Float[np.ndarray, " start"]:
    """Return Aitken's estimate of what further iterations will add, at least the last gain itself.

    Böhning, D. et al. (1994), doi:10.1007/BF01720593: gains shrink by a constant rate near the optimum.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = gain / before
        tail = gain * rate / (1 - rate)
    return np.where(np.isfinite(tail) & (rate > 0) & (rate < 1), np.maximum(tail, gain), np.abs(gain))


def narrow(white: estep.Whitened, params: MixtureParameters) -> np.ndarray:
    """Return which grid values have a component narrower than `NARROWEST`, or flatter than `FLATTEST`."""
    factors = white.factors
    precise = factors if factors.ndim == 3 else np.diagonal(factors, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        deviations = np.sqrt(np.diagonal(params.covariances, axis1=-2, axis2=-1))
        return ((precise > 1 / NARROWEST) | (precise * deviations > 1 / FLATTEST)).any(axis=(1, 2))


def _only(stats: Any, which: np.ndarray) -> Any:
    """Return the statistics of some starts."""
    return type(stats)(stats.about[which], stats.counts[which], stats.first[which], stats.second[which])


def _kept(active: np.ndarray, now: np.ndarray, params: MixtureParameters, rule: Stopping) -> dict[str, Any]:
    kept = {"active": active, "log_posterior": now}
    if rule.trace == "parameters":
        kept |= {"weights": params.weights, "means": params.means, "covariances": params.covariances}
    return kept
