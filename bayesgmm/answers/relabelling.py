"""Label switching: permute the components of each draw so that a label means the same in all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.special import entr

from bayesgmm.data import Observations, Rows
from bayesgmm.expectation.pass_over_rows import responsibilities
from bayesgmm.model.parameters import CovarianceType, MixtureParameters

RelabelMethod = Literal["em", "stephens", "ecr", "ecr-iterated"]
METHODS: tuple[RelabelMethod, ...] = ("em", "stephens", "ecr", "ecr-iterated")
#: Rows on which labels are compared; more do not change an assignment of k labels.
ALIGNMENT_ROWS = 1000
#: Draws of each chain that are compared with the optima to say where it stays.
DRAWS_OF_CHAIN = 50
#: Responsibilities held at a time: 16 MB.
BATCH_VALUES = 2_000_000
#: An iterated method has converged when the total cost falls by no more than this, relative to its size.
COST_TOLERANCE, MOST_ITERATIONS = 1e-9, 100


@dataclass(frozen=True, slots=True, eq=False)
class Relabelling:
    """How the draws of all chains were relabelled, jointly.

    Attributes
    ----------
    order : int array (*grid, k)
        ``parameters.permuted(order)`` carries common labels.
    cost : float
        What was minimised, per draw and row: for "stephens" the Kullback-Leibler divergence of a draw's
        responsibilities from their mean, in nats; for the others the share of a row's membership that disagrees with
        the reference.
    iterations : int
        Passes over the draws.
    """

    order: Int[np.ndarray, "*grid k"]
    cost: float
    iterations: int


@dataclass(frozen=True, slots=True, eq=False)
class Comparable:
    """Draws and the rows on which their labels are compared.

    Attributes
    ----------
    draws : MixtureParameters
        Flat grid, in the coordinates in which ``rows`` are seen.
    rows : Observations
        Those compared.
    kind : {"full", "tied", "diag", "spherical"}
        Covariance type.
    """

    draws: MixtureParameters
    rows: Observations
    kind: CovarianceType

    def batches(self, *, hard: bool) -> Iterator[tuple[slice, Float[np.ndarray, "g k n"]]]:
        """Yield the responsibilities of each draw, or 1 for the largest and 0 for the others."""
        number, k = self.draws.weights.shape
        size = max(1, BATCH_VALUES // (k * len(self.rows)))
        for start in range(0, number, size):
            at = slice(start, start + size)
            r = responsibilities(self.draws[at], self.rows, self.kind)
            yield at, _one_hot(r) if hard else r


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """One pass over the draws, each matched to one target.

    Attributes
    ----------
    order : int array (draw, k)
        The permutation of each.
    agreement : float
        Sum over draws and rows of what the target gives for the draw's memberships.
    mean : array (k, n)
        Mean over draws of the relabelled memberships.
    margins : array (draw,)
        Agreement that each draw would lose if the two components that are easiest to confuse changed places.
    """

    order: Int[np.ndarray, "draw k"]
    agreement: float
    mean: Float[np.ndarray, "k n"]
    margins: Float[np.ndarray, " draw"]

    @classmethod
    def of(cls, compared: Comparable, target: Float[np.ndarray, "k n"], *, hard: bool) -> Matching:
        """Give each draw the order of components in which its memberships agree best with the target."""
        number, k = compared.draws.weights.shape
        v = compared.rows.sample_weight
        order, mean, margins = np.empty((number, k), dtype=np.intp), np.zeros(target.shape), np.empty(number)
        agreement = 0.0
        for at, r in compared.batches(hard=hard):
            each = (r.reshape(-1, r.shape[-1]) @ (target * v).T).reshape(-1, k, k)
            order[at] = assigned(np.swapaxes(each, -1, -2))
            matched = np.take_along_axis(each, order[at][..., None], axis=1)
            agreement += float(np.trace(matched, axis1=1, axis2=2).sum())
            margins[at] = lost_by_exchange(matched).min(axis=1, initial=np.inf)
            mean += np.take_along_axis(r, order[at][..., None], axis=1).sum(axis=0)
        return cls(order, agreement, mean / number, margins)


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Draws that were matched to a reference.

    Attributes
    ----------
    order : int array (*grid, k)
        ``parameters.permuted(order)`` carries the labels of the reference.
    margin : array (*grid)
        How clearly: 1 as the reference itself, 0 not at all (see `aligned`).
    """

    order: Int[np.ndarray, "*grid k"]
    margin: Float[np.ndarray, "*grid"]


def aligned(parameters: MixtureParameters, reference: MixtureParameters, data: Rows, kind: CovarianceType) -> Alignment:
    """Give each value of the grid the order of components that agrees best with the reference.

    Best is the largest sum over rows of products of responsibilities, by linear assignment. Parameters and
    reference are in the coordinates in which ``data`` is seen. The margin is the agreement that is lost when the two
    components that are easiest to confuse change places, over what the reference itself would lose.
    """
    flat = parameters.reshaped((int(np.prod(parameters.grid)),))
    compared = Comparable(flat, _sample(data, ALIGNMENT_ROWS, 0), kind)
    target = responsibilities(reference, compared.rows, kind)
    matching = Matching.of(compared, target, hard=False)
    own = lost_by_exchange((target @ (target * compared.rows.sample_weight).T)[None]).min(initial=np.inf)
    margin = np.divide(matching.margins, own, out=np.zeros(len(flat.weights)), where=0 < own < np.inf)
    return Alignment(matching.order.reshape(parameters.weights.shape), margin.reshape(parameters.grid))


def alignment(
    parameters: MixtureParameters, reference: MixtureParameters, data: Rows, kind: CovarianceType
) -> Int[np.ndarray, "*grid k"]:
    """Return the order of components that agrees best with the reference (see `aligned`)."""
    return aligned(parameters, reference, data, kind).order


def lost_by_exchange(agreement: Float[np.ndarray, "g k k"]) -> Float[np.ndarray, "g pair"]:
    """Return what each exchange of two components takes from the trace."""
    first, second = np.triu_indices(agreement.shape[-1], 1)
    kept = agreement[:, first, first] + agreement[:, second, second]
    return kept - agreement[:, first, second] - agreement[:, second, first]


def relabelling(
    method: RelabelMethod,
    draws: MixtureParameters,
    pivots: MixtureParameters,
    data: Observations,
    kind: CovarianceType,
    rows: int = ALIGNMENT_ROWS,
    seed: int = 0,
) -> Relabelling:
    """Relabel the draws of all chains jointly.

    Parameters
    ----------
    method : {"em", "stephens", "ecr", "ecr-iterated"}
        "em": the responsibilities of the reference. "stephens": the mean of the relabelled responsibilities,
        found by iteration, in Kullback-Leibler divergence (Stephens 2000, doi:10.1111/1467-9868.00265). "ecr": the
        allocation of rows at the pivot, against each draw's (Papastamoulis & Iliopoulos 2010,
        doi:10.1198/jcgs.2010.09008). "ecr-iterated": the same against the most frequent allocation, found by
        iteration (Rodríguez & Walker 2014, doi:10.1080/10618600.2012.735624).
    draws : MixtureParameters
        Grid (chain, draw), in the coordinates in which ``data`` is seen.
    pivots : MixtureParameters
        Grid (2,): the reference, whose labels all methods take over, and the draw of highest posterior density.
    data : Observations
        The rows of the fit.
    kind : {"full", "tied", "diag", "spherical"}
        Covariance type.
    rows, seed : int
        Labels are compared on so many rows, drawn by this seed. Responsibilities are computed as they are
        needed: memory does not grow with rows times draws.
    """
    flat = draws.reshaped((int(np.prod(draws.grid)),))
    compared = Comparable(flat, _sample(data, rows, seed), kind)
    reference, best = responsibilities(pivots, compared.rows, kind)
    if method == "em":
        found, iterations = Matching.of(compared, reference, hard=False), 1
    elif method == "ecr":
        found, iterations = Matching.of(compared, _one_hot(best[None])[0], hard=True), 1
    else:
        found, iterations = _iterated(compared, reference, hard=method == "ecr-iterated")
    total = len(flat.weights) * compared.rows.total_weight
    cost = -(_entropy(compared) + found.agreement) / total if method == "stephens" else 1 - found.agreement / total
    # Each method settles labels up to one permutation for all draws: the one that the reference has.
    common = assigned((reference * compared.rows.sample_weight @ found.mean.T)[None])[0]
    return Relabelling(found.order[:, common].reshape(draws.weights.shape), cost, iterations)


def _iterated(compared: Comparable, reference: Float[np.ndarray, "k n"], *, hard: bool) -> tuple[Matching, int]:
    """Match to the mean of what was matched until the total cost no longer falls."""
    found = Matching.of(compared, reference if not hard else _one_hot(reference[None])[0], hard=hard)
    before, iterations = -np.inf, 1
    while found.agreement - before > COST_TOLERANCE * abs(found.agreement) and iterations < MOST_ITERATIONS:
        # What the first pass agreed with is no mean of draws: its agreement is another quantity.
        before = found.agreement if iterations > 1 else -np.inf
        target = _one_hot(found.mean[None])[0] if hard else np.log(np.maximum(found.mean, np.finfo(float).tiny))
        found, iterations = Matching.of(compared, target, hard=hard), iterations + 1
    return found, iterations


def _entropy(compared: Comparable) -> float:
    """Return the entropy of responsibilities summed over draws and rows, in nats: the same for any labels."""
    return sum(float(entr(r).sum(axis=(0, 1)) @ compared.rows.sample_weight) for _, r in compared.batches(hard=False))


def _sample(data: Rows, rows: int, seed: int) -> Observations:
    return data.subsample(rows, np.random.default_rng(seed))


def _one_hot(r: Float[np.ndarray, "g k n"]) -> Float[np.ndarray, "g k n"]:
    """Return 1 for the largest of the k, 0 for the others."""
    return (r.argmax(axis=1)[:, None] == np.arange(r.shape[1])[:, None]).astype(float)


def assigned(agreement: Float[np.ndarray, "g k k"]) -> Int[np.ndarray, "g k"]:
    """Return for each matrix the permutation of columns with the largest trace."""
    # Where every row's best column is another one, no assignment can beat it.
    best = agreement.argmax(axis=-1)
    contested = np.flatnonzero((np.sort(best, axis=-1) != np.arange(best.shape[-1])).any(axis=-1))
    for at in contested:
        best[at] = linear_sum_assignment(agreement[at], maximize=True)[1]
    return best


def nearest_optimum(
    draws: MixtureParameters, optima: MixtureParameters, data: Rows, kind: CovarianceType
) -> Int[np.ndarray, "*grid"]:
    """Return for each draw the optimum whose responsibilities are most like its own, whatever the labels."""
    flat = draws.reshaped((int(np.prod(draws.grid)),))
    compared = Comparable(flat, _sample(data, ALIGNMENT_ROWS, 0), kind)
    v = compared.rows.sample_weight
    targets = responsibilities(optima, compared.rows, kind)
    sizes = np.sqrt((targets**2 * v).sum(axis=(1, 2)))
    weighted, nearest = (targets * v).reshape(-1, len(v)).T, np.empty(len(flat.weights), dtype=np.intp)
    for at, r in compared.batches(hard=False):
        agreement = np.swapaxes((r.reshape(-1, r.shape[-1]) @ weighted).reshape(*r.shape[:2], *targets.shape[:2]), 1, 2)
        order = assigned(agreement.reshape(-1, *agreement.shape[2:])).reshape(*agreement.shape[:3])
        likeness = np.take_along_axis(agreement, order[..., None], axis=-1).sum(axis=(-2, -1)) / sizes
        nearest[at] = likeness.argmax(axis=1)
    return nearest.reshape(draws.grid)


def visited(
    draws: MixtureParameters, optima: MixtureParameters, data: Rows, kind: CovarianceType
) -> Int[np.ndarray, "chain draw"]:
    """Return the optimum nearest to evenly spaced draws of each chain."""
    number = draws.grid[1]
    spaced = np.unique(np.linspace(0, number - 1, min(number, DRAWS_OF_CHAIN)).astype(int))
    return nearest_optimum(draws[:, spaced], optima, data, kind)


def switch_rate(order: Int[np.ndarray, "chain draw k"]) -> float:
    """Return the share of draws whose labels differ from those of the draw before in their chain."""
    if order.shape[1] < 2:
        return 0.0
    return float((order[:, 1:] != order[:, :-1]).any(axis=-1).mean())
