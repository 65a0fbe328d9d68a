"""The scale of the covariances where it is unknown: given them it has a Wishart distribution.

Full and tied covariances have one scale (d, d), diagonal ones one for each feature, on the diagonal, and spherical ones
one number, in the first place; what stands elsewhere means nothing.
"""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly, inlined_exactly
from bayesgmm.kernels.factors import DIAG, SPHERICAL, TIED, cholesky, invert_lower

# The inner loops below run along rows, so that their numbers are independent and can be taken several at a time.


@inlined_exactly
def add_precision(factor, transposed, total):
    """Add ``factor factor'`` to the lower triangle of a matrix; ``transposed`` is scratch."""
    d = factor.shape[0]
    for i in range(d):
        for m in range(i + 1):
            transposed[m, i] = factor[i, m]
        for m in range(i + 1):
            for j in range(m, i + 1):
                total[i, j] += factor[i, m] * transposed[m, j]


@inlined_exactly
def write_inverse(lower, times, inverse):
    """Write a multiple of the inverse of ``lower lower'``, and into ``lower`` its own inverse."""
    d = lower.shape[0]
    invert_lower(lower, lower)
    for i in range(d):
        for j in range(i + 1):
            inverse[i, j] = 0.0
    for q in range(d):
        for i in range(q + 1):
            for j in range(i + 1):
                inverse[i, j] += lower[q, i] * lower[q, j]
    for i in range(d):
        for j in range(i + 1):
            inverse[i, j] = inverse[j, i] = times * inverse[i, j]


@inlined_exactly
def factor_rate(kind, scale_rate, factors, rate, lower):
    """Write the rate of the scale, the sum of ``scale_rate`` and of the precisions, with its Cholesky factor.

    Returns its log determinant. Rates of single numbers, on the diagonal, are not factored.
    """
    (k, d), log_det = factors.shape[:2], 0.0
    for i in range(d):
        for j in range(i + 1):
            rate[i, j] = scale_rate[i, j]
    for c in range(1 if kind == TIED else k):
        if kind in (DIAG, SPHERICAL):
            for j in range(1 if kind == SPHERICAL else d):
                precise = factors[c, j] if factors.ndim == 2 else factors[c, j, j]
                rate[j, j] += precise * precise
        elif factors.ndim == 3:
            add_precision(factors[c], lower, rate)  # Where the factor will stand is scratch until then.
    if kind not in (DIAG, SPHERICAL):
        cholesky(rate, lower)
    for j in range(1 if kind == SPHERICAL else d):
        log_det += np.log(rate[j, j]) if kind in (DIAG, SPHERICAL) else 2.0 * np.log(lower[j, j])
    return log_det


@inlined_exactly
def summed_dof(kind, scale_dof, dof):
    """Return the degrees of freedom of the scale given the covariances."""
    total = scale_dof
    for c in range(1 if kind == TIED else dof.shape[0]):
        total += dof[c]
    return total


@inlined_exactly
def add_scale(kind, scale, blocks):
    """Add the scale to blocks that stand as `conditionals.pool` leaves them."""
    d = scale.shape[0]
    for c in range(1 if kind == TIED else blocks.shape[0]):
        for i in range(d):
            for j in range(d):
                if kind == SPHERICAL:
                    if i == 0 and j == 0:
                        blocks[c, 0, 0] += scale[0, 0]
                elif kind != DIAG or i == j:
                    blocks[c, i, j] += scale[i, j]


@compiled_exactly
def log_integral(kind, scale_dof, scale_rate, dof, factors):
    """Return the log of what the covariances' density is with the scale integrated out, over that without one.

    Up to a constant: ``-total / 2 log|rate|``, with degrees of freedom and rate those of the scale given them.
    """
    d = factors.shape[1]
    log_det = factor_rate(kind, scale_rate, factors, np.empty((d, d)), np.empty((d, d)))
    return -0.5 * summed_dof(kind, scale_dof, dof) * log_det


@compiled_exactly
def add_expected_scale(kind, scale_dof, scale_rate, dof, factors, blocks):
    """Add the mean of the scale, given the precision factors of the covariances, to blocks: see `add_scale`.

    Returns `log_integral`.
    """
    d, total = factors.shape[1], summed_dof(kind, scale_dof, dof)
    scale, lower = np.empty((d, d)), np.empty((d, d))
    log_det = factor_rate(kind, scale_rate, factors, scale, lower)
    if kind in (DIAG, SPHERICAL):
        for j in range(1 if kind == SPHERICAL else d):
            scale[j, j] = total / scale[j, j]
    else:
        write_inverse(lower, total, scale)
    add_scale(kind, scale, blocks)
    return -0.5 * total * log_det


@compiled_exactly
def draw_scale(rng, kind, scale_dof, scale_rate, dof, factors, scale):
    """Draw the scale, given the precision factors of the covariances, by Bartlett's decomposition."""
    d, total = factors.shape[1], summed_dof(kind, scale_dof, dof)
    lower = np.empty((d, d))
    factor_rate(kind, scale_rate, factors, scale, lower)
    if kind in (DIAG, SPHERICAL):
        for j in range(1 if kind == SPHERICAL else d):
            scale[j, j] = rng.chisquare(total) / scale[j, j]
    else:
        a, root = rng.standard_normal((d, d)), np.zeros((d, d))
        invert_lower(lower, lower)
        for i in range(d):
            a[i, i] = np.sqrt(rng.chisquare(total - i))
        for q in range(d):
            for i in range(q + 1):
                for j in range(q + 1):
                    root[i, j] += lower[q, i] * a[q, j]
        for i in range(d):
            for j in range(i + 1):
                value = 0.0
                for q in range(d):
                    value += root[i, q] * root[j, q]
                scale[i, j] = scale[j, i] = value
