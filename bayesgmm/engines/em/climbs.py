"""Climbs of EM: from a grid of starting values, compiled, or chunk by chunk with one pass over the data for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Literal

import numba
import numpy as np
from jaxtyping import Float

from bayesgmm.data import Observations, Rows, sums
from bayesgmm.engines.checkpoint import Checkpoint
from bayesgmm.engines.em import standings
from bayesgmm.engines.em.standings import LEFT
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.kernels.climb import (
    COLLAPSED,
    CONVERGED,
    GOES_ON,
    arrive_each,
    climb_each,
    set_out_each,
    stand_at,
)
from bayesgmm.kernels.leaps import HELD, LEAPT, paces
from bayesgmm.kernels.threads import SERIAL_WORK, mapped, worth
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import as_arrays, mean_factors

#: Evaluations for which there is room at a time.
STRETCH = 256
#: Numbers of traces that are written at a time: 8 MB.
MOST_KEPT = 1_000_000
#: Differences of points from which leaps are made, and numbers of each climb for which there is room in them: 2 MB.
DIFFERENCES, MOST_REMEMBERED = 5, 250_000
#: Differences of which so little is not in the span of others are dropped.
DEPENDENT = 1e-3
#: Evaluations of a climb after which it makes leaps: those that are over by then are plain.
SETTLING = 10
#: Evaluations after which starts are looked at that may be left behind.
LOOKS = 4, 10, 30, 90
#: One is left if, after so many times the rise estimated to be still to come, it is so many nats below the highest.
RISES, FAR = 5.0, 100.0


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
    leaves : bool
        Whether starts that are hopelessly far below the highest are left behind.
    settling : int, optional
        Evaluations after which leaps are made where they lead higher (`kernels.leaps`); none where it is not given.
    """

    max_iter: int
    tol: float
    trace: Literal["objective", "parameters"] = "objective"
    leaves: bool = False
    settling: int | None = None


@dataclass(slots=True, eq=False)
class Climbs:
    """Starts on their way: where each stands or ended, and how it came there.

    Attributes
    ----------
    shape : tuple of int
        k and d.
    state : array (start, 2, number)
        Weights, means and covariances, one after another: to be evaluated next, and evaluated last.
    progress : array (start, 5)
        Log posterior up to a constant, its last gain, the rise estimated to be still to come, and that constant, which
        is known at the end; nats. Last, what an iteration leaves of a distance at most, if leaps told it.
    ends, evaluations : int array (start,)
        How each climb ended, or that it goes on; how often its log posterior was computed.
    stretches : list of tuple
        First start and evaluation that a part of the traces is of, and the part, (start, evaluation, number): log
        posterior up to a constant and, if they are traced, parameters. What a start did not make of it means nothing.
    """

    shape: tuple[int, int]
    state: np.ndarray
    progress: np.ndarray
    ends: np.ndarray
    evaluations: np.ndarray
    stretches: list[tuple[int, int, np.ndarray]]

    @classmethod
    def at(cls, first: MixtureParameters) -> Climbs:
        """Stand at a grid (start,) of starting values."""
        number, k, d = first.means.shape
        state, progress = np.empty((number, 2, k * (1 + d + d * d))), np.empty((number, 5))
        stand_at(*first.arrays, state, progress)
        return cls((k, d), state, progress, np.zeros(number, int), np.zeros(number, int), [])

    @property
    def parameters(self) -> MixtureParameters:
        """Where each start ended: grid (start,)."""
        return self.named(self.state[:, 1])

    def named(self, numbers: Float[np.ndarray, "*grid number"]) -> MixtureParameters:
        """Return the weights, means and covariances that stand one after another."""
        (k, d), grid = self.shape, numbers.shape[:-1]
        weights, means, covariances = numbers[..., :k], numbers[..., k : k + k * d], numbers[..., k + k * d :]
        # Copies are contiguous, as what is compiled expects.
        return MixtureParameters(
            weights.copy(), means.copy().reshape(*grid, k, d), covariances.copy().reshape(*grid, k, d, d)
        )

    @property
    def log_posterior(self) -> Float[np.ndarray, " start"]:
        """Of those; nats."""
        return self.progress[:, 0] + self.progress[:, 3]

    @property
    def remaining(self) -> Float[np.ndarray, " start"]:
        """The rise estimated to be still to come; nats."""
        return self.progress[:, 2]

    @property
    def rate(self) -> Float[np.ndarray, " start"]:
        """What an iteration leaves of a distance at most, near where each ended; NaN if no leap told it."""
        return self.progress[:, 4]

    @property
    def converged(self) -> np.ndarray:
        """Whether each met the tolerance."""
        return self.ends == CONVERGED

    @property
    def collapsed(self) -> np.ndarray:
        """Whether a component lost its width."""
        return self.ends == COLLAPSED

    @property
    def iterations(self) -> np.ndarray:
        """Updates made of each."""
        return np.maximum(self.evaluations - 1, 0)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What says where every start stands, by name."""
        return {name: getattr(self, name) for name in ("state", "progress", "ends", "evaluations")}

    def numbers(self, at: int) -> Float[np.ndarray, "evaluation number"]:
        """Return what is kept of each evaluation of a start, the log posterior up to a constant first."""
        stop, parts = int(self.evaluations[at]), []
        for begin, done, part in reversed(self.stretches):
            if begin <= at < begin + len(part):
                parts = [part[at - begin, : max(0, stop - done)], *parts]
                stop = min(stop, done)  # Of a stretch, what was made before any later one began.
        return np.concatenate(parts or [np.empty((0, 1 + self.state.shape[2]))])

    def trace(self, at: int) -> dict[str, np.ndarray]:
        """Return the log posterior at every iteration of a start and, if they are traced, the parameters, by name."""
        numbers = self.numbers(at)
        found = {"log_posterior": numbers[:, 0] + self.progress[at, 3]}
        if numbers.shape[1] > 1:
            found |= zip(("weights", "means", "covariances"), self.named(numbers[:, 1:]).arrays, strict=True)
        return found

    def joined(self, others: Climbs) -> Climbs:
        """Return these climbs and others of the same kind behind them."""
        arrays = {name: np.concatenate([array, others.arrays[name]]) for name, array in self.arrays.items()}
        behind = [(len(self.ends) + begin, done, part) for begin, done, part in others.stretches]
        return replace(self, **arrays, stretches=[*self.stretches, *behind])

    def taken_on(self, at: int, further: Climbs) -> None:
        """Let a start go on as the only one of other climbs did, that set out from where it had come."""
        # A climb that is all but over tells less of rates than one that is about to be.
        self.state[at], self.progress[at, :4] = further.state[0], further.progress[0, :4]
        # The first state of the second climb is the last of the first.
        self.stretches.append((at, int(self.evaluations[at]), further.numbers(0)[None, 1:]))
        self.evaluations[at] += further.evaluations[0] - 1


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
    return Problem.of(data, prior, rule, weights).climbed(first, saved)


@dataclass(slots=True, eq=False)
class Problem:
    """What is climbed, as the compiled steps read it: set up once, climbed from any starts.

    Attributes
    ----------
    data, prior, rule
        Rows as seen, and when a climb ends.
    weights : array (start, n), optional
        What stands for the row weights.
    hyperparameters : tuple
        Of the prior.
    mean_factors : array (k, d, d)
        Precision factors of the means' prior covariance, where it is semi-conjugate.
    is_flat : bool
        Whether the prior is.
    compiled : tuple, or None
        Of rows in memory: what `climb_each` takes first.
    """

    data: Rows
    prior: Any
    rule: Stopping
    weights: Any
    hyperparameters: tuple[Any, ...]
    mean_factors: np.ndarray
    is_flat: bool
    compiled: Any

    @classmethod
    def of(cls, data: Rows, prior: Any, rule: Stopping, weights: Any = None) -> Problem:
        """Write out the prior."""
        written = as_arrays(prior), mean_factors(prior), not prior.is_proper
        if not isinstance(data, Observations):
            return cls(data, prior, rule, weights, *written, None)
        seen = data.values, data.weights[None] if weights is None else weights, data.origin, 1 / data.unit
        shape = cov.factors_shape(prior.covariance_type, (1, *prior.loc.shape))
        return cls(data, prior, rule, weights, *written, (*seen, *written, shape, sums.CHUNK_ROWS))

    def climbed(self, first: MixtureParameters, saved: tuple[Checkpoint, str] | None = None) -> Climbs:
        """Climb from a grid (start,) of starting values until each has converged or collapsed: see `climb`."""
        climbs = Climbs.at(first)
        if self.compiled is not None and saved is None and (self.data.is_one_chunk or _are_few(self.data)):
            climb_compiled(climbs, self)
        else:
            climb_together(climbs, self, saved)
        if not self.is_flat:
            climbs.progress[:, 3] = self.prior.log_constant
        return climbs

    def numbers(self, climbs: Climbs) -> int:
        """Return how many numbers are kept of each evaluation."""
        return 1 if self.rule.trace == "objective" else 1 + climbs.state.shape[2]

    def leaping(self, climbs: Climbs) -> Leaping:
        """Return what leaps are made by."""
        number, _, size = climbs.state.shape
        if self.rule.settling is None:
            return Leaping(0, np.empty((number, 0, 0)), paces(number))
        differences = min(DIFFERENCES, max(2, MOST_REMEMBERED // (2 * size)))
        return Leaping(self.rule.settling, np.zeros((number, 2 + 2 * differences, size)), paces(number))


@dataclass(frozen=True, slots=True, eq=False)
class Leaping:
    """What leaps of climbs are made by: see `kernels.leaps`.

    Attributes
    ----------
    settling : int
        Evaluations after which they are made.
    memory : array (start, row, number)
        Points, steps and differences; no row where none is made.
    pace : array (start, number)
        How each climb gets on.
    """

    settling: int
    memory: np.ndarray
    pace: np.ndarray

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What changes on the way, by name."""
        return {"memory": self.memory, "pace": self.pace}

    def rates(self) -> Float[np.ndarray, " start"]:
        """Return what an iteration leaves of each climb's distances at most: the largest root of the derivative of EM.

        On the span of the last differences of points, of which those of steps are the image less themselves.
        """
        found, room = np.full(len(self.pace), np.nan), self.memory.shape[1] // 2 - 1
        for at in np.flatnonzero(self.pace[:, LEAPT] * self.pace[:, HELD]):
            points, steps = self.memory[at, 2:].reshape(2, room, -1)[:, : int(self.pace[at, HELD])]
            length = np.sqrt((points**2).sum(axis=1, keepdims=True))
            if length.min() > 0:
                left, size, right = np.linalg.svd(points / length, full_matrices=False)
                kept = size > DEPENDENT * size[0]
                image = ((points + steps) / length).T @ (left[:, kept] / size[kept])
                found[at] = np.real(np.linalg.eigvals(right[kept] @ image)).max()
        return found


def _are_few(data: Rows) -> bool:
    """Return whether one thread is all there is, and sums of all chunks can be held."""
    return len(data) <= sums.MOST_CHUNKS * sums.CHUNK_ROWS and numba.get_num_threads() == 1


def climb_compiled(climbs: Climbs, problem: Problem) -> None:
    """Climb from each start by itself over rows in memory, as many at a time as there are threads."""
    given, rule, number, kept = problem.compiled, problem.rule, len(climbs.ends), problem.numbers(climbs)
    work, most, done = given[0].size * number * climbs.shape[0], rule.max_iter + 1, 0
    is_short = work < SERIAL_WORK
    leaping = problem.leaping(climbs)
    # A call cannot be interrupted, so that those that take long are of one start each.
    at_once = min(number, max(1, MOST_KEPT // (STRETCH * kept))) if is_short else 1

    def stretch(begin: int) -> int:
        """Take starts that have made ``done`` evaluations on by a stretch of them; return how many go on."""
        under_way, traces = climb_each(
            *given, done + room == most, rule.tol, leaping.settling, begin, (min(at_once, number - begin), room, kept),
            climbs.state, leaping.memory, leaping.pace, climbs.progress, climbs.ends, climbs.evaluations,
        )  # fmt: skip
        climbs.stretches.append((begin, done, traces))
        return under_way

    parts = range(0, number, at_once)
    while parts and done < most:
        look = next((look for look in LOOKS if look > done), most) if rule.leaves else most
        room = min(STRETCH, look - done)
        go_on = map(stretch, parts) if is_short else mapped(stretch, parts, worth(work, most=len(parts)))
        parts = [*compress(parts, go_on)]
        done += room
        if done == look < most:
            leave_behind(climbs, problem)
    climbs.progress[:, 4] = leaping.rates()


def spurious(climbs: Climbs, data: Rows, prior: Any) -> np.ndarray:
    """Return which starts ended, under the flat prior, with a component on fewer than p + 2 rows.

    So few rows always lie near a hyperplane of their p dimensions, and the likelihood of a component there
    grows without bound as they get nearer (McLachlan & Peel 2000, section 3.10): not evidence of a group.
    """
    if prior.is_proper or prior.covariance_type == "tied":
        return np.zeros(len(climbs.collapsed), dtype=bool)
    rows = climbs.parameters.weights * data.total_weight
    return (rows < cov.block_size(prior.covariance_type, data.n_features) + 1.95).any(axis=1)


def leave_behind(climbs: Climbs, problem: Problem) -> None:
    """Let starts end that are on their way far below the highest sound one."""
    sound = ~climbs.collapsed & ~spurious(climbs, problem.data, problem.prior)
    if sound.any():
        behind = climbs.progress[sound, 0].max() - climbs.progress[:, 0] - RISES * climbs.remaining
        climbs.ends[(climbs.ends == GOES_ON) & (behind > FAR)] = LEFT


def climb_together(climbs: Climbs, problem: Problem, saved: tuple[Checkpoint, str] | None = None) -> None:
    """Climb from all starts at once: one pass over the rows serves all that are still under way."""
    rule, number, (k, d), kind = problem.rule, len(climbs.ends), climbs.shape, problem.prior.covariance_type
    active, first, weights = np.arange(number), 0, problem.weights
    kept, leaping = problem.numbers(climbs), problem.leaping(climbs)
    arrays = climbs.arrays | leaping.arrays
    room = min(max(1, MOST_KEPT // (number * kept)), STRETCH, rule.max_iter + 1)
    if saved is not None:
        first, active = standings.resumed(climbs, arrays, problem, saved, seen_again)
    for iteration in range(first, rule.max_iter + 1):
        constants, factors = np.empty((len(active), k)), np.zeros(cov.factors_shape(kind, (len(active), k, d)))
        set_out_each(
            active, problem.is_flat, climbs.state, leaping.memory, leaping.pace, constants, factors, climbs.ends
        )
        sound = climbs.ends[active] == GOES_ON
        active, constants, factors = active[sound], constants[sound], factors[sound]
        if not len(active):
            break
        white = estep.Whitened(constants, climbs.named(climbs.state[active, 1]).means, factors)
        expected = estep.sums_expected(white, problem.data, None if weights is None else weights[active])
        if (iteration - first) % room == 0:
            climbs.stretches.append((0, iteration, np.zeros((number, room, kept))))
        _, begun, traces = climbs.stretches[-1]
        is_last, stats = iteration == rule.max_iter, expected.stats
        arrive_each(
            active, problem.hyperparameters, problem.mean_factors, rule.tol, is_last, expected.log_likelihood,
            stats.counts, stats.first, stats.second, factors, leaping.settling, climbs.state, leaping.memory,
            leaping.pace, climbs.progress, climbs.ends, climbs.evaluations, traces, iteration - begun,
        )  # fmt: skip
        if rule.leaves and iteration + 1 in LOOKS:
            leave_behind(climbs, problem)
        active = active[(climbs.ends[active] == GOES_ON) & (not is_last)]
        if saved is not None:
            standings.save(climbs, arrays, active, iteration + 1, saved)
    climbs.progress[:, 4] = leaping.rates()


def seen_again(points: MixtureParameters, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return the log posterior up to a constant at each of some points, and where a step of EM leads from there."""
    probe = Climbs.at(points)
    climb_together(probe, replace(problem, rule=Stopping(1, 0.0)))
    heights = probe.stretches[0][2][:, 0, 0] if probe.stretches else np.full(len(probe.ends), np.nan)
    return heights, probe.state[:, 0]
