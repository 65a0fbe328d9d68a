"""Claims about EM with uncertainty: what the approximations are near, and when they say that they are not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm.answers.diagnostics import doubts, smoothed_importance_weights
from bayesgmm.engines.em.approximations import laplace_draws, systematic

WORDS = {"laplace": "Laplace approximation", "bootstrap": "weighted-likelihood bootstrap"}


@pytest.fixture(scope="module", params=WORDS)
def approximate(request, customers):
    return request.param, bg.fit(customers, 2, engine=bg.EM(uncertainty=request.param), seed=1)


def test_the_estimate_is_that_of_em_alone(approximate, customers):
    _, result = approximate
    point = bg.fit(customers, 2, engine="em", seed=1)
    for ours, theirs in zip(result.parameters.arrays, point.parameters.arrays, strict=True):
        assert np.allclose(ours, theirs, rtol=1e-9)
    assert result.criteria().to_dict() == pytest.approx(point.criteria().to_dict(), rel=1e-9)
    assert result.modes().equals(point.modes())


def test_it_is_marked_as_what_it_is(approximate, tmp_path):
    word, result = approximate
    assert result.kind == WORDS[word]
    assert result.memberships().attrs["kind"] == WORDS[word]
    assert WORDS[word] in repr(result).replace("\n", " ")
    assert not result.is_point
    result.save(tmp_path / "r.nc")
    back = bg.load(tmp_path / "r.nc")
    assert back.kind == result.kind
    assert back.facts == result.facts
    assert back.engine == result.engine
    assert back.memberships().equals(result.memberships())


def test_memberships_have_intervals_near_those_of_the_posterior(approximate, customers):
    """400 rows, well approximated: within a tenth, where the intervals themselves are up to half wide."""
    _, result = approximate
    posterior = bg.fit(customers, 2, engine=bg.NUTS(draws=2000), seed=1, progress=False).memberships()
    found = result.memberships()
    assert np.abs(found.probability - posterior.probability).max() < 0.04
    for bound in ("lower", "upper"):
        assert np.abs(found[bound] - posterior[bound]).mean() < 0.01
        assert np.abs(found[bound] - posterior[bound]).max() < 0.1
    assert ((found.upper - found.lower).max() > 0.3).item()
    assert np.allclose(found.entropy, found.entropy_overlap + found.entropy_parameter, atol=1e-10)
    assert (found.entropy_parameter >= -1e-10).all()


def test_laplace_draws_of_one_component_have_its_posterior():
    """After reweighting: the closed form of mean and variance, by quantiles."""
    x = np.random.default_rng(3).normal(2.0, 3.0, size=12)
    prior = bg.ConjugatePrior(1.0, 0.5, 0.8, 4.0, 5.0)
    engine = bg.EM(uncertainty="laplace", draws=20_000)
    result = bg.fit(x, bg.MixtureModel(1, prior=prior), engine=engine, seed=1)
    n, dof = 12, 4.0 + 12
    loc = (0.8 * 0.5 + x.sum()) / (0.8 + n)
    scale = 5.0 + ((x - x.mean()) ** 2).sum() + 0.8 * n / (0.8 + n) * (x.mean() - 0.5) ** 2
    mean = stats.t(dof, loc, np.sqrt(scale / dof / (0.8 + n)))
    variance = stats.invgamma(dof / 2, scale=scale / 2)
    for values, known in ((result.means, mean), (result.covariances, variance)):
        for p in (0.05, 0.5, 0.95):
            assert (values.values < known.ppf(p)).mean() == pytest.approx(p, abs=0.01)
    assert result.facts["k_hat"] < 0.7


def test_laplace_covers_both_modes_of_mirrored_rows(rng):
    """Three clumps in two groups, the same read backwards: the large group lies on either side as often."""
    side, middle = rng.normal(-3.0, 0.4, size=12), rng.normal(0, 0.4, size=6)
    data = bg.Observations.of(np.concatenate([side, middle, -middle, -side])).standardised()
    prior = bg.ConjugatePrior(2.0, 0.0, 0.1, 6.0, 4.0).bound(2, 1, "full").in_units(data.origin, data.unit)
    one = bg.EM().run(data, prior, None, rng).optima
    w, m, c = one.parameters[0].arrays
    both = bg.MixtureParameters(np.stack([w, w]), np.stack([m, -m]), np.stack([c, c]))
    optima = replace(one, parameters=both, log_posterior=np.repeat(one.log_posterior[:1], 2), converged=None)
    drawn = laplace_draws(optima, data, prior, 4000, rng).parameters
    centre = drawn.means[np.arange(4000), drawn.weights.argmax(axis=1), 0]
    assert (centre < 0).mean() == pytest.approx(0.5, abs=0.05)
    assert np.abs(centre).mean() > 0.3


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DoubtfulGroupsWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.errors.EmptyComponentWarning")
def test_a_posterior_too_far_from_normal_is_said_so():
    x = np.random.default_rng(1).normal(size=12)
    with pytest.warns(bg.ConvergenceWarning, match=r"k-hat is .* use engine='nuts' or 'gibbs'"):
        result = bg.fit(x, bg.MixtureModel(3), engine=bg.EM(uncertainty="laplace"), seed=1)
    assert result.facts["k_hat"] > 0.7
    assert "k-hat" in repr(result)


def test_bootstrap_of_the_mean_has_the_known_spread():
    """One component, flat prior: weighted means, whose variance given the rows is the second moment over n + 1."""
    x = np.random.default_rng(3).exponential(size=50)
    engine = bg.EM(uncertainty="bootstrap", draws=20_000)
    means = bg.fit(x, bg.MixtureModel(1, prior="flat"), engine=engine, seed=1).means.values.ravel()
    variance = ((x - x.mean()) ** 2).mean() / 51
    assert means.mean() == pytest.approx(x.mean(), abs=5 * np.sqrt(variance / 20_000))
    assert means.var() == pytest.approx(variance, rel=5 * np.sqrt(3 / 20_000))


def test_bootstrap_counts_a_row_of_weight_three_as_three_rows(rng):
    x, weight = rng.normal(size=30), rng.integers(1, 5, size=30)
    engine = bg.EM(uncertainty="bootstrap", draws=20_000)
    model = bg.MixtureModel(1, prior="flat")
    weighted = bg.fit(x, model, engine=engine, sample_weight=weight, seed=1).means.values
    repeated = bg.fit(np.repeat(x, weight), model, engine=engine, seed=2).means.values
    assert weighted.std() == pytest.approx(repeated.std(), rel=5 * np.sqrt(1 / 20_000))


@pytest.mark.filterwarnings("ignore:.*nearly as high:bayesgmm.ConvergenceWarning")
def test_replicates_that_collapse_are_counted_and_warned_of():
    """Of three equal rows a component can shrink onto them in some replicates."""
    x = np.concatenate([np.random.default_rng(3).normal(size=14), [4.0, 4.02, 4.05]])
    engine = bg.EM(uncertainty="bootstrap", draws=400)
    with pytest.warns(bg.ConvergenceWarning, match="replicates collapsed and were dropped"):
        result = bg.fit(x, bg.MixtureModel(2, prior="flat"), engine=engine, seed=1)
    assert result.weights.sizes["draw"] == 400 - result.facts["dropped_replicates"]


def test_laplace_under_the_flat_prior_is_refused(customers):
    with pytest.raises(bg.ModelError, match="there is none; use a proper prior or uncertainty='bootstrap'"):
        bg.fit(customers, bg.MixtureModel(2, prior="flat"), engine=bg.EM(uncertainty="laplace"), seed=1)


def test_smoothed_weights_are_those_of_importance_where_nothing_is_heavy(rng):
    ratios = -rng.uniform(size=4000)
    weights, k_hat = smoothed_importance_weights(ratios)
    assert np.abs(weights / (np.exp(ratios) / np.exp(ratios).sum()) - 1).max() < 0.02
    assert k_hat < 0.5


def test_a_proposal_that_is_too_narrow_has_a_high_k_hat(rng):
    x = rng.normal(size=4000)
    narrow = stats.t(2).logpdf(x) - stats.norm.logpdf(x)
    assert smoothed_importance_weights(5 * narrow)[1] > 0.7
    assert doubts({"k_hat": smoothed_importance_weights(5 * narrow)[1]})


def test_systematic_draws_have_the_expected_counts_to_within_one(rng):
    weights = rng.dirichlet(np.ones(50))
    counts = np.bincount(systematic(weights, 1000, rng), minlength=50)
    assert np.abs(counts - 1000 * weights).max() < 1
