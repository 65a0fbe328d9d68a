"""EM against MCMC: what is put side by side belongs side by side."""

import numpy as np
import pytest

import bayesgmm as bg


@pytest.fixture(scope="module")
def comparison(em_result, nuts_result):
    return bg.compare(em_result, nuts_result)


def test_tables_cover_parameters_memberships_and_cost(comparison, em_result, nuts_result):
    assert list(comparison.parameters.columns) == ["point", "mean", "lower", "upper", "inside"]
    assert (comparison.parameters["inside"] == "yes").all()
    assert len(comparison.memberships) == 272
    assert comparison.memberships["difference"].abs().is_monotonic_decreasing
    row = comparison.memberships.loc[242]
    assert row["point"] == em_result.predict_proba()[242].max()
    assert row["posterior"] == nuts_result.predict_proba()[242, int(row["point_label"])]
    assert comparison.cost.loc["posterior", "effective_per_second"] > 0


def test_summary_counts_what_the_table_shows(comparison):
    table, summary = comparison.memberships, comparison.summary
    assert summary["labels_differ"] == (table["point_label"] != table["posterior_label"]).sum()
    lost = (table["point"] > 0.99) & (table["posterior"] <= 0.99)
    assert summary["sure_by_point_only"] == lost.sum()
    assert summary["log_density_per_row_posterior"] < summary["log_density_per_row_point"] + 0.1


def test_labels_of_the_point_are_matched_to_the_posterior(faithful, em_result, nuts_result, comparison):
    turned = bg.fit(faithful, 2, engine="em", start=em_result.parameters.permuted([1, 0]))
    found = bg.compare(turned, nuts_result)
    assert np.allclose(found.parameters["point"], comparison.parameters["point"], rtol=1e-6)
    assert found.summary["labels_differ"] == 0


@pytest.mark.parametrize("uncertainty", ["laplace", "bootstrap"])
def test_approximations_stand_beside_a_point_too(faithful, em_result, uncertainty):
    """There are no effective draws to be looked up: it was a KeyError."""
    approximate = bg.fit(faithful, 2, engine=bg.EM(uncertainty=uncertainty, draws=50), seed=1)
    found = bg.compare(em_result, approximate)
    assert found.cost.loc["posterior", "effective_draws"] == 50
    assert found.summary["labels_differ"] <= 2
    assert max(len(line) for line in repr(found).splitlines()) <= 80


def test_draws_made_elsewhere_have_no_speed(faithful, em_result, nuts_result):
    found = bg.compare(em_result, bg.MixtureResult.from_draws(nuts_result.tree, faithful, 2))
    assert np.isnan(found.cost.loc["posterior", ["seconds", "effective_per_second"]].astype(float)).all()


def test_it_prints_in_eighty_columns_and_as_html(comparison):
    assert max(len(line) for line in repr(comparison).splitlines()) <= 80
    assert "Memberships that differ most" in repr(comparison)
    assert comparison._repr_html_().count("<table") == 4


@pytest.mark.filterwarnings("ignore:.*nearly as high:bayesgmm.ConvergenceWarning")
def test_wrong_pairs_are_refused(em_result, nuts_result, galaxies):
    with pytest.raises(bg.ModelError, match="`point` has to be the result of a point estimate"):
        bg.compare(nuts_result, nuts_result)
    with pytest.raises(bg.ModelError, match="`posterior` has to be a result with draws"):
        bg.compare(em_result, em_result)
    with pytest.raises(bg.ModelError, match="3 components and `posterior` 2"):
        bg.compare(bg.fit(galaxies, 3, engine="em"), nuts_result)
    with pytest.raises(bg.ModelError, match="different data"):
        bg.compare(bg.fit(galaxies, 2, engine="em"), nuts_result)
