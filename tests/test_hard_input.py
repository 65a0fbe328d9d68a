"""Claims about hard but legal input: the same answer as on the plain table, or advice."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr

import bayesgmm as bg

#: Groups are built here that no one would trust, and `test_honest_failure` says so of them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.errors.DoubtfulGroupsWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.errors.EmptyComponentWarning"),
]
#: Whole numbers from 0 to 255 in two groups, so that every type below holds them exactly.
WHOLE = (bg.datasets.load_faithful().to_numpy() * [40, 1]).round()
FEATURES = ["eruptions", "waiting"]
N, D = WHOLE.shape
PRIORS = (None, "flat")
TYPES = ("full", "tied", "diag", "spherical")
ADVICE = r"drop|unit|fewer|rows|add|give|use "


def fitted(data, k=2, kind="full", prior=None, **others):
    """Return an EM fit that is checked to be finite."""
    return sound(bg.fit(data, bg.MixtureModel(k, kind, prior), **({"seed": 1, "engine": "em"} | others)))


def sampled(data, k=2, **others):
    """Return a short NUTS fit that is checked to be finite; so few draws are rightly complained of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.BayesGMMWarning)
        engine = bg.NUTS(draws=50, tune=50, chains=2)
        return sound(bg.fit(data, k, engine=engine, progress=False, **({"seed": 1} | others)))


def sound(result):
    """Check that every number of a result that is said to exist is finite."""
    found = result.memberships()
    for name in ("probability", "entropy", "entropy_overlap", *(() if result.is_point else ("entropy_parameter",))):
        assert np.isfinite(found[name]).all(), name
    np.testing.assert_allclose(found.probability.sum("component"), 1, rtol=0, atol=1e-12)
    for array in (result.weights, result.means, result.covariances):
        assert np.isfinite(array).all(), array.name
    assert (np.linalg.eigvalsh(standardised(result)) > 0).all()
    assert np.isfinite(result.log_density()).all()
    assert np.isfinite(result.sample(3, seed=1).to_numpy()).all()
    assert np.isfinite(result.summary()["mean"]).all()
    assert "nan" not in repr(result).split("Parameters")[0]
    return result


def standardised(result):
    """Return covariances in units of the data's standard deviations."""
    unit = result.data.unit
    return result.covariances.values / unit / unit[:, None]


def same_memberships(one, other, atol=1e-8):
    np.testing.assert_allclose(one.predict_proba(), other.predict_proba(), rtol=0, atol=atol)


@pytest.fixture(scope="module")
def plain():
    """Fits of the plain table, by covariance type and prior."""
    return {(kind, prior): fitted(WHOLE, 2, kind, prior) for kind in TYPES for prior in PRIORS}


@pytest.fixture(scope="module")
def plain_draws():
    return sampled(WHOLE)


# Scales and offsets

MOVED = {
    "x 1e-12": (1e-12, 0.0),
    "x 1e12": (1e12, 0.0),
    "x 1e-150": (1e-150, 0.0),
    "x 1e150": (1e150, 0.0),
    "x -1": (-1.0, 0.0),
    "+ 1e8": (1.0, 1e8),
    "+ 1e15": (1.0, 1e15),
    "- 1e8": (1.0, -1e8),
    "x 1e-12 + 1": (2.0**-40, 1.0),
    "columns 1e-8 and 1e8": (np.array([1e-8, 1e8]), 0.0),
    "columns 1e-140 and 1e140": (np.array([1e-140, 1e140]), 0.0),
    "columns + 1e8 and - 1e8": (1.0, np.array([1e8, -1e8])),
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("case", MOVED)
def test_scale_and_offset_change_the_units_and_nothing_else(case, kind, prior, plain):
    scale, offset = MOVED[case]
    if kind == "spherical" and np.ndim(scale):
        return  # They depend on the units of one column against another: nothing is claimed.
    before = plain[kind, prior]
    # A start in the same groups, for random ones sort the components by their first mean.
    result = fitted(WHOLE * scale + offset, 2, kind, prior, start=before.predict())
    reference = fitted(WHOLE, 2, kind, prior, start=before.predict())
    unit = reference.data.unit * np.abs(scale)
    # A result holds its means in data units: an offset of 1e15 leaves three binary digits behind their point.
    digits = (np.spacing(np.abs(offset)) / unit).max()
    same_memberships(result, reference, atol=1e-8 + digits)
    moved = (result.means - (reference.means * scale + offset)) / unit
    np.testing.assert_allclose(moved, 0, atol=1e-8 + digits)
    np.testing.assert_allclose(standardised(result), standardised(reference), rtol=1e-7 + digits, atol=1e-9)
    jacobian = -np.log(np.broadcast_to(np.abs(scale), D)).sum()
    np.testing.assert_allclose(
        result.log_density(), reference.log_density() + jacobian, rtol=1e-9, atol=1e-7 + 20 * digits
    )


@pytest.mark.parametrize("exponent", [-300, -40, 40, 300])
def test_a_power_of_two_changes_no_bit_of_the_memberships(exponent, plain, plain_draws):
    data = WHOLE * 2.0**exponent
    np.testing.assert_array_equal(fitted(data).predict_proba(), plain["full", None].predict_proba())
    if abs(exponent) < 100:
        np.testing.assert_array_equal(sampled(data).predict_proba(), plain_draws.predict_proba())


@pytest.mark.parametrize("scale", [1e-12, 1e12, 1e-150, 1e150])
def test_nuts_gives_finite_memberships_at_any_scale(scale, plain_draws):
    assert (sampled(WHOLE * scale).predict() == plain_draws.predict()).mean() > 0.98


@pytest.mark.parametrize("scale", [1e-160, 1e-310, 1e155, 1e300])
@pytest.mark.parametrize("engine", ["em", "nuts"])
def test_a_spread_whose_square_no_double_holds_is_refused_with_advice(scale, engine):
    with pytest.raises(bg.DataError, match=r"'x0' spreads over .*another unit"):
        bg.fit(WHOLE * scale, 2, engine=engine)


def test_a_spread_from_one_end_of_the_doubles_to_the_other_is_refused_with_advice():
    with pytest.raises(bg.DataError, match="another unit"):
        bg.fit(np.array([-1.7e308, 1.7e308, 0.0, 1.0]), 2, engine="em")


def test_an_offset_that_swallows_the_spread_is_refused_with_advice():
    with pytest.raises(bg.DataError, match="constant"):
        bg.fit(WHOLE * 1e-3 + 1e15, 2, engine="em")


# Types and layouts that hold the same numbers

STRIDED = np.zeros((2 * N, 3 * D))
STRIDED[::2, ::3] = WHOLE
FROZEN = WHOLE.copy()
FROZEN.flags.writeable = False
ROWS = [f"r{i}" for i in range(N)]

SAME_TABLES = {
    "read-only": FROZEN,
    "Fortran order": np.asfortranarray(WHOLE),
    "a strided view": STRIDED[::2, ::3],
    "a transposed view": np.ascontiguousarray(WHOLE.T).T,
    "a view backwards": np.ascontiguousarray(WHOLE[::-1])[::-1],
    "a broadcast view": np.broadcast_to(WHOLE, (1, N, D))[0],
    "big-endian": WHOLE.astype(">f8"),
    "big-endian integers": WHOLE.astype(">i2"),
    "float32": WHOLE.astype(np.float32),
    "float16": WHOLE.astype(np.float16),
    "long double": WHOLE.astype(np.longdouble),
    "int32": WHOLE.astype(np.int32),
    "int64": WHOLE.astype(np.int64),
    "uint8": WHOLE.astype(np.uint8),
    "objects": WHOLE.astype(object),
    "an unmasked masked array": np.ma.masked_array(WHOLE),
    "a list of lists": WHOLE.tolist(),
    "a tuple of arrays": tuple(WHOLE),
    "observations": bg.Observations.of(WHOLE),
    "a pandas frame": pd.DataFrame(WHOLE, columns=FEATURES),
    "a pandas frame with columns 0 and 1": pd.DataFrame(WHOLE),
    "a pandas frame with named rows": pd.DataFrame(WHOLE, columns=FEATURES, index=ROWS),
    "a pandas frame with dated rows": pd.DataFrame(
        WHOLE, columns=FEATURES, index=pd.date_range("2000-01-01", periods=N)
    ),
    "a pandas frame with rows in two levels": pd.DataFrame(
        WHOLE, columns=FEATURES, index=pd.MultiIndex.from_product([range(N // 2), ["a", "b"]])
    ),
    "a pandas frame with repeated row names": pd.DataFrame(WHOLE, columns=FEATURES, index=np.zeros(N, int)),
    "a pandas frame with columns in two levels": pd.DataFrame(
        WHOLE, columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
    ),
    "nullable whole numbers": pd.DataFrame(WHOLE, columns=FEATURES).astype("Int64"),
    "nullable floats": pd.DataFrame(WHOLE, columns=FEATURES).astype("Float32"),
    "arrow numbers": pd.DataFrame(WHOLE, columns=FEATURES).astype("double[pyarrow]"),
    "columns of mixed types": pd.DataFrame(WHOLE, columns=FEATURES).astype({"waiting": "int16"}),
    "columns of text besides": pd.DataFrame(WHOLE, columns=FEATURES).assign(kind="a", ok=True),
    "a polars frame": pl.DataFrame(WHOLE, schema=FEATURES),
    "a polars lazy frame": pl.LazyFrame(WHOLE, schema=FEATURES),
    "polars decimals": pl.DataFrame(WHOLE, schema=FEATURES).cast(pl.Decimal(10, 2)),
    "an arrow table": pa.table(dict(zip(FEATURES, WHOLE.T, strict=True))),
    "a DataArray": xr.DataArray(WHOLE, dims=("row", "column")),
    "a DataArray with names": xr.DataArray(WHOLE, {"row": ROWS, "column": FEATURES}, dims=("row", "column")),
    "a Dataset": xr.Dataset({name: ("row", column) for name, column in zip(FEATURES, WHOLE.T, strict=True)}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
@pytest.mark.parametrize("case", SAME_TABLES)
def test_the_same_numbers_in_another_container_give_the_same_bits(case, plain):
    data, before = SAME_TABLES[case], plain["full", None]
    result = fitted(data)
    np.testing.assert_array_equal(result.predict_proba(), before.predict_proba())
    np.testing.assert_array_equal(result.means, before.means)
    np.testing.assert_array_equal(result.predict_proba(data), before.predict_proba())


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.DataWarning")
@pytest.mark.parametrize("case", SAME_TABLES)
def test_a_fit_of_any_container_comes_back_from_its_file(case, tmp_path):
    result = fitted(SAME_TABLES[case])
    result.save(tmp_path / "result.nc")
    back = bg.load(tmp_path / "result.nc")
    np.testing.assert_array_equal(back.predict_proba(), result.predict_proba())
    assert back.data.features == result.data.features
    assert np.array_equal(back.data.index, result.data.index)


@pytest.mark.parametrize("case", ["read-only", "Fortran order", "float32", "uint8", "a polars frame", "big-endian"])
def test_nuts_draws_the_same_bits_from_another_container(case, plain_draws):
    np.testing.assert_array_equal(sampled(SAME_TABLES[case]).predict_proba(), plain_draws.predict_proba())


ONE_COLUMN = {
    "one dimension": WHOLE[:, 1],
    "one column": WHOLE[:, 1:],
    "a list": WHOLE[:, 1].tolist(),
    "a pandas series": pd.Series(WHOLE[:, 1], name="waiting"),
    "a series without a name": pd.Series(WHOLE[:, 1]),
    "a polars series": pl.Series("waiting", WHOLE[:, 1]),
    "a DataArray": xr.DataArray(WHOLE[:, 1], dims="row"),
    "uint8": WHOLE[:, 1].astype(np.uint8),
    "a frame": pd.DataFrame({"waiting": WHOLE[:, 1]}),
    "a range of the plain table": WHOLE[:, 1::2],
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("case", ONE_COLUMN)
def test_one_dimension_is_a_table_of_one_column(case, prior):
    before, result = fitted(WHOLE[:, [1]], prior=prior), fitted(ONE_COLUMN[case], prior=prior)
    np.testing.assert_array_equal(result.predict_proba(), before.predict_proba())
    assert result.means.shape == (1, 1, 2, 1)


# Shapes of data on which likelihoods have no bound


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("kind", TYPES)
def test_rows_given_fifty_times_are_rows_of_weight_fifty(kind, prior):
    labels = (WHOLE[:, 1] > 68).astype(int)
    repeated = fitted(np.tile(WHOLE, (50, 1)), 2, kind, prior, start=np.tile(labels, 50))
    weighted = fitted(WHOLE, 2, kind, prior, start=labels, sample_weight=np.full(N, 50))
    np.testing.assert_allclose(repeated.predict_proba()[:N], weighted.predict_proba(), rtol=0, atol=1e-8)
    np.testing.assert_allclose(repeated.means, weighted.means, rtol=1e-9)


@pytest.mark.parametrize("far", [1e6, 1e100, 1e300])
@pytest.mark.parametrize("prior", PRIORS)
def test_rows_of_weight_zero_are_rows_left_out(prior, far):
    weight = (np.arange(N) % 3 > 0).astype(float)
    labels = (WHOLE[:, 1] > 68).astype(int)
    wild = np.where(weight[:, None] > 0, WHOLE, far)
    with_zeros = fitted(wild, 2, prior=prior, start=labels, sample_weight=weight)
    without = fitted(WHOLE[weight > 0], 2, prior=prior, start=labels[weight > 0])
    # Sums in another order may end one iteration apart, which moves memberships by 1e-6.
    np.testing.assert_allclose(with_zeros.predict_proba()[weight > 0], without.predict_proba(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(with_zeros.means, without.means, rtol=1e-5)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("engine", ["em", "nuts"])
def test_a_constant_column_is_named(kind, prior, engine):
    data = pd.DataFrame(WHOLE, columns=FEATURES).assign(year=1990)
    with pytest.raises(bg.DataError, match=r"'year'.*constant.*drop it"):
        bg.fit(data, bg.MixtureModel(2, kind, prior), engine=engine)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("value", [0.0, 3.0, 0.1, 1e300, -1e-300])
def test_equal_rows_are_refused_with_advice(k, value):
    with pytest.raises(bg.DataError, match=r"all rows of `data` are equal.*drop it"):
        bg.fit(np.full((9, 2), value), k, engine="em")


def collinear():
    """Columns of which one is the sum of two others."""
    return pd.DataFrame(WHOLE, columns=FEATURES).assign(total=WHOLE.sum(axis=1))


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("engine", ["em", "nuts"])
def test_collinear_columns_are_named(kind, engine):
    with pytest.raises(bg.DataError, match=r"'eruptions', 'waiting', 'total'.*drop one.*'diag'"):
        bg.fit(collinear(), bg.MixtureModel(2, kind), engine=engine)


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_collinear_columns_have_no_maximum_likelihood(kind):
    with pytest.raises(bg.DegenerateComponentError, match="collinear"):
        bg.fit(collinear(), bg.MixtureModel(2, kind, "flat"), engine="em", seed=1)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("kind", ["diag", "spherical"])
def test_diagonal_covariances_take_collinear_columns(kind, prior):
    fitted(collinear(), 2, kind, prior)


@pytest.mark.filterwarnings("ignore:.*(nearly as high|was found by):bayesgmm.ConvergenceWarning")
@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("kind", TYPES)
def test_as_many_components_as_rows_is_finite_under_the_default_prior(k, kind):
    result = fitted(WHOLE[:: N // k][:k] if k > 2 else WHOLE[[0, 1, 7]], k, kind)
    assert result.weights.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_as_many_components_as_rows_has_no_maximum_likelihood(kind):
    with pytest.raises(bg.DegenerateComponentError, match=r"default prior"):
        bg.fit(WHOLE[::50][:5], bg.MixtureModel(5, kind, "flat"), engine="em", seed=1)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.filterwarnings("ignore:the best optimum was found:bayesgmm.errors.ConvergenceWarning")
def test_fewer_rows_than_columns_are_fitted_finitely_or_refused_with_advice(kind, prior):
    data = np.random.default_rng(1).standard_normal((5, 8))
    if kind in ("full", "tied"):
        with pytest.raises((bg.DataError, bg.DegenerateComponentError), match=ADVICE):
            bg.fit(data, bg.MixtureModel(2, kind, prior), engine="em", seed=1)
    elif prior is None:
        fitted(data, 2, kind, prior)
    else:
        try:
            fitted(data, 2, kind, prior)
        except bg.DegenerateComponentError as error:
            assert "default prior" in str(error)  # noqa: PT017


@pytest.mark.parametrize("rows", [2, 3, 4])
def test_no_more_rows_than_columns_never_have_a_maximum_likelihood(rows):
    """Their covariance is singular; rounding must not pass for width."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        data = rng.standard_normal((rows, 4)) * 10.0 ** rng.uniform(-9, 9, 4) + rng.choice([0.0, 1e6])
        try:
            result = bg.fit(data, bg.MixtureModel(1, "full", "flat"), engine="em", seed=1)
        except (bg.DataError, bg.DegenerateComponentError):
            continue
        found.append((seed, float(result.criteria()["log_likelihood"])))
    assert not found


def test_fewer_rows_than_columns_can_be_sampled_with_diagonal_covariances():
    data = np.random.default_rng(1).standard_normal((5, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.BayesGMMWarning)
        engine = bg.NUTS(draws=50, tune=50, chains=2)
        sound(bg.fit(data, bg.MixtureModel(2, "diag"), engine=engine, seed=1, progress=False))


@pytest.mark.parametrize("far", [1e6, 1e9, 1e12])
def test_an_outlier_gets_a_component_of_its_own_and_stays_finite(far):
    data = np.vstack([WHOLE, [far, far]])
    result = fitted(data, 2, "diag")
    probability = result.predict_proba()
    assert probability[-1].max() > 0.99
    assert (result.predict()[:-1] != result.predict()[-1]).all()


def test_an_outlier_stays_finite_under_nuts():
    data = np.vstack([WHOLE, [1e6, 1e6]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.BayesGMMWarning)
        engine = bg.NUTS(draws=50, tune=50, chains=2)
        result = sound(bg.fit(data, bg.MixtureModel(2, "diag"), engine=engine, seed=1, progress=False))
    assert (result.predict()[:-1] != result.predict()[-1]).all()


@pytest.mark.parametrize("far", [1e3, 1e8, 1e100, 1e150])
@pytest.mark.parametrize("kind", TYPES)
def test_new_rows_far_from_every_component_have_memberships_that_sum_to_one(far, kind, plain):
    result = plain[kind, None]
    rows = np.array([[far, far], [-far, far], [far, 0.0], [0.0, -far]])
    probability = result.predict_proba(rows)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert np.isfinite(result.memberships(rows).entropy).all()
    assert (result.log_density(rows) < -100).all()


@pytest.mark.parametrize("far", [1e160, 1e300, 1.7e308])
@pytest.mark.parametrize("kind", TYPES)
def test_new_rows_whose_distance_no_double_holds_never_get_missing_memberships(far, kind, plain):
    try:
        probability = plain[kind, None].predict_proba(np.array([[far, far], [-far, far]]))
    except bg.DataError as error:
        assert "`data`" in str(error)  # noqa: PT017
    else:
        np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("kind", TYPES)
def test_one_component_has_every_row_and_the_moments_of_the_table(kind, prior):
    result = fitted(WHOLE, 1, kind, prior)
    assert (result.predict_proba() == 1).all()
    np.testing.assert_allclose(result.means.values[0, 0, 0], WHOLE.mean(axis=0), rtol=1e-9)
    assert (result.memberships().entropy == 0).all()


def test_one_row_is_refused_with_advice():
    with pytest.raises(bg.DataError, match=r"only one row that counts.*more rows"):
        bg.fit([[1.0, 2.0]], 1, engine="em")


@pytest.mark.parametrize("kind", TYPES)
def test_two_values_many_times_over_are_two_groups_under_the_default_prior(kind):
    data = np.repeat([[0.0, 0.0], [1.0, 5.0]], 20, axis=0) + np.tile([[0.0, 0.0], [0.0, 1e-3]], (20, 1))
    result = fitted(data, 2, kind)
    assert (np.unique(result.predict(), return_counts=True)[1] == [20, 20]).all()


def test_ties_under_maximum_likelihood_are_dropped_or_refused_never_infinite():
    data = np.concatenate([np.zeros(30), np.random.default_rng(1).normal(5, 1, 30)])
    try:
        result = fitted(data, 2, prior="flat")
    except bg.DegenerateComponentError as error:
        assert "default prior" in str(error)  # noqa: PT017
    else:
        assert np.isfinite(result.criteria()).all()


@pytest.mark.parametrize(
    "name",
    ["", " ", "a/b", "a,b", "ü", "数", "line\nbreak", "<script>", "=cmd()", "x" * 5000, "a\x00b", "\udc80", "chain"],
)
def test_a_strange_column_name_is_kept_by_the_file_or_refused_by_the_fit(name, tmp_path):
    data = pd.DataFrame(WHOLE, columns=pd.Index(["plain", name], dtype=object))
    try:
        result = fitted(data)
    except bg.DataError as error:
        assert "`data`" in str(error)  # noqa: PT017
        return
    result.save(tmp_path / "result.nc")
    assert bg.load(tmp_path / "result.nc").data.features == ("plain", name)
