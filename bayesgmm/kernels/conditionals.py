"""Draws of weights, means and covariances given labels, as `prior.updated(statistics).sample(rng)` makes them.

The arithmetic of ``priors`` for one parameter value without its grids: random numbers are taken in the same
order, so that both agree to rounding. Hyperparameters are the tuple ``(kind, is_conjugate, concentration,
loc, shrinkage, loc_covariance, dof, scale)``, `kind` an index into the covariance types.
"""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly, inlined_exactly
from bayesgmm.kernels.factors import invert_lower, write_precision_factors

FULL, TIED, DIAG, SPHERICAL = 0, 1, 2, 3
HALF_LOG_2PI = 0.9189385332046727


@compiled_exactly
def cholesky(matrix, lower):
    """Write the lower Cholesky factor."""
    for i in range(matrix.shape[0]):
        for j in range(i + 1):
            value = matrix[i, j]
            for m in range(j):
                value -= lower[i, m] * lower[j, m]
            lower[i, j] = np.sqrt(value) if i == j else value / lower[j, j]


@inlined_exactly
def write_scatter(is_conjugate, shrinkage, loc, about, counts, first, second, scatter, shift):
    """Write each component's scatter about its posterior location (conjugate) or about ``about``, and the shift."""
    k, d = about.shape
    for c in range(k):
        total = shrinkage[c] + counts[c] if is_conjugate else 0.0
        for i in range(d):
            # 0 only for an empty component under the flat prior, which stays where it is.
            moved = total > 0.0
            shift[c, i] = (first[c, i] + shrinkage[c] * (loc[c, i] - about[c, i])) / total if moved else 0.0
        for i in range(d):
            for j in range(i + 1):
                value = second[c, i, j] if second.ndim == 3 else second[c, i] if i == j else 0.0
                if is_conjugate:
                    pulled = shrinkage[c] * (loc[c, i] - about[c, i]) * (loc[c, j] - about[c, j])
                    value += pulled - total * shift[c, i] * shift[c, j]
                scatter[c, i, j] = scatter[c, j, i] = value


@inlined_exactly
def pool(kind, dof, scale, counts, scatter, block_dof):
    """Make ``scatter`` the scale of each covariance block given the labels, and write its degrees of freedom (k).

    Blocks stand where their first numbers do in the covariances: a tied one in the first, those of a diagonal on it,
    a spherical one in its first place; what stands elsewhere means nothing.
    """
    k, d = scatter.shape[:2]
    for c in range(k):
        block_dof[c] = dof[c] + (d * counts[c] if kind == SPHERICAL else counts[c])
        if kind == SPHERICAL:
            for j in range(1, d):
                scatter[c, 0, 0] += scatter[c, j, j]
        if kind == TIED and c > 0:
            block_dof[0] += counts[c]
        for i in range(d):
            for j in range(d):
                if kind == TIED and c > 0:
                    scatter[0, i, j] += scatter[c, i, j]
                else:
                    scatter[c, i, j] += scale[c, i, j]


@inlined_exactly
def spread_blocks(kind, covariances):
    """Write out covariances whose blocks stand as `pool` leaves them."""
    k, d, _ = covariances.shape
    for c in range(k):
        for i in range(d):
            for j in range(d):
                if kind == TIED:
                    covariances[c, i, j] = covariances[0, i, j]
                elif kind != FULL:
                    block = i if kind == DIAG else 0
                    covariances[c, i, j] = covariances[c, block, block] if i == j else 0.0


@compiled_exactly
def covariance_blocks(kind, dof, scale, counts, scatter):
    """Return degrees of freedom (b) and scale (b, p, p) of each block given the labels; ``scatter`` is changed."""
    (k, d), block_dof = scatter.shape[:2], np.empty(len(counts))
    pool(kind, dof, scale, counts, scatter, block_dof)
    if kind == FULL:
        return block_dof, scatter
    if kind == TIED:
        return block_dof[:1], scatter[:1]
    each = d if kind == DIAG else 1
    dofs, scales = np.empty(k * each), np.empty((k * each, 1, 1))
    for c in range(k):
        for j in range(each):
            dofs[c * each + j], scales[c * each + j, 0, 0] = block_dof[c], scatter[c, j, j]
    return dofs, scales


@compiled_exactly
def draw_inverse_wisharts(rng, dof, scale):
    """Draw by Bartlett's decomposition: ``C C'`` with ``C = chol(scale) inv(A)'``."""
    blocks, p, _ = scale.shape
    a = rng.standard_normal((blocks, p, p))
    for m in range(blocks):
        for j in range(p):
            a[m, j, j] = np.sqrt(rng.chisquare(dof[m] - j))
    lower, inverse, root = np.zeros((p, p)), np.zeros((p, p)), np.zeros((p, p))
    drawn = np.zeros(scale.shape)
    for m in range(blocks):
        cholesky(scale[m], lower)
        invert_lower(a[m], inverse)
        for i in range(p):
            for j in range(p):
                total = 0.0
                for q in range(min(i, j) + 1):
                    total += lower[i, q] * inverse[j, q]
                root[i, j] = total
        for i in range(p):
            for j in range(i + 1):
                total = 0.0
                for q in range(p):
                    total += root[i, q] * root[j, q]
                drawn[m, i, j] = drawn[m, j, i] = total
    return drawn


@compiled_exactly
def write_covariances(kind, blocks, covariances):
    """Write blocks out as k matrices."""
    k, d, _ = covariances.shape
    for c in range(k):
        for i in range(d):
            for j in range(d):
                if kind in (FULL, TIED):
                    covariances[c, i, j] = blocks[c if kind == FULL else 0, i, j]
                else:
                    covariances[c, i, j] = blocks[c * d + j if kind == DIAG else c, 0, 0] if i == j else 0.0


@compiled_exactly
def mean_given_covariance(loc_covariance, count, loc, about, first, covariance, shift):
    """Write the shift of a semi-conjugate mean from ``about``; return its covariance.

    ``H = V (C + n V)^-1`` gives the covariance ``H C``: no precision is ever formed.
    """
    d = covariance.shape[0]
    lower, gain = np.zeros((d, d)), np.zeros((d, d))
    cholesky(covariance + count * loc_covariance, lower)
    for j in range(d):
        # Row j of the gain solves (C + n V) h = V e_j.
        h = gain[j]
        for i in range(d):
            value = loc_covariance[i, j]
            for m in range(i):
                value -= lower[i, m] * h[m]
            h[i] = value / lower[i, i]
        for i in range(d - 1, -1, -1):
            value = h[i]
            for m in range(i + 1, d):
                value -= lower[m, i] * h[m]
            h[i] = value / lower[i, i]
    spread = np.empty((d, d))
    for i in range(d):
        shift[i] = loc[i] - about[i]
        for j in range(d):
            shift[i] += gain[i, j] * (first[j] - count * (loc[j] - about[j]))
            total = 0.0
            for m in range(d):
                total += gain[i, m] * covariance[m, j]
            spread[i, j] = total
    return (spread + spread.T) / 2


@compiled_exactly
def shift_mean(loc_covariance, count, loc, about, first, covariance, shift):
    """Write the shift of a semi-conjugate mean alone."""
    mean_given_covariance(loc_covariance, count, loc, about, first, covariance, shift)


@compiled_exactly
def draw_parameters(rng, hyperparameters, about, counts, first, second, weights, means, covariances):
    """Draw covariances, means and weights given the labels summed up in counts, first and second moments.

    ``about`` and ``means`` are two arrays.
    """
    kind, is_conjugate, concentration, loc, shrinkage, loc_covariance, dof, scale = hyperparameters
    k, d = about.shape
    scatter, shift = covariances, means  # Until these are known.
    write_scatter(is_conjugate, shrinkage, loc, about, counts, first, second, scatter, shift)
    block_dof, block_scale = covariance_blocks(kind, dof, scale, counts, scatter)
    write_covariances(kind, draw_inverse_wisharts(rng, block_dof, block_scale), covariances)
    noise, lower = rng.standard_normal((k, d)), np.zeros((d, d))
    for c in range(k):
        if is_conjugate:
            cholesky(covariances[c] / (shrinkage[c] + counts[c]), lower)
        else:
            spread = mean_given_covariance(
                loc_covariance[c], counts[c], loc[c], about[c], first[c], covariances[c], shift[c]
            )
            cholesky(spread, lower)
        for i in range(d):
            value = about[c, i] + shift[c, i]
            for j in range(i + 1):
                value += lower[i, j] * noise[c, j]
            means[c, i] = value
    total = 0.0
    for c in range(k):
        weights[c] = rng.standard_gamma(concentration[c] + counts[c])
        total += weights[c]
    weights /= total


@inlined_exactly
def write_factors(weights, covariances, log_constants, factors):
    """Write what the pass reads of the parameters: constants (k) and factors (k, d, d), or diagonals (k, d)."""
    k, d, _ = covariances.shape
    if factors.ndim == 3:
        write_precision_factors(covariances, factors, log_constants)
    for c in range(k):
        if factors.ndim == 2:
            log_constants[c] = 0.0
            for j in range(d):
                factors[c, j] = 1.0 / np.sqrt(covariances[c, j, j])
                log_constants[c] += np.log(covariances[c, j, j])
        log_constants[c] = np.log(weights[c]) - 0.5 * log_constants[c] - d * HALF_LOG_2PI
