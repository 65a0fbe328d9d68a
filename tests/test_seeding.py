"""Rows on which starts are sought: unequal chances, weights that make up for them, and small groups found."""

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.engines.em import em
from bayesgmm.engines.em.climbs import climb
from bayesgmm.engines.em.coreset import SEEDING_ROWS, seeding_rows
from bayesgmm.kernels.seeding import rank_rows
from bayesgmm.kernels.uniforms import uniform


def two_groups(rng, large, small):
    """A large group, and a small one far off."""
    return np.concatenate([rng.normal(size=(large, 2)), 0.1 * rng.normal(size=(small, 2)) + [40.0, -30.0]])


def test_priorities_are_importance_over_a_uniform_of_the_row(rng):
    x, weight, centres = rng.normal(size=(50, 3)), rng.uniform(0, 2, 50), rng.normal(size=(4, 3))
    origin, unit = np.array([0.5, -1.0, 0.0]), np.array([2.0, 1.0, 0.25])
    importance, priority, counts, key = np.empty(50), np.empty(50), np.empty(4), np.uint64(7)
    even = rng.uniform(size=4)
    cost = rank_rows(x, weight, origin, 1 / unit, centres, even, 0.7, key, 1000, importance, priority, counts)
    squared = (((x - origin) / unit)[:, None] - centres) ** 2
    nearest, at = squared.sum(axis=-1).min(axis=1), squared.sum(axis=-1).argmin(axis=1)
    assert cost == pytest.approx(weight @ nearest, rel=1e-12)
    assert importance == pytest.approx(weight * (even[at] + 0.7 * nearest), rel=1e-12)
    assert counts == pytest.approx(np.bincount(at, weight, minlength=4), rel=1e-12)
    u = np.array([uniform(key, np.uint64(1000 + i)) for i in range(50)])
    assert priority == pytest.approx(importance / (1 - u), rel=1e-12)


def test_sample_is_as_large_as_said_and_stands_for_all(rng):
    data = bg.Observations.of(two_groups(rng, 30_000, 30), rng.integers(1, 4, 30_030)).standardised()
    sample = seeding_rows(data, 2, rng)
    assert len(sample) == SEEDING_ROWS
    assert sample.total_weight == pytest.approx(data.total_weight, rel=1e-12)
    assert (np.diff(sample.index) > 0).all()
    assert np.array_equal(sample.values, data.values[sample.index])


def test_a_small_group_is_represented_where_an_even_sample_misses_it(rng):
    data = bg.Observations.of(two_groups(rng, 200_000, 50)).standardised()
    drawn = [seeding_rows(data, 2, np.random.default_rng(seed)) for seed in range(20)]
    far = np.array([(s.values[:, 0] > 20).sum() for s in drawn])
    assert far.min() >= 15  # Half a row is expected of an even sample.


@pytest.mark.statistical
def test_weighted_sums_over_the_sample_are_right_on_average(rng):
    """Means of 400 samples lie within five standard errors; without the weights they lie hundreds away."""
    data = bg.Observations.of(two_groups(rng, 20_000, 200)).standardised()
    seen = (data.values - data.origin) / data.unit
    found, unweighted = [], []
    for seed in range(400):
        sample = seeding_rows(data, 2, np.random.default_rng(seed))
        x = (sample.values - data.origin) / data.unit
        found.append(
            [*(sample.sample_weight @ x), *(sample.sample_weight @ x**2), sample.sample_weight @ (x[:, 0] > 5)]
        )
        unweighted.append(x.mean(axis=0) * len(data))
    truth = np.array([*seen.sum(axis=0), *(seen**2).sum(axis=0), (seen[:, 0] > 5).sum()])
    found = np.array(found)
    error = found.std(axis=0) / 20
    assert (np.abs(found.mean(axis=0) - truth) < 5 * error).all()
    assert np.abs(np.mean(unweighted, axis=0) - truth[:2]).min() > 20 * error[:2].max()


@pytest.mark.parametrize("seed", range(5))
def test_em_finds_fifty_rows_among_two_hundred_thousand(seed):
    x = two_groups(np.random.default_rng(seed), 200_000, 50)
    result = bg.fit(x, 2, engine="em", seed=seed)
    # Dirichlet(4) is worth three rows more of each component.
    assert result.weights.values.min() * len(x) == pytest.approx(50 + 3, abs=2)


def test_starts_that_lead_to_one_optimum_of_the_sample_are_climbed_on_from_once(monkeypatch):
    """The optimum is the same, and its share of the starts."""
    x = two_groups(np.random.default_rng(1), 15_000, 15_000)
    found, climbed = [], []
    climb = em.climb

    def counting(first, data, *arguments, **options):
        if len(data) == len(x):
            climbed.append(len(first.weights))
        return climb(first, data, *arguments, **options)

    monkeypatch.setattr(em, "climb", counting)
    for sampled_from in (5, 1000):
        monkeypatch.setattr(em, "SAMPLED_FROM", sampled_from)
        found.append(bg.fit(x, 2, engine=bg.EM(init="random"), seed=1))
    merged, polished, many, again = climbed  # Starts, then the best of them polished.
    assert (merged, polished, again) == (2, 1, 1)
    assert many > 5
    one, other = (result.tree["optima"] for result in found)
    assert np.isclose(one["log_posterior"][0], other["log_posterior"][0], rtol=1e-12)
    assert one["basin_share"].sum() == pytest.approx(1)
    assert other["basin_share"].sum() == pytest.approx(1)


def test_a_start_that_collapses_on_the_sample_stands_for_itself(rng):
    """Two rows that repeat in the sample collapse a component under the flat prior; the start is kept as it was."""
    data = bg.Observations.of(np.append(rng.normal(size=300), [40.0, 40.0])[:, None]).standardised()
    prior = bg.ConjugatePrior.flat(2, 1, "full")
    seen = (data.values - data.origin) / data.unit
    onto = bg.MixtureParameters(
        np.array([[0.99, 0.01]] * 2), np.array([[[0.0], seen[-1]]] * 2), np.full((2, 2, 1, 1), 0.01)
    )
    kept, hits = em.merged(climb(onto, data, prior, bg.EM().stopping), onto, np.ones(2))
    assert hits.tolist() == [1, 1]
    assert np.array_equal(kept.means, onto.means)


def test_rows_of_no_weight_are_never_drawn(rng):
    x = two_groups(rng, 5000, 1000)
    weight = np.where(x[:, 0] > 20, 0.0, 1.0)
    sample = seeding_rows(bg.Observations.of(x, weight).counted().standardised(), 3, rng)
    assert sample.values[:, 0].max() < 20


def test_rows_that_repeat_few_values_still_give_a_sample(rng):
    x = rng.integers(2, size=(5000, 1)).astype(float)
    sample = seeding_rows(bg.Observations.of(x).standardised(), 4, rng)
    assert sample.total_weight == pytest.approx(5000)
    assert set(sample.values.ravel()) == {0.0, 1.0}
