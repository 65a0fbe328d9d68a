"""A pytest plugin that puts our estimators in place of scikit-learn's, so that its own tests run on ours."""

import sklearn.mixture
import sklearn.mixture.tests.test_bayesian_mixture as sampled

from bayesgmm.sklearn import BayesianGaussianMixture, GaussianMixture

sklearn.mixture.GaussianMixture = GaussianMixture
# Tests of both priors of the weights run for the one that is sampled, with fewer draws than a user would take.
sampled.BayesianGaussianMixture = lambda *given, **named: BayesianGaussianMixture(
    *given, **{"draws": 100, "tune": 60, "chains": 2} | named
)
sampled.PRIOR_TYPE = ["dirichlet_distribution"]
