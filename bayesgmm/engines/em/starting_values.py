"""Starts for EM: partitions of rows, and the parameters that they imply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from bayesgmm.data import Observations, Rows
from bayesgmm.errors import ModelError
from bayesgmm.kernels.partitions import group_means, group_moments, partition_each, pursue
from bayesgmm.kernels.threads import mapped, worth
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import CovarianceType, MixtureParameters
from bayesgmm.model.priors import Prior
from bayesgmm.model.priors.densities import factorised

#: Rows that are tried for each centre: that is kept which leaves the others nearest to a centre.
TRIALS = 2
#: How often centres move at most: what is left to come of them, EM does.
MOST_MOVES = 50
#: How often a direction is turned to where rows are farther from normal.
TURNS = 20
#: Share of each column's variance that covariances of starts have at least, beside that within groups.
RIDGE = 1e-13
#: Partitions that are made in one compiled call.
AT_ONCE = 4

How = Literal["k-means++", "random"]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows as they are partitioned: transposed, in the coordinates in which they are seen.

    Attributes
    ----------
    columns : array (d, n)
        A feature in each row.
    weight : array (n,)
        Row weights.
    covariance : array (d, d)
        Of all rows.
    """

    columns: Float[np.ndarray, "d n"]
    weight: Float[np.ndarray, " n"]
    covariance: Float[np.ndarray, "d d"]

    @classmethod
    def of(cls, sample: Observations) -> Table:
        """Transpose rows."""
        columns = np.ascontiguousarray(((sample.values - sample.origin) * (1 / sample.unit)).T)
        d = len(columns)
        return cls(columns, np.array(sample.sample_weight), sample.moments()[1] + 1e-6 * np.eye(d))

    def sphered(self) -> Table:
        """Return the rows turned and scaled so that features are uncorrelated and have variance one.

        Groups that differ across the long axes of strongly collinear columns are far apart only there.
        """
        factor, _ = factorised(self.covariance)
        columns = np.zeros_like(self.columns)
        for i, column in enumerate(self.columns):
            columns[: i + 1] += factor[i, : i + 1, None] * column
        return Table(columns, self.weight, np.eye(len(columns)))

    def along(self, power: int, dimensions: int, rng: np.random.Generator) -> Table:
        """Return sphered rows along few directions in which they are far from normal, of which there may be many.

        Groups that differ in one direction of many have no more than a part of the variance there: k-means does not
        see them, but their skewness (``power`` 2) or kurtosis (3) is extreme there (Peña & Prieto 2001,
        doi:10.1198/016214501753382345).
        """
        directions = rng.standard_normal((dimensions, len(self.columns)))
        pursue(self.columns, self.weight, power, TURNS, directions)
        columns = np.einsum("md,dn->mn", directions, self.columns)
        return Table(columns, self.weight, np.eye(dimensions))

    def partitions(
        self, k: int, how: How, number: int, rng: np.random.Generator, *, moves: int = MOST_MOVES
    ) -> tuple[Int[np.ndarray, "number n"], Float[np.ndarray, " number"]]:
        """Return labels of rows by k-means from centres drawn ``how``, and the squared distances that are left."""
        (d, n), labels, costs = (
            self.columns.shape,
            np.empty((number, self.columns.shape[1]), np.int32),
            np.empty(number),
        )
        uniforms = rng.random((number, k, TRIALS))

        def some(first: int) -> None:
            own = slice(first, first + AT_ONCE)
            given = uniforms[own], how == "k-means++", moves, np.empty((k, d))
            partition_each(self.columns, self.weight, *given, labels[own], costs[own])

        parts = range(0, number, AT_ONCE)
        mapped(some, parts, worth(number * n * k * d, most=len(parts)))
        return labels, costs


def candidates(
    sample: Observations, prior: Prior, how: How, number: int, rng: np.random.Generator
) -> MixtureParameters:
    """Return a grid (number,) of starting values: rows go to the nearest of centres that are drawn, and stay there.

    In the coordinates in which ``sample`` is seen.
    """
    table = Table.of(sample)
    labels, _ = table.partitions(len(prior.concentration), how, number, rng, moves=0)
    return implied(table, labels, len(prior.concentration), prior.covariance_type)


def implied(table: Table, labels: Int[np.ndarray, "number n"], k: int, kind: CovarianceType) -> MixtureParameters:
    """Return the parameters that groups of rows imply, covariances being drawn towards that within all groups.

    As if it were seen in d + 2 rows more: no start is singular, and a row far off, in a group of its own, does not
    widen the others.
    """
    number, d = len(labels), len(table.columns)
    counts, about = np.zeros((number, k)), np.zeros((number, k, d))
    group_means(table.columns, table.weight, labels, counts, about)
    counts, first, second = np.zeros_like(counts), np.zeros_like(about), np.zeros(cov.factors_shape(kind, about.shape))
    group_moments(table.columns, table.weight, labels, about, counts, first, second)
    full = second[..., None] * np.eye(d) if second.ndim == 3 else second + np.swapaxes(np.tril(second, -1), -1, -2)
    within = full.sum(axis=1, keepdims=True) / counts.sum(axis=1)[:, None, None, None] + RIDGE * np.diag(
        np.diag(table.covariance)
    )
    covariances = ((d + 2) * within + full) / (d + 2 + counts)[..., None, None]
    if kind == "tied":
        covariances = np.repeat(within, k, axis=1)
    if kind == "spherical":
        covariances = cov.pooled(covariances, kind) / d
    # One row more each, for an empty group would never be filled again.
    weights = (counts + 1) / (counts + 1).sum(axis=-1, keepdims=True)
    return MixtureParameters(weights, about, covariances)


def from_labels(labels: np.ndarray, data: Rows, prior: Prior) -> MixtureParameters:
    """Return the parameters that a label for each row implies.

    Raises
    ------
    ModelError
        If there is not one label from 0 to k - 1 for each row.
    """
    k = len(prior.concentration)
    if not isinstance(data, Observations):
        raise ModelError("`start` cannot be labels of rows that are read block by block; give MixtureParameters")
    if labels.shape != (len(data),):
        raise ModelError(f"`start` has to give one label for each of {len(data)} rows, got shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= k:
        raise ModelError(f"`start` has to hold labels from 0 to {k - 1}, got {labels.min()} to {labels.max()}")
    table = Table.of(data)
    return implied(table, labels[None].astype(np.int32), k, prior.covariance_type)[0]
