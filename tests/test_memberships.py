"""Memberships: averaged responsibilities, whatever the labels, with an exact split of their entropy."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import entr

import bayesgmm as bg
from bayesgmm.answers import memberships
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.kernels.memberships import SAMPLE, bounds
from bayesgmm.results.tree import dataset, parameters_of, with_parameters


def test_entropy_is_overlap_plus_parameter_uncertainty(nuts_result):
    found = nuts_result.memberships()
    parts = found.entropy_overlap + found.entropy_parameter
    assert np.abs(found.entropy - parts).max() < 1e-10
    assert np.abs(found.entropy - entr(found.probability).sum("component")).max() < 1e-10
    assert (found.entropy_parameter > -1e-12).all()


def test_probability_is_the_mean_of_responsibilities_over_draws(nuts_result):
    """By the textbook formula, draw by draw, never at the mean parameters and never an averaged argmax."""
    draws = memberships.thinned(parameters_of(dataset(nuts_result.tree, "posterior")))
    x = nuts_result.data.values[:7]
    total = np.zeros((7, 2))
    for at in range(len(draws.weights)):
        deviation = x[:, None] - draws.means[at]
        precision = np.linalg.inv(draws.covariances[at])
        square = np.einsum("nki,kij,nkj->nk", deviation, precision, deviation)
        joint = draws.weights[at] * np.exp(-square / 2) * np.sqrt(np.linalg.det(precision))
        total += joint / joint.sum(axis=1, keepdims=True)
    assert np.abs(total / len(draws.weights) - nuts_result.predict_proba()[:7]).max() < 1e-12


def test_labels_permuted_within_draws_are_put_back_with_every_membership(nuts_result, rng):
    tree = nuts_result.tree
    draws = parameters_of(dataset(tree, "posterior"))
    order = rng.permuted(np.broadcast_to(np.arange(2), draws.weights.shape), axis=-1)
    shuffled = replace(nuts_result, tree=with_parameters(tree, draws.permuted(order), order))
    assert not np.allclose(shuffled.weights, nuts_result.weights)
    assert shuffled.switch_rate > 0.4
    back = shuffled.relabelled()
    assert np.abs(back.predict_proba() - nuts_result.predict_proba()).max() < 1e-12
    assert np.allclose(back.means, nuts_result.means)
    for name in ("lower", "upper", "entropy_overlap", "entropy_parameter"):
        assert np.abs(back.memberships()[name] - nuts_result.memberships()[name]).max() < 1e-12


def test_raw_draws_are_given_back_as_they_were_sampled(nuts_result, rng):
    draws = parameters_of(dataset(nuts_result.tree, "posterior"))
    order = rng.permuted(np.broadcast_to(np.arange(2), draws.weights.shape), axis=-1)
    relabelled = replace(nuts_result, tree=with_parameters(nuts_result.tree, draws.permuted(order), order))
    assert np.array_equal(relabelled.relabelled("none").weights, nuts_result.relabelled("none").weights)


def test_intervals_hold_the_stated_share_of_responsibilities(nuts_result):
    found = nuts_result.memberships(ci_prob=0.5)
    wide = nuts_result.memberships(ci_prob=0.99)
    assert (found.lower <= found.upper).all()
    assert (wide.lower <= found.lower).all()
    data = nuts_result.data
    draws = parameters_of(dataset(nuts_result.tree, "posterior")).moved(data.origin, data.unit)
    r = estep.responsibilities(draws, data.rows(242, 243))[:, :, 0, 0]
    inside = (r >= float(found.lower[242, 0])) & (r <= float(found.upper[242, 0]))
    assert abs(inside.mean() - 0.5) < 0.01


def test_parameter_entropy_falls_as_one_over_n(customers):
    """Ten times the rows: a tenth of the uncertainty about parameters, the same overlap."""
    once = bg.fit(customers, 2, seed=1, progress=False).memberships()
    weight = np.full(len(customers), 10)
    tenfold = bg.fit(customers, 2, seed=1, progress=False, sample_weight=weight).memberships()
    ratio = float(once.entropy_parameter.sum() / tenfold.entropy_parameter.sum())
    assert 7 < ratio < 14
    assert np.isclose(once.entropy_overlap.sum(), tenfold.entropy_overlap.sum(), rtol=0.08)


def test_point_estimate_has_no_interval_and_knows_no_parameter_entropy(em_result):
    found = em_result.memberships()
    assert np.isnan(found.lower).all()
    assert np.isnan(found.upper).all()
    assert np.isnan(found.entropy_parameter).all()
    assert (found.entropy == found.entropy_overlap).all()
    assert found.attrs["kind"] == "point estimate"


@pytest.mark.parametrize("fixture", ["em_result", "nuts_result"])
def test_all_surfaces_agree_to_the_bit(fixture, request, faithful, tmp_path):
    result = request.getfixturevalue(fixture)
    probability = result.memberships().probability.values
    assert np.array_equal(probability, result.predict_proba())
    assert np.array_equal(probability, result.predict_proba(faithful))
    assert np.array_equal(result.predict(), probability.argmax(axis=1))
    assert np.array_equal(result.predict(faithful), result.memberships().label)
    assert np.array_equal(result.log_density(), result.log_density(faithful))
    assert np.abs(probability.sum(axis=1) - 1).max() < 1e-12
    result.save(tmp_path / "r.nc")
    loaded = bg.load(tmp_path / "r.nc")
    assert np.array_equal(loaded.predict_proba(), probability)
    assert np.array_equal(loaded.memberships().upper, result.memberships().upper, equal_nan=True)
    assert np.array_equal(loaded.log_density(faithful), result.log_density())


def test_new_rows_may_have_columns_in_any_order_and_are_judged_one_by_one(nuts_result, faithful):
    turned = faithful.assign(note="x")[["note", "waiting", "eruptions"]]
    assert np.array_equal(nuts_result.predict_proba(turned), nuts_result.predict_proba())
    assert np.array_equal(nuts_result.predict_proba(faithful.to_numpy()), nuts_result.predict_proba())
    one = nuts_result.predict_proba(faithful.iloc[[242]])
    assert np.allclose(one, nuts_result.predict_proba()[242], rtol=1e-12)
    with pytest.raises(bg.DataError, match=r"has to have the columns \['eruptions', 'waiting'\]"):
        nuts_result.predict(faithful[["waiting"]])


def test_names_of_rows_and_components_are_coordinates(customers):
    found = bg.fit(customers, 2, engine="em", seed=0).memberships()
    assert float(found.probability.sel(observation="C200").sum()) == pytest.approx(1)
    assert found.sizes == {"observation": 400, "component": 2}


def test_rows_in_batches_are_rows_at_once(nuts_result, monkeypatch):
    whole = nuts_result.memberships()
    monkeypatch.setattr(memberships, "BATCH_VALUES", 50_000)
    parts = nuts_result.memberships()
    for name in whole:
        assert np.allclose(parts[name], whole[name], rtol=1e-12, atol=1e-14), name
    assert np.allclose(nuts_result.log_density(), nuts_result.log_density(nuts_result.data), rtol=1e-12)


def test_density_is_averaged_over_draws_and_integrates_to_one(nuts_result):
    """The density at the mean parameters does not, in general (scikit-learn's variational mixture: .93)."""
    grid = np.stack(np.meshgrid(np.linspace(-2, 9, 300), np.linspace(0, 140, 300), indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(nuts_result.log_density(pd.DataFrame(grid, columns=["eruptions", "waiting"]))).sum()
    assert mass * (11 / 299) * (140 / 299) == pytest.approx(1, abs=1e-3)
    draws = memberships.thinned(parameters_of(dataset(nuts_result.tree, "posterior")))
    each = estep.log_densities(draws, bg.Observations.of(grid[:5]))
    assert np.allclose(nuts_result.log_density(grid[:5]), np.log(np.exp(each).mean(axis=0)), rtol=1e-9)


def test_truth_about_this_customer_lies_in_the_interval(customers):
    """C200 was placed where the true membership in premium is .606."""
    result = bg.fit(customers, 2, seed=1, progress=False)
    this = result.memberships(customers.loc[["C200"]]).sel(component=1)
    assert float(this.lower[0]) < 0.606 < float(this.upper[0])


@pytest.mark.parametrize("g", [2, 3, 7, 50, 255, 256, 1000, 4001])
@pytest.mark.parametrize("tail", [0.05, 0.005, 0.25, 0.4])
def test_bounds_are_numpys_quantiles(g, tail, rng):
    """Whether the sample that sets where to look is a good one, a bad one, or there is none."""
    smooth, skewed = rng.uniform(size=g), rng.uniform(size=g) ** 9
    periodic = np.tile(np.linspace(0, 1, 16), -(-g // 16))[:g] ** 3
    for values in (smooth, skewed, smooth.round(1), periodic, np.sort(smooth), -np.sort(-smooth), np.full(g, 0.3)):
        found = bounds(values.copy(), tail, np.empty(SAMPLE), np.empty(g), np.empty(g))
        assert np.allclose(found, np.quantile(values, [tail, 1 - tail]), rtol=1e-14, atol=1e-300)
