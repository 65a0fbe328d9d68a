"""One EM iteration beside those of scikit-learn, oneDAL, JAX and pomegranate, from the same start."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np

from bayesgmm import datasets
from bayesgmm.data import Observations
from bayesgmm.engines.em.climbs import Problem, climb
from bayesgmm.engines.em.em import EM
from bayesgmm.engines.em.starting_values import candidates
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import ConjugatePrior
from benchmarks.clock import cpu_seconds, extra_memory, interleaved, medians, wall_seconds
from benchmarks.report import Table, installed

#: Rows, features, components; ratios aimed at, to scikit-learn and to oneDAL; least further iterations of a long run.
CASES = [
    ((10_000, 2, 3), (45, 3.5), 100),
    ((100_000, 2, 5), (50, 3.8), 20),
    ((1_000_000, 2, 5), (50, 3.8), 4),
    ((100_000, 10, 10), (14, 4.3), 8),
    ((1_000_000, 10, 10), (20, 4.3), 2),
    ((100_000, 50, 20), (5.5, 2.1), 2),
    ((20_000, 100, 10), (3.3, 2.1), 4),
]
#: Iterations of the short run: what every run pays once is then in both.
SHORT = 2
#: CPU seconds that those more iterations take at least, of whoever is fast: a median of less would be noise.
LEAST_SECONDS = 1.0
#: How far, relative to its size, two log-likelihoods may be apart.
SAME = 1e-9


def table(quick: bool) -> Table:
    """Time an iteration of every contender for every size of data."""
    present, notes = contenders_here()
    rows = [
        _row((n // 10 if quick else n, d, k), targets, more, 3 if quick else 5, present)
        for (n, d, k), targets, more in CASES
    ]
    return Table("em_iteration", "One EM iteration: marginal CPU milliseconds, one thread, float64", rows, notes)


def _row(size: tuple[int, int, int], targets: tuple[float, float], more: int, repeats: int, present: Any) -> dict:
    x, start = problem(*size)
    runs = {name: partial(run, x, start) for name, run in present.items()}
    refuse_disagreement({name: run(SHORT).log_likelihood() for name, run in runs.items()}, size)
    each = iteration_milliseconds(runs, more, repeats, LEAST_SECONDS)
    n, d, k = size
    flops = n * k * (2 * d * (d + 1) + 4 * d)  # Multiplications and additions of both triangles, nothing else.
    row = {"n": n, "d": d, "k": k, **{f"{name}_ms": each.get(name) for name in CONTENDERS}}
    for peer, target in zip(("sklearn", "onedal"), targets, strict=True):
        row |= {f"over_{peer}": each[peer] / each["bayesgmm"] if peer in each else None, f"{peer}_target": target}
    row["of_dgemm"] = flops / (each["bayesgmm"] / 1e3) / dgemm_rate()
    row["extra_mb"] = extra_memory(partial(of_bayesgmm, Observations.of(x), start, SHORT))
    return row


def iteration_milliseconds(
    runs: dict[str, Callable[[int], Any]], more: int, repeats: int, least: float
) -> dict[str, float]:
    """Return the CPU time of an iteration beyond the first two: medians of runs of all contenders in turn.

    The long run of each has ``more`` further iterations, or as many as take ``least`` seconds, if these are more.
    """
    rough = {name: cpu_seconds(partial(run, SHORT)) / SHORT for name, run in runs.items()}
    long = {name: SHORT + max(more, round(least / seconds)) for name, seconds in rough.items()}
    # oneDAL stops where an iteration changes nothing, whatever it is asked.
    made = {name: run(long[name]).iterations - run(SHORT).iterations for name, run in runs.items()}
    contenders = {f"{name}, short": partial(cpu_seconds, partial(run, SHORT)) for name, run in runs.items()}
    contenders |= {f"{name}, long": partial(cpu_seconds, partial(run, long[name])) for name, run in runs.items()}
    measured = {name: medians(m)["seconds"] for name, m in interleaved(contenders, repeats).items()}
    return {name: 1e3 * (measured[f"{name}, long"] - measured[f"{name}, short"]) / made[name] for name in runs}


def dgemm_rate() -> float:
    """Return how many operations a second a product of two large matrices makes on one thread."""
    a = np.random.default_rng(0).random((1200, 1200))
    return 2 * 1200**3 / min(cpu_seconds(lambda: a @ a) for _ in range(5))


def whole_fit(quick: bool) -> Table:
    """Time whole fits of small data from 100 given starts, each to the log-likelihood that scikit-learn reaches."""
    if installed("scikit-learn") is None:
        return Table("whole_fit", "", [], ["whole_fit is skipped: scikit-learn is not installed"])
    rows = [
        _whole_fits(name, k, 1 if quick else 10, 3 if quick else 9) for name, k in (("faithful", 2), ("galaxies", 3))
    ]
    return Table("whole_fit", "A whole fit from a given start, mean of 100: CPU microseconds", rows)


def _whole_fits(name: str, k: int, runs: int, repeats: int) -> dict[str, Any]:
    data = Observations.of(getattr(datasets, f"load_{name}")()).standardised()
    x = (data.values - data.origin) / data.unit
    prior, rule = ConjugatePrior.flat(k, data.n_features, "full"), EM().stopping
    starts = candidates(data, prior, "k-means++", 100, np.random.default_rng(1))
    alone = [starts[np.array([at])] for at in range(100)]
    problem = Problem.of(data, prior, rule)
    reached = problem.climbed(starts)
    # Where scikit-learn stops by the mean gain of a row, so that both end as near to the optimum.
    theirs = [
        partial(of_sklearn, x, start[0], 1000, 1e-8 * abs(height) / len(x))
        for start, height in zip(alone, reached.log_posterior, strict=True)
    ]
    for at, fit in enumerate(theirs):
        ends = {"bayesgmm": reached.log_posterior[at], "sklearn": fit().log_likelihood()}
        refuse_disagreement(ends, f"{name}, start {at}", 1e-4)
    contenders = {
        "sklearn": theirs,
        "alone": [partial(climb, start, data, prior, rule) for start in alone] * runs,
        "set_up_once": [partial(problem.climbed, start) for start in alone] * runs,
        "together": [partial(problem.climbed, starts)] * runs,
    }
    timed = interleaved({name: partial(_seconds_of_all, some) for name, some in contenders.items()}, repeats)
    took = {name: 1e4 * medians(measured)["seconds"] for name, measured in timed.items()}
    row = {
        "what": f"{name}, K = {k}",
        "iterations": float(reached.iterations.mean()),
        "sklearn_us": took.pop("sklearn"),
    }
    for way, microseconds in took.items():
        row |= {f"{way}_us": microseconds / runs, f"over_{way}": row["sklearn_us"] / microseconds * runs}
    return row | {"target": 200}


def _seconds_of_all(runs: list[Callable[[], Any]]) -> float:
    """Return the CPU seconds of one after another, what each found let go of."""
    return cpu_seconds(lambda: deque((run() for run in runs), maxlen=0))


def threads(quick: bool) -> Table:
    """Time an iteration on one thread and on two, by the clock on the wall."""
    rows = []
    for n, d, k in [(1_000_000, 2, 5), (1_000_000, 10, 10)]:
        x, start = problem(n // 10 if quick else n, d, k)
        took = {}
        for number in (1, 2):
            numba.set_num_threads(min(number, numba.config.NUMBA_NUM_THREADS))
            run = partial(of_bayesgmm, x, start)
            run(SHORT)
            long, short = (
                medians([{"seconds": wall_seconds(partial(run, m))} for _ in range(7)])["seconds"] for m in (32, 2)
            )
            took[number] = 1e3 * (long - short) / 30
        numba.set_num_threads(1)
        rows.append({"n": len(x), "d": d, "k": k, "one_ms": took[1], "two_ms": took[2], "ratio": took[1] / took[2]})
    return Table("threads", "One EM iteration: wall milliseconds on one thread and on two", rows)


def problem(n: int, d: int, k: int) -> tuple[np.ndarray, MixtureParameters]:
    """Return rows of a mixture whose components touch, and a start near the truth."""
    rng = np.random.default_rng(n + d + k)
    centres = 3 * rng.standard_normal((k, d)) / d**0.25
    roots = np.eye(d) + 0.3 * rng.standard_normal((k, d, d)) / np.sqrt(d)
    labels = rng.integers(k, size=n)
    x = rng.standard_normal((n, d))
    for j in range(k):
        x[labels == j] = x[labels == j] @ roots[j].T + centres[j]
    means = centres + 0.3 * rng.standard_normal((k, d))
    return x, MixtureParameters(np.full(k, 1 / k), means, np.broadcast_to(1.5 * np.eye(d), (k, d, d)).copy())


class Ended(NamedTuple):
    """What a run returns: how to compute its log-likelihood, outside the timing, and how many iterations it made."""

    log_likelihood: Callable[[], float]
    iterations: int


def of_bayesgmm(x: Any, start: MixtureParameters, iterations: int) -> Ended:
    """Run the engine's own loop; checking the table is not part of an iteration."""
    prior = ConjugatePrior.flat(start.n_components, start.n_features, "full")
    climbs = climb(start.reshaped((1,)), Observations.of(x), prior, EM(max_iter=iterations, tol=0).stopping)
    return Ended(lambda: float(climbs.log_posterior[0]), iterations)


def of_sklearn(x: np.ndarray, start: MixtureParameters, iterations: int, tol: float = 0) -> Ended:
    """Run scikit-learn's loop from the same start, without its ridge."""
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        start.n_components,
        reg_covar=0,
        tol=tol,
        max_iter=iterations,
        init_params="random_from_data",
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # With tol=0 nothing converges, by design.
        mixture.fit(x)
    return Ended(lambda: float(mixture.score(x) * len(x)), mixture.n_iter_)


def of_onedal(x: np.ndarray, start: MixtureParameters, iterations: int) -> Ended:
    """Run oneDAL's loop from the same start, on one thread."""
    import daal4py

    daal4py.daalinit(1)
    mixture = daal4py.em_gmm(
        nComponents=start.n_components, maxIterations=iterations, accuracyThreshold=0.0, covarianceStorage="full"
    )
    ended = mixture.compute(x, start.weights[None], start.means, list(start.covariances))
    found = MixtureParameters(ended.weights[0], ended.means, np.stack(ended.covariances))
    return Ended(lambda: log_likelihood(x, found), int(ended.nIterations[0, 0]))


def of_pomegranate(x: np.ndarray, start: MixtureParameters, iterations: int) -> Ended:
    """Run pomegranate's loop, on PyTorch, in double precision."""
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    rows, weights, means, covariances = (torch.from_numpy(np.array(array)) for array in (x, *start.arrays))
    normals = [Normal(means[c], covariances[c], covariance_type="full") for c in range(len(means))]
    # Without check_data, which takes a pass of its own, sums would be of single precision.
    mixture: Any = GeneralMixtureModel(normals, priors=weights, max_iter=iterations, tol=-np.inf)
    mixture.fit(rows)
    learned = (
        mixture.priors,
        *(torch.stack([getattr(n, name) for n in mixture.distributions]) for name in ("means", "covs")),
    )
    found = MixtureParameters(*(array.detach().numpy() for array in learned))
    return Ended(lambda: log_likelihood(x, found), iterations)


def of_jax(x: np.ndarray, start: MixtureParameters, iterations: int) -> Ended:
    """Run a loop written in JAX by hand, compiled by XLA."""
    from benchmarks.jax_em import run

    found = MixtureParameters(*run(x, *start.arrays, iterations))
    return Ended(lambda: log_likelihood(x, found), iterations)


def log_likelihood(x: np.ndarray, parameters: MixtureParameters) -> float:
    """Score parameters, whoever found them."""
    from bayesgmm import e_step

    return float(e_step(parameters, Observations.of(x)).log_likelihood)


#: Each with the package that it needs.
CONTENDERS = {
    "bayesgmm": (None, of_bayesgmm),
    "sklearn": ("scikit-learn", of_sklearn),
    "onedal": ("daal", of_onedal),
    "jax": ("jax", of_jax),
    "pomegranate": ("pomegranate", of_pomegranate),
}


def contenders_here() -> tuple[dict[str, Any], list[str]]:
    """Return the contenders that are installed, and what is said of those that are not."""
    present = {name: run for name, (package, run) in CONTENDERS.items() if package is None or installed(package)}
    missing = {name: package for name, (package, _) in CONTENDERS.items() if name not in present}
    return present, [f"{name} is skipped: {package} is not installed" for name, package in missing.items()]


def refuse_disagreement(log_likelihoods: dict[str, float], what: Any, same: float = SAME) -> None:
    """Refuse to compare the speed of those that do not compute the same thing."""
    first = log_likelihoods["bayesgmm"]
    if not all(abs(other - first) <= same * abs(first) for other in log_likelihoods.values()):
        raise RuntimeError(f"at {what} the log-likelihoods differ: {log_likelihoods}")
