"""The pass of one Gibbs sweep beside that of one EM iteration, under the same parameters."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bayesgmm.data import Observations
from bayesgmm.expectation.pass_over_rows import allocate, expect, whiten
from benchmarks.clock import cpu_seconds, interleaved, medians
from benchmarks.em_iteration import problem
from benchmarks.report import Table

#: Rows, features, components.
CASES = [
    (272, 2, 2),
    (10_000, 5, 5),
    (100_000, 2, 5),
    (1_000_000, 2, 5),
    (100_000, 10, 10),
    (100_000, 50, 20),
]
#: How many times as long as EM's the pass of a sweep should take at most.
TARGET = 1.3
#: Rows times components times squared features that one measurement goes through at least.
WORK = 20_000_000


def table(quick: bool) -> Table:
    """Time both passes for every size of data."""
    rows = [_row(n // 10 if quick else n, d, k, 3 if quick else 9) for n, d, k in CASES]
    return Table("gibbs_sweep", "One pass over the data: CPU milliseconds, one thread, float64", rows)


def _row(n: int, d: int, k: int, repeats: int) -> dict[str, Any]:
    x, start = problem(n, d, k)
    data, white = Observations.of(x), whiten(start)
    keys = np.arange(1, dtype=np.uint64)
    passes = {"sweep": lambda: allocate(white, data, (), keys), "em": lambda: expect(white, data, ())}
    calls = range(max(1, WORK // (n * k * d * d)))
    contenders = {name: partial(cpu_seconds, lambda one=one: [one() for _ in calls]) for name, one in passes.items()}
    for one in passes.values():
        one()
    measured = interleaved(contenders, repeats)
    sweep, em = (1e3 * medians(measured[name])["seconds"] / len(calls) for name in passes)
    return {"n": n, "d": d, "k": k, "sweep_ms": sweep, "em_ms": em, "ratio": sweep / em, "target_at_most": TARGET}
