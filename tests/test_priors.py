"""Priors: closed under updating, equivariant, and their modes are modes."""

import numpy as np
import pytest
from mixtures import random_parameters
from scipy import stats

import bayesgmm as bg
from bayesgmm.expectation.pass_over_rows import e_step
from bayesgmm.model import covariance as cov
from bayesgmm.model.priors import hierarchical as hierarchical_module
from bayesgmm.model.priors.densities import sample_lkj
from bayesgmm.model.priors.hierarchical import smallest_gaps
from bayesgmm.model.priors.separation import log_lkj_normaliser
from bayesgmm.posterior.compact import Coordinates


def statistics(rng, k, d, kind, n=30):
    data = bg.Observations.of(rng.normal(size=(n, d)))
    return e_step(random_parameters(rng, k, d, kind), data, kind).stats


def semi(rng, k, d, kind):
    return bg.SemiConjugatePrior(2.0, rng.normal(size=d), 3.0, d + 2.5, np.arange(1.0, d + 1)).bound(k, d, kind)


def conjugate(rng, k, d, kind):
    return bg.ConjugatePrior(2.0, rng.normal(size=d), 0.5, d + 2.5, np.arange(1.0, d + 1)).bound(k, d, kind)


def hierarchical(rng, k, d, kind):
    rate = np.diag(np.arange(1.0, d + 1)) + 0.2
    return bg.HierarchicalPrior(2.0, rng.normal(size=d), 3.0, d + 2.5, d + 0.5, rate, 0.1).bound(k, d, kind)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_conjugate_prior_of_data_moves_with_them(faithful, kind, scale):
    x = faithful.to_numpy()
    plain, moved = (bg.ConjugatePrior.from_data(data, 2, kind) for data in (x, scale * x + 5 * scale))
    assert np.allclose(moved.loc, scale * plain.loc + 5 * scale, rtol=1e-8)
    assert np.allclose(moved.scale, scale**2 * plain.scale, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_default_prior_moves_with_the_data(faithful, kind, scale):
    factors = scale * np.array([1.0, 10.0]) if kind != "spherical" else np.full(2, scale)
    x = faithful.to_numpy()
    plain, moved = (bg.HierarchicalPrior.from_data(data, 2, kind) for data in (x, factors * x + 5 * factors))
    squares = np.multiply.outer(factors, factors)
    assert np.allclose(moved.loc, factors * plain.loc + 5 * factors, rtol=1e-8)
    assert np.allclose(moved.loc_covariance, squares * plain.loc_covariance, rtol=1e-8)
    assert np.allclose(moved.scale_rate, plain.scale_rate / squares, rtol=1e-8)
    assert np.allclose(moved.floor, factors**2 * plain.floor, rtol=1e-8)


def test_default_prior_has_the_numbers_of_its_definition(faithful):
    x, d = faithful.to_numpy(), 2
    variance = x.var(axis=0, ddof=1)
    for k in (1, 2, 7):
        prior = bg.HierarchicalPrior.from_data(faithful, k)
        assert (prior.concentration == 4).all()
        assert (prior.dof == 2 * d + 4).all()
        assert prior.scale_dof == d
        assert np.allclose(prior.loc, x.mean(axis=0))
        assert np.allclose(prior.loc_covariance, 25 * np.diag(variance))
        assert np.allclose(prior.scale_rate, 2 * d / (d + 2) * np.diag(1 / variance))
        assert np.allclose(prior.floor, np.array([0.001, 1.0]) ** 2 / 12)  # Eruptions in thousandths, whole minutes.
    assert np.allclose(prior.expected_scale / (prior.dof[0] - d - 1), np.diag(variance) * 0.4, rtol=1e-3)
    diagonal = bg.HierarchicalPrior.from_data(faithful, 2, "diag")
    assert np.allclose(diagonal.scale_rate, 2 / 3 * np.diag(1 / variance))
    assert (diagonal.dof == 6).all()
    spherical = bg.HierarchicalPrior.from_data(faithful, 2, "spherical")
    assert np.allclose(spherical.scale_rate, 2 / 3 * np.eye(2) / np.sqrt(variance.prod()))
    assert np.allclose(spherical.known_scale[0], prior.floor.sum() * np.eye(2))


def test_default_prior_counts_rows_by_their_weights(faithful, kind):
    x, times = faithful.to_numpy()[:90], np.arange(90) % 4
    weighted = bg.HierarchicalPrior.from_data(bg.Observations.of(x, times), 2, kind)
    repeated = bg.HierarchicalPrior.from_data(np.repeat(x, times, axis=0), 2, kind)
    unweighted = bg.HierarchicalPrior.from_data(x, 2, kind)
    for name in ("loc", "loc_covariance", "scale_rate", "floor"):
        assert np.allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-10), name
    assert not np.allclose(weighted.scale_rate, unweighted.scale_rate, rtol=1e-3)


@pytest.mark.parametrize(
    ("column", "gap"),
    [
        ([0.1, 0.3, 0.1 + 0.2, 0.7, 0.7], 0.2),  # 0.1 + 0.2 is not 0.3.
        ([0.0, 1.0, 1.0, 0.0, 1.0], 1.0),
        ([1e8 + 0.1, 1e8 + 0.2, 1e8 + 0.4, 1e8, 1e8], 0.1),
        ([1.0, 2.0, 1e6, 2.0, 4.0], 1.0),
        ([5.0, 5.0, 5.0, 5.0, 5.0], 0.0),
    ],
)
def test_smallest_gap_is_that_of_the_rounding(column, gap):
    assert smallest_gaps(bg.Observations.of(column))[0] == pytest.approx(gap, rel=1e-6)


def test_columns_that_are_sums_of_others_are_refused_where_their_covariance_is_needed(rng):
    table = np.round(rng.normal(size=(50, 2)), 1)
    table = np.column_stack([table, table.sum(axis=1)])
    with pytest.raises(bg.DataError, match="linear combinations"):
        bg.HierarchicalPrior.from_data(table, 2, "tied")
    assert np.allclose(bg.HierarchicalPrior.from_data(table, 2, "diag").floor, 0.01 / 12)


@pytest.mark.statistical
@pytest.mark.parametrize(("kind", "blocks"), [("full", 3), ("tied", 1)])
def test_scale_given_covariances_is_gamma_under_draws_of_both(kind, blocks):
    rng, prior = np.random.default_rng(3), bg.HierarchicalPrior(2.0, 0.0, 3.0, 9.0, 4.0, 0.5, 0.3).bound(3, 1, kind)
    scales = np.array([prior._drawn_scale(rng)[0, 0] for _ in range(10_000)])
    # Given a scale an inverse variance is chi-squared over scale and floor.
    inverses = rng.chisquare(9.0, size=(scales.size, blocks)) / (scales + 0.3)[:, None]
    given = stats.gamma((4.0 + 9.0 * blocks) / 2, scale=2 / (0.5 + inverses.sum(axis=1)))
    assert stats.kstest(given.cdf(scales), "uniform").pvalue > 1e-3


def test_a_floor_that_leaves_no_scale_is_said(monkeypatch):
    monkeypatch.setattr(hierarchical_module, "MOST_TRIES", 50)
    with pytest.raises(bg.ModelError, match="`floor` is so high"):
        bg.HierarchicalPrior(2.0, 0.0, 3.0, 9.0, 4.0, 1e9, 1e9).bound(20, 1, "full").sample(np.random.default_rng(1))


def test_conjugate_prior_of_data_is_that_of_fraley_and_raftery(faithful):
    prior = bg.ConjugatePrior.from_data(faithful, 3)
    assert np.allclose(prior.scale, np.cov(faithful.to_numpy().T) / 3)
    assert (prior.dof == 4).all()
    assert (prior.shrinkage == 0.01).all()
    spherical = bg.ConjugatePrior.from_data(faithful, 3, "spherical")
    assert np.allclose(spherical.scale[0], np.trace(np.cov(faithful.to_numpy().T)) / 2 / 3 * np.eye(2))


def test_updating_twice_is_updating_with_the_sum(rng, kind):
    """A conjugate prior updated is a conjugate prior."""
    data, parameters = bg.Observations.of(rng.normal(size=(40, 2))), random_parameters(rng, 3, 2, kind)
    one, two = (e_step(parameters, part, kind).stats for part in (data.rows(0, 25), data.rows(25, 40)))
    prior = conjugate(rng, 3, 2, kind)
    once, twice = prior.updated(one + two), prior.updated(one).updated(two)
    for name in ("concentration", "loc", "shrinkage", "dof", "scale"):
        assert np.allclose(getattr(once, name), getattr(twice, name), rtol=1e-10), name


def expected_log_posterior(prior, stats, parameters):
    """Expected complete-data log-likelihood plus log prior: what an M-step has to raise."""
    shift = parameters.means - stats.about
    cross = np.einsum("ki,kj->kij", stats.first, shift)
    square = stats.counts[:, None, None] * np.einsum("ki,kj->kij", shift, shift)
    scatter = stats.second - cross - np.swapaxes(cross, 1, 2) + square
    precision = np.linalg.inv(parameters.covariances)
    fit = -0.5 * (
        stats.counts @ np.linalg.slogdet(parameters.covariances)[1] + np.einsum("kij,kji->", precision, scatter)
    )
    return fit + stats.counts @ np.log(parameters.weights) + prior.log_density(parameters)


def nearby(parameters, prior, rng, size):
    """A point of the same structure, a step away in unconstrained coordinates (whatever they are)."""
    coordinates = Coordinates.of(prior, parameters.n_features)
    theta = coordinates.pack(parameters)
    return coordinates.unpack(theta + size * rng.normal(size=theta.size))


@pytest.mark.parametrize("family", [conjugate, semi, hierarchical])
def test_mode_given_labels_is_the_highest_point(rng, kind, family):
    prior, stats = family(rng, 3, 2, kind), statistics(rng, 3, 2, kind)
    last = random_parameters(rng, 3, 2, kind)
    best = prior.updated(stats, last).mode() if family is hierarchical else prior.updated(stats).mode()
    if family is not conjugate:  # one conditional maximum at a time: climb to the joint one
        for _ in range(200):
            moved = e_scatter(stats, best)
            best = (prior.updated(moved, best) if family is hierarchical else prior.updated(moved)).mode()
        stats = moved
    peak = expected_log_posterior(prior, stats, best)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(20):
            assert expected_log_posterior(prior, stats, nearby(best, prior, rng, size)) < peak + 1e-9


def e_scatter(stats, parameters):
    """The same statistics about other points."""
    shift = parameters.means - stats.about
    cross = np.einsum("ki,kj->kij", stats.first, shift)
    square = stats.counts[:, None, None] * np.einsum("ki,kj->kij", shift, shift)
    second = stats.second - cross - np.swapaxes(cross, 1, 2) + square
    return bg.SufficientStatistics(parameters.means, stats.counts, stats.first - stats.counts[:, None] * shift, second)


@pytest.mark.parametrize("family", [conjugate, semi])
def test_mode_of_the_prior_is_its_highest_point(rng, kind, family):
    prior = family(rng, 2, 2, kind)
    peak = prior.log_density(prior.mode())
    for size in (1e-3, 0.1):
        for _ in range(20):
            assert prior.log_density(nearby(prior.mode(), prior, rng, size)) < peak


def test_flat_prior_gives_the_classical_m_step(rng, kind):
    stats = statistics(rng, 3, 2, kind)
    mode = bg.ConjugatePrior.flat(3, 2, kind).updated(stats).mode()
    mean = stats.first / stats.counts[:, None]
    centred = stats.second - stats.counts[:, None, None] * mean[:, :, None] * mean[:, None]
    n, total = stats.counts[:, None, None], stats.counts.sum()
    expected = {
        "full": lambda: centred / n,
        "tied": lambda: np.repeat(centred.sum(0, keepdims=True) / total, 3, 0),
        "diag": lambda: centred * np.eye(2) / n,
        "spherical": lambda: np.trace(centred, axis1=1, axis2=2)[:, None, None] / (2 * n) * np.eye(2),
    }[kind]()
    assert np.allclose(mode.covariances, expected, rtol=1e-11)
    assert np.allclose(mode.means, stats.about + mean)
    assert np.allclose(mode.weights, stats.counts / total)


def test_flat_prior_has_density_one_and_cannot_be_drawn_from(rng, kind):
    prior = bg.ConjugatePrior.flat(2, 2, kind)
    assert prior.log_density(random_parameters(rng, 2, 2, kind)) == 0
    with pytest.raises(bg.ModelError, match="flat prior is improper"):
        prior.sample(rng)


def test_weights_are_clipped_at_zero_where_the_concentration_is_below_one():
    prior = bg.ConjugatePrior(np.array([0.5, 3.0, 2.0]), 0, 1, 3, 1).bound(3, 1, "full")
    assert np.allclose(prior.mode().weights, [0, 2 / 3, 1 / 3])


def test_blocks_are_written_out_and_read_back(rng, kind):
    parameters = random_parameters(rng, 3, 4, kind)
    blocks = cov.blocks(parameters.covariances, kind)
    assert np.array_equal(cov.from_blocks(blocks, kind, 3, 4), parameters.covariances)
    assert blocks.shape[-1] == cov.block_size(kind, 4)


def test_free_parameters_are_those_of_the_unconstrained_vector(rng, kind):
    prior = conjugate(rng, 3, 4, kind)
    assert Coordinates.of(prior, 4).size == bg.MixtureModel(3, kind).free_parameters(4)


def test_lkj_normaliser_is_the_integral_in_two_dimensions():
    r = np.linspace(-1, 1, 2_000_001)
    for shape in (1.0, 1.7, 4.0):
        integral = np.trapezoid((1 - r**2) ** (shape - 1), r)
        assert np.isclose(np.exp(-log_lkj_normaliser(shape, 2)), integral, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((-1, 0, 1, 4, 1), "`concentration` has to be above 0"),
        (([1, 1, 1], 0, 1, 4, 1), r"`concentration` .* shape \(2,\)"),
        ((1, np.zeros(3), 1, 4, 1), r"`loc` .* shape \(2,\) or \(2, 2\); got \(3,\)"),
        ((1, 0, 0, 4, 1), "`shrinkage` has to be above 0"),
        ((1, 0, 1, 1, 1), "`dof` has to be above 1"),
        ((1, 0, 1, 4, -1), "`scale` has to be positive definite"),
        ((1, 0, 1, 4, [[1.0, 0.5], [0.2, 1.0]]), "`scale` has to be symmetric"),
        ((1, 0, 1, 4, np.ones((2, 2))), "`scale` has to be positive definite"),
        ((1, 0, 1, np.nan, 1), "`dof` has to be finite"),
        ((1, "left", 1, 4, 1), "`loc` has to be a number"),
    ],
)
def test_wrong_hyperparameters_are_named(arguments, says):
    with pytest.raises(bg.ModelError, match=says):
        bg.ConjugatePrior(*arguments).bound(2, 2, "full")


def test_tied_covariances_refuse_different_priors():
    with pytest.raises(bg.ModelError, match="has to be equal for all components of a tied"):
        bg.ConjugatePrior(1, 0, 1, np.array([3.0, 4.0]), 1).bound(2, 1, "tied")
    with pytest.raises(bg.ModelError, match="has to be equal for all components of a tied"):
        bg.SemiConjugatePrior(1, 0, 1, 3, np.array([[[1.0]], [[2.0]]])).bound(2, 1, "tied")
    with pytest.raises(bg.ModelError, match="has to be equal for all components of a tied"):
        bg.SeparationPrior(1, 0, 1, np.array([[1.0], [2.0]])).bound(2, 1, "tied")
    with pytest.raises(bg.ModelError, match="has to be equal for all components of a tied"):
        bg.HierarchicalPrior(1, 0, 1, np.array([3.0, 4.0]), 2, 1).bound(2, 1, "tied")
    with pytest.raises(bg.ModelError, match="`deviation` has to be above 0"):
        bg.SeparationPrior(1, 0, 1, 0).bound(2, 1, "full")


@pytest.mark.statistical
def test_drawn_correlations_have_the_beta_marginals_of_lkj():
    """Lewandowski, Kurowicka & Joe (2009): each is 2 Beta(lkj - 1 + p / 2, the same) - 1."""
    drawn = sample_lkj(1.7, 20_000, 4, np.random.default_rng(1))
    assert np.linalg.eigvalsh(drawn).min() > 0
    shape = 1.7 - 1 + 4 / 2
    for i, j in ((0, 1), (1, 3), (2, 3)):
        assert stats.kstest((drawn[:, i, j] + 1) / 2, stats.beta(shape, shape).cdf).pvalue > 1e-3


def test_a_separation_prior_draws_what_it_has_a_density_for(rng, kind):
    prior = bg.SeparationPrior(2.0, [1.0, 2.0], 4.0, [1.0, 3.0] if kind != "spherical" else 2.0).bound(3, 2, kind)
    drawn = [prior.sample(rng) for _ in range(200)]
    assert np.isfinite([prior.log_density(each) for each in drawn]).all()
    assert np.allclose(cov.pooled(drawn[0].covariances, "full"), drawn[0].covariances)


@pytest.mark.parametrize(
    "prior",
    [
        bg.ConjugatePrior(1, 0, 0.2, 4, 1),
        bg.HierarchicalPrior(2, 0, 4, dof=8, scale_dof=4, scale_rate=0.5, floor=0.1),
        bg.SemiConjugatePrior(1, 0, 4, 4, 1),
    ],
)
def test_the_density_of_a_prior_for_no_number_of_components_is_refused(prior):
    point = bg.MixtureParameters(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    with pytest.raises(bg.ModelError, match=r"prior\.bound\(k, d, kind\)"):
        prior.log_density(point)
