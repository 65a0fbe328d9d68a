"""The operations of the PyMC model in JAX, which differentiates them itself, as often as is asked."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp


def mixture_log_density(weights: Any, means: Any, factors: Any, x: Any, sample_weight: Any) -> tuple[Any, ...]:
    """Return weighted log densities of rows, and the gradient of their sum in weights, means and factors."""

    def of_rows(weights: Any, means: Any, factors: Any) -> Any:
        white = jnp.einsum("nkd,kde->nke", x[:, None] - means, factors)
        diagonals = jnp.diagonal(factors, axis1=-2, axis2=-1)
        constants = jnp.log(weights) + jnp.log(diagonals).sum(axis=-1) - x.shape[1] / 2 * jnp.log(2 * jnp.pi)
        return sample_weight * logsumexp(constants - (white**2).sum(axis=-1) / 2, axis=1)

    slopes = jax.grad(lambda *parameters: of_rows(*parameters).sum(), argnums=(0, 1, 2))(weights, means, factors)
    return of_rows(weights, means, factors), *slopes


def lower_inverse(matrices: Any) -> Any:
    """Return the inverses of lower triangular matrices (m, d, d)."""
    identity = jnp.broadcast_to(jnp.eye(matrices.shape[-1]), matrices.shape)
    return solve_triangular(matrices, identity, lower=True)


def lower_inverse_gradient(inverses: Any, along: Any) -> Any:
    """Return the gradient of `lower_inverse` in the lower triangles, given the inverses and the direction."""
    transposed = jnp.swapaxes(inverses, -1, -2)
    return -jnp.tril(transposed @ along @ transposed)
