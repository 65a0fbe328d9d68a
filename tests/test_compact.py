"""The compact posterior: its value is the density, its gradient the derivative, its form that of the PyMC model."""

import numpy as np
import pytest
from mixtures import bound_problem

from bayesgmm import covariance as cov
from bayesgmm.compact import CompactPosterior, Whitening
from bayesgmm.estep import e_step

PRIORS = ["conjugate", "semiconjugate", "separation"]


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
    assert np.allclose(gradient, white.spread.T @ plain, rtol=1e-9, atol=1e-9)
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
