"""The same fit from memory, files and Dask: time of a pass, memory, and whether the bits are the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clock import in_fresh_process
from benchmarks.report import Table, installed

FEATURES, COMPONENTS = 5, 5
#: Rows of the tables; memory is compared between the two.
ROWS = (5_000_000, 20_000_000)

CODE = """
import hashlib, json, os, statistics, sys, time, warnings
import numpy as np
import bayesgmm as bg
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.data import rows_of
from benchmarks.clock import _field
warnings.simplefilter("ignore")
form, path = {form!r}, {path!r}
memory = lambda name: _field(open("/proc/self/status").read(), name) / 1024

def main():
    client = None
    if form == "array":
        data = np.load(path)
    elif form.startswith("dask"):
        import dask.array as da
        data = da.from_zarr(path)
        if form != "dask, threads":
            from distributed import Client
            client = Client(n_workers=int(form.split()[1]), threads_per_worker=1, dashboard_address=None)
    else:
        data = path
    import pyarrow.dataset, zarr  # What reads files is imported like the library: its memory is not counted.
    open("/proc/self/clear_refs", "w").write("5")
    before = memory("VmRSS")
    began = time.perf_counter()
    rows = rows_of(data)
    checked = time.perf_counter() - began
    engine = bg.EM(n_init=1, max_iter=6, tol=0)
    result = bg.fit(rows, {k}, engine=engine, seed=1)
    peak = memory("VmHWM") - before
    bits = [result.tree["trace"]["log_posterior"].values, *result.parameters.arrays]
    gibbs = bg.fit(rows, {k}, engine=bg.Gibbs(draws=4, tune=1, chains=1), seed=1, progress=False) if {gibbs} else result
    bits += [gibbs.weights.values, gibbs.means.values, gibbs.covariances.values]
    seen = rows.standardised()
    white = estep.whiten(result.parameters.moved(seen.origin, seen.unit).reshaped((1,)))
    cpu, wall = [], []
    for _ in range(5):
        a, b = time.process_time(), time.perf_counter()
        estep.expect(white, seen, (1,))
        cpu.append(time.process_time() - a)
        wall.append(time.perf_counter() - b)
    print(json.dumps({{"checked_s": checked, "pass_cpu_ms": 1e3 * statistics.median(cpu),
        "pass_wall_ms": 1e3 * statistics.median(wall), "peak_mb": peak,
        "bits": int(hashlib.sha256(b"".join(a.tobytes() for a in bits)).hexdigest()[:12], 16)}}))
    if client is not None:
        client.close()

if __name__ == "__main__":
    main()
"""


def table(quick: bool) -> Table:
    """Fit every form of one table in a process of its own."""
    if installed("zarr") is None or installed("distributed") is None:
        return Table("out_of_core", "", [], ["out_of_core is skipped: install bayesgmm[dask]"])
    rows: list[dict[str, Any]] = []
    for n in (500_000,) if quick else ROWS:
        folder = Path(tempfile.mkdtemp(prefix="bayesgmm-benchmark-"))
        try:
            write_rows(n, folder)
            rows += _rows(n, folder, full=n == ROWS[0] or quick)
        finally:
            shutil.rmtree(folder)
    title = f"One pass over n x {FEATURES} rows, K = {COMPONENTS}, one thread; peak memory of a fit above the imports"
    return Table("out_of_core", title, rows)


def write_rows(n: int, folder: Path) -> None:
    """Write rows of overlapping groups, some at a time, as .npy, Parquet and Zarr."""
    import pyarrow as pa
    import zarr
    from pyarrow.parquet import ParquetWriter

    rng, step = np.random.default_rng(n), 500_000
    centres = 2 * rng.standard_normal((COMPONENTS, FEATURES))
    npy = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float64, (n, FEATURES))
    group: Any = zarr.create_array(folder / "x.zarr", shape=(n, FEATURES), chunks=(step, FEATURES), dtype="f8")
    schema = pa.schema([(f"x{j}", pa.float64()) for j in range(FEATURES)])
    with ParquetWriter(folder / "x.parquet", schema) as parquet:
        for start in range(0, n, step):
            x = rng.standard_normal((step, FEATURES)) + centres[rng.integers(COMPONENTS, size=step)]
            npy[start : start + step] = x
            group[start : start + step] = x
            parquet.write_table(pa.table([x[:, j] for j in range(FEATURES)], schema))
    npy.flush()


def _rows(n: int, folder: Path, *, full: bool) -> list[dict[str, Any]]:
    forms = {"npy": "x.npy", "parquet": "x.parquet"}
    if full:
        forms = {"array": "x.npy"} | forms | {"zarr": "x.zarr"}
        forms |= {name: "x.zarr" for name in ("dask, threads", "dask, 1 worker", "dask, 2 workers")}
    measured = {}
    for form, name in forms.items():
        code = CODE.format(form=form, path=str(folder / name), k=COMPONENTS, gibbs=full)
        measured[form] = in_fresh_process(code)
    first = next(iter(measured.values()))
    return [
        {"form": form, "n": n, **{name: value for name, value in found.items() if name != "bits"},
         "pass_ratio": found["pass_wall_ms"] / first["pass_wall_ms"], "same_bits": str(found["bits"] == first["bits"])}
        for form, found in measured.items()
    ]  # fmt: skip


def memberships(quick: bool) -> Table:
    """Time memberships with intervals of many rows from many draws."""
    n = 20_000 if quick else 1_000_000
    code = f"""
import json, os, tempfile, time
import numpy as np
import bayesgmm as bg
from bayesgmm.answers import memberships as soft
from bayesgmm.answers.memberships_file import write_memberships
from benchmarks.clock import _field
rng = np.random.default_rng(1)
k, g = 5, 1000
centres = 2 * rng.standard_normal((k, 2))
x = rng.standard_normal(({n}, 2)) + centres[rng.integers(k, size={n})]
draws = bg.MixtureParameters(rng.dirichlet(np.full(k, 400.0), size=g),
    centres + 0.02 * rng.standard_normal((g, k, 2)), np.broadcast_to(np.eye(2), (g, k, 2, 2)).copy())
data = bg.Observations.of(x)
soft.memberships(draws, data.rows(0, 10), "full", 0.9)
memory = lambda name: _field(open("/proc/self/status").read(), name) / 1024
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
with tempfile.TemporaryDirectory() as folder:
    began = time.process_time()
    write_memberships(folder + "/m.parquet", draws, data, "full", 0.9)
    print(json.dumps({{"cpu_seconds": time.process_time() - began, "extra_mb": memory("VmHWM") - before}}))
"""
    rows = [{"n": n, "k": 5, "d": 2, "draws": 1000, **in_fresh_process(code), "target": 60}]
    return Table("memberships", "Memberships with 90 % intervals, written to Parquet", rows)


def dask_overhead(quick: bool) -> Table:
    """Time passes that do nothing, over 20 partitions on two workers."""
    if installed("distributed") is None:
        return Table("dask_overhead", "", [], ["dask_overhead is skipped: install bayesgmm[dask]"])
    code = """
import json, statistics, time
import numpy as np

def nothing(block, start):
    return float(len(block))

def main():
    import dask.array as da
    from distributed import Client
    from bayesgmm.data import DaskSource, StoredObservations, sums
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None):
        n = 20 * sums.MOST_CHUNKS * sums.CHUNK_ROWS
        rows = StoredObservations.of(DaskSource(da.random.random((n, 1), chunks=(n // 20, 1))))
        took = []
        for _ in range(15):
            began = time.perf_counter()
            assert rows.map_reduce(nothing) == n
            took.append(time.perf_counter() - began)
    print(json.dumps({"ms": 1e3 * statistics.median(took)}))

if __name__ == "__main__":
    main()
"""
    del quick
    rows = [{"what": "20 partitions, 2 workers", **in_fresh_process(code), "at_most": 60}]
    return Table("dask_overhead", "A pass of nothing: wall milliseconds", rows)
