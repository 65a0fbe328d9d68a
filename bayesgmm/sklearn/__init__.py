"""scikit-learn's mixtures with this package behind them: `GaussianMixture` and `BayesianGaussianMixture`."""

from bayesgmm.sklearn.point import GaussianMixture
from bayesgmm.sklearn.sampled import BayesianGaussianMixture

__all__ = ["BayesianGaussianMixture", "GaussianMixture"]
