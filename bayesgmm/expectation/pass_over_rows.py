"""The pass: log-likelihood, expected statistics, densities and responsibilities, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from bayesgmm.data import Observations, Rows, sums
from bayesgmm.data.statistics import Expectation, SufficientStatistics
from bayesgmm.data.sums import folded
from bayesgmm.kernels.allocation import allocate_chunks
from bayesgmm.kernels.conditionals import write_factors
from bayesgmm.kernels.passes import expect_chunks, respond_rows, room_for
from bayesgmm.kernels.threads import worth
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import CovarianceType, MixtureParameters
from bayesgmm.model.priors.densities import factorised

#: Sums of chunks that are held at a time, where blocks do not limit them: 8 MB.
MOST_SUMS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Whitened:
    """Parameters in the form that the pass reads, on a flat grid.

    Attributes
    ----------
    log_constants : array (g, k)
        ``log(weight) - log|covariance| / 2 - d log(2 pi) / 2``.
    means : array (g, k, d)
        As the parameters have them.
    factors : array (g, k, d, d) or (g, k, d)
        Lower-triangular ``P`` with ``inv(covariance) = P P'``, or its diagonal.
    """

    log_constants: Float[np.ndarray, "g k"]
    means: Float[np.ndarray, "g k d"]
    factors: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The arguments of a compiled pass."""
        return self.log_constants, self.means, self.factors


def whiten(parameters: MixtureParameters, kind: CovarianceType = "full") -> Whitened:
    """Factor every covariance; diagonal kinds read the diagonals alone."""
    k, d = parameters.n_components, parameters.n_features
    if cov.is_diagonal(kind):
        variances = np.diagonal(parameters.covariances, axis1=-2, axis2=-1).reshape(-1, k, d)
        with np.errstate(all="ignore"):
            factors, log_det = 1 / np.sqrt(variances), np.log(variances).sum(axis=-1)
        log_det = np.where((variances > 0).all(axis=-1), log_det, np.inf)
    else:
        factors, log_det = factorised(parameters.covariances.reshape(-1, k, d, d))
    with np.errstate(divide="ignore"):
        log_weights = np.log(parameters.weights.reshape(-1, k))
    constants = log_weights - 0.5 * (log_det + d * np.log(2 * np.pi))
    means = np.ascontiguousarray(parameters.means).reshape(-1, k, d)
    return Whitened(constants, means, np.ascontiguousarray(factors))


def whiten_each(state: Sequence[np.ndarray], kind: CovarianceType) -> Whitened:
    """Factor weights, means and covariances on a flat grid one by one, to the bits of the loops compiled as a whole."""
    weights, means, covariances = state
    constants = np.empty(weights.shape)
    factors = np.zeros(cov.factors_shape(kind, means.shape))
    for g in range(len(weights)):
        write_factors(weights[g], covariances[g], constants[g], factors[g])
    return Whitened(constants, means, factors)


def e_step(parameters: MixtureParameters, data: Rows, kind: CovarianceType = "full") -> Expectation:
    """Return the log-likelihood and expected statistics of ``data`` under ``parameters``.

    Parameters
    ----------
    parameters : MixtureParameters
        One value or a grid of them, in the coordinates in which ``data`` is seen.
    data : Observations
        The rows; one pass whatever the grid.
    kind : {"full", "tied", "diag", "spherical"}
        Covariance type; diagonal types skip what is off the diagonal.

    Returns
    -------
    Expectation
        On the grid of the parameters; bitwise the same for any number of threads.
    """
    rows = Observations.of(data) if isinstance(data, Observations) else data
    return expect(whiten(parameters.writable(), kind), rows, parameters.grid)


def expect(white: Whitened, data: Rows, grid: tuple[int, ...], weights: Any = None) -> Expectation:
    """Return the pass's expectation for parameters that are factored already.

    ``weights (g, n)``, where given, stand for the row weights: other ones for each parameter value.
    """
    return _on_grid(sums_expected(white, data, weights), white, grid)


def sums_expected(white: Whitened, data: Rows, weights: Any = None) -> Expectation:
    """Return what `expect` does on the flat grid, of second moments only what is summed: not for `prior.updated`."""
    return _summed(data, white, expect_block, weights)


def _summed(data: Rows, white: Whitened, block_function: Callable[..., Expectation], *arguments: Any) -> Expectation:
    """Add up what a pass makes of all blocks.

    Rows in memory are one block, unless the sums of their chunks take too much room: threads then wait for each other
    once. The tree of sums is the same.
    """
    each = white.log_constants.size + white.means.size + white.factors.size
    if isinstance(data, Observations) and -(-len(data) // sums.CHUNK_ROWS) * each <= MOST_SUMS:
        return block_function(data, 0, white, *arguments)
    return data.map_reduce(block_function, white, *arguments)


def expect_block(block: Observations, start: int, white: Whitened, weights: Any) -> Expectation:
    """Return the expectation of one block of rows, its first row being number ``start``."""
    v = block.weights[None] if weights is None else weights[:, start : start + len(block)]
    seen = block.values, v, block.origin, 1 / block.unit

    def one_part(start: int, stop: int, totals: Any) -> None:
        room = room_for(block.n_features, white.log_constants.shape[1], stop - start)
        expect_chunks(*seen, *white.arrays, start, stop, sums.CHUNK_ROWS, *totals, room, False)

    return _of_block(one_part, block, white)


def allocate(
    white: Whitened,
    data: Rows,
    grid: tuple[int, ...],
    keys: np.ndarray,
    labels: Int[np.ndarray, "g n"] | None = None,
) -> Expectation:
    """Return the log-likelihood, and the statistics of labels drawn from the responsibilities.

    Parameters
    ----------
    white : Whitened
        Parameters, g of them.
    data : Observations
        Rows of positive weight. One whose weight is above 1 is split multinomially, fractions rounded up.
    grid : tuple of int
        Shape of the result, of size g.
    keys : uint64 array (g,)
        The label of a row depends on its number, its responsibilities and the key alone.
    labels : int array (g, n), optional
        Receives the label of each row.
    """
    return _on_grid(_summed(data, white, allocate_block, keys, labels), white, grid)


def allocate_block(
    block: Observations, start: int, white: Whitened, keys: np.ndarray, labels: np.ndarray | None
) -> Expectation:
    """Return what `allocate` adds up for one block of rows."""
    kept = np.empty((0, 0), np.int32) if labels is None else labels[:, start : start + len(block)]
    seen = block.values, block.weights, block.origin, 1 / block.unit
    offset = start

    def one_part(start: int, stop: int, totals: Any) -> None:
        log_likelihood, counts, first, second = totals
        drawn = log_likelihood, counts, first, second, kept
        allocate_chunks(*seen, *white.arrays, keys, offset, start, stop, sums.CHUNK_ROWS, *drawn)

    return _of_block(one_part, block, white)


def _of_block(one_part: Callable[..., None], block: Observations, white: Whitened) -> Expectation:
    """Add up what a compiled pass writes for each chunk of a block."""
    g, k, d = white.means.shape
    shapes = (g,), (g, k), (g, k, d), white.factors.shape
    threads = worth(block.values.size * g * k, most=len(block))
    log_likelihood, counts, first, second = folded(one_part, len(block), shapes, threads)
    return Expectation(log_likelihood, SufficientStatistics(white.means, counts, first, second))


def _on_grid(total: Expectation, white: Whitened, grid: tuple[int, ...]) -> Expectation:
    """Write the sums of a flat grid out on the grid."""
    (_, k, d), stats = white.means.shape, total.stats
    return Expectation(
        total.log_likelihood.reshape(grid),
        SufficientStatistics(
            stats.about.reshape(*grid, k, d),
            stats.counts.reshape(*grid, k),
            stats.first.reshape(*grid, k, d),
            _symmetric(stats.second, d).reshape(*grid, k, d, d),
        ),
    )


def _symmetric(second: np.ndarray, d: int) -> Float[np.ndarray, "g k d d"]:
    """Write out what the pass summed: a diagonal, or a lower triangle."""
    if second.ndim == 3:
        return second[..., None] * np.eye(d)
    return second + np.swapaxes(np.tril(second, -1), -1, -2)


def log_densities(
    parameters: MixtureParameters, data: Observations, kind: CovarianceType = "full"
) -> Float[np.ndarray, "*grid n"]:
    """Return the log density of every row in the coordinates of the data frame, weights not counted."""
    white = whiten(parameters, kind)
    out = np.empty((len(white.means), len(data)))
    respond_rows(data.values, data.origin, 1 / data.unit, *white.arrays, 0, len(data), out, np.empty((0, 0, 0)))
    return (out - np.log(data.unit).sum()).reshape(*parameters.grid, len(data))


def responsibilities(
    parameters: MixtureParameters, data: Observations, kind: CovarianceType = "full"
) -> Float[np.ndarray, "*grid k n"]:
    """Return the responsibility of every component for every row; one row of memory per grid value."""
    white = whiten(parameters, kind)
    g, k, _ = white.means.shape
    out, unused = np.empty((g, k, len(data))), np.empty((g, len(data)))
    respond_rows(data.values, data.origin, 1 / data.unit, *white.arrays, 0, len(data), unused, out)
    return out.reshape(*parameters.grid, k, len(data))
