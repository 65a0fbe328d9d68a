"""EM: the mode of the posterior, or the maximum of the likelihood under the flat prior."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from bayesgmm import covariance as cov
from bayesgmm import estep
from bayesgmm.arguments import one_of, real_number, whole_number
from bayesgmm.checkpoint import Checkpoint, checked_path
from bayesgmm.climbs import Climbs, Stopping, climb
from bayesgmm.data import Observations, Rows
from bayesgmm.errors import DegenerateComponentError, ModelError
from bayesgmm.initialize import candidates
from bayesgmm.parameters import Draws, MixtureParameters, Optima
from bayesgmm.priors import Prior, SeparationPrior
from bayesgmm.relabel import alignment
from bayesgmm.seeding import SEEDING_ROWS, seeding_rows
from bayesgmm.uncertainty import Approximation, bootstrap_draws, laplace_draws

#: Optima nearer than this are one: in nats, and in standardised parameters after matching labels.
SAME_OBJECTIVE, SAME_PARAMETERS = 1e-3, 0.05
#: The best start goes on to a tolerance finer by this factor, for at most so many iterations.
POLISH, POLISH_ITERATIONS = 1e-5, 100
#: Each start is the best of so many candidates per component, and at most so many, after a short run
#: of so many iterations (small EM, Biernacki et al. 2003, doi:10.1016/S0167-9473(02)00163-9).
CANDIDATES_PER_COMPONENT, MOST_CANDIDATES, SHORT_RUN = 5, 20, 10
#: Candidates whose log densities of about so many rows differ by less on average are alike.
ROWS_COMPARED, ALIKE = 200, 0.05
#: Of so many times as many rows as a sample has, starts are told apart by where they lead on the sample.
SAMPLED_FROM = 5


@dataclass(frozen=True, slots=True)
class EM:
    """Expectation maximisation from several starts (Dempster, Laird & Rubin 1977).

    The log posterior never falls from one iteration to the next, but where a concentration below 1 empties
    a component for good. All starts advance together, one pass over the data for all of them.

    Attributes
    ----------
    n_init : int
        Number of starts; one where a start is given.
    init : {"k-means++", "random"}
        Rows drawn far apart, or at random, as first centres.
    max_iter : int
        Most iterations of one start.
    tol : float
        A start has converged when the rise of the log posterior that is still to come
        (Aitken's estimate) is below ``tol`` times its size, both in standardised units.
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
        first, hits = (start.reshaped((1,)), np.ones(1)) if start is not None else self.starts(data, prior, rng)
        climbs = climb(first, data, prior, self.stopping, saved=saved and (saved, "climb"))
        if climbs.collapsed.all():
            raise DegenerateComponentError(_collapse_advice(round(hits.sum()), climbs.iterations.max()))
        ranked = rank(climbs, data, prior)
        best = int(ranked[0])
        if climbs.converged[best]:
            climbs = polished(climbs, best, data, prior, self.stopping, saved=saved)
        optima = distinct(climbs, ranked, hits, data, prior, sort=start is None)
        settled = bool(climbs.converged[best])
        unsettled = {} if settled else {"rise_to_come": float(climbs.remaining[best]), "max_iter": float(self.max_iter)}
        approximation = self._approximation(optima, data, prior, rng)
        trace = climbs.trace(best)
        drawn, log_posterior = approximation.parameters.reshaped((1, -1)), approximation.log_posterior[None]
        return Draws(
            drawn,
            log_posterior,
            log_posterior - prior.log_density(drawn),
            optima,
            trace=trace,
            converged=settled,
            kind=approximation.kind,
            facts={**approximation.facts, **unsettled, **missing_information(trace["log_posterior"])},
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
        return Stopping(self.max_iter, self.tol, self.trace)

    def starts(
        self, data: Rows, prior: Prior, rng: np.random.Generator
    ) -> tuple[MixtureParameters, Float[np.ndarray, " start"]]:
        """Return a grid of starts, the winners of short runs on a sample of the rows, and how many each stands for.

        Of many rows, starts that lead to the same optimum of the sample are climbed on from once.
        """
        k = len(prior.concentration)
        even = self.init == "random"
        sample = data.standing_for_all(SEEDING_ROWS, rng) if even else seeding_rows(data, k, rng)
        number = self.n_init * (min(CANDIDATES_PER_COMPONENT * k, MOST_CANDIDATES) if k > 1 else 1)
        first = candidates(sample, prior, self.init, number, rng)
        short = climb(first, sample, prior, Stopping(SHORT_RUN, 0.0))
        value = np.where(short.collapsed, -np.inf, short.log_posterior).reshape(self.n_init, -1)
        winners = np.arange(self.n_init) * value.shape[1] + value.argmax(axis=1)
        some = sample.taken(np.arange(0, len(sample), max(1, len(sample) // ROWS_COMPARED)))
        seen = estep.log_densities(short.parameters, some, prior.covariance_type)
        # A candidate that collapsed keeps its last sound state; climbing on, it is dropped and counted.
        first = short.parameters[varied(winners, value.ravel(), seen)]
        if len(data) < SAMPLED_FROM * len(sample) or self.n_init == 1:
            return first, np.ones(self.n_init)
        return merged(first, sample, prior, self.stopping)


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
    first: MixtureParameters, sample: Observations, prior: Prior, rule: Stopping
) -> tuple[MixtureParameters, Float[np.ndarray, " start"]]:
    """Return the different optima of a sample that starts lead to, and how many lead to each.

    A start that collapses on the sample stands for itself, for on all rows it may not.
    """
    climbs = climb(first, sample, prior, replace(rule, trace="objective"))
    lonely = {int(start): 1.0 for start in np.flatnonzero(climbs.collapsed)}
    grouped = _grouped(climbs, np.flatnonzero(~climbs.collapsed), np.ones(len(climbs.collapsed))) | lonely
    chosen = np.array(sorted(grouped))
    arrays = zip(first[chosen].arrays, climbs.parameters[chosen].arrays, strict=True)
    lost = climbs.collapsed[chosen]
    ends = (np.where(lost.reshape(-1, *[1] * (end.ndim - 1)), before, end) for before, end in arrays)
    return MixtureParameters(*ends), np.array([grouped[start] for start in chosen])


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


def polished(
    climbs: Climbs, best: int, data: Rows, prior: Any, rule: Stopping, *, saved: Checkpoint | None = None
) -> Climbs:
    """Return the climbs with the best one taken on, so that it is no longer told which start led to it."""
    finer = replace(rule, tol=rule.tol * POLISH, max_iter=min(rule.max_iter, POLISH_ITERATIONS))
    last = climb(climbs.parameters[np.array([best])], data, prior, finer, saved=saved and (saved, "polish"))
    climbs.taken_on(best, last)
    return climbs


def spurious(climbs: Climbs, data: Rows, prior: Any) -> np.ndarray:
    """Return which starts ended, under the flat prior, with a component on fewer than p + 2 rows.

    So few rows always lie near a hyperplane of their p dimensions, and the likelihood of a component there
    grows without bound as they get nearer (McLachlan & Peel 2000, section 3.10): not evidence of a group.
    """
    if prior.is_proper or prior.covariance_type == "tied":
        return np.zeros(len(climbs.collapsed), dtype=bool)
    rows = climbs.parameters.weights * data.total_weight
    return (rows < cov.block_size(prior.covariance_type, data.n_features) + 1.95).any(axis=1)


def rank(climbs: Climbs, data: Rows, prior: Any) -> np.ndarray:
    """Return the starts that did not collapse, best first; spurious ones last."""
    order = np.lexsort((-climbs.log_posterior, spurious(climbs, data, prior)))
    return order[~climbs.collapsed[order]]


def distinct(
    climbs: Climbs, ranked: np.ndarray, hits: Float[np.ndarray, " start"], data: Rows, prior: Any, *, sort: bool
) -> Optima:
    """Return the different optima, best first, with the share of the starts, each worth ``hits``, that led to each."""
    grouped = _grouped(climbs, ranked, hits)
    chosen = list(grouped)
    parameters = climbs.parameters[np.array(chosen)]
    best = parameters[0]
    if sort:
        best = best.permuted(np.lexsort(best.means.T[::-1]))
    if len(chosen) == 1:
        parameters = best.reshaped((1,))
    elif best.n_components > 1:
        parameters = parameters.permuted(alignment(parameters, best, data, prior.covariance_type))
    share = np.array(list(grouped.values())) / hits.sum()
    doubtful = spurious(climbs, data, prior)[chosen]
    return Optima(parameters, climbs.log_posterior[chosen], share, doubtful, int(hits[climbs.collapsed].sum()))


def _grouped(climbs: Climbs, starts: np.ndarray, hits: Float[np.ndarray, " start"]) -> dict[int, float]:
    """Return the first of the starts that led to each optimum, in their order, and the hits of all that did."""
    found: dict[int, float] = {}
    height, parameters = climbs.log_posterior, climbs.parameters
    for start in map(int, starts):
        as_high = (other for other in found if abs(height[start] - height[other]) <= SAME_OBJECTIVE)
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


def _collapse_advice(n: int, iterations: int) -> str:
    return (
        f"all {n} starts ended, within {iterations} iterations, in a component that has shrunk onto a few equal "
        "rows or a plane, where the likelihood has no bound; use the default prior (not 'flat'), fewer "
        "components, covariance_type='tied', or drop duplicated rows and collinear columns"
    )
