"""scikit-learn's mixtures with this package behind them."""

from bayesgmm.extras import has

if not has("sklearn"):
    raise ModuleNotFoundError("bayesgmm.sklearn needs scikit-learn; install bayesgmm[sklearn]", name="sklearn")

from bayesgmm.sklearn.point import GaussianMixture
from bayesgmm.sklearn.sampled import BayesianGaussianMixture

__all__ = ["BayesianGaussianMixture", "GaussianMixture"]
