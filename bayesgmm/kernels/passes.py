"""Passes over rows ``start ... stop`` for a grid of parameter values at once, and the sum of what chunks give.

``log_constants (g, k)``, ``means (g, k, d)`` and ``factors (g, k, d, d)`` or ``(g, k, d)``
hold one parameter value per ``g``: the starts of EM, or the draws of a posterior. A block of
rows is transposed once and seen by all of them, and no pass keeps n x k values.
"""

import numpy as np

from bayesgmm.kernels.blocks import parted, workspace
from bayesgmm.kernels.elementary import compiled, compiled_exactly, inlined
from bayesgmm.kernels.steps import (
    add_moments,
    are_as_before,
    are_zeros_and_ones,
    padded,
    read_weights,
    respond,
    transpose_block,
)


@inlined
def block_rows(d):
    """Rows per block: a multiple of 32 that depends on the number of features alone.

    As many as fit, transposed and centred, into a first-level cache of 48 KiB, or of many features into the second.
    """
    return 384 if d <= 5 else 256 if d <= 12 else 96 if d <= 32 else 192


@compiled
def room_for(d, k, rows):
    """Return the scratch of a pass over so many rows at most."""
    return workspace(d, k, min(block_rows(d), rows))


@compiled
def read_rows(x, origin, inverse_unit, first_row, size, room):
    """Transpose a block of rows into a workspace: apart, so that passes over rows that are there do without."""
    transpose_block(x, origin, inverse_unit, first_row, size, room[: x.shape[1]])


@inlined
def expect_rows(
    x, sample_weight, origin, inverse_unit, log_constants, means, factors,
    start, stop, log_likelihood, counts, first, second, log_densities, room, is_read,
):  # fmt: skip
    """Add the rows' log-likelihood and expected statistics about ``means`` to the last arguments.

    ``sample_weight`` has a row for each parameter value or one for all, and in it one for each row or one for all.
    ``log_densities (rows)`` receives the log density of each row under the last parameter value, unless it is empty.
    ``room`` is scratch (`room_for`); where ``is_read``, it holds the rows, a single block, from the pass before.
    """
    d, k = x.shape[1], means.shape[1]
    rows = min(block_rows(d), stop - start)
    columns, centred, r, v, total, scale, log_density = parted(room, d, k)
    each, only_sum = sample_weight.shape[0] > 1, False
    for first_row in range(start, stop, rows):
        size = min(rows, stop - first_row)
        whole = padded(size)
        if not is_read:
            read_rows(x, origin, inverse_unit, first_row, size, room)
        for g in range(means.shape[0]):
            if each or (g == 0 and not are_as_before(sample_weight, start, first_row, size, rows)):
                if not is_read:
                    read_weights(sample_weight, g, first_row, size, v)
                only_sum = log_densities.shape[0] == 0 and are_zeros_and_ones(v, whole)
            log_likelihood[g] += respond(
                columns, means, factors, log_constants, g, v, whole, r, total, scale, log_density, only_sum,
                centred, x, first_row + rows,
            )  # fmt: skip
            add_moments(columns, means, r, scale, g, 0, k, whole, counts, first, second, centred)
        if log_densities.shape[0] > 0:
            for b in range(size):
                log_densities[first_row + b] = log_density[b]


@inlined
def expect_chunks(
    x, sample_weight, origin, inverse_unit, log_constants, means, factors,
    start, stop, chunk_rows, log_likelihood, counts, first, second, room, is_read,
):  # fmt: skip
    """Do the same for each chunk of the rows, whose sums are an entry each of the last arguments but two."""
    none = log_likelihood[0, :0]
    for chunk in range(log_likelihood.shape[0]):
        begin = start + chunk * chunk_rows
        expect_rows(
            x, sample_weight, origin, inverse_unit, log_constants, means, factors, begin,
            min(begin + chunk_rows, stop), log_likelihood[chunk], counts[chunk], first[chunk], second[chunk], none,
            room, is_read,
        )  # fmt: skip


@compiled_exactly
def fold(parts):
    """Add up the rows of a matrix in place: neighbours, then neighbours of those; the sum is the first row.

    The tree is that of `data.sums.summed`.
    """
    number = parts.shape[0]
    while number > 1:
        for i in range(number // 2):
            for j in range(parts.shape[1]):
                parts[i, j] = parts[2 * i, j] + parts[2 * i + 1, j]
        if number % 2:
            for j in range(parts.shape[1]):
                parts[number // 2, j] = parts[number - 1, j]
        number = number // 2 + number % 2


@compiled
def respond_rows(x, origin, inverse_unit, log_constants, means, factors, start, stop, log_densities, responsibilities):
    """Write the log density (g, rows) and responsibilities (g, k, rows; or empty) of each row."""
    d, k = x.shape[1], means.shape[1]
    rows = min(block_rows(d), stop - start)
    columns, centred, r, v, total, scale, log_density = parted(workspace(d, k, rows), d, k)
    one = np.ones((1, 1))
    wanted = responsibilities.shape[0] > 0
    for first_row in range(start, stop, rows):
        size, at = min(rows, stop - first_row), first_row - start
        whole = padded(size)
        read_weights(one, 0, 0, size, v)
        transpose_block(x, origin, inverse_unit, first_row, size, columns)
        for g in range(means.shape[0]):
            respond(
                columns, means, factors, log_constants, g, v, whole, r, total, scale, log_density, False, centred,
                x, first_row + rows,
            )  # fmt: skip
            for b in range(size):
                log_densities[g, at + b] = log_density[b]
            if wanted:
                for c in range(k):
                    for b in range(size):
                        responsibilities[g, c, at + b] = r[c, b] * scale[b]
