"""What the fitted mixture predicts, held against the rows: left-out rows, and replicated data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy as np
from jaxtyping import Float

from bayesgmm.answers.diagnostics import elpd_data, leave_one_out
from bayesgmm.data import Observations, Rows
from bayesgmm.errors import ConvergenceWarning
from bayesgmm.expectation.pass_over_rows import log_densities
from bayesgmm.kernels.threads import mapped, worth
from bayesgmm.model.parameters import CovarianceType, MixtureParameters

if TYPE_CHECKING:
    import pandas as pd

#: Log densities held at a time while rows are left out: 32 MB.
VALUES_AT_A_TIME = 4_000_000
#: Probability of the interval that replicated data are said to lie in.
CENTRAL = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """Sums over rows, each left out in turn.

    Attributes
    ----------
    rows : int
        How many.
    mean, squares : float
        Mean of their log predictive densities, and sum of squared deviations from it.
    p : float
        Effective number of parameters.
    doubtful : int
        Rows whose Pareto k-hat is above that at which importance sampling is to be trusted.
    each : tuple of arrays (rows,)
        Log predictive densities and k-hats; empty of rows that are not in memory.
    """

    rows: int
    mean: float
    squares: float
    p: float
    doubtful: int
    each: tuple[np.ndarray, np.ndarray]

    def __add__(self, other: LeftOut) -> LeftOut:
        """Pool two parts of the rows (Chan, Golub & LeVeque 1983)."""
        rows, apart = self.rows + other.rows, other.mean - self.mean
        squares = self.squares + other.squares + apart**2 * self.rows * other.rows / rows
        elpd, k_hat = (np.concatenate(pair) for pair in zip(self.each, other.each, strict=True))
        mean = self.mean + apart * other.rows / rows
        return LeftOut(rows, mean, squares, self.p + other.p, self.doubtful + other.doubtful, (elpd, k_hat))


def loo(draws: MixtureParameters, data: Rows, kind: CovarianceType, r_eff: float) -> Any:
    """Return ArviZ's ``ELPDData`` of rows left out one by one; memory does not grow with their number.

    Parameters
    ----------
    draws : MixtureParameters
        Grid (chain, draw), in the coordinates in which ``data`` is seen.
    data : Rows
        Of a source the pointwise values are not kept.
    kind : {"full", "tied", "diag", "spherical"}
        Covariance type.
    r_eff : float
        Effective draws for each draw.
    """
    number = int(np.prod(draws.grid))
    good_k = min(1 - 1 / np.log10(number), 0.7)
    found = data.map_reduce(_left_out, draws, kind, r_eff, good_k, isinstance(data, Observations))
    if found.doubtful:
        warn(
            f"k-hat is above {good_k:.2f} for {found.doubtful} of {found.rows:,} rows: the posterior would "
            "be another without them, and their elpd is unreliable; fit without each (`az.reloo`), or by folds",
            ConvergenceWarning,
            stacklevel=3,
        )
    index = np.asarray(data.index) if isinstance(data, Observations) else np.empty(0)
    return elpd_data(
        elpd=found.mean * found.rows,
        se=float(np.sqrt(found.squares * found.rows / max(found.rows - 1, 1))),
        p=found.p,
        n_samples=number,
        n_data_points=found.rows,
        warning=found.doubtful > 0,
        good_k=good_k,
        index=index,
        pointwise=found.each,
    )


def _left_out(
    block: Observations,
    start: int,
    draws: MixtureParameters,
    kind: CovarianceType,
    r_eff: float,
    good_k: float,
    is_kept: bool,
) -> LeftOut:
    """Leave out each row of a block."""
    del start
    rows = max(1, VALUES_AT_A_TIME // int(np.prod(draws.grid)))
    parts = [block.rows(first, min(first + rows, len(block))) for first in range(0, len(block), rows)]
    return reduce(add, [_few_left_out(part, draws, kind, r_eff, good_k, is_kept) for part in parts])


def _few_left_out(
    rows: Observations, draws: MixtureParameters, kind: CovarianceType, r_eff: float, good_k: float, is_kept: bool
) -> LeftOut:
    values = log_densities(draws, rows, kind) * rows.sample_weight
    elpd, k_hat, p = leave_one_out(values, r_eff)
    each = (elpd, k_hat) if is_kept else (np.empty(0), np.empty(0))
    squares = float(((elpd - elpd.mean()) ** 2).sum())
    return LeftOut(len(rows), float(elpd.mean()), squares, float(p.sum()), int((k_hat > good_k).sum()), each)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Power sums of rows, as seen, for several sets of rows at once.

    Attributes
    ----------
    count : float
        Rows in each set.
    powers : array (set, 4, d)
        Sums of the first to fourth powers.
    products : array (set, d, d)
        Sums of products of pairs of columns.
    low, high : array (set, d)
        Least and largest values.
    """

    count: float
    powers: Float[np.ndarray, "set 4 d"]
    products: Float[np.ndarray, "set d d"]
    low: Float[np.ndarray, "set d"]
    high: Float[np.ndarray, "set d"]

    @classmethod
    def of(cls, x: Float[np.ndarray, "n d"], weight: Float[np.ndarray, " n"]) -> Moments:
        """Sum up one set of rows."""
        weighted = term = x * weight[:, None]
        sums = [term.sum(0)]
        for _ in range(3):
            term = term * x
            sums.append(term.sum(0))
        return cls(float(weight.sum()), np.stack(sums)[None], (weighted.T @ x)[None], x.min(0)[None], x.max(0)[None])

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What is summed of every set."""
        return self.powers, self.products, self.low, self.high

    def __add__(self, other: Moments) -> Moments:
        """Pool two parts of the rows."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        powers, products = self.powers + other.powers, self.products + other.products
        return Moments(self.count + other.count, powers, products, low, high)

    def statistics(self, features: tuple[str, ...], origin: np.ndarray, unit: np.ndarray) -> dict[str, np.ndarray]:
        """Return test statistics (set) of every column and pair of columns, in data units."""
        first, second, third, fourth = np.moveaxis(self.powers, 1, 0) / self.count
        variance = second - first**2
        skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
        kurtosis = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2 - 3
        covariance = self.products / self.count - first[:, :, None] * first[:, None]
        correlation = covariance / np.sqrt(variance[:, :, None] * variance[:, None])
        columns = {
            "mean": origin + unit * first,
            "sd": unit * np.sqrt(variance),
            "skewness": skewness,
            "kurtosis": kurtosis,
            "min": origin + unit * self.low,
            "max": origin + unit * self.high,
        }
        found = {f"{name}[{f}]": values[:, j] for name, values in columns.items() for j, f in enumerate(features)}
        pairs = [(i, j) for i in range(len(features)) for j in range(i + 1, len(features))]
        return found | {f"correlation[{features[i]}, {features[j]}]": correlation[:, i, j] for i, j in pairs}


def check(draws: MixtureParameters, data: Rows, seed: int) -> pd.DataFrame:
    """Return test statistics of the rows beside those of data replicated from each draw.

    Parameters
    ----------
    draws : MixtureParameters
        Grid (draw,), in the coordinates in which ``data`` is seen.
    data : Rows
        Observed; a row of weight 3 is replicated by three rows.
    seed : int
        Of the replicates, which depend on it and on the number of rows alone.
    """
    import pandas as pd

    found = data.map_reduce(_replicated, draws, seed)
    statistics = found.statistics(data.features, data.origin, data.unit)
    table = {}
    for name, values in statistics.items():
        observed, replicated = values[0], values[1:]
        above, equal = (replicated > observed).mean(), (replicated == observed).mean()
        table[name] = {
            "observed": observed,
            "replicated": replicated.mean(),
            "lower": np.quantile(replicated, (1 - CENTRAL) / 2),
            "upper": np.quantile(replicated, (1 + CENTRAL) / 2),
            "p_value": above + equal / 2,
        }
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("statistic")


def _replicated(block: Observations, start: int, draws: MixtureParameters, seed: int) -> Moments:
    """Sum up a block of rows, and as many rows drawn from each draw."""
    number = round(block.total_weight)

    def one(at: int) -> Moments:
        rows = _rows_of(draws[at], number, np.random.default_rng([seed, start, at]))
        return Moments.of(rows, np.ones(number))

    sets = range(len(draws.weights))
    replicated = mapped(one, sets, worth(number * block.n_features * len(sets), most=len(sets)))
    observed = Moments.of((block.values - block.origin) * (1 / block.unit), block.sample_weight)
    arrays = zip(*(part.arrays for part in (observed, *replicated)), strict=True)
    powers, products, low, high = (np.concatenate(array) for array in arrays)
    return Moments(observed.count, powers, products, low, high)


def _rows_of(mixture: MixtureParameters, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """Draw rows, sorted by component."""
    counts = rng.multinomial(n, mixture.weights)
    roots = np.linalg.cholesky(mixture.covariances)
    each = zip(counts, mixture.means, roots, strict=True)
    return np.concatenate([mean + rng.standard_normal((count, len(mean))) @ root.T for count, mean, root in each])
