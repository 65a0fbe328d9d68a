"""Doubts about groups that chains and climbs cannot see: what they rest on, and what columns they follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from bayesgmm.data import Observations
from bayesgmm.engines.em.search import Shares
from bayesgmm.errors import BayesGMMWarning, ConvergenceWarning, DoubtfulGroupsWarning, EmptyComponentWarning
from bayesgmm.model import covariance as cov
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import Prior
from bayesgmm.results.tree import by_draws, dataset, observations_of, parameters_of, prior_of

if TYPE_CHECKING:
    import xarray as xr

#: Of this share of its rows a group has one value, where the column decides who is in it.
PURE = 0.99
#: A group is narrower than rounding where its standard deviation is less than this share of the smallest step.
NARROW = 0.5
#: A group lies on others where a row of it belongs to it less likely than this; of two equal ones, 1 in 2.
OWN = 0.6
#: Two groups may be one where they gain less than this over one in their place, in nats a parameter: chance alone gives
#: one half, on average (Wilks 1938).
CHANCE = 0.4
#: Nor are they where their centres are farther apart than this, in standard deviations between them: the halves of one
#: normal, cut at its mean, are 2.65 apart, and chance finds cuts that seem up to one deviation more.
HALVES = 3.6
#: Columns of fewer rows are not called numbers of rows; nor those whose steps are larger than this on average.
FEWEST_NUMBERED, LONGEST_STEP = 12, 5.0
#: What differs by less, relative to the range of a column, is the same value.
SAME_VALUE = 1e-9
#: A group of which a sample should have so many rows is empty if it has none.
EXPECTED = 20
#: Of more rows a sample is looked at.
MOST_ROWS = 10_000
#: Groups or columns that are named in one sentence.
MOST_NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A fitted mixture at one point, and the rows in its groups.

    Attributes
    ----------
    rows : Observations
        Those that count, or a sample of them that stands for all.
    head : array (n, d)
        The first rows, in their order, if that is known.
    shares_at : Shares
        What the groups have in those rows at the point.
    sizes : array (k,)
        Rows in each group, by memberships and row weights; of a sample by the weights of the groups.
    model : MixtureModel
        What was fitted.
    is_sample : bool
        Whether there are more rows than these.
    """

    rows: Observations
    head: Float[np.ndarray, "m d"]
    shares_at: Shares
    sizes: Float[np.ndarray, " k"]
    model: MixtureModel
    is_sample: bool

    @classmethod
    def at(
        cls,
        point: MixtureParameters,
        data: Observations,
        model: MixtureModel,
        prior: Prior,
        kept: Literal["all", "sample"] = "all",
    ) -> Groups:
        """Share out the rows under one value of the parameters; all is in the coordinates in which ``data`` is seen."""
        rows, is_all = data.counted(), kept == "all"
        head = rows.values[: MOST_ROWS if is_all else 0]
        if len(rows) > MOST_ROWS:
            rows, is_all = rows.standing_for_all(MOST_ROWS, np.random.default_rng(0)), False
        shares = Shares.of(point, rows, prior)
        sizes = shares.responsibilities @ rows.sample_weight if is_all else point.weights * rows.total_weight
        return cls(rows, head, shares, sizes, model, not is_all)

    @property
    def n_components(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    @property
    def memberships(self) -> Float[np.ndarray, "k n"]:
        """Of each row at the point."""
        return self.shares_at.responsibilities

    @property
    def shares(self) -> Float[np.ndarray, "k n"]:
        """What each row is of each group: they sum to 1, or to nothing in a group that has none."""
        each = self.memberships * self.rows.sample_weight
        return each / np.maximum(each.sum(axis=1), np.finfo(float).tiny)[:, None]


def doubts_of_groups(tree: xr.DataTree, model: MixtureModel) -> list[BayesGMMWarning]:
    """Return a warning for each thing that makes the groups doubtful however well the fit converged."""
    groups = _groups_of(tree, model)
    said: list[BayesGMMWarning] = [ConvergenceWarning(sentence) for sentence in _missed(tree)]
    said += [DoubtfulGroupsWarning(sentence) for sentence in _spurious(tree)]
    if tree.attrs["kind"] != "posterior":
        said += [EmptyComponentWarning(sentence) for sentence in _empty(groups)]
    for doubt in (_few_rows, _too_many_parameters, _one_group, _two_values, _rounded, _numbered):
        said += [DoubtfulGroupsWarning(sentence) for sentence in doubt(groups)]
    return said


def _groups_of(tree: xr.DataTree, model: MixtureModel) -> Groups:
    """Return the groups at the estimate, or at the optimum that most draws are nearest to."""
    data, optima = observations_of(tree), dataset(tree, "optima")
    is_point = tree.attrs["kind"] == "point estimate"
    point = parameters_of(optima)[int(optima.attrs.get("pivot", 0))]
    point = parameters_of(dataset(tree, "posterior"))[0, 0] if is_point else point
    # What is kept of a source has lost its order.
    at, kept = (data.origin, data.unit), "sample" if "source" in tree.attrs else "all"
    return Groups.at(point.moved(*at), data, model, prior_of(tree).in_units(*at), kept)


def _missed(tree: xr.DataTree) -> Iterator[str]:
    """Say where EM's starts missed what draws found."""
    optima = dataset(tree, "optima")
    height, drawn = optima["log_posterior"].values, by_draws(optima)
    started = height[~drawn]
    if drawn[0] and len(started):
        yield (
            f"the chains found an optimum {height[0] - started.max():.3g} nats above the best that EM's starts led to: "
            "labels are aligned there, but another may be missed as well; compare result.modes() with a fit of another "
            "seed, and give EM more starts (EM(n_init=100)) before you report its estimate"
        )


def _spurious(tree: xr.DataTree) -> Iterator[str]:
    """Say where EM found nothing but groups of rows on a line."""
    if bool(dataset(tree, "optima")["spurious"].values.all()):
        yield (
            "every optimum that EM found has a group of hardly more rows than it has dimensions, where the likelihood "
            "has no bound: such groups are chance; use the default prior (not 'flat'), covariance_type='tied', or "
            "fewer groups"
        )


def _empty(groups: Groups) -> Iterator[str]:
    """Name groups in which no row is."""
    most = groups.memberships.argmax(axis=0)
    for c in range(groups.n_components):
        expected = groups.sizes[c] / groups.sizes.sum() * len(most)
        # Of a sample, a small group may be absent by chance.
        if not (most == c).any() and (not groups.is_sample or expected > EXPECTED):
            yield (
                f"no row belongs to group {c} more than to another: it takes part of another group, or its parameters "
                f"are the prior's; {_fewer(groups)}"
            )


def _few_rows(groups: Groups) -> Iterator[str]:
    """Name groups of no more rows than their covariance needs."""
    kind, d = groups.model.covariance_type, groups.rows.n_features
    if kind == "tied":
        return
    needed = d + 1 if kind == "full" else 2
    few = [c for c in range(groups.n_components) if 0.5 < groups.sizes[c] < needed + 0.9]
    if few:
        advice = "covariance_type='tied' or 'diag'" if kind == "full" else "covariance_type='tied'"
        most = f"{groups.sizes[few].max():.0f} rows"
        have = f"has about {most}" if len(few) == 1 else f"have at most {most} each"
        yield (
            f"{_named('group', few)} {have}, no more than the {needed} that a covariance of {d} column(s) needs: the "
            f"prior, or chance, gives the shape; use {advice}, or fewer groups"
        )


def _too_many_parameters(groups: Groups) -> Iterator[str]:
    """Compare the number of parameters with that of the rows."""
    free, rows = groups.model.free_parameters(groups.rows.n_features), groups.sizes.sum()
    if free > rows:
        smaller = {"full": "covariance_type='tied' or 'diag', ", "tied": "covariance_type='diag', "}
        yield (
            f"{free} free parameters are fitted to {rows:.0f} rows: what the rows do not say, the prior does; use "
            f"{smaller.get(groups.model.covariance_type, '')}fewer columns, or fewer groups"
        )


def _one_group(groups: Groups) -> Iterator[str]:
    """Name pairs of groups that share their rows."""
    if groups.n_components == 1:
        return
    # Row i, column j: the membership in group j of a row of group i.
    each = groups.shares @ groups.memberships.T
    own = np.where(each.sum(axis=1) > 0, np.diag(each), 1.0)
    if own.min() < OWN:
        least = int(own.argmin())
        other = int(np.where(np.arange(len(own)) == least, -1.0, each[least]).argmax())
        yield (
            f"groups {min(least, other)} and {max(least, other)} lie on each other: a row of group {least} belongs "
            f"there with probability {own[least]:.2f}, to group {other} with {each[least, other]:.2f}; they may be one "
            f"group, so {_fewer(groups)}"
        )
        return
    yield from _gain_little(groups)


def _gain_little(groups: Groups) -> Iterator[str]:
    """Name the pair of groups that gains least over one group of both their moments, if chance alone gives as much."""
    kind, d = groups.model.covariance_type, groups.rows.n_features
    if kind == "tied":  # One group of both would have another covariance than the others.
        return
    free = 1 + d + cov.free_parameters(kind, 1, d)
    near = (pair for pair in combinations(range(groups.n_components), 2) if _apart(groups, pair) < HALVES)
    losses = {pair: groups.shares_at.merged(pair)[1] for pair in near}
    (i, j), gain = min(losses.items(), key=lambda item: item[1], default=((0, 0), np.inf))
    if gain < CHANCE * free:
        nats = f"{gain:.2g} nats" if gain > 0 else "nothing"
        yield (
            f"groups {i} and {j} gain {nats} over one group in their place, by {free} parameters more: chance alone "
            f"gives as much, so that they may be one group; {_fewer(groups)}"
        )


def _apart(groups: Groups, pair: tuple[int, int]) -> float:
    """Return how far apart two centres are, in standard deviations of the groups in the direction of Fisher (1936)."""
    at, of = groups.shares_at.at, list(pair)
    gap, covariances = np.subtract(*at.means[of]), at.covariances[of]
    direction = np.linalg.solve(covariances.mean(axis=0), gap)
    deviations = np.sqrt(np.einsum("i,cij,j->c", direction, covariances, direction))
    return float(gap @ direction / deviations.mean()) if gap.any() else 0.0


def _two_values(groups: Groups) -> Iterator[str]:
    """Name columns of two values by which the rows are parted."""
    for name, values in _columns(groups):
        each = _distinct(values)
        if len(each) != 2 or groups.n_components == 1 or groups.rows.n_features == 1:
            continue
        share = groups.shares @ (values > each.mean())
        if ((share < 1 - PURE) | (share > PURE)).all() and np.ptp(share) > PURE - 0.01:
            yield (
                f"column {name!r} has two values, {each[0]:g} and {each[1]:g}, and every group has one of them: it "
                "alone carries the groups, and the other columns hardly count; leave it out, or fit the rows of each "
                "value by themselves"
            )


def _rounded(groups: Groups) -> Iterator[str]:
    """Name columns in which a group is narrower than the step between values."""
    for name, values in _columns(groups):
        each = _distinct(values)
        if len(each) < 3:
            continue
        step, share = float(np.diff(each).min()), groups.shares
        mean = share @ values
        deviation = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
        large = groups.sizes > groups.rows.n_features + 1.5
        narrow = [int(c) for c in np.flatnonzero(large & (deviation < NARROW * step))]
        if narrow:
            yield (
                f"{_named('group', narrow)} {'is' if len(narrow) == 1 else 'are'} narrower in column {name!r} than the "
                f"step of {step:.3g} between its values: rounding, or one value that many rows share, decides who "
                "belongs there; leave the column out, or give it with more digits"
            )


def _numbered(groups: Groups) -> Iterator[str]:
    """Name columns that number the rows."""
    if len(groups.head) < FEWEST_NUMBERED:
        return
    for name, values in zip(groups.rows.features, groups.head.T, strict=True):
        gaps = np.diff(np.sort(values))
        even = gaps[0] > 0 and np.ptp(gaps) <= 1e-6 * gaps[0]
        steps, whole = np.diff(values), bool((values == np.round(values)).all())
        in_order = whole and bool((steps > 0).all()) and float(steps.mean()) <= LONGEST_STEP
        if even or in_order:
            how = (
                "its values are all different and evenly spaced"
                if even
                else "it has whole numbers in order of the rows"
            )
            yield (
                f"column {name!r} looks like a number of the rows, not a measurement ({how}): groups follow the order "
                "of the table; leave it out"
            )


def _columns(groups: Groups) -> Iterator[tuple[str, Float[np.ndarray, " n"]]]:
    """Yield each column that is not constant, by name."""
    for name, values in zip(groups.rows.features, groups.rows.values.T, strict=True):
        if np.ptp(values) > 0:
            yield name, values


def _distinct(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """Return the different values in order, those that differ by rounding of doubles once."""
    each = np.unique(values)
    return each[np.append(True, np.diff(each) > SAME_VALUE * np.ptp(each))]


def _fewer(groups: Groups) -> str:
    """Return advice to take one group less."""
    return f"try {groups.n_components - 1} group{'s' if groups.n_components > 2 else ''}"


def _named(word: str, numbers: list[int]) -> str:
    """Return "group 2", or "groups 0, 3 and 2 more"."""
    return f"{word}{'' if len(numbers) == 1 else 's'} {_listed([str(n) for n in numbers])}"


def _listed(words: list[str]) -> str:
    """Return words as a list, cut short."""
    if len(words) > MOST_NAMED:
        words = [*words[:MOST_NAMED], f"{len(words) - MOST_NAMED} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
