"""A run of Gibbs sweeps of one chain over rows that fit into one chunk: nothing of Python between sweeps."""

import numpy as np

from bayesgmm.kernels.allocation import allocate_rows
from bayesgmm.kernels.conditionals import draw_parameters, write_factors
from bayesgmm.kernels.elementary import compiled_exactly
from bayesgmm.kernels.uniforms import child_key


@compiled_exactly
def permute(rng, weights, means, covariances):
    """Give the components a random order (Frühwirth-Schnatter 2001, doi:10.1198/016214501750333063)."""
    for last in range(weights.shape[0] - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        weights[last], weights[other] = weights[other], weights[last]
        for i in range(means.shape[1]):
            means[last, i], means[other, i] = means[other, i], means[last, i]
            for j in range(means.shape[1]):
                held = covariances[last, i, j]
                covariances[last, i, j] = covariances[other, i, j]
                covariances[other, i, j] = held


@compiled_exactly
def run_sweeps(
    x, sample_weight, origin, inverse_unit, rng, key, hyperparameters, permuted,
    first_sweep, sweeps, thin, label_every, state, kept, labels, factors, second,
):  # fmt: skip
    """Make sweeps from ``state`` (weights, means, covariances), which is changed in place.

    Every ``thin``-th state, none where 0, is written into ``kept`` (weights, means, covariances,
    log-likelihood, occupied components), and every ``label_every``-th of those has its labels kept. ``factors``
    and ``second`` are scratch of the shape that the covariance type needs: (1, k, d, d) or (1, k, d).
    """
    weights, means, covariances = state
    k, d = means.shape
    constants, log_likelihood, counts = np.empty((1, k)), np.empty(1), np.empty((1, k))
    about, first, keys = np.empty((1, k, d)), np.empty((1, k, d)), np.empty(1, np.uint64)
    count = 0
    for sweep in range(sweeps):
        about[0], keys[0] = means, child_key(key, first_sweep + sweep)
        log_likelihood[:], counts[:], first[:], second[:] = 0.0, 0.0, 0.0, 0.0
        keep = thin > 0 and (sweep + 1) % thin == 0
        label = keep and label_every > 0 and (count + 1) % label_every == 0
        at = (count + 1) // label_every - 1 if label else 0
        write_factors(weights, covariances, constants[0], factors[0])
        allocate_rows(
            x, sample_weight, origin, inverse_unit, constants, about, factors, keys, 0, 0, x.shape[0],
            log_likelihood, counts, first, second, labels[at : at + label],
        )  # fmt: skip
        if keep:
            keep_state(kept, count, weights, means, covariances, log_likelihood[0], counts[0])
            count += 1
        draw_parameters(
            rng, hyperparameters, factors[0], about[0], counts[0], first[0], second[0], weights, means, covariances
        )
        if permuted:
            permute(rng, weights, means, covariances)


@compiled_exactly
def keep_state(kept, at, weights, means, covariances, log_likelihood, counts):
    """Write one draw, with its log-likelihood and the number of components that had rows."""
    kept[0][at], kept[1][at], kept[2][at] = weights, means, covariances
    kept[3][at] = log_likelihood
    kept[4][at] = (counts > 0.0).sum()
