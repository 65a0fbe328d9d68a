"""EM: the mode of the posterior, or the maximum of the likelihood under the flat prior."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from bayesgmm.answers.relabelling import alignment
from bayesgmm.arguments import one_of, real_number, whole_number
from bayesgmm.data import Rows
from bayesgmm.engines.checkpoint import Checkpoint, checked_path
from bayesgmm.engines.em.approximations import Approximation, bootstrap_draws, laplace_draws
from bayesgmm.engines.em.climbs import LEFT, SETTLING, Climbs, Stopping, climb, spurious
from bayesgmm.engines.em.coreset import sample_size, seeding_rows
from bayesgmm.engines.em.search import grouped, improved, in_place, rank, screened
from bayesgmm.errors import DegenerateComponentError, ModelError
from bayesgmm.model.parameters import Draws, MixtureParameters, Optima
from bayesgmm.model.priors import Prior, SeparationPrior, is_exchangeable

#: The best start goes on to a tolerance finer by this factor, for at most so many iterations.
POLISH, POLISH_ITERATIONS = 1e-5, 100
#: Of so many times as many rows as a sample has, starts are told apart by where they lead on the sample.
SAMPLED_FROM = 5


@dataclass(frozen=True, slots=True)
class EM:
    """Expectation maximisation from several starts (Dempster, Laird & Rubin 1977).

    The log posterior never falls from one iteration to the next, but where a concentration below 1 empties
    a component for good. All starts advance together, one pass over the data for all of them. A start that is slow
    leaps to where its last steps point, and back where that is lower (`bayesgmm.kernels.leaps`).

    Attributes
    ----------
    n_init : int
        Number of starts; one where a start is given. Of more than one, components of the best that they lead to are
        split, merged and shared out anew, until nothing leads higher.
    init : {"k-means++", "random"}
        Groups by k-means from rows drawn far apart, in plain columns and in sphered ones; or the rows nearest to each
        of some that are drawn at random.
    max_iter : int
        Most iterations of one start.
    tol : float
        A start has converged when the rise of the log posterior that is still to come
        (Aitken's estimate) is below ``tol`` times its size, both in standardised units. With 0 there are ``max_iter``
        iterations, and no leaps.
    trace : {"objective", "parameters"}
        What is kept of every iteration of the best start.
    uncertainty : {"none", "laplace", "bootstrap"}
        "laplace" adds draws from a normal distribution with the observed information, reweighted to the posterior
        (`laplace_draws`); "bootstrap" refits to randomly weighted rows (`bootstrap_draws`). Both are approximations,
        cheaper than a sampler, and are marked as such.
    draws : int
        How many draws those have.
    checkpoint : path, optional
        A file in which every iteration is kept, within a twentieth of the time. The same fit (data, model, settings,
        seed) given again goes on where its process died, to the same bits. It stays until it is removed.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> result = bg.fit(bg.datasets.load_faithful(), 2, engine=bg.EM(n_init=5), seed=1)
    >>> result.is_point
    True
    """

    n_init: int = 10
    init: Literal["k-means++", "random"] = "k-means++"
    max_iter: int = 1000
    tol: float = 1e-8
    trace: Literal["objective", "parameters"] = "objective"
    uncertainty: Literal["none", "laplace", "bootstrap"] = "none"
    draws: int = 1000
    checkpoint: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Check every setting."""
        object.__setattr__(self, "n_init", whole_number(self.n_init, "n_init", 1))
        object.__setattr__(self, "max_iter", whole_number(self.max_iter, "max_iter", 1))
        object.__setattr__(self, "tol", real_number(self.tol, "tol", 0.0, 1.0))
        one_of(self.init, "init", ("k-means++", "random"))
        one_of(self.trace, "trace", ("objective", "parameters"))
        one_of(self.uncertainty, "uncertainty", ("none", "laplace", "bootstrap"))
        object.__setattr__(self, "draws", whole_number(self.draws, "draws", 20))
        object.__setattr__(self, "checkpoint", checked_path(self.checkpoint))

    def run(
        self,
        data: Rows,
        prior: Prior,
        start: MixtureParameters | None,
        rng: np.random.Generator,
        progress: bool = False,
        *,
        saved: Checkpoint | None = None,
    ) -> Draws:
        """Climb from every start and return the best optimum as one draw.

        Parameters and prior are in the coordinates in which ``data`` is seen. ``saved`` is the checkpoint of a sampler
        that asks for modes, instead of an own one.

        Raises
        ------
        ModelError
            If the prior has no update.
        DegenerateComponentError
            If under the flat prior every start ends in a collapsed component.
        """
        del progress  # EM is over before a bar would be read.
        if isinstance(prior, SeparationPrior):
            raise ModelError("EM has no update for SeparationPrior; use engine='nuts', or another prior")
        saved = saved or Checkpoint.of(self, data, prior, start, rng)
        if start is None:
            climbs, hits = self.searched(data, prior, rng, saved)
        else:
            climbs = climb(start.reshaped((1,)), data, prior, self.stopping, saved=saved and (saved, "climb"))
            hits = np.ones(1)
        if climbs.collapsed.all():
            raise DegenerateComponentError(_collapse_advice(round(hits.sum()), climbs.iterations.max()))
        ranked = rank(climbs, data, prior)
        best = int(ranked[0])
        if climbs.ends[best] == LEFT:  # What it was left for has collapsed.
            climbs.taken_on(best, climb(climbs.parameters[np.array([best])], data, prior, self.stopping))
        plain = int(climbs.evaluations[best]) + SETTLING
        if climbs.converged[best]:
            climbs = polished(climbs, best, data, prior, self.stopping, saved=saved)
        optima = distinct(climbs, ranked, hits, data, prior, sort=start is None)
        settled = bool(climbs.converged[best])
        unsettled = {} if settled else {"rise_to_come": float(climbs.remaining[best]), "max_iter": float(self.max_iter)}
        approximation = self._approximation(optima, data, prior, rng)
        trace, rate = climbs.trace(best), float(climbs.rate[best])
        # Distances shrink faster by leaps: a trace tells of those that EM makes good only up to the first.
        hidden = {"missing_information": rate} if 0 < rate < 1 else missing_information(trace["log_posterior"][:plain])
        drawn, log_posterior = approximation.parameters.reshaped((1, -1)), approximation.log_posterior[None]
        return Draws(
            drawn,
            log_posterior,
            log_posterior - prior.log_density(drawn),
            optima,
            trace=trace,
            converged=settled,
            kind=approximation.kind,
            facts={**approximation.facts, **unsettled, **hidden},
        )

    def _approximation(self, optima: Optima, data: Rows, prior: Prior, rng: np.random.Generator) -> Approximation:
        """Return the best optimum alone, or draws about it."""
        if self.uncertainty == "laplace":
            return laplace_draws(optima, data, prior, self.draws, rng)
        if self.uncertainty == "bootstrap":
            return bootstrap_draws(optima, data, prior, self.draws, self.stopping, rng)
        return Approximation(optima.parameters[:1], optima.log_posterior[:1], "point estimate")

    @property
    def stopping(self) -> Stopping:
        """When a climb ends."""
        return Stopping(self.max_iter, self.tol, self.trace, settling=SETTLING if self.tol > 0 else None)

    def searched(
        self, data: Rows, prior: Prior, rng: np.random.Generator, saved: Checkpoint | None
    ) -> tuple[Climbs, Float[np.ndarray, " start"]]:
        """Climb from starts of its own; return the climbs, and how many starts each stands for.

        Of many rows, what leads to the same optimum of a sample is climbed on from once.
        """
        k, rule = len(prior.concentration), replace(self.stopping, leaves=True)
        size = sample_size(k, data.n_features)
        few = data.standing_for_all(size, rng) if self.init == "random" else seeding_rows(data, k, rng)
        first, hits = screened(few, prior, self.init, self.n_init, rng)
        first = in_place(first, prior)
        is_whole = len(data) < SAMPLED_FROM * len(few)
        sample = data.subsample(len(data), rng) if is_whole else few
        own = rule if is_whole else replace(rule, trace="objective")
        climbs = climb(first, sample, prior, own, saved=saved and (saved, "climb") if is_whole else None)
        if self.n_init > 1:
            climbs = improved(climbs, sample, prior, own, rng)
            hits = np.append(hits, np.zeros(len(climbs.ends) - len(hits)))
        if is_whole:
            return climbs, hits
        first, hits = merged(climbs, first, hits)
        return climb(first, data, prior, rule, saved=saved and (saved, "climb")), hits


def missing_information(log_posterior: Float[np.ndarray, " iteration"]) -> dict[str, float]:
    """Return the largest fraction of information on a parameter that the labels hide, from how a climb ended.

    Near the optimum the distance shrinks by that fraction at each iteration (Dempster, Laird & Rubin 1977), so gains
    of the log posterior shrink by its square; it is also how alike successive draws of a Gibbs sampler are. Empty
    where gains are lost in rounding before they tell, or still grow at the end.
    """
    gains, lost = np.diff(log_posterior), 100 * np.finfo(float).eps * np.abs(log_posterior[1:])
    telling = gains > lost
    pairs = np.flatnonzero(telling[1:] & telling[:-1])
    if pairs.size == 0:
        return {}
    rate = np.median(gains[pairs[-3:] + 1] / gains[pairs[-3:]])
    last = pairs[-1] + 1
    if last + 1 < len(gains):
        # The climb ended in one step, however its gains grew before: that step was the smaller, the less is hidden.
        rate = min(rate, lost[last + 1] / gains[last])
    return {"missing_information": float(np.sqrt(rate))} if rate < 1 else {}


def merged(
    climbs: Climbs, first: MixtureParameters, hits: Float[np.ndarray, " start"]
) -> tuple[MixtureParameters, Float[np.ndarray, " start"]]:
    """Return the different optima of a sample that starts lead to, and how many lead to each.

    A start that collapses on the sample stands for itself, for on all rows it may not.
    """
    lonely = {int(start): float(hits[start]) for start in np.flatnonzero(climbs.collapsed[: len(first.weights)])}
    groups = grouped(climbs, np.flatnonzero(~climbs.collapsed), hits) | lonely
    chosen = sorted(groups)
    ends = [first[at] if at in lonely else climbs.parameters[at] for at in chosen]
    stacked = (np.stack(arrays) for arrays in zip(*(end.arrays for end in ends), strict=True))
    return MixtureParameters(*stacked), np.array([groups[start] for start in chosen])


def polished(
    climbs: Climbs, best: int, data: Rows, prior: Any, rule: Stopping, *, saved: Checkpoint | None = None
) -> Climbs:
    """Return the climbs with the best one taken on, so that it is no longer told which start led to it."""
    finer = replace(rule, tol=rule.tol * POLISH, max_iter=min(rule.max_iter, POLISH_ITERATIONS))
    last = climb(climbs.parameters[np.array([best])], data, prior, finer, saved=saved and (saved, "polish"))
    climbs.taken_on(best, last)
    return climbs


def distinct(
    climbs: Climbs, ranked: np.ndarray, hits: Float[np.ndarray, " start"], data: Rows, prior: Any, *, sort: bool
) -> Optima:
    """Return the different optima, best first, with the share of the starts, each worth ``hits``, that led to each.

    Where the prior is the same for all components their order is free: the best optimum's is by means, if ``sort``,
    and the others are aligned to it.
    """
    free = is_exchangeable(prior)
    groups = grouped(climbs, ranked, hits)
    chosen = list(groups)
    parameters = climbs.parameters[np.array(chosen)]
    best = parameters[0]
    if sort and free:
        best = best.permuted(np.lexsort(best.means.T[::-1]))
    if len(chosen) == 1:
        parameters = best.reshaped((1,))
    elif best.n_components > 1 and free:
        parameters = parameters.permuted(alignment(parameters, best, data, prior.covariance_type))
    share = np.array(list(groups.values())) / hits.sum()
    doubtful = spurious(climbs, data, prior)[chosen]
    return Optima(
        parameters,
        climbs.log_posterior[chosen],
        share,
        doubtful,
        int(hits[climbs.collapsed].sum()),
        climbs.converged[chosen],
    )


def _collapse_advice(n: int, iterations: int) -> str:
    return (
        f"all {n} starts ended, within {iterations} iterations, in a component that has shrunk onto a few equal "
        "rows or a plane, where the likelihood has no bound; use the default prior (not 'flat'), fewer "
        "components, covariance_type='tied', or drop duplicated rows and collinear columns"
    )
