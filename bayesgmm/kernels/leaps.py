"""Leaps of EM: where a climb is slow, it goes on from where its last steps point, and back from there if that is lower.

A step of EM leads from ``x`` to ``g(x)``. Near an optimum steps shrink by constant rates, so that from some of them it
is told where they end: Anderson's (1965, doi:10.1145/321296.321305) mixing, by least squares; or, where that would lead
backwards, SQUAREM's (Varadhan & Roland 2008, doi:10.1111/j.1467-9469.2007.00585.x). Both are linear in weights, means
and covariances: weights add up to 1, and diagonal or tied covariances stay what they are. What has no density is as
good as lower.

The memory of a climb has rows of all its numbers: the point evaluated last, that to which EM steps from there, then
differences of points and of steps between evaluations, as many of each. Its pace has the numbers below.
"""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly

#: What the entries of a pace are: how many differences are held, and where the next goes; how the point to be evaluated
#: came about; the longest leap that SQUAREM may make, and whether it is its turn; the squared length of the last step;
#: how often in turn the rise to come was small; evaluations kept, and whether there was a leap among them.
HELD, NEXT, BY, LONGEST, IS_PRUDENT, LENGTH, OFTEN, MADE, LEAPT = range(9)
PACES = 9
#: How a point came about.
STEP, MIXED, SQUARED = 0.0, 1.0, 2.0
#: SQUAREM's longest leap at first, in steps, and by how much that grows if reached, and shrinks if it was too far.
FIRST_LEAP, GROWTH, SHRINKAGE = 4.0, 4.0, 2.0
#: What is added to the diagonal of least squares, relative to it.
RIDGE = 1e-5
#: Lengths of steps shrink irregularly where leaps are made: the rise to come is taken to be so many times as large, it
#: must be small so often in turn, and squared lengths to shrink by this at least.
CAUTION, IN_TURN, SLOWEST = 10.0, 2.0, 0.999


def paces(number):
    """Return the paces of so many climbs that set out."""
    pace = np.zeros((number, PACES))
    pace[:, LONGEST], pace[:, LENGTH] = FIRST_LEAP, -1.0
    return pace


@compiled_exactly
def go_back(state, memory, pace):
    """Return from a leap to where it set out, and make a step of EM instead."""
    if pace[BY] == SQUARED:
        pace[LONGEST] = max(pace[LONGEST] / SHRINKAGE, 2.0)
    else:
        pace[IS_PRUDENT] = 1.0
    state[1], state[0] = memory[0], memory[1]
    pace[BY], pace[HELD], pace[NEXT] = STEP, 0.0, 0.0


@compiled_exactly
def remember(state, memory, pace):
    """Note the point evaluated last and the step from there; return by what its squared length has shrunk."""
    room, length = (memory.shape[0] - 2) // 2, 0.0
    at = 2 + int(pace[NEXT]) % room
    for i in range(state.shape[1]):
        x, step = state[1, i], state[0, i] - state[1, i]
        memory[at, i] = x - memory[0, i]
        memory[room + at, i] = step - (memory[1, i] - memory[0, i])
        memory[0, i], memory[1, i] = x, state[0, i]
        length += step * step
    rate, is_first = length / pace[LENGTH], pace[LENGTH] < 0.0
    pace[LENGTH], pace[MADE] = length, pace[MADE] + 1.0
    if not is_first:
        pace[NEXT], pace[HELD] = pace[NEXT] + 1.0, min(pace[HELD] + 1.0, float(room))
    return rate if rate >= 0.0 else 1.0


@compiled_exactly
def rise_after_leaps(gain, rate):
    """Return what is to come: as Aitken's estimate, by how lengths shrink instead of gains, and with caution."""
    rate = min(rate, SLOWEST)
    return CAUTION * abs(gain) * max(1.0, rate / (1.0 - rate))


@compiled_exactly
def mixed(state, memory, held, matrix, side):
    """Write into ``state[0]`` where the last steps point by least squares; return whether that is ahead."""
    room, numbers = (memory.shape[0] - 2) // 2, state.shape[1]
    for a in range(held):
        one = memory[2 + room + a]
        side[a] = 0.0
        for i in range(numbers):
            side[a] += one[i] * (memory[1, i] - memory[0, i])
        for b in range(a + 1):
            matrix[a, b] = 0.0
            for i in range(numbers):
                matrix[a, b] += one[i] * memory[2 + room + b, i]
    if not solved(matrix, side, held):
        return False
    ahead = 0.0
    for i in range(numbers):
        step = memory[1, i] - memory[0, i]
        leap = step
        for a in range(held):
            leap -= side[a] * (memory[2 + a, i] + memory[2 + room + a, i])
        state[0, i] = memory[0, i] + leap
        ahead += leap * step
    return ahead > 0.0


@compiled_exactly
def solved(matrix, side, held):
    """Solve ``matrix (held, held)``, of which the lower triangle is given and overwritten; return whether it can be.

    By Cholesky's factor of the matrix scaled to a diagonal of 1 and a ridge.
    """
    for a in range(held):
        if not (matrix[a, a] > 0.0 and matrix[a, a] < np.inf):
            return False
    for a in range(held):
        for b in range(a):
            matrix[a, b] /= np.sqrt(matrix[a, a]) * np.sqrt(matrix[b, b])
        side[a] /= np.sqrt(matrix[a, a])
    for a in range(held):
        matrix[a, held] = 1.0 / np.sqrt(matrix[a, a])
        matrix[a, a] = 1.0 + RIDGE
    for a in range(held):
        for b in range(a + 1):
            for c in range(b):
                matrix[a, b] -= matrix[a, c] * matrix[b, c]
            if a > b:
                matrix[a, b] /= matrix[b, b]
        if not matrix[a, a] > 0.0:
            return False
        matrix[a, a] = np.sqrt(matrix[a, a])
        for b in range(a):
            side[a] -= matrix[a, b] * side[b]
        side[a] /= matrix[a, a]
    for a in range(held - 1, -1, -1):
        for b in range(a + 1, held):
            side[a] -= matrix[b, a] * side[b]
        side[a] /= matrix[a, a]
    for a in range(held):
        side[a] *= matrix[a, held]
    return True


@compiled_exactly
def squared(state, memory, pace):
    """Write into ``state[0]`` where the last two steps point by their lengths; return whether that is further on."""
    room, first, change = (memory.shape[0] - 2) // 2, 0.0, 0.0
    at = 2 + int(pace[NEXT] - 1.0) % room
    for i in range(state.shape[1]):
        step = memory[1, i] - memory[0, i] - memory[room + at, i]
        first += step * step
        change += memory[room + at, i] * memory[room + at, i]
    far = min(np.sqrt(first / change), pace[LONGEST]) if change > 0.0 else 0.0
    if far <= 1.0:
        return False
    if far == pace[LONGEST]:
        pace[LONGEST] *= GROWTH
    else:
        pace[IS_PRUDENT] = 0.0
    for i in range(state.shape[1]):
        bend = memory[room + at, i]
        step = memory[1, i] - memory[0, i] - bend
        state[0, i] = memory[0, i] - memory[at, i] + 2.0 * far * step + far * far * bend
    return True


@compiled_exactly
def leap(state, memory, pace):
    """Move the point to be evaluated next from where EM steps, as remembered, to where the last steps point."""
    held, was_step = int(pace[HELD]), pace[BY] == STEP
    pace[BY] = STEP
    if held == 0:
        return
    if pace[IS_PRUDENT] == 0.0:
        if mixed(state, memory, held, np.empty((held, held + 1)), np.empty(held)):
            pace[BY] = MIXED
        else:
            pace[IS_PRUDENT] = 1.0
    if pace[BY] == STEP:
        state[0] = memory[1]
        if pace[IS_PRUDENT] == 1.0 and was_step and squared(state, memory, pace):
            pace[BY] = SQUARED
    pace[LEAPT] = max(pace[LEAPT], min(pace[BY], 1.0))
