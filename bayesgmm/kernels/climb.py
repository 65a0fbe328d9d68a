"""EM's steps from one starting value: mode of the parameters given expected statistics, log prior, stopping rule.

The arithmetic of ``prior.updated(statistics).mode()`` and ``prior.log_density`` for one parameter value without
its grids. Hyperparameters are those of `conditionals`, and factors of the prior covariance of semi-conjugate means.
"""

import numpy as np

from bayesgmm.kernels.conditionals import (
    DIAG,
    FULL,
    SPHERICAL,
    TIED,
    covariance_blocks,
    mean_given_covariance,
    posterior_scatter,
    write_covariances,
    write_factors,
)
from bayesgmm.kernels.elementary import compiled_exactly
from bayesgmm.kernels.passes import expect_chunks

#: A component narrower than this, in standard deviations of the data, has collapsed onto a point or plane;
NARROWEST = 1e-10
#: so has one whose width, given its other features, is no more than rounding of its own spread.
FLATTEST = 1e-7
#: How a stretch of iterations ended.
GOES_ON, CONVERGED, COLLAPSED = 0, 1, 2


@compiled_exactly
def log_prior(hyperparameters, mean_factors, weights, means, factors):
    """Return the log density of the parameters, up to a constant; 0 under the flat prior."""
    kind, is_conjugate, concentration, loc, shrinkage, _, dof, scale = hyperparameters
    k, d = means.shape
    value = 0.0
    if is_conjugate and shrinkage[0] == 0.0:
        return value
    for c in range(k):
        if concentration[c] != 1.0 and (weights[c] > 0.0 or concentration[c] > 1.0):
            value += (concentration[c] - 1.0) * np.log(weights[c])
        log_det, trace, distance = 0.0, 0.0, 0.0
        for j in range(d):
            precise = factors[c, j] if factors.ndim == 2 else factors[c, j, j]
            log_det -= 2.0 * np.log(precise)
            if factors.ndim == 2:
                if kind == DIAG or j == 0:
                    trace += scale[c, j, j] * precise * precise
            else:
                for i in range(j, d):
                    row = 0.0
                    for m in range(j, d):
                        row += scale[c, i, m] * factors[c, m, j]
                    trace += factors[c, i, j] * row
            y = 0.0
            for i in range(j, d):
                if not is_conjugate:
                    y += mean_factors[c, i, j] * (means[c, i] - loc[c, i])
                elif factors.ndim == 3:
                    y += factors[c, i, j] * (means[c, i] - loc[c, i])
                elif i == j:
                    y += precise * (means[c, i] - loc[c, i])
            distance += y * y
        blocks_log_det, size = log_det, d
        if factors.ndim == 2:
            size = 1
            blocks_log_det = log_det / d if kind == SPHERICAL else log_det
        if kind != TIED or c == 0:
            value -= 0.5 * ((dof[c] + size + 1) * blocks_log_det + trace)
        value -= 0.5 * (shrinkage[c] * distance + log_det if is_conjugate else distance)
    return value


@compiled_exactly
def set_mode(hyperparameters, about, counts, first, second, weights, means, covariances):
    """Write the mode of weights, means and covariances given expected statistics."""
    kind, is_conjugate, concentration, loc, shrinkage, loc_covariance, dof, scale = hyperparameters
    k, d = about.shape
    pull = loc - about
    scatter, shift = posterior_scatter(is_conjugate, shrinkage, pull, about, counts, first, second)
    block_dof, block_scale = covariance_blocks(kind, dof, scale, counts, scatter)
    size = d if kind in (FULL, TIED) else 1
    normals = 0 if not is_conjugate else k if kind == TIED else d if kind == SPHERICAL else 1
    for m in range(block_dof.shape[0]):
        for i in range(size):
            for j in range(size):
                block_scale[m, i, j] /= block_dof[m] + size + 1 + normals
    write_covariances(kind, block_scale, covariances)
    total = 0.0
    for c in range(k):
        if not is_conjugate:
            mean_given_covariance(loc_covariance[c], counts[c], pull[c], first[c], covariances[c], shift[c])
        for j in range(d):
            means[c, j] = about[c, j] + shift[c, j]
        weights[c] = max(concentration[c] + counts[c] - 1.0, 0.0)
        total += weights[c]
    for c in range(k):
        weights[c] = weights[c] / total if total > 0.0 else 1.0 / k


@compiled_exactly
def is_lost(is_flat, log_constants, factors, weights, covariances):
    """Return whether a covariance is singular, or under the flat prior narrower than `NARROWEST` or `FLATTEST`."""
    for c in range(covariances.shape[0]):
        for j in range(covariances.shape[1]):
            precise = factors[c, j] if factors.ndim == 2 else factors[c, j, j]
            if not (precise > 0.0 and precise < np.inf):
                return True
            if is_flat and (precise > 1 / NARROWEST or precise * np.sqrt(covariances[c, j, j]) > 1 / FLATTEST):
                return True
        # A singular covariance has an infinite log determinant.
        if not np.isfinite(log_constants[c]) and weights[c] != 0.0:
            return True
    return False


@compiled_exactly
def rise_to_come(gain, before):
    """Return Aitken's estimate of what further iterations will add, at least the last gain itself.

    Böhning, D. et al. (1994), doi:10.1007/BF01720593: gains shrink by a constant rate near the optimum.
    """
    rate = gain / before if before != 0.0 else 0.0
    if rate > 0.0 and rate < 1.0:
        return max(gain * rate / (1.0 - rate), gain)
    return abs(gain)


@compiled_exactly
def take_stock(now, tol, progress):
    """Update ``progress`` (log posterior, last gain, rise to come) and return whether the climb is over."""
    gain = now - progress[0]
    progress[2] = rise_to_come(gain, progress[1])
    progress[0], progress[1] = now, gain
    return tol > 0.0 and progress[2] <= tol * abs(now)


@compiled_exactly
def fold(parts):
    """Add up the entries of an array, in place, as `estep.pairwise` does; the sum is the first."""
    number = parts.shape[0]
    while number > 1:
        for i in range(number // 2):
            parts[i] = parts[2 * i] + parts[2 * i + 1]
        if number % 2:
            parts[number // 2] = parts[number - 1]
        number = number // 2 + number % 2


@compiled_exactly
def run_iterations(
    x, sample_weight, origin, inverse_unit, hyperparameters, mean_factors, is_flat, chunk_rows, iterations, last, tol,
    current, sound, progress, log_posterior, kept, factors, second,
):  # fmt: skip
    """Climb from ``current`` (weights, means, covariances) for at most so many evaluations of the log posterior.

    ``sound`` receives the parameters evaluated last, ``log_posterior (iterations)`` and ``kept`` (weights, means,
    covariances of each iteration, or empty) what is traced. After the last evaluation of a ``last`` stretch no
    update follows. Returns how it ended and the number of evaluations. ``factors (1, k, d, d)`` or ``(1, k, d)`` and
    ``second (chunks, ...)`` alike are scratch.
    """
    weights, means, covariances = current
    (k, d), chunks, n = means.shape, second.shape[0], x.shape[0]
    constants, about = np.empty((1, k)), np.empty((1, k, d))
    log_likelihood, counts, first = np.empty((chunks, 1)), np.empty((chunks, 1, k)), np.empty((chunks, 1, k, d))
    for iteration in range(iterations):
        write_factors(weights, covariances, constants[0], factors[0])
        if is_lost(is_flat, constants[0], factors[0], weights, covariances):
            return COLLAPSED, iteration
        about[0] = means
        log_likelihood[:], counts[:], first[:], second[:] = 0.0, 0.0, 0.0, 0.0
        expect_chunks(
            x, sample_weight, origin, inverse_unit, constants, about, factors, 0, n, chunk_rows,
            log_likelihood, counts, first, second,
        )  # fmt: skip
        fold(log_likelihood)
        fold(counts)
        fold(first)
        fold(second)
        now = log_likelihood[0, 0] + log_prior(hyperparameters, mean_factors, weights, means, factors[0])
        log_posterior[iteration] = now
        sound[0][:], sound[1][:], sound[2][:] = weights, means, covariances
        if kept[0].shape[0] > 0:
            kept[0][iteration], kept[1][iteration], kept[2][iteration] = weights, means, covariances
        if take_stock(now, tol, progress):
            return CONVERGED, iteration + 1
        if iteration < iterations - 1 or not last:
            set_mode(hyperparameters, about[0], counts[0, 0], first[0, 0], second[0, 0], weights, means, covariances)
    return GOES_ON, iterations
