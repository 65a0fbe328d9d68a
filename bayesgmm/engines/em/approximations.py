"""Uncertainty of EM's estimate: draws about it that cost less than a sampler's, and are less exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from bayesgmm.answers.diagnostics import smoothed_importance_weights
from bayesgmm.data import Observations, Rows
from bayesgmm.engines.em.climbs import Stopping, climb
from bayesgmm.errors import DegenerateComponentError, ModelError
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.model.parameters import MixtureParameters, Optima
from bayesgmm.model.priors import Prior
from bayesgmm.posterior.chain_starts import Starts

#: Proposals per draw that is kept: enough for weights to matter.
PROPOSALS_PER_DRAW = 4
#: Row weights held at a time by the bootstrap: 32 MB.
BATCH_VALUES = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Approximation:
    """Equally weighted draws that stand for a posterior, or one point.

    Attributes
    ----------
    parameters : MixtureParameters
        Grid (draw,).
    log_posterior : array (draw,)
        In nats.
    kind : str
        What it is, in words.
    facts : mapping of str to float
        What says how far it can be trusted.
    """

    parameters: MixtureParameters
    log_posterior: Float[np.ndarray, " draw"]
    kind: str
    facts: Mapping[str, float] = field(default_factory=dict)


def laplace_draws(optima: Optima, data: Rows, prior: Prior, draws: int, rng: np.random.Generator) -> Approximation:
    """Draw from normal distributions at the posterior modes, reweighted to the posterior.

    Proposals come, in unconstrained coordinates, from the normal whose precision is the observed information
    (Louis 1982, doi:10.1111/j.2517-6161.1982.tb01203.x), or where there are several modes from the mixture of
    theirs. Importance weights are smoothed (PSIS, Vehtari et al. 2024, arXiv:1507.02646): above ``k_hat`` .7 even
    those do not make up for the difference. The draws are resampled by these weights, so some may be equal.

    Raises
    ------
    ModelError
        If the prior is flat.
    """
    if not prior.is_proper:
        raise ModelError(
            "uncertainty='laplace' approximates a posterior, and under prior='flat' there is none; use a proper prior "
            "or uncertainty='bootstrap'"
        )
    starts = Starts.at(optima.reached, data, prior)
    proposals = starts.proposals(PROPOSALS_PER_DRAW * draws, rng)
    weights, k_hat = smoothed_importance_weights(starts.log_posterior(proposals) - starts.log_proposal(proposals))
    chosen = systematic(weights, draws, rng)
    parameters = starts.unpacked(proposals[chosen])
    facts = {"k_hat": k_hat, "distinct_draws": float(len(np.unique(chosen)))}
    return Approximation(parameters, _log_posterior(parameters, data, prior), "Laplace approximation", facts)


def systematic(weights: Float[np.ndarray, " m"], number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw indices with probability proportional to their weight, evenly, in random order."""
    reached = np.cumsum(weights) / weights.sum()
    at = (np.arange(number) + rng.random()) / number
    return rng.permutation(np.minimum(np.searchsorted(reached, at, side="right"), len(weights) - 1))


def bootstrap_draws(
    optima: Optima, data: Rows, prior: Any, draws: int, rule: Stopping, rng: np.random.Generator
) -> Approximation:
    """Maximise the likelihood, times the prior, of randomly weighted rows, from the best optimum.

    The weighted-likelihood bootstrap (Newton & Raftery 1994, doi:10.1111/j.2517-6161.1994.tb01956.x): weights are
    Dirichlet(1, ..., 1) times the total weight, a row that counts v times having the weights of v rows. Unlike
    resampled rows, no group is ever left without any. Replicates that collapse are dropped and counted.

    Raises
    ------
    DegenerateComponentError
        If every replicate collapses.
    """
    if not isinstance(data, Observations):
        raise ModelError("uncertainty='bootstrap' weighs rows in memory anew; use 'laplace' for rows read by blocks")
    batch = max(1, BATCH_VALUES // len(data))
    parts, unfinished = [], 0
    for first in range(0, draws, batch):
        number = min(batch, draws - first)
        weights = rng.standard_gamma(np.broadcast_to(data.sample_weight, (number, len(data))))
        weights *= data.total_weight / weights.sum(axis=1, keepdims=True)
        start = MixtureParameters(*(np.repeat(a[:1], number, axis=0) for a in optima.parameters.arrays))
        climbs = climb(start, data, prior, rule, weights=weights)
        parts.append(climbs.parameters[~climbs.collapsed])
        unfinished += int((~climbs.converged & ~climbs.collapsed).sum())
    parameters = MixtureParameters(*(np.concatenate(a) for a in zip(*(p.arrays for p in parts), strict=True)))
    kept = len(parameters.weights)
    if kept < 2:
        raise DegenerateComponentError(
            f"all but {kept} of {draws} bootstrap replicates ended in a collapsed component; use the default prior "
            "(not 'flat') or fewer components"
        )
    facts = {"dropped_replicates": float(draws - kept), "unfinished_replicates": float(unfinished)}
    return Approximation(parameters, _log_posterior(parameters, data, prior), "weighted-likelihood bootstrap", facts)


def _log_posterior(parameters: MixtureParameters, data: Rows, prior: Prior) -> Float[np.ndarray, " draw"]:
    """Return the log posterior of each draw given the rows as they are."""
    likelihood = estep.e_step(parameters, data, prior.covariance_type).log_likelihood
    return likelihood + np.asarray(prior.log_density(parameters))
