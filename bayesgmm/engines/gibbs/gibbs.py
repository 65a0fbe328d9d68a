"""Gibbs sampling: labels given parameters, then parameters given labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from bayesgmm.arguments import one_of, whole_number
from bayesgmm.data import Observations, Rows
from bayesgmm.engines.checkpoint import Checkpoint, checked_path
from bayesgmm.engines.em.ascents import with_ascents
from bayesgmm.engines.em.em import EM
from bayesgmm.engines.gibbs import sweeps
from bayesgmm.errors import DataError, ModelError
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.kernels.conditionals import draw_parameters
from bayesgmm.kernels.gibbs import keep_state, permute, run_sweeps
from bayesgmm.kernels.threads import mapped, worth
from bayesgmm.kernels.uniforms import child_key
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import Draws, MixtureParameters
from bayesgmm.model.priors import Prior, SeparationPrior, as_arrays, is_exchangeable
from bayesgmm.posterior.chain_starts import FEWEST, Starts, interrupted, refuse_flat

#: Draws that are made before progress is reported.
DRAWS_AT_A_TIME = 50


@dataclass(frozen=True, slots=True)
class Gibbs:
    """Blocked Gibbs sampling with conjugate draws (Diebolt & Robert 1994, doi:10.1111/j.2517-6161.1994.tb01985.x).

    A sweep is one pass over the data, in which labels are drawn and summed up, and one draw of weights, means
    and covariances given those sums. The label of a row depends on the seed, chain, sweep and row alone. Chains
    start as those of `NUTS`, from the modes that EM leads to. Under overlap, successive draws are nearly alike: raise
    ``thin``, or use `NUTS`; `fit` says so where EM's rate of convergence foretells too few effective draws.

    Attributes
    ----------
    draws : int
        Draws kept of each chain.
    tune : int
        Sweeps before those.
    chains : int
        Number of chains.
    thin : int
        Sweeps per draw that is kept.
    permutation : {"none", "random"}
        Whether components are put in random order after every sweep, so that all labellings are visited
        (Frühwirth-Schnatter 2001, doi:10.1198/016214501750333063).
    label_every : int
        The labels of every so-manieth draw are kept with the result (group ``allocation``); none where 0.
    checkpoint : path, optional
        A file in which finished sweeps are kept, within a twentieth of the time. The same fit (data, model, settings,
        seed) given again goes on where its process died, to the same bits. It stays until it is removed.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> result = bg.fit(bg.datasets.load_faithful(), 2, engine=bg.Gibbs(draws=500), seed=1, progress=False)
    >>> result.weights.sizes["draw"]
    500
    """

    draws: int = 1000
    tune: int = 500
    chains: int = 4
    thin: int = 1
    permutation: Literal["none", "random"] = "none"
    label_every: int = 0
    checkpoint: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Check every setting."""
        object.__setattr__(self, "draws", whole_number(self.draws, "draws", 4))
        object.__setattr__(self, "tune", whole_number(self.tune, "tune", 0))
        object.__setattr__(self, "chains", whole_number(self.chains, "chains", 1))
        object.__setattr__(self, "thin", whole_number(self.thin, "thin", 1))
        one_of(self.permutation, "permutation", ("none", "random"))
        object.__setattr__(self, "label_every", whole_number(self.label_every, "label_every", 0))
        if self.label_every and self.draws % self.label_every:
            raise ModelError(f"`label_every` has to divide draws={self.draws}, got {self.label_every}")
        object.__setattr__(self, "checkpoint", checked_path(self.checkpoint))

    def run(
        self,
        data: Rows,
        prior: Prior,
        start: MixtureParameters | None,
        rng: np.random.Generator,
        progress: bool = False,
    ) -> Draws:
        """Find the modes by EM, start chains from them and sweep.

        Parameters and prior are in the coordinates in which ``data`` is seen.

        Raises
        ------
        DataError
            If row weights are not whole numbers, or labels are to be kept of rows that count several times.
        ModelError
            If the prior has no conditional draws, or tells apart components that are to be permuted.
        """
        _check(self, data, prior)
        saved = Checkpoint.of(self, data, prior, start, rng)
        point = EM().run(data, prior, start, rng, saved=saved)
        optima = point.optima
        starts = Starts.at(optima.reached, data, prior)
        chains = [
            Chain.of(seed, starts) for seed in np.random.SeedSequence(int(rng.integers(2**63))).spawn(self.chains)
        ]
        kept = Kept.empty(self, len(prior.concentration), data)
        if isinstance(data, Observations) and data.is_one_chunk:
            sweep = partial(_sweep_compiled, data)
        else:
            sweep = _sweep_chunked
        problem = Problem(data, prior, self.permutation == "random")
        stretches = [*_stretches(self, DRAWS_AT_A_TIME if data.is_one_chunk else 1)]
        done = 0 if saved is None else sweeps.resumed(saved, chains, kept, stretches, problem)
        with _bar(progress, self.tune + self.draws * self.thin) as advance:
            drawn = 0
            try:
                for stretch in stretches:
                    if stretch.first >= done:
                        sweep(problem, chains, stretch, kept)
                        if saved is not None:
                            sweeps.save(saved, chains, kept, stretch, problem, self.tune + self.draws * self.thin)
                    drawn = stretch.draws.stop
                    advance(stretch.sweeps)
            except KeyboardInterrupt:
                if drawn < FEWEST:
                    raise
        kept = kept.cut(drawn)
        log_posterior = kept.log_likelihood + prior.log_density(kept.parameters)
        stats, optima = {"occupied": kept.occupied}, with_ascents(optima, kept.parameters, log_posterior, data, prior)
        facts = _known(point) | interrupted(drawn * self.chains, self.draws * self.chains)
        return Draws(
            kept.parameters, log_posterior, kept.log_likelihood, optima, stats, labels=kept.labels, facts=facts
        )


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is sampled.

    Attributes
    ----------
    data : Rows
        As seen.
    prior : ConjugatePrior or SemiConjugatePrior
        In the same coordinates.
    permuted : bool
        Whether components are put in random order after every sweep.
    """

    data: Rows
    prior: Any
    permuted: bool

    @property
    def hyperparameters(self) -> tuple[Any, ...]:
        """The prior as the compiled draws read it."""
        return as_arrays(self.prior)


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Where one chain stands; sweeps change it in place.

    Attributes
    ----------
    state : tuple of array
        Weights (k), means (k, d) and covariances (k, d, d).
    rng : Generator
        Of the parameters.
    key : uint64
        Of the labels.
    """

    state: tuple[np.ndarray, np.ndarray, np.ndarray]
    rng: np.random.Generator
    key: np.uint64

    @classmethod
    def of(cls, seed: np.random.SeedSequence, starts: Starts) -> Chain:
        """Start a chain, its streams depending on its seed alone."""
        key, start = seed.generate_state(2, np.uint64)
        parameters = starts.unpacked(starts.draw(int(start)))
        weights, means, covariances = (np.ascontiguousarray(a).copy() for a in parameters.arrays)
        return cls((weights, means, covariances), np.random.default_rng(seed), key)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive sweeps of every chain.

    Attributes
    ----------
    first, sweeps : int
        Number of the first sweep, counted from the start of the chain, and how many.
    thin : int
        Every so-manieth sweep is kept, none where 0.
    draw : int
        Number of the first draw kept.
    """

    first: int
    sweeps: int
    thin: int = 0
    draw: int = 0

    @property
    def draws(self) -> slice:
        """The draws that are kept."""
        return slice(self.draw, self.draw + (self.sweeps // self.thin if self.thin else 0))


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Room for what is kept.

    Attributes
    ----------
    parameters : MixtureParameters
        Grid (chain, draw).
    log_likelihood, occupied : array (chain, draw)
        Nats; number of components that had rows.
    label_every : int
        Labels are kept of every so-manieth draw.
    labels : int array (chain, draw // label_every, n), or None
        Component of each row.
    """

    parameters: MixtureParameters
    log_likelihood: np.ndarray
    occupied: np.ndarray
    label_every: int
    labels: np.ndarray | None

    @classmethod
    def empty(cls, settings: Gibbs, k: int, data: Rows) -> Kept:
        """Return room for the draws of every chain."""
        grid, d, every = (settings.chains, settings.draws), data.n_features, settings.label_every
        shapes = (*grid, k), (*grid, k, d), (*grid, k, d, d)
        labels = np.empty((settings.chains, settings.draws // every, len(data)), np.int16) if every else None
        room = MixtureParameters(*(np.empty(shape) for shape in shapes))
        return cls(room, np.empty(grid), np.empty(grid), every, labels)

    def cut(self, draws: int) -> Kept:
        """Return the first draws of every chain."""
        labels = None if self.labels is None else self.labels[:, : draws // self.label_every]
        short = self.log_likelihood[:, :draws], self.occupied[:, :draws]
        return Kept(self.parameters[:, :draws], *short, self.label_every, labels)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All that is written."""
        labels = () if self.labels is None else (self.labels,)
        return *self.parameters.arrays, self.log_likelihood, self.occupied, *labels

    def arrays_of(self, chain: int, stretch: Stretch) -> tuple[np.ndarray, ...]:
        """Return the room for one stretch of one chain, as the compiled sweeps write it."""
        arrays = (*self.parameters.arrays, self.log_likelihood, self.occupied)
        return tuple(array[chain, stretch.draws] for array in arrays)

    def labels_of(self, chain: int, stretch: Stretch) -> np.ndarray:
        """Return the room for the labels of one stretch of one chain."""
        if self.labels is None or not stretch.thin:
            return np.empty((0, 0), np.int16)
        return self.labels[chain, stretch.draw // self.label_every : stretch.draws.stop // self.label_every]


def _known(point: Draws) -> dict[str, float]:
    """Return what EM found out that says how fast sweeps move."""
    return {name: value for name, value in point.facts.items() if name == "missing_information"}


def _check(settings: Gibbs, data: Rows, prior: Prior) -> None:
    if isinstance(prior, SeparationPrior):
        raise ModelError("Gibbs has no conditional draws under SeparationPrior; use engine='nuts', or another prior")
    refuse_flat(prior)
    if settings.permutation == "random" and not is_exchangeable(prior):
        raise ModelError("the prior tells components apart, so permutation='random' would mix them up; leave it 'none'")
    weight = data.weights
    odd = np.flatnonzero(weight != np.round(weight))
    if odd.size:
        number = len(data) if len(weight) == 1 else odd.size
        raise DataError(
            f"Gibbs draws a label for every copy of a row, so `sample_weight` has to hold whole numbers, got "
            f"{weight[odd[0]]:g} ({number} of {len(data)} rows); round them, or use engine='nuts' or 'em'"
        )
    if settings.label_every and not isinstance(data, Observations):
        raise DataError(f"`label_every` would keep {len(data):,} labels a draw; it is for rows in memory")
    if settings.label_every and weight.max() > 1:
        raise DataError(
            f"`label_every` keeps one label a row, but rows count up to {weight.max():g} times; repeat those rows"
        )


def _stretches(settings: Gibbs, at_a_time: int) -> Iterator[Stretch]:
    """Yield the sweeps of a run in parts that are reported, and after which they can be kept."""
    for first in range(0, settings.tune, at_a_time):
        yield Stretch(first, min(at_a_time, settings.tune - first))
    # Each part ends on a draw whose labels are kept, if any are.
    every = max(settings.label_every, 1)
    step = -(-at_a_time // every) * every
    for draw in range(0, settings.draws, step):
        number = min(step, settings.draws - draw)
        yield Stretch(settings.tune + draw * settings.thin, number * settings.thin, settings.thin, draw)


def _sweep_compiled(data: Observations, problem: Problem, chains: list[Chain], stretch: Stretch, kept: Kept) -> None:
    """Sweep every chain by itself, as many at a time as there are threads for."""
    k, d = len(problem.prior.concentration), data.n_features
    seen = data.values, data.weights, data.origin, 1 / data.unit
    shape = cov.factors_shape(problem.prior.covariance_type, (1, k, d))

    def sweep_one(at: int) -> None:
        chain = chains[at]
        run_sweeps(
            *seen, chain.rng, chain.key, problem.hyperparameters, problem.permuted,
            stretch.first, stretch.sweeps, stretch.thin, kept.label_every,
            chain.state, kept.arrays_of(at, stretch), kept.labels_of(at, stretch), np.zeros(shape), np.zeros(shape),
        )  # fmt: skip

    work = data.values.size * k * stretch.sweeps
    mapped(sweep_one, range(len(chains)), worth(work, most=len(chains)))


def _sweep_chunked(problem: Problem, chains: list[Chain], stretch: Stretch, kept: Kept) -> None:
    """Sweep all chains together: one pass over the rows, chunk by chunk on all threads, serves all of them."""
    data, number = problem.data, len(chains)
    rooms = [kept.arrays_of(at, stretch) for at in range(number)]
    labels = [kept.labels_of(at, stretch) for at in range(number)]
    for sweep in range(stretch.sweeps):
        keys = np.array([child_key(chain.key, stretch.first + sweep) for chain in chains], np.uint64)
        states = [np.stack(arrays) for arrays in zip(*(chain.state for chain in chains), strict=True)]
        white = estep.whiten_each(states, problem.prior.covariance_type)
        draw, is_kept = sweep // max(stretch.thin, 1), bool(stretch.thin) and (sweep + 1) % stretch.thin == 0
        labelled = is_kept and kept.label_every > 0 and (draw + 1) % kept.label_every == 0
        drawn = np.empty((number, len(data)), np.int16) if labelled else None
        allocated = estep.allocate(white, data, (number,), keys, drawn)
        stats = allocated.stats
        for at, chain in enumerate(chains):
            if is_kept:
                keep_state(rooms[at], draw, *chain.state, allocated.log_likelihood[at], stats.counts[at])
            if drawn is not None:
                labels[at][(draw + 1) // kept.label_every - 1] = drawn[at]
            sums = stats.about[at], stats.counts[at], stats.first[at], stats.second[at]
            draw_parameters(chain.rng, problem.hyperparameters, white.factors[at], *sums, *chain.state)
            if problem.permuted:
                permute(chain.rng, *chain.state)


@contextmanager
def _bar(progress: bool, sweeps: int) -> Iterator[Any]:
    """Yield what advances a progress bar, or nothing."""
    if not progress:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("Gibbs sweeps", total=sweeps)
        yield lambda done: bar.advance(task, done)
