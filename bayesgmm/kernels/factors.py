"""Triangular factors of many small matrices at once."""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly, inlined_exactly


@inlined_exactly
def invert_lower(matrix, inverse):
    """Write the inverse of a lower triangular matrix, which may take its place."""
    d = matrix.shape[0]
    for j in range(d):
        inverse[j, j] = 1.0 / matrix[j, j]
        for i in range(j + 1, d):
            value = 0.0
            for m in range(j, i):
                value -= matrix[i, m] * inverse[m, j]
            inverse[i, j] = value / matrix[i, i]


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
