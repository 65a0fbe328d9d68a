"""Passes over rows ``start ... stop`` for a grid of parameter values at once.

``log_constants (g, k)``, ``means (g, k, d)`` and ``factors (g, k, d, d)`` or ``(g, k, d)``
hold one parameter value per ``g``: the starts of EM, or the draws of a posterior. A block of
rows is transposed once and seen by all of them, and no pass keeps n x k values.
"""

import numpy as np

from bayesgmm.kernels.blocks import centre_block, respond, transpose_block
from bayesgmm.kernels.elementary import compiled
from bayesgmm.kernels.moments import add_moments, add_moments_diagonal

#: Values in one scratch of columns: with its twin, about a first-level cache of 48 KiB.
SCRATCH_VALUES = 2560


@compiled
def block_rows(d):
    """Rows per block: a multiple of 32 that depends on the number of features alone."""
    return min(max(SCRATCH_VALUES // d // 32 * 32, 64), 512)


@compiled
def add_component(columns, mean, r, scale, size, centred, scratch, first, second):
    """Turn ``r`` into weighted responsibilities, add its moments and return its sum."""
    count = 0.0
    for b in range(size):
        r[b] *= scale[b]
        count += r[b]
    centre_block(columns, mean, size, centred)
    if second.ndim == 1:
        add_moments_diagonal(centred, r, size, first, second)
    else:
        add_moments(centred, r, size, scratch[0], scratch[1], first, second)
    return count


@compiled
def expect_rows(
    x, sample_weight, origin, inverse_unit, log_constants, means, factors,
    start, stop, log_likelihood, counts, first, second, log_densities,
):  # fmt: skip
    """Add the rows' log-likelihood and expected statistics about ``means`` to the last arguments.

    ``sample_weight (1, n)`` is for all parameter values, ``(g, n)`` one for each.
    ``log_densities (rows)`` receives the log density of each row under the last parameter
    value, unless it is empty.
    """
    d = x.shape[1]
    rows = min(block_rows(d), stop - start)
    columns, centred, r = np.empty((d, rows)), np.empty((d, rows)), np.empty((means.shape[1], rows))
    scratch, log_density = np.empty((5, rows)), np.empty(rows)
    for first_row in range(start, stop, rows):
        size = min(rows, stop - first_row)
        transpose_block(x, origin, inverse_unit, first_row, size, columns)
        for g in range(means.shape[0]):
            v = sample_weight[min(g, sample_weight.shape[0] - 1), first_row : first_row + size]
            respond(columns, means[g], factors[g], log_constants[g], size, centred, scratch, r, log_density)
            scale, total = scratch[4], scratch[3]
            value = 0.0
            for b in range(size):
                scale[b] = v[b] / total[b]
                value += v[b] * log_density[b]
            log_likelihood[g] += value
            for c in range(means.shape[1]):
                counts[g, c] += add_component(
                    columns, means[g, c], r[c], scale, size, centred, scratch, first[g, c], second[g, c]
                )
        if log_densities.shape[0] > 0:
            log_densities[first_row : first_row + size] = log_density[:size]


@compiled
def respond_rows(x, origin, inverse_unit, log_constants, means, factors, start, stop, log_densities, responsibilities):
    """Write the log density (g, rows) and responsibilities (g, k, rows; or empty) of each row."""
    d, k = x.shape[1], means.shape[1]
    rows = min(block_rows(d), stop - start)
    columns, centred, r = np.empty((d, rows)), np.empty((d, rows)), np.empty((k, rows))
    scratch, log_density = np.empty((5, rows)), np.empty(rows)
    wanted = responsibilities.shape[0] > 0
    for first_row in range(start, stop, rows):
        size, at = min(rows, stop - first_row), first_row - start
        transpose_block(x, origin, inverse_unit, first_row, size, columns)
        for g in range(means.shape[0]):
            respond(columns, means[g], factors[g], log_constants[g], size, centred, scratch, r, log_density)
            for b in range(size):
                log_densities[g, at + b] = log_density[b]
            if wanted:
                for c in range(k):
                    for b in range(size):
                        responsibilities[g, c, at + b] = r[c, b] / scratch[3, b]
