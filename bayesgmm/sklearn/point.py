"""scikit-learn's `GaussianMixture`, its loop over this package's pass."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn import mixture
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from bayesgmm.data import Observations
from bayesgmm.data.statistics import SufficientStatistics
from bayesgmm.engines.em.em import EM
from bayesgmm.expectation.pass_over_rows import e_step
from bayesgmm.model import covariance as cov
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import CovarianceType, Draws, MixtureParameters, Optima
from bayesgmm.results.result import MixtureResult
from bayesgmm.sklearn.behind import ResultBehind

Support: Any
with_callbacks: Any
try:
    from sklearn.callback import CallbackSupportMixin as Support
    from sklearn.callback import with_callbacks
except ImportError:  # Before scikit-learn 1.9 there are none to tell.
    Support, with_callbacks = object, lambda method: method

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale "
    "the input data."
)


@dataclass(slots=True)
class Climb:
    """One run of the loop.

    Attributes
    ----------
    parameters : MixtureParameters
        Where it stands, in the coordinates of the fit.
    bounds : list of float
        Mean log-likelihood before each update, in data units.
    converged : bool
        Whether the last two were nearer to each other than ``tol``.
    """

    parameters: MixtureParameters
    bounds: list[float] = field(default_factory=list)
    converged: bool = False


class Telling:
    """Tells scikit-learn's callbacks of every start and iteration, if there are any.

    Attributes
    ----------
    fitted : GaussianMixture
        The estimator whose callbacks are told.
    fit, start : CallbackContext or None
        Of the whole fit, and of the climb under way.
    """

    def __init__(self, fitted: GaussianMixture, starts: int, rows: np.ndarray) -> None:
        self.fitted, self.fit, self.start = fitted, None, None
        if getattr(fitted, "_skl_callbacks", None):
            self.fit = fitted._init_callback_context(max_subtasks=starts)  # pyright: ignore[reportAttributeAccessIssue]
            self.fit.call_on_fit_task_begin(estimator=fitted, X=rows)

    def begin(self) -> None:
        """Say that a climb begins."""
        if self.fit is not None:
            self.start = self.fit.subcontext(task_name="start", max_subtasks=self.fitted.max_iter)
            self.start.call_on_fit_task_begin(estimator=self.fitted)

    def iterated(self, bound: float) -> bool:
        """Say that an iteration is over, and return whether a callback asks to stop the climb."""
        if self.start is None:
            return False
        iteration = self.start.subcontext(task_name="iteration").call_on_fit_task_begin(estimator=self.fitted)
        return bool(iteration.call_on_fit_task_end(estimator=self.fitted, metadata={"lower_bound": bound}))

    def end(self) -> None:
        """Say that a climb is over."""
        if self.start is not None:
            self.start.call_on_fit_task_end(estimator=self.fitted)

    def done(self) -> None:
        """Say that the fit is over."""
        if self.fit is not None:
            self.fit.call_on_fit_task_end(estimator=self.fitted)


class GaussianMixture(ResultBehind, Support, mixture.GaussianMixture):
    """Gaussian mixture by maximum likelihood: `sklearn.mixture.GaussianMixture`, faster, a result behind it.

    Parameters, fitted attributes and methods are scikit-learn's: the same start leads along the same iterations. New
    are row weights (``fit(X, sample_weight=...)``), callbacks (``set_callbacks``, of scikit-learn 1.9), which are told
    of every iteration, and ``transform``, which returns memberships. A constant column is refused.

    Attributes
    ----------
    result_ : MixtureResult
        For intervals, criteria, plots, files and comparison with a posterior.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.sklearn import GaussianMixture
    >>> mixture = GaussianMixture(2, random_state=0).fit(bg.datasets.load_faithful())
    >>> mixture.predict_proba(bg.datasets.load_faithful()[:3]).shape
    (3, 2)
    """

    @with_callbacks
    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit the mixture and return the most probable component of each row."""
        del y
        rows, weight = self._checked(X, sample_weight)
        values = rows[weight > 0]
        if len(values) < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {len(values)}"
            )
        self._check_parameters(values, xp=np)  # pyright: ignore[reportAttributeAccessIssue]
        began = time.perf_counter()
        unit = "common" if self.covariance_type == "spherical" else "feature"
        data = self._rows(values, weight[weight > 0]).standardised(unit)
        goes_on = self.warm_start and hasattr(self, "converged_")
        telling = Telling(self, 1 if goes_on else self.n_init, values)
        best, lower_bound = self._best_climb(values, data, goes_on, telling)
        if not best.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
                "tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.converged_, self.n_iter_ = best.converged, len(best.bounds)
        self.lower_bound_, self.lower_bounds_ = lower_bound, best.bounds
        result = _result(best, data, self, time.perf_counter() - began)
        self._take(result, result.parameters)
        telling.done()
        return result.predict(rows)

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Return the Bayesian information criterion, weights as in `score`: rows are as many as their weights say."""
        log_density, weight = self._weighed(X, sample_weight)
        return float(-2 * log_density @ weight + self._n_parameters() * np.log(weight.sum()))

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Return Akaike's information criterion, weights as in `score`."""
        log_density, weight = self._weighed(X, sample_weight)
        return float(-2 * log_density @ weight + 2 * self._n_parameters())

    def _best_climb(
        self, values: np.ndarray, data: Observations, goes_on: bool, telling: Telling
    ) -> tuple[Climb, float]:
        """Climb from every start, or on from where the last fit ended."""
        rng = check_random_state(self.random_state)
        best, most = None, -np.inf
        for _ in range(1 if goes_on else self.n_init):
            if goes_on:
                start, bound = self.result_.parameters, self.lower_bound_
            else:
                self._initialize_parameters(values, rng, xp=np)  # pyright: ignore[reportAttributeAccessIssue]
                start, bound = self._start(), -np.inf
            telling.begin()
            climb = self._climb(start.moved(data.origin, data.unit), data, bound, telling)
            telling.end()
            reached = climb.bounds[-1] if climb.bounds else bound
            if best is None or reached > most:
                best, most = climb, reached
        assert best is not None
        return best, most

    def _start(self) -> MixtureParameters:
        """Return the parameters that scikit-learn starts from."""
        k, d = self.means_.shape
        root = np.asarray(self.precisions_cholesky_)
        if self.covariance_type in ("diag", "spherical"):
            variances = 1 / np.broadcast_to(root.reshape(k, -1), (k, d)) ** 2
            covariances = variances[:, :, None] * np.eye(d)
        else:
            inverse = np.linalg.inv(root)
            covariances = np.broadcast_to(np.swapaxes(inverse, -1, -2) @ inverse, (k, d, d)).copy()
        return MixtureParameters(np.array(self.weights_, float), np.array(self.means_, float), covariances)

    def _climb(self, start: MixtureParameters, data: Observations, bound: float, telling: Telling) -> Climb:
        """Iterate as scikit-learn does."""
        kind: CovarianceType = self.covariance_type  # pyright: ignore[reportAssignmentType]
        ridge = self.reg_covar / data.unit**2
        constant = float(np.log(data.unit).sum())
        climb = Climb(start)
        for number in range(self.max_iter):
            expected = e_step(climb.parameters, data, kind)
            climb.parameters = updated(expected.stats, kind, ridge)
            before, bound = bound, float(expected.log_likelihood) / data.total_weight - constant
            climb.bounds.append(bound)
            if self.verbose and number % self.verbose_interval == 0:
                print(f"  Iteration {number}\t lower bound {bound:.5f}")
            climb.converged = abs(bound - before) < self.tol
            if telling.iterated(bound) or climb.converged:
                break
        return climb


def updated(stats: SufficientStatistics, kind: CovarianceType, ridge: Float[np.ndarray, " d"]) -> MixtureParameters:
    """Return the parameters of greatest expected log-likelihood, ``ridge`` added to variances.

    Raises
    ------
    ValueError
        If a covariance is singular.
    """
    d = stats.about.shape[1]
    counts = stats.counts + 10 * np.finfo(float).eps
    shift = stats.first / counts[:, None]
    covariances = stats.second / counts[:, None, None] - shift[:, :, None] * shift[:, None]
    if kind == "tied":
        pooled = np.tensordot(counts, covariances, 1) / counts.sum()
        covariances = np.broadcast_to(pooled, covariances.shape)
    elif cov.is_diagonal(kind):
        covariances = covariances * np.eye(d)
    if kind == "spherical":
        covariances = np.trace(covariances, axis1=1, axis2=2)[:, None, None] / d * np.eye(d)
    covariances = covariances + ridge * np.eye(d)
    try:
        np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError as error:
        raise ValueError(ILL_DEFINED) from error
    return MixtureParameters(counts / counts.sum(), stats.about + shift, covariances)


def _result(climb: Climb, data: Observations, fitted: GaussianMixture, seconds: float) -> MixtureResult:
    """Return the point as a result."""
    kind: CovarianceType = fitted.covariance_type  # pyright: ignore[reportAssignmentType]
    model = MixtureModel(fitted.n_components, kind, "flat")
    one = climb.parameters.reshaped((1,))
    log_likelihood = e_step(one, data, kind).log_likelihood
    optima = Optima(one, log_likelihood, np.ones(1), np.zeros(1, bool), 0)
    constant = data.total_weight * np.log(data.unit).sum()
    trace = {"log_posterior": np.append(np.array(climb.bounds) * data.total_weight + constant, log_likelihood)}
    drawn = climb.parameters.reshaped((1, 1))
    draws = Draws(
        drawn, log_likelihood[None], log_likelihood[None], optima, trace=trace, converged=climb.converged,
        kind="point estimate",
    )  # fmt: skip
    engine = EM(n_init=fitted.n_init, max_iter=max(fitted.max_iter, 1))
    return MixtureResult.of(draws, data, model, engine, seed=None, seconds=seconds)
