"""scikit-learn's `BayesianGaussianMixture`, sampled instead of approximated."""

from __future__ import annotations

import sys
import warnings
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sklearn
from sklearn import mixture
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions

from bayesgmm.data import Reading
from bayesgmm.engines.gibbs.gibbs import Gibbs
from bayesgmm.engines.nuts.nuts import NUTS
from bayesgmm.errors import ConvergenceWarning, DoubtfulGroupsWarning, EmptyComponentWarning, LabelSwitchingWarning
from bayesgmm.fitting import fitted
from bayesgmm.model import covariance as cov
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior
from bayesgmm.results.result import MixtureResult
from bayesgmm.sklearn.behind import ResultBehind
from bayesgmm.sklearn.point import GaussianMixture

#: Parameters that say how a point estimate is sought.
SEARCH = "tol", "reg_covar", "max_iter", "n_init", "init_params"
#: What is said of a fit of whose result something is doubted.
SAID = {
    ConvergenceWarning: "draws are too few or chains do not agree, so that some numbers cannot be relied on yet",
    LabelSwitchingWarning: "labels of components switched between draws, or can hardly be told apart",
    EmptyComponentWarning: "some component has no row in many draws",
    DoubtfulGroupsWarning: "groups are doubtful: some may be one, or rest on few rows, or on how a column is written",
}
#: Folders of packages that a warning does not point to: this one, and where scikit-learn is installed with others.
SKIPPED = str(Path(__file__).parent.parent), str(Path(str(sklearn.__file__)).parent.parent)
#: Kinds of doubt that were said, with file and line.
SPOKEN: set[tuple[type[Warning], str, int]] = set()


class BayesianGaussianMixture(ResultBehind, mixture.BayesianGaussianMixture):
    """Gaussian mixture by its posterior: `sklearn.mixture.BayesianGaussianMixture`, sampled.

    Priors are those of scikit-learn, with the same names. If all are None the prior is `HierarchicalPrior.from_data`;
    if some are given it is conjugate, and the others are those of `ConjugatePrior.from_data`. Memberships are averaged
    over draws and have intervals. Attributes of the variational approximation (``weight_concentration_``,
    ``mean_precision_``, ``degrees_of_freedom_``, ``lower_bound_``) do not exist.

    Parameters
    ----------
    n_components : int
        Number of components.
    covariance_type : {"full", "tied", "diag", "spherical"}
        As scikit-learn has it.
    tol, reg_covar, max_iter, n_init, init_params
        Of the EM whose optimum the chains start from, with scikit-learn's meaning (`GaussianMixture`); where all are
        None, EM starts often enough by itself. The posterior does not depend on them.
    sampler : {"gibbs", "nuts"}
        Who draws.
    draws, tune, chains : int
        Draws kept of each chain, those before them, and number of chains.
    weight_concentration_prior_type : {"dirichlet_distribution"}
        The Dirichlet process is an approximation that scikit-learn truncates; here the number of components is that.
    weight_concentration_prior, mean_precision_prior, mean_prior, degrees_of_freedom_prior, covariance_prior
        Of the normal-inverse-Wishart prior, in scikit-learn's shapes.
    random_state : int, RandomState or None
        Seed of the draws.
    warm_start : bool
        Whether chains start from the last result.
    verbose : int
        Whether a progress bar is drawn; of scikit-learn's ``verbose_interval`` only the default is taken.

    Warns
    -----
    BayesGMMWarning
        Of each kind of doubt, once for each line of your code, so that a search over many fits says a thing once;
        ``result_.warnings`` says which numbers are meant, and what to do.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : array
        Posterior means of the relabelled draws; the precisions are inverses of those.
    weight_concentration_prior_, mean_precision_prior_, mean_prior_, degrees_of_freedom_prior_, covariance_prior_
        Of the prior that was used; of the default prior the scale that it expects, and how many rows the prior of a
        mean is worth at the covariances that it expects.
    converged_ : bool
        Whether the result has no warning.
    n_iter_ : int
        Draws of each chain, tuning included.
    result_ : MixtureResult
        Everything else.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.sklearn import BayesianGaussianMixture
    >>> mixture = BayesianGaussianMixture(2, random_state=0).fit(bg.datasets.load_faithful())
    >>> probability, lower, upper = mixture.predict_proba(bg.datasets.load_faithful()[:3], return_interval=True)
    >>> bool((lower <= upper).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {  # pyright: ignore[reportIncompatibleVariableOverride]
        **mixture.BayesianGaussianMixture._parameter_constraints,
        **{name: [None, *mixture.BayesianGaussianMixture._parameter_constraints[name]] for name in SEARCH},
        "sampler": [StrOptions({"gibbs", "nuts"})],
        "draws": [Interval(Integral, 4, None, closed="left")],
        "tune": [Interval(Integral, 20, None, closed="left")],
        "chains": [Interval(Integral, 1, None, closed="left")],
        "weight_concentration_prior_type": [StrOptions({"dirichlet_distribution"})],
        "verbose_interval": [Options(Integral, {10})],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float | None = None,
        reg_covar: float | None = None,
        max_iter: int | None = None,
        n_init: int | None = None,
        init_params: str | None = None,
        sampler: str = "gibbs",
        draws: int = 1000,
        tune: int = 500,
        chains: int = 4,
        weight_concentration_prior_type: str = "dirichlet_distribution",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.sampler = sampler
        self.draws = draws
        self.tune = tune
        self.chains = chains
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Sample the posterior and return the most probable component of each row."""
        del y
        rows, weight = self._checked(X, sample_weight)
        data = self._named(rows)
        engine = (Gibbs if self.sampler == "gibbs" else NUTS)(draws=self.draws, tune=self.tune, chains=self.chains)
        model: Any = MixtureModel(self.n_components, self.covariance_type, self._prior(self._rows(rows, weight)))  # pyright: ignore[reportArgumentType]
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        start = self._start(data, weight, seed)
        result = fitted(self._rows(rows), model, engine, start, weight, seed, self.verbose > 0, Reading())
        _say_once({type(warning) for warning in result.warnings})
        self._take_prior(result.model.prior_for(result.data))
        self.converged_, self.n_iter_ = not result.warnings, self.tune + self.draws
        self._take(result, MixtureParameters(*(array.mean(axis=(0, 1)) for array in result.draws().arrays)))
        return result.predict(rows)

    def _take_prior(self, prior: Any) -> None:
        """Set the fitted attributes of the prior, which is the same for all components."""
        scale, worth = (
            _as_conjugate(prior) if isinstance(prior, HierarchicalPrior) else (prior.scale[0], prior.shrinkage[0])
        )
        self.weight_concentration_prior_, self.mean_prior_ = float(prior.concentration[0]), prior.loc[0].copy()
        self.mean_precision_prior_, self.degrees_of_freedom_prior_ = float(worth), float(prior.dof[0])
        self.covariance_prior_ = {"diag": np.diag(scale).copy(), "spherical": float(scale[0, 0])}.get(
            self.covariance_type, scale.copy()
        )

    def _start(self, data: Any, weight: np.ndarray, seed: int) -> MixtureResult | None:
        """Return the point that EM starts from, where that was asked for in scikit-learn's words."""
        if self.warm_start and hasattr(self, "result_"):
            return self.result_
        asked = {name: getattr(self, name) for name in SEARCH if getattr(self, name) is not None}
        if not asked:
            return None
        point = GaussianMixture(self.n_components, covariance_type=self.covariance_type, random_state=seed, **asked)
        return point.fit(data, sample_weight=weight).result_

    def _prior(self, data: Any) -> ConjugatePrior | None:
        """Return the prior that was asked for; what was not is scaled by the data."""
        asked = {
            "concentration": self.weight_concentration_prior,
            "loc": self.mean_prior,
            "shrinkage": self.mean_precision_prior,
            "dof": self.degrees_of_freedom_prior,
            "scale": self._scale(),
        }
        if all(value is None for value in asked.values()):
            return None
        plain = ConjugatePrior.from_data(data, self.n_components, self.covariance_type)  # pyright: ignore[reportArgumentType]
        return ConjugatePrior(**{n: getattr(plain, n) if value is None else value for n, value in asked.items()})

    def _scale(self) -> Any:
        """Return the prior scale as a matrix or a number."""
        if self.covariance_prior is None:
            return None
        given = np.asarray(self.covariance_prior, float)
        return np.diag(given) if self.covariance_type == "diag" and given.ndim == 1 else given

    def predict_proba(self, X: Any, *, return_interval: bool = False, ci_prob: float = 0.9) -> Any:
        """Return the memberships (n_samples, n_components), averaged over draws.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            Rows.
        return_interval : bool
            Return lower and upper ends of their credible intervals as well.
        ci_prob : float
            Probability inside the intervals.
        """
        rows = self._seen(X)
        found = self.result_.memberships(rows, ci_prob=ci_prob)
        if return_interval:
            return found.probability.values, found.lower.values, found.upper.values
        return found.probability.values


def _say_once(kinds: set[type[Warning]]) -> None:
    """Warn of each kind, once for each place in the user's code where filters ask for no more.

    Python would do so by itself, but forgets what it said wherever filters change, as they do for each fit of a search.
    """
    place = _place()
    for kind in SAID.keys() & kinds:
        action = next((f[0] for f in warnings.filters if issubclass(kind, f[2]) and f[1] is f[3] is None), "default")
        if action in ("default", "module", "once") and (kind, *place) in SPOKEN:
            continue
        said = f"{SAID[kind]}; `result_.warnings` has the numbers and what to do"
        warnings.warn_explicit(said, kind, *place)
        SPOKEN.add((kind, *place))


def _place() -> tuple[str, int]:
    """Return file and line of the user's call: the nearest that is not in an installed package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(SKIPPED):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _as_conjugate(prior: HierarchicalPrior) -> tuple[np.ndarray, float]:
    """Return the scale that the default prior expects, and how many rows its means are worth at those covariances."""
    scale, p = prior.expected_scale, cov.block_size(prior.covariance_type, len(prior.scale_rate))
    variance = np.diag(scale) / (prior.dof[0] - p - 1)
    return scale, float((variance / np.diag(prior.loc_covariance[0])).mean())
