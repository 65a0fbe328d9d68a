"""Draws that were made elsewhere become a result like any other."""

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.reports import report

READ = ("weights", "means", "covariances")


@pytest.fixture(scope="module")
def made(faithful):
    return bg.fit(faithful, 2, engine=bg.Gibbs(draws=500, tune=50), seed=1, progress=False)


@pytest.fixture(scope="module")
def arrays(made):
    return {name: made.tree["posterior"][name].values for name in READ}


def test_result_is_that_of_the_sampler(made, faithful):
    result = bg.MixtureResult.from_draws(made.tree, faithful, 2)
    assert np.allclose(result.memberships().lower, made.memberships().lower, atol=1e-12)
    for name in ("lp", "log_likelihood_total"):
        assert np.allclose(result.tree["sample_stats"][name], made.tree["sample_stats"][name], rtol=1e-10)
    assert np.allclose(result.diagnostics()["r_hat"], made.diagnostics()["r_hat"], atol=0.02, equal_nan=True)
    assert np.allclose(result.modes()["log_posterior"][0], made.modes()["log_posterior"][0])
    assert result.kind == "posterior"


def test_labels_that_switched_are_brought_back(made, arrays, faithful):
    order = np.random.default_rng(0).permuted(np.tile([0, 1], (*made.weights.shape[:2], 1)), axis=-1)
    mixed = {n: np.take_along_axis(a, order.reshape(*order.shape, *[1] * (a.ndim - 3)), 2) for n, a in arrays.items()}
    with pytest.warns(bg.LabelSwitchingWarning, match="labels switched"):
        result = bg.MixtureResult.from_draws(mixed, faithful, 2)
    assert np.allclose(result.predict_proba(), made.predict_proba(), atol=1e-9)
    sampled = result.relabelled("none")
    assert np.allclose(sampled.tree["posterior"]["weights"], mixed["weights"], rtol=1e-12)


def test_arrays_of_one_chain_have_other_names(arrays, made, faithful):
    flat = {name: a.reshape(-1, *a.shape[2:]) for name, a in arrays.items()}
    flat["theta"] = flat.pop("weights")
    result = bg.MixtureResult.from_draws(flat, faithful, 2, names={"weights": "theta"})
    assert np.allclose(result.predict_proba(), made.predict_proba(), atol=1e-9)
    assert result.weights.sizes["chain"] == 1


def test_features_are_found_by_name(made, faithful):
    posterior = made.tree["posterior"].to_dataset()
    turned = posterior.isel(feature=[1, 0], feature_bis=[1, 0]).transpose(..., "draw", "chain")
    result = bg.MixtureResult.from_draws(turned, faithful, 2)
    assert np.allclose(result.predict_proba(), made.predict_proba(), atol=1e-9)
    with pytest.raises(bg.DataError, match="draws have feature"):
        bg.MixtureResult.from_draws(posterior.assign_coords(feature=["a", "b"]), faithful, 2)


def test_divergences_are_kept(arrays, made, faithful):
    shape = arrays["weights"].shape[:2]
    stats = {"diverging": np.arange(np.prod(shape)).reshape(shape) < 3, "other": np.zeros(shape)}
    with pytest.warns(bg.ConvergenceWarning, match="3 divergent transitions"):
        result = bg.MixtureResult.from_draws({"posterior": arrays, "sample_stats": stats}, faithful, 2)
    assert result.divergences == 3


def test_result_is_saved_and_reported(made, faithful, tmp_path):
    result = bg.MixtureResult.from_draws(made.tree, faithful, 2)
    result.save(tmp_path / "own.nc")
    loaded = bg.load(tmp_path / "own.nc")
    assert np.array_equal(loaded.predict_proba(), result.predict_proba())
    page = report(loaded, tmp_path / "own.html").read_text()
    assert "from_draws(draws, data, 2)" in page
    assert "by a program of our own, 4 chains of 500 draws." in page
    assert " s\n" not in repr(loaded).partition("Diagnostics")[0]


def changed(arrays, **others):
    return {**arrays, **{name: change(arrays[name]) for name, change in others.items()}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: {}, r"have no 'weights', but \[\]"),
        (lambda a: changed(a, means=lambda m: m[:, :, :1]), "means have shape"),
        (lambda a: changed(a, means=lambda m: m[:, 0, 0, 0]), "has to have 2 axes"),
        (lambda a: changed(a, means=lambda m: m * np.nan), "not finite"),
        (lambda a: changed(a, weights=lambda w: 2 * w), "no shares of one"),
        (lambda a: changed(a, weights=lambda w: w - 1), "no shares of one"),
        (lambda a: changed(a, covariances=lambda c: -c), "not positive definite"),
        (lambda a: changed(a, covariances=lambda c: c + np.triu(np.ones((2, 2)), 1)), "not symmetrical"),
    ],
)
def test_draws_of_no_mixture_are_refused(change, said, arrays, faithful):
    with pytest.raises(bg.ModelError, match=said):
        bg.MixtureResult.from_draws(change(arrays), faithful, 2)


def test_draws_of_another_model_are_refused(arrays, faithful, galaxies):
    with pytest.raises(bg.ModelError, match="not diag, as the model says"):
        bg.MixtureResult.from_draws(arrays, faithful, bg.MixtureModel(2, "diag"))
    with pytest.raises(bg.ModelError, match="flat"):
        bg.MixtureResult.from_draws(arrays, faithful, bg.MixtureModel(2, prior="flat"))
    with pytest.raises(bg.ModelError, match=r"means have shape .* expected"):
        bg.MixtureResult.from_draws(arrays, galaxies, 2)
