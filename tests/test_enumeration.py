"""Claims that both samplers visit groupings of few rows as often as the sum over all groupings says.

Everything but the grouping is integrated out, in closed form or by quadrature: see `truth.Groupings`. Groups overlap
so much that chains mix: of 40,000 draws the standard errors are honest, and about a third of `truth.CLOSE`.
"""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import truth
from scipy import stats

import bayesgmm as bg
from bayesgmm.data import sums

NINE = np.array([-2.9, -2.2, -1.6, -0.6, 0.1, 0.9, 1.5, 2.6, 3.7])[:, None]
EIGHT = np.array(
    [[-1.7, -0.5], [-1.2, -1.5], [-0.6, 0.7], [-0.2, -0.3], [0.6, 1.3], [1.0, -0.7], [1.5, 0.9], [2.2, 1.9]]
)
ROWS = {1: NINE, 2: EIGHT}
CONCENTRATION, SHRINKAGE, LOC = 1.5, 0.3, np.array([0.3, -0.2])
LOC_COVARIANCE, SCALE = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([[4.0, 1.2], [1.2, 3.0]])
FAMILIES = ["conjugate", "semiconjugate"]
ENGINES = {
    "Gibbs": bg.Gibbs(draws=10_000, tune=500, thin=10, permutation="random"),
    "Gibbs in one order": bg.Gibbs(draws=10_000, tune=500, thin=10),
    "NUTS": bg.NUTS(draws=10_000, tune=500),
}


def prior_of(family, d):
    loc, spread, scale = LOC[:d], LOC_COVARIANCE[:d, :d], SCALE[:d, :d]
    if family == "conjugate":
        return bg.ConjugatePrior(CONCENTRATION, loc, SHRINKAGE, d + 4.0, scale)
    return bg.SemiConjugatePrior(CONCENTRATION, loc, spread, d + 4.0, scale)


def group_of(family, d):
    """Return the same prior of one component, known without the package."""
    loc, spread, scale = LOC[:d], LOC_COVARIANCE[:d, :d], SCALE[:d, :d]
    if family == "conjugate":
        return truth.NormalInverseWishart.of("full", loc, SHRINKAGE, d + 4.0, scale)
    if d == 1:
        return truth.SemiConjugateGroup(loc[0], spread[0, 0], d + 4.0, scale[0, 0])
    return truth.SemiConjugateNormal(loc, spread, d + 4.0, scale)


@cache
def log_marginals(family, d):
    return group_of(family, d).log_marginals(ROWS[d])


def sampled(x, k, family, engine, **given):
    """Fit, tolerating every warning, but not chains that differ."""
    return sampled_under(x, bg.MixtureModel(k, prior=prior_of(family, x.shape[1])), engine, **given)


def sampled_under(x, model, engine, **given):
    import arviz as az

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        result = bg.fit(x, model, engine=ENGINES[engine], seed=20261122, progress=False, **given)
    assert az.rhat(result.tree["sample_stats"]["lp"].values) < 1.01
    return result.relabelled("none")


def claims_on(result, x, known):
    """Return claims on the draws as sampled."""
    arrays = (getattr(result, name).values for name in ("weights", "means", "covariances"))
    return list(known.claims(x, *arrays, result.tree["sample_stats"]["occupied"].values))


def claims_on_groupings(k, d, family, engine):
    known = truth.Groupings.over_partitions(log_marginals(family, d), k, CONCENTRATION)
    return claims_on(sampled(ROWS[d], k, family, engine), ROWS[d], known)


# Both samplers against the sum.

CASES = [(2, 1), (3, 1), (4, 1), (2, 2), (3, 2)]
SAMPLED = [
    pytest.param(k, d, engine, marks=[pytest.mark.slow] if engine == "NUTS" and (k, d) in ((4, 1), (3, 2)) else [])
    for engine in ("Gibbs", "NUTS")
    for k, d in CASES
]


@pytest.mark.statistical
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("k", "d", "engine"), SAMPLED)
def test_rows_share_components_as_often_as_the_sum_over_partitions_says(k, d, family, engine):
    claims = claims_on_groupings(k, d, family, engine)
    truth.hold(claims)
    truth.hold_closely(claims)


@pytest.mark.statistical
@pytest.mark.parametrize("family", FAMILIES)
def test_components_in_one_order_give_the_groupings_of_random_order(family):
    claims = claims_on_groupings(2, 1, family, "Gibbs in one order")
    truth.hold(claims)
    truth.hold_closely(claims)


@pytest.mark.statistical
@pytest.mark.parametrize("engine", ["Gibbs", "NUTS"])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_component_has_every_row_and_the_posterior_known_for_it(family, engine):
    result, group = sampled(NINE, 1, family, engine), group_of(family, 1)
    truth_of_one = truth.Groupings.over_partitions(log_marginals(family, 1), 1, CONCENTRATION)
    assert max(claim.gap for claim in claims_on(result, NINE, truth_of_one)) < 1e-12
    means, covariances = result.means.values[:, :, 0], result.covariances.values[:, :, 0]
    if family == "conjugate":
        truth.hold(group.given(NINE).claims(means, covariances))
    else:
        finer = replace(group, points=1500)
        truth.hold(finer.claims(NINE[:, 0], means[..., 0], covariances[..., 0, 0]))


@pytest.mark.statistical
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_in_several_chunks_are_grouped_as_in_one(family, monkeypatch):
    """The other of the two ways in which Gibbs passes over the rows."""
    monkeypatch.setattr(sums, "CHUNK_ROWS", 4)
    monkeypatch.setitem(ENGINES, "Gibbs", bg.Gibbs(draws=5000, tune=500, permutation="random"))
    truth.hold(claims_on_groupings(3, 1, family, "Gibbs"))


@pytest.mark.statistical
@pytest.mark.parametrize("engine", ["Gibbs", "NUTS"])
def test_rows_that_count_several_times_are_grouped_as_copies(engine):
    x, times = NINE[::2], np.array([1, 2, 1, 3, 2])
    copies = np.repeat(x, times, axis=0)
    known = truth.Groupings.over_partitions(group_of("conjugate", 1).log_marginals(copies), 3, CONCENTRATION)
    claims = claims_on(sampled(x, 3, "conjugate", engine, sample_weight=times), copies, known)
    truth.hold(claims)
    truth.hold_closely(claims)


# An unknown scale, which components share.

HIERARCHICAL = {"dof": 7.0, "scale_dof": 4.0, "scale_rate": np.array([[0.9, 0.2], [0.2, 0.6]]), "floor": [0.3, 0.5]}
#: Components, features, covariance type, and values on the grid of scales along each axis.
UNKNOWN = [
    (2, 1, "full", 60), (3, 1, "full", 60), (2, 2, "diag", 30), (3, 2, "diag", 30), (2, 2, "spherical", 60),
    (3, 2, "spherical", 60), (2, 2, "tied", 17), (3, 2, "tied", 17), (2, 2, "full", 11), (3, 2, "full", 11),
]  # fmt: skip
QUICK = UNKNOWN[:3] + UNKNOWN[6:7]


@cache
def groupings_of_unknown_scale(k, d, kind, scales):
    rate, floor = HIERARCHICAL["scale_rate"][:d, :d], np.array(HIERARCHICAL["floor"][:d])
    group = truth.UnknownScale(
        kind, k, LOC[:d], LOC_COVARIANCE[:d, :d] * (np.eye(d) if kind == "diag" else 1), HIERARCHICAL["dof"],
        HIERARCHICAL["scale_dof"], rate, floor, scales,
    )  # fmt: skip
    return truth.Groupings.over_partitions(group.log_marginals(ROWS[d]), k, CONCENTRATION)


def claims_on_unknown_scale(k, d, kind, scales, engine):
    spread = LOC_COVARIANCE[:d, :d] * (np.eye(d) if kind == "diag" else 1)
    given = {name: np.array(value)[:d] if name == "floor" else value for name, value in HIERARCHICAL.items()}
    given["scale_rate"] = HIERARCHICAL["scale_rate"][:d, :d]
    prior = bg.HierarchicalPrior(CONCENTRATION, LOC[:d], spread, **given)
    result = sampled_under(ROWS[d], bg.MixtureModel(k, kind, prior), engine)
    return claims_on(result, ROWS[d], groupings_of_unknown_scale(k, d, kind, scales))


@pytest.mark.statistical
@pytest.mark.parametrize("engine", ["Gibbs", "NUTS"])
@pytest.mark.parametrize(
    ("k", "d", "kind", "scales"),
    [pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow]) for case in UNKNOWN],
)
def test_rows_share_components_as_often_as_the_sum_over_partitions_and_scales_says(k, d, kind, scales, engine):
    claims = claims_on_unknown_scale(k, d, kind, scales, engine)
    truth.hold(claims)
    truth.hold_closely(claims)


@pytest.mark.parametrize(("k", "d", "kind", "scales", "finer"), [(2, 1, "full", 60, 90), (2, 2, "tied", 17, 23)])
def test_sum_over_scales_is_that_of_a_finer_grid(k, d, kind, scales, finer):
    one, other = (groupings_of_unknown_scale(k, d, kind, number) for number in (scales, finer))
    assert np.allclose(one.together, other.together, rtol=0, atol=5e-4)
    assert np.allclose(one.occupied, other.occupied, rtol=0, atol=5e-4)


UNKNOWN_BREAKS = {
    "a factor 2 in the Wishart of the scale": lambda p: replace(p, scale_rate=2 * p.scale_rate),
    "a scale whose rate is inverted": lambda p: replace(p, scale_rate=np.linalg.inv(p.scale_rate)),
    "two degrees of freedom more of the scale": lambda p: replace(p, scale_dof=p.scale_dof + 2),
    "a degree of freedom too many": lambda p: replace(p, dof=p.dof + 1),
    "a scale that stays at its mean": lambda p: p.given(p.expected_scale),
}


@pytest.mark.statistical
@pytest.mark.parametrize("engine", ["Gibbs", "NUTS"])
@pytest.mark.parametrize("name", UNKNOWN_BREAKS)
def test_sum_over_partitions_and_scales_sees(name, engine, with_other):
    with_other(engine, prior=UNKNOWN_BREAKS[name])
    assert truth.worst(claims_on_unknown_scale(3, 1, "full", 60, engine)) > truth.FAIL


# The sum itself, computed twice.


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("k", "d"), CASES)
def test_sums_over_labellings_and_over_partitions_agree(k, d, family):
    given = log_marginals(family, d), k, CONCENTRATION
    one, other = truth.Groupings.over_labellings(*given), truth.Groupings.over_partitions(*given)
    assert one.log_evidence == pytest.approx(other.log_evidence, abs=1e-11)
    assert np.allclose(one.together, other.together, rtol=0, atol=1e-12)
    assert np.allclose(one.occupied, other.occupied, rtol=0, atol=1e-12)
    assert one.squares == pytest.approx(other.squares, abs=1e-12)


def test_number_of_partitions_is_that_of_stirling():
    counts = np.bincount(truth.partitions(9, 4).max(axis=1))
    assert counts.tolist() == [1, 255, 3025, 7770]
    assert len(np.unique(truth.labellings(5, 3), axis=0)) == len(truth.labellings(5, 3)) == 3**5


def test_sum_over_subsets_agrees_with_the_sum_over_members():
    """`truth.Enumeration` finds each marginal likelihood, and the weights, by other code."""
    x, group = NINE[::2], truth.ConjugateGroup(LOC[0], SHRINKAGE, 5.0, SCALE[0, 0])
    known = truth.Enumeration(x[:, 0], np.full(2, CONCENTRATION), [group, group])
    found = truth.Groupings.over_partitions(group_of("conjugate", 1).log_marginals(x), 2, CONCENTRATION)
    assert np.allclose(found.together, known.together, rtol=0, atol=1e-12)
    both = known.members.any(axis=-1).all(axis=-1)
    assert found.occupied[1] == pytest.approx(known.posterior[both].sum(), abs=1e-12)
    assert found.occupied.sum() == pytest.approx(1, abs=1e-12)


def test_without_a_likelihood_rows_are_together_as_in_the_urn():
    k, n = 3, 6
    urn = truth.Groupings.over_partitions(np.zeros(2**n), k, CONCENTRATION)
    assert urn.log_evidence == pytest.approx(0, abs=1e-12)
    share = (CONCENTRATION + 1) / (k * CONCENTRATION + 1)
    assert np.allclose(urn.together, np.where(np.eye(n), 1, share), rtol=0, atol=1e-12)
    assert urn.squares == pytest.approx(share, abs=1e-12)
    alone = stats.dirichlet_multinomial(np.full(k, CONCENTRATION), n).pmf([n, 0, 0])
    assert urn.occupied[0] == pytest.approx(k * alone, abs=1e-12)


# Marginal likelihoods of subsets, computed twice.


def test_quadrature_over_the_mean_alone_and_over_mean_and_variance_agree():
    over_mean = truth.SemiConjugateNormal(LOC[:1], LOC_COVARIANCE[:1, :1], 5.0, SCALE[:1, :1])
    assert np.allclose(over_mean.log_marginals(NINE), log_marginals("semiconjugate", 1), rtol=0, atol=1e-7)


def test_quadrature_over_two_means_is_that_of_a_finer_grid():
    finer = replace(group_of("semiconjugate", 2), points=201)
    assert np.allclose(finer.log_marginals(EIGHT), log_marginals("semiconjugate", 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("d", [1, 2])
def test_density_given_the_mean_is_a_product_of_students_t(d):
    """A shrinkage of 1e9 rows fixes the mean, and a prior covariance of 1e-9 does."""
    x, scale = ROWS[d][:4], SCALE[:d, :d]
    known = truth.NormalInverseWishart.of("full", LOC[:d], 1e9, d + 4.0, scale).log_marginals(x)
    found = truth.SemiConjugateNormal(LOC[:d], 1e-9 * np.eye(d), d + 4.0, scale).log_marginals(x)
    assert np.allclose(found, known, rtol=0, atol=1e-6)


def test_responsibilities_are_those_of_scipy():
    rng, k = np.random.default_rng(3), 3
    weights, means = rng.dirichlet(np.ones(k), size=(1, 4)), rng.normal(size=(1, 4, k, 2))
    covariances = stats.invwishart(6, SCALE).rvs(size=4 * k, random_state=rng).reshape(1, 4, k, 2, 2)
    found = truth.responsibilities(EIGHT, weights, means, covariances)
    for draw in range(4):
        joint = weights[0, draw][:, None] * np.exp(truth.log_normals(EIGHT, means[0, draw], covariances[0, draw]))
        assert np.allclose(found[0, draw], joint / joint.sum(axis=0), rtol=1e-11, atol=0)


# Broken on purpose: what the checks above are able to see.


@pytest.fixture
def with_other(monkeypatch):
    """Return a function that changes the rows or the prior that `fit` passes to an engine."""

    def change(engine, rows=lambda data: data, prior=lambda prior: prior):
        kind = type(ENGINES[engine])
        run = kind.run

        def changed(self, data, given, *rest):
            return run(self, rows(data), prior(given), *rest)

        monkeypatch.setattr(kind, "run", changed)

    return change


def without_correlation(matrices):
    return matrices * np.eye(matrices.shape[-1])


PRIOR_BREAKS = {
    "a concentration one too large": ("conjugate", 1, lambda p: replace(p, concentration=p.concentration + 1)),
    "a degree of freedom too many": ("conjugate", 1, lambda p: replace(p, dof=p.dof + 1)),
    "a degree of freedom too few": ("semiconjugate", 1, lambda p: replace(p, dof=p.dof - 1)),
    "a mean that is worth twice the rows": ("conjugate", 1, lambda p: replace(p, shrinkage=2 * p.shrinkage)),
    "a location a fifth of a standard deviation off": ("conjugate", 1, lambda p: replace(p, loc=p.loc + 0.2)),
    "a scale a tenth too large": ("conjugate", 1, lambda p: replace(p, scale=1.1 * p.scale)),
    "a variance of the means that is halved": (
        "semiconjugate",
        1,
        lambda p: replace(p, loc_covariance=p.loc_covariance / 2),
    ),
    "a degree of freedom too many in two dimensions": ("semiconjugate", 2, lambda p: replace(p, dof=p.dof + 1)),
    "a scale without its correlation": ("conjugate", 2, lambda p: replace(p, scale=without_correlation(p.scale))),
    "means without their prior correlation": (
        "semiconjugate",
        2,
        lambda p: replace(p, loc_covariance=without_correlation(p.loc_covariance)),
    ),
}


@pytest.mark.statistical
@pytest.mark.parametrize("name", PRIOR_BREAKS)
def test_sum_over_partitions_sees(name, with_other):
    family, d, change = PRIOR_BREAKS[name]
    with_other("Gibbs", prior=change)
    assert truth.worst(claims_on_groupings(3, d, family, "Gibbs")) > truth.FAIL


@pytest.mark.statistical
@pytest.mark.parametrize(("family", "d"), [("conjugate", 1), ("semiconjugate", 2)])
def test_sum_over_partitions_sees_a_row_that_is_missing(family, d, with_other):
    with_other("Gibbs", rows=lambda data: data.taken(slice(1, None)))
    assert truth.worst(claims_on_groupings(3, d, family, "Gibbs")) > truth.FAIL


@pytest.mark.statistical
def test_sum_over_partitions_sees_a_degree_of_freedom_too_many_in_nuts(with_other):
    with_other("NUTS", prior=PRIOR_BREAKS["a degree of freedom too many"][-1])
    assert truth.worst(claims_on_groupings(2, 1, "conjugate", "NUTS")) > truth.FAIL
