"""Triangular factors of many small matrices at once."""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly, inlined_exactly

#: Covariance types, as indices into `COVARIANCE_TYPES`.
FULL, TIED, DIAG, SPHERICAL = 0, 1, 2, 3


# The inner loops of both run along rows, so that their numbers are independent and can be taken several at a time.


@compiled_exactly
def cholesky(matrix, lower):
    """Write the lower Cholesky factor, zeros above it, of a matrix whose lower triangle is read.

    It may take the place of the matrix.
    """
    d = matrix.shape[0]
    for i in range(d):
        for j in range(i + 1):
            lower[i, j] = matrix[i, j]
    for j in range(d):
        lower[j, j] = np.sqrt(lower[j, j])
        # The column once more, as a row.
        for i in range(j + 1, d):
            lower[i, j] = lower[j, i] = lower[i, j] / lower[j, j]
        for i in range(j + 1, d):
            for m in range(j + 1, i + 1):
                lower[i, m] -= lower[i, j] * lower[j, m]
    for i in range(d):
        for j in range(i + 1, d):
            lower[i, j] = 0.0


@inlined_exactly
def invert_lower(matrix, inverse):
    """Write the inverse of a lower triangular matrix, which may take its place."""
    for i in range(matrix.shape[0]):
        pivot = matrix[i, i]
        for m in range(i):
            value = matrix[i, m]
            inverse[i, m] = -value * inverse[m, m]
            for j in range(m):
                inverse[i, j] -= value * inverse[m, j]
        for j in range(i):
            inverse[i, j] /= pivot
        inverse[i, i] = 1.0 / pivot


@compiled_exactly
def lower_inverses(matrices):
    """Return the inverses of lower triangular matrices (m, d, d)."""
    inverses = np.zeros(matrices.shape)
    for m in range(matrices.shape[0]):
        invert_lower(matrices[m], inverses[m])
    return inverses


@compiled_exactly
def lower_inverses_gradient(inverses, along):
    """Return the gradient in lower triangular matrices of ``sum(along * inverse)``: ``-V' G V'``, its lower part."""
    count, d, _ = inverses.shape
    gradient, half = np.zeros(inverses.shape), np.zeros((d, d))
    for m in range(count):
        v, g = inverses[m], along[m]
        for i in range(d):
            for j in range(d):
                total = 0.0
                for q in range(i, d):
                    total += v[q, i] * g[q, j]
                half[i, j] = total
        for i in range(d):
            for j in range(i + 1):
                total = 0.0
                for q in range(j + 1):
                    total += half[i, q] * v[j, q]
                gradient[m, i, j] = -total
    return gradient


@compiled_exactly
def write_precision_factors(matrices, factors, log_det):
    """Write lower-triangular ``P`` with ``inv(matrix) = P P'`` and ``log|matrix|`` of matrices (m, d, d).

    Cholesky from the last row up (``matrix = U U'``), then ``P = inv(U)'``: no inverse of the matrix itself is ever
    formed. A singular matrix has the log determinant inf, and its factor is 0.
    """
    d = matrices.shape[1]
    for m in range(matrices.shape[0]):
        log_det[m], lower = 0.0, factors[m]  # The transpose of U first, whose inverse is P.
        for j in range(d - 1, -1, -1):
            pivot = matrices[m, j, j]
            for q in range(j + 1, d):
                pivot -= lower[q, j] * lower[q, j]
            # Not `pivot <= 0`: NaN has to fail too.
            if not pivot > 0.0 or pivot == np.inf:
                log_det[m] = np.inf
                break
            lower[j, j] = np.sqrt(pivot)
            log_det[m] += np.log(pivot)
            for i in range(j):
                value = matrices[m, i, j]
                for q in range(j + 1, d):
                    value -= lower[q, i] * lower[q, j]
                lower[j, i] = value / lower[j, j]
        if log_det[m] == np.inf:
            lower[:] = 0.0
        else:
            invert_lower(lower, lower)


@compiled_exactly
def precision_factors(matrices):
    """Return factors (m, d, d) and log determinants (m), as `write_precision_factors` writes them."""
    factors, log_det = np.zeros(matrices.shape), np.empty(matrices.shape[0])
    write_precision_factors(matrices, factors, log_det)
    return factors, log_det
