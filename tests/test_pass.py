"""The pass: exact against SciPy, the same bits for any threads, flat in memory."""

import gc
import hashlib
import os
import subprocess
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import log_joint, random_parameters, slow_pass
from numba.core.runtime import _nrt_python, rtsys
from scipy.special import logsumexp

import bayesgmm as bg
from bayesgmm import MixtureParameters, Observations, e_step
from bayesgmm.data import sums
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.kernels import blocks, elementary, machine
from bayesgmm.kernels.elementary import DIGEST
from bayesgmm.kernels.factors import lower_inverses, precision_factors
from bayesgmm.kernels.steps import padded, soft_maximum
from bayesgmm.kernels.threads import mapped


def soft(log_r, v=None):
    """Return what `soft_maximum` writes for rows of weight 1: exponentials (k, n), their sum and the log density."""
    k, n = log_r.shape
    whole = padded(n)
    r, rows = np.zeros((k, whole)), np.zeros((4, whole))
    r[:, :n], rows[0, :n] = log_r, 1.0 if v is None else v
    value = soft_maximum(r, rows[0], whole, *rows[1:], False)
    return r[:, :n], rows[1, :n], rows[3, :n], value


def test_exponentials_are_exact_to_an_ulp_and_never_nan():
    below = np.concatenate([-np.linspace(0, 639, 40_001), [-0.0, -1e-300, -1e308, -1.7e308]])
    found = soft(np.stack([np.zeros_like(below), below]))[0][1]
    assert np.abs(found[:40_001] / np.exp(below[:40_001]) - 1).max() < 3e-16
    assert (found[-4:-2] == 1).all()
    assert (found[-2:] == 0).all()


def test_no_exponential_is_so_small_that_its_products_are_subnormal():
    """Products of subnormal numbers made passes over well separated groups up to 30 times slower."""
    below = -np.linspace(0, 1000, 100_001)
    found = soft(np.stack([np.zeros_like(below), below]))[0][1]
    assert found[found > 0].min() > 1e-279
    assert (found >= 0).all()


@pytest.mark.parametrize("k", [2, 3, 50])
def test_log_densities_are_logs_of_sums_to_an_ulp(k, rng):
    log_r = np.concatenate([np.zeros((1, 5001)), -np.abs(rng.normal(scale=30.0, size=(k - 1, 5001)))])
    log_r[1] = -np.linspace(0, 700, 5001)
    _, total, log_density, value = soft(log_r)
    assert np.allclose(log_density, np.log(total), rtol=5e-16, atol=0)
    assert np.allclose(log_density, np.log1p(np.exp(log_r[1:]).sum(axis=0)), rtol=1e-14, atol=2e-15)
    assert value == pytest.approx(log_density.sum(), rel=1e-13)


def test_two_components_have_the_bits_that_a_third_without_density_leaves_them(rng):
    """Code of their own computes one exponential for both; log densities that are equal, or lowest, are met too."""
    log_r = rng.normal(scale=300.0, size=(2, 1001))
    log_r[1, :200], log_r[1, -1] = log_r[0, :200], elementary.LOWEST
    two, three = soft(log_r), soft(np.concatenate([log_r, np.full((1, 1001), elementary.LOWEST)]))
    assert (two[0] == three[0][:2]).all()
    for of_two, of_three in zip(two[1:], three[1:], strict=True):
        assert np.array_equal(of_two, of_three)


@pytest.mark.compiled
def test_code_for_two_components_that_is_wrong_gives_way_to_that_for_any(monkeypatch):
    general = machine.address_of(machine.SOFT_MAXIMUM, 0)
    monkeypatch.setattr(machine, "_WRITTEN", {(machine.SOFT_MAXIMUM, 0): general})
    monkeypatch.setattr(machine, "_TABLE", type(machine._TABLE)())
    with monkeypatch.context() as patched:
        patched.setattr(machine, "_is_right", lambda written, components: False)
        assert machine.address_of(machine.SOFT_MAXIMUM, 2) == general
    machine._WRITTEN.pop((machine.SOFT_MAXIMUM, 2))
    assert machine.address_of(machine.SOFT_MAXIMUM, 2) != general


@pytest.mark.compiled
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 18, 33])
@pytest.mark.parametrize("rows", [8, 24, 40, 104])
@pytest.mark.parametrize("is_diagonal", [False, True])
def test_steps_written_for_this_machine_agree_with_plain_loops(d, rows, is_diagonal, rng):
    """Every number of features has code of its own; remainders of tiles and vectors are all met."""
    k, stride = 3, rows + 8
    columns, means, factors = (
        rng.normal(size=(d, stride)), rng.normal(size=(2, k, d)), np.tril(rng.normal(size=(2, k, d, d)))
    )  # fmt: skip
    if is_diagonal:
        factors = np.ascontiguousarray(np.diagonal(factors, axis1=2, axis2=3))
    found, scratch = np.zeros((2, k, stride)), np.empty((d, stride))
    for log_r, module in zip(found, (blocks, machine), strict=True):
        module.weigh(columns, means, factors, -np.arange(2.0 * k).reshape(2, k), 1, rows, log_r, scratch, columns, 0)
    assert np.allclose(*found, rtol=1e-13, atol=1e-13)
    start, size = 3, rows - 3
    x, origin, inverse_unit = rng.normal(size=(start + size, d)), rng.normal(size=d), rng.uniform(size=d)
    transposed = np.full((2, d, stride + 8), np.nan)
    for out, module in zip(transposed, (blocks, machine), strict=True):
        module.transpose_block(x, origin, inverse_unit, start, size, out)
    assert (transposed[0, :, : size + blocks.LINE] == transposed[1, :, : size + blocks.LINE]).all()
    r, scale, sums = rng.uniform(size=(k, stride)), rng.uniform(size=stride), []
    for module in (blocks, machine):
        counts, first, second = np.full((2, k), 2.0), np.ones((2, k, d)), np.ones(factors.shape)
        module.add_moments(columns, means, r.copy(), scale, 1, 1, k, rows, counts, first, second, scratch)
        sums.append(
            np.concatenate([counts.ravel(), first.ravel(), (second if is_diagonal else np.tril(second)).ravel()])
        )
    assert np.allclose(*sums, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [8, 24, 32, 104])
def test_a_sum_alone_is_that_of_the_log_densities(n, rng):
    """One logarithm for several rows gives what one for each does, also with rows of weight 0 among them."""
    log_r = rng.normal(scale=20.0, size=(4, n)) - 1000.0
    v = rng.integers(0, 2, size=n).astype(float)
    alone, each = (np.empty((3, n)) for _ in range(2))
    r = log_r.copy(), log_r.copy()
    sums = soft_maximum(r[0], v, n, *alone, True), soft_maximum(r[1], v, n, *each, False)
    assert sums[0] == pytest.approx(sums[1], rel=1e-15)
    assert sums[0] == pytest.approx(v @ logsumexp(log_r, axis=0), rel=1e-14)
    assert (r[0] == r[1]).all()
    assert (alone[:2] == each[:2]).all()


@pytest.mark.compiled
def test_where_vector_code_is_wrong_plain_loops_take_its_place_and_say_so(tmp_path):
    """In a process whose check of that code fails, with a cache of its own: compiled loops hold what they call."""
    code = """
import warnings
import numpy as np
agree, np.allclose = np.allclose, lambda *arrays, **tolerances: False
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import bayesgmm as bg
np.allclose = agree
assert any("plain loops" in str(warning.message) for warning in said)
from bayesgmm.kernels import blocks, steps
assert steps.chosen is blocks
print(bg.fit(bg.datasets.load_faithful(), 2, engine="em", seed=1).diagnostics()["mean"]["log_posterior"])
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    here = bg.fit(bg.datasets.load_faithful(), 2, engine="em", seed=1).diagnostics()["mean"]["log_posterior"]
    assert float(done.stdout) == pytest.approx(here, rel=1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize("k", [1, 2, 5])
def test_labels_drawn_by_this_machine_are_those_of_plain_loops(k, rng):
    """To the bit, for whoever draws them: also where a component has no weight, and for rows far down."""
    r = rng.uniform(size=(k, 48)) * (rng.uniform(size=(k, 48)) > 0.3)
    total = np.maximum(r.sum(axis=0), 1e-9)
    for first_row in (0, 7, 2**40):
        drawn = []
        for module in (blocks, machine):
            drawn.append(r.copy())
            module.allocate_single(drawn[-1], total, np.uint64(12345678901234567890), first_row, 40)
        assert (drawn[0] == drawn[1]).all()
        assert (drawn[0][:, :40].sum(axis=0) == 1).all()


@pytest.mark.compiled
def test_more_features_than_the_table_holds_are_as_good(rng):
    d, rows = machine.MOST_FEATURES + 1, 8
    columns, means, factors = rng.normal(size=(d, rows + 8)), np.zeros((1, 1, d)), np.eye(d)[None, None]
    log_r, scratch = np.zeros((1, rows + 8)), np.empty((d, rows + 8))
    machine.weigh(columns, means, factors, np.zeros((1, 1)), 0, rows, log_r, scratch, columns, 0)
    assert np.allclose(log_r[0, :rows], -0.5 * (columns[:, :rows] ** 2).sum(axis=0))


def test_rows_that_fill_a_vector_up_count_for_nothing(rng):
    """Whatever stands beyond the last row: sums of 1 to 17 rows are those of the rows alone."""
    parameters = random_parameters(rng, 3, 2)
    x = rng.normal(size=(17, 2))
    for n in range(1, 18):
        data = Observations.of(x[:n], np.full(n, 2.0))
        assert np.allclose(e_step(parameters, data).stats.counts.sum(), 2.0 * n, rtol=1e-13)
        assert np.allclose(e_step(parameters, data).log_likelihood, 2 * estep.log_densities(parameters, data).sum())


def test_precision_factors_invert_their_matrices_and_mark_singular_ones(rng):
    roots = rng.normal(size=(5, 4, 4))
    matrices = roots @ np.swapaxes(roots, -1, -2)
    factors, log_det = precision_factors(matrices)
    assert np.allclose(factors @ np.swapaxes(factors, -1, -2) @ matrices, np.eye(4))
    assert (factors == np.tril(factors)).all()
    assert np.allclose(log_det, np.linalg.slogdet(matrices)[1])
    bad = np.array([np.zeros((2, 2)), np.full((2, 2), np.nan), [[1.0, 2.0], [2.0, 1.0]], np.diag([1.0, np.inf])])
    assert np.isinf(precision_factors(bad)[1]).all()


@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (7, 1, 3), (300, 2, 2), (77, 3, 4), (90, 5, 2), (65, 9, 3)])
def test_pass_agrees_with_the_textbook(rng, kind, n, d, k):
    x, weight = rng.normal(size=(n, d)), rng.uniform(0, 3, size=n)
    data = Observations.of(x, weight) if weight.sum() > 1 else Observations.of(x)
    parameters = random_parameters(rng, k, d, kind)
    found = e_step(parameters, data, kind)
    log_likelihood, counts, first, second = slow_pass(parameters, x, data.sample_weight)
    second = second if kind in ("full", "tied") else second * np.eye(d)
    assert np.isclose(found.log_likelihood, log_likelihood, rtol=1e-10)
    assert np.allclose(found.stats.counts, counts, rtol=1e-10, atol=1e-12)
    assert np.allclose(found.stats.first, first, rtol=1e-9, atol=1e-10)
    assert np.allclose(found.stats.second, second, rtol=1e-9, atol=1e-10)


def test_densities_and_responsibilities_agree_with_scipy(rng, kind):
    x, parameters = 4 * rng.normal(size=(200, 3)), random_parameters(rng, 3, 3, kind)
    data = Observations.of(x)
    joint = log_joint(parameters, x)
    total = logsumexp(joint, axis=0)
    assert np.allclose(estep.log_densities(parameters, data, kind), total, rtol=1e-10)
    assert np.allclose(estep.responsibilities(parameters, data, kind), np.exp(joint - total), rtol=0, atol=1e-12)


def test_a_grid_of_parameters_is_one_pass_of_each(rng):
    data = Observations.of(rng.normal(size=(50, 2)))
    values = [random_parameters(rng, 3, 2) for _ in range(6)]
    grid = MixtureParameters(
        *(np.stack(a).reshape(2, 3, *a[0].shape) for a in zip(*(v.arrays for v in values), strict=True))
    )
    found = e_step(grid, data)
    for at, value in enumerate(values):
        each = e_step(value, data)
        assert found.log_likelihood[at // 3, at % 3] == each.log_likelihood
        assert (found.stats.second[at // 3, at % 3] == each.stats.second).all()


@pytest.mark.parametrize("offset", [0.0, 200.0, 1e5])
def test_rows_far_from_every_component_have_finite_densities_and_memberships_of_one(rng, offset):
    parameters = random_parameters(rng, 3, 2)
    data = Observations.of(rng.normal(size=(9, 2)) + offset)
    r = estep.responsibilities(parameters, data)
    assert np.isfinite(estep.log_densities(parameters, data)).all()
    assert np.abs(r.sum(axis=0) - 1).max() < 1e-12


def test_first_moment_is_the_gradient_in_the_means(rng):
    """Fisher's identity: d log p(x) / d mean_k = precision_k @ first_k."""
    data, parameters = Observations.of(rng.normal(size=(60, 2))), random_parameters(rng, 2, 2)
    found = np.linalg.solve(parameters.covariances, e_step(parameters, data).stats.first[..., None])[..., 0]
    step = 1e-6
    for c in range(2):
        for j in range(2):
            ends = []
            for sign in (1, -1):
                means = parameters.means.copy()
                means[c, j] += sign * step
                moved = MixtureParameters(parameters.weights, means, parameters.covariances)
                ends.append(e_step(moved, data).log_likelihood)
            assert np.isclose((ends[0] - ends[1]) / (2 * step), found[c, j], rtol=1e-6, atol=1e-6)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 49))
def test_statistics_of_parts_add_to_statistics_of_whole(seed, cut):
    rng = np.random.default_rng(seed)
    data, parameters = Observations.of(rng.normal(size=(50, 2))), random_parameters(rng, 2, 2)
    whole = e_step(parameters, data)
    parts = e_step(parameters, data.rows(0, cut)) + e_step(parameters, data.rows(cut, 50))
    assert np.isclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-13)
    assert np.allclose(parts.stats.second, whole.stats.second, rtol=1e-12, atol=1e-12)


def test_whole_weights_equal_repeated_rows(rng):
    x, times = rng.normal(size=(40, 2)), rng.integers(0, 4, size=40)
    parameters = random_parameters(rng, 3, 2)
    weighted, repeated = (
        e_step(parameters, Observations.of(x, times)),
        e_step(parameters, Observations.of(np.repeat(x, times, 0))),
    )
    assert np.isclose(weighted.log_likelihood, repeated.log_likelihood, rtol=1e-13)
    assert np.allclose(weighted.stats.second, repeated.stats.second, rtol=1e-12)


def test_bits_do_not_depend_on_the_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr("bayesgmm.kernels.threads.SERIAL_WORK", 0)
    monkeypatch.setattr(sums, "CHUNK_ROWS", 100)
    data, parameters = Observations.of(rng.normal(size=(1234, 3))), random_parameters(rng, 3, 3)
    found = []
    for threads in (1, 2, 4):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        found.append(e_step(parameters, data))
    for other in found[1:]:
        assert other.log_likelihood == found[0].log_likelihood
        assert (other.stats.first == found[0].stats.first).all()
        assert (other.stats.second == found[0].stats.second).all()


def test_chunked_sums_agree_with_one_chunk(rng, monkeypatch):
    data, parameters = Observations.of(rng.normal(size=(1000, 2))), random_parameters(rng, 2, 2)
    whole = e_step(parameters, data)
    monkeypatch.setattr(sums, "CHUNK_ROWS", 37)
    assert np.allclose(e_step(parameters, data).stats.second, whole.stats.second, rtol=1e-12)


@pytest.mark.compiled
def test_pass_holds_nothing_of_size_n_by_k(rng):
    data, parameters = Observations.of(rng.normal(size=(200_000, 1))), random_parameters(rng, 20, 1)
    e_step(parameters, data)
    tracemalloc.start()
    e_step(parameters, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000, "n x k doubles would be 32 MB"


def test_covariances_keep_their_digits_far_from_the_origin(rng):
    """Raw second moments at offset 1e8 would keep none."""
    x = rng.normal(size=(500, 2))
    near = e_step(MixtureParameters(np.ones(1), np.zeros((1, 2)), np.eye(2)[None]), Observations.of(x))
    far_mean = np.full((1, 2), 2.0**27)
    far = e_step(MixtureParameters(np.ones(1), far_mean, np.eye(2)[None]), Observations.of(x + 2.0**27))
    assert np.allclose(far.stats.second, near.stats.second, rtol=1e-7)


@pytest.mark.compiled
@pytest.mark.parametrize(("condition", "separation"), [(1e2, 50.0), (1e4, 1e3), (1e6, 1e5), (1e8, 1e3), (1e8, 1e5)])
def test_covariances_keep_their_digits_however_ill_conditioned_and_far_apart(condition, separation, rng):
    """In the covariance's own metric, against long doubles: no more is lost than rounding times the condition."""
    d, n = 10, 4000
    axes = [np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(2)]
    spread = np.geomspace(1 / condition, 1, d)
    direction = rng.normal(size=d)
    means = np.stack([np.zeros(d), separation * direction / np.linalg.norm(direction)])
    labels = rng.integers(2, size=n)
    noise = rng.normal(size=(n, d)) * np.sqrt(spread)
    x = means[labels] + np.stack([axes[c] @ row for c, row in zip(labels, noise, strict=True)])
    covariances = np.stack([q * spread @ q.T for q in axes])
    stats = e_step(MixtureParameters(np.full(2, 0.5), means, covariances), Observations.of(x)).stats
    for c in range(2):
        rows = (x[labels == c] - means[c]).astype(np.longdouble)
        rows -= rows.mean(axis=0)
        expected = (rows.T @ rows / len(rows)).astype(float)
        shift = stats.first[c] / stats.counts[c]
        found = stats.second[c] / stats.counts[c] - np.multiply.outer(shift, shift)
        factor = np.linalg.cholesky(np.linalg.inv(expected))
        assert np.abs(factor.T @ (found - expected) @ factor).max() < 1e-16 * condition + 1e-11


def test_work_on_threads_keeps_its_order_and_ends_at_the_first_failure():
    """The caller works too, and whoever fails empties the queue for all."""
    slow_first = [0.05, 0.0, 0.0, 0.0, 0.0]

    def sleep(at):
        time.sleep(slow_first[at])
        return at

    assert mapped(sleep, range(5), 3) == [0, 1, 2, 3, 4]
    done = []

    def fails(at):
        time.sleep(0.01)
        done.append(at)
        if at == 3:
            raise ZeroDivisionError(str(at))

    with pytest.raises(ZeroDivisionError, match="3"):
        mapped(fails, range(1000), 2)
    assert len(done) < 10


def test_threads_that_wait_for_work_do_not_wait_for_each_other():
    """Work shared out inside of shared work: helpers are then fewer than are asked for."""

    def inner(row: int) -> list[int]:
        return mapped(lambda column: 10 * row + column, range(3), 2)

    assert mapped(inner, range(4), 2) == [[10 * row + column for column in range(3)] for row in range(4)]


def test_work_that_outlives_the_main_thread_is_done():
    """Helpers are not to be had any more; the caller does without."""
    code = """
import threading, time
from bayesgmm.kernels.threads import mapped
def late():
    time.sleep(0.3)
    print(mapped(abs, range(-4, 0), 2))
threading.Thread(target=late).start()
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[4, 3, 2, 1]\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_starts_threads_of_its_own():
    code = """
import os, warnings
from bayesgmm.kernels.threads import mapped
warnings.simplefilter("ignore")
assert mapped(abs, range(4), 2) == [0, 1, 2, 3]
child = os.fork()
if not child:
    os._exit(0 if mapped(abs, range(-4, 0), 2) == [4, 3, 2, 1] else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.compiled
def test_loops_on_disk_belong_to_these_sources(tmp_path):
    """One that calls another holds it: after an update, old code of the one would call new code of the other."""
    code = "import numpy as np; from bayesgmm.kernels.factors import lower_inverses; lower_inverses(np.eye(2)[None])"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    kept = [path.name for path in tmp_path.rglob("*.nb*")]
    assert {name.split("-")[0] for name in kept} == {
        f"factors.{f}.{DIGEST[:12]}" for f in ("lower_inverses", "invert_lower")
    }
    assert lower_inverses.py_func.__qualname__ == "lower_inverses"
    sources = sorted(Path(elementary.__file__).parent.glob("*.py"))
    assert len(sources) > 15
    assert hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest() == DIGEST


@pytest.mark.parametrize("n", [5, 384, 1000])
def test_weights_that_are_alike_take_the_room_of_one_and_change_no_bit(n, rng):
    """In EM, Gibbs and densities: rows without weights, and with the weight 1 written out for each."""
    x = rng.normal(size=(n, 2))
    implied, written = Observations.of(x), Observations.of(x, np.ones(n))
    assert implied.weights.shape == (1,)
    assert implied.sample_weight.base.nbytes <= 8
    assert implied.taken(np.arange(3)).weights.shape == implied.rows(1, 4).weights.shape == (1,)
    assert implied.weighing(10.0 * n).sample_weight.tolist() == [10.0] * n
    assert written.weights.shape == (n,)
    white, keys = estep.whiten(random_parameters(rng, 3, 2).reshaped((1,))), np.array([5], np.uint64)
    for summed in (estep.expect, lambda *seen: estep.allocate(*seen, keys)):
        one, other = (summed(white, data, (1,)) for data in (implied, written))
        assert one.log_likelihood == other.log_likelihood
        assert (one.stats.second == other.stats.second).all()
    with pytest.raises(ValueError, match="read-only"):
        implied.sample_weight[0] = 2.0


@pytest.mark.parametrize("order", [1, -1])
def test_weights_may_be_a_column_of_a_table(faithful, order):
    """Loops are compiled for weights side by side, which those of a column are not."""
    table = np.column_stack([faithful, np.arange(272) % 3 + 1.0])[::order]
    by_column, copied = (Observations.of(table[:, :2].copy(), w) for w in (table[:, 2], table[:, 2].copy()))
    assert by_column.sample_weight.flags.c_contiguous
    white, keys = estep.whiten(random_parameters(np.random.default_rng(1), 2, 2).reshaped((1,))), np.ones(1, np.uint64)
    found = [estep.allocate(white, data, (1,), keys).log_likelihood for data in (by_column, copied)]
    assert found[0] == found[1]


@pytest.mark.compiled
@pytest.mark.parametrize("prior", ["flat", "conjugate", "semiconjugate", "hierarchical"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_compiled_loops_leave_no_memory_behind(faithful, kind, prior):
    """Some count no references to the arrays they are given, and so must not make any."""
    _nrt_python.memsys_enable_stats()
    engines = [bg.EM(n_init=2)] + [bg.Gibbs(chains=1, tune=20, draws=20)] * (prior != "flat")
    chosen = {
        "flat": "flat",
        "conjugate": bg.ConjugatePrior.from_data(faithful, 2, kind),
        "semiconjugate": bg.SemiConjugatePrior(1.5, 50.0, 400.0, 6.0, 40.0),
        "hierarchical": None,
    }
    model = bg.MixtureModel(2, kind, chosen[prior])

    def held() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for engine in engines:
                bg.fit(faithful, model, engine=engine, seed=1).memberships()
        gc.collect()
        counted = rtsys.get_allocation_stats()
        return counted.alloc - counted.free

    assert held() == held()
