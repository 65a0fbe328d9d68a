"""Where climbs of EM stand, as a checkpoint keeps it: gone on from only if a pass over the rows finds the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.engines.archive import Expected
from bayesgmm.engines.checkpoint import Checkpoint
from bayesgmm.kernels.climb import COLLAPSED, GOES_ON
from bayesgmm.kernels.leaps import BY, HELD, IS_PRUDENT, LEAPT, LENGTH, LONGEST, MADE, NEXT, OFTEN, SQUARED, STEP
from bayesgmm.model.given import FARTHEST, are_mixtures

if TYPE_CHECKING:
    from bayesgmm.engines.em.climbs import Climbs, Problem

#: How the climb of a start ended that was left behind, beside the ends that compiled loops know.
LEFT = 3
#: A log posterior falls by no more of its size: rounding.
ROUNDING = 1e-9


def save(
    climbs: Climbs, arrays: dict[str, np.ndarray], active: np.ndarray, iteration: int, saved: tuple[Checkpoint, str]
) -> None:
    """Keep where every start stands."""
    checkpoint, name = saved
    if len(active) and not checkpoint.is_due:
        return
    traces = np.concatenate([part for _, _, part in climbs.stretches], axis=1)[:, :iteration]
    # The checkpoint keeps what it is given, and writes it again with every other section.
    copies = {key: array.copy() for key, array in arrays.items()}
    checkpoint.put(name, {"iteration": iteration, "traces": traces, **copies})


def resumed(
    climbs: Climbs,
    arrays: dict[str, np.ndarray],
    problem: Problem,
    saved: tuple[Checkpoint, str],
    seen_again: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> tuple[int, np.ndarray]:
    """Put every start where it was saved; return the iteration that follows, and who is under way.

    Raises
    ------
    LoadError
        If what was saved is no climb of these rows under this prior.
    """
    checkpoint, name = saved
    kept = checkpoint.checked(name, _expected(climbs, arrays, problem))
    if kept is None:
        return 0, np.arange(len(climbs.ends))
    iteration = int(kept["iteration"])
    under_way = (kept["ends"] == GOES_ON) & (iteration <= problem.rule.max_iter)
    surprises = _surprises(climbs, kept, under_way, problem, seen_again)
    for wrong in chain(_contradictions(kept, under_way, problem), surprises):
        checkpoint.refuse(name, wrong)
    for key, array in arrays.items():
        array[:] = kept[key]
    climbs.stretches.append((0, 0, kept["traces"]))
    return iteration, np.flatnonzero(under_way)


def _expected(climbs: Climbs, arrays: dict[str, np.ndarray], problem: Problem) -> dict[str, Expected]:
    """Return what the arrays of these climbs are."""
    number, most = len(climbs.ends), problem.rule.max_iter + 1
    free = {name: Expected(("f8",), arrays[name].shape, None) for name in ("state", "progress", "memory", "pace")}
    return free | {
        "iteration": Expected(("i8",), (), 1, most),
        "traces": Expected(("f8",), (number, None, problem.numbers(climbs)), None),
        "ends": Expected(("i8",), (number,), GOES_ON, LEFT),
        "evaluations": Expected(("i8",), (number,), 0, most),
    }


def _contradictions(kept: dict[str, np.ndarray], under_way: np.ndarray, problem: Problem) -> Iterator[str]:
    """Yield in which ways parts of what was saved contradict each other."""
    iteration, ends, made = int(kept["iteration"]), kept["ends"], kept["evaluations"]
    sound, progress = ends != COLLAPSED, kept["progress"]
    if kept["traces"].shape[1] != iteration or (made > iteration).any():
        yield "its traces are not of its iterations"
    elif (made[ends == GOES_ON] < iteration).any() or (made[sound] < 1).any():
        yield "starts go on that are behind"
    elif not (np.isfinite(kept["state"][sound]).all() and np.isfinite(progress[sound, 0]).all()):
        yield "starts stand nowhere"
    elif (progress[:, 3] != 0).any() or not np.isnan(progress[:, 4]).all() or not (progress[sound, 2] >= 0).all():
        yield "its progress is none"
    elif not all(_is_trace_of(kept, int(at), problem) for at in np.flatnonzero(made)):
        yield "traces do not lead to where starts stand"
    elif not _are_paces(kept["pace"], kept["memory"].shape[1] // 2 - 1, iteration):
        yield "its paces are none"
    elif not _is_remembered(kept, sound, under_way):
        yield "leaps lead elsewhere than steps"


def _is_trace_of(kept: dict[str, np.ndarray], at: int, problem: Problem) -> bool:
    """Return whether a trace ends where its start stands and is one of EM, along which the log posterior rises."""
    made, progress = int(kept["evaluations"][at]), kept["progress"][at]
    trace = kept["traces"][at, :made]
    heights, last = trace[:, 0], np.array([progress[0], *kept["state"][at, 1]])
    if kept["ends"][at] == COLLAPSED:
        return True
    if not np.isfinite(trace).all() or not np.array_equal(trace[-1], last[: trace.shape[1]]):
        return False
    gains = np.diff(heights, prepend=-np.inf)
    # Where a concentration is below 1, a component is emptied for good, and the log posterior falls.
    may_fall = (problem.prior.concentration < 1).any()
    return progress[1] in gains and (may_fall or bool((gains >= -ROUNDING * np.abs(heights)).all()))


def _are_paces(pace: np.ndarray, room: int, iteration: int) -> bool:
    """Return whether every number of paces can have come about in so many iterations."""
    counts = pace[:, [HELD, NEXT, BY, IS_PRUDENT, OFTEN, MADE, LEAPT]]
    most = np.array([max(room, 0), iteration, SQUARED, 1.0, iteration, iteration, 1.0])
    whole = (counts >= 0) & (counts <= most) & (counts == np.round(counts))
    return bool(whole.all() and (pace[:, HELD] <= pace[:, NEXT]).all() and (pace[:, LONGEST] >= 2).all())


def _is_remembered(kept: dict[str, np.ndarray], sound: np.ndarray, under_way: np.ndarray) -> bool:
    """Return whether what leaps are made by is of where starts stand."""
    memory, pace, state = (kept[name] for name in ("memory", "pace", "state"))
    if memory.shape[1] == 0:
        return True
    steps = memory[under_way, 1] - memory[under_way, 0]
    length, stepped = pace[under_way, LENGTH], under_way & (pace[:, BY] == STEP)
    return bool(
        (np.abs(memory[sound]) < FARTHEST).all()
        and np.array_equal(memory[under_way, 0], state[under_way, 1])
        and np.array_equal(memory[stepped, 1], state[stepped, 0])
        and np.allclose((steps**2).sum(axis=1), length, rtol=1e-9, atol=0)
    )


def _surprises(
    climbs: Climbs, kept: dict[str, np.ndarray], under_way: np.ndarray, problem: Problem, seen_again: Any
) -> Iterator[str]:
    """Yield in which ways a pass over the rows finds other than what was saved of where starts stand."""
    seen = np.flatnonzero((kept["evaluations"] > 0) & (kept["ends"] != COLLAPSED))
    if not seen.size:
        return
    points = climbs.named(kept["state"][seen, 1])
    if not are_mixtures(points, problem.prior.covariance_type):
        yield "starts stand at no mixture"
    heights, steps = seen_again(points, problem)
    stepped = kept["memory"][:, 1] if kept["memory"].shape[1] else kept["state"][:, 0]
    if not np.array_equal(heights, kept["progress"][seen, 0]):
        yield "the log posterior is not that of where starts stand"
    elif not np.array_equal(steps[under_way[seen]], stepped[under_way]):
        yield "starts are not on their way to where EM leads"
