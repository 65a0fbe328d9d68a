"""Whether ranks are uniform: their distribution function inside a band that holds for all of it at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy
from jaxtyping import Float, Int

#: Uniform samples from which the distribution of the smallest tail probability is read.
SIMULATIONS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class RankTest:
    """The distribution function of ranks against that of uniform ones.

    Säilynoja, Bürkner & Vehtari (2022, doi:10.1007/s11222-022-10090-6): at each possible rank the number of ranks
    below it is binomial; what is judged is the smallest of the tail probabilities over all ranks.

    Attributes
    ----------
    ecdf, lower, upper : array (draws,)
        Share of the ranks up to 0, 1, ..., draws - 1, and the band that holds it everywhere with probability
        ``prob``.
    p_value : float
        Probability that uniform ranks leave the band further.
    """

    ecdf: Float[np.ndarray, " draws"]
    lower: Float[np.ndarray, " draws"]
    upper: Float[np.ndarray, " draws"]
    p_value: float

    @classmethod
    def of(cls, ranks: Int[np.ndarray, " replicate"], draws: int, prob: float = 0.99) -> RankTest:
        """Judge ranks, each from 0 to ``draws``."""
        number = len(ranks)
        simulated = smallest_tails_of_uniform_ranks(number, draws)
        counts = np.cumsum(np.bincount(ranks, minlength=draws + 1))[:-1]
        smallest = smallest_tail(counts[None], number, draws)[0]
        inside = np.quantile(simulated, 1 - prob)
        shares = (np.arange(draws) + 1) / (draws + 1)
        quantile = scipy.stats.binom.ppf  # SciPy imports its distributions when they are first asked for.
        band = quantile(inside / 2, number, shares), quantile(1 - inside / 2, number, shares)
        return cls(counts / number, band[0] / number, band[1] / number, float((simulated <= smallest).mean()))

    @property
    def inside(self) -> bool:
        """Whether the distribution function stays inside the band."""
        return bool(((self.ecdf >= self.lower) & (self.ecdf <= self.upper)).all())


def smallest_tail(counts: Int[np.ndarray, "sample draws"], number: int, draws: int) -> Float[np.ndarray, " sample"]:
    """Return the smallest two-sided tail probability of the numbers of ranks up to each value."""
    shares = (np.arange(draws) + 1) / (draws + 1)
    below = scipy.stats.binom.cdf(np.arange(-1, number + 1)[:, None], number, shares)
    column = np.arange(draws)
    lower, upper = below[counts + 1, column], 1 - below[counts, column]
    return 2 * np.minimum(lower, upper).min(axis=1)


@cache
def smallest_tails_of_uniform_ranks(number: int, draws: int) -> Float[np.ndarray, " sample"]:
    """Return the smallest tails of samples of uniform ranks, always the same ones."""
    rng = np.random.default_rng(20221)
    counts = rng.multinomial(number, np.full(draws + 1, 1 / (draws + 1)), size=SIMULATIONS)
    return smallest_tail(np.cumsum(counts, axis=1)[:, :-1], number, draws)
