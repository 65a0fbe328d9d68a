"""Value and gradient of the transparent PyMC model beside those of a plain `pm.Mixture`."""

from __future__ import annotations

import json
import tempfile
import time
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

import bayesgmm as bg
from benchmarks.clock import cpu_seconds, in_fresh_process, interleaved, medians
from benchmarks.em_iteration import problem
from benchmarks.report import Table

ROWS, FEATURES, COMPONENTS = 10_000, 5, 5
#: How many times as fast an evaluation should be, and as cheap its compilation.
FASTER, CHEAPER = 8, 4
#: Evaluations per measurement.
CALLS = {"bayesgmm": 100, "pm.Mixture": 20}
#: How far, relative to their size, values and gradients may be apart.
SAME = 1e-9
COMPILED = ["bayesgmm", "pm.Mixture", "bayesgmm with its own kernels uncached"]


def table(quick: bool) -> Table:
    """Time evaluation and compilation of both models."""
    n = ROWS // 10 if quick else ROWS
    title = f"Log posterior and gradient, n = {n}, D = {FEATURES}, K = {COMPONENTS}: CPU seconds, one thread"
    rows = [evaluation(n, 3 if quick else 9)]
    if quick:
        return Table("model_gradient", title, rows, ["compilation, which takes minutes, is left out of quick runs"])
    return Table("model_gradient", title, [*rows, *compilation(n)])


def evaluation(n: int, repeats: int) -> dict[str, Any]:
    """Return the row of one evaluation, after checking that both evaluate the same thing."""
    functions = {name: function(name, n) for name in CALLS}
    point = 0.1 * np.random.default_rng(1).standard_normal(functions["bayesgmm"].size)
    refuse_disagreement([f(point) for f in functions.values()])

    def seconds(name: str) -> float:
        calls, evaluate = range(CALLS[name]), functions[name]
        return cpu_seconds(lambda: [evaluate(point) for _ in calls]) / len(calls)

    measured = interleaved({name: partial(seconds, name) for name in CALLS}, repeats)
    ours, theirs = (medians(measured[name])["seconds"] for name in CALLS)
    return _row("one evaluation", ours, theirs, FASTER)


def compilation(n: int) -> list[dict[str, Any]]:
    """Return the rows of model, function and first call, with PyTensor's cache empty; once, for it takes minutes."""
    cached, plain, uncached = (cold_seconds(name, n) for name in COMPILED)
    return [
        _row("build, compile, first call", cached, plain, CHEAPER),
        _row("the same, the library's kernels uncached too", uncached, plain, None),
    ]


def cold_seconds(contender: str, n: int) -> float:
    """Return the CPU seconds from imports to the first value, in a process without PyTensor's cache."""
    name = contender.split(" with ", maxsplit=1)[0]
    with tempfile.TemporaryDirectory() as folder:
        empty = {"PYTENSOR_FLAGS": f"base_compiledir={folder}"}
        if contender != name:
            empty["NUMBA_CACHE_DIR"] = folder
        code = f"from benchmarks.model_gradient import print_first; print_first({name!r}, {n})"
        return in_fresh_process(code, **empty)["seconds"]


def print_first(name: str, n: int) -> None:
    """Print, as JSON, what `cold_seconds` asks of a fresh process."""
    import_module("bayesgmm.posterior.pymc_model")
    import_module("benchmarks.plain_model")

    problem(n, FEATURES, COMPONENTS)
    began = time.process_time()
    evaluate = function(name, n)
    evaluate(np.zeros(evaluate.size))
    print(json.dumps({"seconds": time.process_time() - began}))


class Function:
    """Value and gradient of a PyMC model at an unconstrained vector."""

    def __init__(self, model: Any) -> None:
        self._evaluate = model.logp_dlogp_function(ravel_inputs=True)
        self._evaluate.set_extra_values({})
        self.size = sum(v.size for v in model.initial_point().values())

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Evaluate both."""
        return self._evaluate(point)


def function(name: str, n: int) -> Function:
    """Build one model and compile its function; numba does its part at the first call."""
    from benchmarks.plain_model import build_plain_model

    x, _ = problem(n, FEATURES, COMPONENTS)
    if name == "bayesgmm":
        return Function(bg.build_pymc_model(x, COMPONENTS))
    data = bg.Observations.of(x)
    return Function(build_plain_model(data, bg.ConjugatePrior.from_data(data, COMPONENTS)))


def refuse_disagreement(found: list[tuple[float, np.ndarray]]) -> None:
    """Refuse to compare the speed of two that do not compute the same thing."""
    (value, gradient), (other_value, other_gradient) = found
    apart = max(abs(value - other_value) / abs(value), np.abs(gradient - other_gradient).max() / np.abs(gradient).max())
    if not apart <= SAME:
        raise RuntimeError(f"the two log posteriors differ, relatively, by {apart:.2g}: {value} and {other_value}")


def _row(what: str, ours: float, theirs: float, target: float | None) -> dict[str, Any]:
    return {"what": what, "bayesgmm": ours, "pm.Mixture": theirs, "ratio": theirs / ours, "target": target}
