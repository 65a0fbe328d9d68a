"""The likelihood at one parameter value, with its gradient by Fisher's identity from the same pass."""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly, pasted
from bayesgmm.kernels.passes import expect_rows, room_for

HALF_LOG_2PI = 0.9189385332046727


@pasted
def write_constants(log_weights, factor_of, constants):
    """Write ``log(weight) + log|P| - d log(2 pi) / 2`` of every component."""
    d = factor_of.shape[1]
    for c in range(log_weights.shape[0]):
        constants[c] = log_weights[c] - d * HALF_LOG_2PI
        for j in range(d):
            constants[c] += np.log(factor_of[c, j, j])


@compiled_exactly
def expected(x, sample_weight, origin, inverse_unit, log_weights, means, factor_of, is_diagonal, log_densities):
    """Return log-likelihood, counts, first and (lower triangular) second moments of one value."""
    k, d = means.shape
    constants = np.empty((1, k))
    write_constants(log_weights, factor_of, constants[0])
    value, counts = np.zeros(1), np.zeros((1, k))
    first, second = np.zeros((1, k, d)), np.zeros((1, k, d, d))
    about, n = means.reshape((1, k, d)), x.shape[0]
    per_value, room = sample_weight.reshape((1, sample_weight.size)), room_for(d, k, n)
    if is_diagonal:
        factors, squares = np.empty((1, k, d)), np.zeros((1, k, d))
        for c in range(k):
            for j in range(d):
                factors[0, c, j] = factor_of[c, j, j]
        expect_rows(
            x, per_value, origin, inverse_unit, constants, about, factors, 0, n,
            value, counts, first, squares, log_densities, room, False,
        )  # fmt: skip
        for c in range(k):
            for j in range(d):
                second[0, c, j, j] = squares[0, c, j]
    else:
        expect_rows(
            x, per_value, origin, inverse_unit, constants, about, factor_of.reshape((1, k, d, d)), 0, n,
            value, counts, first, second, log_densities, room, False,
        )  # fmt: skip
    return value[0], counts[0], first[0], second[0]


@pasted
def pull_back(factor, counts, first, second, gradient_means, gradient_factor):
    """Add one component's gradient in its mean and in the lower triangle of its precision factor.

    Of ``counts log|P| - trace(P' second P) / 2``, whose slope in the mean is ``P P' first``.
    """
    d = factor.shape[0]
    for j in range(d):
        y = 0.0
        for i in range(j, d):
            y += factor[i, j] * first[i]
        for i in range(j, d):
            gradient_means[i] += factor[i, j] * y
            total = 0.0
            for m in range(j, d):
                total += (second[i, m] if m <= i else second[m, i]) * factor[m, j]
            gradient_factor[i, j] -= total
        gradient_factor[j, j] += counts / factor[j, j]


@compiled_exactly
def likelihood(weights, means, factors, x, sample_weight, is_diagonal):
    """Return each row's weighted log density, and the gradient of their sum.

    With respect to weights (k), means (k, d) and lower-triangular precision factors (k, d, d),
    each taken as free.
    """
    k, d = means.shape
    rows = np.empty(x.shape[0])
    _, counts, first, second = expected(
        x, sample_weight, np.zeros(d), np.ones(d), np.log(weights), means, factors, is_diagonal, rows
    )
    for i in range(x.shape[0]):
        rows[i] *= sample_weight[i]
    gradient_means, gradient_factors = np.zeros((k, d)), np.zeros((k, d, d))
    for c in range(k):
        pull_back(factors[c], counts[c], first[c], second[c], gradient_means[c], gradient_factors[c])
    return rows, counts / weights, gradient_means, gradient_factors
