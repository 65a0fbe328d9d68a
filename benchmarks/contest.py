"""What samplers are compared on: one posterior, the same starts, and what each made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesgmm.answers.diagnostics import invariants, stuck_chains, table
from bayesgmm.data import Observations
from bayesgmm.engines.em.em import EM
from bayesgmm.expectation.pass_over_rows import e_step
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import ConjugatePrior
from bayesgmm.posterior.chain_starts import Starts


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A posterior in standardised coordinates, and how much of it is sampled.

    Attributes
    ----------
    data : Observations
        Rows, as seen.
    prior : ConjugatePrior
        The default prior with its numbers written out, in the same coordinates.
    starts : Starts
        The modes that EM leads to.
    chains, draws : int
        Length of a run; half as many draws go before, to tune.
    """

    data: Observations
    prior: ConjugatePrior
    starts: Starts
    chains: int = 4
    draws: int = 1000

    @classmethod
    def of(cls, data: Any, k: int) -> Task:
        """Standardise the data, take the default prior and find the modes by EM."""
        model, observations = MixtureModel.of(k), Observations.of(data)
        seen = model.seen(observations)
        prior: Any = model.prior_for(observations).in_units(seen.origin, seen.unit)
        optima = EM().run(seen, prior, None, np.random.default_rng(0)).optima
        return cls(seen, prior, Starts.at(optima.parameters, seen, prior))

    def sized(self, chains: int, draws: int) -> Task:
        """Return the task with runs of another length."""
        return replace(self, chains=chains, draws=draws)

    @property
    def tune(self) -> int:
        """Draws before those that are kept."""
        return self.draws // 2

    @property
    def values(self) -> np.ndarray:
        """The standardised rows (n, d), for those who have no notion of coordinates."""
        return (self.data.values - self.data.origin) / self.data.unit

    def started(self, seed: int) -> list[MixtureParameters]:
        """Return where each chain starts: near the best mode, so that none is lost in a minor one from the first."""
        return [self.starts.unpacked(theta) for theta in self.starts.draws(seed, self.chains, at=0)]


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """What a contender returns.

    Attributes
    ----------
    parameters : MixtureParameters
        Grid (chain, draw), in the coordinates of the task.
    sampling, compiling : float
        CPU seconds.
    """

    parameters: MixtureParameters
    sampling: float
    compiling: float


def overlapping(n: int) -> np.ndarray:
    """Return rows of three groups two standard deviations apart."""
    rng = np.random.default_rng(2)
    means = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    return means[rng.choice(3, n, p=[0.5, 0.3, 0.2])] + rng.normal(size=(n, 2))


def one_fit(sample: Callable[[Task, int], Sampled], task: Task, seeds: Iterator[int]) -> dict[str, float]:
    """Sample a task by the next seed, and score it."""
    return scored(task, sample(task, next(seeds)))


def scored(task: Task, sampled: Sampled) -> dict[str, float]:
    """Return the same numbers for every contender, all computed from its parameters."""
    likelihood = e_step(sampled.parameters, task.data).log_likelihood
    found = table({"log_likelihood": likelihood} | invariants(sampled.parameters, task.data, "full"))
    mean, sd, _, own_ess, _ = found.loc["log_likelihood"]
    ess = float(found["ess_bulk"].min())
    return {
        "sampling": sampled.sampling,
        "compiling": sampled.compiling,
        "ess": ess,
        "r_hat": float(found["r_hat"].max()),
        "ess_per_s": ess / sampled.sampling,
        "stuck": float(len(stuck_chains(likelihood))),
        "log_likelihood": float(mean),
        "standard_error": float(sd / np.sqrt(own_ess)),
    }
