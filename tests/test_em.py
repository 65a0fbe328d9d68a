"""EM: published optima, scikit-learn's trajectory, monotone, equivariant."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from mixtures import bound_problem

import bayesgmm as bg
from bayesgmm.data import Observations, sums
from bayesgmm.engines.em import climbs as module
from bayesgmm.engines.em.climbs import STRETCH, Stopping, climb
from bayesgmm.engines.em.em import missing_information, rank, spurious
from bayesgmm.engines.em.starting_values import candidates, from_labels
from bayesgmm.kernels.climb import rise_to_come
from bayesgmm.model import covariance as cov
from bayesgmm.model.priors import ConjugatePrior

#: Optima nearly as high as the best, or one that few starts led to, are said to be there: tests of which say more.
nearly_as_high = pytest.mark.filterwarnings("ignore:.*(nearly as high|was found by):bayesgmm.ConvergenceWarning")
#: Groups are built here that no one would trust, and `test_honest_failure` says so of them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.errors.DoubtfulGroupsWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.errors.EmptyComponentWarning"),
]


def log_likelihood(result):
    return float(result.tree["sample_stats"]["log_likelihood_total"][0, 0])


@pytest.mark.parametrize(
    ("name", "k", "published"),
    [("faithful", 2, -1130.264), ("galaxies", 3, -203.1792), ("iris", 3, -180.1855)],
)
def test_default_settings_reach_the_published_optimum_from_every_seed(name, k, published, request):
    """mclust VVV; the data of `galaxies` are those of R's MASS."""
    data = bg.Observations.of(request.getfixturevalue(name))
    model = bg.MixtureModel(k, prior="flat")
    found = [log_likelihood(bg.fit(data, model, engine="em", seed=seed)) for seed in range(100)]
    assert np.abs(np.array(found) - published).max() < 1e-3


@nearly_as_high
def test_four_galaxy_components_reach_a_better_optimum_than_the_published_start_from_every_seed(galaxies):
    """mclust's default start ends at -199.25, twenty random ones at -197.462."""
    model = bg.MixtureModel(4, prior="flat")
    found = [log_likelihood(bg.fit(galaxies, model, engine="em", seed=seed)) for seed in range(100)]
    assert min(found) > -197.462
    assert np.ptp(found) < 1e-3


@nearly_as_high
def test_criteria_pick_three_galaxy_components_and_agree_with_the_formula(galaxies):
    fits = {k: bg.fit(galaxies, bg.MixtureModel(k, prior="flat"), engine="em", seed=0).criteria() for k in (1, 2, 3, 4)}
    assert min(fits, key=lambda k: fits[k]["bic"]) == 3
    assert fits[3]["parameters"] == 8
    assert np.isclose(fits[3]["bic"], 8 * np.log(82) - 2 * -203.17923, atol=1e-3)
    assert np.isclose(fits[3]["aic"], 16 + 2 * 203.17923, atol=1e-3)


def precisions(covariances, kind):
    inverse = np.linalg.inv(covariances)
    return {
        "full": inverse,
        "tied": inverse[0],
        "diag": np.diagonal(inverse, axis1=1, axis2=2),
        "spherical": inverse[:, 0, 0],
    }[kind]


def written_out(fitted, kind, d):
    c, k = fitted.covariances_, len(fitted.weights_)
    return {
        "full": lambda: c,
        "tied": lambda: np.repeat(c[None], k, 0),
        "diag": lambda: c[..., None] * np.eye(d),
        "spherical": lambda: c[:, None, None] * np.eye(d),
    }[kind]()


@pytest.mark.parametrize("problem", range(15))
def test_steps_follow_scikit_learn_from_the_same_start(problem, kind):
    """60 problems in all: after 1, 2, 5 and 20 steps every parameter agrees to 1e-9."""
    from sklearn.exceptions import ConvergenceWarning as SklearnWarning
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(problem)
    n, d, k = int(rng.integers(60, 300)), int(rng.integers(1, 5)), int(rng.integers(2, 5))
    x = rng.normal(size=(n, d)) + 2 * rng.normal(size=(k, d))[rng.integers(k, size=n)]
    spread = cov.pooled(np.repeat(np.cov(x.T).reshape(1, d, d), k, 0), kind) / (d if kind == "spherical" else 1)
    spread = spread / k if kind == "tied" else spread
    start = bg.MixtureParameters(rng.dirichlet(np.full(k, 5.0)), x[rng.choice(n, k, replace=False)], spread)
    model = bg.MixtureModel(k, kind, "flat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (bg.errors.BayesGMMWarning, SklearnWarning))
        ours = bg.fit(x, model, engine=bg.EM(max_iter=20, tol=0, trace="parameters"), start=start).tree["trace"]
        for steps in (1, 2, 5, 20):
            theirs = GaussianMixture(
                k, covariance_type=kind, weights_init=start.weights, means_init=start.means, reg_covar=0,
                precisions_init=precisions(start.covariances, kind), max_iter=steps, tol=0,
            ).fit(x)  # fmt: skip
            assert np.allclose(ours["weights"][steps], theirs.weights_, rtol=1e-9, atol=1e-12)
            assert np.allclose(ours["means"][steps], theirs.means_, rtol=1e-9, atol=1e-9)
            assert np.allclose(ours["covariances"][steps], written_out(theirs, kind, d), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prior", ["flat", "conjugate", "semiconjugate", "hierarchical"])
def test_log_posterior_never_falls(prior, kind):
    """1,008 climbs over random data: no step loses more than rounding."""
    worst = 0.0
    for problem in range(7):
        rng = np.random.default_rng(problem)
        d, k = 1 + problem % 3, 2 + problem % 2
        data, bound = bound_problem(rng, "conjugate" if prior == "flat" else prior, kind, k=k, d=d)
        if prior == "flat":
            bound = bg.ConjugatePrior.flat(k, d, kind)
        first = candidates(data, bound, "random", 12, rng)
        climbs = climb(first, data, bound, bg.EM(max_iter=60).stopping)
        for start in np.flatnonzero(~climbs.collapsed):
            path = climbs.trace(start)["log_posterior"]
            worst = min(worst, float((np.diff(path) / np.abs(path[1:])).min(initial=0.0)))
    assert worst > -1e-10


@pytest.mark.parametrize("engine_prior", ["flat", None])
@pytest.mark.parametrize(("scale", "offset"), [(1e-12, 0.0), (1e12, 0.0), (1.0, 1e8), (2.0**20, -(2.0**30))])
def test_results_do_not_depend_on_offset_and_scale(faithful, kind, engine_prior, scale, offset):
    x = faithful.to_numpy() * 1024
    if kind == "spherical":
        x = x[:, :1]
    plain = bg.fit(x, bg.MixtureModel(2, kind, engine_prior), engine="em", seed=3)
    moved = bg.fit(scale * x + offset, bg.MixtureModel(2, kind, engine_prior), engine="em", seed=3)
    assert np.abs(plain.predict_proba() - moved.predict_proba()).max() < 1e-8
    expected = log_likelihood(plain) - x.size * np.log(scale)
    assert np.isclose(log_likelihood(moved), expected, rtol=1e-9)
    assert np.allclose(moved.means, scale * plain.means + offset, rtol=1e-8)


def test_results_do_not_depend_on_the_order_of_rows_columns_and_labels(faithful):
    x = faithful.to_numpy()
    start = bg.fit(x, 2, engine="em", seed=0).parameters
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(x))
    plain = bg.fit(x, 2, engine="em", start=start)
    shuffled = bg.fit(x[rows], 2, engine="em", start=start)
    assert np.abs(shuffled.predict_proba() - plain.predict_proba()[rows]).max() < 1e-8
    swapped = bg.MixtureParameters(start.weights, start.means[:, ::-1], start.covariances[:, ::-1, ::-1])
    turned = bg.fit(x[:, ::-1], 2, engine="em", start=swapped)
    assert np.abs(turned.predict_proba() - plain.predict_proba()).max() < 1e-8
    renamed = bg.fit(x, 2, engine="em", start=start.permuted([1, 0]))
    assert np.abs(renamed.predict_proba()[:, ::-1] - plain.predict_proba()).max() < 1e-8


def test_weight_three_equals_the_row_three_times(faithful, kind):
    x, times = faithful.to_numpy(), np.random.default_rng(0).integers(1, 4, size=len(faithful))
    start = np.asarray(x[:, 0] > 3, dtype=int)
    weighted = bg.fit(x, bg.MixtureModel(2, kind), engine="em", start=start, sample_weight=times)
    repeated = bg.fit(np.repeat(x, times, 0), bg.MixtureModel(2, kind), engine="em", start=np.repeat(start, times))
    assert np.allclose(weighted.means, repeated.means, rtol=1e-9)
    assert np.isclose(log_likelihood(weighted), log_likelihood(repeated), rtol=1e-11)


def test_starts_may_be_parameters_labels_or_a_result(faithful, em_result):
    labels = (faithful["eruptions"].to_numpy() > 3).astype(int)
    for start in (em_result, em_result.parameters, labels):
        found = bg.fit(faithful, 2, engine="em", start=start)
        assert np.isclose(log_likelihood(found), log_likelihood(em_result), atol=1e-4)
        assert found.means.values[0, 0, 0, 0] < 3, "the labels of the start are kept"


@nearly_as_high
def test_all_optima_are_kept_with_their_shares(galaxies):
    result = bg.fit(galaxies, bg.MixtureModel(4, prior="flat"), engine=bg.EM(n_init=30), seed=0)
    optima = result.tree["optima"]
    assert optima.sizes["optimum"] > 1
    assert np.isclose(optima["basin_share"].sum() + optima.attrs["dropped_starts"] / 30, 1)
    sound = ~optima["spurious"].values
    assert (np.diff(optima["log_posterior"].values[sound]) <= 0).all()
    assert np.isclose(optima["log_posterior"][0], log_likelihood(result))


def test_optima_equal_up_to_labels_are_one(faithful):
    result = bg.fit(faithful, bg.MixtureModel(2, prior="flat"), engine=bg.EM(n_init=20, init="random"), seed=0)
    assert result.tree["optima"].sizes["optimum"] == 1


def test_components_of_own_starts_are_ordered_by_the_first_feature(galaxies):
    for seed in range(5):
        means = bg.fit(galaxies, 3, engine="em", seed=seed).means.values.ravel()
        assert (np.diff(means) > 0).all()


@nearly_as_high
def test_collapse_is_dropped_and_counted_if_some_start_survives(iris):
    result = bg.fit(iris, bg.MixtureModel(4, prior="flat"), engine=bg.EM(n_init=40), seed=1)
    assert 0 < result.tree["optima"].attrs["dropped_starts"] < 40
    assert np.isfinite(log_likelihood(result))


def test_collapse_of_every_start_is_an_error_that_says_what_to_do():
    x = np.repeat([0.0, 1.0, 5.0], 20)
    with pytest.raises(bg.DegenerateComponentError, match=r"all 10 starts ended.*use the default prior"):
        bg.fit(x, bg.MixtureModel(3, prior="flat"), engine="em", seed=0)
    assert np.isfinite(bg.fit(x, 3, engine="em", seed=0).weights).all()


def test_spurious_optima_on_a_handful_of_rows_are_not_called_best():
    """Two rows that happen to lie close have a likelihood without bound, and say nothing."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, 30), rng.normal(2, 1, 30), [2.5, 2.5 + 1e-8]])
    data, prior = bg.Observations.of(x).standardised(), bg.ConjugatePrior.flat(2, 1, "full")
    halves = from_labels((x > 1).astype(int), data, prior)
    at = (x[-2:].mean() - data.origin) / data.unit
    pair = bg.MixtureParameters(np.array([0.97, 0.03]), np.array([[0.0], at]), np.array([[[1.0]], [[1e-16]]]))
    first = bg.MixtureParameters(*(np.stack(a) for a in zip(pair.arrays, halves.arrays, strict=True)))
    climbs = climb(first, data, prior, bg.EM().stopping)
    assert climbs.log_posterior[0] > climbs.log_posterior[1]
    assert rank(climbs, data, prior).tolist() == [1, 0]
    assert spurious(climbs, data, prior).tolist() == [True, False]
    assert not spurious(climbs, data, bg.ConjugatePrior.from_data(x, 2)).any()


def test_stopping_early_warns_and_is_in_the_result(galaxies):
    with pytest.warns(bg.ConvergenceWarning, match="max_iter=3 .*nats to come"):
        result = bg.fit(galaxies, 4, engine=bg.EM(max_iter=3), seed=0)
    assert result.diagnostics().loc["converged", "mean"] == 0
    assert "did NOT converge" in repr(result)


def test_stopping_rule_waits_for_slow_climbs():
    """scikit-learn's absolute 1e-3 stops at weights (.37, .63) on such data."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-1, 1, 250), rng.normal(1, 1, 750)])
    model, start = bg.MixtureModel(2, prior="flat"), (np.arange(1000) % 2)
    usual = bg.fit(x, model, engine=bg.EM(max_iter=20_000), start=start)
    patient = bg.fit(x, model, engine=bg.EM(tol=1e-13, max_iter=100_000), start=start)
    assert np.abs(usual.weights - patient.weights).max() < 0.02
    assert log_likelihood(patient) - log_likelihood(usual) < 1e-4


def test_rise_to_come_is_exact_for_a_geometric_climb():
    assert np.isclose(rise_to_come(0.5, 1.0), 0.5)
    assert np.isclose(rise_to_come(0.9, 1.0), 8.1)
    assert rise_to_come(1.0, np.nan) == 1.0


def test_trace_of_parameters_ends_at_the_result(faithful):
    result = bg.fit(faithful, 2, engine=bg.EM(trace="parameters"), start=np.arange(272) % 2)
    trace = result.tree["trace"]
    assert np.allclose(trace["means"][-1], result.means[0, 0])
    assert np.isclose(trace["log_posterior"][-1], result.tree["sample_stats"]["lp"][0, 0])


@nearly_as_high
@pytest.mark.parametrize("trace", ["objective", "parameters"])
@pytest.mark.parametrize("chunk", [64, sums.CHUNK_ROWS])
def test_the_trace_of_a_fit_is_that_of_its_best_start(trace, chunk, monkeypatch, faithful):
    """No more and no less, though others climb on for stretches after it, and it is polished."""
    monkeypatch.setattr("bayesgmm.engines.em.climbs.STRETCH", 8)
    monkeypatch.setattr(sums, "CHUNK_ROWS", chunk)
    engine = bg.EM(n_init=5, trace=trace)
    prior = ConjugatePrior.from_data(faithful, 3)
    result = bg.fit(faithful, bg.MixtureModel(3, prior=prior), engine=engine, seed=0)
    found = result.tree["trace"]
    objective = found["log_posterior"].values
    assert np.isfinite(objective).all()
    assert (np.diff(objective) >= -1e-9 * np.abs(objective[1:])).all()
    assert len(np.unique(objective)) > 0.8 * len(objective)
    assert objective[-1] == pytest.approx(float(result.tree["sample_stats"]["lp"][0, 0]), rel=1e-12)
    if trace == "parameters":
        assert np.allclose(found["weights"].sum("component"), 1)
        steps = bg.MixtureParameters(*(found[name].values for name in ("weights", "means", "covariances")))
        data = Observations.of(faithful)
        scores = [float(bg.e_step(steps[at], data).log_likelihood) for at in range(len(objective))]
        assert np.allclose(scores + prior.log_density(steps), objective, rtol=1e-10)


@pytest.mark.parametrize("trace", ["objective", "parameters"])
def test_the_trace_of_a_start_that_was_taken_on_is_that_of_both_climbs(galaxies, trace):
    """From the first state of the first climb to the last of the second, without what neither made."""
    data, prior = Observations.of(galaxies), ConjugatePrior.from_data(galaxies, 3)
    starts = candidates(data, prior, "k-means++", 3, np.random.default_rng(0))
    climbs, before = (climb(starts, data, prior, Stopping(1000, 1e-4, trace)) for _ in range(2))
    end = bg.MixtureParameters(*(array[1:2] for array in before.parameters.arrays))
    further = climb(end, data, prior, Stopping(1000, 1e-9, trace))
    climbs.taken_on(1, further)
    whole, first, second = climbs.trace(1), before.trace(1), further.trace(0)
    assert climbs.iterations[1] == before.iterations[1] + further.iterations[0] > before.iterations[1]
    assert len(whole["log_posterior"]) == climbs.iterations[1] + 1
    for name, values in whole.items():
        assert np.allclose(values, np.concatenate([first[name], second[name][1:]]), rtol=1e-12)
    assert np.isclose(climbs.log_posterior[1], second["log_posterior"][-1], rtol=1e-14)
    assert (climbs.trace(0)["log_posterior"] == before.trace(0)["log_posterior"]).all()


def test_a_climb_longer_than_there_is_room_for_at_a_time_is_one(galaxies, monkeypatch):
    """As one of many starts too: where it ends, and the whole trace."""
    rule, prior = Stopping(2 * STRETCH + 10, 0.0, "parameters"), ConjugatePrior.from_data(galaxies, 3)
    starts = candidates(Observations.of(galaxies), prior, "k-means++", 3, np.random.default_rng(0))
    together = climb(starts, Observations.of(galaxies), prior, rule)
    alone = climb(starts[np.array([1])], Observations.of(galaxies), prior, rule)
    trace = together.trace(1)
    assert together.iterations.tolist() == [rule.max_iter] * 3
    assert (np.diff(trace["log_posterior"]) > -1e-10 * np.abs(trace["log_posterior"][1:])).all()
    for name, values in trace.items():
        assert len(values) == rule.max_iter + 1
        assert (values == alone.trace(0)[name]).all()
    assert (trace["means"][-1] == together.parameters.means[1]).all()
    with monkeypatch.context() as patch:
        patch.setattr(module, "MOST_KEPT", 1)
        one_by_one = climb(starts, Observations.of(galaxies), prior, rule)
    assert (one_by_one.parameters.means == together.parameters.means).all()


@pytest.mark.parametrize("chunk_rows", [5, 1000])
@pytest.mark.parametrize("n", [82, 500])
@pytest.mark.parametrize("name", ["flat", "conjugate", "semiconjugate", "hierarchical"])
@pytest.mark.parametrize(("tol", "max_iter", "own"), [(0.0, 40, False), (1e-3, 30, True), (0.0, 1, True)])
def test_starts_that_climb_by_themselves_and_together_end_at_the_same_bits(
    kind, name, tol, max_iter, own, chunk_rows, n, rng, monkeypatch
):
    """On one thread every start is climbed from in compiled loops, on several all share the passes over the chunks.

    With weights of their own or not, one start being lost at once.
    """
    monkeypatch.setattr(sums, "CHUNK_ROWS", chunk_rows)
    data, prior = bound_problem(rng, "conjugate" if name == "flat" else name, kind, n=n)
    prior = ConjugatePrior.flat(2, 2, kind) if name == "flat" else prior
    starts = candidates(data, prior, "k-means++", 4, rng)
    starts.covariances[2] = np.nan
    weights = rng.exponential(size=(4, n)) if own else None
    problem = module.Problem.of(data, prior, Stopping(max_iter, tol, trace="parameters"), weights)
    one, other = module.Climbs.at(starts), module.Climbs.at(starts)
    module.climb_compiled(one, problem)
    module.climb_together(other, problem)
    assert one.ends[2] == module.COLLAPSED
    assert one.evaluations[2] == 0
    for key, array in one.arrays.items():
        assert np.array_equal(array, other.arrays[key], equal_nan=True), key
    for at in range(4):
        assert (one.numbers(at) == other.numbers(at)).all()
        assert len(one.numbers(at)) == one.evaluations[at]


def test_what_a_start_leaves_behind_is_not_what_the_next_one_finds(rng):
    """A start that has an empty component of no covariance is lost, whichever comes before it."""
    data, prior = Observations.of(rng.normal(size=(50, 1))), ConjugatePrior.flat(2, 1, "full")
    means, covariances = np.array([[[-1.0], [1.0]]] * 2), np.ones((2, 2, 1, 1))
    weights, covariances[1, 1] = np.array([[0.5, 0.5], [1.0, 0.0]]), np.nan
    first = bg.MixtureParameters(weights, means, covariances)
    for order in ([0, 1], [1, 0]):
        assert climb(first[np.array(order)], data, prior, Stopping(20, 0.0)).collapsed.tolist() == [
            at == 1 for at in order
        ]


def test_log_posterior_is_log_likelihood_plus_log_prior_in_data_units(faithful, kind):
    model = bg.MixtureModel(2, kind)
    result = bg.fit(faithful, model, engine="em", seed=0)
    prior = model.prior_for(bg.Observations.of(faithful))
    expected = log_likelihood(result) + prior.log_density(result.parameters)
    assert np.isclose(result.tree["sample_stats"]["lp"][0, 0], expected, rtol=1e-12)
    assert np.isclose(
        log_likelihood(result),
        bg.e_step(
            result.parameters, result.data.in_units(0 * result.data.unit, 1 + 0 * result.data.unit)
        ).log_likelihood,
        rtol=1e-11,
    )


def test_same_seed_gives_the_same_bits_and_other_seeds_other_starts(galaxies):
    runs = [bg.fit(galaxies, 3, engine=bg.EM(n_init=2), seed=7).means.values for _ in range(20)]
    assert all((run == runs[0]).all() for run in runs)
    data = bg.Observations.of(galaxies).standardised()
    prior = bg.ConjugatePrior.from_data(galaxies, 3).in_units(data.origin, data.unit)
    first = [candidates(data, prior, "k-means++", 4, np.random.default_rng(s)).means for s in (1, 2)]
    assert not np.array_equal(*first)


def test_em_works_from_a_sample_of_rows_when_there_are_many(rng):
    x = rng.normal(size=(5000, 2)) + 6 * rng.integers(0, 2, size=(5000, 1))
    result = bg.fit(x, 2, engine="em", seed=0)
    assert np.allclose(np.sort(result.means.values[0, 0, :, 0]), [0, 6], atol=0.2)


def test_settings_are_a_frozen_record():
    assert replace(bg.EM(), n_init=3) == bg.EM(n_init=3)


def test_a_concentration_below_one_empties_components_and_stays_finite(faithful, em_result):
    """The third component starts far from every row, with no weight to speak of."""
    two, far = em_result.parameters, [[30.0, 300.0]]
    start = bg.MixtureParameters(
        np.append(two.weights * (1 - 1e-9), 1e-9),
        np.concatenate([two.means, far]),
        np.concatenate([two.covariances, two.covariances[:1]]),
    )
    model = bg.MixtureModel(3, prior=bg.ConjugatePrior.from_data(faithful, 3, concentration=0.5))
    result = bg.fit(faithful, model, engine="em", start=start)
    assert result.weights.values[0, 0, 2] == 0
    assert np.isfinite(result.tree["sample_stats"]["lp"]).all()
    assert np.isfinite(result.memberships().probability).all()


def test_nuts_takes_a_concentration_below_one(faithful):
    model = bg.MixtureModel(3, prior=bg.ConjugatePrior.from_data(faithful, 3, concentration=0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        result = bg.fit(faithful, model, engine=bg.NUTS(draws=200, tune=200), seed=1, progress=False)
    assert np.isfinite(result.tree["sample_stats"]["lp"]).all()


@nearly_as_high
@pytest.mark.parametrize("seed", range(30))
def test_of_two_equal_optima_both_are_found(seed):
    """Rows and their mirror image: whichever optimum wins the tournaments of starts, the other is as high."""
    rng = np.random.default_rng(seed)
    side, middle = rng.normal(-3.0, 0.4, size=12), rng.normal(0, 0.4, size=6)
    rows = np.concatenate([side, middle, -middle, -side])
    model = bg.MixtureModel(2, prior=bg.ConjugatePrior(2.0, 0.0, 0.1, 6.0, 4.0))
    atlas = bg.fit(rows, model, engine="em", seed=seed).modes()
    assert atlas["below_best"].iloc[1] < 1e-6
    assert atlas["basin_share"].iloc[0] < 1


def test_missing_information_is_the_rate_of_a_geometric_climb():
    climb_of = -100 - 5 * 0.9 ** (2 * np.arange(60))
    assert missing_information(climb_of)["missing_information"] == pytest.approx(0.9, rel=1e-6)
    assert missing_information(np.full(5, -3.0)) == {}
    assert missing_information(np.array([-3.0])) == {}


def test_missing_information_is_the_largest_root_of_the_derivative_of_em(rng):
    """By differences of the EM map about its fixed point."""
    x = np.concatenate([rng.normal(-1.0, 1.0, 400), rng.normal(1.3, 1.0, 400)])
    data = bg.Observations.of(x).standardised()
    prior = bg.ConjugatePrior.flat(2, 1, "tied")
    start, rule = candidates(data, prior, "k-means++", 1, rng), bg.EM(tol=1e-15).stopping
    ended = climb(start, data, prior, replace(rule, settling=None))
    at = np.concatenate([array[0].ravel() for array in ended.parameters.arrays])

    def em_map(vector):
        w, m, c = np.split(vector, [2, 4])
        value = bg.MixtureParameters(w, m.reshape(2, 1), c.reshape(2, 1, 1))
        mode = prior.updated(bg.e_step(value, data, "tied").stats).mode()
        return np.concatenate([array.ravel() for array in mode.arrays])

    jacobian = np.array([(em_map(at + s) - em_map(at - s)) / 2e-5 for s in 1e-5 * np.eye(6)]).T
    rate = np.abs(np.linalg.eigvals(jacobian)).max()
    assert missing_information(ended.trace(0)["log_posterior"])["missing_information"] == pytest.approx(rate, rel=0.02)
    leapt = climb(start, data, prior, replace(rule, tol=1e-8))
    assert leapt.rate[0] == pytest.approx(rate, rel=0.02)
    assert np.isnan(ended.rate[0])
