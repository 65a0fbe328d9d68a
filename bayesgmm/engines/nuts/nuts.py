"""NUTS: the posterior sampled from the modes that EM found, in coordinates whitened there."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numba
import numpy as np

from bayesgmm.arguments import one_of, real_number, whole_number
from bayesgmm.data import Observations, Rows
from bayesgmm.data.statistics import Expectation
from bayesgmm.engines.checkpoint import Checkpoint, Evaluations, checked_path
from bayesgmm.engines.em.ascents import with_ascents
from bayesgmm.engines.em.em import EM
from bayesgmm.engines.nuts.chains import is_kept, judged
from bayesgmm.errors import ModelError
from bayesgmm.expectation.pass_over_rows import allocate, e_step, whiten
from bayesgmm.kernels.callback import copied_in_c, laid_out, log_posterior_in_c
from bayesgmm.kernels.elementary import COMPILES
from bayesgmm.model.parameters import Draws, MixtureParameters, Optima
from bayesgmm.model.priors import ConjugatePrior, Prior, SeparationPrior
from bayesgmm.posterior.chain_starts import FEWEST, Starts, interrupted, refuse_flat
from bayesgmm.posterior.compact import Whitening

#: Rows times components times squared features below which PyMC's own sampler takes longer to start processes than
#: to sample.
SERIAL_WORK = 40_000
#: What a draw consists of.
PARAMETERS = ("weights", "means", "covariances")
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


@dataclass(frozen=True, slots=True)
class NUTS:
    """The No-U-Turn sampler on the mixture with labels summed out (Hoffman & Gelman 2014).

    Chains start from the modes that EM leads to, in proportion to their (Laplace) posterior mass, and are
    dispersed by the observed information there, which also whitens the coordinates of the chain. These are modes of
    the density over unconstrained coordinates: EM's optimum is where the search for each begins. Beyond 300 free
    parameters the information is that of complete data, in closed form, and what the labels hide of it along a few
    axes.

    Attributes
    ----------
    draws : int
        Draws kept of each chain.
    tune : int
        Draws before those, for the step size; few are needed, for the coordinates are white: 200 where not given
        (500 where ``form="transparent"``, whose coordinates are not).
    chains : int
        Number of chains.
    target_accept : float
        Mean acceptance probability aimed at; higher means smaller steps.
    sampler : {"nutpie", "pymc"}
        nutpie calls the compiled posterior itself; PyMC's own sampler is slower on small data.
    form : {"compact", "transparent"}
        The posterior over one whitened vector, or the model of `build_pymc_model`.
    cores : int, optional
        Chains sampled at a time: where not given, as many as numba takes threads (one, if PyMC samples few rows). The
        draws do not depend on it.

    checkpoint : path, optional
        A file in which every finished chain is kept; chains are then sampled each with a seed of its own. Of rows in
        several blocks, whose passes take time, it keeps within a twentieth of that time what the sampler's passes gave
        (64 MB a chain). The same fit (data, model, settings, seed) given again goes on to the same bits: a chain under
        way begins anew, for only nutpie knows its state, but the passes that were kept are not made again. It stays
        until it is removed.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> engine = bg.NUTS(draws=1000, chains=4, target_accept=.9)
    >>> result = bg.fit(bg.datasets.load_faithful(), 2, engine=engine, seed=1, progress=False)
    >>> result.is_point
    False
    """

    draws: int = 1000
    tune: int | None = None
    chains: int = 4
    target_accept: float = 0.9
    sampler: Literal["nutpie", "pymc"] = "nutpie"
    form: Literal["compact", "transparent"] = "compact"
    cores: int | None = None
    checkpoint: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Check every setting."""
        object.__setattr__(self, "draws", whole_number(self.draws, "draws", 4))
        tune = (200 if self.form == "compact" else 500) if self.tune is None else self.tune
        object.__setattr__(self, "tune", whole_number(tune, "tune", 20))
        object.__setattr__(self, "chains", whole_number(self.chains, "chains", 1))
        object.__setattr__(self, "target_accept", real_number(self.target_accept, "target_accept", 0.1, 0.999))
        one_of(self.sampler, "sampler", ("nutpie", "pymc"))
        one_of(self.form, "form", ("compact", "transparent"))
        if self.cores is not None:
            object.__setattr__(self, "cores", whole_number(self.cores, "cores", 1))
        object.__setattr__(self, "checkpoint", checked_path(self.checkpoint))

    def run(
        self,
        data: Rows,
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
        refuse_flat(prior)
        saved = Checkpoint.of(self, data, prior, start, rng)
        optima = modes_before(data, prior, start, rng, saved)
        starts = Starts.at(optima.reached, data, prior)
        sampling = Sampling(self, starts, int(rng.integers(2**31 - 1)), progress, self._cores(data, prior))
        sample = _sample_compact if self.form == "compact" else _sample_transparent
        if saved is None:
            parameters, stats = sample(sampling, data, prior)
        else:
            parameters, stats = _sample_chain_by_chain(sampling, sample, data, prior, saved)
        facts = interrupted(int(np.prod(parameters.grid)), self.draws * self.chains)
        return replace(told(parameters, stats, optima, data, prior, rng), facts=facts)

    def _cores(self, data: Rows, prior: Prior) -> int:
        """Return how many chains to sample at a time."""
        if self.cores is not None:
            return min(self.cores, self.chains)
        work = len(data) * data.n_features**2 * len(prior.concentration)
        is_serial = self.sampler == "pymc" and work < SERIAL_WORK
        return 1 if is_serial else min(self.chains, numba.get_num_threads())


def modes_before(
    data: Rows, prior: Prior, start: MixtureParameters | None, rng: np.random.Generator, saved: Checkpoint | None = None
) -> Optima:
    """Return the modes that EM finds before there are draws."""
    return EM().run(data, _prior_for_em(prior), start, rng, saved=saved).optima


def told(
    parameters: MixtureParameters,
    stats: dict[str, np.ndarray],
    optima: Optima,
    data: Rows,
    prior: Prior,
    rng: np.random.Generator,
) -> Draws:
    """Return draws of parameters with their densities, the modes that they lead to, and components that have rows."""
    allocated = _allocated(parameters, data, prior, rng)
    log_posterior = allocated.log_likelihood + prior.log_density(parameters)
    stats["occupied"] = (allocated.stats.counts > 0).sum(axis=-1).astype(float)
    optima = with_ascents(optima, parameters, log_posterior, data, _prior_for_em(prior))
    return Draws(parameters, log_posterior, allocated.log_likelihood, _scored(optima, data, prior), stats)


@dataclass(slots=True)
class Failure:
    """What went wrong in a run, if anything did: all chains that call Python then end at once.

    Of an exception in a function nutpie would make a panic that does not say what it was.

    Attributes
    ----------
    error : BaseException, optional
        The first.
    """

    error: BaseException | None = None

    def watched(self, function: Callable[[Any], Any], otherwise: Any) -> Callable[[Any], Any]:
        """Return a function that, once something went wrong, answers at once and always the same."""

        def guarded(point: Any) -> Any:
            try:
                return otherwise if self.error else function(point)
            except Exception as error:
                self.error = error
                return otherwise

        return guarded


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
    failure : Failure
        Of any chain.
    saved : tuple, optional
        Checkpoint, and the section of it in which a chain that is sampled alone keeps its passes.
    """

    engine: NUTS
    starts: Starts
    seed: int
    progress: bool
    cores: int
    failure: Failure = field(default_factory=Failure)
    saved: tuple[Checkpoint, str] | None = None


def _sample_chain_by_chain(
    sampling: Sampling, sample: Any, data: Rows, prior: Prior, saved: Checkpoint
) -> tuple[MixtureParameters, dict[str, np.ndarray]]:
    """Sample the chains that a checkpoint lacks, each by itself, and keep each when it is finished."""
    number = sampling.engine.chains
    seeds = np.random.SeedSequence(sampling.seed).generate_state(number)
    alone = replace(sampling.engine, chains=1, checkpoint=None)

    def one(at: int) -> Any:
        kept = saved, f"passes{at}"
        return sample(replace(sampling, engine=alone, seed=int(seeds[at]), cores=1, saved=kept), data, prior)

    def keep(at: int, parameters: MixtureParameters, stats: dict[str, np.ndarray]) -> None:
        if parameters.grid[1] < alone.draws:
            raise KeyboardInterrupt("chains that are finished are kept in the checkpoint")
        drawn = dict(zip(PARAMETERS, parameters.arrays, strict=True))
        saved.put(f"chain{at}", drawn | stats | judged(parameters, prior), instead_of=f"passes{at}")

    missing = [at for at in range(number) if not is_kept(saved, f"chain{at}", alone.draws, data, prior)]
    with ThreadPoolExecutor(sampling.cores) as pool:
        under_way = {pool.submit(one, at): at for at in missing}
        try:
            for finished in as_completed(under_way):
                keep(under_way.pop(finished), *finished.result())
        except BaseException as error:
            sampling.failure.error = sampling.failure.error or error
            pool.shutdown(cancel_futures=True)
            for other, at in under_way.items():
                if not other.cancelled() and other.exception() is None:
                    keep(at, *other.result())
            raise
    chains = [saved.sections[f"chain{at}"] for at in range(number)]
    names = (*PARAMETERS, *dict.fromkeys(SAMPLE_STATS.values()))
    return _parameters_and_stats({name: np.concatenate([chain[name] for chain in chains]) for name in names})


def _parameters_and_stats(found: dict[str, np.ndarray]) -> tuple[MixtureParameters, dict[str, np.ndarray]]:
    return MixtureParameters(*(found.pop(name) for name in PARAMETERS)), found


def _chains(tree: Any, names: tuple[str, ...]) -> list[dict[str, np.ndarray]]:
    """Return what was drawn in each chain, without the draws that an interrupted sampler left out."""
    values = {name: tree["posterior"][name].values for name in names} | kept_stats(tree)
    first = values[names[0]]
    drawn = np.isfinite(first).all(axis=tuple(range(2, first.ndim))).sum(axis=1)
    return [{name: array[c, : drawn[c]] for name, array in values.items()} for c in range(len(drawn))]


def _length(arrays: dict[str, np.ndarray]) -> int:
    return len(next(iter(arrays.values())))


def _stacked(chains: dict[int, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return chains by their number as arrays (chain, draw, ...).

    Of an interrupted run those chains are kept, cut to one length, that have most draws in all (as PyMC does).

    Raises
    ------
    KeyboardInterrupt
        If none has `FEWEST` draws.
    """
    length = {c: _length(arrays) for c, arrays in chains.items()}
    longest = sorted(length, key=lambda c: -length[c])
    most = max(range(len(longest)), key=lambda at: (at + 1) * length[longest[at]])
    draws = length[longest[most]]
    if draws < FEWEST:
        raise KeyboardInterrupt("interrupted before there were draws to keep")
    kept = [chains[c] for c in sorted(longest[: most + 1])]
    return {name: np.stack([arrays[name][:draws] for arrays in kept]) for name in kept[0]}


def _sample_compact(sampling: Sampling, data: Rows, prior: Prior) -> tuple[MixtureParameters, dict[str, np.ndarray]]:
    """Sample the chains that start near each mode in coordinates that are whitened there."""
    del data, prior  # The modes hold both.
    sample = _nutpie_on_compact if sampling.engine.sampler == "nutpie" else _pymc_on_compact
    shared_out = sampling.starts.shared_out(sampling.seed, sampling.engine.chains)
    drawn: dict[int, dict[str, np.ndarray]] = {}
    for at, numbers in enumerate(shared_out):
        if numbers:
            some = replace(sampling, engine=replace(sampling.engine, chains=len(numbers)), seed=sampling.seed + at)
            chains = _chains(sample(some, at), ("eta",))
            for number, chain in zip(numbers, chains, strict=False):  # PyMC drops chains that were interrupted.
                theta = sampling.starts.modes[at].theta(chain.pop("eta"))
                drawn[number] = {"theta": theta} | chain
            if len(chains) < len(numbers) or min(map(_length, drawn.values())) < sampling.engine.draws:
                break  # Interrupted.
    found = _stacked(drawn)
    return sampling.starts.unpacked(found.pop("theta")), found


def _sample_transparent(
    sampling: Sampling, data: Rows, prior: Prior
) -> tuple[MixtureParameters, dict[str, np.ndarray]]:
    from bayesgmm.posterior.pymc_model import build_standardised_model

    if not isinstance(data, Observations):
        raise ModelError("form='transparent' needs the rows in memory; NUTS() samples rows that are read by blocks")
    model = build_standardised_model(data, prior)
    run = _nutpie_on_model if sampling.engine.sampler == "nutpie" else _pymc_on_model
    chains = _chains(run(sampling, model, prior), PARAMETERS)
    return _parameters_and_stats(_stacked(dict(enumerate(chains))))


def _allocated(parameters: MixtureParameters, data: Rows, prior: Prior, rng: np.random.Generator) -> Expectation:
    """Return each draw's log-likelihood, with labels drawn given its parameters."""
    keys = rng.integers(2**64, size=int(np.prod(parameters.grid)), dtype=np.uint64)
    return allocate(whiten(parameters, prior.covariance_type), data, parameters.grid, keys)


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


def _scored(optima: Optima, data: Rows, prior: Prior) -> Optima:
    """Return the optima with the log posterior under the prior that was sampled."""
    likelihood = e_step(optima.parameters, data, prior.covariance_type).log_likelihood
    return replace(optima, log_posterior=likelihood + prior.log_density(optima.parameters))


def _nutpie_on_compact(sampling: Sampling, at: int) -> Any:
    """Let nutpie call the compiled posterior itself: nothing is compiled for a new model."""
    white = sampling.starts.modes[at]

    def start(chain_seed: int) -> np.ndarray:
        # By the chain's own seed, for the order in which chains begin is not fixed.
        return sampling.starts.draw_near(chain_seed, at)

    if COMPILES and white.is_one_function:
        return _run_nutpie(sampling, _in_c(white, start))
    size, posterior, failure = white.centre.size, white.value_and_gradient, sampling.failure
    if sampling.saved is not None and white.posterior.by_blocks:
        posterior = Evaluations(posterior, size, *sampling.saved)
    nowhere, there = (-np.inf, np.zeros(size)), np.zeros(size)
    compiled = _in_python(failure.watched(posterior, nowhere), failure.watched(start, there), size)
    tree = None
    try:
        tree = _run_nutpie(sampling, compiled)
    except BaseException:
        # What nutpie says, where no chain has a place to start from, is no news; it may be a panic, no `Exception`.
        if failure.error is None:
            raise
    if failure.error is not None:
        raise failure.error
    return tree


def _in_c(white: Whitening, start: Callable[[int], np.ndarray]) -> Any:
    """Return the posterior as nutpie takes one from PyMC: steps call no Python, and do not wait for its lock."""
    from nutpie.compile_pymc import CompiledPyMCModel

    size = white.centre.size
    return CompiledPyMCModel(
        compiled_logp_func=log_posterior_in_c(),
        compiled_expand_func=copied_in_c(),
        user_data=laid_out(white.centre, white.spread.matrix, white.posterior.arguments),
        initial_point_func=start,
        n_expanded=size,
        shape_info=(["eta"], [slice(0, size)], [(size,)]),
        dims={},
        shared_data={},
        shared_var_keys={},
        logp_func=None,
        expand_func=None,
        _n_dim=size,
        _shapes={"eta": (size,)},
        _coords={},
    )


def _in_python(posterior: Callable[..., Any], start: Callable[[int], np.ndarray], size: int) -> Any:
    from nutpie.compiled_pyfunc import from_pyfunc

    return from_pyfunc(
        size,
        lambda: posterior,
        lambda *_: lambda point: {"eta": np.asarray(point)},
        [np.dtype(np.float64)],
        [(size,)],
        ["eta"],
        make_initial_point_fn=start,
    )


def _nutpie_on_model(sampling: Sampling, model: Any, prior: Prior) -> Any:
    import nutpie

    from bayesgmm.posterior.pymc_model import random_initial_values

    # nutpie draws each variable's start by itself: a mixture of modes would be no start.
    near = sampling.starts.draws(sampling.seed, 4 * sampling.engine.chains, at=0)
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


def _pymc_on_compact(sampling: Sampling, at: int) -> Any:
    from bayesgmm.posterior.pymc_model import build_compact_model

    white = sampling.starts.modes[at]
    seeds = np.random.SeedSequence(sampling.seed).generate_state(sampling.engine.chains)
    starts = [{"eta": sampling.starts.draw_near(int(seed), at)} for seed in seeds]
    return _run_pymc(sampling, build_compact_model(white), starts)


def _pymc_on_model(sampling: Sampling, model: Any, prior: Prior) -> Any:
    from bayesgmm.posterior.variables import initial_values

    starts = sampling.starts.draws(sampling.seed, sampling.engine.chains)
    return _run_pymc(sampling, model, [initial_values(prior, sampling.starts.unpacked(theta)) for theta in starts])


def _run_pymc(sampling: Sampling, model: Any, values: list[dict[str, np.ndarray]]) -> Any:
    from bayesgmm.posterior.pymc_model import sample_with_pymc

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
