"""Linear maps that make a posterior about standard normal: a whole matrix, or blocks and a few axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

#: Least curvature that is believed, in standardised unconstrained units: a direction that the data say nothing about.
FLATTEST = 0.05
#: Axes along which blocks are corrected, and how far from 1 the curvature along one has to be.
MOST_AXES, NEAR_ONE = 60, 0.2
#: Step of the differences that give curvature along an axis, in standard deviations.
STEP = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class WholeSpread:
    """A root of the inverse information, as a matrix.

    Attributes
    ----------
    matrix : array (size, size)
        Its columns are in the original coordinates.
    """

    matrix: Float[np.ndarray, "size size"]

    @classmethod
    def of(cls, information: Float[np.ndarray, "size size"]) -> WholeSpread:
        """Take directions flatter than `FLATTEST` to be as steep as that."""
        curvature, axes = np.linalg.eigh(information)
        return cls(axes / np.sqrt(np.maximum(curvature, FLATTEST)))

    @property
    def log_volume(self) -> float:
        """Log of the absolute determinant."""
        return float(np.linalg.slogdet(self.matrix)[1])

    def spread(self, eta: Float[np.ndarray, "*grid size"]) -> Float[np.ndarray, "*grid size"]:
        """Return the map of vectors."""
        return eta @ self.matrix.T

    def solve(self, moved: Float[np.ndarray, "*grid size"]) -> Float[np.ndarray, "*grid size"]:
        """Return the inverse of the map."""
        return np.linalg.solve(self.matrix, moved.reshape(-1, moved.shape[-1]).T).T.reshape(moved.shape)

    def pull(self, slope: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
        """Return a gradient in the coordinates before the map."""
        return slope @ self.matrix


@dataclass(frozen=True, slots=True, eq=False)
class LowRankSpread:
    """A block-diagonal root, after a stretch along a few orthogonal axes.

    The map is ``blocks @ (I + axes @ diag(stretch - 1) @ axes')``. Of complete data the information of a mixture has
    small blocks, known in closed form; what the labels hide is of low rank, for it concerns the rows between groups.

    Attributes
    ----------
    blocks, inverse : sparse array (size, size)
        Roots of inverse informations of complete data, and their inverse.
    axes : array (size, m)
        Orthonormal columns.
    stretch : array (m,)
        Along each of them.
    """

    blocks: Any
    inverse: Any
    axes: Float[np.ndarray, "size m"]
    stretch: Float[np.ndarray, " m"]

    @classmethod
    def of(
        cls,
        informations: list[tuple[Int[np.ndarray, " p"], Float[np.ndarray, "p p"]]],
        slope: Callable[[np.ndarray], np.ndarray],
    ) -> LowRankSpread:
        """Find the axes along which blocks are wrong, by Lanczos' method.

        Parameters
        ----------
        informations : list of (indices, matrix)
            Information of complete data: its blocks, which cover all coordinates once.
        slope : callable
            The gradient of the log posterior at an offset from the mode.
        """
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        size = sum(len(at) for at, _ in informations)
        roots = [(at, np.linalg.cholesky(matrix + FLATTEST * np.eye(len(at)))) for at, matrix in informations]
        none = np.empty((size, 0)), np.empty(0)
        plain = cls(
            _assembled([(at, np.linalg.inv(root).T) for at, root in roots], size),
            _assembled([(at, root.T) for at, root in roots], size),
            *none,
        )

        def excess(eta: np.ndarray) -> np.ndarray:
            """Return what curvature exceeds 1 by, times a vector."""
            length = np.linalg.norm(eta)
            step = plain.spread(eta.ravel() * (STEP / length))
            return plain.pull(slope(-step) - slope(step)) * (length / (2 * STEP)) - eta.ravel()

        operator: Any = LinearOperator((size, size), matvec=excess, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        tolerance: Any = 0.02
        first = np.random.default_rng(0).standard_normal(size)
        number = min(MOST_AXES, size // 3)
        try:
            values, axes = eigsh(operator, k=number, which="LM", tol=tolerance, v0=first, maxiter=4)
        except ArpackNoConvergence as error:  # What has converged is what is furthest from 1.
            values, axes = error.eigenvalues, error.eigenvectors
        far = np.abs(values) > NEAR_ONE
        values, axes = values[far], np.ascontiguousarray(axes[:, far])
        lengths = np.linalg.norm(plain.spread(axes.T), axis=-1)
        return cls(plain.blocks, plain.inverse, axes, 1 / np.sqrt(np.maximum(1 + values, FLATTEST * lengths**2)))

    @property
    def matrix(self) -> Float[np.ndarray, "size size"]:
        """The map as a matrix."""
        return self.spread(np.eye(len(self.axes))).T

    @property
    def log_volume(self) -> float:
        """Log of the absolute determinant."""
        return float(np.log(self.blocks.diagonal()).sum() + np.log(self.stretch).sum())

    def spread(self, eta: Float[np.ndarray, "*grid size"]) -> Float[np.ndarray, "*grid size"]:
        """Return the map of vectors."""
        return _times(self.blocks, self._stretched(eta, self.stretch))

    def solve(self, moved: Float[np.ndarray, "*grid size"]) -> Float[np.ndarray, "*grid size"]:
        """Return the inverse of the map."""
        return self._stretched(_times(self.inverse, moved), 1 / self.stretch)

    def pull(self, slope: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
        """Return a gradient in the coordinates before the map."""
        return self._stretched(self.blocks.T @ slope, self.stretch)

    def _stretched(self, eta: Float[np.ndarray, "*grid size"], stretch: np.ndarray) -> Float[np.ndarray, "*grid size"]:
        return eta + ((eta @ self.axes) * (stretch - 1)) @ self.axes.T


def _assembled(blocks: list[tuple[np.ndarray, np.ndarray]], size: int) -> Any:
    """Return blocks at their indices as one sparse array."""
    from scipy.sparse import csr_array

    at = [np.broadcast_arrays(where[:, None], where) for where, _ in blocks]
    rows, columns = (np.concatenate([pair[axis].ravel() for pair in at]) for axis in (0, 1))
    found = csr_array((np.concatenate([m.ravel() for _, m in blocks]), (rows, columns)), shape=(size, size))
    found.eliminate_zeros()
    return found


def _times(matrix: Any, vectors: Float[np.ndarray, "*grid size"]) -> Float[np.ndarray, "*grid size"]:
    """Return a sparse matrix times each vector of a grid."""
    return (matrix @ vectors.reshape(-1, vectors.shape[-1]).T).T.reshape(vectors.shape)
