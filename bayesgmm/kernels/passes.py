"""Passes over rows ``start ... stop`` for a grid of parameter values at once.

``log_constants (g, k)``, ``means (g, k, d)`` and ``factors (g, k, d, d)`` or ``(g, k, d)``
hold one parameter value per ``g``: the starts of EM, or the draws of a posterior. A block of
rows is transposed once and seen by all of them, and no pass keeps n x k values.
"""

import numpy as np

from bayesgmm.kernels.blocks import workspace
from bayesgmm.kernels.elementary import compiled
from bayesgmm.kernels.steps import add_moments, are_zeros_and_ones, pad_weights, respond, transpose_block


@compiled
def block_rows(d):
    """Rows per block: a multiple of 32 that depends on the number of features alone.

    Fewer where they, or the panels that the moments are summed in, then fit into a first-level cache of 48 KiB.
    """
    return 384 if d <= 5 else 256


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
    d, k = x.shape[1], means.shape[1]
    rows = min(block_rows(d), stop - start)
    columns, centred, r, v, total, scale, log_density = workspace(d, k, rows)
    for first_row in range(start, stop, rows):
        size = min(rows, stop - first_row)
        transpose_block(x, origin, inverse_unit, first_row, size, columns)
        for g in range(means.shape[0]):
            whole = pad_weights(sample_weight[min(g, sample_weight.shape[0] - 1), first_row:], size, v)
            only_sum = log_densities.shape[0] == 0 and are_zeros_and_ones(v, whole)
            log_likelihood[g] += respond(
                columns, means, factors, log_constants, g, v, whole, r, total, scale, log_density, only_sum,
                centred,
            )  # fmt: skip
            add_moments(columns, means, r, scale, g, 0, k, whole, counts, first, second, centred)
        if log_densities.shape[0] > 0:
            log_densities[first_row : first_row + size] = log_density[:size]


@compiled
def expect_chunks(
    x, sample_weight, origin, inverse_unit, log_constants, means, factors,
    start, stop, chunk_rows, log_likelihood, counts, first, second,
):  # fmt: skip
    """Do the same for each chunk of the rows, whose sums are an entry each of the last arguments."""
    none = np.empty(0)
    for chunk in range(log_likelihood.shape[0]):
        begin = start + chunk * chunk_rows
        expect_rows(
            x, sample_weight, origin, inverse_unit, log_constants, means, factors, begin,
            min(begin + chunk_rows, stop), log_likelihood[chunk], counts[chunk], first[chunk], second[chunk], none,
        )  # fmt: skip


@compiled
def respond_rows(x, origin, inverse_unit, log_constants, means, factors, start, stop, log_densities, responsibilities):
    """Write the log density (g, rows) and responsibilities (g, k, rows; or empty) of each row."""
    d, k = x.shape[1], means.shape[1]
    rows = min(block_rows(d), stop - start)
    columns, centred, r, v, total, scale, log_density = workspace(d, k, rows)
    ones = np.ones(rows)
    wanted = responsibilities.shape[0] > 0
    for first_row in range(start, stop, rows):
        size, at = min(rows, stop - first_row), first_row - start
        whole = pad_weights(ones, size, v)
        transpose_block(x, origin, inverse_unit, first_row, size, columns)
        for g in range(means.shape[0]):
            respond(
                columns, means, factors, log_constants, g, v, whole, r, total, scale, log_density, False, centred
            )  # fmt: skip
            for b in range(size):
                log_densities[g, at + b] = log_density[b]
            if wanted:
                for c in range(k):
                    for b in range(size):
                        responsibilities[g, c, at + b] = r[c, b] * scale[b]
