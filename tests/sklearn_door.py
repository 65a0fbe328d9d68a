"""A pytest plugin that puts our estimator in place of scikit-learn's, so that its own tests run on ours."""

import sklearn.mixture

from bayesgmm.sklearn import GaussianMixture

sklearn.mixture.GaussianMixture = GaussianMixture
