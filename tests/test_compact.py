"""The compact posterior: its value is the density, its gradient the derivative, its form that of the PyMC model."""

import ctypes

import numpy as np
import pytest
from mixtures import bound_problem

import bayesgmm as bg
from bayesgmm.expectation.pass_over_rows import e_step
from bayesgmm.kernels.callback import laid_out, log_posterior_in_c
from bayesgmm.model import covariance as cov
from bayesgmm.posterior.compact import CompactPosterior, Whitening
from bayesgmm.posterior.linear_maps import LowRankSpread

PRIORS = ["conjugate", "semiconjugate", "hierarchical", "separation"]
PLAIN = {
    "conjugate": bg.ConjugatePrior(1.0, 0.0, 0.01, 5.0, 1.0),
    "semiconjugate": bg.SemiConjugatePrior(1.0, 0.0, 1e4, 5.0, 1.0),
    "hierarchical": bg.HierarchicalPrior(1.0, 0.0, 1e4, 5.0, 3.0, 1.0),
    "separation": bg.SeparationPrior(1.0, 0.0, 1e4, 3.0, 2.0),
}


@pytest.fixture(params=PRIORS)
def problem(request, rng, kind):
    data, prior = bound_problem(rng, request.param, kind)
    return data, prior, CompactPosterior.of(data, prior)


def free_numbers(parameters, kind):
    blocks = cov.blocks(parameters.covariances, kind)
    triangle = np.tril_indices(blocks.shape[-1])
    return np.concatenate([parameters.weights[:-1], parameters.means.ravel(), blocks[..., *triangle].ravel()])


def log_jacobian(coordinates, theta, kind, step=1e-5):
    ends = ([free_numbers(coordinates.unpack(theta + s * h), kind) for h in np.eye(theta.size)] for s in (step, -step))
    up, down = (np.array(e) for e in ends)
    return np.linalg.slogdet((up - down) / (2 * step))[1]


def test_pack_undoes_unpack(problem, rng):
    coordinates = problem[2].coordinates
    theta = 0.5 * rng.normal(size=coordinates.size)
    assert np.allclose(coordinates.pack(coordinates.unpack(theta)), theta, rtol=0, atol=1e-12)


def test_value_is_likelihood_times_prior_times_jacobian(problem, rng, kind):
    data, prior, posterior = problem
    points = 0.4 * rng.normal(size=(4, posterior.coordinates.size))
    compact, slow = [], []
    for theta in points:
        parameters = posterior.coordinates.unpack(theta)
        density = e_step(parameters, data, kind).log_likelihood + prior.log_density(parameters)
        slow.append(density + log_jacobian(posterior.coordinates, theta, kind))
        compact.append(posterior.value_and_gradient(theta)[0])
    assert np.allclose(np.diff(compact), np.diff(slow), rtol=1e-8, atol=1e-7)


def test_gradient_is_the_derivative(problem, rng):
    posterior = problem[2]
    theta, step = 0.4 * rng.normal(size=posterior.coordinates.size), 1e-6
    slope = [
        (posterior.value_and_gradient(theta + step * h)[0] - posterior.value_and_gradient(theta - step * h)[0])
        / (2 * step)
        for h in np.eye(theta.size)
    ]
    found = posterior.value_and_gradient(theta)[1]
    assert np.abs(found - slope).max() < 1e-6 * np.abs(found).max()


@pytest.mark.compiled
def test_whitening_makes_the_curvature_at_the_mode_the_identity(problem):
    posterior = problem[2]
    white = posterior.whitened(np.zeros(posterior.coordinates.size))
    value, gradient = white.value_and_gradient(np.zeros(white.centre.size))
    assert np.isfinite(value)
    assert np.abs(gradient).max() < 0.05
    step = 1e-4
    curvature = [
        white.value_and_gradient(-step * h)[1] - white.value_and_gradient(step * h)[1] for h in np.eye(gradient.size)
    ]
    steep = np.linalg.eigvalsh(posterior.information(white.centre)) > 0.06
    if steep.all():
        assert np.allclose(np.array(curvature) / (2 * step), np.eye(gradient.size), atol=1e-3)


def test_whitened_gradient_is_the_chain_rule(problem, rng):
    posterior = problem[2]
    white = Whitening.of(posterior, np.zeros(posterior.coordinates.size))
    eta = 0.3 * rng.normal(size=white.centre.size)
    value, gradient = white.value_and_gradient(eta)
    plain_value, plain = posterior.value_and_gradient(white.theta(eta))
    assert np.isclose(value, plain_value, rtol=1e-12)
    assert np.allclose(gradient, white.spread.matrix.T @ plain, rtol=1e-9, atol=1e-9)
    assert np.allclose(white.eta(white.theta(eta)), eta)


def test_information_is_louis_formula_for_the_means(rng):
    """Minus the Hessian in the means: complete information minus missing information."""
    data, prior = bound_problem(rng, "conjugate", "full", d=1)
    posterior = CompactPosterior.of(data, prior)
    theta = posterior.whitened(np.zeros(posterior.coordinates.size)).centre
    parameters = posterior.coordinates.unpack(theta)
    x, v = (data.values - data.origin) / data.unit, data.sample_weight
    variance = parameters.covariances[:, 0, 0]
    joint = parameters.weights * np.exp(-0.5 * (x - parameters.means.T) ** 2 / variance) / np.sqrt(variance)
    r = joint / joint.sum(axis=1, keepdims=True)
    score = (x - parameters.means.T) / variance
    complete = np.diag((v @ r) / variance + prior.shrinkage / variance)
    missing = np.diag(v @ (r * score**2)) - np.einsum("n,nk,nl->kl", v, r * score, r * score)
    assert np.allclose(posterior.information(theta)[1:3, 1:3], complete - missing, rtol=1e-5, atol=1e-4)


@pytest.mark.compiled
def test_value_is_minus_infinity_where_a_double_overflows(problem):
    white = Whitening.of(problem[2], np.zeros(problem[2].coordinates.size))
    value, gradient = white.value_and_gradient(np.full(white.centre.size, 1e6))
    assert value == -np.inf or np.isfinite(value)
    assert gradient.shape == white.centre.shape


@pytest.mark.compiled
def test_the_function_of_c_is_the_same_function(problem, rng):
    """To the bit; where nothing finite comes out it says so, and a sampler turns back."""
    white = Whitening.of(problem[2], np.zeros(problem[2].coordinates.size))
    given = laid_out(white.centre, white.spread.matrix, white.posterior.arguments)
    for eta in (rng.normal(size=white.centre.size), np.full(white.centre.size, 1e6)):
        gradient, value = np.empty_like(eta), np.empty(1)
        status = log_posterior_in_c().ctypes(
            eta.size,
            *(array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (eta, gradient, value, given)),
        )
        want_value, want = white.value_and_gradient(eta)
        assert np.array_equal(value[0], want_value)
        assert np.array_equal(gradient, want, equal_nan=True)
        assert (status == 0) == (np.isfinite(want_value) and np.isfinite(want).all())


@pytest.fixture
def in_blocks(monkeypatch):
    """Whitening as of a posterior with too many parameters for a whole matrix."""
    monkeypatch.setattr("bayesgmm.posterior.compact.MOST_WHOLE", 0)


def curvature_of(white, step=1e-4):
    """Minus the Hessian at the mode, in whitened coordinates."""
    h = step * np.eye(white.centre.size)
    rows = [white.value_and_gradient(-each)[1] - white.value_and_gradient(each)[1] for each in h]
    return np.array(rows) / (2 * step)


def test_blocks_and_axes_are_a_linear_map_with_its_inverse(problem, rng, in_blocks):
    white = Whitening.of(problem[2], 0.2 * rng.normal(size=problem[2].coordinates.size))
    spread = white.spread
    assert isinstance(spread, LowRankSpread)
    vectors = rng.normal(size=(4, white.centre.size))
    assert np.allclose(spread.spread(vectors), vectors @ spread.matrix.T, rtol=1e-12, atol=1e-12)
    assert np.allclose(spread.solve(spread.spread(vectors)), vectors, rtol=1e-8, atol=1e-8)
    assert np.allclose(spread.pull(vectors[0]), spread.matrix.T @ vectors[0], rtol=1e-10, atol=1e-12)
    assert np.isclose(spread.log_volume, np.linalg.slogdet(spread.matrix)[1], rtol=1e-10)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("prior", PRIORS)
def test_complete_information_is_the_curvature_where_groups_do_not_overlap(prior, kind):
    """Labels hide nothing there, so that blocks alone make the curvature at the mode about 1."""
    rng = np.random.default_rng(5)
    means = np.array([[0.0, 0.0, 0.0], [60.0, 0.0, 30.0]])
    x = np.concatenate([mean + rng.normal(size=(400, 3)) @ [[1, 0.8, 0], [0, 1, 0.5], [0, 0, 1]] for mean in means])
    data = bg.Observations.of(x).standardised("common")
    model = bg.MixtureModel(2, covariance_type=kind, prior=PLAIN[prior])
    bound = model.prior_for(bg.Observations.of(x)).in_units(data.origin, data.unit)
    posterior = CompactPosterior.of(data, bound)
    optimum = bg.fit(x, bg.MixtureModel(2, covariance_type=kind), engine="em", seed=1).parameters
    white = posterior.whitened(posterior.coordinates.pack(optimum.moved(data.origin, data.unit)))
    blocks = LowRankSpread.of(posterior.complete_information(white.centre), lambda offset: -np.zeros_like(offset))
    roots = blocks.blocks.toarray()
    eigenvalues = np.linalg.eigvalsh(roots.T @ posterior.information(white.centre) @ roots)
    assert eigenvalues.min() > 0.9
    assert eigenvalues.max() < 1.1


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
def test_axes_make_up_for_what_labels_hide(monkeypatch, faithful, in_blocks):
    """Of three components for two groups, blocks alone are wrong tenfold; few axes mend it."""
    data, given = bg.Observations.of(faithful).standardised(), bg.ConjugatePrior.from_data(faithful, 3)
    posterior = CompactPosterior.of(data, given.in_units(data.origin, data.unit))
    optimum = bg.fit(faithful, bg.MixtureModel(3, prior=given), engine="em", seed=1).parameters
    start = posterior.coordinates.pack(optimum.moved(data.origin, data.unit))
    mended = np.linalg.eigvalsh(curvature_of(posterior.whitened(start)))
    monkeypatch.setattr("bayesgmm.posterior.linear_maps.NEAR_ONE", np.inf)
    plain = np.linalg.eigvalsh(curvature_of(posterior.whitened(start)))
    assert plain.min() < 0.1
    assert mended.min() > 0.5
    assert mended.max() < 2
