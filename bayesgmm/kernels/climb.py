"""EM's steps: what a pass found is noted, parameters move to the mode given it, and climbs are made of these.

Hyperparameters are those of `conditionals`, and factors of the prior covariance of means.
"""

import numpy as np

from bayesgmm.kernels.conditionals import log_prior, set_mode, write_factors
from bayesgmm.kernels.elementary import compiled_exactly, inlined_exactly, pasted
from bayesgmm.kernels.leaps import (
    BY,
    IN_TURN,
    LEAPT,
    MADE,
    OFTEN,
    STEP,
    go_back,
    leap,
    remember,
    rise_after_leaps,
)
from bayesgmm.kernels.passes import block_rows, expect_chunks, fold, room_for

#: A component narrower than this, in standard deviations of the data, has collapsed onto a point or plane;
NARROWEST = 1e-10
#: so has one whose width, given its other features, is no more than rounding of its own spread.
FLATTEST = 1e-7
#: How a stretch of iterations ended.
GOES_ON, CONVERGED, COLLAPSED = 0, 1, 2


@inlined_exactly
def is_lost(is_flat, log_constants, factors, weights, covariances):
    """Return whether a covariance is singular, or under the flat prior narrower than `NARROWEST` or `FLATTEST`."""
    for c in range(covariances.shape[0]):
        for j in range(covariances.shape[1]):
            precise = factors[c, j] if factors.ndim == 2 else factors[c, j, j]
            if not (precise > 0.0 and precise < np.inf):
                return True
            if is_flat and (precise > 1 / NARROWEST or precise * np.sqrt(covariances[c, j, j]) > 1 / FLATTEST):
                return True
        # A singular covariance has an infinite log determinant.
        if not np.isfinite(log_constants[c]) and weights[c] != 0.0:
            return True
    return False


@pasted
def rise_to_come(gain, before):
    """Return Aitken's estimate of what further iterations will add, at least the last gain itself.

    Böhning, D. et al. (1994), doi:10.1007/BF01720593: gains shrink by a constant rate near the optimum.
    """
    rate = gain / before if before != 0.0 else 0.0
    if rate > 0.0 and rate < 1.0:
        return max(gain * rate / (1.0 - rate), gain)
    return abs(gain)


@pasted
def take_stock(now, tol, progress):
    """Update ``progress`` (log posterior, last gain, rise to come) and return whether the climb is over."""
    gain = now - progress[0]
    progress[2] = rise_to_come(gain, progress[1])
    progress[0], progress[1] = now, gain
    return tol > 0.0 and progress[2] <= tol * abs(now)


@pasted
def parameters_in(numbers, k, d):
    """Return weights (k), means (k, d) and covariances (k, d, d), which stand one after another."""
    return numbers[:k], numbers[k : k + k * d].reshape((k, d)), numbers[k + k * d :].reshape((k, d, d))


@pasted
def set_out(is_flat, weights, covariances, state, memory, pace, constants, factors):
    """Write what the pass reads of the parameters in ``state[0]``, and note them in ``state[1]``, unless collapsed.

    A leap to where there is no density is taken back. Returns which: `GOES_ON` or `COLLAPSED`.
    """
    is_out = True
    for _ in range(2):
        write_factors(weights, covariances, constants, factors)
        is_out = is_lost(is_flat, constants, factors, weights, covariances)
        if not is_out or memory.shape[0] == 0 or pace[BY] == STEP:
            break
        go_back(state, memory, pace)
    if is_out:
        return COLLAPSED
    for i in range(state.shape[1]):
        state[1, i] = state[0, i]
    return GOES_ON


@pasted
def write_note(value, numbers, note):
    """Write the log posterior and, if there is room, the parameters one after another."""
    note[0] = value
    for i in range(1, note.shape[0]):
        note[i] = numbers[i - 1]


@pasted
def arrive(
    hyperparameters, mean_factors, tol, is_last, log_likelihood, counts, first, second, factors, about,
    weights, means, covariances, settling, state, memory, pace, progress, note,
):  # fmt: skip
    """Note what a pass about ``about`` found, and move the parameters to the mode given it.

    They stay where they are if this is the last pass or the climb is over. ``note`` receives the log posterior and,
    if it has room, the parameters one after another. Where there is a ``memory``, leaps are made after ``settling``
    evaluations, and taken back where the log posterior is lower: what is noted never falls. Returns `GOES_ON` or
    `CONVERGED`.
    """
    value = log_likelihood + log_prior(hyperparameters, mean_factors, weights, means, factors)
    has_memory = memory.shape[0] > 0
    if has_memory and pace[BY] != STEP and not value >= progress[0]:
        go_back(state, memory, pace)
        write_note(progress[0], state[1], note)
        return GOES_ON
    write_note(value, state[0], note)
    has_leapt = has_memory and pace[LEAPT] > 0.0
    gain = value - progress[0]
    if not has_leapt and take_stock(value, tol, progress):
        return CONVERGED
    progress[0], progress[1] = value, gain
    if is_last:
        return GOES_ON
    set_mode(hyperparameters, factors, about, counts, first, second, weights, means, covariances)
    if has_memory:
        rate = remember(state, memory, pace)
        if has_leapt:
            progress[2] = rise_after_leaps(gain, rate)
            pace[OFTEN] = pace[OFTEN] + 1.0 if progress[2] <= tol * abs(value) else 0.0
            if tol > 0.0 and pace[OFTEN] >= IN_TURN:
                return CONVERGED
        if pace[MADE] >= settling:
            leap(state, memory, pace)
    return GOES_ON


@inlined_exactly
def run_iterations(
    x, sample_weight, origin, inverse_unit, hyperparameters, mean_factors, is_flat, chunk_rows, last, tol,
    settling, state, memory, pace, progress, trace, constants, factors, log_likelihood, counts, first, second, room,
):  # fmt: skip
    """Climb from the parameters in ``state[0]`` for as many evaluations as ``trace`` has rows.

    ``state[1]`` receives those evaluated last, a row of ``trace`` what `arrive` notes. After the last evaluation of a
    ``last`` stretch no update follows. Returns how it ended and the number of evaluations. What comes after ``trace``
    is scratch.
    """
    k, d = first.shape[2], first.shape[3]
    weights, means, covariances = parameters_in(state[0], k, d)
    about = parameters_in(state[1], k, d)[1].reshape((1, k, d))
    one_block = log_likelihood.shape[0] == 1 and x.shape[0] <= block_rows(x.shape[1])
    for iteration in range(trace.shape[0]):
        how = set_out(is_flat, weights, covariances, state, memory, pace, constants[0], factors[0])
        if how != GOES_ON:
            return how, iteration
        log_likelihood[:], counts[:], first[:], second[:] = 0.0, 0.0, 0.0, 0.0
        expect_chunks(
            x, sample_weight, origin, inverse_unit, constants, about, factors, 0, x.shape[0], chunk_rows,
            log_likelihood, counts, first, second, room, iteration > 0 and one_block,
        )  # fmt: skip
        chunks = log_likelihood.shape[0]
        if chunks > 1:
            fold(log_likelihood)
            fold(counts.reshape((chunks, -1)))
            fold(first.reshape((chunks, -1)))
            fold(second.reshape((chunks, -1)))
        how = arrive(
            hyperparameters, mean_factors, tol, last and iteration == trace.shape[0] - 1,
            log_likelihood[0, 0], counts[0, 0], first[0, 0], second[0, 0], factors[0], about[0],
            weights, means, covariances, settling, state, memory, pace, progress, trace[iteration],
        )  # fmt: skip
        if how != GOES_ON:
            return how, iteration + 1
    return GOES_ON, trace.shape[0]


@compiled_exactly
def stand_at(weights, means, covariances, state, progress):
    """Write starts that stand at a grid of parameters (start,): see `climbs.Climbs`."""
    number, k, d = means.shape
    for at in range(number):
        progress[at, 0], progress[at, 1], progress[at, 2], progress[at, 3] = -np.inf, np.nan, np.inf, 0.0
        progress[at, 4] = np.nan
        for place in range(2):
            own_weights, own_means, own_covariances = parameters_in(state[at, place], k, d)
            own_weights[:], own_means[:], own_covariances[:] = weights[at], means[at], covariances[at]


@compiled_exactly
def climb_each(
    x, sample_weight, origin, inverse_unit, hyperparameters, mean_factors, is_flat, shape, chunk_rows, last, tol,
    settling, begin, traced, state, memory, pace, progress, ends, evaluations,
):  # fmt: skip
    """Climb from each start under way from ``begin`` on; return how many still are, and a trace of each.

    ``shape`` is that of factors, (1, k, d, d) or (1, k, d), and ``traced`` that of the traces: starts, evaluations, and
    numbers of each. ``state`` and ``progress`` are of all starts; ``ends`` and ``evaluations``, of all starts too,
    receive how the stretch ended and, added to what is there, its number of evaluations. See `run_iterations`.
    """
    k, d, n, under_way, longest = shape[1], shape[2], x.shape[0], 0, 0
    chunks = (n + chunk_rows - 1) // chunk_rows
    constants, factors, second = np.empty((1, k)), np.zeros(shape), np.empty((chunks, *shape))
    log_likelihood, counts, first = np.empty((chunks, 1)), np.empty((chunks, 1, k)), np.empty((chunks, 1, k, d))
    room, traces = room_for(d, k, n), np.empty(traced)
    for row in range(traces.shape[0]):
        at = begin + row
        if ends[at] == GOES_ON:
            own = min(at, sample_weight.shape[0] - 1)
            ends[at], made = run_iterations(
                x, sample_weight[own : own + 1], origin, inverse_unit, hyperparameters, mean_factors, is_flat,
                chunk_rows, last, tol, settling, state[at], memory[at], pace[at], progress[at], traces[row], constants,
                factors, log_likelihood, counts, first, second, room,
            )  # fmt: skip
            evaluations[at] += made
            longest = max(longest, made)
            under_way += ends[at] == GOES_ON
    return under_way, traces[:, :longest].copy()  # Most starts need little of the room.


@compiled_exactly
def set_out_each(which, is_flat, state, memory, pace, constants, factors, ends):
    """Write what the pass reads of each of the starts that ``which`` names, and in ``ends`` whether it goes on."""
    k, d = factors.shape[1], factors.shape[2]
    for row in range(which.shape[0]):
        at = which[row]
        weights, _, covariances = parameters_in(state[at, 0], k, d)
        ends[at] = set_out(is_flat, weights, covariances, state[at], memory[at], pace[at], constants[row], factors[row])


@compiled_exactly
def arrive_each(
    which, hyperparameters, mean_factors, tol, is_last, log_likelihood, counts, first, second, factors,
    settling, state, memory, pace, progress, ends, evaluations, traces, row,
):  # fmt: skip
    """Note what a pass found of each of the starts that ``which`` names, move it, and note if it goes on: `arrive`.

    Of a start's trace, ``row`` is written.
    """
    k, d = first.shape[1], first.shape[2]
    for i in range(which.shape[0]):
        at = which[i]
        weights, means, covariances = parameters_in(state[at, 0], k, d)
        evaluations[at] += 1
        ends[at] = arrive(
            hyperparameters, mean_factors, tol, is_last, log_likelihood[i], counts[i], first[i], second[i],
            factors[i], parameters_in(state[at, 1], k, d)[1], weights, means, covariances, settling, state[at],
            memory[at], pace[at], progress[at], traces[at, row],
        )  # fmt: skip
