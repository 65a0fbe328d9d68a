"""Claims about random tables: a fit is finite, or one of the package's own errors says why not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import bayesgmm as bg

TYPES = ("full", "tied", "diag", "spherical")
DTYPES = ("float64", "float32", "float16", ">f8", "int64", "int32", "int16", "uint8", "object")
#: Shapes of a column, from a generator and a size.
PATTERNS = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "groups": lambda rng, size: rng.standard_normal(size) + 8 * rng.integers(3, size=(size[0], 1)),
    "grid": lambda rng, size: rng.integers(4, size=size).astype(float),
    "two values": lambda rng, size: rng.integers(2, size=size).astype(float),
    "heavy tails": lambda rng, size: rng.standard_t(1, size),
    "one outlier": lambda rng, size: np.where(np.arange(size[0])[:, None] == 0, 1e6, rng.standard_normal(size)),
    "nearly constant": lambda rng, size: 1 + 1e-13 * rng.standard_normal(size),
    "nearly collinear": lambda rng, size: rng.standard_normal((size[0], 1)) + 1e-9 * rng.standard_normal(size),
    "repeated rows": lambda rng, size: np.repeat(rng.standard_normal(size), 3, axis=0)[: size[0]],
    "exponents": lambda rng, size: 10.0 ** rng.uniform(-150, 150, size),
}
QUICK = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(QUICK, max_examples=10_000)


@st.composite
def problems(draw):
    """Return a table, with everything else that a fit by EM takes."""
    n, d = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    pattern, dtype = draw(st.sampled_from(sorted(PATTERNS))), draw(st.sampled_from(DTYPES))
    scale = 10.0 ** draw(st.integers(-12, 12))
    offset = draw(st.sampled_from([0.0, 0.0, 1.0, -1e3, 1e8])) * scale
    seed = draw(st.integers(0, 2**32 - 1))
    values = PATTERNS[pattern](np.random.default_rng(seed), (n, d)) * scale + offset
    if dtype not in ("float64", ">f8", "object"):
        kind = np.dtype(dtype)
        limits = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
        values = np.clip(values, float(limits.min) / 2, float(limits.max) / 2)
    weight = draw(st.sampled_from([None, "counts", "zeros", "fractions"]))
    return {
        "data": values.astype(dtype),
        "k": draw(st.integers(1, 5)),
        "kind": draw(st.sampled_from(TYPES)),
        "prior": draw(st.sampled_from([None, "flat"])),
        "init": draw(st.sampled_from(["k-means++", "random"])),
        "sample_weight": weights(weight, n, seed),
        "seed": seed,
        # Tables on which nothing but a fit is right.
        "easy": pattern in ("normal", "groups")
        and dtype in ("float64", ">f8", "object")
        and weight in (None, "counts"),
    }


def weights(how, n, seed):
    rng = np.random.default_rng(seed)
    if how == "counts":
        return rng.integers(1, 5, n)
    if how == "zeros":
        return rng.integers(0, 3, n).astype(float)
    return rng.uniform(0, 10, n) if how == "fractions" else None


def outcome(data, k, kind, prior, init="k-means++", sample_weight=None, seed=1):
    """Return the result, checked, or the package's own error; every other exception or warning fails."""
    model, engine = bg.MixtureModel(k, kind, prior), bg.EM(n_init=3, init=init, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        try:
            result = bg.fit(data, model, engine=engine, sample_weight=sample_weight, seed=seed)
        except (bg.DataError, bg.ModelError, bg.DegenerateComponentError) as error:
            assert "nan" not in str(error)  # noqa: PT017
            assert "column(s)  are" not in str(error)  # noqa: PT017
            return error
        check(result)
    return result


def check(result):
    """Every number that is said to exist is finite, and memberships and weights are shares of one."""
    found = result.memberships()
    probability = found.probability.values
    assert np.isfinite(probability).all()
    assert (probability >= 0).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert np.isfinite(found.entropy).all()
    np.testing.assert_allclose(result.weights.sum("component"), 1, rtol=0, atol=1e-12)
    assert (result.weights >= 0).all()
    for array in (result.means, result.covariances):
        assert np.isfinite(array).all()
    assert np.isfinite(result.tree["sample_stats"]["lp"]).all()
    assert np.isfinite(result.log_density()).all()
    assert np.isfinite(result.summary()["mean"]).all()
    trace = result.tree["trace"]["log_posterior"].values
    assert (np.diff(trace) >= -1e-9 * np.abs(trace).max() - 1e-14 * condition(result)).all(), "EM went down"


def condition(result):
    """Return the largest condition number of a correlation matrix: what rounding is multiplied by."""
    covariances = result.covariances.values
    deviation = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    correlations = covariances / deviation[..., None] / deviation[..., None, :]
    return max(np.linalg.cond(correlations).max(), np.linalg.cond(result.data.moments()[1]))


def check_problem(problem):
    easy = problem.pop("easy")
    data, k = problem["data"], problem["k"]
    before = data.copy()
    found = outcome(**problem)
    assert (data == before).all()
    n, d = data.shape
    if easy and problem["prior"] is None and n > max(d + 1, k):
        assert not isinstance(found, Exception), found


@QUICK
@given(problems())
def test_100_random_tables_are_fitted_finitely_or_refused(problem):
    check_problem(problem)


@pytest.mark.slow
@LONG
@given(problems())
def test_10000_random_tables_are_fitted_finitely_or_refused(problem):
    check_problem(problem)


#: Numbers as hypothesis likes them: zeros of both signs, subnormals, integers, the ends of the doubles.
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-10, 10, allow_nan=False),
    st.integers(-3, 3).map(float),
)
ODD_TABLES = st.tuples(st.integers(1, 12), st.integers(1, 3)).flatmap(
    lambda shape: arrays.arrays(np.float64, shape, elements=NUMBERS)
)


def check_odd(data, k, kind, prior):
    outcome(data, k, kind, prior)


@QUICK
@given(ODD_TABLES, st.integers(1, 4), st.sampled_from(TYPES), st.sampled_from([None, "flat"]))
@example(np.array([[5e-324], [0.0]]), 1, "full", None)
@example(np.array([[1.7e308], [-1.7e308]]), 1, "full", "flat")
@example(np.array([[1e-152], [0.0], [3e-152]]), 2, "full", None)
@example(np.array([[1e152], [0.0], [-1e152]]), 2, "full", None)
@example(np.array([[0.0, 0.0], [1.0, 1e-160], [2.0, 0.0]]), 1, "diag", None)
def test_100_tables_of_odd_numbers_are_fitted_finitely_or_refused(data, k, kind, prior):
    check_odd(data, k, kind, prior)


@pytest.mark.slow
@LONG
@given(ODD_TABLES, st.integers(1, 4), st.sampled_from(TYPES), st.sampled_from([None, "flat"]))
def test_10000_tables_of_odd_numbers_are_fitted_finitely_or_refused(data, k, kind, prior):
    check_odd(data, k, kind, prior)


#: Values that a table must not hold.
NOT_NUMBERS = [np.nan, np.inf, -np.inf, None, "x", 1j, True, object(), b"1", 10**400]


@QUICK
@given(
    arrays.arrays(np.float64, st.tuples(st.integers(2, 9), st.integers(1, 3)), elements=st.floats(-10, 10)),
    st.data(),
)
def test_one_value_that_is_no_number_spoils_any_table(data, more):
    spoiled = data.astype(object)
    at = tuple(more.draw(st.integers(0, size - 1)) for size in data.shape)
    spoiled[at] = more.draw(st.sampled_from(NOT_NUMBERS))
    with pytest.raises(bg.DataError, match="`data`"):
        bg.fit(spoiled, 1, engine="em")
