"""Sums over blocks of rows in a fixed binary tree: the same bits for any source, threads and workers.

Rows are cut into chunks of `CHUNK_ROWS`. Blocks, which a source hands out one at a time, are made of a power of two
of them, so that the sum of a block is a node of the same tree whatever the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import add
from typing import Any

import numpy as np

from bayesgmm.kernels.passes import fold
from bayesgmm.kernels.threads import mapped

#: Rows of one chunk of a pass. It depends on nothing.
CHUNK_ROWS = 32_768
#: Most chunks in a block, and the values that one should not exceed: 32 MB.
MOST_CHUNKS, BLOCK_VALUES = 16, 4_194_304
#: Stretches of chunks that each thread has on average.
PARTS_OF_A_THREAD = 2


def block_bounds(n: int, d: int) -> list[tuple[int, int]]:
    """Return the first and last row (exclusive) of each block of n rows of d features."""
    chunks = MOST_CHUNKS
    while chunks > 1 and chunks * CHUNK_ROWS * d > BLOCK_VALUES:
        chunks //= 2
    return [(start, min(start + chunks * CHUNK_ROWS, n)) for start in range(0, n, chunks * CHUNK_ROWS)]


def summed(parts: Iterable[Any]) -> Any:
    """Add up in a fixed binary tree, holding one partial sum per level (a binary counter)."""
    levels: list[Any] = []
    for part in parts:
        carry: Any = part
        for level, waiting in enumerate(levels):
            if waiting is None:
                levels[level], carry = carry, None
                break
            levels[level], carry = None, add(waiting, carry)
        if carry is not None:
            levels.append(carry)
    present = [level for level in levels if level is not None]
    total = present[0]
    for level in present[1:]:
        total = level + total
    return total


def folded(
    one_part: Callable[..., None], n: int, shapes: Sequence[tuple[int, ...]], threads: int = 1
) -> list[np.ndarray]:
    """Let a compiled ``one_part(start, stop, totals)`` write its sums for each chunk of n rows, and add them up."""
    chunks = -(-n // CHUNK_ROWS)
    totals = [np.zeros((chunks, *shape)) for shape in shapes]
    threads = min(threads, chunks)
    # Few enough that calls cost nothing, enough that a thread that is held up does not hold up the others.
    parts = min(PARTS_OF_A_THREAD * threads, chunks) if threads > 1 else 1

    def one_stretch(at: int) -> None:
        first, last = chunks * at // parts, chunks * (at + 1) // parts
        one_part(first * CHUNK_ROWS, min(last * CHUNK_ROWS, n), [array[first:last] for array in totals])

    mapped(one_stretch, range(parts), threads)
    if chunks > 1:
        for array in totals:
            fold(array.reshape(chunks, -1))
    # A part of an array would keep all of it.
    return [array[0].copy() for array in totals]
