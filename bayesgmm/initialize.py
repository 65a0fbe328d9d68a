"""Starts for EM: groups of rows, and the parameters that they imply."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from bayesgmm import covariance as cov
from bayesgmm.data import Observations, Rows
from bayesgmm.errors import ModelError
from bayesgmm.parameters import MixtureParameters
from bayesgmm.priors import ConjugatePrior, Prior
from bayesgmm.suffstats import SufficientStatistics

#: Values held at a time while candidates are drawn: 32 MB.
BATCH_VALUES = 4_000_000


def candidates(
    sample: Observations, prior: Prior, how: Literal["k-means++", "random"], number: int, rng: np.random.Generator
) -> MixtureParameters:
    """Return a grid (number,) of starting values, in the coordinates in which ``sample`` is seen."""
    x = (sample.values - sample.origin) / sample.unit
    k = len(prior.concentration)
    smooth = smoothing_prior(sample, prior)
    centres = spread_centres if how == "k-means++" else random_centres
    batch = max(1, BATCH_VALUES // (len(x) * k))
    parts = []
    for first in range(0, number, batch):
        at = centres(x, sample.sample_weight, k, min(batch, number - first), rng)
        parts.append(implied(x, sample.sample_weight, nearest(x, x[at]), smooth))
    return MixtureParameters(*(np.concatenate(arrays) for arrays in zip(*(p.arrays for p in parts), strict=True)))


def smoothing_prior(data: Rows, prior: Prior) -> ConjugatePrior:
    """Return the data-scaled prior in which groups are summed up, so that no start is singular."""
    k, d, kind = len(prior.concentration), data.n_features, prior.covariance_type
    _, sample = data.moments()
    scale = (sample + 1e-6 * np.eye(d)) / k ** (2 / d)
    return ConjugatePrior(1.0, 0.0, 0.01, d + 2.0, scale).bound(k, d, kind)


def spread_centres(
    x: Float[np.ndarray, "n d"], weight: Float[np.ndarray, " n"], k: int, number: int, rng: np.random.Generator
) -> Int[np.ndarray, "number k"]:
    """Draw rows with probability proportional to their squared distance from those drawn.

    k-means++ (Arthur & Vassilvitskii 2007), without the greedy step: variety is what many starts are for.
    """
    chosen = np.empty((number, k), dtype=np.intp)
    distance = np.ones((number, len(x)))
    for c in range(k):
        chosen[:, c] = _drawn(weight * distance, rng)
        apart = squared_distance(x, x[chosen[:, c]])
        distance = apart if c == 0 else np.minimum(distance, apart)
    return chosen


def random_centres(
    x: Float[np.ndarray, "n d"], weight: Float[np.ndarray, " n"], k: int, number: int, rng: np.random.Generator
) -> Int[np.ndarray, "number k"]:
    """Draw k different rows with probability proportional to their weight."""
    chosen = np.empty((number, k), dtype=np.intp)
    mass = np.broadcast_to(weight, (number, len(x))).copy()
    for c in range(k):
        chosen[:, c] = _drawn(mass, rng)
        mass[np.arange(number), chosen[:, c]] = 0
    return chosen


def _drawn(mass: Float[np.ndarray, "number n"], rng: np.random.Generator) -> Int[np.ndarray, " number"]:
    """Draw a column of each row with probability proportional to its mass (evenly if there is none)."""
    mass = np.where(mass.sum(axis=1, keepdims=True) > 0, mass, 1.0)
    reached = np.cumsum(mass, axis=1)
    at = rng.uniform(0, reached[:, -1])[:, None]
    return np.minimum((reached <= at).sum(axis=1), mass.shape[1] - 1)


def squared_distance(x: Float[np.ndarray, "n d"], centre: Float[np.ndarray, "*grid d"]) -> Float[np.ndarray, "*grid n"]:
    """Return the squared distance of every row from every centre, feature by feature."""
    apart = np.zeros((*centre.shape[:-1], len(x)))
    for j in range(x.shape[1]):
        apart += (x[:, j] - centre[..., j, None]) ** 2
    return apart


def nearest(x: Float[np.ndarray, "n d"], centres: Float[np.ndarray, "*grid k d"]) -> Int[np.ndarray, "*grid n"]:
    """Return the index of the nearest centre of every row."""
    return np.argmin(squared_distance(x, centres), axis=-2)


def implied(
    x: Float[np.ndarray, "n d"],
    weight: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, "*grid n"],
    prior: ConjugatePrior,
) -> MixtureParameters:
    """Return the parameters that groups of rows imply: the mode given their labels."""
    k, d = prior.loc.shape
    member = (labels[..., None, :] == np.arange(k)[:, None]) * weight
    counts = member.sum(axis=-1)
    share = np.divide(member, counts[..., None], out=np.zeros_like(member), where=counts[..., None] > 0)
    about = share @ x
    second = _scatter(x, member, about)
    second = second * np.eye(d) if cov.is_diagonal(prior.covariance_type) else second
    stats = SufficientStatistics(about, counts, np.zeros_like(about), second)
    mode = prior.updated(stats).mode()
    # One row more each, for an empty group would never be filled again.
    weights = (counts + 1) / (counts + 1).sum(axis=-1, keepdims=True)
    return MixtureParameters(weights, mode.means, mode.covariances)


def _scatter(
    x: Float[np.ndarray, "n d"], member: Float[np.ndarray, "*grid k n"], about: Float[np.ndarray, "*grid k d"]
) -> Float[np.ndarray, "*grid k d d"]:
    """Sum ``(x - about)(x - about)'`` over the members, one pair of features at a time."""
    d = x.shape[1]
    scatter = np.empty((*about.shape, d))
    for i in range(d):
        weighted = member * (x[:, i] - about[..., i, None])
        for j in range(i + 1):
            scatter[..., i, j] = scatter[..., j, i] = (weighted * (x[:, j] - about[..., j, None])).sum(axis=-1)
    return scatter


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
    x = (data.values - data.origin) / data.unit
    return implied(x, data.sample_weight, labels, smoothing_prior(data, prior))
