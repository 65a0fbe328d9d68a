"""Rows on which starts are sought: few, but small groups far off are among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bayesgmm.data import Observations, Rows
from bayesgmm.kernels.seeding import rank_rows
from bayesgmm.kernels.uniforms import child_key

#: Rows on which centres are sought and candidates compared, and how many for each mean: starts need no more.
SEEDING_ROWS, ROWS_PER_MEAN = 2500, 4
#: Rounds in which centres are drawn, and how many a component.
ROUNDS, CENTRES_PER_COMPONENT = 4, 2


def sample_size(k: int, d: int) -> int:
    """Return the most rows of a sample for so many components and features."""
    return max(SEEDING_ROWS, ROWS_PER_MEAN * k * d)


def seeding_rows(data: Rows, k: int, rng: np.random.Generator) -> Observations:
    """Return at most `sample_size` rows in memory that stand, by their weights, for all.

    A third of what makes a row likely to be drawn is the same for all rows, a third is its squared distance from the
    nearest of the centres that k-means|| draws (Bahmani et al. 2012, doi:10.14778/2180912.2180915), and a third is
    shared by the rows nearest to each centre, however few: a coreset for Gaussian mixtures (Lucic et al. 2017,
    arXiv:1703.08110), in which a small group far from the others is represented. Seven passes over the rows; uniforms
    belong to rows, so that the sample does not depend on where these are.
    """
    rows = sample_size(k, data.n_features)
    if len(data) <= rows or k == 1:
        return data.standing_for_all(rows, rng)
    key = rng.integers(2**64, dtype=np.uint64)
    drawn = data.map_reduce(_drawn, np.zeros((1, data.n_features)), np.ones(1), 0.0, child_key(key, 0), 1)
    centres = drawn.seen(data)
    for draw in range(1, ROUNDS + 2):
        none = np.zeros(len(centres))
        drawn = data.map_reduce(_drawn, centres, none, 1.0, child_key(key, draw), CENTRES_PER_COMPONENT * k)
        if draw <= ROUNDS:
            centres = np.concatenate([centres, drawn.seen(data)])
    far = data.total_weight / drawn.cost if drawn.cost > 0 else 0.0
    even = 1 + data.total_weight / (len(centres) * np.maximum(drawn.counts, 1.0))
    drawn = data.map_reduce(_drawn, centres, even, far, child_key(key, ROUNDS + 2), rows + 1)
    return drawn.standing_for_all(data)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """The rows of highest priority among some, and the cost of all of these.

    Attributes
    ----------
    most : int
        Rows kept.
    values : array (m, d)
        In the user's units; in the order of the rows.
    weight, importance, priority, number : array (m,)
        Row weights, importances and priorities (`rank_rows`), and numbers of the rows.
    cost : float
        Sum over all rows of weight times squared distance from the nearest centre.
    counts : array (c,)
        Weights of the rows nearest to each centre.
    """

    most: int
    values: Float[np.ndarray, "m d"]
    weight: Float[np.ndarray, " m"]
    importance: Float[np.ndarray, " m"]
    priority: Float[np.ndarray, " m"]
    number: Int[np.ndarray, " m"]
    cost: float
    counts: Float[np.ndarray, " c"]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What is kept of each row."""
        return self.values, self.weight, self.importance, self.priority, self.number

    def __add__(self, other: Drawn) -> Drawn:
        """Return those of highest priority among both."""
        pairs = zip(self.arrays, other.arrays, strict=True)
        values, weight, importance, priority, number = (np.concatenate(pair) for pair in pairs)
        cost, counts = self.cost + other.cost, self.counts + other.counts
        return Drawn(self.most, values, weight, importance, priority, number, cost, counts).highest()

    def highest(self) -> Drawn:
        """Keep those of highest priority; a row of weight 0 has none."""
        at = np.flatnonzero(self.priority > 0)
        if len(at) > self.most:
            below = len(self.priority) - self.most
            threshold = np.partition(self.priority, below)[below]
            above, level = self.priority > threshold, np.flatnonzero(self.priority == threshold)
            # Of equal ones the first rows are kept, whichever blocks these are in.
            above[level[: self.most - np.count_nonzero(above)]] = True
            at = np.flatnonzero(above)
        values, weight, importance, priority, number = (array[at] for array in self.arrays)
        return Drawn(self.most, values, weight, importance, priority, number, self.cost, self.counts)

    def seen(self, data: Rows) -> Float[np.ndarray, "m d"]:
        """Return the rows in the coordinates in which ``data`` is seen."""
        return (self.values - data.origin) * (1 / data.unit)

    def standing_for_all(self, data: Rows) -> Observations:
        """Return the rows, all but that of least priority, with weights of which any sum estimates that of all rows.

        The least priority is the threshold of priority sampling (Duffield et al. 2007): a row is worth its weight
        where its importance exceeds that, and else so many times its weight as makes up for those not drawn.
        """
        threshold = self.priority.min() if len(self.priority) == self.most else 0.0
        kept = self.priority > threshold
        worth = self.weight * np.maximum(1.0, threshold / self.importance)
        rows = Observations(self.values, worth, data.features, self.number, data.origin, data.unit)
        return rows.taken(kept).weighing(data.total_weight)


def _drawn(
    block: Observations,
    start: int,
    centres: Float[np.ndarray, "c d"],
    even: Float[np.ndarray, " c"],
    far: float,
    key: int,
    most: int,
) -> Drawn:
    """Return the rows of highest priority in a block."""
    importance, priority, counts = np.empty(len(block)), np.empty(len(block)), np.empty(len(centres))
    seen = block.values, block.weights, block.origin, 1 / block.unit
    cost = rank_rows(*seen, centres, even, far, np.uint64(key), start, importance, priority, counts)
    number = np.arange(start, start + len(block))
    return Drawn(most, block.values, block.sample_weight, importance, priority, number, cost, counts).highest()
