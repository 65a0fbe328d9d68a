"""Claims that no fit fails in silence: each failure has a warning of its own, which stays in the result."""

import html
import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.answers.diagnostics import Run, complaints, in_words, table
from bayesgmm.engines.em.em import missing_information
from bayesgmm.expectation.pass_over_rows import e_step
from bayesgmm.fitting import warn_of
from bayesgmm.model.parameters import Draws, Optima
from bayesgmm.results import doubts

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


def result_of(parameters, data, optima=(POINT,), share=None, **stats):
    """Return the result of draws that no sampler has made."""
    model, seen = MODEL, MODEL.seen(data)
    at = seen.origin, seen.unit
    prior = PRIOR.bound(2, 1, "full").in_units(*at)
    parameters = parameters.moved(*at)
    stacked = bg.MixtureParameters(*(np.stack(a) for a in zip(*(o.arrays for o in optima), strict=True))).moved(*at)
    likelihood = e_step(parameters, seen).log_likelihood
    value = e_step(stacked, seen).log_likelihood + prior.log_density(stacked)
    share = np.full(len(optima), 1 / len(optima)) if share is None else np.array(share)
    found = Optima(stacked, value, share, np.zeros(len(optima), bool), by_draws=share == 0)
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
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        first = rng.permutation(np.arange(len(overlap)) % 2)
        return bg.fit(overlap, MODEL, engine=bg.EM(max_iter=1, tol=1e-14), start=first, seed=1)


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
            warn_of(result)
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


# Fits that converge, and that a person would call wrong: each says so in its own sentence.

#: Seeds of each kind of fit that are tried in an ordinary run, and with ``-m slow``.
FEW, MANY = 3, 12


def seeds(few=FEW):
    return [*range(few), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(few, MANY))]


def separated(rng, n, d, k, apart=6.0):
    """Rows of groups that are so many standard deviations apart, of any shape and of unequal sizes."""
    means = np.zeros((k, d))
    while (np.linalg.norm(means[:, None] - means, axis=-1) + 1e9 * np.eye(k)).min() < apart:
        means = apart * k * rng.uniform(-1, 1, size=(k, d))
    roots = rng.normal(size=(k, d, 2 * d + 2))
    covariances = roots @ np.swapaxes(roots, -1, -2) / (2 * d + 2)
    return bg.simulate(bg.MixtureParameters(rng.dirichlet(np.full(k, 20.0)), means, covariances), n, seed=rng)[0].values


def with_column(x, column, name):
    return pd.DataFrame(x, columns=[f"x{j}" for j in range(x.shape[1])]).assign(**{name: column})


def few_rows(rng):
    """Two groups and three rows far off, which the third component takes."""
    x = separated(rng, 120, 4, 2)
    return np.concatenate([x, 40 + rng.normal(size=(3, 4))]), 3, "full"


def more_parameters_than_rows(rng):
    return separated(rng, int(rng.integers(30, 50)), 6, 2), 2, "full"


def two_values(rng):
    """A column of two values beside one group."""
    n = int(rng.integers(100, 400))
    return (
        with_column(rng.normal(size=(n, 2)), np.where(rng.random(n) < 0.4, "7", "3").astype(float), "switch"),
        2,
        "full",
    )


def rounded(rng):
    """One group, whose last column has few digits left."""
    n = int(rng.integers(300, 600))
    return with_column(rng.normal(size=(n, 1)), np.round(rng.gamma(0.35, size=n)), "visits"), 2, "full"


def numbered(rng):
    """Two groups, one after the other, and a number of the rows."""
    x = separated(rng, 100, 2, 2)
    first = int(rng.integers(1, 1000))
    return with_column(x, first + np.cumsum(rng.integers(1, 4, size=len(x))), "customer"), 2, "full"


def evenly_spaced(rng):
    x = separated(rng, 80, 2, 2)
    return with_column(x, rng.permutation(np.linspace(0.5, 9.3, len(x))), "code"), 2, "full"


def too_many_groups(rng):
    """One group for which ten are asked."""
    return separated(rng, int(rng.integers(100, 300)), 2, 1), 10, "full"


def no_group_for_a_component(rng):
    """Two points of a grid can be in at most two groups."""
    return np.repeat([[0.0], [1.0]], 20, axis=0) + 1e-3 * rng.normal(size=(40, 1)), 6, "full"


DOUBTFUL = {
    few_rows: r"group \d has about 3 rows, no more than the 5 that a covariance of 4 column.* or fewer groups",
    more_parameters_than_rows: r"55 free parameters are fitted to \d+ rows: .*'tied' or 'diag'",
    two_values: r"column 'switch' has two values, 3 and 7, and every group has one of them.* leave it out",
    rounded: r"narrower in column 'visits' than the step of 1 between its values.* more digits",
    numbered: r"column 'customer' looks like a number of the rows.* whole numbers in order of the rows.* leave it out",
    evenly_spaced: r"column 'code' looks like a number of the rows.* different and evenly spaced.* leave it out",
    too_many_groups: r"groups \d and \d (lie on each other|gain .* over one group).* try 9 groups",
    no_group_for_a_component: r"groups \d and \d (lie on each other|gain .* over one group).* try 5 groups"
    r"|group.* no more than the 2 that",
}


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("built", DOUBTFUL, ids=lambda built: built.__name__)
def test_groups_that_a_person_would_call_wrong_are_called_doubtful(built, seed):
    data, k, kind = built(np.random.default_rng([seed, 7]))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = bg.fit(data, bg.MixtureModel(k, kind), engine=bg.EM(max_iter=5000), seed=seed)
    found = [str(w) for w in result.warnings if isinstance(w, (bg.DoubtfulGroupsWarning, bg.EmptyComponentWarning))]
    assert any(re.search(DOUBTFUL[built], sentence) for sentence in found), found
    assert [str(w.message) for w in said] == [str(w) for w in result.warnings]
    printed = " ".join(repr(result).split())
    assert all(sentence[1:] in printed for sentence in found)


@pytest.mark.parametrize("seed", seeds(1))
@pytest.mark.parametrize("built", [few_rows, two_values, numbered], ids=lambda built: built.__name__)
@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
def test_doubts_of_groups_are_said_of_draws_too(built, seed, tmp_path):
    data, k, kind = built(np.random.default_rng([seed, 7]))
    result = bg.fit(data, bg.MixtureModel(k, kind), engine="gibbs", seed=seed, progress=False)
    sentence = next(str(w) for w in result.warnings if re.search(DOUBTFUL[built], str(w)))
    assert sentence[1:] in " ".join(repr(result).split())
    assert sentence in html.unescape(bg.report(result, tmp_path / "r.html").read_text())


@pytest.mark.parametrize("seed", seeds())
def test_a_flat_fit_of_which_every_optimum_is_spurious_says_so(seed):
    x = np.random.default_rng(seed).normal(size=(14, 3))
    with pytest.warns(bg.errors.BayesGMMWarning):
        result = bg.fit(x, bg.MixtureModel(3, prior="flat"), engine="em", seed=seed)
    assert result.modes()["spurious"].all()
    assert any("has no bound: such groups are chance; use the default prior" in str(w) for w in result.warnings)
    assert "such groups are chance" in " ".join(repr(result).split())


def test_chains_that_stand_still_apart_have_an_infinite_r_hat():
    """A sentence says so, and no warning of NumPy."""
    values = np.repeat([[0.0], [1.0]], 10, axis=1)
    assert table({"weight": values}).loc["weight", "r_hat"] == np.inf


def test_an_optimum_that_only_the_chains_found_is_named(rng):
    data, _ = bg.simulate(POINT, 60, seed=rng)
    result = result_of(about(POINT, rng), data, (POINT, OTHER), share=[0.0, 1.0])
    assert any(
        re.search(r"an optimum [\d.]+ nats above the best that EM's starts led to", str(w)) for w in result.warnings
    )


# Sound fits say nothing.


def tables():
    return {
        "faithful": (bg.datasets.load_faithful(), 2),
        "customers": (bg.datasets.load_customers(), 2),
        "galaxies": (bg.datasets.load_galaxies("mass"), 3),
        "iris, 2": (bg.datasets.load_iris().drop(columns="species"), 2),
        "iris, 3": (bg.datasets.load_iris().drop(columns="species"), 3),
    }


@pytest.mark.parametrize("name", tables())
def test_sound_fits_of_known_tables_say_nothing(name, kind):
    data, k = tables()[name]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        bg.fit(data, bg.MixtureModel(k, kind), engine="em", seed=1)
    # Of diagonal covariances, that of iris has a rival half a nat below.
    rivals = [w for w in said if "nearly as high" in str(w.message)]
    assert len(said) == len(rivals) == ((name, kind) == ("iris, 3", "diag"))


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize(
    ("n", "d", "k"),
    [(50, 1, 2), (50, 2, 2), (100, 2, 3), (200, 4, 2), (300, 4, 3), (500, 10, 2), (2000, 10, 3), (2000, 1, 3)],
)
def test_sound_fits_of_groups_that_are_apart_say_nothing(n, d, k, seed):
    data = separated(np.random.default_rng([seed, n, d, k]), n, d, k)
    result = bg.fit(data, k, engine="em", seed=seed)
    assert not result.warnings
    assert "EM converged." in repr(result)


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.ConvergenceWarning")
@pytest.mark.parametrize(("n", "d", "k"), [(200, 4, 3), (300, 8, 2), (600, 13, 3)])
def test_groups_that_columns_without_groups_surround_are_not_called_one(n, d, k):
    """They are four standard deviations apart in one direction, and the others cost many parameters."""
    rng = np.random.default_rng([n, d])
    x = rng.normal(size=(n, d))
    x[:, 0] += 4.5 * rng.integers(k, size=n)
    result = bg.fit(x, k, engine="em", seed=1)
    assert not [w for w in result.warnings if isinstance(w, bg.DoubtfulGroupsWarning)]


def test_halves_of_one_normal_are_told_from_two_groups_by_how_far_apart_they_are():
    """Cut at its mean, each has a mean sqrt(2 / pi) away and the variance that this leaves."""
    away = np.sqrt(2 / np.pi)
    halves = 2 * away / np.sqrt(1 - away**2)
    assert halves == pytest.approx(2.65, abs=0.01)
    assert halves + 0.5 < doubts.HALVES < 4.0


@pytest.mark.parametrize("seed", seeds(1))
@pytest.mark.parametrize(("n", "d", "k"), [(60, 1, 2), (200, 2, 3), (300, 4, 2)])
def test_sound_draws_of_groups_that_are_apart_say_nothing(n, d, k, seed):
    data = separated(np.random.default_rng([seed, n, d, k]), n, d, k)
    result = bg.fit(data, k, engine="gibbs", seed=seed, progress=False)
    assert not result.warnings
    assert "Diagnostics are good" in " ".join(repr(result).split())


def test_columns_that_are_measured_are_no_numbers_of_rows():
    """Sorted whole numbers with gaps, a column of two values that part no group, numbers in any order."""
    rng = np.random.default_rng(1)
    sorted_speeds = np.sort(rng.integers(9000, 35000, size=82)).astype(float)
    assert not bg.fit(sorted_speeds, 1, engine="em", seed=1).warnings
    x = separated(rng, 200, 2, 2)
    aside = with_column(x, rng.integers(2, size=200).astype(float), "sex")
    assert not bg.fit(aside, bg.MixtureModel(2, "diag"), engine="em", seed=1).warnings
    shuffled = with_column(x, rng.permutation(200).astype(float) ** 1.5, "age")
    assert not bg.fit(shuffled, 2, engine="em", seed=1).warnings


# What is said, and of what.


def test_quantities_are_named_in_words_and_unknown_ones_as_they_are():
    words = {
        "together[56, 131]": "whether rows 56 and 131 belong together",
        "largest_membership[C200]": "how surely row C200 belongs to its group",
        "mixture_mean[waiting, in minutes]": "the mean of waiting, in minutes over all groups",
        "log_det_sorted[0]": "the volume of the group that is number 1 by volume",
        "largest_weight": "the share of the largest group",
        "of one's own": "of one's own",
    }
    assert {name: in_words(name) for name in words} == words
    rng = np.random.default_rng(1)
    data, _ = bg.simulate(POINT, 60, seed=rng)
    named = [name for name in sound(rng, data).diagnostics().index if in_words(name) == name]
    assert named == ["switch_rate", "divergences", "stuck_chains"]
    said = " ".join(str(w) for w in slow(rng, data).warnings)
    assert "[" not in said
    assert "_" not in said


def test_quantities_have_the_units_of_the_data(faithful):
    """Ten minutes are 600 seconds: what is said of them follows."""
    engine, factor = bg.Gibbs(draws=50, tune=50, chains=2), np.array([60.0, 60.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        one, other = (
            bg.fit(x, 2, engine=engine, seed=1, progress=False).diagnostics()["mean"]
            for x in (faithful, faithful * factor)
        )
    assert one["mixture_mean[waiting]"] == pytest.approx(faithful["waiting"].mean(), rel=0.02)
    assert one["mixture_sd[waiting]"] == pytest.approx(faithful["waiting"].std(), rel=0.1)
    assert other["mixture_mean[waiting]"] == pytest.approx(60 * one["mixture_mean[waiting]"], rel=1e-8)
    assert other["mixture_sd[waiting]"] == pytest.approx(60 * one["mixture_sd[waiting]"], rel=1e-8)
    assert other["log_det_sorted[0]"] == pytest.approx(one["log_det_sorted[0]"] + 4 * np.log(60), rel=1e-8)


def test_what_was_never_measured_is_not_complained_of():
    """Few draws say nothing of what labels hide; nor does a climb of which it was not measured."""
    rng = np.random.default_rng(1)
    data, _ = bg.simulate(POINT, 60, seed=rng)
    short = result_of(about(POINT, rng, chains=2, draws=20), data)
    assert not any("labels hide" in str(w) for w in short.warnings)
    quantities = table({"largest_weight": np.repeat(rng.normal(size=(4, 20)), 15, axis=1)})
    run = Run(np.zeros((4, 300)), [0] * 4, 0, 0.0, 0.0, 0.0)
    assert not any("labels hide" in str(w) for w in complaints(quantities, run))
    hidden = complaints(quantities, replace(run, missing_information=0.99))
    assert any("labels hide 99 % of the information" in str(w) for w in hidden)


def test_labels_that_are_certain_hide_nothing():
    """Gains that grew until the last step: to the next, the climb gained nothing."""
    gains = [0.6, 7.8, 21.0, 151.0, 115.0, 0.0, 0.0]
    assert missing_information(np.cumsum([-500.0, *gains]))["missing_information"] < 1e-4
    assert missing_information(np.cumsum([-500.0, *gains[:4]])) == {}
    binary = np.repeat([0.0, 1.0], 60)
    x = with_column(np.random.default_rng(1).normal(size=(120, 3)), binary, "sex")
    with pytest.warns(bg.DoubtfulGroupsWarning, match="'sex' has two values"):
        result = bg.fit(x, 2, engine="em", seed=1)
    assert (result.predict_proba().max(axis=1) == 1).all()
    assert result.facts.get("missing_information", 0.0) < 0.01
