"""Covariance structures: which numbers of the k covariance matrices are free, and in which blocks.

full: k blocks of d x d; tied: one block of d x d; diag: k d blocks of 1 x 1; spherical: k blocks of
1 x 1. A prior and an update are written once, for blocks.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from bayesgmm.model.parameters import CovarianceType


def is_diagonal(kind: CovarianceType) -> bool:
    """Return whether every covariance matrix of this structure is diagonal."""
    return kind in ("diag", "spherical")


def factors_shape(kind: CovarianceType, means: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the covariances' factors, (..., k, d) or (..., k, d, d), given that of the means."""
    return means if is_diagonal(kind) else (*means, means[-1])


def block_size(kind: CovarianceType, d: int) -> int:
    """Return the number of rows of one block."""
    return 1 if is_diagonal(kind) else d


def normals_per_block(kind: CovarianceType, k: int, d: int) -> int:
    """Return how many of the components' means (or, spherical, their coordinates) share one block."""
    return {"full": 1, "tied": k, "diag": 1, "spherical": d}[kind]


def free_parameters(kind: CovarianceType, k: int, d: int) -> int:
    """Return the number of free covariance parameters."""
    return {"full": k * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": k * d, "spherical": k}[kind]


def blocks(matrices: Float[np.ndarray, "*grid k d d"], kind: CovarianceType) -> Float[np.ndarray, "*grid b p p"]:
    """Return the distinct blocks of covariances that have the structure."""
    if kind == "full":
        return matrices
    if kind == "tied":
        return matrices[..., :1, :, :]
    diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
    diagonal = diagonal if kind == "diag" else diagonal[..., :1]
    return diagonal.reshape(*diagonal.shape[:-2], -1, 1, 1)


def per_block(values: Float[np.ndarray, "*grid k"], kind: CovarianceType, d: int) -> Float[np.ndarray, "*grid b"]:
    """Return a value per block from one value per component."""
    if kind == "tied":
        return values[..., :1]
    return np.repeat(values, d, axis=-1) if kind == "diag" else values


def from_blocks(
    values: Float[np.ndarray, "*grid b p p"], kind: CovarianceType, k: int, d: int
) -> Float[np.ndarray, "*grid k d d"]:
    """Write blocks out as k matrices: the inverse of `blocks`."""
    grid = values.shape[:-3]
    if kind == "full":
        return values
    if kind == "tied":
        return np.repeat(values, k, axis=-3)
    return values.reshape(*grid, k, -1)[..., None] * np.eye(d)


def pooled(scatter: Float[np.ndarray, "*grid k d d"], kind: CovarianceType) -> Float[np.ndarray, "*grid k d d"]:
    """Return, for each component, the scatter that bears on its blocks."""
    if kind == "full":
        return scatter
    if kind == "tied":
        return np.broadcast_to(scatter.sum(axis=-3, keepdims=True), scatter.shape)
    diagonal = np.diagonal(scatter, axis1=-2, axis2=-1)
    if kind == "spherical":
        diagonal = np.broadcast_to(diagonal.sum(axis=-1, keepdims=True), diagonal.shape)
    return diagonal[..., None] * np.eye(scatter.shape[-1])


def pooled_counts(counts: Float[np.ndarray, "*grid k"], kind: CovarianceType, d: int) -> Float[np.ndarray, "*grid k"]:
    """Return, for each component, how many normal vectors of block size its scatter sums over."""
    if kind == "tied":
        return np.broadcast_to(counts.sum(axis=-1, keepdims=True), counts.shape)
    return counts * d if kind == "spherical" else counts
