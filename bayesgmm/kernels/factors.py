"""Triangular factors of many small matrices at once."""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly


@compiled_exactly
def invert_lower(matrix, inverse):
    """Write the inverse of a lower triangular matrix."""
    d = matrix.shape[0]
    for j in range(d):
        inverse[j, j] = 1.0 / matrix[j, j]
        for i in range(j + 1, d):
            value = 0.0
            for m in range(j, i):
                value -= matrix[i, m] * inverse[m, j]
            inverse[i, j] = value / matrix[i, i]


@compiled_exactly
def precision_factor(matrix, factor):
    """Write lower-triangular ``P`` with ``inv(matrix) = P P'``; return ``log|matrix|``, inf if singular.

    Cholesky from the last row up (``matrix = U U'``), then ``P = inv(U)'``: no inverse of the
    matrix itself is ever formed.
    """
    d = matrix.shape[0]
    # The transpose of U, whose inverse is P.
    lower = np.zeros((d, d))
    log_det = 0.0
    for j in range(d - 1, -1, -1):
        pivot = matrix[j, j]
        for m in range(j + 1, d):
            pivot -= lower[m, j] * lower[m, j]
        # Not `pivot <= 0`: NaN has to fail too.
        if not pivot > 0.0 or pivot == np.inf:
            return np.inf
        lower[j, j] = np.sqrt(pivot)
        log_det += np.log(pivot)
        for i in range(j):
            value = matrix[i, j]
            for m in range(j + 1, d):
                value -= lower[m, i] * lower[m, j]
            lower[j, i] = value / lower[j, j]
    invert_lower(lower, factor)
    return log_det


@compiled_exactly
def precision_factors(matrices):
    """Return factors (m, d, d), each as by `precision_factor`, and log determinants (m)."""
    factors = np.zeros(matrices.shape)
    log_det = np.empty(matrices.shape[0])
    for m in range(matrices.shape[0]):
        log_det[m] = precision_factor(matrices[m], factors[m])
    return factors, log_det
