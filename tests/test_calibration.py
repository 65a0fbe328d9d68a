"""Claims about calibration: exact samplers pass it, wrong ones do not, and its numbers are those of the definition."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.engines.gibbs import gibbs
from bayesgmm.studies import replicates
from bayesgmm.studies.rank_test import RankTest, smallest_tails_of_uniform_ranks
from bayesgmm.studies.replicates import coverage, scored

MODEL = bg.MixtureModel(2, prior=bg.ConjugatePrior(2, 0, 0.2, 5, 3))
SEMI = bg.MixtureModel(2, "diag", bg.SemiConjugatePrior(2, [0.0, 0.0], 4, 6, 3))
HIERARCHICAL = bg.MixtureModel(2, prior=bg.HierarchicalPrior(2, 0, 4, 8, 3, 0.4, 0.1))
#: Near-independent draws at the least cost: that is what ranks need.
SAMPLER = bg.Gibbs(draws=100, tune=150, chains=1, thin=10)


# Ranks.


def test_uniform_ranks_leave_the_band_as_often_as_it_says():
    rng = np.random.default_rng(1)
    tests = [RankTest.of(rng.integers(0, 101, size=200), 100, prob=0.9) for _ in range(1000)]
    outside = np.mean([not test.inside for test in tests])
    assert abs(outside - 0.1) < 5 * np.sqrt(0.09 / 1000)
    p_values = np.array([test.p_value for test in tests])
    for p in (0.05, 0.5, 0.95):
        assert abs((p_values < p).mean() - p) < 5 * np.sqrt(0.25 / 1000)


@pytest.mark.parametrize(
    "shape",
    [
        lambda u: u**1.15,
        lambda u: np.clip(0.5 + 1.12 * (u - 0.5), 0, 1),
        lambda u: 0.5 + 0.88 * (u - 0.5),
        lambda u: np.where(u < 0.06, 0.0, u),
    ],
    ids=["shifted", "too wide", "too narrow", "stuck at one end"],
)
def test_ranks_that_are_not_uniform_leave_it(shape):
    u = np.random.default_rng(1).random(1000)
    test = RankTest.of(np.minimum((101 * shape(u)).astype(int), 100), 100)
    assert not test.inside
    assert test.p_value < 0.01


def test_band_and_probability_agree():
    rng = np.random.default_rng(3)
    for _ in range(50):
        test = RankTest.of((20 * rng.random(300) ** rng.uniform(0.8, 1.2)).astype(int), 19)
        assert test.inside == (test.p_value > 0.01) or abs(test.p_value - 0.01) < 0.002
    assert smallest_tails_of_uniform_ranks(300, 19).min() > 0


# Scores.


def test_scores_are_those_of_the_definitions():
    probability = np.array([[0.995, 0.2, 0.999, 0.5], [0.005, 0.8, 0.001, 0.5]])
    labels = np.array([0, 1, 1, 0])
    scores, bins = scored(probability, labels)
    assert scores["sure"] == 2
    assert scores["sure_and_wrong"] == 1
    assert scores["log_loss"] == pytest.approx(-np.log([0.995, 0.8, 0.001, 0.5]).sum())
    assert scores["brier"] == pytest.approx(2 * (0.005**2 + 0.2**2 + 0.999**2 + 0.5**2))
    assert bins[:, 0].sum() == 8
    assert bins[:, 1].sum() == pytest.approx(4)
    assert bins[:, 2].sum() == 4
    assert bins[9].tolist() == [2, pytest.approx(1.994), 1]


def test_coverage_is_the_share_of_intervals_that_hold_the_truth():
    draws = np.arange(101.0)[:, None] * np.ones(3)
    assert coverage(draws, np.array([4.9, 5.0, 95.1]), 0.9) == pytest.approx(1 / 3)


def test_intervals_of_few_draws_cover_less_than_they_say():
    """Why a first trial with single, autocorrelated chains had .86 to .88: with m independent draws the
    equal-tailed interval between order statistics holds the truth with probability .9 (m - 1) / (m + 1)."""
    rng = np.random.default_rng(1)
    for m in (30, 60, 100, 1000):
        held = [coverage(rng.normal(size=(m, 400)), rng.normal(size=400), 0.9) for _ in range(100)]
        assert np.mean(held) == pytest.approx(0.9 * (m - 1) / (m + 1), abs=5 * np.sqrt(0.09 / 40_000))


# The whole.


@cache
def calibrated(name="as it is", model=MODEL, n=40, number=100):
    with pytest.MonkeyPatch.context() as patch:
        BREAKS[name](patch)
        return bg.calibrate(model, n, engines={"gibbs": SAMPLER}, replicates=number, seed=11, workers=1)


def smallest_p(found):
    """Return the smallest probability over all quantities, times their number (Bonferroni)."""
    return found.uniformity["p_value"].min() * len(found.uniformity)


@pytest.mark.compiled
@pytest.mark.statistical
@pytest.mark.parametrize(
    "model", [MODEL, SEMI, HIERARCHICAL], ids=["conjugate", "semi-conjugate, diagonal", "hierarchical"]
)
def test_gibbs_is_calibrated(model):
    found = calibrated(model=model)
    assert smallest_p(found) > 0.001
    assert len(found.uniformity) >= 15
    covered, error = found.coverage.loc["gibbs", ["memberships", "memberships_se"]]
    assert abs(covered - 0.9) < 4 * error


@pytest.mark.compiled
@pytest.mark.statistical
@pytest.mark.parametrize("model", [MODEL, HIERARCHICAL], ids=["conjugate", "hierarchical"])
def test_nuts_is_calibrated(model):
    engine = bg.NUTS(draws=100, tune=150, chains=2, cores=1)
    found = bg.calibrate(model, 40, engines={"nuts": engine}, replicates=60, seed=11, workers=1)
    assert smallest_p(found) > 0.001


@pytest.mark.compiled
@pytest.mark.statistical
def test_memberships_of_samplers_are_right_where_those_of_em_are_not():
    found = bg.calibrate(MODEL, 40, engines=["em-ml", "em", "gibbs"], replicates=100, seed=5, workers=1)
    wrong = found.memberships["sure_and_wrong"]
    assert wrong["em-ml"] > 0.05
    assert wrong["gibbs"] < 0.005 + 3 * found.memberships.loc["gibbs", "sure_and_wrong_se"]
    for score in ("log_loss", "brier"):
        assert found.memberships[score].idxmin() == "gibbs"
    assert "em-ml" not in found.coverage.index
    assert "gibbs" in repr(found)
    reliable = found.reliability.loc["gibbs"]
    assert (reliable["happened"] - reliable["said"]).abs().max() < 0.15


def test_the_same_seed_gives_the_same_table_for_any_number_of_workers():
    options = {"engines": ["em", "gibbs"], "replicates": 6, "seed": 3}
    one = bg.calibrate(MODEL, 30, workers=1, **options)
    two = bg.calibrate(MODEL, 30, workers=2, **options)
    assert one.memberships.equals(two.memberships)
    assert one.ranks["gibbs"].equals(two.ranks["gibbs"])
    test = one.rank_test("gibbs", "log_likelihood")
    assert test.ecdf.shape == (100,)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((2, 30), "proper prior whose hyperparameters are given"),
        ((bg.MixtureModel(2), 30), "proper prior whose hyperparameters are given"),
        ((bg.MixtureModel(2, prior="flat"), 30), "proper prior"),
        ((MODEL, 2), "`n` has to be at least 3"),
        ((MODEL, 30, {"engines": ["nutz"]}), "'nutz'"),
        ((MODEL, 30, {"engines": "nuts"}), "mapping of names"),
        ((MODEL, 30, {"engines": {}}), "mapping of names"),
        ((MODEL, 30, {"replicates": 0}), "`replicates`"),
        ((MODEL, 30, {"workers": 0}), "`workers`"),
        ((MODEL, 30, {"ci_prob": 2}), "`ci_prob`"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(arguments, says):
    model, n, *options = arguments
    with pytest.raises(bg.ModelError, match=says):
        bg.calibrate(model, n, **(options[0] if options else {}))


@pytest.mark.compiled
@pytest.mark.statistical
def test_nuts_is_calibrated_under_the_separation_prior():
    """The only check of that prior's draws, densities and Jacobians together."""
    model = bg.MixtureModel(2, prior=bg.SeparationPrior(2.0, [0.0, 0.0], 4.0, 1.0, 2.0))
    engine = bg.NUTS(draws=100, tune=200, chains=2, cores=1)
    found = bg.calibrate(model, 40, engines={"nuts": engine}, replicates=60, seed=2, workers=1)
    assert smallest_p(found) > 0.001


# Tests of the tests: each is an error that was planted in the sampler, the pass or the kit.


def with_hyperparameter(name, change):
    """Let the sampler, but not the simulator, use another prior."""

    def plant(patch):
        of_problem = gibbs.Problem

        def changed(data, prior, permuted):
            return of_problem(data, replace(prior, **{name: change(getattr(prior, name))}), permuted)

        patch.setattr(gibbs, "Problem", changed)

    return plant


def with_draws(change):
    """Let the sampler return draws that were tampered with."""

    def plant(patch):
        run = gibbs.Gibbs.run

        def changed(self, data, prior, start, rng, progress=False):
            return change(run(self, data, prior, start, rng, progress))

        patch.setattr(gibbs.Gibbs, "run", changed)

    return plant


def with_rows(change):
    """Let the sampler see other rows than were simulated."""

    def plant(patch):
        run = gibbs.Gibbs.run
        patch.setattr(gibbs.Gibbs, "run", lambda self, data, *rest: run(self, change(data), *rest))

    return plant


def parameters_changed(change):
    return with_draws(lambda draws: replace(draws, parameters=bg.MixtureParameters(*change(*draws.parameters.arrays))))


def one_draw_repeated(draws):
    first = draws.parameters[:, :1]
    again = bg.MixtureParameters(*(np.repeat(a, draws.log_posterior.shape[1], axis=1) for a in first.arrays))
    likelihood = np.repeat(draws.log_likelihood[:, :1], draws.log_posterior.shape[1], axis=1)
    return replace(draws, parameters=again, log_likelihood=likelihood)


BREAKS = {
    "as it is": lambda _: None,
    "two degrees of freedom more": with_hyperparameter("dof", lambda v: v + 2),
    "three degrees of freedom less": with_hyperparameter("dof", lambda v: v - 3),
    "a scale that is halved": with_hyperparameter("scale", lambda v: v / 2),
    "a scale that is inverted": with_hyperparameter("scale", np.linalg.inv),
    "a concentration that is twice as high": with_hyperparameter("concentration", lambda v: 2 * v),
    "a shrinkage ten times as strong": with_hyperparameter("shrinkage", lambda v: 10 * v),
    "a location that is off": with_hyperparameter("loc", lambda v: v + 2.0),
    "every fourth row dropped": with_rows(lambda data: data.taken(np.arange(len(data)) % 4 > 0)),
    "rows that count twice": with_rows(lambda data: replace(data, sample_weight=2 * data.sample_weight)),
    "the prior in place of the posterior": with_rows(lambda data: data.taken(slice(0, 3))),
    "standard deviations in place of variances": parameters_changed(lambda w, m, c: (w, m, np.sqrt(c))),
    "weights of the components exchanged": parameters_changed(lambda w, m, c: (w[..., ::-1], m, c)),
    "means that are shrunk": parameters_changed(lambda w, m, c: (w, 0.85 * m, c)),
    "one draw repeated": with_draws(one_draw_repeated),
    "a log-likelihood without its constant": with_draws(
        lambda draws: replace(draws, log_likelihood=draws.log_likelihood + 2.0)
    ),
}


@pytest.mark.compiled
@pytest.mark.statistical
@pytest.mark.parametrize("name", [name for name in BREAKS if name != "as it is"])
def test_calibration_sees(name):
    assert smallest_p(calibrated(name)) <= 0.001


@pytest.mark.compiled
@pytest.mark.statistical
def test_calibration_sees_memberships_by_another_rule_than_the_truth(monkeypatch):
    """The truth labelled by its own component, the draws by EM's: what is said is right less often than it says."""
    right = calibrated().coverage.loc["gibbs", "memberships"]
    matched = replicates.matched
    monkeypatch.setattr(replicates, "matched", lambda d, t: (matched(d, t)[0], t.parameters, t.labels))
    wrong = bg.calibrate(MODEL, 40, engines={"gibbs": SAMPLER}, replicates=100, seed=11, workers=1)
    assert wrong.coverage.loc["gibbs", "memberships"] < right - 0.1
