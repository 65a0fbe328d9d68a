"""Densities and draws of the Dirichlet, normal and inverse-Wishart families, over grids."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, multigammaln, xlogy  # pyright: ignore[reportAttributeAccessIssue]

from bayesgmm.kernels.factors import precision_factors


def factorised(matrices: Float[np.ndarray, "*#grid p p"]) -> tuple[np.ndarray, np.ndarray]:
    """Return lower-triangular ``P`` with ``inv(matrix) = P P'``, and ``log|matrix|`` (inf if singular)."""
    p = matrices.shape[-1]
    flat = np.ascontiguousarray(matrices).reshape(-1, p, p)
    factors, log_det = precision_factors(flat)
    return factors.reshape(matrices.shape), log_det.reshape(matrices.shape[:-2])


def log_dirichlet_constant(concentration: Float[np.ndarray, " k"]) -> np.floating:
    """Log of the normalising constant of the Dirichlet distribution."""
    return gammaln(concentration.sum()) - gammaln(concentration).sum()


def log_dirichlet(
    weights: Float[np.ndarray, "*grid k"], concentration: Float[np.ndarray, " k"]
) -> np.ndarray | np.floating:
    """Log density of the Dirichlet distribution with respect to the first k - 1 weights.

    A weight of exactly 0 under a concentration below 1, where the density is infinite, adds nothing:
    EM has emptied that component for good, and compares what is left.
    """
    terms = xlogy(concentration - 1, weights)
    return log_dirichlet_constant(concentration) + np.where(np.isposinf(terms), 0, terms).sum(axis=-1)


def log_normal(
    deviation: Float[np.ndarray, "*#grid d"], factor: Float[np.ndarray, "*#grid d d"], log_det: np.ndarray
) -> np.ndarray | np.floating:
    """Log density at ``deviation`` from the mean, the covariance given as by `factorised`."""
    white = np.einsum("...ji,...j->...i", factor, deviation)
    return -0.5 * ((white**2).sum(axis=-1) + log_det + deviation.shape[-1] * np.log(2 * np.pi))


def log_wishart_constant(dof: Float[np.ndarray, " b"], scale: Float[np.ndarray, "b p p"]) -> Float[np.ndarray, " b"]:
    """Log of the normalising constants of inverse-Wishart distributions."""
    p = scale.shape[-1]
    return dof / 2 * (np.linalg.slogdet(scale)[1] - p * np.log(2)) - multigammaln(dof / 2, p)


def log_normal_constant(covariance: Float[np.ndarray, "k d d"]) -> Float[np.ndarray, " k"]:
    """Log of the normalising constants of normal distributions."""
    return -0.5 * (factorised(covariance)[1] + covariance.shape[-1] * np.log(2 * np.pi))


def sample_normal(
    loc: Float[np.ndarray, "*grid d"], covariance: Float[np.ndarray, "*grid d d"], rng: np.random.Generator
) -> np.ndarray:
    """Draw from normal distributions."""
    noise = rng.standard_normal(loc.shape)
    return loc + np.einsum("...ij,...j->...i", np.linalg.cholesky(covariance), noise)


def sample_lkj(lkj: float, blocks: int, p: int, rng: np.random.Generator) -> Float[np.ndarray, "blocks p p"]:
    """Draw correlation matrices by the vine of Lewandowski, Kurowicka & Joe (2009, doi:10.1016/j.jmva.2009.04.008).

    Partial correlations given the variables before are independent betas on (-1, 1).
    """
    partial, correlation = np.zeros((blocks, p, p)), np.broadcast_to(np.eye(p), (blocks, p, p)).copy()
    for i in range(p - 1):
        shape = lkj + (p - 2 - i) / 2
        for j in range(i + 1, p):
            r = partial[:, i, j] = 2 * rng.beta(shape, shape, size=blocks) - 1
            for given in range(i - 1, -1, -1):
                a, b = partial[:, given, i], partial[:, given, j]
                r = r * np.sqrt((1 - a**2) * (1 - b**2)) + a * b
            correlation[:, i, j] = correlation[:, j, i] = r
    return correlation
