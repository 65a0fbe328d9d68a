"""Climbs of EM: from a grid of starting values, compiled, or chunk by chunk with one pass over the data for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numba
import numpy as np
from jaxtyping import Float

from bayesgmm import covariance as cov
from bayesgmm import estep
from bayesgmm.checkpoint import Checkpoint
from bayesgmm.data import Observations, Rows, sums
from bayesgmm.kernels.climb import COLLAPSED, CONVERGED, GOES_ON, arrive_each, climb_each, log_prior, set_out_each
from bayesgmm.parameters import CovarianceType, MixtureParameters
from bayesgmm.priors import ConjugatePrior, as_arrays
from bayesgmm.priors.densities import factorised
from bayesgmm.threads import SERIAL_WORK, mapped, worth

#: Evaluations for which there is room at a time.
STRETCH = 256
#: Numbers of traces that are written at a time: 8 MB.
MOST_KEPT = 1_000_000
#: Progress before the first evaluation.
NOWHERE = np.array([-np.inf, np.nan, np.inf])


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
class Climbers:
    """Starts under way.

    Attributes
    ----------
    current, sound : tuple of array
        Weights (start, k), means (start, k, d) and covariances (start, k, d, d): to be evaluated next, and evaluated
        last.
    progress : array (start, 3)
        Log posterior up to a constant, its last gain, and the rise estimated to be still to come.
    ends, evaluations : int array (start,)
        How each climb ended, or that it goes on; how often its log posterior was computed.
    traces : list of list of tuple of array
        Of each start the log posterior, and parameters if asked for, in stretches of iterations.
    """

    current: tuple[np.ndarray, ...]
    sound: tuple[np.ndarray, ...]
    progress: np.ndarray
    ends: np.ndarray
    evaluations: np.ndarray
    traces: list[list[tuple[np.ndarray, ...]]]

    @classmethod
    def at(cls, first: MixtureParameters) -> Climbers:
        """Stand at a grid (start,) of starting values."""
        current, sound = (tuple([array.copy() for array in first.arrays]) for _ in range(2))
        number = len(current[0])
        ends, evaluations = np.full(number, GOES_ON), np.zeros(number, int)
        return cls(current, sound, NOWHERE[None].repeat(number, axis=0), ends, evaluations, [[] for _ in range(number)])

    @property
    def are_sound(self) -> np.ndarray:
        """Whether any parameters on the way had a log posterior."""
        return np.isfinite(self.progress[:, 0])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What says where every start stands, by name."""
        each = {"progress": self.progress, "ends": self.ends, "evaluations": self.evaluations}
        for group, held in (("current", self.current), ("sound", self.sound)):
            each |= {f"{group}{i}": array for i, array in enumerate(held)}
        return each

    def note(self, which: np.ndarray, made: np.ndarray, parts: Sequence[np.ndarray]) -> None:
        """Keep the log posterior and, if asked for, the parameters of the iterations that some starts have made."""
        for row, (at, number) in enumerate(zip(which.tolist(), made.tolist(), strict=True)):
            self.traces[at].append(tuple([array[row, :number].copy() for array in parts]))

    def trace(self, at: int) -> tuple[np.ndarray, ...]:
        """Return what is kept of a start: log posterior and parameters, of all iterations or, not asked for, none."""
        parts = self.traces[at]
        if len(parts) == 1:
            return parts[0]
        nothing = np.empty(0), *(np.empty((0, *array.shape[1:])) for array in self.current)
        return tuple(np.concatenate(arrays) for arrays in zip(nothing, *parts, strict=True))


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
    climbers, problem = Climbers.at(first), Problem.of(data, prior, rule)
    if isinstance(data, Observations) and saved is None and (data.is_one_chunk or _are_few(data)):
        climb_compiled(climbers, data, problem, weights)
    else:
        climb_together(climbers, problem, weights, saved)
    end, reached = MixtureParameters(*climbers.sound), climbers.progress[:, 0]
    constant = np.zeros(len(reached))
    if not problem.is_flat and (sound := climbers.are_sound).any():
        some = end[sound]
        constant[sound] = prior.log_density(some) - problem.log_prior(*some.arrays)
    traces = []
    for at, amount in enumerate(constant):
        log_posterior, *kept = climbers.trace(at)
        traced = zip(("weights", "means", "covariances"), kept, strict=True) if rule.trace == "parameters" else ()
        traces.append({"log_posterior": log_posterior + amount, **dict(traced)})
    return Climbs(
        end,
        reached + constant,
        climbers.progress[:, 2],
        climbers.ends == CONVERGED,
        climbers.ends == COLLAPSED,
        np.maximum(climbers.evaluations - 1, 0),
        traces,
    )


def _are_few(data: Observations) -> bool:
    """Return whether one thread is all there is, and sums of all chunks can be held."""
    return len(data) <= sums.MOST_CHUNKS * sums.CHUNK_ROWS and numba.get_num_threads() == 1


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

    def log_prior(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> Float[np.ndarray, " start"]:
        """Return the log prior density, up to a constant, of parameters on a grid (start,)."""
        factors = estep.whiten_each((weights, means, covariances), self.kind).factors
        prior = self.hyperparameters, self.mean_factors
        return np.array([log_prior(*prior, *one) for one in zip(weights, means, factors, strict=True)])

    def room(self, starts: int, k: int, d: int, iterations: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Return room for the log posterior and, if they are traced, the parameters of so many iterations."""
        traced = starts, iterations if self.rule.trace == "parameters" else 0
        kept = np.empty((*traced, k)), np.empty((*traced, k, d)), np.empty((*traced, k, d, d))
        return np.empty((starts, iterations)), kept


def climb_compiled(climbers: Climbers, data: Observations, problem: Problem, weights: Any) -> None:
    """Climb from each start by itself, as many at a time as there are threads."""
    seen = data.values, data.weights[None] if weights is None else weights, data.origin, 1 / data.unit
    under_way, most, done = np.arange(len(climbers.ends)), problem.rule.max_iter + 1, 0
    kept = 1 if problem.rule.trace == "objective" else 1 + sum(array[0].size for array in climbers.current)
    while len(under_way) and done < most:
        stretch = partial(_climb_on, climbers, problem, seen, done)
        work = data.values.size * climbers.current[0][0].size * len(under_way)
        # A call cannot be interrupted, so that those that take long are of one start each.
        at_once = max(1, MOST_KEPT // (STRETCH * kept)) if work < SERIAL_WORK else 1
        parts = [under_way[first : first + at_once] for first in range(0, len(under_way), at_once)]
        mapped(stretch, parts, worth(work, most=len(parts)))
        done += STRETCH
        under_way = under_way[climbers.ends[under_way] == GOES_ON]


def _climb_on(climbers: Climbers, problem: Problem, seen: tuple[Any, ...], done: int, which: np.ndarray) -> None:
    """Take starts that have made ``done`` evaluations on by a stretch of them."""
    (_, k, d), most = climbers.current[1].shape, problem.rule.max_iter + 1
    room = min(STRETCH, most - done)
    log_posterior, kept = problem.room(len(which), k, d, room)
    climb_each(
        *seen, problem.hyperparameters, problem.mean_factors, problem.is_flat, sums.CHUNK_ROWS, done + room == most,
        problem.rule.tol, which, climbers.current, climbers.sound, climbers.progress, log_posterior, kept,
        climbers.ends, climbers.evaluations, cov.factors_shape(problem.kind, (1, k, d)),
    )  # fmt: skip
    climbers.note(which, climbers.evaluations[which] - done, (log_posterior, *kept))


def climb_together(
    climbers: Climbers, problem: Problem, weights: Any, saved: tuple[Checkpoint, str] | None = None
) -> None:
    """Climb from all starts at once: one pass over the rows serves all that are still under way."""
    rule, (_, k, d) = problem.rule, climbers.current[1].shape
    active, first = np.arange(len(climbers.ends)), 0
    if saved is not None:
        first, active = _resumed(climbers, *saved)
    for iteration in range(first, rule.max_iter + 1):
        constants, factors = np.empty((len(active), k)), np.empty(cov.factors_shape(problem.kind, (len(active), k, d)))
        set_out_each(active, problem.is_flat, climbers.current, climbers.sound, constants, factors, climbers.ends)
        sound = climbers.ends[active] == GOES_ON
        active, constants, factors = active[sound], constants[sound], factors[sound]
        if not len(active):
            break
        white = estep.Whitened(constants, climbers.sound[1][active], factors)
        expected = estep.sums_expected(white, problem.data, None if weights is None else weights[active])
        log_posterior, kept = problem.room(len(active), k, d, 1)
        is_last, stats = iteration == rule.max_iter, expected.stats
        arrive_each(
            active, problem.hyperparameters, problem.mean_factors, rule.tol, is_last, expected.log_likelihood,
            stats.counts, stats.first, stats.second, factors, climbers.current, climbers.sound, climbers.progress,
            log_posterior, kept, climbers.ends, climbers.evaluations,
        )  # fmt: skip
        climbers.note(active, np.ones(len(active), int), (log_posterior, *kept))
        active = active[(climbers.ends[active] == GOES_ON) & (not is_last)]
        if saved is not None:
            _save(climbers, active, iteration + 1, saved)


def _save(climbers: Climbers, active: np.ndarray, iteration: int, saved: tuple[Checkpoint, str]) -> None:
    """Keep where every start stands."""
    checkpoint, name = saved
    if len(active) and not checkpoint.is_due:
        return
    arrays: dict[str, Any] = {"iteration": iteration, "active": active}
    # The checkpoint keeps what it is given, and writes it again with every other section.
    arrays |= {key: array.copy() for key, array in climbers.arrays.items()}
    for at in range(len(climbers.ends)):
        arrays |= {f"trace{at}_{i}": array for i, array in enumerate(climbers.trace(at))}
    checkpoint.put(name, arrays)


def _resumed(climbers: Climbers, saved: Checkpoint, name: str) -> tuple[int, np.ndarray]:
    """Put every start where it was saved; return the iteration that follows, and who is under way."""
    arrays = saved.get(name)
    if arrays is None:
        return 0, np.arange(len(climbers.ends))
    for key, array in climbers.arrays.items():
        array[:] = arrays[key]
    for at, parts in enumerate(climbers.traces):
        parts.append(tuple(arrays[f"trace{at}_{i}"] for i in range(4)))
    return int(arrays["iteration"]), arrays["active"]
