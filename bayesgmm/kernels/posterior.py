"""The log posterior of a mixture over one unconstrained vector, with its gradient.

The vector is ``[k - 1 log-ratios of weights to the last | k d means | log-diagonals of A | strict lower
triangles of A]``, one ``A`` per covariance block of p x p, and ``P = root A`` is the block's precision
factor. Constants are left out. The gradient of the likelihood is Fisher's identity: that of the
expected complete-data log-likelihood, from the statistics of the same pass.
"""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly, inlined, pasted
from bayesgmm.kernels.factors import TIED, invert_lower
from bayesgmm.kernels.likelihood import expected, pull_back
from bayesgmm.kernels.scales import add_expected_scale


@pasted
def unpack_weights(theta, k, log_weights):
    """Write the log-softmax of the log-ratios, the last of which is 0."""
    largest = 0.0
    for c in range(k - 1):
        largest = max(largest, theta[c])
    total = np.exp(-largest)
    for c in range(k - 1):
        total += np.exp(theta[c] - largest)
    for c in range(k):
        value = theta[c] if c < k - 1 else 0.0
        log_weights[c] = value - largest - np.log(total)


@pasted
def unpack_blocks(diagonal, lower, root, a, factors):
    """Write ``A`` (b, p, p) and ``P = root A`` from log-diagonals and strict lower triangles."""
    blocks, p = diagonal.shape
    for b in range(blocks):
        at = 0
        for i in range(p):
            for j in range(i):
                a[b, i, j] = lower[b, at]
                at += 1
            a[b, i, i] = np.exp(diagonal[b, i])
        for i in range(p):
            for j in range(i + 1):
                value = 0.0
                for m in range(j, i + 1):
                    value += root[b, i, m] * a[b, m, j]
                factors[b, i, j] = value


@pasted
def bartlett(a, diagonal, dof, gradient_a):
    """Return the log density of ``A`` with chi-squared squares on its diagonal; write its gradient.

    With respect to the log-diagonal and the strict lower triangle; ``dof`` is (b, p).
    """
    value = 0.0
    for b in range(a.shape[0]):
        for i in range(a.shape[1]):
            square = a[b, i, i] * a[b, i, i]
            value += dof[b, i] * diagonal[b, i] - 0.5 * square
            gradient_a[b, i, i] += dof[b, i] - square
            for j in range(i):
                value -= 0.5 * a[b, i, j] * a[b, i, j]
                gradient_a[b, i, j] -= a[b, i, j]
    return value


@pasted
def separation(factors, diagonal, deviation, lkj, gradient_factors, gradient_a):
    """Return the log density of ``A`` if the deviations are half-normal and the correlations LKJ.

    The covariance is ``V'V`` with ``V = inv(P)``; the change of variables from it to ``P``
    is ``prod(P_jj ** (-p - 2 - j))`` with j from 0, and that to the log-diagonal ``prod(A_jj)``.
    """
    blocks, p = diagonal.shape
    inverse = np.zeros((p, p))
    slope, variance = np.empty(p), np.empty(p)
    value = 0.0
    for b in range(blocks):
        factor = factors[b]
        invert_lower(factor, inverse)
        for j in range(p):
            variance[j] = 0.0
            for i in range(j, p):
                variance[j] += inverse[i, j] * inverse[i, j]
            square = deviation[b, j] * deviation[b, j]
            power = 0.5 * p + lkj - 1.0
            value -= 0.5 * variance[j] / square + power * np.log(variance[j])
            slope[j] = -0.5 / square - power / variance[j]
            log_power = -p - 2.0 - j - 2.0 * (lkj - 1.0)
            value += log_power * np.log(factor[j, j]) + diagonal[b, j]
            gradient_factors[b, j, j] += log_power / factor[j, j]
            gradient_a[b, j, j] += 1.0
        # d value / d P = -2 V'V diag(slope) V'
        for i in range(p):
            for j in range(i + 1):
                total = 0.0
                for m in range(j + 1):
                    sigma = 0.0
                    for q in range(max(i, m), p):
                        sigma += inverse[q, i] * inverse[q, m]
                    total += sigma * slope[m] * inverse[j, m]
                gradient_factors[b, i, j] -= 2.0 * total
    return value


@pasted
def unknown_scale(kind, factor_of, diagonal, dof, scale_dof, scale_rate, floor, second, gradient_a):
    """Return the log density of ``A`` with the scale of the covariances integrated out, and add to its gradient.

    The slope in a component's precision is that of rows whose scatter is the mean of the scale given the precisions,
    and the floor: both add to the statistics.
    """
    (k, d), each, value = factor_of.shape[:2], dof.shape[0] // factor_of.shape[0], 0.0
    of_component = np.empty(k)
    for c in range(k):
        of_component[c] = dof[c * each, 0]
    value += add_expected_scale(kind, scale_dof, scale_rate, of_component, factor_of, second)
    for c in range(1 if kind == TIED else k):
        for i in range(d):
            second[c, i, i] += floor[i]
            for j in range(i + 1):
                value -= 0.5 * floor[i] * factor_of[c, i, j] * factor_of[c, i, j]
    for b in range(diagonal.shape[0]):
        for i in range(diagonal.shape[1]):
            value += dof[b, i] * diagonal[b, i]
            gradient_a[b, i, i] += dof[b, i]
    return value


@pasted
def normal_means(means, loc, shrinkage, loc_factor, factor_of, gradient_means, counts, first, second):
    """Return the log prior density of the means, and add it to what the gradient is made from.

    Where ``shrinkage`` is positive the prior is worth that many rows seen at ``loc``, and one
    normal vector: it adds to the statistics. Elsewhere its precision is ``loc_factor loc_factor'``.
    """
    k, d = means.shape
    value = 0.0
    for c in range(k):
        for j in range(d):
            y = 0.0
            for i in range(j, d):
                u = means[c, i] - loc[c, i]
                y += (factor_of[c, i, j] * np.sqrt(shrinkage[c]) if shrinkage[c] > 0.0 else loc_factor[c, i, j]) * u
            value -= 0.5 * y * y
            if shrinkage[c] > 0.0:
                value += np.log(factor_of[c, j, j])
            else:
                for i in range(j, d):
                    gradient_means[c, i] -= loc_factor[c, i, j] * y
        if shrinkage[c] > 0.0:
            counts[c] += 1.0
            for i in range(d):
                u = means[c, i] - loc[c, i]
                first[c, i] -= shrinkage[c] * u
                for j in range(i + 1):
                    second[c, i, j] += shrinkage[c] * u * (means[c, j] - loc[c, j])
    return value


@pasted
def expand_factors(block_factors, kind, factor_of):
    """Write each component's (k, d, d) precision factor from the distinct blocks; kind as in `KINDS`."""
    k, d = factor_of.shape[0], factor_of.shape[1]
    for c in range(k):
        for i in range(d):
            if kind == 2:
                factor_of[c, i, i] = block_factors[c * d + i, 0, 0]
            elif kind == 3:
                factor_of[c, i, i] = block_factors[c, 0, 0]
            else:
                for j in range(i + 1):
                    factor_of[c, i, j] = block_factors[c if kind == 0 else 0, i, j]


@pasted
def collect_factors(gradient_of, kind, gradient_blocks):
    """Add each component's gradient to that of its block: the transpose of `expand_factors`."""
    k, d = gradient_of.shape[0], gradient_of.shape[1]
    for c in range(k):
        for i in range(d):
            if kind == 2:
                gradient_blocks[c * d + i, 0, 0] += gradient_of[c, i, i]
            elif kind == 3:
                gradient_blocks[c, 0, 0] += gradient_of[c, i, i]
            else:
                for j in range(i + 1):
                    gradient_blocks[c if kind == 0 else 0, i, j] += gradient_of[c, i, j]


@compiled_exactly
def place(theta, kind, loc, root):
    """Return log weights, means, log-diagonal, ``A`` and factors of blocks and of components at a vector."""
    k, d = loc.shape
    blocks, p = root.shape[0], root.shape[1]
    at_means, at_diagonal = k - 1, k - 1 + k * d
    at_lower = at_diagonal + blocks * p
    means = theta[at_means:at_diagonal].copy().reshape((k, d))
    diagonal = theta[at_diagonal:at_lower].copy().reshape((blocks, p))
    lower = theta[at_lower:].copy().reshape((blocks, p * (p - 1) // 2))
    log_weights, a, block_factors = np.empty(k), np.zeros((blocks, p, p)), np.zeros((blocks, p, p))
    unpack_weights(theta, k, log_weights)
    unpack_blocks(diagonal, lower, root, a, block_factors)
    factor_of = np.zeros((k, d, d))
    expand_factors(block_factors, kind, factor_of)
    return log_weights, means, diagonal, a, block_factors, factor_of


@compiled_exactly
def with_prior(
    placed, value, counts, first, second, kind,
    concentration, loc, shrinkage, loc_factor, root, dof, deviation, lkj, scale_dof, scale_rate, floor,
):  # fmt: skip
    """Return log posterior and gradient from the log-likelihood and the expected statistics there."""
    log_weights, means, diagonal, a, block_factors, factor_of = placed
    k, d = loc.shape
    blocks, p = root.shape[0], root.shape[1]
    at_means, at_diagonal = k - 1, k - 1 + k * d
    at_lower = at_diagonal + blocks * p
    gradient_of = np.zeros((k, d, d))
    gradient = np.zeros(at_lower + blocks * (p * (p - 1) // 2))
    mass = counts + concentration
    total = mass.sum()
    for c in range(k):
        value += concentration[c] * log_weights[c]
        if c < k - 1:
            gradient[c] = mass[c] - np.exp(log_weights[c]) * total
    gradient_means = np.zeros((k, d))
    value += normal_means(means, loc, shrinkage, loc_factor, factor_of, gradient_means, counts, first, second)
    gradient_blocks, gradient_a = np.zeros((blocks, p, p)), np.zeros((blocks, p, p))
    if scale_dof > 0.0:
        value += unknown_scale(kind, factor_of, diagonal, dof, scale_dof, scale_rate, floor, second, gradient_a)
    for c in range(k):
        pull_back(factor_of[c], counts[c], first[c], second[c], gradient_means[c], gradient_of[c])
    collect_factors(gradient_of, kind, gradient_blocks)
    if deviation.shape[0] > 0:
        value += separation(block_factors, diagonal, deviation, lkj, gradient_blocks, gradient_a)
    elif scale_dof == 0.0:
        value += bartlett(a, diagonal, dof, gradient_a)
    gradient[at_means:at_diagonal] = gradient_means.ravel()
    chain_to_theta(gradient_blocks, root, a, gradient_a, gradient, at_diagonal, at_lower)
    return value, gradient


@compiled_exactly
def log_posterior(
    theta, x, sample_weight, origin, inverse_unit, kind,
    concentration, loc, shrinkage, loc_factor, root, dof, deviation, lkj, scale_dof, scale_rate, floor,
):  # fmt: skip
    """Return the log posterior density of the unconstrained vector, up to a constant, and its gradient.

    ``deviation`` is empty under an inverse-Wishart prior, else ``dof`` is not read; ``scale_dof`` is 0 where the scale
    is known.
    """
    placed = place(theta, kind, loc, root)
    value, counts, first, second = expected(
        x, sample_weight, origin, inverse_unit, placed[0], placed[1], placed[5], kind >= 2, np.empty(0)
    )
    return with_prior(
        placed, value, counts, first, second, kind,
        concentration, loc, shrinkage, loc_factor, root, dof, deviation, lkj, scale_dof, scale_rate, floor,
    )  # fmt: skip


@pasted
def chain_to_theta(gradient_blocks, root, a, gradient_a, gradient, at_diagonal, at_lower):
    """Write the gradient in log-diagonals and lower triangles: ``root' G`` plus that of ``A``'s own density."""
    blocks, p = root.shape[0], root.shape[1]
    for b in range(blocks):
        at = at_lower + b * (p * (p - 1) // 2)
        for i in range(p):
            for j in range(i + 1):
                total = 0.0
                for m in range(i, p):
                    total += root[b, m, i] * gradient_blocks[b, m, j]
                if j < i:
                    gradient[at] = total + gradient_a[b, i, j]
                    at += 1
                else:
                    gradient[at_diagonal + b * p + i] = total * a[b, i, i] + gradient_a[b, i, i]


@inlined
def add_product(matrix, vector, result):
    """Add ``matrix @ vector``."""
    for i in range(matrix.shape[0]):
        total = 0.0
        for j in range(matrix.shape[1]):
            total += matrix[i, j] * vector[j]
        result[i] += total


@inlined
def add_transposed_product(matrix, vector, result):
    """Add ``vector @ matrix``."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            result[j] += matrix[i, j] * vector[i]


@compiled_exactly
def whitened_log_posterior(eta, centre, spread, arguments):
    """Return value and gradient at ``centre + spread @ eta``, the gradient with respect to ``eta``."""
    theta, gradient = centre.copy(), np.zeros(eta.size)
    add_product(spread, eta, theta)
    value, slope = log_posterior(theta, *arguments)
    add_transposed_product(spread, slope, gradient)
    if not np.isfinite(value):
        return -np.inf, gradient
    return value, gradient
