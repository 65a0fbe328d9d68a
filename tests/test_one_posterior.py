"""Claims that Gibbs and NUTS draw from one posterior, and that EM ends at its top.

Two fits are compared in Monte Carlo standard errors of the difference: see `truth.hold`.
"""

import logging
from dataclasses import dataclass

import arviz as az
import numpy as np
import pandas as pd
import pytest
import truth

import bayesgmm as bg
from bayesgmm.compact import CompactPosterior
from bayesgmm.diagnostics import invariants
from bayesgmm.estep import responsibilities
from bayesgmm.gibbs import Problem
from bayesgmm.schema import dataset, parameters_of

logger = logging.getLogger(__name__)

#: Probabilities that are off by less than this agree: where all but a few draws say 0 or 1, the error that those
#: draws let one estimate is itself nearly unknown.
NEGLIGIBLE = 1e-3
#: Rows whose memberships are held at a time.
ROWS_AT_A_TIME = 25
#: What is compared: how ArviZ calls its error, and its value.
STATISTICS = {
    "mean": ({"method": "mean"}, lambda v: v.mean(axis=(0, 1))),
    "sd": ({"method": "sd"}, lambda v: v.std(axis=(0, 1))),
    "5 %": ({"method": "quantile", "prob": 0.05}, lambda v: np.quantile(v, 0.05, axis=(0, 1))),
    "95 %": ({"method": "quantile", "prob": 0.95}, lambda v: np.quantile(v, 0.95, axis=(0, 1))),
}


@dataclass(frozen=True)
class Case:
    """Rows, and a mixture under which chains mix.

    Attributes
    ----------
    table : str
        Name of the fixture.
    model : MixtureModel
        With concentration 2 or 3, at least d + 4 degrees of freedom and a scale near that of the groups, EM finds
        one optimum, no component is ever empty, and every chain has an R-hat below 1.01, or `fit` would warn.
    thin : int
        Sweeps of Gibbs per draw.
    apart : int
        Sweeps after which draws of Gibbs are near independent.
    """

    table: str
    model: bg.MixtureModel
    thin: int
    apart: int


MIDDLE = [5.8, 3.0, 3.8, 1.2]
CASES = {
    "faithful, conjugate": Case(
        "faithful", bg.MixtureModel(2, prior=bg.ConjugatePrior(2.0, [3.5, 70.0], 0.1, 6.0, [0.2, 40.0])), 2, 10
    ),
    "faithful, semi-conjugate": Case(
        "faithful", bg.MixtureModel(2, prior=bg.SemiConjugatePrior(2.0, [3.5, 70.0], [2.0, 400.0], 6.0, [0.2, 40.0])),
        2, 10,
    ),
    "galaxies, conjugate": Case(
        "galaxies", bg.MixtureModel(3, prior=bg.ConjugatePrior(2.0, 20.0, 0.05, 10.0, 30.0)), 10, 80
    ),
    "galaxies, semi-conjugate": Case(
        "galaxies", bg.MixtureModel(3, prior=bg.SemiConjugatePrior(2.0, 20.0, 100.0, 10.0, 20.0)), 10, 80
    ),
    "iris, conjugate": Case(
        "iris", bg.MixtureModel(3, prior=bg.ConjugatePrior(5.0, MIDDLE, 0.1, 12.0, [1.8, 0.9, 1.5, 0.35])), 10, 120
    ),
    "iris, semi-conjugate": Case(
        "iris",
        bg.MixtureModel(3, prior=bg.SemiConjugatePrior(5.0, MIDDLE, [1.0, 1.0, 4.0, 1.0], 12.0, [1.8, 0.9, 1.5, 0.35])),
        10, 120,
    ),
    "customers, default": Case("customers", bg.MixtureModel(2), 5, 40),
}  # fmt: skip
ENGINES = ("gibbs", "nuts")


def sampled(case, data, engine, seed, draws):
    """Fit; whatever a result warns of, such as an R-hat above 1.01, is an error here."""
    settings = {"gibbs": bg.Gibbs(draws=draws, thin=case.thin), "nuts": bg.NUTS(draws=draws)}
    return bg.fit(data, case.model, engine=settings[engine], seed=seed, progress=False)


def summary(result):
    """Return value and error of each statistic of each quantity, indexed (group, quantity, statistic)."""
    data, kind = result.data, result.model.covariance_type
    draws = parameters_of(dataset(result.tree, "posterior")).moved(data.origin, data.unit)
    stats = result.tree["sample_stats"]
    free = {"log posterior": stats["lp"].values, "log likelihood": stats["log_likelihood_total"].values}
    free |= invariants(draws, data, kind)
    # Labels are those of the optimum of EM, whose order is up to the seed.
    ordered = draws.permuted(result.optimum.means[:, 0].argsort())
    shares = [name for name in free if name.startswith(("together", "largest_membership"))]
    found = [
        statistics("invariant", {name: free[name] for name in free if name not in shares}),
        statistics("share", {name: free[name] for name in shares}),
        statistics("parameter", numbers(ordered)),
    ]
    for start in range(0, len(data), ROWS_AT_A_TIME):
        r = responsibilities(ordered, data.rows(start, start + ROWS_AT_A_TIME), kind)
        named = {f"row {start + i} in {c}": r[..., c, i] for i in range(r.shape[-1]) for c in range(r.shape[-2])}
        found.append(statistics("membership", named))
    return pd.concat(found)


def numbers(parameters):
    """Name every weight, mean and free covariance."""
    k, d = parameters.n_components, parameters.n_features
    found = {f"weight {c}": parameters.weights[..., c] for c in range(k)}
    found |= {f"mean {c} {j}": parameters.means[..., c, j] for c in range(k) for j in range(d)}
    lower = [(c, i, j) for c in range(k) for i in range(d) for j in range(i + 1)]
    return found | {f"covariance {c} {i} {j}": parameters.covariances[..., c, i, j] for c, i, j in lower}


def statistics(group, quantities):
    """Summarise draws (chain, draw); what hardly varies has no error."""
    values = np.stack(list(quantities.values()), axis=-1)
    varies = STATISTICS["sd"][1](values) > (NEGLIGIBLE if group in ("share", "membership") else 0.0)
    names, found = list(quantities), []
    for statistic, (how, of) in STATISTICS.items():
        error = np.zeros(len(names))
        if varies.any() and (group, statistic) != ("membership", "sd"):
            error[varies] = az.mcse(values[..., varies], **how)
        index = pd.MultiIndex.from_product([[group], names, [statistic]])
        found.append(pd.DataFrame({"value": of(values), "error": error}, index))
    return pd.concat(found)


def error_of_difference(one, other):
    """Return the standard error, for probabilities no less than what is negligible."""
    group = one.index.get_level_values(0)
    least = np.where(group.isin(["share", "membership"]), NEGLIGIBLE, 0.0)
    return np.sqrt(one["error"] ** 2 + other["error"] ** 2 + least**2)


# Three engines.


def claims(gibbs, nuts):
    """Claim that mean and quantiles of every label-invariant quantity and membership are the same."""
    error = error_of_difference(gibbs, nuts)
    for at in gibbs.index:
        group, name, statistic = at
        if group != "parameter" and statistic != "sd":
            yield truth.Claim(f"{statistic} of {name}", gibbs.at[at, "value"], nuts.at[at, "value"], error[at])


def claims_on(case, data):
    return claims(*(summary(sampled(case, data, engine, 1, 2000)) for engine in ENGINES))


@pytest.fixture(scope="module", params=[name for name in CASES if "default" not in name])
def fits(request):
    """Fit by EM, Gibbs and NUTS."""
    case = CASES[request.param]
    data = request.getfixturevalue(case.table)
    return bg.fit(data, case.model, engine="em", seed=2), *(sampled(case, data, engine, 1, 2000) for engine in ENGINES)


@pytest.mark.statistical
def test_gibbs_and_nuts_draw_from_one_posterior(fits):
    truth.hold(claims(*map(summary, fits[1:])))


@pytest.mark.statistical
def test_no_draw_is_above_the_optimum_of_em(fits):
    em, *samples = fits
    assert all(result.tree["sample_stats"]["lp"].max() < em.tree["optima"]["log_posterior"][0] for result in samples)


# Broken on purpose: what the check above is able to see.


def too_many_degrees_of_freedom(monkeypatch):
    """Gibbs draws covariances with two degrees of freedom too many."""
    original = Problem.hyperparameters.fget

    def changed(problem):
        *given, dof, scale = original(problem)
        return *given, dof + 2, scale

    monkeypatch.setattr(Problem, "hyperparameters", property(changed))


def a_row_that_nuts_does_not_see(monkeypatch):
    original = CompactPosterior.of
    monkeypatch.setattr(
        CompactPosterior, "of", staticmethod(lambda data, prior: original(data.taken(slice(1, None)), prior))
    )


@pytest.mark.statistical
@pytest.mark.parametrize("planted", [too_many_degrees_of_freedom, a_row_that_nuts_does_not_see])
@pytest.mark.parametrize("name", ["galaxies, conjugate", "galaxies, semi-conjugate"])
def test_check_of_two_engines_sees(name, planted, galaxies, monkeypatch):
    planted(monkeypatch)
    assert truth.worst(claims_on(CASES[name], galaxies)) > truth.FAIL


# A long run of Gibbs, and what is reached at ordinary settings.

#: Of the posterior standard deviation.
OFF_IN_DEVIATIONS = {"mean": 0.05, "sd": 0.05, "5 %": 0.1, "95 %": 0.1}
#: The standard deviation of a covariance, which has heavier tails.
OFF_OF_COVARIANCE = 0.1
OFF_IN_MEMBERSHIP = {"mean": 0.01, "5 %": 0.03, "95 %": 0.03}
SEEDS = range(1, 11)
LONG = [name for name in CASES if name not in ("galaxies, semi-conjugate", "iris, semi-conjugate")]


def lag_one(values):
    """Return the autocorrelation of successive draws (chain, draw)."""
    apart = values - values.mean()
    return (apart[:, 1:] * apart[:, :-1]).mean() / (apart**2).mean()


@pytest.fixture(scope="module", params=LONG)
def long_run(request):
    """Return a case, its rows and the summary of 160,000 draws that are near independent."""
    case = CASES[request.param]
    data = request.getfixturevalue(case.table)
    engine = bg.Gibbs(draws=20_000, tune=2000, chains=8, thin=case.apart)
    result = bg.fit(data, case.model, engine=engine, seed=0, progress=False)
    table = summary(result)
    return request.param, case, data, result, table
