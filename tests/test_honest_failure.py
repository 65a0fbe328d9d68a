"""Claims that no fit fails in silence: each built failure raises its own warning, which stays in the result."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.estep import e_step
from bayesgmm.fitting import _warn
from bayesgmm.parameters import Draws, Optima

POINT = bg.MixtureParameters(np.array([0.4, 0.6]), np.array([[-2.0], [2.0]]), np.ones((2, 1, 1)))
OTHER = bg.MixtureParameters(np.array([0.9, 0.1]), np.array([[0.0], [3.0]]), np.array([[[5.0]], [[0.2]]]))
PRIOR = bg.ConjugatePrior(2.0, 0.0, 0.1, 5.0, 3.0)
MODEL = bg.MixtureModel(2, prior=PRIOR)
#: Failures built of each kind.
BUILT = 30


def about(point, rng, chains=4, draws=300, by=0.08):
    """Independent draws near one value."""
    grid = (chains, draws)
    weights = rng.dirichlet(300 * point.weights, size=grid)
    means = point.means + by * rng.normal(size=(*grid, 2, 1))
    covariances = point.covariances * np.exp(by * rng.normal(size=(*grid, 2, 1, 1)))
    return bg.MixtureParameters(weights, means, covariances)


def in_chains(parameters, change, chains):
    """Replace whole chains."""
    arrays = [np.array(a) for a in parameters.arrays]
    for array, new in zip(arrays, change.arrays, strict=True):
        array[list(chains)] = new[list(chains)]
    return bg.MixtureParameters(*arrays)


def repeated(parameters, times):
    """Let every draw stay for a while, as a chain that hardly moves."""
    at = np.arange(parameters.grid[1]) // times
    return bg.MixtureParameters(*(a[:, at] for a in parameters.arrays))


def result_of(parameters, data, optima=(POINT,), **stats):
    """Return the result of draws that no sampler has made."""
    model, seen = MODEL, MODEL.seen(data)
    at = seen.origin, seen.unit
    prior = PRIOR.bound(2, 1, "full").in_units(*at)
    parameters = parameters.moved(*at)
    stacked = bg.MixtureParameters(*(np.stack(a) for a in zip(*(o.arrays for o in optima), strict=True))).moved(*at)
    likelihood = e_step(parameters, seen).log_likelihood
    value = e_step(stacked, seen).log_likelihood + prior.log_density(stacked)
    found = Optima(stacked, value, np.full(len(optima), 1 / len(optima)), np.zeros(len(optima), bool))
    occupied = {"occupied": np.full(parameters.grid, 2.0)}
    draws = Draws(parameters, likelihood + prior.log_density(parameters), likelihood, found, occupied | stats)
    return bg.MixtureResult.of(draws, seen, model, bg.Gibbs(), seed=None, seconds=0.0)


def sound(rng, data):
    return result_of(about(POINT, rng), data)


def stuck(rng, data):
    chain = int(rng.integers(4))
    return result_of(in_chains(about(POINT, rng), about(OTHER, rng), [chain]), data, (POINT, OTHER))


def apart(rng, data):
    """Chains at a distance that R-hat sees, all of much the same height."""
    parameters = about(POINT, rng)
    shift = np.zeros((4, 1, 2, 1))
    shift[int(rng.integers(4))] = 0.15
    return result_of(replace(parameters, means=parameters.means + shift), data)


def slow(rng, data):
    return result_of(repeated(about(POINT, rng), 15), data)


def empty(rng, data):
    share = rng.uniform(0.07, 0.5)
    return result_of(about(POINT, rng), data, occupied=2.0 - (rng.random((4, 300)) < share))


def ambiguous(rng, data):
    """In some draws both components are the same."""
    parameters = about(POINT, rng)
    blurred = rng.random((4, 300)) < rng.uniform(0.1, 0.5)
    arrays = [np.array(a) for a in parameters.arrays]
    arrays[1][blurred] = 0.0
    arrays[2][blurred] = 5.0
    return result_of(bg.MixtureParameters(*arrays), data)


def diverging(rng, data):
    return result_of(about(POINT, rng), data, diverging=rng.random((4, 300)) < 0.01)


def unfinished(rng, data):
    overlap = data.values[:, 0] * rng.uniform(0.2, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.ConvergenceWarning)
        return bg.fit(overlap, MODEL, engine=bg.EM(max_iter=1, tol=1e-14), seed=int(rng.integers(1000)))


FAILURES = {
    "a chain in a minor mode": (stuck, bg.ConvergenceWarning, "are stuck in a minor mode .*nearest optimum by chain"),
    "chains apart": (apart, bg.ConvergenceWarning, "R-hat of .* raise draws"),
    "too few effective draws": (slow, bg.ConvergenceWarning, "effective draws of .* raise draws"),
    "an empty component": (empty, bg.EmptyComponentWarning, "has no row in .* fewer components"),
    "labels that cannot be told apart": (ambiguous, bg.LabelSwitchingWarning, "can hardly be told apart"),
    "divergences": (diverging, bg.ConvergenceWarning, "divergent transitions: raise target_accept"),
    "EM that stopped early": (unfinished, bg.ConvergenceWarning, "still rising .* raise max_iter"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_built_failure_is_never_silent(name):
    build, kind, says = FAILURES[name]
    rng = np.random.default_rng(len(name))
    for _ in range(BUILT):
        data, _ = bg.simulate(POINT, 60, seed=rng)
        result = build(rng, data)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            _warn(result)
        assert [str(w.message) for w in said] == [str(w) for w in result.warnings]
        assert any(isinstance(w, kind) and re.search(says, str(w)) for w in result.warnings), result.warnings


def test_a_sound_fit_is_silent():
    rng = np.random.default_rng(1)
    for _ in range(BUILT):
        data, _ = bg.simulate(POINT, 60, seed=rng)
        result = sound(rng, data)
        assert not result.warnings
        assert "Diagnostics are good" in repr(result).replace("\n", " ")


def test_warnings_come_back_from_a_file(tmp_path):
    rng = np.random.default_rng(1)
    data, _ = bg.simulate(POINT, 60, seed=rng)
    result = empty(rng, data)
    result.save(tmp_path / "r.nc")
    back = bg.load(tmp_path / "r.nc").warnings
    assert [type(w) for w in back] == [bg.EmptyComponentWarning]
    assert [str(w) for w in back] == [str(w) for w in result.warnings]


def test_chains_that_stay_near_different_optima_of_one_height_are_named():
    mirror = bg.MixtureParameters(np.array([0.5, 0.5]), np.array([[-2.0], [2.0]]), np.array([[[1.0]], [[4.0]]]))
    other = bg.MixtureParameters(np.array([0.5, 0.5]), np.array([[-2.0], [2.0]]), np.array([[[4.0]], [[1.0]]]))
    rng = np.random.default_rng(1)
    x = np.concatenate([half := rng.normal(2.0, 1.4, size=30), -half])
    parameters = in_chains(about(mirror, rng), about(other, rng), [1, 3])
    result = result_of(parameters, bg.Observations.of(x), (mirror, other))
    assert any(
        "chains stay near different optima (nearest optimum by chain: [0, 1, 0, 1])" in str(w) for w in result.warnings
    )
    assert result.modes()["chains"].tolist() == ["0, 2", "1, 3"]


def test_chains_that_all_move_between_two_optima_are_no_failure():
    """Each visits both about half the time: that their majorities differ by chance says nothing."""
    mirror = bg.MixtureParameters(np.array([0.5, 0.5]), np.array([[-2.0], [2.0]]), np.array([[[1.0]], [[4.0]]]))
    other = bg.MixtureParameters(np.array([0.5, 0.5]), np.array([[-2.0], [2.0]]), np.array([[[4.0]], [[1.0]]]))
    rng = np.random.default_rng(1)
    x = np.concatenate([half := rng.normal(2.0, 1.4, size=30), -half])
    one, two = about(mirror, rng), about(other, rng)
    swapped = rng.random((4, 300)) < 0.5
    arrays = [
        np.where(swapped.reshape(4, 300, *[1] * (a.ndim - 2)), b, a)
        for a, b in zip(one.arrays, two.arrays, strict=True)
    ]
    result = result_of(bg.MixtureParameters(*arrays), bg.Observations.of(x), (mirror, other))
    assert not any("different optima" in str(w) for w in result.warnings)
    assert result.modes()["chains"].tolist() == ["", ""]
    assert result.modes()["draws"].to_numpy() == pytest.approx([0.5, 0.5], abs=0.15)
