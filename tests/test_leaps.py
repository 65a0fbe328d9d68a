"""Leaps of EM: monotone, to the same optima as plain EM, and in fewer passes."""

import numpy as np
import pytest
from mixtures import bound_problem

import bayesgmm as bg
from bayesgmm.data import Observations, sums
from bayesgmm.engines.em import climbs as module
from bayesgmm.engines.em.climbs import SETTLING, Stopping, climb
from bayesgmm.engines.em.starting_values import candidates
from bayesgmm.kernels import leaps
from bayesgmm.model.priors import ConjugatePrior

PRIORS = ["flat", "conjugate", "semiconjugate", "hierarchical"]
TOL = 1e-8


def a_problem(rng, prior, kind, *, n=150, d=2, k=3):
    """Return rows and a prior."""
    data, bound = bound_problem(rng, "conjugate" if prior == "flat" else prior, kind, n=n, d=d, k=k)
    return data, ConjugatePrior.flat(k, d, kind) if prior == "flat" else bound


def overlapping(rng, n=2000):
    """Return rows of two groups that lie on each other for the most part, and the flat prior."""
    x = np.concatenate([rng.normal(-0.7, 1.0, n // 2), rng.normal(0.7, 1.3, n // 2)])
    return Observations.of(x).standardised(), ConjugatePrior.flat(2, 1, "full")


@pytest.mark.parametrize("prior", PRIORS)
def test_climbs_that_leap_are_monotone_and_stop_no_sooner_than_plain_em(prior, kind):
    """From where 30 climbs end, plain EM to a far finer tolerance rises by no more than was allowed, as it should.

    Either way of climbing may stop early on a plateau: leaps must not do so more often.
    """
    early = {None: 0, 3: 0}
    for problem in range(5):
        rng = np.random.default_rng(problem)
        data, bound = a_problem(rng, prior, kind)
        starts = candidates(data, bound, "k-means++", 6, rng)
        for settling in early:
            ended = climb(starts, data, bound, Stopping(5000, TOL, settling=settling))
            sound = np.flatnonzero(ended.converged)
            for at in sound:
                heights = ended.trace(at)["log_posterior"]
                assert (np.diff(heights) >= -1e-10 * np.abs(heights[1:])).all()
                assert heights[-1] == ended.log_posterior[at]
            further = climb(ended.parameters[sound], data, bound, Stopping(20_000, 1e-14))
            rise = further.log_posterior - ended.log_posterior[sound]
            early[settling] += int((rise > 2 * TOL * np.abs(ended.progress[sound, 0]))[~further.collapsed].sum())
    assert early[3] <= early[None] + 1


def test_a_slow_climb_takes_far_fewer_passes_to_the_same_optimum(rng):
    data, prior = overlapping(rng)
    starts = candidates(data, prior, "k-means++", 4, rng)
    plain = climb(starts, data, prior, Stopping(50_000, 1e-11))
    leapt = climb(starts, data, prior, Stopping(50_000, 1e-11, settling=SETTLING))
    assert plain.converged.all()
    assert leapt.converged.all()
    assert (leapt.evaluations < plain.evaluations / 4).all()
    assert np.allclose(leapt.log_posterior, plain.log_posterior, atol=1e-3)


def test_a_climb_that_is_over_before_it_leaps_is_that_of_plain_em(rng):
    data, prior = overlapping(rng)
    start = candidates(data, prior, "k-means++", 1, rng)
    plain, leaping = (climb(start, data, prior, Stopping(SETTLING - 1, 0.0, settling=s)) for s in (None, SETTLING))
    assert (plain.trace(0)["log_posterior"] == leaping.trace(0)["log_posterior"]).all()


@pytest.mark.parametrize("chunk_rows", [40, 1000])
@pytest.mark.parametrize("prior", PRIORS)
def test_leaps_by_themselves_and_together_are_the_same_to_the_bit(prior, kind, chunk_rows, rng, monkeypatch):
    monkeypatch.setattr(sums, "CHUNK_ROWS", chunk_rows)
    data, bound = a_problem(rng, prior, kind)
    starts = candidates(data, bound, "random", 4, rng)
    problem = module.Problem.of(data, bound, Stopping(400, 1e-10, "parameters", settling=2))
    one, other = module.Climbs.at(starts), module.Climbs.at(starts)
    module.climb_compiled(one, problem)
    module.climb_together(other, problem)
    for key, array in one.arrays.items():
        assert np.array_equal(array, other.arrays[key], equal_nan=True), key
    for at in range(4):
        assert (one.numbers(at) == other.numbers(at)).all()
    assert np.isfinite(one.rate).any()


@pytest.mark.parametrize("held", [1, 2])
def test_a_leap_from_exactly_linear_steps_ends_near_the_fixed_point(held, rng):
    """Of as many rates as there are differences, least squares sees where all steps end, but for the ridge."""
    rates, at = np.linspace(0.5, 0.95, held), np.ones(held)
    memory, pace, state = np.zeros((2 + 2 * held, held)), leaps.paces(1)[0], np.empty((2, held))
    for _ in range(held + 1):
        state[1], state[0] = at, rates * at
        leaps.remember(state, memory, pace)
        at = state[0].copy()
    before = np.abs(at).max()
    leaps.leap(state, memory, pace)
    assert pace[leaps.BY] == leaps.MIXED
    assert np.abs(state[0]).max() < 0.25 * before


def test_a_leap_is_taken_back_where_no_density_is(rng):
    """A point without density, put in the way of a climb, costs it no height."""
    state, memory, pace = rng.normal(size=(2, 4)), rng.normal(size=(6, 4)), leaps.paces(1)[0]
    pace[[leaps.BY, leaps.HELD, leaps.NEXT]] = leaps.MIXED, 2, 2
    leaps.go_back(state, memory, pace)
    assert (state[1] == memory[0]).all()
    assert (state[0] == memory[1]).all()
    assert pace[leaps.BY] == leaps.STEP
    assert pace[leaps.HELD] == 0
    assert pace[leaps.IS_PRUDENT] == 1


def test_without_a_tolerance_there_are_no_leaps():
    assert bg.EM(tol=0).stopping.settling is None
    assert bg.EM().stopping.settling == SETTLING
