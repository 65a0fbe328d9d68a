"""One data set drawn from the prior, fitted by every engine and held against what it was drawn from."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bayesgmm.answers.diagnostics import doubts, invariants
from bayesgmm.answers.memberships import thinned
from bayesgmm.answers.relabelling import alignment
from bayesgmm.data import Observations
from bayesgmm.errors import DegenerateComponentError
from bayesgmm.expectation.pass_over_rows import e_step, responsibilities
from bayesgmm.fitting import Engine
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import CovarianceType, Draws, MixtureParameters
from bayesgmm.model.priors import ConjugatePrior, Prior, is_exchangeable
from bayesgmm.model.simulation import simulate

#: Near-independent draws among which the truth is ranked.
RANK_DRAWS = 100
#: Memberships above this are called sure.
SURE = 0.99
#: Membership probabilities are compared with what happened in so many bins.
BINS = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """What every replicate does.

    Attributes
    ----------
    kind, prior : str, Prior
        Covariance type and prior, written out.
    n : int
        Rows.
    engines : dict of str to Engine
        By name.
    flat : frozenset of str
        Names of those that maximise the likelihood.
    ci_prob : float
        Of the intervals.
    """

    kind: CovarianceType
    prior: Prior
    n: int
    engines: dict[str, Engine]
    flat: frozenset[str]
    ci_prob: float


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one engine said about one data set, and what was true.

    Attributes
    ----------
    seconds : float
        CPU.
    failed, doubtful : bool
        Whether no fit came of it; whether EM or its approximation says not to trust it.
    ranks : dict of str to int, or None
        Of the truth among draws, and among how many.
    rank_draws : int
        How many draws those were.
    covered : dict of str to float
        Share of intervals that hold the truth.
    scores : dict of str to float
        Rows called sure, those of them that were wrong, log loss and Brier score, summed over rows.
    bins : array (bin, 3)
        Number, sum of probabilities, and number of hits, over rows and components.
    """

    seconds: float = 0.0
    failed: bool = False
    doubtful: bool = False
    ranks: dict[str, int] | None = None
    rank_draws: int = 0
    covered: dict[str, float] | None = None
    scores: dict[str, float] | None = None
    bins: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """A data set, as fitted, with what it was drawn from.

    Attributes
    ----------
    data : Observations
        As seen by a fit.
    parameters : MixtureParameters
        In the same coordinates.
    labels : int array (n,)
        Component of each row.
    prior : Prior
        In the same coordinates.
    """

    data: Observations
    parameters: MixtureParameters
    labels: Int[np.ndarray, " n"]
    prior: Prior


def replicate(settings: Settings, seed: np.random.SeedSequence) -> dict[str, Outcome]:
    """Draw a data set and judge every engine on it."""
    drawing, fitting = seed.spawn(2)
    truth = drawn_truth(settings, np.random.default_rng(drawing))
    # The same stream for every engine: a word and the engine that it stands for agree.
    return {name: judged(name, settings, truth, np.random.default_rng(fitting)) for name in settings.engines}


def drawn_truth(settings: Settings, rng: np.random.Generator) -> Truth:
    """Draw parameters from the prior, and rows; sorted, so that anchors are the same rows in every data set."""
    parameters = settings.prior.sample(rng)
    rows, labels = simulate(parameters, settings.n, seed=rng)
    order = np.argsort(rows.values[:, 0], kind="stable")
    model = MixtureModel(len(settings.prior.concentration), settings.kind, settings.prior)
    seen = model.seen(Observations.of(rows.values[order]))
    at = seen.origin, seen.unit
    return Truth(seen, parameters.moved(*at), labels[order], settings.prior.in_units(*at))


def judged(name: str, settings: Settings, truth: Truth, rng: np.random.Generator) -> Outcome:
    """Fit and compare with the truth."""
    prior = truth.prior
    if name in settings.flat:
        k, d = prior.loc.shape
        prior = ConjugatePrior.flat(k, d, settings.kind)
    began = time.process_time()
    try:
        draws = settings.engines[name].run(truth.data, prior, None, rng)
    except DegenerateComponentError:
        return Outcome(seconds=time.process_time() - began, failed=True)
    seconds, doubtful = time.process_time() - began, bool(doubts(draws.facts))
    parameters, known, labels = matched(draws, truth)
    r = responsibilities(thinned(parameters), truth.data, settings.kind)
    scores, bins = scored(r.mean(axis=0), labels)
    if draws.log_posterior.size == 1:
        return Outcome(seconds, doubtful=doubtful, scores=scores, bins=bins)
    ranks, number = ranked(draws, truth, rng)
    target = responsibilities(known, truth.data, settings.kind)
    pairs = {"memberships": (r, target), "parameters": (listed(parameters), listed(known))}
    covered = {what: coverage(*pair, settings.ci_prob) for what, pair in pairs.items()}
    return Outcome(seconds, False, doubtful, ranks, number, covered, scores, bins)


def matched(draws: Draws, truth: Truth) -> tuple[MixtureParameters, MixtureParameters, Int[np.ndarray, " n"]]:
    """Return draws, true parameters and true labels, all relabelled to the best optimum by one rule."""
    known, labels = truth.parameters, truth.labels
    if not is_exchangeable(truth.prior):
        return draws.parameters, known, labels
    best, kind = draws.optima.parameters[0], truth.prior.covariance_type
    parameters = draws.parameters.permuted(alignment(draws.parameters, best, truth.data, kind))
    order = alignment(known, best, truth.data, kind)
    return parameters, known.permuted(order), np.argsort(order)[labels]


def listed(parameters: MixtureParameters) -> Float[np.ndarray, "*grid p"]:
    """Return weights, means and standard deviations side by side."""
    deviations = np.sqrt(np.diagonal(parameters.covariances, axis1=-2, axis2=-1))
    parts = parameters.weights, parameters.means, deviations
    grid = parameters.grid
    flat = np.concatenate([part.reshape(*grid, -1) for part in parts], axis=-1)
    return flat.reshape(-1, flat.shape[-1]) if grid else flat


def coverage(draws: np.ndarray, known: np.ndarray, ci_prob: float) -> float:
    """Return the share of equal-tailed intervals, over draws (the first axis), that hold the truth."""
    tail = (1 - ci_prob) / 2
    lower, upper = np.quantile(draws, [tail, 1 - tail], axis=0)
    return float(((lower <= known) & (known <= upper)).mean())


def ranked(draws: Draws, truth: Truth, rng: np.random.Generator) -> tuple[dict[str, int], int]:
    """Return the rank of each label-invariant quantity of the truth among thinned draws, ties broken at random."""
    data, prior, kind = truth.data, truth.prior, truth.prior.covariance_type
    flat = draws.parameters.reshaped((draws.log_posterior.size,))
    at = np.linspace(0, draws.log_posterior.size - 1, min(RANK_DRAWS, draws.log_posterior.size)).round().astype(int)
    known = truth.parameters.reshaped((1,))
    likelihood = e_step(known, data, kind).log_likelihood
    sampled = {"log_posterior": draws.log_posterior.ravel()[at], "log_likelihood": draws.log_likelihood.ravel()[at]}
    sampled |= invariants(flat[at], data, kind)
    true = {"log_posterior": likelihood + prior.log_density(known), "log_likelihood": likelihood}
    true |= invariants(known, data, kind)
    ranks = {}
    for name, values in sampled.items():
        below, equal = int((values < true[name]).sum()), int((values == true[name]).sum())
        ranks[name] = below + int(rng.integers(equal + 1))
    return ranks, len(at)


def scored(
    probability: Float[np.ndarray, "k n"], labels: Int[np.ndarray, " n"]
) -> tuple[dict[str, float], Float[np.ndarray, "bin 3"]]:
    """Return how sure and how right memberships are."""
    happened = labels == np.arange(len(probability))[:, None]
    sure = probability.max(axis=0) > SURE
    wrong = probability.argmax(axis=0) != labels
    said = probability[labels, np.arange(len(labels))]
    scores = {
        "sure": float(sure.sum()),
        "sure_and_wrong": float((sure & wrong).sum()),
        # A membership of exactly 0 would cost infinitely much: a double says no less than this.
        "log_loss": float(-np.log(np.maximum(said, np.finfo(float).tiny)).sum()),
        "brier": float(((probability - happened) ** 2).sum()),
    }
    which = np.minimum((probability * BINS).astype(int), BINS - 1)
    sums = [np.bincount(which.ravel(), weights=w.ravel(), minlength=BINS) for w in (probability, happened * 1.0)]
    return scores, np.stack([np.bincount(which.ravel(), minlength=BINS), *sums], axis=1)
