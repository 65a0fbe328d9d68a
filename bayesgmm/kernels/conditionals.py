"""Log density of a prior, and mode and draws of weights, means and covariances given labels, of one mixture.

Hyperparameters are the tuple ``(kind, is_conjugate, concentration, loc, shrinkage, loc_covariance, dof, scale,
scale_dof, scale_rate)``, ``kind`` an index into the covariance types. Where ``scale_dof`` is positive the scale is
unknown (`scales`), and ``scale`` is what is added to it.
"""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly, inlined_exactly, pasted
from bayesgmm.kernels.factors import DIAG, FULL, SPHERICAL, TIED, cholesky, invert_lower, write_precision_factors
from bayesgmm.kernels.scales import add_expected_scale, add_scale, draw_scale, log_integral

HALF_LOG_2PI = 0.9189385332046727


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
def covariance_blocks(kind, block_dof, scatter):
    """Return degrees of freedom (b) and scale (b, p, p) of each block, given what `pool` writes."""
    k, d = scatter.shape[:2]
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
def draw_means_and_covariances(rng, hyperparameters, factors, about, counts, first, second, means, covariances):
    """Draw the scale if it is unknown, covariances, and means, given the labels summed up in the statistics.

    ``factors`` are precision factors of the covariances before. ``about`` and ``means`` are two arrays.
    """
    (
        kind, is_conjugate, _, loc, shrinkage, loc_covariance, dof, scale, scale_dof, scale_rate
    ) = hyperparameters  # fmt: skip
    k, d = about.shape
    scatter, shift, block_dof = covariances, means, np.empty(k)  # Until these are known.
    write_scatter(is_conjugate, shrinkage, loc, about, counts, first, second, scatter, shift)
    pool(kind, dof, scale, counts, scatter, block_dof)
    lower = np.zeros((d, d))
    if scale_dof > 0.0:
        draw_scale(rng, kind, scale_dof, scale_rate, dof, factors, lower)
        add_scale(kind, lower, scatter)
        lower[:] = 0.0
    write_covariances(kind, draw_inverse_wisharts(rng, *covariance_blocks(kind, block_dof, scatter)), covariances)
    noise = rng.standard_normal((k, d))
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


@compiled_exactly
def draw_parameters(rng, hyperparameters, factors, about, counts, first, second, weights, means, covariances):
    """Draw covariances, means and weights: see `draw_means_and_covariances`."""
    draw_means_and_covariances(rng, hyperparameters, factors, about, counts, first, second, means, covariances)
    total = 0.0
    for c in range(weights.shape[0]):
        weights[c] = rng.standard_gamma(hyperparameters[2][c] + counts[c])
        total += weights[c]
    weights /= total


@inlined_exactly
def log_prior(hyperparameters, mean_factors, weights, means, factors):
    """Return the log density of the parameters, up to a constant; 0 under the flat prior."""
    kind, is_conjugate, concentration, loc, shrinkage, _, dof, scale, scale_dof, scale_rate = hyperparameters
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
    if scale_dof > 0.0:
        value += log_integral(kind, scale_dof, scale_rate, dof, factors)
    return value


@compiled_exactly
def log_priors(hyperparameters, mean_factors, weights, means, factors):
    """Return `log_prior` of each of a grid (g,) of parameters."""
    values = np.empty(weights.shape[0])
    for g in range(weights.shape[0]):
        values[g] = log_prior(hyperparameters, mean_factors, weights[g], means[g], factors[g])
    return values


@pasted
def set_mode(hyperparameters, factors, about, counts, first, second, weights, means, covariances):
    """Write the mode of weights, means and covariances given expected statistics.

    An unknown scale takes its mean given the covariances before, whose precision factors are ``factors``.
    ``about`` and ``means`` are two arrays.
    """
    (
        kind, is_conjugate, concentration, loc, shrinkage, loc_covariance, dof, scale, scale_dof, scale_rate
    ) = hyperparameters  # fmt: skip
    k, d = about.shape
    scatter, shift, block_dof = covariances, means, weights  # Until these are known.
    write_scatter(is_conjugate, shrinkage, loc, about, counts, first, second, scatter, shift)
    pool(kind, dof, scale, counts, scatter, block_dof)
    if scale_dof > 0.0:
        add_expected_scale(kind, scale_dof, scale_rate, dof, factors, scatter)
    size = d if kind in (FULL, TIED) else 1
    normals = 0 if not is_conjugate else k if kind == TIED else d if kind == SPHERICAL else 1
    for c in range(1 if kind == TIED else k):
        for i in range(d):
            for j in range(d):
                covariances[c, i, j] /= block_dof[c] + size + 1 + normals
    spread_blocks(kind, covariances)
    total = 0.0
    for c in range(k):
        if not is_conjugate:
            shift_mean(loc_covariance[c], counts[c], loc[c], about[c], first[c], covariances[c], shift[c])
        for j in range(d):
            means[c, j] = about[c, j] + shift[c, j]
        weights[c] = max(concentration[c] + counts[c] - 1.0, 0.0)
        total += weights[c]
    for c in range(k):
        weights[c] = weights[c] / total if total > 0.0 else 1.0 / k


@compiled_exactly
def modes(hyperparameters, factors, about, counts, first, second, weights, means, covariances):
    """Write the mode (`set_mode`) given each of a grid (g,) of statistics."""
    for g in range(counts.shape[0]):
        set_mode(
            hyperparameters, factors[g], about[g], counts[g], first[g], second[g], weights[g], means[g], covariances[g]
        )


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
