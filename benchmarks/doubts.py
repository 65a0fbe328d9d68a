"""Whether a fit that a person would call wrong says so in its own sentence, and a sound one says nothing."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import bayesgmm as bg
from benchmarks.default_prior import Kind
from benchmarks.report import Table

#: A table, the number of groups, and who fits them.
type Case = tuple[np.ndarray, int, str]

ENGINES = ("em", "gibbs")
#: An optimum so many nats below the best that many starts find was missed.
MISSED = 0.5
SOUND = [
    Kind(60, 1, 2), Kind(60, 2, 2, 5), Kind(100, 2, 3, 5), Kind(120, 4, 3), Kind(150, 1, 3, 6), Kind(150, 6, 3),
    Kind(200, 2, 4, 5), Kind(200, 3, 2, smallest=0.3), Kind(250, 10, 2), Kind(300, 2, 3, volumes=3),
    Kind(300, 4, 3, correlation=0.9), Kind(300, 8, 4), Kind(400, 2, 5, 6), Kind(400, 3, 4, correlation=0.6),
    Kind(500, 1, 2, 5), Kind(500, 5, 5, 5), Kind(600, 13, 3), Kind(800, 2, 2, 3.5), Kind(1000, 3, 6, 6),
    Kind(1000, 20, 3), Kind(2000, 2, 3), Kind(2000, 6, 8, 6), Kind(300, 2, 2, shape="rounded"),
    Kind(300, 3, 3, 5, correlation=0.5), Kind(5000, 4, 4),
]  # fmt: skip


def drawn(kind: Kind, seed: int) -> np.ndarray:
    """Return the rows of a kind in random order."""
    rng = np.random.default_rng([7, seed])
    return rng.permutation(kind.drawn(rng)[0])


def few_rows(seed: int) -> Case:
    """Draw groups of fewer rows than a covariance needs."""
    d, k = 8 + seed % 6, 4 + seed % 3
    return drawn(Kind(k * (d - 2), d, k, 6), seed), k, ENGINES[seed % 2]


def rounded(seed: int) -> Case:
    """Draw a column in which many rows have the same value, as rain and incomes have zeros."""
    rng = np.random.default_rng([8, seed])
    x = drawn(Kind(200 + 20 * seed, 2 + seed % 3, 2, 1.0), seed)
    x[rng.random(len(x)) < rng.uniform(0.3, 0.7), 0] = 0.0
    return x, 2, ENGINES[seed % 2]


def numbered(seed: int) -> Case:
    """Draw an id column: numbers of the rows, in their order or not, from any start."""
    rng = np.random.default_rng([9, seed])
    x = drawn(Kind(100 + 10 * seed, 2, 2, 4), seed)
    number = (1.0 + rng.integers(0, 3) * 1000) + np.arange(len(x)) * (1 + seed % 2)
    return np.column_stack([rng.permutation(number) if seed % 3 == 0 else number, x]), 3, ENGINES[seed % 2]


def two_values(seed: int) -> Case:
    """Draw a column of two values beside measurements without groups."""
    rng = np.random.default_rng([10, seed])
    x = drawn(Kind(150 + 20 * seed, 2 + seed % 3, 1), seed)
    return np.column_stack([x, rng.random(len(x)) < rng.uniform(0.3, 0.7)]).astype(float), 2, ENGINES[seed % 2]


def too_many(seed: int) -> Case:
    """Ask for one or two groups more than there are."""
    k = 1 + seed % 3
    return drawn(Kind(150 + 30 * seed, 1 + seed % 7, k, 6), seed), k + 1 + seed % 2, ENGINES[seed % 2]


def missed(seed: int) -> Case | None:
    """Draw many groups that touch, where the default search ends lower than a long one; None where it does not."""
    x, k = drawn(Kind(300 + 20 * seed, 2, 15, 1.5), seed), 15
    best = _fit(x, k, bg.EM(n_init=40), 1000 + seed)
    reached = _fit(x, k, "em", seed)
    heights = [fit.modes()["log_posterior"].iloc[0] for fit in (best, reached)]
    return (x, k, "em") if heights[0] - heights[1] > MISSED else None


#: Each kind of wrong fit, and the words of the sentence that must say so.
WRONG: dict[str, tuple[Callable[[int], Case | None], str]] = {
    "groups of fewer rows than features": (few_rows, "that a covariance of .* needs"),
    "a missed optimum": (missed, "the best optimum was found by"),
    "one value that many rows share": (rounded, "narrower in column"),
    "an id column": (numbered, "looks like a number of the rows"),
    "a column of two values": (two_values, "has two values"),
    "too many groups": (too_many, "may be one group|lie on each other|no row belongs"),
}


def table(quick: bool) -> Table:
    """Count fits that say what is wrong with them, and sound fits that say anything."""
    rows = [_wrong(name, make, words, 2 if quick else 20) for name, (make, words) in WRONG.items()]
    cases = [(drawn(kind, 100 + at + 50 * turn), kind.k, ENGINES[turn % 2]) for at, kind in enumerate(SOUND)
             for turn in range(1 if quick else 4)]  # fmt: skip
    said = [[str(w) for w in _fit(x, k, engine, at).warnings] for at, (x, k, engine) in enumerate(cases)]
    rows.append({"what": "sound fits", "fits": len(cases), "say_so": 0, "say_anything": sum(map(bool, said))})
    return Table("doubts", "Fits that say what is wrong with them", rows, list(_counted(said)))


def _wrong(name: str, make: Callable[[int], Case | None], words: str, number: int) -> dict[str, Any]:
    cases = [case for seed in range(number) if (case := make(seed)) is not None]
    said = [[str(w) for w in _fit(x, k, engine, at).warnings] for at, (x, k, engine) in enumerate(cases)]
    so = sum(any(re.search(words, sentence) for sentence in each) for each in said)
    return {"what": name, "fits": len(cases), "say_so": so, "say_anything": sum(map(bool, said))}


def _counted(said: list[list[str]]) -> Iterator[str]:
    """Say what sound fits said, and how often."""
    begun = Counter(" ".join(sentence.split()[:12]) for each in said for sentence in each)
    yield from (f"sound fits, {times} times: {words} ..." for words, times in begun.most_common())


def _fit(x: np.ndarray, k: int, engine: Any, seed: int) -> bg.MixtureResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        return bg.fit(x, k, engine=engine, seed=seed, progress=False)
