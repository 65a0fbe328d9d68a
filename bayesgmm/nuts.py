"""NUTS: the posterior sampled from the modes that EM found, in coordinates whitened there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bayesgmm.arguments import one_of, real_number, whole_number
from bayesgmm.compact import CompactPosterior, Whitening
from bayesgmm.data import Observations
from bayesgmm.em import EM
from bayesgmm.errors import ModelError
from bayesgmm.estep import log_densities
from bayesgmm.parameters import Draws, MixtureParameters, Optima
from bayesgmm.priors import ConjugatePrior, Prior, SeparationPrior

#: How far starts are dispersed about a mode, in standard deviations of the posterior there.
DISPERSION = 1.5
#: Optima of EM, best first, that are considered as starts.
MOST_MODES = 8
#: Modes nearer than this, in posterior standard deviations, are one.
SAME_MODE = 0.5
#: Rows times components times squared features below which one core samples faster than several,
#: for every step calls Python once and holds its lock.
SERIAL_WORK = 40_000
#: What is kept of what the sampler says, by ArviZ's names.
SAMPLE_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "n_steps": "n_steps",
    "depth": "tree_depth",
    "tree_depth": "tree_depth",
    "step_size": "step_size",
    "mean_tree_accept": "acceptance_rate",
    "acceptance_rate": "acceptance_rate",
}
#: Log-likelihoods held at a time while draws are scored: 32 MB.
BATCH_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class NUTS:
    """The No-U-Turn sampler on the mixture with labels summed out (Hoffman & Gelman 2014).

    Chains start from the modes that EM leads to, in proportion to their (Laplace) posterior mass, and are
    dispersed by the observed information, which also whitens the coordinates. These are modes of the density
    over unconstrained coordinates: EM's optimum is where the search for each begins.

    Attributes
    ----------
    draws : int
        Draws kept of each chain.
    tune : int
        Draws before those, for the step size; few are needed, for the coordinates are white.
    chains : int
        Number of chains.
    target_accept : float
        Mean acceptance probability aimed at; higher means smaller steps.
    sampler : {"nutpie", "pymc"}
        nutpie calls the compiled posterior itself; PyMC's own sampler is slower on small data.
    form : {"compact", "transparent"}
        The posterior over one whitened vector, or the model of `build_pymc_model`.
    cores : int, optional
        Chains sampled at a time; chosen by the size of the data where not given. The draws do
        not depend on it.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> engine = bg.NUTS(draws=1000, chains=4, target_accept=.9)
    >>> result = bg.fit(bg.datasets.load_faithful(), 2, engine=engine, seed=1, progress=False)
    >>> result.is_point
    False
    """

    draws: int = 1000
    tune: int = 500
    chains: int = 4
    target_accept: float = 0.9
    sampler: Literal["nutpie", "pymc"] = "nutpie"
    form: Literal["compact", "transparent"] = "compact"
    cores: int | None = None

    def __post_init__(self) -> None:
        """Check every setting."""
        whole_number(self.draws, "draws", 4)
        whole_number(self.tune, "tune", 20)
        whole_number(self.chains, "chains", 1)
        real_number(self.target_accept, "target_accept", 0.1, 0.999)
        one_of(self.sampler, "sampler", ("nutpie", "pymc"))
        one_of(self.form, "form", ("compact", "transparent"))
        if self.cores is not None:
            whole_number(self.cores, "cores", 1)

    def run(
        self,
        data: Observations,
        prior: Prior,
        start: MixtureParameters | None,
        rng: np.random.Generator,
        progress: bool = False,
    ) -> Draws:
        """Find the modes by EM, whiten about the best and sample.

        Parameters and prior are in the coordinates in which ``data`` is seen.

        Raises
        ------
        ModelError
            If the prior is flat: its posterior is improper.
        """
        if not prior.is_proper:
            raise ModelError("prior='flat' has an improper posterior, which cannot be sampled; use engine='em'")
        optima = EM().run(data, _prior_for_em(prior), start, rng).optima
        posterior = CompactPosterior.of(data, prior)
        packed = posterior.coordinates.pack(optima.parameters[:MOST_MODES])
        starts = Starts.of([posterior.whitened(theta) for theta in packed])
        sampling = Sampling(self, starts, int(rng.integers(2**31 - 1)), progress, self._cores(data, prior))
        sample = _sample_compact if self.form == "compact" else _sample_transparent
        parameters, stats = sample(sampling, data, prior)
        log_likelihood = log_likelihoods(parameters, data, prior)
        log_posterior = log_likelihood + prior.log_density(parameters)
        return Draws(parameters, log_posterior, log_likelihood, _scored(optima, data, prior), stats)

    def _cores(self, data: Observations, prior: Prior) -> int:
        """Return how many chains to sample at a time."""
        if self.cores is not None:
            return min(self.cores, self.chains)
        work = data.values.size * data.n_features * len(prior.concentration)
        return 1 if work < SERIAL_WORK else min(self.chains, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """Where chains start: the modes, in proportion to their mass, dispersed by the observed information.

    Attributes
    ----------
    modes : list of Whitening
        That of most (Laplace) mass first; its coordinates are those that are sampled.
    mass : array (mode,)
        Share of the posterior mass.
    """

    modes: list[Whitening]
    mass: np.ndarray

    @classmethod
    def of(cls, modes: list[Whitening]) -> Starts:
        """Order the modes by mass, each kept once: several optima of EM may lead to the same."""
        ranked, modes = sorted(modes, key=lambda mode: -mode.log_mass), []
        for mode in ranked:
            if all(np.abs(other.eta(mode.centre)).max() > SAME_MODE for other in modes):
                modes.append(mode)
        mass = np.exp(np.array([mode.log_mass for mode in modes]) - modes[0].log_mass)
        return cls(modes, mass / mass.sum())

    def draw(self, seed: int, *, best: bool = False) -> np.ndarray:
        """Return the unconstrained start of the chain that has this seed, near the best mode if asked."""
        rng = np.random.default_rng(seed)
        mode = self.modes[0 if best else rng.choice(len(self.modes), p=self.mass)]
        eta = DISPERSION * rng.standard_normal(mode.centre.size)
        peak, _ = mode.value_and_gradient(np.zeros_like(eta))
        # Towards the mode, until the density is no lower than that of a normal so far out.
        while not mode.value_and_gradient(eta)[0] > peak - 3 * DISPERSION**2 * eta.size and np.abs(eta).max() > 1e-6:
            eta = 0.7 * eta
        return mode.theta(eta)

    def draws(self, seed: int, number: int, *, best: bool = False) -> list[np.ndarray]:
        """Return several starts."""
        return [self.draw(int(s), best=best) for s in np.random.SeedSequence(seed).generate_state(number)]

    def unpacked(self, theta: np.ndarray) -> MixtureParameters:
        """Return the parameters at an unconstrained vector."""
        return self.modes[0].posterior.coordinates.unpack(theta)


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """One run of a sampler, settled.

    Attributes
    ----------
    engine : NUTS
        Settings.
    starts : Starts
        Where chains start.
    seed : int
        Of the sampler.
    progress : bool
        Whether it draws a bar.
    cores : int
        Chains at a time.
    """

    engine: NUTS
    starts: Starts
    seed: int
    progress: bool
    cores: int


def _sample_compact(
    sampling: Sampling, data: Observations, prior: Prior
) -> tuple[MixtureParameters, dict[str, np.ndarray]]:
    del data, prior  # The modes hold both.
    white = sampling.starts.modes[0]
    tree = (_nutpie_on_compact if sampling.engine.sampler == "nutpie" else _pymc_on_compact)(sampling, white)
    return sampling.starts.unpacked(white.theta(tree["posterior"]["eta"].values)), kept_stats(tree)


def _sample_transparent(
    sampling: Sampling, data: Observations, prior: Prior
) -> tuple[MixtureParameters, dict[str, np.ndarray]]:
    from bayesgmm.pymc_model import build_standardised_model

    model = build_standardised_model(data, prior)
    run = _nutpie_on_model if sampling.engine.sampler == "nutpie" else _pymc_on_model
    tree = run(sampling, model, prior)
    names = ("weights", "means", "covariances")
    return MixtureParameters(*(tree["posterior"][name].values for name in names)), kept_stats(tree)


def log_likelihoods(parameters: MixtureParameters, data: Observations, prior: Prior) -> np.ndarray:
    """Return the log-likelihood of each draw, as seen."""
    flat = parameters.reshaped((int(np.prod(parameters.grid)),))
    scores = np.zeros(len(flat.weights))
    rows = max(1, BATCH_VALUES // len(scores))
    for start in range(0, len(data), rows):
        block = data.rows(start, start + rows)
        density = log_densities(flat, block, prior.covariance_type) + np.log(data.unit).sum()
        scores += density @ block.sample_weight
    return scores.reshape(parameters.grid)


def kept_stats(tree: Any) -> dict[str, np.ndarray]:
    """Return the sampler's statistics of each draw under ArviZ's names."""
    stats = tree["sample_stats"]
    return {kept: stats[name].values for name, kept in SAMPLE_STATS.items() if name in stats}


def _prior_for_em(prior: Prior) -> Prior:
    """Return a prior that EM can take: the data-scaled one stands in for the separation prior."""
    if not isinstance(prior, SeparationPrior):
        return prior
    k, d = prior.loc.shape
    scale = prior.deviation[..., None] ** 2 * np.eye(d)
    return ConjugatePrior(prior.concentration, 0.0, 0.01, d + 2.0, scale).bound(k, d, prior.covariance_type)


def _scored(optima: Optima, data: Observations, prior: Prior) -> Optima:
    """Return the optima with the log posterior under the prior that was sampled."""
    value = log_likelihoods(optima.parameters, data, prior) + prior.log_density(optima.parameters)
    return Optima(optima.parameters, value, optima.basin_share, optima.spurious, optima.dropped)


def _nutpie_on_compact(sampling: Sampling, white: Whitening) -> Any:
    """Let nutpie call the compiled posterior itself: nothing is compiled for a new model."""
    from nutpie.compiled_pyfunc import from_pyfunc

    size = white.centre.size
    compiled = from_pyfunc(
        size,
        lambda: white.value_and_gradient,
        lambda *_: lambda point: {"eta": np.asarray(point)},
        [np.dtype(np.float64)],
        [(size,)],
        ["eta"],
        # By the chain's own seed, for the order in which chains begin is not fixed.
        make_initial_point_fn=lambda chain_seed: white.eta(sampling.starts.draw(chain_seed)),
    )
    return _run_nutpie(sampling, compiled)


def _nutpie_on_model(sampling: Sampling, model: Any, prior: Prior) -> Any:
    import nutpie

    from bayesgmm.pymc_model import random_initial_values

    # nutpie draws each variable's start by itself: a mixture of modes would be no start.
    near = sampling.starts.draws(sampling.seed, 4 * sampling.engine.chains, best=True)
    values: Any = random_initial_values(prior, [sampling.starts.unpacked(theta) for theta in near])
    return _run_nutpie(sampling, nutpie.compile_pymc_model(model, initial_points=values, jitter_rvs=set()))


def _run_nutpie(sampling: Sampling, compiled: Any) -> Any:
    import nutpie

    engine = sampling.engine
    return nutpie.sample(
        compiled,
        draws=engine.draws,
        tune=engine.tune,
        chains=engine.chains,
        cores=sampling.cores,
        seed=sampling.seed,
        progress_bar=sampling.progress,
        save_warmup=False,
        target_accept=engine.target_accept,
    )


def _pymc_on_compact(sampling: Sampling, white: Whitening) -> Any:
    from bayesgmm.pymc_model import build_compact_model

    starts = sampling.starts.draws(sampling.seed, sampling.engine.chains)
    return _run_pymc(sampling, build_compact_model(white), [{"eta": white.eta(theta)} for theta in starts])


def _pymc_on_model(sampling: Sampling, model: Any, prior: Prior) -> Any:
    from bayesgmm.pymc_model import initial_values

    starts = sampling.starts.draws(sampling.seed, sampling.engine.chains)
    return _run_pymc(sampling, model, [initial_values(prior, sampling.starts.unpacked(theta)) for theta in starts])


def _run_pymc(sampling: Sampling, model: Any, values: list[dict[str, np.ndarray]]) -> Any:
    from bayesgmm.pymc_model import sample_with_pymc

    engine = sampling.engine
    return sample_with_pymc(
        model,
        values,
        sampling.progress,
        draws=engine.draws,
        tune=engine.tune,
        chains=engine.chains,
        cores=sampling.cores,
        random_seed=sampling.seed,
        nuts={"target_accept": engine.target_accept},
    )
