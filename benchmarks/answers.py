"""What an answer costs: whole fits by every engine, how they grow with the data, and how long until they are sound."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import bayesgmm as bg
from benchmarks.clock import ONE_THREAD, cpu_seconds, in_fresh_process, interleaved, medians
from benchmarks.em_iteration import CONTENDERS, SHORT, contenders_here, iteration_milliseconds, problem
from benchmarks.report import Table, installed

#: Wall seconds within which a posterior should have converged in a fresh process, compiled code cached.
GIBBS_TARGET, NUTS_TARGET = 3.0, 15.0
CONVERGED = """
import json, time
began = time.perf_counter()
import warnings
import bayesgmm as bg
warnings.simplefilter("error")
result = bg.fit(bg.datasets.load_faithful(), 2, engine=ENGINE, seed=SEED, progress=False)
found = result.diagnostics()
wall = time.perf_counter() - began
print(json.dumps({"wall": wall, "r_hat": found["r_hat"].max(), "ess": found["ess_bulk"].min()}))
"""
DATA = {
    "Old Faithful, K = 2": (bg.datasets.load_faithful, 2),
    "galaxies, K = 3": (bg.datasets.load_galaxies, 3),
    "simulated 100,000 x 2, K = 5": (lambda: problem(100_000, 2, 5)[0], 5),
}
#: One of rows, features and components grows; the others stay.
GROWTH = {
    "n": [(n, 5, 5) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "d": [(50_000, d, 5) for d in (1, 2, 5, 10, 20, 50, 100)],
    "k": [(50_000, 5, k) for k in (2, 5, 10, 20, 50)],
}


def converged(quick: bool) -> Table:
    """Time from the start of Python to a posterior that passes every diagnostic, on all threads."""
    seeds = range(2 if quick else 5)
    free = dict.fromkeys(ONE_THREAD, "2")
    rows = []
    for engine, target in (("gibbs", GIBBS_TARGET), ("nuts", NUTS_TARGET)):
        code = CONVERGED.replace("ENGINE", repr(engine))
        in_fresh_process(code.replace("SEED", "99"), **free)  # Fills the caches.
        found = [in_fresh_process(code.replace("SEED", str(seed)), **free) for seed in seeds]
        rows.append(
            {
                "what": engine,
                "wall": statistics.median(f["wall"] for f in found),
                "target": target,
                "largest_r_hat": max(f["r_hat"] for f in found),
                "smallest_ess": min(f["ess"] for f in found),
            }
        )
    return Table("converged", "Old Faithful, K = 2, fresh process: wall seconds to a posterior without warnings", rows)


def fits(quick: bool) -> Table:
    """Time whole fits with the settings that a user gets, scikit-learn's mixtures beside them."""
    rows = []
    for name, (load, k) in DATA.items():
        data = np.asarray(load())
        data = data[:: max(1, len(data) // 300)] if quick else data
        engines: dict[str, Callable[[], Any]] = {
            "EM, 10 starts": partial(_fit, data, k, bg.EM()),
            "EM, Laplace intervals": partial(_fit, data, k, bg.EM(uncertainty="laplace")),
            "Gibbs, 4 x 1000 draws": partial(_fit, data, k, bg.Gibbs()),
        }
        if len(data) < 10_000:
            engines["NUTS, 4 x 1000 draws"] = partial(_fit, data, k, bg.NUTS(cores=1))
        if installed("scikit-learn") is not None:
            engines |= _of_sklearn(data, k)
        for fit in engines.values():
            fit()  # Imports and caches are not part of a fit.
        contenders = {form: partial(cpu_seconds, fit) for form, fit in engines.items()}
        # The longest takes minutes, and varies by far less than fits differ.
        measured = interleaved(contenders, 3 if len(data) < 10_000 and not quick else 1)
        rows += [{"data": name, "form": form, "seconds": medians(m)["seconds"]} for form, m in measured.items()]
    notes = [] if installed("scikit-learn") else ["scikit-learn is skipped: it is not installed"]
    return Table("fits", "A whole fit: CPU seconds, one thread", rows, notes)


def _fit(data: np.ndarray, k: int, engine: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What is timed is the fit, whatever came of it.
        bg.fit(data, k, engine=engine, seed=1, progress=False)


def _of_sklearn(data: np.ndarray, k: int) -> dict[str, Callable[[], Any]]:
    from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

    settings: Any = {"n_components": k, "n_init": 10, "random_state": 1, "max_iter": 1000}
    return {
        "scikit-learn's EM, 10 starts": lambda: GaussianMixture(**settings).fit(data),
        "scikit-learn's variational, 10 starts": lambda: BayesianGaussianMixture(**settings).fit(data),
    }


def scaling(quick: bool) -> Table:
    """Time an EM iteration as rows, features or components grow."""
    present, notes = contenders_here()
    rows = []
    for grows, sizes in GROWTH.items():
        for n, d, k in sizes:
            x, start = problem(n // 10 if quick else n, d, k)
            runs = {name: partial(run, x, start) for name, run in present.items()}
            for run in runs.values():
                run(SHORT)  # What is compiled, and the first touch of memory, is not part of an iteration.
            each = iteration_milliseconds(runs, 2, 1 if quick else 3, 0.1 if quick else 0.5)
            rows.append({"what": grows, "n": len(x), "d": d, "k": k, **{f"{c}_ms": each.get(c) for c in CONTENDERS}})
    return Table(
        "scaling", "One EM iteration as one of n, d and k grows: marginal CPU milliseconds, one thread", rows, notes
    )
