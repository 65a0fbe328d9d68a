"""Compiled loops on several threads: on how many, and how."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache

import numba

#: Rows times features times components times parameter values below which threads cost more than they give.
SERIAL_WORK = 2_000_000


def worth(work: int, most: int) -> int:
    """Return how many threads are worth so much work in at most so many parts: one, or numba's number."""
    return 1 if work < SERIAL_WORK else min(numba.get_num_threads(), most)


@cache
def _helpers() -> ThreadPoolExecutor:
    """Return threads that wait for work: to start new ones for every pass takes up to a third of its time."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "bayesgmm")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # A fork has none of the threads.


def mapped[T, R](function: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """Return the function of every item, in order, on so many threads, of which the caller's is one.

    An exception, or an interrupt from the keyboard, ends the work of all as soon as each has done its item.
    """
    if threads == 1:
        return [function(item) for item in items]
    each = list(items)
    waiting, found, failures = deque(enumerate(each)), {}, []

    def work() -> None:
        while waiting:
            try:
                at, item = waiting.popleft()
            except IndexError:  # Another thread took the last.
                return
            try:
                found[at] = function(item)
            except BaseException as error:
                failures.append(error)
                waiting.clear()

    helping: list[Future[None]] = []
    try:
        # None is to be had once the interpreter ends; the caller then does all.
        with suppress(RuntimeError):
            while len(helping) < threads - 1:
                helping.append(_helpers().submit(work))
        work()
    finally:
        waiting.clear()
        for helper in helping:
            # One that others keep busy, or that waits for this very call, has not begun.
            if not helper.cancel():
                helper.result()
    if failures:
        raise failures[0]
    return [found[at] for at in range(len(each))]
