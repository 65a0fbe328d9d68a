"""What EM's search finds, and what whole fits cost beside those of scikit-learn and oneDAL."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import bayesgmm as bg
from benchmarks.clock import cpu_seconds, interleaved, medians
from benchmarks.em_iteration import log_likelihood, problem
from benchmarks.report import Table, installed

#: Rows, features, components, covariances of whole fits.
CASES = [
    (1_000, 2, 3, "full"),
    (100_000, 2, 5, "full"),
    (1_000_000, 5, 5, "full"),
    (100_000, 20, 10, "full"),
    (20_000, 100, 10, "full"),
    (1_000, 100, 5, "diag"),
]
#: Fits whose optimum is published: mclust's, but for four components of the galaxies the best of long searches.
PUBLISHED = [("faithful", 2, -1130.264), ("galaxies", 3, -203.1792), ("galaxies", 4, -197.462), ("iris", 3, -180.1855)]
#: An optimum so many nats below another is another one.
SAME = 0.1


def optima(quick: bool) -> Table:
    """Count how many seeds reach the optimum that is known."""
    seeds = 3 if quick else 100
    rows = [_published(*case, seeds) for case in PUBLISHED]
    sets = range(1 if quick else 5)
    rows += [_wide(prior, sets, 2 if quick else 10) for prior in ("flat", None)]
    return Table("em_optima", "EM's search: fits that end as high as what is known, or higher", rows)


def _published(name: str, k: int, height: float, seeds: int) -> dict[str, Any]:
    data = bg.datasets.load_galaxies("mass") if name == "galaxies" else getattr(bg.datasets, f"load_{name}")()
    data = data.drop(columns="species", errors="ignore") if name == "iris" else data
    fits = [_fit(data, bg.MixtureModel(k, prior="flat"), seed) for seed in range(seeds)]
    return _counted(f"{name}, K = {k}, flat prior", fits, height - 1e-3)


def _wide(prior: Any, sets: range, seeds: int) -> dict[str, Any]:
    """Ten groups some five standard deviations apart in twenty dimensions, against EM from the known groups."""
    model, fits = bg.MixtureModel(10, prior=prior), []
    for which in sets:
        rng = np.random.default_rng(1000 + which)
        centres, labels = 5 * rng.normal(size=(10, 20)) / np.sqrt(40), rng.integers(10, size=10_000)
        x = centres[labels] + rng.normal(size=(10_000, 20))
        known = _fit(x, model, 0, start=labels)["height"]
        each = [_fit(x, model, seed) for seed in range(seeds)]
        fits += [{**fit, "height": fit["height"] - known} for fit in each]
    word = "flat prior" if prior == "flat" else "default prior"
    return _counted(f"10,000 x 20, K = 10, {word}: above EM from the known groups", fits, -SAME)


def _fit(data: Any, model: bg.MixtureModel, seed: int, start: Any = None) -> dict[str, float]:
    """Return how high a fit ends, what share of the starts led there, and what it cost."""
    found: list[bg.MixtureResult] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Rivals are counted here, not said.
        took = cpu_seconds(lambda: found.append(bg.fit(data, model, engine="em", seed=seed, start=start)))
    atlas = found[0].modes()
    return {"height": atlas["log_posterior"].iloc[0], "share": atlas["basin_share"].iloc[0], "seconds": took}


def _counted(what: str, fits: list[dict[str, float]], height: float) -> dict[str, Any]:
    heights = np.array([fit["height"] for fit in fits])
    return {
        "what": what,
        "fits": len(fits),
        "as_high": int((heights >= height).sum()),
        "lowest": heights.min(),
        "highest": heights.max(),
        "share_of_starts": float(np.median([fit["share"] for fit in fits])),
        "seconds": float(np.median([fit["seconds"] for fit in fits])),
    }


def whole_fits(quick: bool) -> Table:
    """Time whole fits by maximum likelihood with ten starts, and say what log-likelihood each reaches."""
    contenders = {"bayesgmm": of_bayesgmm}
    contenders |= {"sklearn": of_sklearn} if installed("scikit-learn") else {}
    contenders |= {"onedal": of_onedal} if installed("daal") else {}
    rows = [_row((n // 10 if quick else n, d, k, kind), contenders, 1 if quick else 3) for n, d, k, kind in CASES]
    return Table("em_fits", "Whole fits by EM from ten starts: CPU seconds on one thread", rows)


def _row(case: tuple[int, int, int, str], contenders: dict[str, Callable[..., float]], repeats: int) -> dict[str, Any]:
    n, d, k, kind = case
    x, _ = problem(n, d, k)
    heights = {name: max(run(x, k, kind, seed) for seed in range(1)) for name, run in contenders.items()}
    runs = {name: partial(cpu_seconds, partial(run, x, k, kind, 1, scored=False)) for name, run in contenders.items()}
    took = {name: medians(measured)["seconds"] for name, measured in interleaved(runs, repeats).items()}
    row: dict[str, Any] = {"n": n, "d": d, "k": k, "what": kind}
    row |= {f"{name}_s": seconds for name, seconds in took.items()}
    row |= {f"over_{name}": took[name] / took["bayesgmm"] for name in took if name != "bayesgmm"}
    return row | {f"{name}_below": max(heights.values()) - height for name, height in heights.items()}


def of_bayesgmm(x: np.ndarray, k: int, kind: Any, seed: int, *, scored: bool = True) -> float:
    """Fit with the settings that a user gets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = bg.fit(x, bg.MixtureModel(k, kind, "flat"), engine="em", seed=seed)
    return log_likelihood(x, result.parameters) if scored else 0.0


def of_sklearn(x: np.ndarray, k: int, kind: Any, seed: int, *, scored: bool = True) -> float:
    """Fit with ten starts from k-means."""
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = GaussianMixture(k, covariance_type=kind, n_init=10, random_state=seed).fit(x)
    return float(mixture.score(x) * len(x)) if scored else 0.0


def of_onedal(x: np.ndarray, k: int, kind: Any, seed: int, *, scored: bool = True) -> float:
    """Fit from the best of ten trials of ten iterations, for at most 100 iterations."""
    import daal4py

    daal4py.daalinit(1)
    storage = {"covarianceStorage": "diagonal" if kind == "diag" else "full", "nComponents": k}
    engine = daal4py.engines_mt19937(seed=seed + 1)
    first = daal4py.em_gmm_init(nTrials=10, nIterations=10, accuracyThreshold=1e-4, engine=engine, **storage).compute(x)
    fitted = daal4py.em_gmm(maxIterations=100, accuracyThreshold=1e-6, **storage)
    ended = fitted.compute(x, first.weights, first.means, first.covariances)
    if not scored:
        return 0.0
    written = [np.diag(c.ravel()) if kind == "diag" else c for c in ended.covariances]
    return log_likelihood(x, bg.MixtureParameters(ended.weights.ravel(), ended.means, np.stack(written)))
