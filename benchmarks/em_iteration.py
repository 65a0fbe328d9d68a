"""One EM iteration beside scikit-learn's, from the same start."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from bayesgmm.climbs import climb
from bayesgmm.data import Observations
from bayesgmm.em import EM
from bayesgmm.parameters import MixtureParameters
from bayesgmm.priors import ConjugatePrior
from benchmarks.clock import cpu_seconds, interleaved, medians
from benchmarks.report import Table, installed

#: Rows, features, components; the ratio aimed at; how many iterations a long run has more than a short one.
CASES = [
    ((1_000_000, 2, 5), 20, 4),
    ((100_000, 10, 10), 8, 8),
    ((100_000, 50, 20), 4, 2),
    ((10_000, 2, 3), None, 100),
    ((100_000, 2, 5), None, 20),
    ((20_000, 100, 10), None, 4),
]
#: Iterations of the short run: what every run pays once is then in both.
SHORT = 2
#: How far, relative to its size, the two log-likelihoods may be apart.
SAME = 1e-9


def table(quick: bool) -> Table:
    """Time an iteration of both for every size of data."""
    if installed("scikit-learn") is None:
        return Table("em_iteration", "", [], ["em_iteration is skipped: scikit-learn is not installed"])
    rows = [_row((n // 10 if quick else n, d, k), target, more, 3 if quick else 5) for (n, d, k), target, more in CASES]
    return Table("em_iteration", "One EM iteration: marginal CPU milliseconds, one thread, float64", rows)


def _row(size: tuple[int, int, int], target: float | None, more: int, repeats: int) -> dict[str, Any]:
    x, start = problem(*size)
    runs = {"bayesgmm": partial(of_bayesgmm, x, start), "scikit-learn": partial(of_sklearn, x, start)}
    refuse_disagreement({name: run(SHORT).log_likelihood() for name, run in runs.items()}, size)
    contenders = {
        f"{name}, {m}": partial(cpu_seconds, partial(run, m))
        for m in (SHORT, SHORT + more)
        for name, run in runs.items()
    }
    measured = {name: medians(m)["seconds"] for name, m in interleaved(contenders, repeats).items()}
    ours, theirs = (1e3 * (measured[f"{name}, {SHORT + more}"] - measured[f"{name}, {SHORT}"]) / more for name in runs)
    n, d, k = size
    return {"n": n, "d": d, "k": k, "bayesgmm_ms": ours, "sklearn_ms": theirs, "ratio": theirs / ours, "target": target}


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


class Ended:
    """Where a run ended: its log-likelihood is computed when asked for, outside the timing."""

    def __init__(self, log_likelihood: Any) -> None:
        self.log_likelihood = log_likelihood


def of_bayesgmm(x: np.ndarray, start: MixtureParameters, iterations: int) -> Ended:
    """Run the engine's own loop; checking the table is not part of an iteration."""
    prior = ConjugatePrior.flat(start.n_components, start.n_features, "full")
    climbs = climb(start.reshaped((1,)), Observations.of(x), prior, EM(max_iter=iterations, tol=0).stopping)
    return Ended(lambda: float(climbs.log_posterior[0]))


def of_sklearn(x: np.ndarray, start: MixtureParameters, iterations: int) -> Ended:
    """Run scikit-learn's loop from the same start, without its ridge."""
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        start.n_components,
        reg_covar=0,
        tol=0,
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
    return Ended(lambda: float(mixture.score(x) * len(x)))


def refuse_disagreement(log_likelihoods: dict[str, float], size: tuple[int, int, int]) -> None:
    """Refuse to compare the speed of two that do not compute the same thing."""
    ours, theirs = log_likelihoods.values()
    if not abs(ours - theirs) <= SAME * abs(theirs):
        raise RuntimeError(f"at (n, d, k) = {size} the log-likelihoods differ: {log_likelihoods}")
