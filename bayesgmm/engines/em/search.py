"""The search for optima: partitions of a sample tried in short runs, then splits and merges of what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from bayesgmm.data import Observations, Rows
from bayesgmm.engines.em.climbs import RISES, Climbs, Stopping, climb, spurious
from bayesgmm.engines.em.starting_values import MOST_MOVES, How, Table, implied
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import ConjugatePrior, Prior, is_exchangeable
from bayesgmm.model.priors.densities import factorised

#: Each start is the best of two partitions, in plain and in sphered columns, after a short run of so many iterations
#: (small EM, Biernacki et al. 2003, doi:10.1016/S0167-9473(02)00163-9), of fewer where they take long.
SHORT_RUN, SHORTEST_RUN, SHORT_WORK = 10, 2, 30_000_000
#: k-means is run once more for each start and so many components: many groups are seldom all found at once.
COMPONENTS_PER_RUN = 3
#: Of more columns, partitions along directions in which rows are far from normal are tried too: the best of so many,
#: of fewer where a pass over the values takes long.
FEW_COLUMNS, MOST_PURSUED, PURSUED_VALUES = 2, 6, 300_000
#: Of few rows, partitions around rows drawn far apart are tried too, as they are: at most so many for each start.
MOST_ROUGH, ROUGH_WORK = 10, 50_000_000
#: Candidates whose log densities of about so many rows differ by less on average are alike.
ROWS_COMPARED, ALIKE = 200, 0.05
#: Partitions in two that are tried of a component, for so many iterations, on rows that belong to it at least so much.
SPLITS, SPLIT_RUN, BELONGING = 3, 8, 1e-2
#: Two components are merged only where no more than this is lost, in nats a row: of unit variance, 6 apart, they do.
MERGEABLE = 0.5
#: Those that lose less than this may share their rows otherwise, which is tried so often.
CLOSE, SHARINGS = 0.1, 8
#: Moves that are tried from an optimum, and how many of them are climbed from to the end.
MOVES, FOLLOWED = 8, 2
#: A move is tried if what the split gains makes up for so much of what the merger loses.
HOPE = 0.5
#: Moves are made from so many of the highest optima, none lower by so many nats, and for each component so often.
HIGHEST, NEAR, ROUNDS = 3, 5.0, 3
#: Optima nearer than this are one: in nats, and in standardised parameters after matching labels.
SAME_OBJECTIVE, SAME_PARAMETERS = 1e-3, 0.05


def screened(
    few: Observations, prior: Prior, how: How, n_init: int, rng: np.random.Generator
) -> tuple[MixtureParameters, Float[np.ndarray, " start"]]:
    """Return different starts, the winners of short runs, and how many of ``n_init`` each stands for."""
    table = Table.of(few)
    labels = np.concatenate([*_partitions(table, prior, how, n_init, rng)])
    different, which = _distinct(labels)
    first = implied(table, different, len(prior.concentration), prior.covariance_type)
    run = SHORT_RUN * SHORT_WORK // _work(table, len(prior.concentration))
    short = climb(first, few, prior, Stopping(max(SHORTEST_RUN, min(SHORT_RUN, run)), 0.0))
    value = np.where(short.collapsed, -np.inf, short.log_posterior)
    each = which.reshape(-1, n_init)
    winners = each[value[each].argmax(axis=0), np.arange(n_init)]
    some = few.taken(np.arange(0, len(few), max(1, len(few) // ROWS_COMPARED)))
    seen = estep.log_densities(short.parameters, some, prior.covariance_type)
    # A candidate that collapsed keeps its last sound state; climbing on, it is dropped and counted.
    chosen, hits = np.unique(varied(winners, value, seen), return_counts=True)
    return short.parameters[chosen], hits.astype(float)


def _partitions(
    table: Table, prior: Prior, how: How, n_init: int, rng: np.random.Generator
) -> Iterator[Int[np.ndarray, "n_init n"]]:
    """Yield a partition for each start in plain columns, then in sphered ones, where covariances can be oblique."""
    k, oblique = len(prior.concentration), not cov.is_diagonal(prior.covariance_type) and len(table.columns) > 1
    runs, moves = (1 + (k - 1) // COMPONENTS_PER_RUN, MOST_MOVES) if how == "k-means++" else (1, 0)
    for view in (table, table.sphered()) if oblique else (table,):
        labels, costs = view.partitions(k, how, n_init * runs, rng, moves=moves)
        yield labels[np.arange(n_init) * runs + costs.reshape(n_init, runs).argmin(axis=1)]
    if len(table.columns) > FEW_COLUMNS and how == "k-means++":
        sphered = table.sphered()
        yield np.stack([_pursued(sphered, k, start, rng) for start in range(n_init)])
    rough = min(MOST_ROUGH, ROUGH_WORK // (_work(table, k) * SHORT_RUN))
    yield table.partitions(k, how, n_init * rough, rng, moves=0)[0]


def _pursued(sphered: Table, k: int, start: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Return a partition in one direction, or two, in which skewness or kurtosis is extreme, by turns."""
    dimensions, best = 1 + (k > 2 and start % 4 >= 2), (np.inf, np.empty(0, np.int32))
    for _ in range(max(1, min(MOST_PURSUED, PURSUED_VALUES // sphered.columns.size))):
        labels, costs = sphered.along(2 + start % 2, dimensions, rng).partitions(k, "k-means++", 1, rng)
        best = (costs[0], labels[0]) if costs[0] < best[0] else best
    return best[1]


def _work(table: Table, k: int) -> int:
    """Return the size of an iteration of EM."""
    return table.columns.size * len(table.columns) * k


def _distinct(labels: Int[np.ndarray, "m n"]) -> tuple[Int[np.ndarray, "different n"], Int[np.ndarray, " m"]]:
    """Return the different partitions, and which of them each is."""
    found: dict[bytes, int] = {}
    which = np.array([found.setdefault(one.tobytes(), len(found)) for one in labels])
    return labels[np.unique(which, return_index=True)[1]], which


def varied(winners: np.ndarray, value: np.ndarray, log_densities: Float[np.ndarray, "candidate n"]) -> np.ndarray:
    """Return the winners, those of the later half that repeat an earlier one replaced by the best unlike all.

    Candidates are alike if they give the rows the same densities, whatever their labels. Else the winners of all
    tournaments might lead to one of two optima that are equally high, and the other would never be seen.
    """
    kept, apart = [], np.full(len(value), np.inf)
    for at, winner in enumerate(winners):
        chosen = winner
        if at >= len(winners) / 2 and apart[winner] <= ALIKE and (apart > ALIKE).any():
            chosen = np.where(apart > ALIKE, value, -np.inf).argmax()
        kept.append(chosen)
        apart = np.minimum(apart, np.abs(log_densities - log_densities[chosen]).mean(axis=1))
    return np.array(kept)


def rank(climbs: Climbs, data: Rows, prior: Any) -> np.ndarray:
    """Return the starts that did not collapse, best first; spurious ones last."""
    order = np.lexsort((-climbs.log_posterior, spurious(climbs, data, prior)))
    return order[~climbs.collapsed[order]]


def grouped(climbs: Climbs, starts: np.ndarray, hits: Float[np.ndarray, " start"]) -> dict[int, float]:
    """Return the first of the starts that led to each optimum, in their order, and the hits of all that did."""
    found: dict[int, float] = {}
    height, parameters, rise = climbs.log_posterior, climbs.parameters, climbs.remaining
    for start in map(int, starts):
        as_high = (
            other
            for other in found
            if abs(height[start] - height[other]) <= SAME_OBJECTIVE + RISES * (rise[start] + rise[other])
        )
        first = next((other for other in as_high if alike(parameters[start], parameters[other])), start)
        found[first] = found.get(first, 0.0) + float(hits[start])
    return found


def alike(one: MixtureParameters, other: MixtureParameters) -> bool:
    """Return whether two mixtures differ by no more than rounding and labels."""
    a, b = _rows(one), _rows(other)
    apart = np.abs(a[:, None] - b[None]).max(axis=-1)
    return bool(apart[linear_sum_assignment(apart)].max() < SAME_PARAMETERS)


def _rows(params: MixtureParameters) -> Float[np.ndarray, "k p"]:
    """Return all numbers of each component side by side."""
    k = params.n_components
    return np.concatenate([params.weights[:, None], params.means, params.covariances.reshape(k, -1)], axis=1)


def improved(climbs: Climbs, data: Observations, prior: Prior, rule: Stopping, rng: np.random.Generator) -> Climbs:
    """Return the climbs with those added that lead on from the best: a component is split, two others are merged.

    Until no such move from the highest optima leads higher (Ueda, Nakano, Ghahramani & Hinton 2000,
    doi:10.1162/089976600300015088), or so many were tried.
    """
    k, tried = len(prior.concentration), set()
    while len(tried) < ROUNDS * k and k > 1:
        at = next((start for start in _highest(climbs, data, prior) if start not in tried), None)
        if at is None:
            break
        tried.add(at)
        starts = moves(climbs.parameters[at], data, prior, rng)
        further = None if starts is None else _followed(starts, climbs.log_posterior[at], data, prior, rule)
        climbs = climbs if further is None else climbs.joined(further)
    return climbs


def _highest(climbs: Climbs, data: Observations, prior: Prior) -> list[int]:
    """Return the highest few different optima, none of them spurious."""
    ranked = rank(climbs, data, prior)
    near = climbs.log_posterior[ranked] > climbs.log_posterior[ranked[:1]] - NEAR
    sound = ranked[near & ~spurious(climbs, data, prior)[ranked]]
    return list(grouped(climbs, sound, np.ones(len(climbs.ends))))[:HIGHEST]


def _followed(
    first: MixtureParameters, height: float, data: Observations, prior: Prior, rule: Stopping
) -> Climbs | None:
    """Return climbs from the most promising of some starts, if any may lead higher."""
    short = climb(first, data, prior, Stopping(SHORT_RUN, rule.tol))
    within_reach = np.where(
        short.collapsed | spurious(short, data, prior), -np.inf, short.log_posterior + short.remaining
    )
    chosen = [at for at in np.argsort(-within_reach)[:FOLLOWED] if within_reach[at] > height + SAME_OBJECTIVE]
    return climb(first[np.array(chosen)], data, prior, rule) if chosen else None


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """What the components of an optimum have in the rows, as moves are judged by it.

    Attributes
    ----------
    at : MixtureParameters
        The optimum.
    data : Observations
        The rows.
    prior : Prior
        Whose covariance type is that of the components.
    responsibilities : array (k, n)
        Of each component.
    log_density : array (n,)
        Of each row, as seen.
    """

    at: MixtureParameters
    data: Observations
    prior: Prior
    responsibilities: Float[np.ndarray, "k n"]
    log_density: Float[np.ndarray, " n"]

    @classmethod
    def of(cls, at: MixtureParameters, data: Observations, prior: Prior) -> Shares:
        """Look at the rows once."""
        kind = prior.covariance_type
        density = estep.log_densities(at, data, kind) + np.log(data.unit).sum()
        return cls(at, data, prior, estep.responsibilities(at, data, kind), density)

    def own(self, members: tuple[int, ...]) -> tuple[Observations, float]:
        """Return the rows that belong to some components, weighted by how much, and their log density there, summed."""
        share = self.responsibilities[list(members)].sum(axis=0)
        rows = np.flatnonzero(share * (self.data.sample_weight > 0) > BELONGING)
        weight = share[rows] * self.data.sample_weight[rows]
        log_share = np.log(share[rows]) - np.log(self.at.weights[list(members)].sum())
        return replace(self.data.taken(rows), sample_weight=weight), float(
            (weight * (self.log_density[rows] + log_share)).sum()
        )

    def in_two(
        self, members: tuple[int, ...], how: How, number: int, rng: np.random.Generator
    ) -> tuple[MixtureParameters, Float[np.ndarray, " number"]]:
        """Return two components for the rows of some, a grid, and the log-likelihood that each value gains on them."""
        own, before = self.own(members)
        kind, d = self.prior.covariance_type, self.data.n_features
        if len(own) < 4 or own.total_weight < 4:
            return self.at.reshaped((1,))[:0], np.empty(0)
        table = Table.of(own)
        view = table if cov.is_diagonal(kind) or d == 1 else table.sphered()
        labels, _ = view.partitions(2, how, number, rng, moves=MOST_MOVES if how == "k-means++" else 0)
        smooth = ConjugatePrior(1.0, 0.0, 0.01, d + 2.0, 0.1 * table.covariance).bound(2, d, kind)
        climbs = climb(implied(table, _distinct(labels)[0], 2, kind), own, smooth, Stopping(SPLIT_RUN, 1e-6))
        found = climbs.parameters[~climbs.collapsed]
        return found, climbs.log_posterior[~climbs.collapsed] - smooth.log_density(found) - before

    def split(self, c: int, rng: np.random.Generator) -> tuple[float, MixtureParameters | None]:
        """Return what the best split of a component gains, and its halves."""
        halves, gains = self.in_two((c,), "k-means++", SPLITS, rng)
        return (float(gains.max()), halves[int(gains.argmax())]) if len(gains) else (-np.inf, None)

    def merged(self, pair: tuple[int, int]) -> tuple[MixtureParameters, float]:
        """Return one component of the moments of two, and a bound on the log-likelihood that is lost by it."""
        (i, j), at, kind, d = pair, self.at, self.prior.covariance_type, self.data.n_features
        weight = at.weights[i] + at.weights[j]
        share, apart = at.weights[i] / weight if weight > 0 else 0.5, at.means[i] - at.means[j]
        between = share * (1 - share) * np.multiply.outer(apart, apart)
        between = cov.pooled(between[None], kind)[0] if cov.is_diagonal(kind) else between
        between = between / d if kind == "spherical" else between
        covariance = share * at.covariances[i] + (1 - share) * at.covariances[j] + between
        log_det = np.log(np.diag(covariance)).sum() if cov.is_diagonal(kind) else factorised(covariance)[1]
        own, before = self.own(pair)
        after = -0.5 * (log_det + d * (1 + np.log(2 * np.pi))) * own.total_weight
        one = MixtureParameters(np.array([weight]), (at.means[j] + share * apart)[None], covariance[None])
        return one, float(before - after)


def moves(
    at: MixtureParameters, data: Observations, prior: Prior, rng: np.random.Generator
) -> MixtureParameters | None:
    """Return starts in which a few components are others, the most promising first, if any is."""
    shares = Shares.of(at, data, prior)
    pairs = [*combinations(range(at.n_components), 2)]
    mergers = {pair: shares.merged(pair) for pair in pairs}
    found = [*_splits(shares, mergers, rng), *_sharings(shares, mergers, rng)]
    chosen = sorted(found, key=lambda move: -move[0])[:MOVES]
    found = [start for _, start in chosen] + ([] if is_exchangeable(prior) else _exchanges(at))
    return _stacked(found) if found else None


def _exchanges(at: MixtureParameters) -> list[MixtureParameters]:
    """Return a start for every two components, in which each takes the place of the other under the prior."""
    orders = np.tile(np.arange(at.n_components), (at.n_components * (at.n_components - 1) // 2, 1))
    for order, pair in zip(orders, combinations(range(at.n_components), 2), strict=True):
        order[list(pair)] = pair[::-1]
    return [at.permuted(order) for order in orders]


def in_place(starts: MixtureParameters, prior: Prior) -> MixtureParameters:
    """Return starts with components in the order that the prior likes best, as far as exchanges of two lead."""
    return (
        starts
        if is_exchangeable(prior)
        else _stacked([_in_place(starts[at], prior) for at in range(len(starts.weights))])
    )


def _in_place(start: MixtureParameters, prior: Prior) -> MixtureParameters:
    while exchanges := _exchanges(start):
        liked = prior.log_density(_stacked(exchanges))
        if liked.max() <= prior.log_density(start):
            break
        start = exchanges[int(liked.argmax())]
    return start


def _stacked(values: list[MixtureParameters]) -> MixtureParameters:
    return MixtureParameters(*map(np.stack, zip(*(v.arrays for v in values), strict=True)))


Mergers = dict[tuple[int, int], tuple[MixtureParameters, float]]


def _splits(shares: Shares, mergers: Mergers, rng: np.random.Generator) -> Iterator[tuple[float, MixtureParameters]]:
    """Yield starts in which one component is split and two others are merged, and what they may gain."""
    total = shares.data.total_weight
    near = {pair: (one, loss) for pair, (one, loss) in mergers.items() if loss < MERGEABLE * one.weights[0] * total}
    for c in range(shares.at.n_components):
        others = {pair: merger for pair, merger in near.items() if c not in pair}
        gain, halves = shares.split(c, rng) if others else (-np.inf, None)
        for pair, (one, loss) in others.items():
            if halves is not None and gain > HOPE * loss:
                weights = np.append(one.weights, shares.at.weights[c] * halves.weights)
                parts = np.concatenate([one.means, halves.means]), np.concatenate([one.covariances, halves.covariances])
                yield gain - loss, _replaced(shares.at, [*pair, c], MixtureParameters(weights, *parts))


def _sharings(shares: Shares, mergers: Mergers, rng: np.random.Generator) -> Iterator[tuple[float, MixtureParameters]]:
    """Yield starts in which two close components share their rows in another way, and what they gain."""
    for pair, (one, loss) in mergers.items():
        if loss > CLOSE * one.weights[0] * shares.data.total_weight:
            continue
        halves, gains = shares.in_two(pair, "random", SHARINGS, rng)
        for at in np.argsort(-gains)[:FOLLOWED]:
            two = halves[int(at)]
            two = MixtureParameters(one.weights * two.weights, two.means, two.covariances)
            yield float(gains[at]), _replaced(shares.at, pair, two)


def _replaced(at: MixtureParameters, places: Sequence[int], others: MixtureParameters) -> MixtureParameters:
    """Return parameters with other components in some places."""
    arrays = tuple(array.copy() for array in at.arrays)
    for array, other in zip(arrays, others.arrays, strict=True):
        array[list(places)] = other
    return MixtureParameters(*arrays)
