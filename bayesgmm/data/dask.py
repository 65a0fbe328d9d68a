"""Dask arrays and data frames as sources: blocks stay on the cluster, and functions go to them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from bayesgmm.arguments import suggested
from bayesgmm.data.columns import names_rows
from bayesgmm.data.names import distinct
from bayesgmm.data.sources import Source
from bayesgmm.data.sums import block_bounds
from bayesgmm.errors import DataError, SourceError

#: Seconds without a worker, or between looks at whether there is one.
PATIENCE, LOOK = 40.0, 2.0
#: Results that are fetched from workers at a time.
WINDOW = 4


def is_dask(data: Any) -> bool:
    """Return whether this is a Dask array or data frame; imports nothing."""
    return type(data).__module__.partition(".")[0] in ("dask", "dask_expr") and hasattr(data, "dask")


class DaskSource(Source):
    """A Dask array (n, d), or the numeric columns of a Dask data frame.

    With a `distributed.Client` in the process the blocks are kept by its workers, who compute anew what is lost with
    one of them; without, blocks are computed in threads whenever they are read.
    """

    def __init__(self, data: Any, columns: tuple[str, ...] = ()) -> None:
        features: tuple[str, ...] = ()
        if hasattr(data, "to_dask_array"):
            data, self.said = _features(data.to_frame() if data.ndim == 1 else data, columns)
            features = distinct(tuple(str(name) for name in data.columns))
            data = data.to_dask_array(lengths=True)
        if data.ndim not in (1, 2) or data.dtype.kind not in "iuf":
            raise DataError(f"`data` has to hold rows of real numbers, got shape {data.shape} and dtype {data.dtype}")
        data = data.reshape(-1, 1) if data.ndim == 1 else data
        if np.isnan(data.shape[0]):
            data = data.compute_chunk_sizes()
        n, d = data.shape
        self.features, self.named = features or tuple(f"x{j}" for j in range(d)), bool(features)
        rows = tuple(stop - start for start, stop in block_bounds(n, d))
        self._array = data.astype(np.float64).rechunk((rows, (d,))) if n else data
        self._held: tuple[Any, list[Any]] | None = None  # A client and the blocks that its workers keep.

    def __len__(self) -> int:
        return int(self._array.shape[0])

    def read(self, start: int, stop: int) -> Float[np.ndarray, "rows d"]:
        """Return rows, computed in threads."""
        return np.ascontiguousarray(self._array[start:stop].compute(scheduler="threads"))

    def describe(self) -> dict[str, Any]:
        """Return the name under which Dask knows it."""
        return {"kind": "dask", "path": str(self._array.name)}

    def each(self, function: Callable[..., Any], bounds: list[tuple[int, int]]) -> Iterator[Any]:
        """Yield ``function(values, start)`` for each block, in order, computed where the blocks are."""
        client = _client()
        if client is None:
            yield from super().each(function, bounds)
            return
        if self._held is None or self._held[0] is not client:
            self._held = client, client.compute([self._array.blocks[i] for i in range(self._array.numblocks[0])])
        blocks = self._held[1]
        starts = [start for start, _ in bounds]
        futures = client.map(_apply, blocks, starts, function=function, pure=False)
        for first in range(0, len(futures), WINDOW):
            window = slice(first, first + WINDOW)
            yield from _results(client, futures[window], bounds[window])
            futures[window] = [None] * len(futures[window])  # Workers forget what has been fetched.


def _features(frame: Any, columns: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """Return the columns of a Dask data frame that were chosen, or those of numbers; and what was left out."""
    numeric = [str(name) for name in frame.select_dtypes("number").columns]
    for name in columns:
        if name not in numeric:
            raise DataError(f"`data` has no numeric column {name!r}{suggested(name, numeric)}; it has {numeric}")
    kept = list(columns) or [name for name in numeric if not names_rows(name)]
    if not kept:
        raise DataError("`data` has no numeric column; convert some to numbers")
    left = [str(name) for name in frame.columns if str(name) not in kept]
    if columns or not left:
        return frame[kept], ()
    why = ", ".join(f"{name!r} ({'called like a name of rows' if name in numeric else 'no numbers'})" for name in left)
    return frame[kept], (f"columns left out: {why}",)


def _apply(values: np.ndarray, start: int, function: Callable[..., Any]) -> tuple[int, Any]:
    """Return the number of rows and what a function makes of them, on one thread: workers have others."""
    import numba

    numba.set_num_threads(1)
    # The sum is read faster than both ends, but can overflow.
    if not np.isfinite(values.sum()) and not (np.isfinite(values.min()) and np.isfinite(values.max())):
        raise SourceError(f"the block of rows from {start} on has missing or infinite values, which it had not before")
    return len(values), function(np.ascontiguousarray(values), start)


def _results(client: Any, futures: list[Any], bounds: list[tuple[int, int]]) -> Iterator[Any]:
    """Fetch the results of some blocks, waiting as long as there is anyone to compute them."""
    from distributed import wait
    from distributed.scheduler import KilledWorker

    named, alone_since = f"rows {bounds[0][0]} to {bounds[-1][1]}", None
    while True:
        try:
            wait(futures, timeout=LOOK)
            break
        except TimeoutError:
            workers = client.scheduler_info(n_workers=-1)["workers"] if client.status == "running" else {}
            alone_since = None if workers else alone_since or time.monotonic()
        if alone_since is not None and time.monotonic() - alone_since > PATIENCE:
            raise SourceError(
                f"the Dask cluster has had no worker for {PATIENCE:.0f} s, so {named} cannot be computed; start "
                "workers and fit again"
            )
    try:
        fetched = client.gather(futures)
    except KilledWorker as error:
        raise SourceError(f"three Dask workers died over {named} ({error}); give workers more memory") from error
    except OSError as error:  # Time-outs among them.
        raise SourceError(f"a Dask worker could not read {named} ({error})") from error
    for (rows, result), (start, stop) in zip(fetched, bounds, strict=True):
        if rows != stop - start:
            raise SourceError(f"a Dask worker gave {rows} rows where {start} to {stop} were asked for")
        yield result


def _client() -> Any:
    """Return the client of this process, or None."""
    if "distributed" not in sys.modules:
        return None
    from distributed import Client

    try:
        return Client.current(allow_global=True)
    except ValueError:
        return None
