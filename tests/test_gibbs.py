"""Claims about Gibbs sampling: its draws are those that the priors define, whatever the blocks, threads or parts."""

import re
import warnings
from dataclasses import replace

import numba
import numpy as np
import pytest
import truth
from mixtures import bound_problem, random_parameters
from scipy import stats

import bayesgmm as bg
from bayesgmm.data import sums
from bayesgmm.engines.gibbs import gibbs
from bayesgmm.engines.gibbs.gibbs import Problem
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.kernels.conditionals import draw_parameters
from bayesgmm.kernels.gibbs import run_sweeps
from bayesgmm.kernels.uniforms import binomial, child_key, uniform
from bayesgmm.model import covariance as cov
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior, SemiConjugatePrior

KEYS = np.random.default_rng(7).integers(2**64, size=4000, dtype=np.uint64)


def assert_same_draws(one, other):
    for group in ("posterior", "sample_stats"):
        for name, values in one.tree[group].data_vars.items():
            assert (values.values == other.tree[group][name].values).all(), name


def overlapping(n, seed=1):
    parameters = bg.MixtureParameters(
        np.array([0.3, 0.7]), np.array([[0.0, 0.0], [2.0, 1.0]]), np.array([np.eye(2), 0.5 * np.eye(2)])
    )
    return bg.simulate(parameters, n, seed=seed)[0]


# The parameters given the labels.


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("family", ["conjugate", "semiconjugate", "hierarchical"])
def test_compiled_draws_given_labels_are_those_of_the_updated_prior(rng, family, kind, d):
    data, prior = bound_problem(rng, family, kind, k=3, d=d)
    last = random_parameters(rng, 3, d, kind)
    stats_ = estep.e_step(last, data, kind).stats
    given = (stats_, last) if family == "hierarchical" else (stats_,)
    expected = prior.updated(*given).sample(np.random.default_rng(5))
    found = bg.MixtureParameters(np.empty(3), np.empty((3, d)), np.empty((3, d, d)))
    sums = stats_.about, stats_.counts, stats_.first, stats_.second
    factors = estep.whiten(last, kind).factors[0]
    hyperparameters = Problem(data, prior, False).hyperparameters
    draw_parameters(np.random.default_rng(5), hyperparameters, factors, *sums, *found.arrays)
    for ours, theirs in zip(found.arrays, expected.arrays, strict=True):
        assert np.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


# The labels given the parameters.


def test_uniforms_are_uniform_over_rows_and_over_keys():
    by_row = np.array([uniform(KEYS[0], i) for i in range(20_000)])
    by_key = np.array([uniform(key, 3) for key in KEYS])
    by_sweep = np.array([uniform(np.uint64(child_key(KEYS[0], sweep)), 3) for sweep in range(20_000)])
    for found in (by_row, by_key, by_sweep):
        assert stats.kstest(found, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 5 / np.sqrt(len(found))
        assert 0 <= found.min() < found.max() < 1


@pytest.mark.parametrize(("trials", "p"), [(1, 0.3), (7, 0.5), (40, 0.1), (40, 0.9), (300, 0.4), (10_000, 0.02)])
def test_split_rows_are_binomial(trials, p):
    found = np.array([binomial(float(trials), p, key, 0)[0] for key in KEYS])
    assert found.min() >= 0
    assert found.max() <= trials
    edges = np.unique(stats.binom.ppf(np.linspace(0, 1, 9)[1:-1], trials, p))
    shares = np.diff(np.concatenate([[0], stats.binom.cdf(edges, trials, p), [1]]))
    seen = np.histogram(found, np.concatenate([[-np.inf], edges + 0.5, [np.inf]]))[0]
    used = shares > 0
    assert stats.chisquare(seen[used], shares[used] * len(found)).pvalue > 1e-3


@pytest.mark.parametrize("weight", [1, 5, 60])
def test_labels_fall_to_components_in_proportion_to_responsibilities(rng, weight):
    parameters, x = random_parameters(rng, 3, 2, spread=0.3), rng.normal(size=(4, 2))
    data = bg.Observations.of(x, np.full(4, weight))
    grid = bg.MixtureParameters(*(np.repeat(a[None], len(KEYS), axis=0) for a in parameters.arrays))
    counts = estep.allocate(estep.whiten(grid), data, (len(KEYS),), KEYS).stats.counts
    expected = estep.responsibilities(parameters, data).sum(axis=1) * weight
    error = np.sqrt(counts.var(axis=0, ddof=1) / len(KEYS))
    assert (counts.sum(axis=1) == 4 * weight).all()
    # A component that is rarer than one label in all has no error to measure.
    assert (np.abs(counts.mean(axis=0) - expected) < 5 * error + 5 / len(KEYS)).all()


def test_statistics_of_the_allocation_are_those_of_the_labels_drawn(rng, kind):
    data, parameters = overlapping(700), random_parameters(rng, 3, 2, kind)
    labels = np.empty((1, 700), np.int16)
    white = estep.whiten(parameters, kind)
    found = estep.allocate(white, data, (1,), KEYS[:1], labels)
    member = labels[0] == np.arange(3)[:, None]
    apart = data.values - parameters.means[:, None]
    second = np.einsum("kn,kni,knj->kij", member, apart, apart)
    if cov.is_diagonal(kind):
        second = second * np.eye(2)
    assert (found.stats.counts[0] == member.sum(axis=1)).all()
    assert np.allclose(found.stats.first[0], np.einsum("kn,kni->ki", member, apart))
    assert np.allclose(found.stats.second[0], second)
    assert found.log_likelihood[0] == pytest.approx(estep.expect(white, data, ()).log_likelihood.item(), rel=1e-14)


def test_the_label_of_a_row_does_not_depend_on_chunks_or_threads(rng, monkeypatch):
    data, parameters = overlapping(5000), random_parameters(rng, 3, 2)
    white, seen = estep.whiten(parameters), []
    for chunk, threads in ((32_768, 1), (333, 1), (333, 2), (64, 2)):
        monkeypatch.setattr(sums, "CHUNK_ROWS", chunk)
        monkeypatch.setattr("bayesgmm.kernels.threads.SERIAL_WORK", 0)
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        labels = np.empty((1, 5000), np.int16)
        estep.allocate(white, data, (1,), KEYS[:1], labels)
        seen.append(labels)
    assert all((labels == seen[0]).all() for labels in seen)


# Runs. Some are too short for their diagnostics, and say so.

pytestmark = pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_rows_in_many_chunks_are_sampled_to_the_same_bits_as_in_one(kind, monkeypatch):
    engine = gibbs.Gibbs(draws=12, tune=3, thin=2, chains=3, permutation="random", label_every=4)
    model = bg.MixtureModel(2, kind)
    whole = bg.fit(overlapping(900), model, engine=engine, seed=3, progress=False)
    monkeypatch.setattr(gibbs, "_sweep_compiled", lambda data, *rest: gibbs._sweep_chunked(*rest))
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)
    parts = bg.fit(overlapping(900), model, engine=engine, seed=3, progress=False)
    assert_same_draws(whole, parts)
    assert (whole.tree["allocation"]["labels"].values == parts.tree["allocation"]["labels"].values).all()


def test_draws_do_not_depend_on_the_number_of_threads(monkeypatch):
    data, fits = overlapping(3000), []
    for threads in (1, 2):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        fits.append(bg.fit(data, 2, engine=bg.Gibbs(draws=200, tune=50), seed=1, progress=False))
    assert_same_draws(*fits)


def test_thinning_keeps_every_second_sweep(faithful):
    every = bg.fit(faithful, 2, engine=bg.Gibbs(draws=120), seed=1, progress=False)
    second = bg.fit(faithful, 2, engine=bg.Gibbs(draws=60, thin=2), seed=1, progress=False)
    assert (every.means.values[:, 1::2] == second.means.values).all()


def test_one_more_chain_changes_no_other(faithful):
    three = bg.fit(faithful, 2, engine=bg.Gibbs(draws=50, chains=3), seed=1, progress=False)
    four = bg.fit(faithful, 2, engine=bg.Gibbs(draws=50, chains=4), seed=1, progress=False)
    assert (three.means.values == four.means.values[:3]).all()
    assert (four.means.values[3] != four.means.values[0]).all()


def test_labels_that_are_kept_carry_the_labels_of_the_draws(faithful):
    result = bg.fit(faithful, 2, engine=bg.Gibbs(permutation="random", label_every=50), seed=1, progress=False)
    labels = result.tree["allocation"]["labels"]
    assert labels.dims == ("chain", "kept_draw", "counted")
    assert labels["kept_draw"].values[0] == 49
    assert (labels.values == result.predict()).mean() > 0.99
    raw = result.relabelled("none")
    assert 0.3 < (raw.tree["allocation"]["labels"].values == result.predict()).mean() < 0.7


def test_randomly_permuted_sweeps_visit_all_labellings_and_change_nothing_else(galaxies):
    engine = bg.Gibbs(draws=2000, permutation="random")
    model = bg.MixtureModel(3, prior=ConjugatePrior.from_data(galaxies, 3))
    permuted = bg.fit(galaxies, model, engine=engine, seed=1, progress=False)
    plain = bg.fit(galaxies, model, engine=bg.Gibbs(draws=2000), seed=1, progress=False)
    _, visits = np.unique(
        permuted.tree["sample_stats"]["label_order"].values.reshape(-1, 3), axis=0, return_counts=True
    )
    assert len(visits) == 6
    assert stats.chisquare(visits).pvalue > 1e-3
    assert permuted.switch_rate > 0.5
    assert not permuted.warnings
    assert np.abs(permuted.predict_proba() - plain.predict_proba()).max() < 0.03


def test_a_row_of_weight_three_is_the_row_three_times():
    data = overlapping(60)
    weight = np.random.default_rng(2).integers(1, 4, size=60)
    prior = bg.ConjugatePrior(2.0, 0.0, 0.2, 6.0, 3.0)
    model, engine = bg.MixtureModel(2, prior=prior), bg.Gibbs(draws=20_000, permutation="random")
    weighted = bg.fit(data.values, model, engine=engine, sample_weight=weight, seed=1, progress=False)
    repeated = bg.fit(np.repeat(data.values, weight, axis=0), model, engine=engine, seed=2, progress=False)
    one, other = weighted.diagnostics(), repeated.diagnostics()
    for name in ("log_likelihood", "log_posterior", "sum_squared_weights", "log_det_sorted[0]"):
        a, b = one.loc[name], other.loc[name]
        error = np.hypot(a["sd"] / np.sqrt(a["ess_bulk"]), b["sd"] / np.sqrt(b["ess_bulk"]))
        assert abs(a["mean"] - b["mean"]) < 5 * error, name


@pytest.mark.parametrize(
    ("engine", "options", "says"),
    [
        (bg.Gibbs(), {"sample_weight": np.full(60, 1.5)}, r"whole numbers, got 1.5 \(60 of 60 rows\); round them"),
        (bg.Gibbs(label_every=10), {"sample_weight": np.full(60, 2)}, "rows count up to 2 times; repeat"),
        (bg.Gibbs(), {"model": bg.MixtureModel(2, prior="flat")}, "improper posterior"),
        (
            bg.Gibbs(),
            {"model": bg.MixtureModel(2, prior=bg.SeparationPrior(1.0, 0.0, 1.0, 1.0, 1.0))},
            "SeparationPrior",
        ),
        (
            bg.Gibbs(permutation="random"),
            {"model": bg.MixtureModel(2, prior=bg.ConjugatePrior([1.0, 2.0], 0.0, 0.1, 5.0, 1.0))},
            "tells components apart",
        ),
    ],
)
def test_what_gibbs_cannot_sample_is_refused_with_advice(engine, options, says):
    options = {"model": 2} | options
    with pytest.raises((bg.DataError, bg.ModelError), match=says):
        bg.fit(overlapping(60).values, engine=engine, seed=1, progress=False, **options)


@pytest.mark.parametrize(
    "settings",
    [{"draws": 3}, {"tune": -1}, {"chains": 0}, {"thin": 0}, {"permutation": "yes"}, {"label_every": 7}, {"thin": 1.5}],
)
def test_settings_are_checked_by_name(settings):
    with pytest.raises(bg.ModelError, match=f"`{next(iter(settings))}`"):
        bg.Gibbs(**settings)


# Geweke's (2004, doi:10.1198/016214504000001132) joint distribution test of the whole sweep.


def joint_problem(family, kind, d=2):
    """Return a prior of two components under which moments are finite, and rows that are about to be redrawn."""
    if family == "conjugate":
        prior = ConjugatePrior(1.5, np.array([0.5, -0.5])[:d], 0.8, d + 9.0, 6.0)
    elif family == "hierarchical":
        rate = np.array([[0.8, 0.3], [0.3, 0.5]])[:d, :d]
        prior = HierarchicalPrior(1.5, np.array([0.5, -0.5])[:d], 1.5, d + 9.0, d + 3.0, rate, [0.5, 1.0][:d])
    else:
        prior = SemiConjugatePrior(1.5, np.array([0.5, -0.5])[:d], 1.5, d + 9.0, 6.0)
    return prior.bound(2, d, kind)


def quantities(parameters):
    """Return label-invariant moments of each draw."""
    w, m, c = parameters
    diagonal = np.diagonal(c, axis1=-2, axis2=-1)
    found = [(w**2).sum(-1), m.sum((-1, -2)), (m**2).sum((-1, -2)), np.log(diagonal).sum((-1, -2))]
    found += [(w * m[..., 0]).sum(-1), (w * diagonal[..., 0]).sum(-1), (w * m[..., 0] ** 2).sum(-1)]
    found += [np.linalg.slogdet(c)[1].max(-1), (m[..., 0] * diagonal[..., 0]).sum(-1), (m[..., 0] * m[..., 1]).sum(-1)]
    return np.stack(found)


def redrawn(prior, sweeping_prior, cycles=20_000, rows=6, *, rng, key_of=child_key, seen=range(6)):
    """Alternate rows given parameters and one sweep given rows."""
    w, m, c = (np.array(a) for a in prior.sample(rng).arrays)
    k, d = m.shape
    kept = np.empty((cycles, k)), np.empty((cycles, k, d)), np.empty((cycles, k, d, d))
    shape = (1, k, d) if cov.is_diagonal(prior.covariance_type) else (1, k, d, d)
    none = (*(a[:0] for a in kept), np.empty(0), np.empty(0))
    arguments = Problem(None, sweeping_prior, False).hyperparameters
    scratch = np.empty((0, 0), np.int16), np.zeros(shape), np.zeros(shape)
    for cycle in range(cycles):
        z = (rng.random(rows) > w[0]).astype(int)
        x = m[z] + np.einsum("nij,nj->ni", np.linalg.cholesky(c)[z], rng.standard_normal((rows, d)))
        view = np.ascontiguousarray(x[list(seen)]), np.ones(len(seen)), np.zeros(d), np.ones(d)
        key = key_of(KEYS[0], cycle)
        run_sweeps(*view, rng, np.uint64(key), arguments, False, 0, 1, 0, 0, (w, m, c), none, *scratch)
        for whole, part in zip(kept, (w, m, c), strict=True):
            whole[cycle] = part
    return quantities(kept)


def joint_scores(prior, sweeping_prior, **options):
    """Return z-scores of moments in the joint distribution, reached in two ways."""
    import arviz as az

    rng = np.random.default_rng(99)
    drawn = [prior.sample(rng).arrays for _ in range(20_000)]
    direct = quantities(tuple(np.stack(arrays) for arrays in zip(*drawn, strict=True)))
    found = redrawn(prior, sweeping_prior, rng=rng, **options)
    error = [
        np.hypot(az.mcse(f[None], method="mean"), d.std() / np.sqrt(len(d))) for f, d in zip(found, direct, strict=True)
    ]
    return (found.mean(axis=1) - direct.mean(axis=1)) / np.array(error, dtype=float).ravel()


@pytest.mark.compiled
@pytest.mark.statistical
@pytest.mark.parametrize("family", ["conjugate", "semiconjugate", "hierarchical"])
def test_rows_and_sweeps_in_turn_keep_the_joint_distribution(family, kind):
    prior = joint_problem(family, kind)
    assert np.abs(joint_scores(prior, prior)).max() < 4


def with_changed(name, change):
    return lambda prior: replace(prior, **{name: change(getattr(prior, name))})


SWEEP_BREAKS = {
    "one degree of freedom more": ("conjugate", with_changed("dof", lambda v: v + 1), {}),
    "one degree of freedom less": ("semiconjugate", with_changed("dof", lambda v: v - 1), {}),
    "a scale that is doubled": ("conjugate", with_changed("scale", lambda v: 2 * v), {}),
    "a scale that is inverted": ("semiconjugate", with_changed("scale", np.linalg.inv), {}),
    "a concentration that is one higher": ("conjugate", with_changed("concentration", lambda v: v + 1), {}),
    "half the shrinkage": ("conjugate", with_changed("shrinkage", lambda v: v / 2), {}),
    "a mean's covariance read as a precision": ("semiconjugate", with_changed("loc_covariance", np.linalg.inv), {}),
    "a location that is dropped": ("semiconjugate", with_changed("loc", lambda v: 0 * v), {}),
    "a factor 2 in the Wishart of the scale": ("hierarchical", with_changed("scale_rate", lambda v: 2 * v), {}),
    "a scale whose rate is inverted": ("hierarchical", with_changed("scale_rate", np.linalg.inv), {}),
    "one degree of freedom more of the scale": ("hierarchical", with_changed("scale_dof", lambda v: v + 1), {}),
    "one degree of freedom less under an unknown scale": ("hierarchical", with_changed("dof", lambda v: v - 1), {}),
    "a floor that is dropped": ("hierarchical", with_changed("floor", lambda v: 0 * v), {}),
    "a scale that stays at its mean": ("hierarchical", lambda prior: prior.given(prior.expected_scale), {}),
    "a row that is seen twice": ("conjugate", lambda prior: prior, {"seen": [0, 0, 1, 2, 3, 4, 5]}),
    "uniforms that never change": ("conjugate", lambda prior: prior, {"key_of": lambda key, _: key}),
}


@pytest.mark.compiled
@pytest.mark.statistical
@pytest.mark.parametrize("name", SWEEP_BREAKS)
def test_joint_distribution_check_sees(name):
    family, broken, options = SWEEP_BREAKS[name]
    prior = joint_problem(family, "full")
    assert np.abs(joint_scores(prior, broken(prior), **options)).max() > 4


# One component, where the posterior has a closed form.


@pytest.mark.statistical
def test_one_component_has_the_normal_inverse_wishart_posterior(kind):
    rows = np.random.default_rng(11).multivariate_normal([1.0, 0.0], [[1.5, 0.9], [0.9, 1.2]], size=20)
    given = np.array([0.5, -1.0]), 2.0, 7.0, np.array([[3.0, 0.8], [0.8, 2.0]])
    model = bg.MixtureModel(1, kind, bg.ConjugatePrior(1.0, *given))
    result = bg.fit(rows, model, engine=bg.Gibbs(draws=5000), seed=1, progress=False)
    known = truth.NormalInverseWishart.of(kind, *given).given(rows)
    truth.hold(known.claims(result.means.values[:, :, 0], result.covariances.values[:, :, 0]))


def test_sweeps_that_hardly_move_are_foretold_by_em(rng):
    x = rng.normal(size=(3000, 2)) + np.array([[-0.7, 0], [0.7, 0]])[rng.integers(2, size=3000)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        result = bg.fit(x, 2, engine=bg.Gibbs(draws=300), seed=1, progress=False)
    said = " ".join(map(str, result.warnings))
    assert re.search(r"labels hide 9\d.* at best one draw in \d+ of Gibbs .* use engine='nuts'", said), said
    assert result.facts["missing_information"] > 0.9
