"""The scikit-learn door: the same iterations, its own tests, and one set of numbers on every surface."""

import os
import pickle
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.exceptions
from sklearn import mixture
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import bayesgmm as bg
from bayesgmm.sklearn import BayesianGaussianMixture, GaussianMixture

FITTED = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
#: It asks that a private function of scikit-learn's be called once an iteration.
PRIVATE = "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters"
#: Labels of a row of weight 3 are three draws: the same posterior as that of the row three times, other draws of it.
OTHER_DRAWS = {"check_sample_weight_equivalence_on_dense_data": "equal in distribution, not in draws"}
#: Tests of what a sample does not have, or has otherwise, in scikit-learn's tests of its variational mixture.
VARIATIONAL = {
    "test_log_dirichlet_norm": "a private function",
    "test_log_wishart_norm": "a private function",
    "prior_initialisation": "the default prior is scaled by the data",
    "test_bayesian_mixture_weights": "parameters of the variational Dirichlet, and the Dirichlet process",
    "test_monotonic_likelihood": "a lower bound by iteration",
    "test_compare_covar_type": "private parameters of the variational Wishart",
    "test_invariant_translation": "moved data differ in their last bits, and so in their draws; not in distribution",
}
SMALL = {"draws": 100, "tune": 60, "chains": 2}


@pytest.fixture(scope="module")
def iris():
    return bg.datasets.load_iris().select_dtypes("number").to_numpy()


@pytest.fixture(scope="module")
def sampled():
    return BayesianGaussianMixture(2, random_state=0).fit(bg.datasets.load_faithful())


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
def test_every_iteration_is_that_of_scikit_learn(iris, kind, init):
    settings = {"n_components": 3, "covariance_type": kind, "init_params": init, "random_state": 3}
    theirs, ours = mixture.GaussianMixture(**settings).fit(iris), GaussianMixture(**settings).fit(iris)
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    assert np.allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-9)
    for name in FITTED:
        assert getattr(ours, name).shape == getattr(theirs, name).shape
        assert np.allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-9), name
    assert np.allclose(ours.predict_proba(iris), theirs.predict_proba(iris), atol=1e-8)
    assert np.allclose(ours.score_samples(iris), theirs.score_samples(iris), atol=1e-8)
    for criterion in ("bic", "aic"):
        assert np.isclose(getattr(ours, criterion)(iris), getattr(theirs, criterion)(iris), rtol=1e-10)


def test_what_ours_is_held_against_is_scikit_learns():
    """To collect `sklearn_door` would put ours in its place, and whatever is compared would be equal."""
    assert mixture.GaussianMixture.__module__.startswith("sklearn.")


@pytest.mark.parametrize("estimator", [GaussianMixture(), BayesianGaussianMixture(**SMALL)])
def test_scikit_learns_checks_of_estimators_pass(estimator):
    expected = OTHER_DRAWS if isinstance(estimator, BayesianGaussianMixture) else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(estimator, on_fail=None, expected_failed_checks=expected)
    failed = {check["check_name"]: check["exception"] for check in found if check["status"] == "failed"}
    assert failed == {}
    assert sum(check["status"] == "passed" for check in found) >= 41


def own_tests(tmp_path, excluded, *names):
    """Return how many of scikit-learn's own tests pass with our classes in the place of its own."""
    here = Path(__file__).parent
    options = ["-q", "-p", "sklearn_door", "-p", "no:cacheprovider", "-W", "ignore", "-k", f"not ({excluded})"]
    # From elsewhere: settings of this project are not those of scikit-learn's tests.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--pyargs", *(f"sklearn.mixture.tests.{name}" for name in names)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{here}:{here.parent}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return int(re.findall(r"(\d+) passed", done.stdout)[0])


def test_scikit_learns_own_tests_pass_with_ours_in_its_place(tmp_path):
    assert own_tests(tmp_path, f"{PRIVATE} or array_api", "test_gaussian_mixture", "test_mixture") >= 38


def test_scikit_learns_own_tests_of_its_bayesian_mixture_pass_with_ours(tmp_path):
    """But those of what a sample of the posterior does not have."""
    assert own_tests(tmp_path, " or ".join(VARIATIONAL), "test_bayesian_mixture") >= 8


def test_the_search_for_starts_takes_scikit_learns_words(iris):
    """However chains are started, the posterior is the same; what is asked of the search is heard."""
    plain = BayesianGaussianMixture(2, random_state=1).fit(iris)
    given = {"tol": 1e-4, "reg_covar": 1e-6, "max_iter": 50, "n_init": 2, "init_params": "random_from_data"}
    asked = BayesianGaussianMixture(2, random_state=1, **given).fit(iris)
    assert np.abs(asked.means_ - plain.means_).max() < 0.05
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="did not converge"):
        BayesianGaussianMixture(2, random_state=1, max_iter=1).fit(iris)
    warm = asked.set_params(warm_start=True).fit(iris)
    assert np.abs(warm.means_ - plain.means_).max() < 0.05
    with pytest.raises(ValueError, match="verbose_interval"):
        BayesianGaussianMixture(verbose_interval=3).fit(iris)


def test_the_prior_that_was_used_is_an_attribute_and_can_be_given_back(iris, kind):
    names = ("weight_concentration_prior", "mean_precision_prior", "mean_prior", "degrees_of_freedom_prior")
    names = (*names, "covariance_prior")
    first = BayesianGaussianMixture(2, covariance_type=kind, random_state=1).fit(iris)
    given = {name: getattr(first, f"{name}_") for name in names}
    again = BayesianGaussianMixture(2, covariance_type=kind, random_state=1, **given).fit(iris)
    assert np.abs(first.means_ - again.means_).max() < 0.05
    for name in names:
        assert np.allclose(getattr(again, f"{name}_"), given[name], rtol=1e-12)


def test_weights_count_rows(iris, rng):
    weight = rng.integers(0, 4, len(iris))
    settings = {"n_components": 3, "means_init": iris[[0, 60, 120]], "weights_init": np.full(3, 1 / 3), "tol": 1e-10}
    settings |= {"precisions_init": np.array([np.eye(4)] * 3), "max_iter": 1000}
    weighted = GaussianMixture(**settings).fit(iris, sample_weight=weight)
    repeated = GaussianMixture(**settings).fit(np.repeat(iris, weight, axis=0))
    for name in FITTED[:3]:
        assert np.allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("which", ["point", "sampled"])
def test_all_surfaces_give_the_same_bits(which, sampled, faithful, tmp_path):
    fitted = sampled if which == "sampled" else GaussianMixture(2, random_state=0).fit(faithful)
    probability = fitted.predict_proba(faithful)
    fitted.result_.save(tmp_path / "result.nc")
    loaded = bg.load(tmp_path / "result.nc")
    for other in (fitted.result_.predict_proba(), loaded.predict_proba(faithful), fitted.transform(faithful)):
        assert np.array_equal(probability, other)
    assert np.array_equal(fitted.predict(faithful), probability.argmax(axis=1))
    assert np.isclose(fitted.score(faithful), fitted.score_samples(faithful).mean(), rtol=1e-12)
    assert np.abs(probability.sum(axis=1) - 1).max() < 1e-12
    far = faithful + 1e6
    assert np.isfinite(fitted.predict_proba(far)).all()
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(faithful), probability)


def test_intervals_of_memberships(sampled, faithful):
    probability, lower, upper = sampled.predict_proba(faithful, return_interval=True, ci_prob=0.8)
    found = sampled.result_.memberships(faithful, ci_prob=0.8)
    assert np.array_equal(lower, found.lower.values)
    assert np.array_equal(upper, found.upper.values)
    assert np.array_equal(probability, sampled.predict_proba(faithful))


def test_posterior_means_are_near_scikit_learns_variational_ones(sampled, faithful):
    theirs = mixture.BayesianGaussianMixture(
        n_components=2,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1.0,
        random_state=0,
    ).fit(faithful)
    order, other = np.argsort(sampled.means_[:, 0]), np.argsort(theirs.means_[:, 0])
    assert np.allclose(sampled.means_[order], theirs.means_[other], rtol=0.02)
    assert np.allclose(sampled.weights_[order], theirs.weights_[other], atol=0.02)


def test_priors_are_those_of_scikit_learns_names(faithful):
    fitted = BayesianGaussianMixture(
        2, weight_concentration_prior=3.0, mean_precision_prior=0.5, mean_prior=[3.0, 70.0],
        degrees_of_freedom_prior=6.0, covariance_prior=[[1.0, 0.0], [0.0, 100.0]], random_state=0, **SMALL,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        prior = fitted.fit(faithful).result_.model.prior
    given = (prior.concentration, prior.loc, prior.shrinkage, prior.dof, prior.scale)
    asked = (3.0, [3.0, 70.0], 0.5, 6.0, [[1.0, 0.0], [0.0, 100.0]])
    assert all(np.array_equal(one, other) for one, other in zip(given, asked, strict=True))


def test_nuts_samples_too(faithful):
    fitted = BayesianGaussianMixture(2, sampler="nuts", random_state=0, draws=1000, tune=200).fit(faithful)
    assert isinstance(fitted.result_.engine, bg.NUTS)
    assert fitted.converged_


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"weight_concentration_prior_type": "dirichlet_process"}, "weight_concentration_prior_type"),
        ({"sampler": "jags"}, "sampler"),
        ({"draws": 1}, "draws"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, sentence, faithful):
    with pytest.raises(ValueError, match=sentence):
        BayesianGaussianMixture(2, **settings).fit(faithful)


def test_memberships_are_features_of_a_pipeline(iris):
    labels = np.repeat([0, 1, 2], 50)
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(3, random_state=0), LogisticRegression())
    assert pipeline.fit(iris, labels).score(iris, labels) > 0.9


def test_output_can_be_a_data_frame(faithful):
    fitted = GaussianMixture(2, random_state=0).set_output(transform="pandas").fit(faithful)
    found = fitted.transform(faithful)
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == ["gaussianmixture0", "gaussianmixture1"]
    assert list(fitted.result_.data.features) == ["eruptions", "waiting"]


def test_row_weights_are_routed(iris):
    with sklearn.config_context(enable_metadata_routing=True):
        step = GaussianMixture(2, random_state=0).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), step)
        weight = np.where(np.arange(150) < 50, 1.0, 0.0)
        pipeline.fit(iris, sample_weight=weight)
    assert pipeline[-1].result_.n_rows == 50


class Counting:
    """A callback that counts what it is told of, and asks to stop after so many iterations."""

    def __init__(self, most):
        self.most, self.told = most, []

    def setup(self, estimator, context):
        self.told.append("setup")

    def on_fit_task_begin(self, estimator, context):
        if context.task_name != "iteration":
            self.told.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "iteration":
            self.told.append("iteration")
        return self.told.count("iteration") >= self.most and context.task_name == "iteration"

    def teardown(self, estimator, context):
        self.told.append("teardown")


def test_callbacks_of_scikit_learn_are_told_of_every_iteration(iris):
    callback = Counting(10**9)
    fitted = GaussianMixture(3, n_init=2, random_state=0).set_callbacks(callback).fit(iris)
    assert callback.told[:2] == ["setup", "fit"]
    assert callback.told[-1] == "teardown"
    assert callback.told.count("start") == 2
    assert callback.told.count("iteration") >= fitted.n_iter_
    plain = GaussianMixture(3, n_init=2, random_state=0).fit(iris)
    assert np.array_equal(fitted.means_, plain.means_)


def test_a_callback_may_stop_a_climb(iris):
    with pytest.warns(sklearn.exceptions.ConvergenceWarning):
        fitted = GaussianMixture(3, random_state=0).set_callbacks(Counting(3)).fit(iris)
    assert fitted.n_iter_ == 3


def test_progress_bars_of_scikit_learn_are_drawn(iris, capsys):
    from sklearn.callback import ProgressBar

    GaussianMixture(3, random_state=0).set_callbacks(ProgressBar()).fit(iris)
    assert "GaussianMixture" in capsys.readouterr().out


def test_scikit_learn_is_not_imported_without_being_asked_for():
    code = "import sys, bayesgmm; bayesgmm.fit([1.0, 2.0, 5.0, 6.0], 1, engine='em'); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_rows_fitted_with_weights_are_counted_by_them():
    """A histogram leads to the number of components that its copies lead to."""
    rng = np.random.default_rng(4)
    counts, edges = np.histogram(np.r_[rng.normal(0, 1, 1000), rng.normal(6, 2, 2000)], 40)
    middle = ((edges[1:] + edges[:-1]) / 2)[:, None]
    copies, bics = np.repeat(middle, counts, axis=0), []
    for k in (1, 2, 3):
        weighted = GaussianMixture(k, n_init=3, random_state=0).fit(middle, sample_weight=counts)
        theirs_of = mixture.GaussianMixture(k)
        for attribute in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
            setattr(theirs_of, attribute, getattr(weighted, attribute))
        bics.append(weighted.bic(middle))
        for name in ("bic", "aic", "score"):
            ours, theirs = getattr(weighted, name), getattr(theirs_of, name)(copies)
            assert ours(middle) == pytest.approx(theirs, rel=1e-9)
            assert ours(middle, sample_weight=counts) == ours(middle)
            assert ours(copies) == pytest.approx(theirs, rel=1e-9)
            assert ours(middle, sample_weight=np.ones(40)) != pytest.approx(theirs, rel=1e-2)
        assert weighted.bic(middle) == pytest.approx(float(weighted.result_.criteria()["bic"]), rel=1e-9)
    assert np.argmin(bics) == 1
    again = weighted.fit(middle)
    assert again.score(middle) == pytest.approx(again.score_samples(middle).mean())
    with pytest.raises(ValueError, match=r"above 0|non-zero"):
        again.bic(middle, sample_weight=np.zeros(40))


def test_named_prior_parameters_leave_the_others_to_the_rows_as_weighed(iris):
    """Copies of rows have the hyperparameters of weights."""
    weight = np.arange(len(iris)) % 3
    settings = {"degrees_of_freedom_prior": 9.0, "draws": 4, "tune": 20, "chains": 1, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = BayesianGaussianMixture(2, **settings).fit(iris, sample_weight=weight)
        other = BayesianGaussianMixture(2, **settings).fit(np.repeat(np.asarray(iris), weight, axis=0))
    assert np.allclose(one.covariance_prior_, other.covariance_prior_)
    assert np.allclose(one.mean_prior_, other.mean_prior_)


def test_grid_search_says_a_thing_once(faithful, tmp_path):
    """Python forgets what it warned of wherever filters change, as they do for each fit of a search."""
    script = """
        import bayesgmm as bg
        from bayesgmm.sklearn import BayesianGaussianMixture
        from sklearn.model_selection import GridSearchCV

        mixture = BayesianGaussianMixture(draws=20, tune=20, chains=2, random_state=0)
        found = GridSearchCV(mixture, {"n_components": [1, 2, 3]}, cv=3).fit(bg.datasets.load_faithful())
        print(found.best_estimator_.result_.warnings)
        mixture.fit(bg.datasets.load_faithful())
    """
    path = tmp_path / "search.py"
    path.write_text(textwrap.dedent(script))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if "Warning: " in line]
    assert sum("do not agree" in line and "search.py:7" in line for line in said) == 1
    assert sum("do not agree" in line and "search.py:9" in line for line in said) == 1
    assert len(set(said)) == len(said)
    assert "effective draws" in done.stdout


def test_each_fit_warns_where_filters_ask_for_it(faithful):
    mixture = BayesianGaussianMixture(2, draws=20, tune=20, chains=2, random_state=0)
    for _ in range(2):
        with pytest.warns(bg.ConvergenceWarning, match="`result_.warnings` has the numbers"):
            mixture.fit(faithful)
