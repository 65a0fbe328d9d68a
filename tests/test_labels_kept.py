"""Claims about relabelled results: every answer uses the labels that the draws in the tree carry, and says which."""

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.answers import relabelling as relabel
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.results.modes import _visits
from bayesgmm.results.tree import dataset, parameters_of

QUICK = bg.Gibbs(draws=200, tune=100, chains=2)
#: Three groups that touch: methods give some draws other labels, and as sampled they switch.
TOUCHING = bg.MixtureParameters(
    np.array([0.4, 0.3, 0.3]), np.array([[0.0, 0.0], [1.8, 0.0], [0.9, 1.5]]), np.array([0.5 * np.eye(2)] * 3)
)


@pytest.fixture(scope="module")
def rows():
    return bg.simulate(TOUCHING, 80, seed=3)[0]


@pytest.fixture(scope="module")
def touching(rows):
    with pytest.warns(bg.errors.BayesGMMWarning):
        return bg.fit(rows, 3, engine=QUICK, seed=3, progress=False)


def own_memberships(result):
    """Responsibilities under every draw of the tree, averaged."""
    data = result.data
    draws = parameters_of(dataset(result.tree, "posterior")).moved(data.origin, data.unit)
    return estep.responsibilities(draws, data, result.model.covariance_type).mean(axis=(0, 1)).T


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DoubtfulGroupsWarning")
@pytest.mark.parametrize("method", [*relabel.METHODS, "none"])
def test_every_answer_is_of_the_labels_that_were_asked_for(touching, method, tmp_path):
    result = touching.relabelled(method)
    expected = own_memberships(result)
    assert np.allclose(result.predict_proba(), expected, atol=1e-12)
    assert (result.predict() == expected.argmax(axis=1)).all()
    means = result.means.mean(("chain", "draw")).values
    assert np.allclose(result.summary()["mean"]["mean[1, x0]"], means[1, 0])
    point = bg.fit(touching.data, 3, engine="em", start=touching.optimum)
    compared = bg.compare(point, result)
    assert np.allclose(compared.parameters["mean"], result.summary()["mean"])
    at = compared.memberships.loc[result.data.index[7]]
    assert np.isclose(at["posterior"], expected[7, int(at["point_label"])])
    result.save(tmp_path / "r.nc")
    loaded = bg.load(tmp_path / "r.nc")
    assert loaded.relabelling == result.relabelling == method
    assert np.array_equal(loaded.predict_proba(), result.predict_proba())


def test_methods_that_label_otherwise_answer_otherwise(touching):
    """Else no test above would see that a method was forgotten."""
    found = {method: touching.relabelled(method).predict_proba() for method in ("em", "ecr", "none")}
    assert np.abs(found["em"] - found["ecr"]).max() > 0.01
    assert np.abs(found["em"] - found["none"]).max() > 0.01
    assert np.array_equal(found["em"], touching.predict_proba())


def test_a_result_says_whose_labels_it_has(touching, tmp_path):
    said = {
        "stephens": ("labels by Stephens' method", "Stephens, M. (2000)", "mean responsibilities (Stephens, 2000)"),
        "ecr": ("labels by ECR", "Papastamoulis, P.", "(Papastamoulis and Iliopoulos, 2010)"),
        "ecr-iterated": ("labels by iterated ECR", "Rodríguez, C. E.", "(Rodríguez and Walker, 2014)"),
        "none": ("labels as sampled", "", "labels were left as they were sampled"),
    }
    pages = {}
    for method, (printed, work, done) in said.items():
        result = touching.relabelled(method)
        assert printed in " ".join(repr(result).split())
        assert np.isnan(result.switch_rate) == (method == "none")
        pages[method] = bg.report(result, tmp_path / f"{method}.html").read_text()
        for words in (printed.replace("'", "&#39;"), work, done):
            assert words in pages[method]
    assert "labels by" not in repr(touching)
    plain = bg.report(touching, tmp_path / "em.html").read_text()
    assert "the optimum that most draws are nearest to" in plain
    for work in ("Stephens, M.", "Papastamoulis, P.", "Rodríguez, C. E."):
        assert work not in plain


@pytest.mark.parametrize("kind", ["laplace", "bootstrap"])
def test_the_methods_paragraph_cites_how_draws_about_a_point_were_made(kind, faithful, tmp_path):
    result = bg.fit(faithful, 2, engine=bg.EM(uncertainty=kind, draws=30), seed=1)
    page = bg.report(result, tmp_path / "r.html").read_text()
    assert ("Vehtari et al., 2024" in page) == (kind == "laplace")
    assert ("Newton and Raftery, 1994" in page) == (kind == "bootstrap")
    assert "Stephens" not in page


@pytest.mark.filterwarnings("ignore:k-hat is above")
def test_draws_are_relabelled_once_a_fit_and_never_by_a_question(rows, monkeypatch, tmp_path):
    matched, calls = relabel.Matching.of.__func__, []

    def counted(cls, compared, target, *, hard):
        calls.append(len(compared.draws.weights))
        return matched(cls, compared, target, hard=hard)

    monkeypatch.setattr(relabel.Matching, "of", classmethod(counted))
    with pytest.warns(bg.errors.BayesGMMWarning):
        result = bg.fit(rows, 3, engine=QUICK, seed=3, progress=False)
    assert sum(number == 400 for number in calls) == 1
    calls.clear()
    one = rows.values[:1]
    result.memberships(one)
    result.predict(one)
    result.predict_proba()
    result.log_density()
    result.summary()
    result.diagnostics()
    result.modes()
    result.loo()
    result.predictive_check(seed=1)
    repr(result)
    result.save(tmp_path / "r.nc")
    bg.load(tmp_path / "r.nc").predict(one)
    assert calls == []


def test_labels_that_switch_are_no_doubt_about_a_result_whose_labels_do_not(touching):
    """What is said of labels is said anew; the rest stays."""
    raw = touching.relabelled("none")
    assert not any("labels switched" in str(w) for w in raw.warnings)
    others = [str(w) for w in touching.warnings if not isinstance(w, bg.LabelSwitchingWarning)]
    assert [str(w) for w in raw.warnings if not isinstance(w, bg.LabelSwitchingWarning)] == others
    again = raw.relabelled("em")
    assert np.array_equal(again.means, touching.means)
    assert [str(w) for w in again.warnings] == [str(w) for w in touching.warnings]


# The pivot is where the draws are.


def two_groups(rng):
    """Two groups far apart, and a start of EM that can only end with one component on few of the rows."""
    return np.concatenate([rng.normal(-4, 1, size=60), rng.normal(4, 1, size=60)])


@pytest.mark.parametrize("engine", [bg.Gibbs(draws=200, tune=200), bg.NUTS(draws=200)])
@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
def test_an_optimum_that_only_draws_lead_to_becomes_the_first_and_the_pivot(engine, monkeypatch, rng):
    """EM that is made to miss the groups: chains find them, and EM climbs from there."""
    x = two_groups(rng)
    known = bg.fit(x, 2, engine="em", seed=1)
    missed(monkeypatch)
    result = bg.fit(x, 2, engine=engine, seed=1, progress=False)
    modes = result.modes()
    assert modes["found_by"].tolist() == ["draws", "starts"]
    assert modes["basin_share"].tolist() == [0.0, 1.0]
    assert np.isclose(modes["log_posterior"].iloc[0], known.modes()["log_posterior"].iloc[0], atol=1e-6)
    assert modes["mass"].iloc[0] > 0.99
    assert modes["draws"].iloc[0] > 0.99
    assert np.array_equal(result.pivot.means, result.optimum.means)
    assert (np.abs(result.predict_proba() - known.predict_proba()[:, order_of(result, known)]) < 0.1).all()


def order_of(result, known):
    """EM's components in the order of the means of the result."""
    return np.argsort(known.means.values[0, 0, :, 0])[np.argsort(np.argsort(result.pivot.means[:, 0]))]


def missed(monkeypatch):
    """Let EM see one poor optimum alone, from which chains get away."""
    from bayesgmm.engines.gibbs import gibbs
    from bayesgmm.engines.nuts import nuts
    from bayesgmm.model.parameters import Optima

    class Poor(bg.EM):
        def run(self, data, prior, start, rng, progress=False, *, saved=None):
            found = bg.EM.run(self, data, prior, start, rng, saved=saved)
            one = bg.MixtureParameters(
                np.full((1, 2), 0.5), np.array([[[-0.3], [0.3]]]), np.array([[[[1.0]], [[1.2]]]])
            )
            value = estep.e_step(one, data, prior.covariance_type).log_likelihood + prior.log_density(one)
            poor = Optima(one, value, np.ones(1), np.zeros(1, bool))
            return bg.Draws(
                one.reshaped((1, 1)), value[None], value[None], poor, trace=found.trace, kind="point estimate"
            )

    for module in (gibbs, nuts):
        monkeypatch.setattr(module, "EM", Poor)


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
def test_what_starts_found_is_found_once(faithful):
    """The best draws lead to the optimum that is known: nothing is added."""
    modes = bg.fit(faithful, 2, engine=QUICK, seed=1, progress=False).modes()
    assert set(modes["found_by"]) == {"starts"}
    assert modes["basin_share"].sum() == pytest.approx(1)


def test_labels_are_those_of_the_optimum_that_most_draws_are_nearest_to(rng):
    """Of two optima the lower has the draws: it is the pivot, though not the first."""
    from test_honest_failure import OTHER, POINT, about, result_of

    data, _ = bg.simulate(POINT, 60, seed=rng)
    result = result_of(about(OTHER, rng), data, (POINT, OTHER))
    assert result.tree["optima"].attrs["pivot"] == 1
    assert np.allclose(result.pivot.means, OTHER.means)


def test_where_laplace_gives_a_mode_the_mass_that_draws_do_not_the_atlas_says_which_to_believe():
    """But two optima on one hill have its mass, and its draws, together."""
    nearest, mass = np.repeat([[1]], 50, axis=1), np.array([0.98, 0.02, 0.0])
    apart = _visits(nearest, mass, np.arange(3))
    assert apart["draws"] == [0.0, 1.0, 0.0]
    assert apart["note"][0].startswith("0% of the draws are here, for 98% of the mass by Laplace's")
    assert apart["note"][1].startswith("100% of the draws are here, for 2% of the mass")
    assert "believe the draws, if R-hat is good" in apart["note"][0]
    assert apart["note"][2] == ""
    assert _visits(nearest, np.array([1.0, 0.0, 0.0]), np.array([0, 0, 2]))["note"] == ["", "", ""]
