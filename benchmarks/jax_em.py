"""EM in JAX, as one would write it: one expression a step, compiled as a whole, in double precision."""

from __future__ import annotations

import os

import numpy as np

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)


@jax.jit
def iterate(x, weights, means, covariances):
    """Return the parameters after one iteration."""
    d = x.shape[1]
    lower = jnp.linalg.cholesky(covariances)

    def log_joint(weight, mean, root):
        y = jax.scipy.linalg.solve_triangular(root, (x - mean).T, lower=True)
        log_det = jnp.log(jnp.diagonal(root)).sum()
        return jnp.log(weight) - 0.5 * (y**2).sum(axis=0) - log_det - 0.5 * d * jnp.log(2 * jnp.pi)

    log_r = jax.vmap(log_joint)(weights, means, lower)
    r = jnp.exp(log_r - jax.scipy.special.logsumexp(log_r, axis=0))
    counts = r.sum(axis=1)
    centres = r @ x / counts[:, None]

    def scatter(row, centre, count):
        t = x - centre
        return (t * row[:, None]).T @ t / count

    return counts / len(x), centres, jax.vmap(scatter)(r, centres, counts)


def run(x: np.ndarray, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, iterations: int) -> list:
    """Iterate so many times."""
    rows, state = jnp.asarray(x), tuple(map(jnp.asarray, (weights, means, covariances)))
    for _ in range(iterations):
        state = iterate(rows, *state)
    return [np.asarray(array) for array in state]
