"""Fit rows that Ray holds: how to add a source of one's own.

A source names its features, says how many rows it has, reads some of them, and describes itself. One that also
writes `each` decides where functions of blocks are computed: here, in Ray's tasks, next to the rows. The results come
back in order and are added up in a fixed tree, so that the fit has the bits of a fit in memory.

Without Ray installed, the same rows are read one block at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import bayesgmm as bg


class Blocks(bg.Source):
    """Rows in blocks that somebody else holds, given by functions that return them."""

    def __init__(self, loaders: list[Callable[[], np.ndarray]], lengths: list[int], features: tuple[str, ...]) -> None:
        self.features = features
        self._loaders, self._ends = loaders, np.cumsum(lengths)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, start: int, stop: int) -> np.ndarray:
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right")
        rows = np.concatenate([load() for load in self._loaders[first : last + 1]])
        begin = start - (self._ends[first - 1] if first else 0)
        return np.ascontiguousarray(rows[begin : begin + stop - start])

    def describe(self) -> dict[str, Any]:
        return {"kind": "blocks", "path": f"{len(self._loaders)} loaders"}


class OnRay(Blocks):
    """The same, read and worked on in Ray's tasks."""

    def each(self, function: Callable[..., Any], bounds: list[tuple[int, int]]) -> Iterator[Any]:
        import ray

        @ray.remote
        def work(source: Blocks, start: int, stop: int) -> Any:
            return function(source.read(start, stop), start)

        held = ray.put(self)
        for reference in [work.remote(held, start, stop) for start, stop in bounds]:
            yield ray.get(reference)


def load(part: int) -> np.ndarray:
    """Return one part of the rows, as if from far away: two groups of customers."""
    rng = np.random.default_rng(part)
    premium = rng.random(100_000) < 0.3
    return np.column_stack([np.where(premium, 70, 25) + 12 * rng.standard_normal(100_000), rng.normal(5, 2, 100_000)])


def main() -> None:
    """Fit, and write memberships to a file."""
    try:
        import ray

        kind, _ = OnRay, ray.init()
    except ImportError:
        kind = Blocks
    parts = 50
    source = kind([lambda part=part: load(part) for part in range(parts)], [100_000] * parts, ("spend", "visits"))
    result = bg.fit(source, 2, engine=bg.EM(n_init=3), seed=1)
    print(result)


if __name__ == "__main__":
    main()
