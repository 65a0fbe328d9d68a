"""Claims that Gibbs and NUTS draw from one posterior, and that EM ends at its top.

Two fits are compared in Monte Carlo standard errors of the difference: see `truth.hold`.
"""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import truth

import bayesgmm as bg
from bayesgmm.answers.diagnostics import invariants
from bayesgmm.engines.gibbs.gibbs import Problem
from bayesgmm.expectation.pass_over_rows import responsibilities
from bayesgmm.posterior.compact import CompactPosterior
from bayesgmm.results.tree import dataset, parameters_of

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
        With concentration 2 or 5, at least d + 4 degrees of freedom and a scale near that of the groups, EM finds
        one optimum, no component is ever empty, and R-hat is below 1.01 (or `fit` would warn). Customers have the
        default prior, under which two such distinct groups do the same.
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
    "faithful, default": Case("faithful", bg.MixtureModel(2), 2, 10),
    "iris, default": Case("iris", bg.MixtureModel(3), 10, 120),
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
    free = without_labels(result)
    shares = [name for name in free if name.startswith(("together", "largest_membership"))]
    draws = ordered(result)
    found = [
        statistics("invariant", {name: free[name] for name in free if name not in shares}),
        statistics("share", {name: free[name] for name in shares}),
        statistics("parameter", numbers(draws)),
    ]
    for start in range(0, len(data), ROWS_AT_A_TIME):
        r = responsibilities(draws, data.rows(start, start + ROWS_AT_A_TIME), kind)
        named = {f"row {start + i} in {c}": r[..., c, i] for i in range(r.shape[-1]) for c in range(r.shape[-2])}
        found.append(statistics("membership", named))
    return pd.concat(found)


def standardised(result):
    return parameters_of(dataset(result.tree, "posterior")).moved(result.data.origin, result.data.unit)


def without_labels(result):
    """Return what no permutation of components changes."""
    stats = result.tree["sample_stats"]
    found = {"log posterior": stats["lp"].values, "log likelihood": stats["log_likelihood_total"].values}
    return found | invariants(standardised(result), result.data, result.model.covariance_type)


def ordered(result):
    """Return draws in the order of the first means of EM's optimum, whose own order is up to the seed."""
    return standardised(result).permuted(result.optimum.means[:, 0].argsort())


def numbers(parameters):
    """Name every weight, mean and free covariance."""
    k, d = parameters.n_components, parameters.n_features
    found = {f"weight {c}": parameters.weights[..., c] for c in range(k)}
    found |= {f"mean {c} {j}": parameters.means[..., c, j] for c in range(k) for j in range(d)}
    lower = [(c, i, j) for c in range(k) for i in range(d) for j in range(i + 1)]
    return found | {f"covariance {c} {i} {j}": parameters.covariances[..., c, i, j] for c, i, j in lower}


def statistics(group, quantities):
    """Summarise draws (chain, draw); what hardly varies has no error."""
    import arviz as az

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


# A long run of Gibbs, and what either engine reaches of it.

#: What is tolerated, of the posterior standard deviation; of memberships themselves. The standard deviation of a
#: covariance has heavier tails, and is tolerated twice as much.
OFF = {"mean": 0.05, "sd": 0.05, "5 %": 0.1, "95 %": 0.1}
OFF_IN_MEMBERSHIP = {"mean": 0.01, "sd": np.inf, "5 %": 0.03, "95 %": 0.03}
#: Standard errors beyond that.
BEYOND = 4.0
LONG = [name for name in CASES if name not in ("galaxies, semi-conjugate", "iris, semi-conjugate")]


@pytest.fixture(scope="module", params=LONG)
def long_run(request):
    """Return a case, its rows and 160,000 draws."""
    case = CASES[request.param]
    data = request.getfixturevalue(case.table)
    engine = bg.Gibbs(draws=20_000, tune=2000, chains=8, thin=case.apart)
    return case, data, bg.fit(data, case.model, engine=engine, seed=0, progress=False)


@pytest.fixture(scope="module")
def reference(long_run):
    return summary(long_run[-1])


def lag_one(values):
    """Return the correlation of successive draws (chain, draw)."""
    apart = values - values.mean()
    return (apart[:, 1:] * apart[:, :-1]).mean() / (apart**2).mean()


def judged(reference, run):
    """Return how far a run is off, what is tolerated, and the standard error of the difference."""
    group, name, statistic = (reference.index.get_level_values(level) for level in range(3))
    unit = reference["value"].xs("sd", level=2).reindex(reference.index.droplevel(2)).to_numpy()
    heavy = (statistic == "sd") & name.str.startswith("covariance")
    tolerated = unit * statistic.map(OFF) * (1 + heavy)
    tolerated = np.where(group == "share", np.maximum(tolerated, NEGLIGIBLE), tolerated)
    tolerated = np.where(group == "membership", statistic.map(OFF_IN_MEMBERSHIP), tolerated)
    # The 5 % quantile of a membership that is mostly near 0 or near 1 lies where there are few draws: its standard
    # error, up to 0.02 here, is no smaller than what is tolerated. A mean has no such excuse.
    beyond = np.where((group == "membership") & (statistic == "mean"), 0.0, BEYOND)
    off = (run["value"] - reference["value"]).abs()
    return pd.DataFrame({"off": off, "tolerated": tolerated, "beyond": beyond * error_of_difference(reference, run)})


@pytest.mark.slow
@pytest.mark.statistical
def test_draws_of_the_long_run_are_nearly_independent(long_run):
    """By the rules of posteriordb; an R-hat above 1.01 would have been an error already."""
    result = long_run[-1]
    found = {name: lag_one(v) for name, v in (without_labels(result) | numbers(ordered(result))).items()}
    logger.info("largest lag-one autocorrelation %.3f", max(found.values()))
    assert max(found.values()) < 0.05


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("engine", ENGINES)
def test_ten_seeds_end_at_the_long_run(long_run, reference, engine):
    case, data, _ = long_run
    for seed in range(1, 11):
        found = judged(reference, summary(sampled(case, data, engine, seed, 10_000)))
        share = (found["off"] / found["tolerated"]).groupby(level=[0, 2]).agg(["max", "idxmax"])
        logger.info("seed %d, largest deviation over what is tolerated:\n%s", seed, share.to_string())
        broken = found[~(found["off"] <= found["tolerated"] + found["beyond"])]
        assert broken.empty, broken.to_string()
