"""Claims about labels: what was permuted is put back, by every method, and nothing else changes."""

from itertools import permutations

import numpy as np
import pytest
from scipy.special import entr

import bayesgmm as bg
from bayesgmm.answers import relabelling as relabel
from bayesgmm.answers.relabelling import METHODS, aligned, assigned, nearest_optimum, relabelling
from bayesgmm.expectation.pass_over_rows import responsibilities
from bayesgmm.results.tree import dataset, parameters_of, with_parameters


def groups(k=3, d=2, apart=4.0):
    means = apart * np.stack([np.arange(k), np.arange(k) % 2], axis=1)[:, :d]
    return bg.MixtureParameters(np.arange(1, k + 1) / np.arange(1, k + 1).sum(), means, np.array([np.eye(d)] * k))


def shaken(parameters, rng, chains=2, draws=40, by=0.2):
    """Draws about one value, in known labels."""
    grid = (chains, draws)
    weights = rng.dirichlet(50 * parameters.weights, size=grid)
    means = parameters.means + by * rng.normal(size=(*grid, *parameters.means.shape))
    return bg.MixtureParameters(
        weights, means, np.broadcast_to(parameters.covariances, (*grid, *parameters.covariances.shape))
    )


def pivots(reference, draw):
    return bg.MixtureParameters(*(np.stack(pair) for pair in zip(reference.arrays, draw.arrays, strict=True)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [2, 3, 5])
def test_known_permutations_are_undone_across_chains(rng, method, k):
    parameters = groups(k)
    data, _ = bg.simulate(parameters, 300, seed=1)
    draws = shaken(parameters, rng)
    known = rng.permuted(np.tile(np.arange(k), (2, 40, 1)), axis=-1)
    mixed = draws.permuted(known)
    found = relabelling(method, mixed, pivots(parameters, mixed[0, 0]), data, "full")
    assert (np.take_along_axis(known, found.order, axis=-1) == np.arange(k)).all()


@pytest.mark.parametrize("method", METHODS)
def test_methods_stream_over_draws_to_the_same_answer(rng, method, monkeypatch):
    parameters = groups(3, apart=1.5)
    data, _ = bg.simulate(parameters, 200, seed=1)
    draws = shaken(parameters, rng, by=0.6)
    draws = draws.permuted(rng.permuted(np.tile(np.arange(3), (2, 40, 1)), axis=-1))
    whole = relabelling(method, draws, pivots(parameters, draws[0, 0]), data, "full")
    monkeypatch.setattr(relabel, "BATCH_VALUES", 5 * 3 * 200)
    parts = relabelling(method, draws, pivots(parameters, draws[0, 0]), data, "full")
    assert (whole.order == parts.order).all()
    assert whole.cost == pytest.approx(parts.cost, rel=1e-10)


def stephens_cost(r, order):
    """Kullback-Leibler divergence from the mean, summed over draws and rows, as Stephens (2000) writes it."""
    relabelled = np.take_along_axis(r, order[..., None], axis=1)
    mean = relabelled.mean(axis=0)
    return float((-entr(relabelled) - relabelled * np.log(mean)).sum())


def test_stephens_method_ends_where_no_single_draw_can_be_relabelled_better(rng):
    """Draws that overlap: against the mean that it ended with, every draw has its best of all k! orders."""
    parameters = groups(3, apart=1.0)
    data, _ = bg.simulate(parameters, 100, seed=1)
    draws = shaken(parameters, rng, by=0.8)
    found = relabelling("stephens", draws, pivots(parameters, draws[0, 0]), data, "full")
    r = responsibilities(draws.reshaped((80,)), data)
    order = found.order.reshape(80, 3)
    log_mean = np.log(np.take_along_axis(r, order[..., None], axis=1).mean(axis=0))
    costs = np.array([-(r[:, list(p)] * log_mean).sum(axis=(1, 2)) for p in permutations(range(3))])
    chosen = -(np.take_along_axis(r, order[..., None], axis=1) * log_mean).sum(axis=(1, 2))
    assert np.allclose(chosen, costs.min(axis=0), rtol=1e-12)
    assert found.cost == pytest.approx(stephens_cost(r, order) / (80 * 100), rel=1e-9)
    unmatched = np.tile(np.arange(3), (80, 1))
    assert stephens_cost(r, order) <= stephens_cost(r, unmatched)


def test_assignment_is_the_best_of_all_permutations(rng):
    agreement = rng.normal(size=(50, 4, 4))
    best = [max(permutations(range(4)), key=lambda p, a=a: sum(a[i, p[i]] for i in range(4))) for a in agreement]
    assert (assigned(agreement) == np.array(best)).all()


def test_margin_is_one_at_the_reference_and_zero_where_components_are_equal():
    parameters = groups(2)
    data, _ = bg.simulate(parameters, 200, seed=1)
    alike = bg.MixtureParameters(np.full(2, 0.5), np.zeros((2, 2)), np.array([np.eye(2)] * 2))
    both = pivots(parameters, alike)
    assert aligned(both, parameters, data, "full").margin == pytest.approx([1.0, 0.0], abs=1e-12)
    assert aligned(both.permuted([1, 0]), parameters, data, "full").margin == pytest.approx([1.0, 0.0], abs=1e-12)


def test_each_optimum_is_nearest_to_itself_under_any_labels():
    parameters = groups(3)
    other = groups(3, apart=1.0)
    data, _ = bg.simulate(parameters, 200, seed=1)
    optima = pivots(parameters, other)
    assert nearest_optimum(optima.permuted([2, 0, 1]), optima, data, "full").tolist() == [0, 1]


@pytest.mark.parametrize("method", METHODS)
def test_a_result_comes_back_from_random_labels(nuts_result, rng, method):
    draws = parameters_of(dataset(nuts_result.tree, "posterior"))
    order = rng.permuted(np.tile(np.arange(2), (*draws.grid, 1)), axis=-1)
    mixed = bg.MixtureResult(
        with_parameters(nuts_result.tree, draws.permuted(order), order), nuts_result.engine, nuts_result.model
    )
    back = mixed.relabelled(method)
    assert (back.means.values == nuts_result.means.values).all()
    assert back.switch_rate == nuts_result.switch_rate
    assert (mixed.relabelled("none").means.values == nuts_result.relabelled("none").means.values).all()


def test_permuting_labels_at_random_changes_no_invariant_diagnostic(nuts_result, rng):
    draws = parameters_of(dataset(nuts_result.tree, "posterior"))
    order = rng.permuted(np.tile(np.arange(2), (*draws.grid, 1)), axis=-1)
    mixed = bg.MixtureResult(
        with_parameters(nuts_result.tree, draws.permuted(order), order), nuts_result.engine, nuts_result.model
    )
    one, other = (result.diagnostics().drop(index="switch_rate") for result in (nuts_result, mixed))
    assert np.allclose(one, other, rtol=1e-9, equal_nan=True)
    assert mixed.modes().equals(nuts_result.modes())


def test_switching_is_reported_by_every_method(galaxies):
    model = bg.MixtureModel(3, prior=bg.ConjugatePrior.from_data(galaxies, 3))
    result = bg.fit(galaxies, model, engine=bg.Gibbs(permutation="random"), seed=1, progress=False)
    found = result.label_switching()
    assert list(found.index) == list(METHODS)
    assert (found.filter(like="agreement").to_numpy() > 0.95).all()
    assert found["switch_rate"].between(0.8, 0.87).all()
    assert (found["cost"] > 0).all()


def test_labels_that_are_not_free_have_no_switching(em_result, faithful):
    assert em_result.label_switching().empty
    prior = bg.ConjugatePrior([3.0, 2.0], [[2.0, 55.0], [4.3, 80.0]], 1.0, 5.0, [[0.3, 0.0], [0.0, 60.0]])
    told = bg.fit(faithful, bg.MixtureModel(2, prior=prior), engine="gibbs", seed=1, progress=False)
    assert told.label_switching().empty
    assert told.relabelled("stephens") is told


def test_fewer_rows_and_another_seed_label_alike(nuts_result):
    assert (nuts_result.relabelled("ecr", rows=50, seed=3).means == nuts_result.means).all()


# The mode atlas.


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
def test_atlas_lists_every_optimum_with_its_mass_and_chains(galaxies):
    result = bg.fit(galaxies, 4, engine=bg.Gibbs(draws=3000, thin=5), seed=1, progress=False)
    modes = result.modes()
    assert modes["below_best"].iloc[0] == 0
    assert modes["log_posterior"].is_monotonic_decreasing
    assert modes["basin_share"].sum() == pytest.approx(1)
    assert modes["mass"].sum() == pytest.approx(1)
    assert modes["draws"].sum() == pytest.approx(1)
    staying = [int(c) for chains in modes["chains"] if chains for c in chains.split(", ")]
    assert len(set(staying)) == len(staying)
    assert set(staying) <= {0, 1, 2, 3}


def test_atlas_of_a_point_has_no_draws_and_of_maximum_likelihood_no_mass(galaxies):
    point = bg.fit(galaxies, 3, engine="em", seed=1).modes()
    flat = bg.fit(galaxies, bg.MixtureModel(3, prior="flat"), engine="em", seed=1).modes()
    assert "draws" not in point
    assert point["mass"].sum() == pytest.approx(1)
    assert flat["mass"].isna().all()
    assert flat["log_posterior"].iloc[0] == pytest.approx(-203.179, abs=1e-3)
