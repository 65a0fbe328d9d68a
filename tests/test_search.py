"""The search for optima: partitions, moves, starts that are left, and what is said of optima that are not clear."""

import tracemalloc
import warnings
from itertools import permutations

import numba
import numpy as np
import pytest
from mixtures import bound_problem
from scipy.stats import chi2, norm
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import bayesgmm as bg
from bayesgmm.engines.em import climbs as module
from bayesgmm.engines.em.climbs import LEFT, Stopping, climb
from bayesgmm.engines.em.coreset import Drawn
from bayesgmm.engines.em.search import _pursued, improved, moves, screened
from bayesgmm.engines.em.starting_values import Table, candidates, from_labels, implied
from bayesgmm.kernels import threads
from bayesgmm.kernels.partitions import draw_apart, pursue, settle
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import Optima


def lp(result):
    return float(result.tree["sample_stats"]["lp"][0, 0])


def groups(rng, n, d, k, apart):
    """Rows of unit variance about centres that lie about so far apart, and their groups."""
    centres, labels = rng.normal(size=(k, d)) * apart / np.sqrt(2 * d), rng.integers(k, size=n)
    return centres[labels] + rng.normal(size=(n, d)), labels


def bound_flat(x, k, kind="full"):
    data = bg.Observations.of(x).standardised()
    return data, bg.ConjugatePrior.flat(k, data.n_features, kind)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_centres_settle_where_those_of_scikit_learn_do(rng, d):
    x, weight, centres = rng.normal(size=(700, d)), rng.integers(1, 4, 700).astype(float), rng.normal(size=(4, d))
    theirs = KMeans(4, init=centres, n_init=1, tol=0, max_iter=500).fit(x, sample_weight=weight)
    labels, nearest = np.empty(700, np.int32), np.empty(700)
    cost = settle(np.ascontiguousarray(x.T), weight, 500, centres, labels, nearest)
    assert (labels == theirs.labels_).all()
    assert np.allclose(centres, theirs.cluster_centers_, rtol=1e-9)
    assert cost == pytest.approx(theirs.inertia_, rel=1e-9)


@pytest.mark.statistical
def test_the_second_centre_is_drawn_in_proportion_to_weight_and_squared_distance(rng):
    """Of 20,000 draws, given the first; an alert at one in ten thousand."""
    x, weight = rng.normal(size=8), rng.uniform(0.5, 2, 8)
    drawn, room = np.zeros(8), (np.empty((1, 1)), np.empty(8), np.empty(8))
    for _ in range(20_000):
        centres, uniforms = np.empty((2, 1)), np.array([[0.0], [rng.uniform()]])
        draw_apart(x[None], weight, uniforms, centres, *room)
        assert centres[0, 0] == x[0]
        drawn[x == centres[1, 0]] += 1
    expected = weight * (x - x[0]) ** 2
    expected *= 20_000 / expected.sum()
    assert ((drawn - expected)[1:] ** 2 / expected[1:]).sum() < chi2(6).isf(1e-4)
    assert drawn[0] == 0


def test_what_groups_imply_are_their_means_and_covariances_drawn_to_that_within_all(rng, kind):
    """A second way: sums over each group by NumPy, an empty one among them."""
    data, _ = bound_problem(rng, "conjugate", kind, k=3, d=3, n=200)
    labels = np.where(np.arange(200) % 3 > 0, 2, 0).astype(np.int32)
    table = Table.of(data)
    found = implied(table, labels[None], 3, kind)[0]
    member = (labels == np.arange(3)[:, None]) * data.sample_weight
    counts = member.sum(axis=1)
    x = table.columns.T
    about = (member @ x) / np.maximum(counts, 1)[:, None]
    second = np.array([(m[:, None] * (x - a)).T @ (x - a) for m, a in zip(member, about, strict=True)])
    within = second.sum(axis=0) / counts.sum()
    expected = np.array([(s + 5 * within) / (n + 5) for s, n in zip(second, counts, strict=True)])
    expected = (
        np.stack(3 * [within]) if kind == "tied" else cov.pooled(expected, kind) / (3 if kind == "spherical" else 1)
    )
    assert np.allclose(found.means, about, rtol=1e-10)
    assert np.allclose(found.covariances, expected, rtol=1e-10, atol=1e-11)
    assert np.allclose(found.weights, (counts + 1) / (counts + 1).sum())


def test_partitions_are_the_same_for_any_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr(threads, "SERIAL_WORK", 0)
    table, found, before = Table.of(bg.Observations.of(rng.normal(size=(300, 3)))), [], numba.get_num_threads()
    for number in (1, before):
        numba.set_num_threads(number)
        found.append(table.partitions(4, "k-means++", 30, np.random.default_rng(1)))
    numba.set_num_threads(before)
    assert (found[0][0] == found[1][0]).all()
    assert (found[0][1] == found[1][1]).all()


def crabs(rng):
    """Two groups of animals that grow: columns are nearly collinear, and shape alone tells the groups apart."""
    size, labels = rng.normal(size=400), rng.integers(2, size=400)
    shape = np.array([0.06, -0.06, 0.06, -0.06])
    return size[:, None] + np.outer(2 * labels - 1, shape) + 0.02 * rng.normal(size=(400, 4)), labels


def test_sphered_columns_are_uncorrelated_and_show_groups_that_plain_ones_hide(rng):
    x, labels = crabs(rng)
    plain = Table.of(bg.Observations.of(x).standardised())
    sphered = plain.sphered()
    assert np.allclose(np.cov(sphered.columns), np.eye(4), atol=0.05)
    score = {}
    for name, table in {"plain": plain, "sphered": sphered}.items():
        found, costs = table.partitions(2, "k-means++", 5, np.random.default_rng(0))
        score[name] = adjusted_rand_score(labels, found[costs.argmin()])
    assert score["sphered"] > 0.95
    assert score["plain"] < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_groups_across_collinear_columns_are_found(seed):
    x, labels = crabs(np.random.default_rng(seed))
    result = bg.fit(x, bg.MixtureModel(2, prior="flat"), engine="em", seed=seed)
    assert adjusted_rand_score(labels, result.predict()) > 0.95


@pytest.mark.filterwarnings("ignore:.*(nearly as high|was found by):bayesgmm.ConvergenceWarning")
@pytest.mark.statistical
@pytest.mark.parametrize("case", range(2))
def test_ten_groups_in_twenty_dimensions_are_all_found(case):
    """As high as from the known groups, or higher; short runs of sampled candidates ended 600 nats below."""
    x, labels = groups(np.random.default_rng(case), 10_000, 20, 10, 5.0)
    model = bg.MixtureModel(10, prior="flat")
    known = lp(bg.fit(x, model, engine="em", start=labels))
    for seed in range(2):
        assert lp(bg.fit(x, model, engine="em", seed=seed)) > known - 0.1


def test_a_move_takes_apart_what_is_two_groups_and_puts_together_what_is_one(rng, kind):
    """From an optimum far below that of the known groups, where EM alone stays."""
    labels = rng.integers(4, size=600)
    x = np.array([[0.0, 0.0], [4.0, 0.0], [20.0, 0.0], [20.0, 25.0]])[labels] + rng.normal(size=(600, 2))
    data, prior = bound_flat(x, 4, kind)
    wrong = np.where(labels == 3, 2 + (x[:, 0] > 20), labels // 2)
    rule = bg.EM().stopping
    stays, known = (climb(from_labels(z, data, prior).reshaped((1,)), data, prior, rule) for z in (wrong, labels))
    assert stays.log_posterior[0] < known.log_posterior[0] - 30
    found = improved(stays, data, prior, rule, rng)
    assert found.log_posterior.max() == pytest.approx(known.log_posterior[0], abs=0.01)
    best = int(found.log_posterior.argmax())
    trace = found.trace(best)["log_posterior"]
    assert len(trace) == found.iterations[best] + 1
    assert trace[-1] == found.log_posterior[best]


def test_no_move_is_tried_where_groups_are_far_apart(rng):
    x, labels = groups(rng, 500, 2, 4, 60.0)
    data, prior = bound_flat(x, 4)
    known = climb(from_labels(labels, data, prior).reshaped((1,)), data, prior, bg.EM().stopping)
    assert moves(known.parameters[0], data, prior, rng) is None


def test_equal_partitions_are_climbed_from_once_and_counted(rng):
    x, _ = groups(rng, 500, 2, 3, 60.0)
    data, prior = bound_flat(x, 3)
    first, hits = screened(data, prior, "k-means++", 10, rng)
    assert len(first.weights) < 10
    assert hits.sum() == 10


@pytest.mark.parametrize("chunk_rows", [100, 1000])
def test_starts_far_below_are_left_alike_by_themselves_and_together(rng, chunk_rows, monkeypatch):
    monkeypatch.setattr(module.sums, "CHUNK_ROWS", chunk_rows)
    monkeypatch.setattr(module, "LOOKS", (3, 6))
    x, labels = groups(rng, 700, 2, 3, 60.0)
    data, prior = bound_flat(x, 3)
    rough = candidates(data, prior, "random", 6, rng)
    known = from_labels(labels, data, prior)
    starts = bg.MixtureParameters(
        *(np.concatenate([a, b[None]]) for a, b in zip(rough.arrays, known.arrays, strict=True))
    )
    problem = module.Problem.of(data, prior, Stopping(200, 1e-10, "parameters", leaves=True))
    one, other = module.Climbs.at(starts), module.Climbs.at(starts)
    module.climb_compiled(one, problem)
    module.climb_together(other, problem)
    assert LEFT in one.ends
    assert one.ends[-1] == module.CONVERGED
    for key, array in one.arrays.items():
        assert np.array_equal(array, other.arrays[key], equal_nan=True), key
    patient = climb(starts, data, prior, Stopping(200, 1e-10))
    assert patient.log_posterior.argmax() == one.log_posterior.argmax()


def test_a_start_that_is_cut_short_is_marked_and_never_called_an_optimum(galaxies, tmp_path):
    with pytest.warns(bg.ConvergenceWarning, match="max_iter=2"):
        result = bg.fit(galaxies, 4, engine=bg.EM(max_iter=2, tol=1e-15), seed=0)
    atlas = result.modes()
    assert not atlas["converged"].any()
    assert atlas["mass"].isna().all()
    assert result.diagnostics().loc["optima", "mean"] == 0
    assert not any("optim" in str(warning) for warning in result.warnings)
    result.save(tmp_path / "fit.nc")
    assert (bg.load(tmp_path / "fit.nc").modes()["converged"] == atlas["converged"]).all()


def test_of_a_file_that_does_not_say_all_optima_are_taken_to_be_ones(em_result, tmp_path):
    old = em_result.tree.copy()
    old["optima"] = old["optima"].to_dataset().drop_vars("converged")
    bg.MixtureResult(old, em_result.engine, em_result.model).save(tmp_path / "old.nc")
    assert bg.load(tmp_path / "old.nc").modes()["converged"].all()


def test_where_no_start_is_an_optimum_chains_start_at_the_best(em_result):
    two = bg.MixtureParameters(*(np.stack([a, a]) for a in em_result.parameters.arrays))
    optima = Optima(two, np.array([-1.0, -2.0]), np.full(2, 0.5), np.zeros(2, bool), 0, np.zeros(2, bool))
    assert len(optima.reached.weights) == 1


def mirrored():
    """Rows and their mirror image: two optima are equally high."""
    rng = np.random.default_rng(3)
    side, middle = rng.normal(-3.0, 0.4, size=12), rng.normal(0, 0.4, size=6)
    return np.concatenate([side, middle, -middle, -side])


def test_a_point_with_a_rival_says_what_it_weighs(galaxies):
    model = bg.MixtureModel(2, prior=bg.ConjugatePrior(2.0, 0.0, 0.1, 6.0, 4.0))
    with pytest.warns(bg.ConvergenceWarning, match=r"nearly as high .* approximation: 0.5\).*'nuts'"):
        bg.fit(mirrored(), model, engine="em", seed=3)
    with pytest.warns(bg.ConvergenceWarning, match=r"nearly as high as this one \(\S+ nats below\).*default prior"):
        bg.fit(galaxies, bg.MixtureModel(2, prior="flat"), engine="em", seed=3)


@pytest.mark.parametrize("power", [2, 3])
def test_a_direction_of_extreme_skewness_or_kurtosis_is_found(rng, power):
    """One column is far from normal, turned out of the axes: by weights, as by copies of rows."""
    x = rng.normal(size=(4000, 5))
    x[:, 0] = rng.exponential(size=4000) if power == 2 else rng.choice([-1.0, 1.0], size=4000)
    x[:, 0] = (x[:, 0] - x[:, 0].mean()) / x[:, 0].std()
    turn, weight = np.linalg.qr(rng.normal(size=(5, 5)))[0], rng.integers(1, 3, 4000).astype(float)
    columns = np.ascontiguousarray((x @ turn).T)
    found, of_copies = (np.random.default_rng(1).normal(size=(2, 5)) for _ in range(2))
    pursue(columns, weight, power, 30, found)
    pursue(np.repeat(columns, weight.astype(int), axis=1), np.ones(int(weight.sum())), power, 30, of_copies)
    assert np.allclose(found, of_copies, atol=1e-8)
    assert np.allclose(found @ found.T, np.eye(2), atol=1e-12)
    assert abs(found[0] @ turn[0]) > 0.98


def test_groups_along_one_of_many_columns_are_seen(rng):
    """Of thirteen columns one has three groups; in the others k-means sees nothing."""
    x, labels = rng.normal(size=(1200, 13)), rng.integers(3, size=1200)
    x[:, 0] += 4.5 * labels
    sphered = Table.of(bg.Observations.of(x @ np.linalg.qr(rng.normal(size=(13, 13)))[0]).standardised()).sphered()
    plain = [adjusted_rand_score(labels, one) for one in sphered.partitions(3, "k-means++", 10, rng)[0]]
    pursued = [adjusted_rand_score(labels, _pursued(sphered, 3, start, rng)) for start in range(10)]
    assert max(plain) < 0.6
    assert max(pursued) > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_where_the_prior_tells_components_apart_each_takes_its_own_group(rng, seed):
    """Against every order of the known groups; a plain sort of the optimum by means would have another height."""
    labels = rng.choice(3, size=120, p=[0.6, 0.3, 0.1])
    x = rng.normal(size=(120, 1)) + np.array([-4.0, 0.0, 4.0])[labels, None]
    loc, concentration = np.array([[4.0], [-4.0], [0.0]]), np.array([3.0, 9.0, 5.0])
    prior = bg.ConjugatePrior(concentration, loc, np.array([3.0, 2.0, 1.0]), 4.0, 2.0).bound(3, 1, "full")
    model = bg.MixtureModel(3, prior=prior)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.ConvergenceWarning)  # Lower orders are no rivals, but of one start each.
        orders = [bg.fit(x, model, engine="em", start=np.array(o)[labels]) for o in permutations(range(3))]
    result = bg.fit(x, model, engine="em", seed=seed)
    assert lp(result) == pytest.approx(max(map(lp, orders)), abs=1e-6)
    assert np.allclose(result.parameters.means, loc, atol=1)
    shares = result.parameters.weights * norm.pdf(
        x, result.parameters.means[:, 0], np.sqrt(result.parameters.covariances[:, 0, 0])
    )
    assert lp(result) == pytest.approx(np.log(shares.sum(axis=1)).sum() + prior.log_density(result.parameters))


@pytest.mark.statistical
@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DoubtfulGroupsWarning")
def test_eight_seeds_agree_or_say_how_seldom_the_best_was_found():
    """Of 400 rows in eight groups that touch, some seeds end a few nats below others."""
    x, _ = groups(np.random.default_rng(51), 400, 2, 8, 6.0)
    with pytest.warns(bg.ConvergenceWarning):
        results = [bg.fit(x, 8, engine="em", seed=seed) for seed in range(8)]
    best = max(map(lp, results))
    missed = [r for r in results if lp(r) < best - 0.1]
    assert missed
    assert all(any("the best optimum was found by" in str(w) for w in r.warnings) for r in missed)


@pytest.mark.parametrize(("name", "k"), [("faithful", 1), ("faithful", 2), ("galaxies", 3), ("customers", 2)])
@pytest.mark.parametrize("prior", [None, "flat"])
def test_sound_fits_say_nothing(name, k, prior, request):
    """Warnings are errors here."""
    for seed in range(3):
        assert not bg.fit(
            request.getfixturevalue(name), bg.MixtureModel(k, prior=prior), engine="em", seed=seed
        ).warnings


def test_of_equal_priorities_the_first_rows_are_kept(rng):
    """A second way: a stable sort, as long as the rows are few."""
    for most in (1, 5, 40, 60):
        priority = rng.integers(0, 6, size=50).astype(float)
        x = np.arange(50.0)
        drawn = Drawn(most, x[:, None], x, x, priority, np.arange(50), 0.0, np.zeros(1)).highest()
        kept = np.sort(np.argsort(-priority, kind="stable")[:most])
        assert drawn.number.tolist() == kept[priority[kept] > 0].tolist()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_of_many_rows_holds_them_no_more_than_once_more(rng, order, dtype):
    """Beyond the table itself, 1.3 times what its numbers take in double precision."""
    n = 2_000_000
    x = np.empty((n, 5), dtype, order=order)
    x[:] = rng.normal(size=(n, 5)) + 6 * rng.integers(0, 2, size=(n, 1))
    bg.fit(x[:20_000], 2, engine="em", seed=0)
    tracemalloc.start()
    bg.fit(x, 2, engine=bg.EM(n_init=1), seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * 8 * x.size


def test_rows_without_names_are_named_by_their_numbers(rng):
    data = bg.Observations.of(rng.normal(size=(50, 2)))
    later = data.rows(10, 40)
    assert later.taken(np.array([3, 5])).index.tolist() == [13, 15]
    assert later.taken(np.arange(30) == 7).index.tolist() == [17]


def test_replicates_of_a_bootstrap_are_not_left_behind_for_the_weights_of_others(faithful):
    """Log posteriors under different weights say nothing of each other."""
    assert not bg.EM().stopping.leaves
    result = bg.fit(faithful, 2, engine=bg.EM(uncertainty="bootstrap", draws=100), seed=0)
    assert result.facts.get("unfinished_replicates", 0.0) == 0


@pytest.mark.parametrize(("n", "d"), [(100, 2), (300, 4), (50, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_a_row_far_off_leaves_the_groups_of_the_others_as_they_are(n, d, seed):
    """A million deviations off: with a component to spare it has one, without it takes one, and the result says so."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    x = rng.normal(size=(n, d)) + 6 * labels[:, None] / np.sqrt(d)
    table = np.vstack([x, np.full((1, d), 1e6)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.BayesGMMWarning)
        spare, none = (bg.fit(table, k, engine="em", seed=seed) for k in (3, 2))
    assert adjusted_rand_score(labels, spare.predict()[:-1]) >= 0.95
    for result in (spare, none):
        assert any("has about 1 row" in str(warning) for warning in result.warnings)
