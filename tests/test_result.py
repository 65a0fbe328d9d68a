"""The common result: ArviZ reads it, files keep it, tables and text say what it is."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import multivariate_normal

import bayesgmm as bg
from bayesgmm.results import result as result_module


def test_both_paths_have_one_shape(em_result, nuts_result):
    for result in (em_result, nuts_result):
        assert result.weights.dims == ("chain", "draw", "component")
        assert result.means.dims == ("chain", "draw", "component", "feature")
        assert result.covariances.dims == ("chain", "draw", "component", "feature", "feature_bis")
        assert {"posterior", "sample_stats", "observed_data", "constant_data"} <= set(result.tree.children)
        assert list(result.means["feature"].values) == ["eruptions", "waiting"]
    assert em_result.is_point
    assert not nuts_result.is_point


def test_arviz_reads_the_tree(nuts_result):
    import arviz as az

    summary = az.summary(nuts_result.tree, var_names=["weights", "means"], round_to="none")
    assert (summary["r_hat"].astype(float) < 1.02).all()
    assert np.isclose(az.loo(nuts_result.tree).elpd, -1141.4, atol=1.5)
    assert {"diverging", "energy", "tree_depth", "lp", "acceptance_rate"} <= set(nuts_result.tree["sample_stats"])


def test_attributes_say_what_was_run(nuts_result):
    attrs = nuts_result.tree.attrs
    assert json.loads(attrs["engine"])["draws"] == 1000
    assert json.loads(attrs["model"])["prior"] == "HierarchicalPrior"
    assert json.loads(attrs["versions"])["bayesgmm"] == bg.__version__
    assert attrs["seed"] == "1"
    assert float(attrs["seconds"]) > 0
    assert len(attrs["data_sha256"]) == 64


def test_stored_log_posterior_is_that_of_the_stored_draws(nuts_result, faithful):
    prior = bg.MixtureModel(2).prior_for(bg.Observations.of(faithful))
    draw = bg.MixtureParameters(
        *(nuts_result.tree["posterior"][n].values[1, 7] for n in ("weights", "means", "covariances"))
    )
    parts = zip(*draw.arrays, strict=True)
    density = sum(w * multivariate_normal(m, c).pdf(faithful) for w, m, c in parts)
    stats = nuts_result.tree["sample_stats"]
    assert np.isclose(stats["log_likelihood_total"][1, 7], np.log(density).sum(), rtol=1e-10)
    assert np.isclose(stats["lp"][1, 7], np.log(density).sum() + prior.log_density(draw), rtol=1e-10)
    assert np.allclose(nuts_result.tree["log_likelihood"]["observations"][1, 7], np.log(density))


def test_pointwise_log_likelihood_is_left_out_where_large_and_given_on_request(faithful, monkeypatch):
    import arviz as az

    monkeypatch.setattr(result_module, "POINTWISE_VALUES", 10)
    result = bg.fit(faithful, 2, engine=bg.NUTS(), seed=1, progress=False)
    assert "log_likelihood" not in result.tree.children
    assert np.isfinite(az.loo(result.with_log_likelihood().tree).elpd)


@pytest.mark.parametrize("prior", ["default", "flat", "conjugate", "semiconjugate"])
def test_saved_and_loaded_results_are_the_same(faithful, tmp_path, prior):
    import arviz as az

    chosen = {
        "default": None,
        "flat": "flat",
        "conjugate": bg.ConjugatePrior(1, [3, 70], 0.1, 5, [1, 100]),
        "semiconjugate": bg.SemiConjugatePrior(1, [3, 70], [4, 400], 5, [1, 100]),
    }[prior]
    result = bg.fit(faithful, bg.MixtureModel(2, "diag", chosen), engine=bg.EM(trace="parameters"), seed=4)
    result.save(tmp_path / "a.nc")
    loaded = bg.load(tmp_path / "a.nc")
    assert (loaded.model.prior is None) == (prior == "default")
    assert loaded.engine == result.engine
    assert (loaded.model.n_components, loaded.model.covariance_type) == (2, "diag")
    xr.testing.assert_identical(loaded.tree["posterior"].to_dataset(), result.tree["posterior"].to_dataset())
    xr.testing.assert_identical(loaded.tree["trace"].to_dataset(), result.tree["trace"].to_dataset())
    assert loaded.criteria().equals(result.criteria())
    again = bg.fit(faithful, loaded.model, engine="em", start=loaded)
    assert np.allclose(again.means, result.means)
    assert az.from_netcdf(tmp_path / "a.nc").children.keys() == result.tree.children.keys()


def test_a_fit_from_when_another_prior_was_the_default_loads_with_that_prior(faithful):
    loaded = bg.load(Path(__file__).parent / "conjugate_default.nc")
    assert isinstance(loaded.model.prior, bg.ConjugatePrior)
    model = bg.MixtureModel(2, prior=bg.ConjugatePrior.from_data(faithful, 2))
    again = bg.fit(faithful, model, engine="em", start=loaded)
    assert np.allclose(again.means, loaded.means, rtol=1e-6)
    assert np.allclose(again.tree["optima"]["log_posterior"][0], loaded.tree["optima"]["log_posterior"][0])


def test_separation_prior_survives_a_file(faithful, tmp_path):
    model = bg.MixtureModel(2, prior=bg.SeparationPrior.from_data(faithful, 2, lkj=3.0))
    result = bg.fit(faithful, model, seed=4, progress=False)
    result.save(tmp_path / "s.nc")
    assert bg.load(tmp_path / "s.nc").model.prior.lkj == 3.0


def test_summary_names_every_parameter(em_result, nuts_result):
    table = nuts_result.summary(ci_prob=0.5)
    assert table.index[0] == "weight[0]"
    assert "corr[1, eruptions, waiting]" in table.index
    assert ((table["lower"] < table["mean"]) & (table["mean"] < table["upper"])).all()
    assert (nuts_result.summary()["lower"] < table["lower"]).all()
    point = em_result.summary()
    assert list(point.index) == list(table.index)
    assert point["sd"].isna().all()


def test_diagnostics_of_the_usual_fit_are_good(nuts_result):
    table = nuts_result.diagnostics()
    invariant = table.loc[table["r_hat"].notna()]
    assert len(invariant) > 10
    assert (invariant["r_hat"] < 1.01).all()
    assert (invariant["ess_bulk"] > 400).all()
    assert table.loc["divergences", "mean"] == 0


def test_icl_adds_the_uncertainty_of_labels_to_bic(em_result):
    criteria = em_result.criteria()
    certain = np.log(em_result.predict_proba().max(axis=1)).sum()
    assert np.isclose(criteria["icl"], criteria["bic"] - 2 * certain)
    assert criteria["parameters"] == 11


def test_criteria_of_a_sample_are_refused_with_advice(nuts_result):
    with pytest.raises(bg.ModelError, match=r"az.loo\(result.tree\)"):
        nuts_result.criteria()


def test_predictive_rows_look_like_the_data(nuts_result, em_result, faithful):
    for result in (nuts_result, em_result):
        rows = result.sample(4000, seed=3)
        assert rows.equals(result.sample(4000, seed=3))
        assert np.allclose(rows.mean(), faithful.mean(), rtol=0.03)
        assert np.allclose(rows.cov(), faithful.cov(), rtol=0.1)


@pytest.mark.parametrize("fixture", ["em_result", "nuts_result"])
def test_print_fits_eighty_columns(fixture, request):
    text = repr(request.getfixturevalue(fixture))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "2 full Gaussian components" in text


def test_html_escapes_names():
    x = np.random.default_rng(0).normal(size=(50, 1))
    import pandas as pd

    result = bg.fit(pd.DataFrame(x, columns=["<script>alert(1)</script>"]), 1, engine="em")
    assert "<script>" not in result._repr_html_()
    assert "&lt;script&gt;" in result._repr_html_()


def test_a_model_is_a_line_in_a_notebook_and_the_numbers_of_its_prior():
    assert "3 tied Gaussian components, default prior" in bg.MixtureModel(3, "tied")._repr_html_()
    assert "flat prior" in bg.MixtureModel(2, prior="flat")._repr_html_()
    given = bg.MixtureModel(2, prior=bg.ConjugatePrior(2.5, 0.0, 0.1, 4.0, 1.0))._repr_html_()
    assert "concentration=2.5" in given


def test_simulated_rows_come_from_the_mixture():
    parameters = bg.MixtureParameters(np.array([0.2, 0.8]), np.array([[0.0], [10.0]]), np.array([[[1.0]], [[4.0]]]))
    observations, labels = bg.simulate(parameters, 20_000, seed=1)
    values = observations.values[:, 0]
    assert abs(labels.mean() - 0.8) < 5 * np.sqrt(0.16 / 20_000)
    assert abs(values[labels == 1].mean() - 10) < 5 * 2 / np.sqrt(16_000)
    assert abs(values[labels == 1].var() - 4) < 5 * 4 * np.sqrt(2 / 16_000)
    with pytest.raises(bg.ModelError, match="`parameters` has to be MixtureParameters, got str"):
        bg.simulate("mixture", 3)


def test_parameters_are_indexed_and_permuted_over_their_grid(nuts_result, rng):
    draws = bg.MixtureParameters(
        *(nuts_result.tree["posterior"][n].values for n in ("weights", "means", "covariances"))
    )
    assert draws[0, 1:3].grid == (2,)
    order = rng.permuted(np.tile([0, 1], (4, 1000, 1)), axis=-1)
    back = draws.permuted(order).permuted(np.argsort(order, axis=-1))
    assert np.array_equal(back.covariances, draws.covariances)
    with pytest.raises(IndexError, match="not a grid"):
        draws[0, 0][0]
