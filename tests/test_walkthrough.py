"""Every path once, on a dozen rows: small enough to run uncompiled, where coverage sees the loops."""

import warnings
from dataclasses import replace

import numba
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bayesgmm as bg
from bayesgmm.data import sums
from bayesgmm.model.parameters import COVARIANCE_TYPES
from bayesgmm.shell.commands import app

rng = np.random.default_rng(0)
TABLE = pd.DataFrame(
    rng.normal(size=(14, 2)) + 4 * (np.arange(14) % 2)[:, None],
    columns=["a", "b"],
    index=pd.Index([f"row {i}" for i in range(14)], name="row"),
)
TINY = bg.NUTS(draws=8, tune=20, chains=2)
LABELS = np.arange(14) % 2


@pytest.fixture(autouse=True)
def few_draws_are_no_surprise():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.BayesGMMWarning)
        yield


def none(kind):
    return None


def semiconjugate(kind):
    return bg.SemiConjugatePrior(1.5, 2.0, [4.0, 5.0], 5, 1.0)


def separation(kind):
    return bg.SeparationPrior.from_data(TABLE, 2, kind)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("prior", [none, semiconjugate, separation], ids=["default", "semi", "separation"])
def test_every_prior_and_covariance_type_is_sampled(kind, prior, tmp_path):
    result = bg.fit(TABLE, bg.MixtureModel(2, kind, prior(kind)), engine=TINY, start=None, seed=1, progress=False)
    assert np.isfinite(result.tree["sample_stats"]["lp"]).all()
    assert np.isfinite(result.memberships(TABLE.iloc[:3]).probability).all()
    result.save(tmp_path / "r.nc")
    assert np.array_equal(bg.load(tmp_path / "r.nc").predict(), result.predict())


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("prior", [none, semiconjugate], ids=["default", "semi"])
def test_every_prior_and_covariance_type_is_swept(kind, prior, monkeypatch):
    engine = bg.Gibbs(draws=6, tune=2, chains=2, thin=2, permutation="random", label_every=3)
    model = bg.MixtureModel(2, kind, prior(kind))
    whole = bg.fit(TABLE, model, engine=engine, seed=1, progress=True)
    weighted = bg.fit(TABLE, model, engine=replace(engine, label_every=0), sample_weight=30 - np.arange(14), seed=1)
    monkeypatch.setattr(sums, "CHUNK_ROWS", 5)
    parts = bg.fit(TABLE, model, engine=engine, seed=1, progress=False)
    for result in (whole, weighted, parts):
        assert np.isfinite(result.tree["sample_stats"]["lp"]).all()
    assert (whole.tree["allocation"]["labels"].values == parts.tree["allocation"]["labels"].values).mean() > 0.9
    assert len(whole.label_switching()) == 4
    assert len(whole.modes()) > 0


@pytest.mark.parametrize("word", ["laplace", "bootstrap"])
def test_every_approximation_is_drawn(word):
    result = bg.fit(TABLE, 2, engine=bg.EM(n_init=2, uncertainty=word, draws=20), seed=1)
    assert (result.memberships().upper >= result.memberships().lower).all()
    assert word[:5].lower() in result.kind.lower().replace("weighted-likelihood ", "")


def test_calibration_of_every_engine_is_counted():
    model = bg.MixtureModel(2, prior=bg.ConjugatePrior(2, 0, 0.2, 5, 3))
    engines = {"ml": "em-ml", "mode": bg.EM(n_init=1), "gibbs": bg.Gibbs(draws=8, tune=4, chains=1), "nuts": TINY}
    found = bg.calibrate(model, 10, engines=engines, replicates=2, seed=1, workers=1)
    assert list(found.memberships.index) == list(engines)
    assert list(found.coverage.index) == ["gibbs", "nuts"]


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("prior", ["flat", None, semiconjugate])
def test_every_prior_and_covariance_type_is_climbed(kind, prior):
    chosen = prior(kind) if callable(prior) else prior
    engine = bg.EM(n_init=2, max_iter=40, trace="parameters")
    result = bg.fit(TABLE, bg.MixtureModel(2, kind, chosen), engine=engine, start=LABELS)
    path = result.tree["trace"]["log_posterior"].values
    assert (np.diff(path) > -1e-9 * np.abs(path[1:])).all()
    assert np.isfinite(result.criteria()).all()


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_own_starts_of_both_kinds(init):
    result = bg.fit(TABLE, 2, engine=bg.EM(n_init=1, init=init, max_iter=5), seed=1)
    assert result.data.features == ("a", "b")


def test_weights_of_zero_count_for_nothing():
    weight = np.r_[np.ones(12), 0, 0]
    whole = bg.fit(TABLE, 2, engine="em", start=LABELS, sample_weight=weight)
    part = bg.fit(TABLE.iloc[:12], 2, engine="em", start=LABELS[:12])
    assert np.allclose(whole.means, part.means)
    assert whole.predict_proba().shape == (14, 2)


def test_point_and_posterior_are_compared_and_printed():
    em = bg.fit(TABLE, 2, engine="em", start=LABELS)
    nuts = bg.fit(TABLE, 2, engine=TINY, start=em, seed=1, progress=False)
    comparison = bg.compare(em, nuts)
    assert "Memberships that differ most" in repr(comparison)
    assert "<table" in comparison._repr_html_()
    assert "<table" in nuts._repr_html_()
    assert "components" in repr(em)
    assert nuts.relabelled("none").weights.shape == nuts.weights.shape
    assert len(nuts.sample(3, seed=1)) == 3
    assert nuts.with_log_likelihood().tree["log_likelihood"]["observations"].shape == (2, 8, 14)
    assert nuts.log_density().shape == (14,)


def test_the_command_line_from_end_to_end(tmp_path):
    TABLE.assign(often=1.0).to_csv(tmp_path / "t.csv")
    both = ["--output", str(tmp_path / "r.nc"), "--memberships", str(tmp_path / "m.csv")]
    small = ["-k", "2", "--seed", "1", "--draws", "8", "--chains", "2", "--weights", "often"]
    assert CliRunner().invoke(app, ["compare", str(tmp_path / "t.csv"), *small, *both]).exit_code == 0
    assert CliRunner().invoke(app, ["fit", str(tmp_path / "t.csv"), *small, *both, "--force"]).exit_code == 0
    printed = CliRunner().invoke(app, ["predict", str(tmp_path / "r.nc"), str(tmp_path / "t.csv")])
    assert printed.exit_code == 0, printed.output
    assert printed.output.startswith("observation,label")


@pytest.mark.parametrize("form", ["compact", "transparent"])
def test_the_sampler_of_pymc(form):
    if form == "transparent" and not numba.config.DISABLE_JIT:
        pytest.skip("costs half a minute of compilation; the slow tests do it with draws enough to judge")
    engine = bg.NUTS(draws=4, tune=20, chains=1, sampler="pymc", form=form)
    result = bg.fit(TABLE, 2, engine=engine, start=LABELS, seed=1, progress=False)
    assert result.weights.shape == (1, 4, 2)
    assert {"diverging", "energy", "acceptance_rate"} <= set(result.tree["sample_stats"])


def test_priors_of_every_kind_are_drawn_from_and_updated():
    data = bg.Observations.of(TABLE)
    for kind in COVARIANCE_TYPES:
        for prior in (bg.ConjugatePrior.from_data(TABLE, 2, kind), semiconjugate(kind).bound(2, 2, kind)):
            drawn = prior.sample(np.random.default_rng(1))
            stats = bg.e_step(drawn, data, kind).stats
            again = prior.updated(stats).sample(np.random.default_rng(2))
            assert np.isfinite(prior.log_density(again))
            assert np.allclose(again.weights.sum(), 1)


def test_simulated_rows_and_five_features():
    k, d = 2, 7
    truth = bg.MixtureParameters(
        np.full(k, 0.5), np.array([np.zeros(d), np.full(d, 5.0)]), np.tile(np.eye(d), (k, 1, 1))
    )
    observations, labels = bg.simulate(truth, 40, seed=1)
    result = bg.fit(observations, k, engine="em", start=labels)
    assert (result.predict() == labels).all()
