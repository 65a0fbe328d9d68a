"""What Stephens' relabelling costs: CPU seconds and memory."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import Any

import numpy as np

import bayesgmm as bg
from bayesgmm.answers.relabelling import ALIGNMENT_ROWS, Relabelling, relabelling
from bayesgmm.model.parameters import Draws, MixtureParameters
from benchmarks.clock import cpu_seconds, interleaved, medians
from benchmarks.contest import Task
from benchmarks.em_iteration import problem
from benchmarks.report import Table

ROWS, FEATURES, COMPONENTS, DRAWS = 10_000, 5, 5, 4000
#: CPU seconds and megabytes that it should take at most.
SECONDS, MEGABYTES = 20, 300


def table(quick: bool) -> Table:
    """Relabel shuffled draws, comparing labels on the default number of rows and on all of them."""
    n, number = (ROWS // 5, DRAWS // 10) if quick else (ROWS, DRAWS)
    task = Task.of(problem(n, FEATURES, COMPONENTS)[0], COMPONENTS)
    drawn = bg.Gibbs(draws=number // 4).run(task.data, task.prior, None, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    shuffled = rng.permuted(np.tile(np.arange(COMPONENTS), (*drawn.parameters.grid, 1)), axis=-1)
    runs = {rows: partial(relabel, task, drawn, shuffled, rows) for rows in (ALIGNMENT_ROWS, n)}
    measured = interleaved({f"{r}": partial(cpu_seconds, run) for r, run in runs.items()}, 1 if quick else 3)
    rows = [_row(r, run, shuffled, medians(measured[f"{r}"])["seconds"]) for r, run in runs.items()]
    title = f"Stephens' relabelling of {number} draws of {n} rows, D = {FEATURES}, K = {COMPONENTS}, labels shuffled"
    return Table("relabelling", title, rows)


def relabel(task: Task, drawn: Draws, shuffled: np.ndarray, rows: int) -> Relabelling:
    """Do as `MixtureResult.relabelled` does with shuffled draws."""
    flat = drawn.parameters.reshaped((-1,))
    pair = drawn.optima.parameters[0], flat[int(drawn.log_posterior.argmax())]
    pivots = MixtureParameters(*(np.stack(arrays) for arrays in zip(*(p.arrays for p in pair), strict=True)))
    return relabelling("stephens", drawn.parameters.permuted(shuffled), pivots, task.data, "full", rows)


def _row(rows: int, run: Any, shuffled: np.ndarray, seconds: float) -> dict[str, Any]:
    tracemalloc.start()
    found = run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    order = np.take_along_axis(shuffled, found.order, axis=-1).reshape(-1, shuffled.shape[-1])
    _, counts = np.unique(order, axis=0, return_counts=True)
    return {
        "rows_compared": rows,
        "seconds": seconds,
        "target_s": SECONDS,
        "extra_mb": peak / 1e6,
        "target_mb": MEGABYTES,
        "passes": found.iterations,
        "restored": float(counts.max() / len(order)),
    }
