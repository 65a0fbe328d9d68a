"""The pass: log-likelihood, expected statistics, densities and responsibilities, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import add
from typing import Any

import numba
import numpy as np
from jaxtyping import Float, Int

from bayesgmm import covariance as cov
from bayesgmm.data import Observations
from bayesgmm.kernels.allocation import allocate_chunks
from bayesgmm.kernels.passes import expect_chunks, respond_rows
from bayesgmm.parameters import CovarianceType, MixtureParameters
from bayesgmm.priors.densities import factorised
from bayesgmm.suffstats import Expectation, SufficientStatistics

#: What a compiled pass adds to: log-likelihood, counts, first and second moments.
Totals = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
#: Rows of one chunk of a pass. It depends on nothing, so sums are the same for any number of threads.
CHUNK_ROWS = 32_768
#: Chunks in a group, within which sums are folded at once: a power of two, so that the tree of sums is the same.
GROUP_CHUNKS = 16
#: Rows times features times components times parameter values below which threads cost more than they give.
SERIAL_WORK = 2_000_000


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
    singular : bool array (g,)
        Whether some covariance is not positive definite.
    """

    log_constants: Float[np.ndarray, "g k"]
    means: Float[np.ndarray, "g k d"]
    factors: np.ndarray
    singular: np.ndarray

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
    return Whitened(constants, means, np.ascontiguousarray(factors), ~np.isfinite(log_det).all(axis=-1))


def e_step(parameters: MixtureParameters, data: Observations, kind: CovarianceType = "full") -> Expectation:
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
    return expect(whiten(parameters, kind), data, parameters.grid)


def expect(white: Whitened, data: Observations, grid: tuple[int, ...], weights: Any = None) -> Expectation:
    """Return the pass's expectation for parameters that are factored already.

    ``weights (g, n)``, where given, stand for the row weights: other ones for each parameter value.
    """
    v = data.sample_weight[None] if weights is None else weights

    seen = data.values, v, data.origin, 1 / data.unit

    def expect_part(start: int, stop: int, totals: Totals) -> None:
        expect_chunks(*seen, *white.arrays, start, stop, CHUNK_ROWS, *totals)

    return _total(white, data, grid, expect_part)


def allocate(
    white: Whitened,
    data: Observations,
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
    kept = np.empty((0, 0), np.int32) if labels is None else labels
    seen = data.values, data.sample_weight, data.origin, 1 / data.unit

    def allocate_part(start: int, stop: int, totals: Totals) -> None:
        allocate_chunks(*seen, *white.arrays, keys, start, stop, CHUNK_ROWS, *totals, kept)

    return _total(white, data, grid, allocate_part)


def _total(white: Whitened, data: Observations, grid: tuple[int, ...], one_part: Callable[..., None]) -> Expectation:
    """Add up what a compiled pass writes for each chunk of rows."""
    g, k, d = white.means.shape

    def of_group(start: int, stop: int) -> Expectation:
        chunks = -(-(stop - start) // CHUNK_ROWS)
        totals = tuple(np.zeros((chunks, *shape)) for shape in ((g,), (g, k), (g, k, d), white.factors.shape))
        threads = 1 if (stop - start) * d * g * k < SERIAL_WORK else min(numba.get_num_threads(), chunks)
        if threads == 1:
            one_part(start, stop, totals)
        else:
            bounds = range(start, stop, CHUNK_ROWS)
            parts = [tuple(array[c : c + 1] for array in totals) for c in range(chunks)]
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda at, part: one_part(at, min(at + CHUNK_ROWS, stop), part), bounds, parts))
        log_likelihood, counts, first, second = (pairwise(array) for array in totals)
        return Expectation(log_likelihood, SufficientStatistics(white.means, counts, first, second))

    rows = CHUNK_ROWS * GROUP_CHUNKS
    total = summed(of_group(start, min(start + rows, len(data))) for start in range(0, len(data), rows))
    stats = total.stats
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


def pairwise(parts: np.ndarray) -> np.ndarray:
    """Add up the entries of an array as `summed` does: neighbours, then neighbours of those."""
    while len(parts) > 1:
        even = len(parts) // 2 * 2
        pairs = parts[0:even:2] + parts[1:even:2]
        parts = np.concatenate([pairs, parts[even:]]) if even < len(parts) else pairs
    return parts[0]


def summed(parts: Iterator[Expectation]) -> Expectation:
    """Add up in a fixed binary tree, holding one partial sum per level."""
    levels: list[Expectation | None] = []
    for part in parts:
        carry: Expectation | None = part
        for level, waiting in enumerate(levels):
            if waiting is None:
                levels[level], carry = carry, None
                break
            levels[level], carry = None, add(waiting, carry)
        if carry is not None:
            levels.append(carry)
    present = [level for level in levels if level is not None]
    total = present[0]
    for level in present[1:]:
        total = level + total
    return total


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
