"""Claims that the engines target the posterior that is documented, against truths known without them.

Thresholds are in Monte Carlo standard errors: see `truth.hold`.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import truth
from scipy import stats
from scipy.integrate import quad, tplquad

import bayesgmm as bg
from bayesgmm.data.statistics import SufficientStatistics
from bayesgmm.model.parameters import COVARIANCE_TYPES
from bayesgmm.posterior import compact
from bayesgmm.posterior.compact import CompactPosterior

LOC, SHRINKAGE, DOF = np.array([0.5, -1.0]), 2.0, 7.0
SCALE = np.array([[3.0, 0.8], [0.8, 2.0]])
#: K = 1: 20 rows, the first far out, so that one row fewer is seen. Units differ by a factor of 30.
ROWS = np.random.default_rng(11).multivariate_normal([1.0, 0.0], [[1.5, 0.9], [0.9, 1.2]], size=20)
ROWS[0] = [4.0, -4.0]
UNIT = np.array([1.0, 30.0])
#: K = 2: rows that overlap. With concentration 2 and 6 degrees of freedom no component is ever
#: nearly empty or collapsed, and chains change labels often: sampling mixes, and errors are honest.
SIX = np.array([-2.1, -1.3, -0.2, 0.9, 1.4, 2.6])
SEVEN = np.array([-3.0, -2.2, -0.4, 0.1, 1.2, 1.9, 3.1])


def sampled(x, model, *, chains=4, draws=4000, seed=20261122):
    """Fit by NUTS, tolerating what it says about labels and diagnostics."""
    engine = bg.NUTS(draws=draws, tune=500, chains=chains)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.BayesGMMWarning)
        return bg.fit(x, model, engine=engine, seed=seed, progress=False)


# One component, where the posterior has a closed form.


def claims_on_one_component(kind, d):
    """Return claims on the draws of one component under the conjugate prior, in mixed units."""
    unit = UNIT[:d] if kind != "spherical" else np.full(d, 30.0)
    x, loc, scale = ROWS[:, :d] * unit, LOC[:d] * unit, SCALE[:d, :d] * np.outer(unit, unit)
    prior = bg.ConjugatePrior(1.0, loc, SHRINKAGE, DOF, scale)
    result = sampled(x, bg.MixtureModel(1, kind, prior))
    known = truth.NormalInverseWishart.of(kind, loc, SHRINKAGE, DOF, scale).given(x)
    return list(known.claims(result.means.values[:, :, 0], result.covariances.values[:, :, 0]))


def claims_on_one_semiconjugate_component():
    loc, loc_variance, dof, scale = 10.0, 9.0, 5.0, 4.0
    x = ROWS[:8, 0] + 10
    prior = bg.SemiConjugatePrior(1.0, loc, loc_variance, dof, scale)
    result = sampled(x, bg.MixtureModel(1, prior=prior))
    means, variances = result.means.values[:, :, 0, 0], result.covariances.values[:, :, 0, 0, 0]
    return list(truth.SemiConjugateGroup(loc, loc_variance, dof, scale, 1500).claims(x, means, variances))


@pytest.mark.statistical
@pytest.mark.parametrize(("kind", "d"), [("full", 1), *((kind, 2) for kind in COVARIANCE_TYPES)])
def test_one_component_has_the_normal_inverse_wishart_posterior(kind, d):
    truth.hold(claims_on_one_component(kind, d))


@pytest.mark.statistical
def test_one_semiconjugate_component_has_the_posterior_found_by_quadrature():
    truth.hold(claims_on_one_semiconjugate_component())


def test_sampling_one_component_of_mixing_chains_says_nothing():
    """One component has constant weights, whose R-hat is 0 / 0: no reason for a warning."""
    prior = bg.ConjugatePrior(1.0, LOC, SHRINKAGE, DOF, SCALE)
    engine = bg.NUTS(draws=500, tune=200, chains=4)
    bg.fit(ROWS, bg.MixtureModel(1, prior=prior), engine=engine, seed=1, progress=False)


# Two components and few rows, where every labelling can be visited.


def claims_on_labels(x, prior, concentration, groups):
    """Return claims on co-clustering, weights, means and variances, and the draws as sampled."""
    result = sampled(x, bg.MixtureModel(2, prior=prior), chains=8, draws=5000).relabelled("none")
    weights, means = result.weights.values, result.means.values[..., 0]
    known = truth.Enumeration(x, np.asarray(concentration), groups)
    claims = list(known.claims(weights, means, result.covariances.values[..., 0, 0]))
    return claims, list(known.claims_by_component(weights, means))


def conjugate_claims_on_six_rows():
    prior = bg.ConjugatePrior(2.0, 0.2, 0.3, 6.0, 5.0)
    claims, _ = claims_on_labels(SIX, prior, [2.0, 2.0], 2 * [truth.ConjugateGroup(0.2, 0.3, 6.0, 5.0)])
    return claims


@pytest.mark.statistical
def test_co_clustering_of_six_rows_is_that_of_all_labellings():
    truth.hold(conjugate_claims_on_six_rows())


@pytest.mark.statistical
def test_co_clustering_under_the_semiconjugate_prior_is_that_of_all_labellings():
    prior = bg.SemiConjugatePrior(2.0, 0.2, 4.0, 6.0, 5.0)
    group = truth.SemiConjugateGroup(0.2, 4.0, 6.0, 5.0)
    claims, _ = claims_on_labels(SIX, prior, [2.0, 2.0], [group, group])
    truth.hold(claims)


@pytest.mark.statistical
def test_priors_that_differ_by_component_act_on_their_own_component():
    """Here labels mean something: the draws as sampled have the weights and means of each component."""
    prior = bg.ConjugatePrior([3.0, 1.5], [[-1.0], [1.5]], [0.5, 0.3], [6.0, 8.0], [[[5.0]], [[4.0]]])
    groups = [truth.ConjugateGroup(-1.0, 0.5, 6.0, 5.0), truth.ConjugateGroup(1.5, 0.3, 8.0, 4.0)]
    claims, by_component = claims_on_labels(SEVEN, prior, [3.0, 1.5], groups)
    truth.hold(claims)
    truth.hold(by_component)


def test_both_ways_to_a_marginal_likelihood_agree():
    """Student's t and quadrature, on a prior that both families hold: the mean all but known."""
    near = truth.SemiConjugateGroup(0.0, 1e-6, 6.0, 5.0)
    assert truth.ConjugateGroup(0.0, 1e9, 6.0, 5.0).facts(SIX)[0] == pytest.approx(near.facts(SIX)[0], abs=1e-4)
    assert near.facts(SIX[:0])[0] == pytest.approx(0, abs=1e-6)


# Densities and draws of the priors.


def random_parameters(rng, kind, k, d):
    roots = rng.normal(size=(k, d, d)) + 1.5 * np.eye(d)
    covariances = roots @ np.swapaxes(roots, 1, 2)
    if kind == "tied":
        covariances = np.repeat(covariances[:1], k, axis=0)
    if kind in ("diag", "spherical"):
        variances = rng.uniform(0.5, 3, size=(k, d if kind == "diag" else 1))
        covariances = variances[..., None] * np.eye(d)
    return bg.MixtureParameters(rng.dirichlet(np.full(k, 2.0)), 2 * rng.normal(size=(k, d)), covariances)


def random_hyperparameters(rng, kind, k, d):
    """Return concentration, loc, dof and scale, which differ by component where they may."""
    roots = rng.normal(size=(k, d, d)) + 2 * np.eye(d)
    scale, dof = roots @ np.swapaxes(roots, 1, 2), rng.uniform(d + 3.5, d + 7, size=k)
    if kind == "tied":
        scale, dof = np.repeat(scale[:1], k, axis=0), np.full(k, dof[0])
    return rng.uniform(0.7, 3, size=k), rng.normal(size=(k, d)), dof, scale


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_densities_of_both_wishart_priors_are_those_of_scipy(kind, d):
    rng, k = np.random.default_rng(5), 2
    concentration, loc, dof, scale = random_hyperparameters(rng, kind, k, d)
    shrinkage, loc_covariance = rng.uniform(0.1, 3, size=k), scale[::-1] * 1.7
    conjugate = bg.ConjugatePrior(concentration, loc, shrinkage, dof, scale).bound(k, d, kind)
    apart = bg.SemiConjugatePrior(concentration, loc, loc_covariance, dof, scale).bound(k, d, kind)
    for _ in range(5):
        at = random_parameters(rng, kind, k, d)
        shared = stats.dirichlet(concentration).logpdf(at.weights)
        shared += truth.log_covariance_prior(kind, dof, scale, at.covariances)
        bound_mean = truth.log_mean_prior(loc, at.covariances / shrinkage[:, None, None], at.means)
        assert conjugate.log_density(at) == pytest.approx(shared + bound_mean, rel=1e-11, abs=1e-9)
        free_mean = truth.log_mean_prior(loc, loc_covariance, at.means)
        assert apart.log_density(at) == pytest.approx(shared + free_mean, rel=1e-11, abs=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_density_of_the_hierarchical_prior_is_that_with_a_scale_over_that_of_the_scale(kind, d):
    """Bayes' theorem at any scale: p(covariances) = p(scale) p(covariances | scale) / p(scale | covariances)."""
    rng, k = np.random.default_rng(5), 2
    concentration, loc, dof, scale = random_hyperparameters(rng, kind, k, d)
    loc_covariance, rate, floor = scale[::-1] * 1.7, np.linalg.inv(scale[0]), rng.uniform(0.01, 0.1, size=d)
    prior = bg.HierarchicalPrior(concentration, loc, loc_covariance, dof, d + 1.5, rate, floor).bound(k, d, kind)
    for _ in range(5):
        at = random_parameters(rng, kind, k, d)
        expected = stats.dirichlet(concentration).logpdf(at.weights) + truth.log_mean_prior(
            loc, loc_covariance, at.means
        )
        inverses = np.linalg.inv(at.covariances)[: 1 if kind == "tied" else k]
        expected -= (inverses * np.diag(floor)).sum() / 2
        any_scale = stats.wishart(d + 2, np.eye(d)).rvs(random_state=rng).reshape(d, d)
        expected += truth.log_of_unknown_scale(kind, dof, d + 1.5, rate, inverses, any_scale)
        assert prior.log_density(at) == pytest.approx(expected, rel=1e-11, abs=1e-9)


def log_lkj_integral(lkj, d):
    """Integrate ``det(R) ** (lkj - 1)`` over all correlation matrices."""
    if d == 1:
        return 0.0
    if d == 2:
        return np.log(quad(lambda r: (1 - r * r) ** (lkj - 1), -1, 1)[0])

    def power(c, b, a):
        return max(1 - a * a - b * b - c * c + 2 * a * b * c, 0.0) ** (lkj - 1)

    def reach(a, b):
        return np.sqrt((1 - a * a) * (1 - b * b))

    inside = (lambda a, b: a * b - reach(a, b)), (lambda a, b: a * b + reach(a, b))
    return np.log(tplquad(power, -1, 1, -1, 1, *inside, epsabs=1e-6, epsrel=1e-6)[0])


def log_jacobian_of_separation(deviations, correlation):
    """Log determinant of the change from deviations and correlations to covariances, by differences."""
    d = len(deviations)
    lower = np.tril_indices(d, -1)

    def covariance(free):
        r = np.eye(d)
        r[lower] = free[d:]
        r = r + np.tril(r, -1).T
        return (np.outer(free[:d], free[:d]) * r)[np.tril_indices(d)]

    free, step = np.r_[deviations, correlation[lower]], 1e-5
    slopes = [(covariance(free + e) - covariance(free - e)) / (2 * step) for e in step * np.eye(free.size)]
    return np.linalg.slogdet(np.array(slopes))[1]


@pytest.mark.parametrize(("d", "lkj"), [(1, 2.0), (2, 0.8), (2, 2.5), (3, 2.0)])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_density_of_the_separation_prior_is_half_normal_times_lkj(kind, d, lkj):
    rng, k = np.random.default_rng(6), 2
    deviation = rng.uniform(0.5, 2, size=(1 if kind == "tied" else k, d)) * np.ones((k, d))
    loc, loc_covariance, concentration = rng.normal(size=(k, d)), np.diag(rng.uniform(1, 4, size=d)), np.array([2.0, 3])
    prior = bg.SeparationPrior(concentration, loc, loc_covariance, deviation, lkj).bound(k, d, kind)
    at = random_parameters(rng, kind, k, d)
    expected = stats.dirichlet(concentration).logpdf(at.weights)
    expected += truth.log_mean_prior(loc, np.repeat(loc_covariance[None], k, axis=0), at.means)
    if kind == "spherical":
        deviation = np.sqrt((deviation**2).mean(axis=1, keepdims=True))
    blocks = zip(at.covariances, deviation, strict=True)
    for covariance, width in list(blocks)[: 1 if kind == "tied" else k]:
        sigma = np.sqrt(np.diag(covariance))[: len(width)]
        expected += stats.halfnorm(scale=width).logpdf(sigma).sum()
        if kind in ("diag", "spherical"):
            expected -= np.log(2 * sigma).sum()
        else:
            r = covariance / np.outer(sigma, sigma)
            expected += (lkj - 1) * np.linalg.slogdet(r)[1] - log_lkj_integral(lkj, d)
            expected -= log_jacobian_of_separation(sigma, r)
    assert prior.log_density(at) == pytest.approx(expected, abs=1e-5 if d > 2 else 1e-7)


def many_draws(prior, seed, chains=4, draws=1000):
    """Draw from a prior, arranged as (chain, draw)."""
    rng = np.random.default_rng(seed)
    each = [prior.sample(rng) for _ in range(chains * draws)]
    stacked = (np.stack([getattr(p, name) for p in each]) for name in ("weights", "means", "covariances"))
    return [a.reshape(chains, draws, *a.shape[1:]) for a in stacked]


@pytest.mark.statistical
@pytest.mark.parametrize("family", ["conjugate", "semiconjugate"])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_draws_from_a_prior_have_its_known_marginals(kind, family):
    concentration, loc, dof, scale = random_hyperparameters(np.random.default_rng(7), kind, 2, 2)
    dof, shrinkage, loc_covariance = dof + 4, np.array([0.5, 2.0]), scale[::-1]
    given = {
        "conjugate": bg.ConjugatePrior(concentration, loc, shrinkage, dof, scale),
        "semiconjugate": bg.SemiConjugatePrior(concentration, loc, loc_covariance, dof, scale),
    }
    weights, means, covariances = many_draws(given[family].bound(2, 2, kind), seed=8)
    for k in range(2):
        beta = stats.beta(concentration[k], concentration.sum() - concentration[k])
        truth.hold(truth.claims_of(f"weight {k}", weights[..., k], beta))
        known = truth.NormalInverseWishart.of(kind, loc[k], shrinkage[k], dof[k], scale[k])
        found = known.claims(means[..., k, :], covariances[..., k, :, :])
        if family == "conjugate":
            truth.hold(found)
        else:
            truth.hold(claim for claim in found if "variance along" in claim.name or "determinant" in claim.name)
            for c in ([1, 0], [0, 1], [1, 1]):
                normal = stats.norm(loc[k] @ c, np.sqrt(c @ loc_covariance[k] @ c))
                truth.hold(truth.claims_of(f"mean along {c}", means[..., k, :] @ c, normal))


def labelled_statistics(x, labels, k, about):
    """Sum up rows by label about any points."""
    apart = [x[labels == c] - about[c] for c in range(k)]
    return SufficientStatistics(
        about,
        np.array([float(len(a)) for a in apart]),
        np.stack([a.sum(axis=0) for a in apart]),
        np.stack([a.T @ a for a in apart]),
    )


def log_complete_likelihood(x, labels, at):
    rows = truth.log_normals(x, at.means, at.covariances)[labels, np.arange(len(x))]
    return (rows + np.log(at.weights)[labels]).sum()


@pytest.mark.parametrize(("k", "d"), [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_likelihood_times_prior_over_posterior_is_the_evidence_at_every_parameter(kind, k, d):
    """Bayes' theorem given labels; the evidence itself is a product of Student's t."""
    rng = np.random.default_rng(9)
    concentration, loc, dof, scale = random_hyperparameters(rng, kind, k, d)
    x, labels, shrinkage = rng.normal(size=(7, d)) + 1, np.arange(7) % k, rng.uniform(0.2, 3, size=k)
    prior = bg.ConjugatePrior(concentration, loc, shrinkage, dof, scale).bound(k, d, kind)
    posterior = prior.updated(labelled_statistics(x, labels, k, rng.normal(size=(k, d))))
    evidence = []
    for _ in range(6):
        at = random_parameters(rng, kind, k, d)
        evidence.append(log_complete_likelihood(x, labels, at) + prior.log_density(at) - posterior.log_density(at))
    assert np.ptp(evidence) < 1e-9
    if kind != "tied" or k == 1:
        groups = [truth.NormalInverseWishart.of(kind, loc[c], shrinkage[c], dof[c], scale[c]) for c in range(k)]
        expected = sum(group.log_marginal(x[labels == c]) for c, group in enumerate(groups))
        raised = concentration + np.bincount(labels, minlength=k)
        expected += truth.gammaln(raised).sum() - truth.gammaln(raised.sum())
        expected -= truth.gammaln(concentration).sum() - truth.gammaln(concentration.sum())
        assert evidence[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_each_semiconjugate_conditional_is_likelihood_times_prior(kind):
    rng, k, d = np.random.default_rng(10), 2, 2
    concentration, loc, dof, scale = random_hyperparameters(rng, kind, k, d)
    x, labels = rng.normal(size=(9, d)) + 1, np.arange(9) % k
    prior = bg.SemiConjugatePrior(concentration, loc, 2 * scale[::-1], dof, scale).bound(k, d, kind)
    here = random_parameters(rng, kind, k, d)
    given = prior.updated(labelled_statistics(x, labels, k, here.means))
    dof_n, scale_n = given.covariance_given_means()
    location, spread = given.means_given_covariance(here.covariances)
    if kind == "spherical":  # One number per component, written d times; `truth` takes its mean.
        assert np.allclose(scale_n, scale_n[:, :1, :1] * np.eye(d))
    of_covariances, of_means = [], []
    for _ in range(6):
        there = random_parameters(rng, kind, k, d)
        at = replace(here, covariances=there.covariances)
        joint = log_complete_likelihood(x, labels, at) + prior.log_density(at)
        of_covariances.append(joint - truth.log_covariance_prior(kind, dof_n, scale_n, at.covariances))
        at = replace(here, means=there.means)
        joint = log_complete_likelihood(x, labels, at) + prior.log_density(at)
        of_means.append(joint - truth.log_mean_prior(location, spread, at.means))
    assert np.ptp(of_covariances) < 1e-9
    assert np.ptp(of_means) < 1e-9


# EM against the same density.


def problem(table, family):
    """Return rows and a model whose prior is given in numbers that leave no component empty."""
    x = {"faithful": bg.datasets.load_faithful, "galaxies": bg.datasets.load_galaxies}[table]().to_numpy(dtype=float)
    k, d = {"faithful": 2, "galaxies": 3}[table], x.shape[1]
    middle, spread = x.mean(axis=0), np.atleast_2d(np.cov(x.T))
    scale = spread / k ** (2 / d)
    given = {
        "conjugate": bg.ConjugatePrior(1.5, middle, 0.05, d + 3.0, scale),
        "semiconjugate": bg.SemiConjugatePrior(1.5, middle, 2 * spread, d + 3.0, scale),
    }
    return x, bg.MixtureModel(k, "full", given[family])


def log_posterior(x, prior, at):
    """Log likelihood plus log prior, by SciPy alone; the prior as the user wrote it."""
    k = at.n_components
    value = truth.log_likelihood(x, *at.arrays) + stats.dirichlet(np.full(k, prior.concentration)).logpdf(at.weights)
    value += truth.log_covariance_prior("full", np.full(k, prior.dof), k * [prior.scale], at.covariances)
    loc = k * [prior.loc]
    if isinstance(prior, bg.ConjugatePrior):
        return value + truth.log_mean_prior(loc, at.covariances / prior.shrinkage, at.means)
    return value + truth.log_mean_prior(loc, k * [prior.loc_covariance], at.means)


def free_of(at):
    """Write parameters as numbers without bounds: log-ratios, means, log-Cholesky factors."""
    d = at.means.shape[1]
    roots = np.linalg.cholesky(at.covariances)
    roots[:, np.arange(d), np.arange(d)] = np.log(roots[:, np.arange(d), np.arange(d)])
    return np.concatenate(
        [np.log(at.weights[:-1] / at.weights[-1]), at.means.ravel(), roots[:, *np.tril_indices(d)].ravel()]
    )


def parameters_at(free, k, d):
    ratios = np.r_[free[: k - 1], 0.0]
    weights, roots = np.exp(ratios) / np.exp(ratios).sum(), np.zeros((k, d, d))
    roots[:, *np.tril_indices(d)] = free[k - 1 + k * d :].reshape(k, -1)
    roots[:, np.arange(d), np.arange(d)] = np.exp(roots[:, np.arange(d), np.arange(d)])
    means = free[k - 1 : k - 1 + k * d].reshape(k, d)
    return bg.MixtureParameters(weights, means, roots @ np.swapaxes(roots, 1, 2))


@pytest.mark.parametrize("family", ["conjugate", "semiconjugate"])
@pytest.mark.parametrize("table", ["faithful", "galaxies"])
def test_em_is_higher_than_every_draw_and_both_report_the_documented_density(table, family):
    x, model = problem(table, family)
    point = bg.fit(x, model, engine="em", seed=3)
    posterior = sampled(x, model, draws=1000, seed=4)
    lp = posterior.tree["sample_stats"]["lp"].values
    top = float(point.tree["sample_stats"]["lp"].values[0, 0])
    assert lp.max() <= top
    assert top == pytest.approx(log_posterior(x, model.prior, point.parameters), abs=1e-7)
    for chain, draw in [(0, 0), (1, 333), (3, 999)]:
        arrays = (getattr(posterior, name).values[chain, draw] for name in ("weights", "means", "covariances"))
        at = bg.MixtureParameters(*arrays)
        assert lp[chain, draw] == pytest.approx(log_posterior(x, model.prior, at), abs=1e-7)


@pytest.mark.parametrize("family", ["conjugate", "semiconjugate"])
@pytest.mark.parametrize("table", ["faithful", "galaxies"])
def test_em_ends_where_the_log_posterior_is_level(table, family):
    """Gradients are in nats per standard deviation of each free number, other numbers held."""
    x, model = problem(table, family)
    at = bg.fit(x, model, engine=bg.EM(tol=1e-14, max_iter=5000), seed=3).parameters
    k, d = at.means.shape
    centre, slopes = free_of(at), []

    def value(free):
        return log_posterior(x, model.prior, parameters_at(free, k, d))

    top = value(centre)
    for e in np.eye(centre.size):
        step = 1e-3 * max(1.0, np.sqrt(np.diag(at.covariances[0])).max()) if e[k - 1 : k - 1 + k * d].any() else 1e-3
        up, down = value(centre + step * e), value(centre - step * e)
        curvature = (2 * top - up - down) / step**2
        assert curvature > 0
        slopes.append((up - down) / (2 * step) / np.sqrt(curvature))
    assert np.abs(slopes).max() < 1e-3


# Broken on purpose: what the checks above are able to see.

DEGREES, CONCENTRATION, LOCATION, SHRINK, LOC_FACTOR = 5, 0, 1, 2, 3


@pytest.fixture
def with_hyperparameter(monkeypatch):
    """Return a function that changes one of the numbers that the compiled posterior reads."""
    original = compact._hyperparameters

    def change(at, by):
        def changed(prior, coordinates):
            read = list(original(prior, coordinates))
            read[at] = np.ascontiguousarray(by(read[at]))
            return tuple(read)

        monkeypatch.setattr(compact, "_hyperparameters", changed)

    return change


@pytest.fixture
def with_data(monkeypatch):
    """Return a function that changes the rows that the compiled posterior reads."""
    original = CompactPosterior.of

    def change(by):
        monkeypatch.setattr(CompactPosterior, "of", staticmethod(lambda data, prior: original(by(data), prior)))

    return change


ONE_COMPONENT_BREAKS = {
    "a degree of freedom too many": (DEGREES, lambda dof: dof + 1),
    "no Jacobian of the log-diagonal": (DEGREES, lambda dof: dof - 1),
    "Bartlett's diagonal with equal degrees of freedom": (DEGREES, lambda dof: dof[:, :1] * np.ones(2)),
    "a location a tenth of a standard deviation off": (LOCATION, lambda loc: loc + 0.1),
    "a row more behind the mean": (SHRINK, lambda shrinkage: shrinkage + 1),
}


@pytest.mark.statistical
@pytest.mark.parametrize("name", ONE_COMPONENT_BREAKS)
def test_check_of_one_component_sees(name, with_hyperparameter):
    with_hyperparameter(*ONE_COMPONENT_BREAKS[name])
    assert truth.worst(claims_on_one_component("full", 2)) > truth.FAIL


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["diag", "spherical"])
def test_check_of_one_component_sees_a_row_that_is_missing(kind, with_data):
    with_data(lambda data: data.taken(slice(1, None)))
    assert truth.worst(claims_on_one_component(kind, 2)) > truth.FAIL


@pytest.mark.statistical
def test_check_of_one_component_sees_a_prior_that_was_left_in_data_units(monkeypatch):
    monkeypatch.setattr(bg.ConjugatePrior, "in_units", lambda self, *_: self)
    assert truth.worst(claims_on_one_component("full", 1)) > truth.FAIL


@pytest.mark.statistical
def test_check_by_quadrature_sees_a_variance_read_as_a_precision(with_hyperparameter):
    with_hyperparameter(LOC_FACTOR, lambda factor: 1 / factor)
    assert truth.worst(claims_on_one_semiconjugate_component()) > truth.FAIL


LABEL_BREAKS = {
    "no Jacobian of the log-ratios": (CONCENTRATION, lambda concentration: concentration - 1),
    "one degree of freedom less": (DEGREES, lambda dof: dof - 1),
}


@pytest.mark.statistical
@pytest.mark.parametrize("name", LABEL_BREAKS)
def test_check_by_enumeration_sees(name, with_hyperparameter):
    with_hyperparameter(*LABEL_BREAKS[name])
    claims = [claim for claim in conjugate_claims_on_six_rows() if "together" in claim.name]
    assert truth.worst(claims) > truth.FAIL


@pytest.mark.statistical
def test_check_by_enumeration_sees_a_row_that_is_missing(with_data):
    with_data(lambda data: data.taken(slice(1, None)))
    assert truth.worst(conjugate_claims_on_six_rows()) > truth.FAIL


# Over data sets that the prior itself makes.

REPLICATES, LEVEL = 200, 0.9


def drawn_mixture(rng):
    """Draw weights, means and covariances by SciPy from the prior of `coverage_prior`."""
    weights = rng.dirichlet([2.0, 2.0])
    covariances = np.stack([stats.invwishart(7, np.diag([4.0, 2.0])).rvs(random_state=rng) for _ in range(2)])
    means = np.stack([rng.multivariate_normal([1.0, -1.0], c / 0.2) for c in covariances])
    return weights, means, covariances


@pytest.mark.slow
@pytest.mark.statistical
def test_intervals_cover_what_the_prior_drew_as_often_as_they_say():
    """Mean, log determinant and sum of squared weights of the mixture, none of which labels change."""
    prior = bg.ConjugatePrior(2.0, [1.0, -1.0], 0.2, 7.0, [4.0, 2.0])
    below = []
    for replicate in range(REPLICATES):
        rng = np.random.default_rng([20261122, replicate])
        weights, means, covariances = drawn_mixture(rng)
        labels = rng.choice(2, size=100, p=weights)
        x = np.stack([rng.multivariate_normal(means[k], covariances[k]) for k in labels])
        result = sampled(x, bg.MixtureModel(2, "full", prior), chains=4, draws=250, seed=replicate)
        found = invariants(result.weights.values, result.means.values, result.covariances.values)
        drawn = invariants(weights, means, covariances)
        below.append([(f < d).mean() for f, d in zip(found, drawn, strict=True)])
    below = np.array(below)
    covered = (np.abs(below - 0.5) < LEVEL / 2).mean(axis=0)
    assert (np.abs(covered - LEVEL) < 3.5 * np.sqrt(LEVEL * (1 - LEVEL) / REPLICATES)).all(), covered
    assert (np.abs(below.mean(axis=0) - 0.5) < 3.5 / np.sqrt(12 * REPLICATES)).all(), below.mean(axis=0)


def invariants(weights, means, covariances):
    centre = np.einsum("...k,...kd->...d", weights, means)
    apart = means - centre[..., None, :]
    outer = apart[..., :, None] * apart[..., None, :]
    total = np.einsum("...k,...kij->...ij", weights, covariances + outer)
    return centre[..., 0], centre[..., 1], np.linalg.slogdet(total)[1], (weights**2).sum(axis=-1)
