"""How long a first answer takes: import, a point estimate, a posterior."""

from __future__ import annotations

import statistics
from tempfile import TemporaryDirectory
from typing import Any

import bayesgmm as bg
from benchmarks.clock import cpu_seconds, in_fresh_process
from benchmarks.report import Table

IMPORT = """
import json, time
began = time.process_time()
import bayesgmm
print(json.dumps({"import": time.process_time() - began}))
"""
FITS = """
import json, time
import bayesgmm as bg
data = bg.datasets.load_faithful()
found = {}
for number in ("first", "second"):
    began = time.process_time()
    bg.fit(data, 2, engine=ENGINE, seed=1, progress=False)
    found[number] = time.process_time() - began
print(json.dumps(found))
"""
#: Seconds that an import and a later fit by EM should take at most.
IMPORT_TARGET, EM_TARGET = 1.0, 0.02


def table(quick: bool) -> Table:
    """Time what a user waits for on the 272 rows of Old Faithful, K = 2."""
    repeats = 2 if quick else 5
    codes = {engine: FITS.replace("ENGINE", repr(engine)) for engine in ("em", "nuts")}
    fits = {engine: _fresh(code, repeats) for engine, code in codes.items()}
    colds = {engine: _cold(code, 1 if quick else 3) for engine, code in codes.items()}
    rows = [
        _row("import bayesgmm", _fresh(IMPORT, repeats)["import"], IMPORT_TARGET),
        _row("first EM fit of a process", fits["em"]["first"], None),
        _row("later EM fit", _later_em_fit(5 if quick else 50), EM_TARGET),
        _row("first NUTS fit of a process, 4 x 1000 draws", fits["nuts"]["first"], None),
        _row("second NUTS fit", fits["nuts"]["second"], None),
        _row("first EM fit after installation", colds["em"], None),
        _row("first NUTS fit after installation", colds["nuts"], None),
    ]
    title = "Old Faithful, K = 2: median CPU seconds, one thread, code cached on disk or, after installation, not"
    return Table("first_answer", title, rows)


def _fresh(code: str, repeats: int) -> dict[str, float]:
    """Return medians over fresh processes, after one that fills the caches."""
    in_fresh_process(code)
    found = [in_fresh_process(code) for _ in range(repeats)]
    return {name: statistics.median(f[name] for f in found) for name in found[0]}


def _cold(code: str, repeats: int) -> float:
    """Return the median of a process's first fit where nothing is compiled yet."""
    found = []
    for _ in range(repeats):
        with TemporaryDirectory() as empty:
            caches = {"NUMBA_CACHE_DIR": empty, "PYTENSOR_FLAGS": f"base_compiledir={empty}"}
            found.append(in_fresh_process(code, **caches)["first"])
    return statistics.median(found)


def _later_em_fit(repeats: int) -> float:
    data = bg.datasets.load_faithful()
    bg.fit(data, 2, engine="em", seed=0)
    return statistics.median(cpu_seconds(lambda s=s: bg.fit(data, 2, engine="em", seed=s)) for s in range(repeats))


def _row(what: str, seconds: float, target: float | None) -> dict[str, Any]:
    return {"what": what, "seconds": seconds, "target_at_most": target}
