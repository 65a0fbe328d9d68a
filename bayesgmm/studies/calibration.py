"""Calibration: whether memberships and their intervals are right as often as they say, on data drawn from the prior."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from jaxtyping import Float

from bayesgmm.arguments import random_generator, real_number, whole_number
from bayesgmm.engines.em.em import EM
from bayesgmm.engines.gibbs.gibbs import Gibbs
from bayesgmm.engines.nuts.nuts import NUTS
from bayesgmm.errors import ModelError
from bayesgmm.fitting import Engine, engine_of
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.results.words import table_text
from bayesgmm.studies.rank_test import RankTest
from bayesgmm.studies.replicates import BINS, Outcome, Settings, replicate

if TYPE_CHECKING:
    import pandas as pd

#: What is fitted where a word is given. Few draws, for there are many data sets; those of Gibbs are thinned.
METHODS: dict[str, Engine] = {
    "em-ml": EM(),
    "em": EM(),
    "laplace": EM(uncertainty="laplace", draws=400),
    "bootstrap": EM(uncertainty="bootstrap", draws=200),
    "gibbs": Gibbs(draws=250, tune=150, chains=4, thin=4),
    "nuts": NUTS(draws=150, tune=150, chains=4, cores=1),
}
#: The method that maximises the likelihood.
FLAT = "em-ml"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Calibration:
    """How often what engines say about data drawn from the prior is right.

    Attributes
    ----------
    uniformity : DataFrame
        Simulation-based calibration: for each engine that draws and each label-invariant quantity, whether the
        ranks of the truth are uniform: ``p_value``, ``inside`` its simultaneous band.
    coverage : DataFrame
        For each engine that draws: how often intervals hold the truth (``memberships``, ``parameters``), with
        standard errors over data sets.
    memberships : DataFrame
        For each engine: ``sure``, the share of rows called above .99; ``sure_and_wrong``, the share of those whose
        component was another, with its standard error; ``log_loss`` and ``brier`` score per row.
    reliability : DataFrame
        For each engine and tenth of the probabilities: mean of what was said, share of what happened.
    cost : DataFrame
        Median CPU seconds of a fit, data sets, those without a fit (every start collapsed), and those that EM or its
        approximation calls ``doubtful``; the diagnostics of samplers are not taken.
    ranks : mapping of str to DataFrame
        For each engine that draws: rank of the truth among the draws (replicate, quantity).
    rank_draws : mapping of str to int
        Among how many draws.
    ci_prob : float
        Probability of the intervals.
    """

    uniformity: pd.DataFrame
    coverage: pd.DataFrame
    memberships: pd.DataFrame
    reliability: pd.DataFrame
    cost: pd.DataFrame
    ranks: Mapping[str, pd.DataFrame]
    rank_draws: Mapping[str, int]
    ci_prob: float

    def rank_test(self, engine: str, quantity: str, prob: float = 0.99) -> RankTest:
        """Return the distribution function of a quantity's ranks with its simultaneous band."""
        return RankTest.of(self.ranks[engine][quantity].to_numpy(), self.rank_draws[engine], prob)

    def __repr__(self) -> str:
        parts = [table_text(self.memberships, "Memberships called sure (above .99), and scores")]
        if len(self.coverage):
            parts += [table_text(self.coverage, f"Coverage of {self.ci_prob:.0%} intervals")]
            parts += [table_text(self._worst(), "Simulation-based calibration, by engine")]
        return "\n\n".join([*parts, table_text(self.cost, "Cost")])

    def _worst(self) -> pd.DataFrame:
        """Return how many quantities leave their band, and the worst, for each engine."""
        import pandas as pd

        found = self.uniformity.reset_index()
        found["outside"] = ~found["inside"]
        by_engine = found.groupby("engine", sort=False)
        worst = found.loc[by_engine["p_value"].idxmin()].set_index("engine")
        columns = {
            "quantities": by_engine.size(),
            "outside": by_engine["outside"].sum(),
            "smallest_p": by_engine["p_value"].min(),
            "of": worst["quantity"],
        }
        return pd.DataFrame(columns)


def calibrate(
    model: MixtureModel,
    n: int,
    *,
    engines: Iterable[str] | Mapping[str, Engine | str] = tuple(METHODS),
    replicates: int = 1000,
    n_features: int | None = None,
    ci_prob: float = 0.9,
    seed: Any = None,
    workers: int | None = None,
) -> Calibration:
    """Fit data sets drawn from the prior and count how often what is said of them is true.

    Of each data set the parameters and the component of each row are known. If an engine samples the posterior,
    their ranks among its draws are uniform, its intervals hold them as often as they say, and memberships of .87
    are right in 87 % of cases, whatever the data: averaged over the prior, these are identities. The truth is
    relabelled by the same rule as the draws; any other rule breaks them.

    Parameters
    ----------
    model : MixtureModel
        With a prior whose hyperparameters are written out; the default depends on the data, which are not there yet.
    n : int
        Rows of each data set.
    engines : iterable of words, or mapping of names to words or engines
        Words: "em-ml" (maximum likelihood), "em" (posterior mode), "laplace", "bootstrap", "gibbs", "nuts".
        These have few draws; give engines for more.
    replicates : int
        Number of data sets.
    n_features : int, optional
        Number of columns; that of the prior's ``loc`` where it has one, else 1.
    ci_prob : float
        Probability of the intervals.
    seed : int or numpy Generator, optional
        The same seed gives the same numbers, for any number of workers.
    workers : int, optional
        Processes, as many as there are cores where not given. With more than one, a script has to keep its own
        calls under ``if __name__ == "__main__":``, for each worker imports it.

    Returns
    -------
    Calibration

    Raises
    ------
    ModelError
        If the prior is none to draw from, or an argument does not fit.

    References
    ----------
    Talts, S. et al. (2018). Validating Bayesian inference algorithms with simulation-based calibration.
    arXiv:1804.06788. Modrák, M. et al. (2023). Simulation-based calibration checking for Bayesian computation: the
    choice of test quantities shapes sensitivity. Bayesian Analysis. doi:10.1214/23-BA1404

    Examples
    --------
    >>> import bayesgmm as bg
    >>> prior = bg.ConjugatePrior(concentration=2, loc=0, shrinkage=.2, dof=5, scale=3)
    >>> found = bg.calibrate(bg.MixtureModel(2, prior=prior), 50, engines=["em", "gibbs"], replicates=20,
    ...                      seed=1, workers=1)
    >>> bool(found.coverage.loc["gibbs", "memberships"] > .6)
    True
    """
    settings = _settings(model, n, engines, n_features, real_number(ci_prob, "ci_prob", 0.0, 1.0))
    root = np.random.SeedSequence(int(random_generator(seed).integers(2**63)))
    seeds = root.spawn(whole_number(replicates, "replicates", 1))
    number = whole_number(workers, "workers", 1) if workers is not None else os.cpu_count() or 1
    if number == 1:
        found = [replicate(settings, each) for each in seeds]
    else:
        with ProcessPoolExecutor(number, get_context("spawn"), _one_thread) as pool:
            found = list(pool.map(partial(replicate, settings), seeds, chunksize=max(1, len(seeds) // (20 * number))))
    return _summarised(found, settings)


def _settings(model: Any, n: int, engines: Any, n_features: int | None, ci_prob: float) -> Settings:
    """Check the arguments and write the prior out."""
    if not isinstance(model, MixtureModel) or model.prior is None or model.is_flat:
        raise ModelError(
            "`model` has to be a MixtureModel with a proper prior whose hyperparameters are given, such as "
            "MixtureModel(2, prior=ConjugatePrior(...)): data sets are drawn from it"
        )
    if not hasattr(model.prior, "sample"):
        raise ModelError(
            f"nothing can be drawn from {type(model.prior).__name__}; use a conjugate or semi-conjugate prior"
        )
    given = np.shape(getattr(model.prior, "loc", 0.0))
    d = whole_number(n_features, "n_features", 1) if n_features is not None else (given[-1] if given else 1)
    named = dict(engines) if isinstance(engines, Mapping) else {word: word for word in engines}
    if isinstance(engines, str) or not named:
        raise ModelError(f"`engines` has to be words among {tuple(METHODS)} or a mapping of names to engines")
    flat = frozenset(name for name, engine in named.items() if isinstance(engine, str) and engine == FLAT)
    chosen = {str(name): _method(engine) for name, engine in named.items()}
    bound = model.prior.bound(model.n_components, d, model.covariance_type)  # pyright: ignore[reportAttributeAccessIssue]
    least = max(model.n_components, d + 2)
    return Settings(model.covariance_type, bound, whole_number(n, "n", least), chosen, flat, ci_prob)


def _method(engine: Any) -> Engine:
    if isinstance(engine, str) and engine in METHODS:
        return METHODS[engine]
    if isinstance(engine, str):
        raise ModelError(f"`engines` has to hold words among {tuple(METHODS)} or engines, got {engine!r}")
    return engine_of(engine)


def _one_thread() -> None:
    """Let every worker use one core."""
    numba.set_num_threads(1)


def _summarised(found: list[dict[str, Outcome]], settings: Settings) -> Calibration:
    """Return the tables."""
    import pandas as pd

    by_engine = {name: [each[name] for each in found] for name in settings.engines}
    fitted = {name: [o for o in outcomes if not o.failed] for name, outcomes in by_engine.items()}
    drawn = {name: outcomes for name, outcomes in fitted.items() if outcomes and outcomes[0].ranks is not None}
    ranks = {name: pd.DataFrame([o.ranks for o in outcomes]) for name, outcomes in drawn.items()}
    rank_draws = {name: outcomes[0].rank_draws for name, outcomes in drawn.items()}
    return Calibration(
        _uniformity(ranks, rank_draws),
        _table({name: _coverage(outcomes) for name, outcomes in drawn.items()}),
        _table({name: _scores(outcomes, settings.n) for name, outcomes in fitted.items() if outcomes}),
        _reliability({name: outcomes for name, outcomes in fitted.items() if outcomes}),
        _table({name: _cost(outcomes) for name, outcomes in by_engine.items()}),
        ranks,
        rank_draws,
        settings.ci_prob,
    )


def _table(rows: dict[str, dict[str, float]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("engine")


def _uniformity(ranks: dict[str, pd.DataFrame], rank_draws: dict[str, int]) -> pd.DataFrame:
    import pandas as pd

    rows = {}
    for name, table in ranks.items():
        for quantity in table.columns:
            test = RankTest.of(table[quantity].to_numpy(), rank_draws[name])
            rows[name, quantity] = {"p_value": test.p_value, "inside": test.inside}
    index = pd.MultiIndex.from_tuples(list(rows), names=["engine", "quantity"])
    return pd.DataFrame(list(rows.values()), index=index, columns=["p_value", "inside"])


def _coverage(outcomes: list[Outcome]) -> dict[str, float]:
    """Return means with standard errors: intervals of one data set hold or fail together."""
    row = {}
    for what in ("memberships", "parameters"):
        values = np.array([o.covered[what] for o in outcomes if o.covered is not None])
        row |= {what: values.mean(), f"{what}_se": _standard_error(values)}
    return row


def _standard_error(values: Float[np.ndarray, " replicate"]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def _scores(outcomes: list[Outcome], n: int) -> dict[str, float]:
    """Return shares and scores per row, the error of a ratio by linearisation over data sets."""
    sums = {name: np.array([o.scores[name] for o in outcomes if o.scores]) for name in outcomes[0].scores or {}}
    sure, wrong = sums["sure"], sums["sure_and_wrong"]
    share = wrong.sum() / sure.sum() if sure.sum() else np.nan
    return {
        "sure": sure.mean() / n,
        "sure_and_wrong": share,
        "sure_and_wrong_se": _standard_error(wrong - share * sure) / sure.mean() if sure.sum() else np.nan,
        "log_loss": sums["log_loss"].mean() / n,
        "brier": sums["brier"].mean() / n,
    }


def _reliability(fitted: dict[str, list[Outcome]]) -> pd.DataFrame:
    import pandas as pd

    frames = {}
    for name, outcomes in fitted.items():
        number, said, happened = np.sum([o.bins for o in outcomes if o.bins is not None], axis=0).T
        with np.errstate(invalid="ignore"):
            columns = {"said": said / number, "happened": happened / number, "memberships": number.astype(int)}
        frames[name] = pd.DataFrame(columns, index=pd.Index(np.arange(BINS) / BINS, name="from"))
    return pd.concat(frames, names=["engine"])


def _cost(outcomes: list[Outcome]) -> dict[str, float]:
    return {
        "cpu_seconds": float(np.median([o.seconds for o in outcomes])),
        "data_sets": len(outcomes),
        "failed": sum(o.failed for o in outcomes),
        "doubtful": sum(o.doubtful for o in outcomes),
    }
