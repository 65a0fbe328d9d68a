"""Compiled loops on several threads: on how many, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numba

#: Rows times features times components times parameter values below which threads cost more than they give.
SERIAL_WORK = 2_000_000


def worth(work: int, most: int) -> int:
    """Return how many threads are worth so much work in at most so many parts: one, or numba's number."""
    return 1 if work < SERIAL_WORK else min(numba.get_num_threads(), most)


def mapped[T, R](function: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """Return the function of every item, in order, on so many threads."""
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
