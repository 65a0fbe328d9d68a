"""Climbs of EM: from a grid of starting values, compiled, or chunk by chunk with one pass over the data for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
from jaxtyping import Float

from bayesgmm import covariance as cov
from bayesgmm import estep
from bayesgmm.checkpoint import Checkpoint
from bayesgmm.data import Observations, Rows, sums
from bayesgmm.kernels.climb import (
    COLLAPSED,
    CONVERGED,
    GOES_ON,
    is_lost,
    log_prior,
    run_iterations,
    set_mode,
    take_stock,
)
from bayesgmm.parameters import CovarianceType, MixtureParameters
from bayesgmm.priors import ConjugatePrior, as_arrays
from bayesgmm.priors.densities import factorised
from bayesgmm.suffstats import Expectation, SufficientStatistics
from bayesgmm.threads import mapped, worth

#: Evaluations for which there is room at a time.
STRETCH = 256


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
    traces : list of dict
        What is kept of each start, by iteration.
    """

    parameters: MixtureParameters
    log_posterior: Float[np.ndarray, " start"]
    remaining: Float[np.ndarray, " start"]
    converged: np.ndarray
    collapsed: np.ndarray
    iterations: np.ndarray
    traces: list[dict[str, np.ndarray]]


@dataclass(frozen=True, slots=True, eq=False)
class Climber:
    """One start under way.

    Attributes
    ----------
    current, sound : tuple of array
        Weights (k), means (k, d) and covariances (k, d, d): to be evaluated next, and evaluated last.
    progress : array (3,)
        Log posterior up to a constant, its last gain, and the rise estimated to be still to come.
    trace : list of tuple of array
        Log posterior, and parameters if asked for, of each stretch of iterations.
    """

    current: tuple[np.ndarray, ...]
    sound: tuple[np.ndarray, ...]
    progress: np.ndarray
    trace: list[tuple[np.ndarray, ...]]

    @classmethod
    def at(cls, start: MixtureParameters) -> Climber:
        """Stand at a starting value."""
        current, sound = (tuple(np.array(a, order="C") for a in start.arrays) for _ in range(2))
        nothing = np.empty(0), *(np.empty((0, *array.shape)) for array in current)
        return cls(current, sound, np.array([-np.inf, np.nan, np.inf]), [nothing])

    @property
    def is_sound(self) -> bool:
        """Whether any parameters on the way had a log posterior."""
        return bool(np.isfinite(self.progress[0]))

    def note(self, log_posterior: np.ndarray, kept: tuple[np.ndarray, ...], number: int) -> None:
        """Keep what was written of so many iterations."""
        self.trace.append(tuple(array[:number].copy() for array in (log_posterior, *kept)))


def climb(
    first: MixtureParameters,
    data: Rows,
    prior: Any,
    rule: Stopping,
    *,
    weights: Any = None,
    saved: tuple[Checkpoint, str] | None = None,
) -> Climbs:
    """Run EM from a grid (start,) of starting values until each has converged or collapsed.

    ``weights (start, n)``, where given, stand for the row weights: other ones for each start. ``saved`` is the
    section of a checkpoint in which every iteration is kept, and from which the climb goes on.
    """
    climbers = [Climber.at(first[start]) for start in range(len(first.weights))]
    problem = Problem.of(data, prior, rule)
    chunks_at_once = len(data) <= sums.MOST_CHUNKS * sums.CHUNK_ROWS and numba.get_num_threads() == 1
    if isinstance(data, Observations) and (data.is_one_chunk or chunks_at_once) and saved is None:
        ends = climb_compiled(climbers, data, problem, weights)
    else:
        ends = climb_together(climbers, problem, weights, saved)
    end = MixtureParameters(*(np.stack(arrays) for arrays in zip(*(c.sound for c in climbers), strict=True)))
    reached = np.array([c.progress[0] for c in climbers])
    sound = np.array([c.is_sound for c in climbers])
    constant = np.zeros(len(reached))
    if sound.any() and prior.is_proper:
        constant[sound] = prior.log_density(end[sound]) - problem.log_prior([c.sound for c in climbers if c.is_sound])
    traces = []
    for at, climber in enumerate(climbers):
        joined = [np.concatenate(arrays) for arrays in zip(*climber.trace, strict=True)]
        names = ("log_posterior", "weights", "means", "covariances")
        trace = dict(zip(names, joined, strict=True)) if rule.trace == "parameters" else {names[0]: joined[0]}
        traces.append(trace | {"log_posterior": trace["log_posterior"] + constant[at]})
    return Climbs(
        end,
        reached + constant,
        np.array([c.progress[2] for c in climbers]),
        np.array([end == CONVERGED for end, _ in ends]),
        np.array([end == COLLAPSED for end, _ in ends]),
        np.array([max(evaluations - 1, 0) for _, evaluations in ends]),
        traces,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is climbed, as the compiled steps read it.

    Attributes
    ----------
    data : Rows
        As seen.
    rule : Stopping
        When a climb ends.
    hyperparameters : tuple
        Of the prior.
    mean_factors : array (k, d, d)
        Precision factors of the means' prior covariance, where it is semi-conjugate.
    is_flat : bool
        Whether the prior is.
    kind : {"full", "tied", "diag", "spherical"}
        Covariance type.
    """

    data: Rows
    rule: Stopping
    hyperparameters: tuple[Any, ...]
    mean_factors: np.ndarray
    is_flat: bool
    kind: CovarianceType

    @classmethod
    def of(cls, data: Rows, prior: Any, rule: Stopping) -> Problem:
        """Write out the prior."""
        none = np.empty((0, 0, 0))
        factors = none if isinstance(prior, ConjugatePrior) else factorised(prior.loc_covariance)[0]
        arrays = as_arrays(prior), np.ascontiguousarray(factors)
        return cls(data, rule, *arrays, not prior.is_proper, prior.covariance_type)

    @property
    def is_diagonal(self) -> bool:
        """Whether covariances are."""
        return cov.is_diagonal(self.kind)

    def log_prior(self, states: list[tuple[np.ndarray, ...]]) -> Float[np.ndarray, " start"]:
        """Return the log prior density, up to a constant, of weights, means and covariances."""
        factors = estep.whiten_each(states, self.kind).factors
        prior = self.hyperparameters, self.mean_factors
        return np.array([log_prior(*prior, w, m, p) for (w, m, _), p in zip(states, factors, strict=True)])

    def room(self, k: int, d: int, iterations: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Return room for the log posterior and, if they are traced, the parameters of so many iterations."""
        traced = iterations if self.rule.trace == "parameters" else 0
        return np.empty(iterations), (np.empty((traced, k)), np.empty((traced, k, d)), np.empty((traced, k, d, d)))


def climb_compiled(
    climbers: list[Climber], data: Observations, problem: Problem, weights: Any
) -> list[tuple[int, int]]:
    """Climb from each start by itself, as many at a time as there are threads."""
    rule = problem.rule
    seen = data.origin, 1 / data.unit
    k, d = climbers[0].current[1].shape
    shape = (1, k, d) if problem.is_diagonal else (1, k, d, d)
    chunks = -(-len(data) // sums.CHUNK_ROWS)

    def climb_one(at: int) -> tuple[int, int]:
        climber, v = climbers[at], (data.sample_weight if weights is None else weights[at])[None]
        end, evaluations = GOES_ON, 0
        while evaluations <= rule.max_iter:
            room = min(STRETCH, rule.max_iter + 1 - evaluations)
            log_posterior, kept = problem.room(k, d, room)
            end, made = run_iterations(
                data.values, v, *seen, problem.hyperparameters, problem.mean_factors, problem.is_flat,
                sums.CHUNK_ROWS, room, evaluations + room > rule.max_iter, rule.tol,
                climber.current, climber.sound, climber.progress, log_posterior, kept,
                np.zeros(shape), np.zeros((chunks, *shape)),
            )  # fmt: skip
            climber.note(log_posterior, kept, made)
            evaluations += made
            if end in (CONVERGED, COLLAPSED):
                return end, evaluations
        return end, evaluations

    work = data.values.size * k * len(climbers)
    return mapped(climb_one, range(len(climbers)), worth(work, most=len(climbers)))


def climb_together(
    climbers: list[Climber], problem: Problem, weights: Any, saved: tuple[Checkpoint, str] | None = None
) -> list[tuple[int, int]]:
    """Climb from all starts at once: one pass over the rows serves all that are still under way."""
    rule, data = problem.rule, problem.data
    ends = [(GOES_ON, 0)] * len(climbers)
    active, first = list(range(len(climbers))), 0
    if saved is not None:
        first, active = _resumed(climbers, ends, *saved)
    for iteration in range(first, rule.max_iter + 1):
        if not active:
            break
        white = estep.whiten_each([climbers[at].current for at in active], problem.kind)
        lost = _lost(climbers, problem, active, white)
        for at in np.array(active)[lost]:
            ends[at] = COLLAPSED, iteration
        active, white = [at for at, gone in zip(active, lost, strict=True) if not gone], white[~lost]
        if not active:
            break
        expected = estep.expect(white, data, (len(active),), None if weights is None else weights[active])
        over = [_evaluated(climbers[at], problem, white, expected, g) for g, at in enumerate(active)]
        for g, at in enumerate(active):
            ends[at] = CONVERGED if over[g] else GOES_ON, iteration + 1
            if not over[g] and iteration < rule.max_iter:
                _advance(climbers[at], problem, expected.stats, g)
        active = [] if iteration == rule.max_iter else [at for at, done in zip(active, over, strict=True) if not done]
        if saved is not None:
            _save(climbers, ends, active, iteration + 1, saved)
    return ends


def _evaluated(climber: Climber, problem: Problem, white: estep.Whitened, expected: Expectation, g: int) -> bool:
    """Note the log posterior where a start stands, and return whether its climb is over."""
    weights, means, _ = climber.current
    prior = log_prior(problem.hyperparameters, problem.mean_factors, weights, means, white.factors[g])
    k, d = means.shape
    log_posterior, kept = problem.room(k, d, 1)
    log_posterior[0] = expected.log_likelihood[g] + prior
    for target, traced, value in zip(climber.sound, kept, climber.current, strict=True):
        target[:], traced[:1] = value, value
    climber.note(log_posterior, kept, 1)
    return bool(take_stock(log_posterior[0], problem.rule.tol, climber.progress))


def _advance(climber: Climber, problem: Problem, stats: SufficientStatistics, g: int) -> None:
    """Move a start to the mode given the statistics expected where it stands."""
    weights, means, covariances = climber.current
    second = _as_summed(stats.second[g], problem.is_diagonal)
    summed = stats.about[g], stats.counts[g], stats.first[g], second
    set_mode(problem.hyperparameters, *summed, weights, means, covariances)


def _lost(climbers: list[Climber], problem: Problem, active: list[int], white: estep.Whitened) -> np.ndarray:
    """Return which starts have collapsed."""
    states = [climbers[at].current for at in active]
    each = zip(white.log_constants, white.factors, states, strict=True)
    return np.array([is_lost(problem.is_flat, constants, p, w, c) for constants, p, (w, _, c) in each])


def _save(
    climbers: list[Climber], ends: list[Any], active: list[int], iteration: int, saved: tuple[Checkpoint, str]
) -> None:
    """Keep where every start stands."""
    checkpoint, name = saved
    if active and not checkpoint.is_due:
        return
    arrays: dict[str, Any] = {"iteration": iteration, "active": np.array(active, int), "ends": np.array(ends)}
    for at, climber in enumerate(climbers):
        arrays[f"progress{at}"] = climber.progress
        groups = {"current": climber.current, "sound": climber.sound}
        groups["trace"] = tuple(np.concatenate(parts) for parts in zip(*climber.trace, strict=True))
        arrays |= {f"{group}{at}_{i}": array for group, held in groups.items() for i, array in enumerate(held)}
    checkpoint.put(name, arrays)


def _resumed(
    climbers: list[Climber], ends: list[tuple[int, int]], saved: Checkpoint, name: str
) -> tuple[int, list[int]]:
    """Put every start where it was saved; return the iteration that follows, and who is under way."""
    arrays = saved.get(name)
    if arrays is None:
        return 0, list(range(len(climbers)))
    ends[:] = [(int(end), int(made)) for end, made in arrays["ends"]]
    for at, climber in enumerate(climbers):
        climber.progress[:] = arrays[f"progress{at}"]
        for group, held in (("current", climber.current), ("sound", climber.sound)):
            for i, array in enumerate(held):
                array[:] = arrays[f"{group}{at}_{i}"]
        climber.trace.append(tuple(arrays[f"trace{at}_{i}"] for i in range(4)))
    return int(arrays["iteration"]), [int(at) for at in arrays["active"]]


def _as_summed(second: np.ndarray, is_diagonal: bool) -> np.ndarray:
    """Return second moments as the pass sums them: of diagonal covariances the diagonals alone."""
    return np.ascontiguousarray(np.diagonal(second, axis1=-2, axis2=-1)) if is_diagonal else second
