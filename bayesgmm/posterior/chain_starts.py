"""Where chains start: the modes that EM leads to, dispersed by the observed information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from bayesgmm.data import Rows
from bayesgmm.errors import ModelError
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import Prior
from bayesgmm.posterior.compact import CompactPosterior, Whitening

#: How far starts are dispersed about a mode, in standard deviations of the posterior there.
DISPERSION = 1.5
#: Optima of EM, best first, that are considered as starts.
MOST_MODES = 8
#: Modes nearer than this, in posterior standard deviations, are one.
SAME_MODE = 0.5
#: Draws of a chain that are fewer than these are no answer, where a run is interrupted.
FEWEST = 4


def interrupted(made: int, asked: int) -> dict[str, float]:
    """Return the facts of a run that was interrupted, if it was: how many draws it made, and should have, in all."""
    return {} if made == asked else {"draws_made": float(made), "draws_asked": float(asked)}


def refuse_flat(prior: Prior) -> None:
    """Refuse a prior under which there is no posterior to sample."""
    if not prior.is_proper:
        raise ModelError("prior='flat' has an improper posterior, which cannot be sampled; use engine='em'")


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """Where chains start: the modes, in proportion to their mass, dispersed by the observed information.

    Attributes
    ----------
    modes : list of Whitening
        That of most (Laplace) mass first; its coordinates are those that are sampled.
    mass : array (mode,)
        Share of the posterior mass.
    of_optimum : list of int
        The mode to which each optimum leads.
    """

    modes: list[Whitening]
    mass: np.ndarray
    of_optimum: list[int]

    @classmethod
    def at(cls, optima: MixtureParameters, data: Rows, prior: Prior) -> Starts:
        """Return the modes to which the (best) optima of EM lead, all in standardised coordinates."""
        posterior = CompactPosterior.of(data, prior)
        packed = posterior.coordinates.pack(optima[:MOST_MODES])
        return cls.of([posterior.whitened(theta) for theta in packed])

    @classmethod
    def of(cls, modes: list[Whitening]) -> Starts:
        """Order the modes by mass, each kept once: several optima of EM may lead to the same."""
        kept: list[Whitening] = []
        of_optimum = [0] * len(modes)
        for at in sorted(range(len(modes)), key=lambda at: -modes[at].log_mass):
            centre = modes[at].centre
            same = [i for i, other in enumerate(kept) if np.abs(other.eta(centre)).max() <= SAME_MODE]
            of_optimum[at] = same[0] if same else len(kept)
            kept += [] if same else [modes[at]]
        mass = np.exp(np.array([mode.log_mass for mode in kept]) - kept[0].log_mass)
        return cls(kept, mass / mass.sum(), of_optimum)

    def draw(self, seed: int, at: int | None = None) -> np.ndarray:
        """Return the unconstrained start of the chain that has this seed, near a mode that is given or drawn."""
        at = np.random.default_rng([seed, 1]).choice(len(self.modes), p=self.mass) if at is None else at
        return self.modes[at].theta(self.draw_near(seed, at))

    def draw_near(self, seed: int, at: int) -> np.ndarray:
        """Return the start of the chain that has this seed near a mode, whitened there.

        It calls no LAPACK: threads of samplers have less stack than OpenBLAS takes to solve 200 equations.
        """
        mode = self.modes[at]
        eta = DISPERSION * np.random.default_rng(seed).standard_normal(mode.centre.size)
        peak, _ = mode.value_and_gradient(np.zeros_like(eta))
        # Towards the mode, until the density is no lower than that of a normal so far out.
        while not mode.value_and_gradient(eta)[0] > peak - 3 * DISPERSION**2 * eta.size and np.abs(eta).max() > 1e-6:
            eta = 0.7 * eta
        return eta

    def draws(self, seed: int, number: int, at: int | None = None) -> list[np.ndarray]:
        """Return several starts."""
        return [self.draw(int(s), at) for s in np.random.SeedSequence(seed).generate_state(number)]

    def shared_out(self, seed: int, number: int) -> list[list[int]]:
        """Return which of so many chains start near each mode, in proportion to its mass."""
        mode = np.random.default_rng([seed, 1]).choice(len(self.modes), p=self.mass, size=number)
        return [np.flatnonzero(mode == at).tolist() for at in range(len(self.modes))]

    def proposals(self, number: int, rng: np.random.Generator) -> Float[np.ndarray, "number size"]:
        """Draw unconstrained vectors from the mixture of the normals at the modes, not dispersed."""
        eta = rng.standard_normal((number, self.modes[0].centre.size))
        which = rng.choice(len(self.modes), p=self.mass, size=number)
        theta = np.empty_like(eta)
        for at, mode in enumerate(self.modes):
            theta[which == at] = mode.theta(eta[which == at])
        return theta

    def log_proposal(self, theta: Float[np.ndarray, "number size"]) -> Float[np.ndarray, " number"]:
        """Return the log density of `proposals`, up to a constant."""
        log_mass = np.log(self.mass)[:, None]
        each = []
        for mode in self.modes:
            each.append(-0.5 * (mode.eta(theta) ** 2).sum(axis=1) - mode.spread.log_volume)
        return np.asarray(logsumexp(log_mass + np.array(each), axis=0))

    def log_posterior(self, theta: Float[np.ndarray, "number size"]) -> Float[np.ndarray, " number"]:
        """Return the log posterior density of unconstrained vectors, up to a constant."""
        posterior = self.modes[0].posterior
        return np.array([posterior.value_and_gradient(each)[0] for each in theta])

    def unpacked(self, theta: np.ndarray) -> MixtureParameters:
        """Return the parameters at an unconstrained vector."""
        return self.modes[0].posterior.coordinates.unpack(theta)
