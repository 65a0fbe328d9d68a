"""Small random mixtures, and slow formulas to hold the fast ones against."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayesgmm import (
    ConjugatePrior,
    HierarchicalPrior,
    MixtureModel,
    MixtureParameters,
    Observations,
    SemiConjugatePrior,
    SeparationPrior,
)
from bayesgmm.model import covariance as cov


def random_parameters(rng, k, d, kind="full", spread=2.0):
    roots = rng.normal(size=(k, d, d)) / np.sqrt(d) + np.eye(d)
    covariances = cov.pooled(roots @ np.swapaxes(roots, -1, -2), kind)
    return MixtureParameters(rng.dirichlet(np.full(k, 3.0)), spread * rng.normal(size=(k, d)), covariances.copy())


def log_joint(parameters, x):
    """Log of weight times density, (k, n), by SciPy."""
    parts = zip(*parameters.arrays, strict=True)
    return np.stack([np.log(w) + np.atleast_1d(multivariate_normal(m, c).logpdf(x)) for w, m, c in parts])


def slow_pass(parameters, x, weight):
    """Log-likelihood, counts, first and second moments, written as in a textbook."""
    joint = log_joint(parameters, x)
    row = logsumexp(joint, axis=0)
    r = np.exp(joint - row) * weight
    t = x - parameters.means[:, None]
    return weight @ row, r.sum(axis=1), np.einsum("kn,kni->ki", r, t), np.einsum("kn,kni,knj->kij", r, t, t)


def bound_problem(rng, prior, kind, k=2, d=2, n=40):
    """Data as seen and a bound prior, both in standardised coordinates."""
    data = Observations.of(rng.normal(size=(n, d)) + 3 * rng.integers(0, 2, size=(n, 1)), rng.integers(1, 4, size=n))
    mean, covariance = data.moments()
    priors = {
        "hierarchical": lambda: HierarchicalPrior(
            1.5, mean, 2 * covariance, d + 3, d + 0.5, np.linalg.inv(covariance), np.diag(covariance) / 100
        ),
        "conjugate": lambda: ConjugatePrior.from_data(data, k, kind),
        "semiconjugate": lambda: SemiConjugatePrior(1.5, mean, 2 * covariance, d + 3, covariance / 3),
        "separation": lambda: SeparationPrior.from_data(data, k, kind, lkj=1.7),
    }
    model = MixtureModel(k, kind, priors[prior]())
    seen = model.seen(data)
    return seen, model.prior_for(data).in_units(seen.origin, seen.unit)
