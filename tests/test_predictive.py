"""Rows left out, and replicated data, held against ArviZ, SciPy and data that do not fit."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesgmm as bg
import bayesgmm.data as data_module
from bayesgmm.answers.diagnostics import LARGEST_K_HAT
from bayesgmm.data import rows_of, sums

QUICK = bg.Gibbs(draws=1000, tune=300, chains=2)


def sampled(data, k=2, **given):
    return bg.fit(data, k, engine=QUICK, seed=1, progress=False, **given)


@pytest.fixture(scope="module")
def fitted():
    return sampled(bg.datasets.load_faithful())


@pytest.fixture
def small(monkeypatch):
    """Chunks of 64 rows, and no source so small that it is read into memory."""
    monkeypatch.setattr(sums, "CHUNK_ROWS", 64)
    monkeypatch.setattr(sums, "MOST_CHUNKS", 1)
    monkeypatch.setattr(data_module, "VALUES_IN_MEMORY", 0)


def test_loo_is_that_of_arviz(fitted):
    import arviz as az

    ours, theirs = fitted.loo(), az.loo(fitted.relabelled().tree, pointwise=True)
    for name in ("elpd", "se", "p"):
        assert np.isclose(ours[name], theirs[name], rtol=1e-12, atol=0), name
    assert np.allclose(ours.elpd_i, theirs.elpd_i, rtol=1e-12, atol=0)
    assert np.allclose(ours.pareto_k, theirs.pareto_k, rtol=1e-9, atol=1e-12)
    assert (ours.n_samples, ours.n_data_points, ours.good_k, ours.warning) == (2000, 272, theirs.good_k, False)
    assert str(ours) == str(theirs)


def test_loo_of_weighted_rows_is_that_of_arviz(rng):
    import arviz as az

    x = rng.normal(size=(60, 1)) + np.where(np.arange(60) < 30, -3, 3)[:, None]
    result = sampled(x, sample_weight=rng.integers(1, 4, 60))
    assert np.isclose(result.loo().elpd, az.loo(result.relabelled().tree).elpd, rtol=1e-12)


def test_loo_of_a_source_is_that_of_the_rows_in_memory(fitted, small, tmp_path):
    path = tmp_path / "faithful.parquet"
    bg.datasets.load_faithful().to_parquet(path)
    stored = fitted.loo(rows_of(path))
    assert stored.elpd_i is None
    for name in ("elpd", "se", "p"):
        assert np.isclose(stored[name], fitted.loo()[name], rtol=1e-11, atol=0), name


def test_loo_names_rows_that_importance_sampling_cannot_leave_out(rng):
    """One row far from all others decides where its component is."""
    x = np.append(rng.normal(size=40), 60.0)
    result = bg.fit(x, 1, engine=QUICK, seed=1, progress=False)
    with pytest.warns(bg.ConvergenceWarning, match="k-hat is above 0.70 for 1 of 41 rows"):
        found = result.loo()
    assert found.warning
    assert found.pareto_k.values.argmax() == 40
    assert found.pareto_k.values[40] > LARGEST_K_HAT


def test_loo_refuses_what_it_cannot_answer(fitted, faithful):
    with pytest.raises(bg.DataError, match="has to be the 272 rows that were fitted, got 10"):
        fitted.loo(faithful[:10])
    with pytest.raises(bg.ModelError, match="leaving rows out needs draws"):
        bg.fit(faithful, 2, engine="em", seed=1).loo()


def test_comparison_of_arviz_takes_what_loo_returns(faithful, fitted):
    import arviz as az

    found = az.compare({"two": fitted.loo(), "one": sampled(faithful, 1).loo()})
    assert found.index[0] == "two"


def test_observed_statistics_are_those_of_scipy(fitted, faithful):
    found = fitted.predictive_check(draws=20, seed=1)["observed"]
    for name, x in faithful.items():
        truth = {"mean": x.mean(), "sd": x.std(ddof=0), "min": x.min(), "max": x.max()}
        truth |= {"skewness": stats.skew(x), "kurtosis": stats.kurtosis(x)}
        for statistic, value in truth.items():
            assert np.isclose(found[f"{statistic}[{name}]"], value, rtol=1e-10), statistic
    assert np.isclose(found["correlation[eruptions, waiting]"], np.corrcoef(faithful.T)[0, 1], rtol=1e-12)


def test_weights_count_rows_in_a_check(rng):
    x, weight = rng.normal(size=(50, 2)), rng.integers(1, 4, 50)
    weighted = sampled(x, 1, sample_weight=weight).predictive_check(draws=10, seed=1)
    repeated = sampled(np.repeat(x, weight, axis=0), 1).predictive_check(draws=10, seed=1)
    assert np.allclose(weighted["observed"], repeated["observed"], rtol=1e-10)


def test_replicates_of_a_source_are_those_of_the_rows_in_memory(fitted, small, tmp_path):
    path = tmp_path / "faithful.parquet"
    bg.datasets.load_faithful().to_parquet(path)
    stored = fitted.predictive_check(rows_of(path), draws=10, seed=3)
    pd.testing.assert_frame_equal(stored, fitted.predictive_check(draws=10, seed=3), check_exact=True)


@pytest.mark.parametrize("threads_from", [0, 10**12])
def test_threads_do_not_change_replicates(fitted, monkeypatch, threads_from):
    plain = fitted.predictive_check(draws=10, seed=3)
    monkeypatch.setattr("bayesgmm.kernels.threads.SERIAL_WORK", threads_from)
    pd.testing.assert_frame_equal(fitted.predictive_check(draws=10, seed=3), plain, check_exact=True)


@pytest.mark.statistical
def test_replicates_of_one_draw_have_its_moments():
    """400 replicates of a known mixture: means within five standard errors of the truth."""
    mixture = bg.MixtureParameters(
        np.array([0.3, 0.7]), np.array([[-2.0, 0.0], [1.0, 1.0]]), np.array([np.eye(2), [[2.0, 0.6], [0.6, 0.5]]])
    )
    data, _ = bg.simulate(mixture, 500, seed=1)
    em = bg.fit(data, bg.MixtureModel(2, prior="flat"), engine="em", seed=1)
    found = em.predictive_check(draws=400, seed=2)
    p = em.parameters
    mean = p.weights @ p.means
    second = np.einsum("k,kij->ij", p.weights, p.covariances + np.einsum("ki,kj->kij", p.means, p.means))
    covariance = second - np.outer(mean, mean)
    sd = np.sqrt(np.diag(covariance))
    rows = {"mean": mean, "sd": sd}
    for statistic, truth in rows.items():
        for j in range(2):
            row = found.loc[f"{statistic}[x{j}]"]
            error = (row["upper"] - row["lower"]) / 3.29 / 20
            # The sd of 500 rows is 1/2000 too small on average.
            assert abs(row["replicated"] - truth[j]) < 5 * error + truth[j] / 1500 * (statistic == "sd")


def test_heavy_tails_are_seen_by_a_check(rng):
    x = stats.t(3).rvs(size=2000, random_state=rng)
    found = bg.fit(x, 1, engine=QUICK, seed=1, progress=False).predictive_check(seed=1)
    assert found.loc["kurtosis[x0]", "p_value"] == 0.0
    assert 0.05 < found.loc["mean[x0]", "p_value"] < 0.95
