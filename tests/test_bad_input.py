"""Claims about bad input: refused at once, by name, with everything left as it was."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import xarray as xr
from typer.testing import CliRunner

import bayesgmm as bg
from bayesgmm.shell.commands import app

ENGINES = ("em", "nuts")
TABLE = bg.datasets.load_faithful()
VALUES = TABLE.to_numpy()
N, D = VALUES.shape
#: Processor seconds that a refusal may take.
MOST_SECONDS = 1.0


@contextmanager
def refused(says):
    """Expect a ValueError or TypeError whose sentence matches, soon."""
    began = time.process_time()
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        yield caught
    assert time.process_time() - began < MOST_SECONDS, "the refusal came late"
    assert len(str(caught.value)) < 1000, "the sentence quotes the whole input"


def fingerprint(value):
    """Return something that differs if the value was changed."""
    if isinstance(value, np.ndarray):
        shown = repr(value.tolist()) if value.dtype == object else value.tobytes()
        return value.dtype, value.shape, value.flags.writeable, shown
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return value.to_csv(), str(value.index.dtype)
    if isinstance(value, bg.MixtureParameters):
        return tuple(fingerprint(a) for a in value.arrays)
    return repr(value)


def spoiled(row, column, value):
    """Return the table with one value replaced."""
    changed = VALUES.copy()
    changed[row, column] = value
    return changed


def mixture(weights=(0.4, 0.6), means=((2.0, 54.0), (4.3, 80.0)), covariances=None):
    """Return sound parameters of the table, or spoiled ones."""
    covariances = np.tile(np.diag([0.2, 36.0]), (2, 1, 1)) if covariances is None else covariances
    return bg.MixtureParameters(np.asarray(weights), np.asarray(means), np.asarray(covariances))


@pytest.fixture(scope="module")
def point():
    return bg.fit(TABLE, 2, engine="em", seed=1)


# Tables

BAD_TABLES = {
    "a missing value": (spoiled(7, 1, np.nan), r"`data` has 1 of 272 rows with missing.*row 7.*'x1'"),
    "an infinity": (spoiled(9, 0, -np.inf), r"`data` has 1 of 272 rows with infinite.*row 9.*'x0'"),
    "all missing": (np.full((5, 2), np.nan), r"`data` has 5 of 5 rows"),
    "no rows": (np.empty((0, 2)), r"`data` is empty: got shape \(0, 2\)"),
    "no columns": (np.empty((5, 0)), r"`data` is empty: got shape \(5, 0\)"),
    "an empty list": ([], r"`data` is empty"),
    "an empty frame": (pd.DataFrame(), r"`data`"),
    "a frame without rows": (TABLE.iloc[:0], r"`data` is empty"),
    "three dimensions": (np.zeros((4, 2, 2)), r"`data` has to be \(n,\) or \(n, d\), got shape \(4, 2, 2\)"),
    "an xarray of three dimensions": (xr.DataArray(np.zeros((4, 2, 2))), r"`data`.*one or two dimensions"),
    "a scalar": (3.5, r"`data` has to be \(n,\) or \(n, d\), got shape \(\)"),
    "a whole number": (3, r"`data` has to be \(n,\) or \(n, d\), got shape \(\)"),
    "strings": (np.array([["a", "b"]] * 5), r"`data` has to hold real numbers, got dtype <U1"),
    "numbers as strings": ([["1", "2"], ["3", "5"]], r"`data` has to hold real numbers"),
    "bytes": (np.array([[b"1"], [b"2"]]), r"`data` has to hold real numbers"),
    "objects": (np.array([[object()], [object()]]), r"`data` has to hold real numbers.*object"),
    "a text among numbers": (np.array([[1.0, 2.0], [3.0, "x"]], dtype=object), r"`data`.*'x' \(str\) at \(1, 1\)"),
    "complex numbers": (VALUES + 1j, r"`data` has to hold real numbers, got dtype complex128"),
    "truth values": (VALUES > 3, r"`data` has to hold real numbers, got dtype bool"),
    "dates": (np.arange(5).astype("datetime64[D]")[:, None], r"`data` has to hold real numbers"),
    "durations": (np.arange(5).astype("timedelta64[s]")[:, None], r"`data` has to hold real numbers"),
    "ragged lists": ([[1.0, 2.0], [3.0]], r"`data` is ragged"),
    "none": (None, r"`data` has to be a table of numbers, got NoneType"),
    "a path of no table": ("customers.doc", r"'customers.doc' has to end in one of .*read another file first"),
    "a dictionary": ({"a": [1.0, 2.0, 4.0]}, r"`data`"),
    "a set": ({1.0, 2.0, 4.0}, r"`data`"),
    "a generator": ((x for x in (1.0, 2.0, 4.0)), r"`data`"),
    "a function": (len, r"`data`"),
    "a sparse matrix": (scipy.sparse.csr_array(VALUES), r"`data`"),
    "records": (TABLE.to_records(index=False), r"`data`"),
    "an integer beyond doubles": ([[10**400], [1], [2]], r"`data`"),
    "a fraction beyond doubles": ([[Fraction(10**400)], [Fraction(1)], [Fraction(2)]], r"`data`"),
    "a long double beyond doubles": (np.array([1.0, 2.0, 3.0], np.longdouble) * np.longdouble("1e400"), r"`data`"),
    "masked values": (np.ma.masked_greater(VALUES, 90.0), r"`data`.*(missing|mask)"),
    "a frame of text": (pd.DataFrame({"a": list("xyz"), "b": list("uvw")}), r"`data` has no numeric column"),
    "a polars frame of text": (pl.DataFrame({"a": list("xyz")}), r"`data` has no numeric column"),
    "a frame with a missing whole number": (
        pd.DataFrame({"a": pd.array([1, 2, None, 5], dtype="Int64")}),
        r"`data` has 1 of 4 rows with missing.*row 2.*'a'",
    ),
    "a polars frame with a null": (pl.DataFrame({"a": [1, 2, None, 5]}), r"`data` has 1 of 4 rows with missing"),
    "columns of one name": (
        TABLE.set_axis(["a", "a"], axis=1),
        r"`data`.*(twice|more than once|duplicate|unique).*'a'",
    ),
    "columns of one name when written out": (TABLE.set_axis([0, "0"], axis=1), r"`data`.*'?0'?"),
    "fewer rows than components": (VALUES[:1], r"`data` has 1 rows.*n_components=2"),
    "a constant column": (spoiled(slice(None), 1, 5.0), r"`data`.*'x1'.*constant"),
    "equal rows": (np.full((9, 2), 3.0), r"`data`.*constant"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_by_name_and_left_unchanged(case, engine):
    data, says = BAD_TABLES[case]
    before = fingerprint(data)
    with refused(says):
        bg.fit(data, 2, engine=engine, progress=False)
    assert fingerprint(data) == before


#: On which only a fit has anything to say.
LEGAL_ROWS = ("a path of no table", "fewer rows than components", "a constant column", "equal rows")


@pytest.mark.parametrize("case", [name for name in BAD_TABLES if name not in LEGAL_ROWS])
def test_observations_refuse_what_fit_refuses(case):
    data, says = BAD_TABLES[case]
    with refused(says):
        bg.Observations.of(data)


# Row weights

normalised = np.full(N, 1 / N)
BAD_WEIGHTS = {
    "too few": (np.ones(N - 1), r"`sample_weight` has to have shape \(272,\).*got \(271,\)"),
    "a column": (np.ones((N, 1)), r"`sample_weight` has to have shape \(272,\).*got \(272, 1\)"),
    "a scalar": (2.0, r"`sample_weight` has to have shape"),
    "negative": (np.where(np.arange(N) == 4, -1.0, 1.0), r"`sample_weight`.*got -1.0 at row 4"),
    "missing": (np.where(np.arange(N) == 4, np.nan, 1.0), r"`sample_weight`.*got nan at row 4"),
    "infinite": (np.where(np.arange(N) == 4, np.inf, 1.0), r"`sample_weight`.*got inf at row 4"),
    "all zero": (np.zeros(N), r"`sample_weight` sums to 0"),
    "normalised": (normalised, r"`sample_weight` sums to 1.*multiply normalised"),
    "of infinite sum": (np.full(N, 1e308), r"`sample_weight`"),
    "strings": (["one"] * N, r"`sample_weight` has to hold real numbers"),
    "complex": (np.ones(N) * 1j, r"`sample_weight` has to hold real numbers"),
    "ragged": ([[1.0], [1.0, 2.0]], r"`sample_weight` is ragged"),
    "a word": ("balanced", r"`sample_weight`"),
    "a dictionary": ({0: 1.0}, r"`sample_weight`"),
    "on fewer rows than components": (np.eye(N)[0] * 5, r"`data` has 1 rows that count"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_row_weights_are_refused_by_name_and_left_unchanged(case, engine):
    weight, says = BAD_WEIGHTS[case]
    before, table = copy.deepcopy(weight), VALUES.copy()
    with refused(says):
        bg.fit(table, 2, engine=engine, sample_weight=weight, progress=False)
    assert fingerprint(weight) == fingerprint(before)
    assert (table == VALUES).all()


def test_weights_normalised_to_one_are_refused_whichever_way_they_are_rounded():
    """`np.full(n, 1 / n).sum()` is a little more than 1 for many n."""
    accepted = []
    for n in range(2, 400):
        try:
            bg.Observations.of(np.arange(float(n)), np.full(n, 1 / n))
        except bg.DataError:
            continue
        accepted.append(n)
    assert not accepted


# The model, engines, starts and seeds

NOT_COUNTS = [0, -1, 2.0, 2.5, "2", True, None, np.nan, np.float64(2), [2], np.array([1, 2]), 1j]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("k", NOT_COUNTS, ids=repr)
def test_a_number_of_components_that_is_no_count_is_refused(k, engine):
    with refused("`n_components`"):
        bg.fit(VALUES, k, engine=engine, progress=False)


BAD_MODELS = {
    "more components than rows": (lambda: bg.fit(VALUES, N + 1, engine="em"), "n_components=273"),
    "absurdly many components": (lambda: bg.fit(VALUES, 10**18, engine="em"), "n_components=10{18}"),
    "an unknown covariance type": (lambda: bg.MixtureModel(2, "VVV"), "`covariance_type`.*'VVV'"),
    "no covariance type": (lambda: bg.MixtureModel(2, None), "`covariance_type`"),
    "a list of covariance types": (lambda: bg.MixtureModel(2, ["full"]), "`covariance_type`"),
    "an array of covariance types": (lambda: bg.MixtureModel(2, np.array(["full", "tied"])), "`covariance_type`"),
    "an unknown prior word": (lambda: bg.MixtureModel(2, prior="jeffreys"), "`prior`.*'jeffreys'"),
    "a prior class": (lambda: bg.MixtureModel(2, prior=bg.ConjugatePrior), "`prior`"),
    "a number as prior": (lambda: bg.MixtureModel(2, prior=1.0), "`prior`"),
    "an unknown engine": (lambda: bg.fit(VALUES, 2, engine="vb"), "`engine`.*'vb'"),
    "an engine's class": (lambda: bg.fit(VALUES, 2, engine=bg.EM), "`engine`"),
    "no engine": (lambda: bg.fit(VALUES, 2, engine=None), "`engine`"),
    "a flat prior to sample": (
        lambda: bg.fit(VALUES, bg.MixtureModel(2, prior="flat"), engine="nuts"),
        "prior='flat'.*use engine='em'",
    ),
    "EM under a separation prior": (
        lambda: bg.fit(VALUES, bg.MixtureModel(2, prior=bg.SeparationPrior.from_data(VALUES, 2)), engine="em"),
        "SeparationPrior.*'nuts'",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_a_bad_model_or_engine_is_refused_by_name(case):
    call, says = BAD_MODELS[case]
    with refused(says):
        call()


BAD_SETTINGS = [
    (bg.EM, "tol", [-1e-9, 2.0, np.nan, np.inf, "small", None, True]),
    (bg.EM, "max_iter", [0, -5, 1.5, "many", None, True]),
    (bg.EM, "n_init", [0, -1, 2.0, "10", None, False]),
    (bg.EM, "init", ["x", None, 1, ["random"], np.array(["random", "random"])]),
    (bg.EM, "trace", ["x", None, True]),
    (bg.NUTS, "draws", [0, -1, 3, 10.0, "many", None]),
    (bg.NUTS, "tune", [0, -1, 19, 10.0, "200"]),
    (bg.NUTS, "chains", [0, -1, 4.0, None, True]),
    (bg.NUTS, "target_accept", [2, 1, 0, -0.5, np.nan, "high", None]),
    (bg.NUTS, "sampler", ["x", None, 1]),
    (bg.NUTS, "form", ["x", None, 1]),
    (bg.NUTS, "cores", [0, -1, 1.5, "all"]),
]


@pytest.mark.parametrize(
    ("engine", "name", "value"),
    [(engine, name, value) for engine, name, values in BAD_SETTINGS for value in values],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_a_bad_setting_of_an_engine_is_refused_by_name(engine, name, value):
    with refused(f"`{name}`"):
        engine(**{name: value})


BAD_STARTS = {
    "labels for fewer rows": (np.zeros(N - 1, int), r"`start`.*272 rows, got shape \(271,\)"),
    "labels in a column": (np.zeros((N, 1), int), r"`start`.*got shape \(272, 1\)"),
    "one label": (1, r"`start`"),
    "a label too many": (np.arange(N) % 3, r"`start`.*0 to 1, got 0 to 2"),
    "a negative label": (np.arange(N) % 2 - 1, r"`start`.*got -1 to 0"),
    "a label beyond int64": (np.full(N, 2**64 - 1, np.uint64), r"`start`"),
    "floats": (np.zeros(N), r"`start`.*dtype float64"),
    "truth values": (np.zeros(N, bool), r"`start`.*dtype bool"),
    "words": (["short"] * N, r"`start`"),
    "ragged": ([[0], [0, 1]], r"`start`.*ragged"),
    "an empty list": ([], r"`start`"),
    "a dictionary": ({}, r"`start`"),
    "other means": (mixture(means=np.zeros((2, 3))), r"`start`.*2 components and 2 features"),
    "other components": (mixture(np.ones(3) / 3, np.zeros((3, 2)), np.tile(np.eye(2), (3, 1, 1))), r"`start`.*2 comp"),
    "a grid": (bg.MixtureParameters(np.ones((1, 2)) / 2, np.zeros((1, 2, 2)), np.ones((1, 2, 2, 2))), r"`start`"),
    "missing means": (mixture(means=np.full((2, 2), np.nan)), r"`start`.*not finite"),
    "weights that sum to two": (mixture(weights=(1.0, 1.0)), r"`start`.*weights"),
    "a negative weight": (mixture(weights=(-0.5, 1.5)), r"`start`.*weights"),
    "an indefinite covariance": (
        mixture(covariances=np.tile([[1.0, 9.0], [9.0, 1.0]], (2, 1, 1))), r"`start`.*definite",
    ),
    "a negative variance": (mixture(covariances=np.tile(np.diag([-1.0, 1.0]), (2, 1, 1))), r"`start`.*definite"),
    "no width": (mixture(covariances=np.zeros((2, 2, 2))), r"`start`.*definite"),
    "an asymmetric covariance": (
        mixture(covariances=np.tile([[1.0, 0.9], [-0.9, 1.0]], (2, 1, 1))), r"`start`.*symmetric",
    ),
    "weights in words": (bg.MixtureParameters(["a", "b"], np.zeros((2, 2)), np.ones((2, 2, 2))), r"`start`"),
    "complex means": (mixture(means=np.full((2, 2), 1j)), r"`start`"),
    "ragged means": (bg.MixtureParameters([0.5, 0.5], [[1.0], [1.0, 2.0]], np.ones((2, 2, 2))), r"`start`"),
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", BAD_STARTS)
def test_a_bad_start_is_refused_by_name_and_left_unchanged(case, engine):
    start, says = BAD_STARTS[case]
    before = copy.deepcopy(start)
    with refused(says):
        bg.fit(VALUES, 2, engine=engine, start=start, progress=False)
    assert fingerprint(start) == fingerprint(before)


def test_a_start_from_a_result_with_other_components_is_refused(point):
    with refused(r"`start`.*3 components"):
        bg.fit(VALUES, 3, engine="em", start=point)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", ["a", -1, 1.5, True, np.nan, [1, 2], np.random.RandomState(1)], ids=str)
def test_a_bad_seed_is_refused_by_name(seed, engine):
    with refused("`seed`"):
        bg.fit(VALUES, 2, engine=engine, seed=seed, progress=False)


# Priors

CONJUGATE = {"concentration": 1.0, "loc": 0.0, "shrinkage": 0.01, "dof": 4.0, "scale": 1.0}
SEMI = {"concentration": 1.0, "loc": 0.0, "loc_covariance": 100.0, "dof": 4.0, "scale": 1.0}
HIERARCHICAL = SEMI | {"scale_dof": 2.0, "scale_rate": 1.0, "floor": 0.01}
del HIERARCHICAL["scale"]
SEPARATION = {"concentration": 1.0, "loc": 0.0, "loc_covariance": 100.0, "deviation": 1.0, "lkj": 2.0}
POSITIVE = [0.0, -1.0, np.nan, np.inf, "one", None, [1.0, 2.0, 3.0], [[1.0, 2.0]], [1.0, -1.0], 1j, np.array([1j, 1j])]
VECTORS = [np.nan, "here", None, [1.0, 2.0, 3.0], np.zeros((3, 2)), [[1.0], [1.0, 2.0]], np.array([1j, 1j])]
MATRICES = [
    0.0, -1.0, np.nan, "wide", None, [1.0, 2.0, 3.0], np.ones((3, 3)), np.eye(2)[None].repeat(3, 0), np.ones((2, 2)),
    [[1.0, 0.5], [-0.5, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]], np.eye(2) * 1j,
]  # fmt: skip
BAD_HYPERPARAMETERS = [
    (bg.ConjugatePrior, CONJUGATE, "em", ("concentration", "shrinkage", "dof"), POSITIVE),
    (bg.ConjugatePrior, CONJUGATE, "nuts", ("dof",), [1.0, 0.5]),
    (bg.ConjugatePrior, CONJUGATE, "nuts", ("loc",), VECTORS),
    (bg.ConjugatePrior, CONJUGATE, "em", ("scale",), MATRICES),
    (bg.SemiConjugatePrior, SEMI, "em", ("loc_covariance",), MATRICES),
    (bg.SemiConjugatePrior, SEMI, "nuts", ("dof", "concentration"), POSITIVE),
    (bg.HierarchicalPrior, HIERARCHICAL, "em", ("concentration", "dof"), POSITIVE),
    (bg.HierarchicalPrior, HIERARCHICAL, "nuts", ("scale_dof",), [1.0, 0.0, -1.0, np.nan, "x", None, [2.0, 3.0]]),
    (bg.HierarchicalPrior, HIERARCHICAL, "gibbs", ("scale_rate",), MATRICES),
    (bg.HierarchicalPrior, HIERARCHICAL, "em", ("floor",), [-1.0, np.nan, np.inf, "x", None, [1.0, 2.0, 3.0]]),
    (bg.SeparationPrior, SEPARATION, "nuts", ("deviation",), [0.0, -1.0, np.nan, "x", None, [1.0, 2.0, 3.0]]),
    (bg.SeparationPrior, SEPARATION, "nuts", ("lkj",), [0.0, -1.0, np.nan, "x", None, [1.0, 2.0]]),
]


@pytest.mark.parametrize(
    ("prior", "sound", "engine", "name", "value"),
    [
        (p, sound, e, name, value)
        for p, sound, e, names, values in BAD_HYPERPARAMETERS
        for name in names
        for value in values
    ],
    ids=lambda value: "" if isinstance(value, dict) else getattr(value, "__name__", repr(value)),
)  # fmt: skip
def test_a_bad_hyperparameter_is_refused_by_name(prior, sound, engine, name, value):
    with refused(f"`{name}`"):
        bg.fit(VALUES, bg.MixtureModel(2, prior=prior(**(sound | {name: value}))), engine=engine, progress=False)


BAD_PRIORS_FROM_DATA = {
    "no components": (lambda kind: kind.from_data(VALUES, 0), "`n_components`"),
    "negative components": (lambda kind: kind.from_data(VALUES, -2), "`n_components`"),
    "half a component": (lambda kind: kind.from_data(VALUES, 1.5), "`n_components`"),
    "components in words": (lambda kind: kind.from_data(VALUES, "two"), "`n_components`"),
    "an unknown covariance type": (lambda kind: kind.from_data(VALUES, 2, "VVV"), "`covariance_type`"),
    "no data": (lambda kind: kind.from_data(None, 2), "`data`"),
    "missing data": (lambda kind: kind.from_data(spoiled(3, 0, np.nan), 2), "`data`.*missing"),
    "a constant": (lambda kind: kind.from_data(np.ones((5, 2)), 2), "`data`.*constant"),
}


@pytest.mark.parametrize("kind", [bg.ConjugatePrior, bg.HierarchicalPrior, bg.SeparationPrior])
@pytest.mark.parametrize("case", BAD_PRIORS_FROM_DATA)
def test_a_prior_from_bad_data_is_refused_by_name(case, kind):
    call, says = BAD_PRIORS_FROM_DATA[case]
    with refused(says):
        call(kind)


# Questions to a result

BAD_QUESTIONS = {
    "other columns": (
        lambda r: r.predict(TABLE.set_axis(["a", "b"], axis=1)), r"`data`.*'eruptions', 'waiting'.*'a', 'b'",
    ),
    "a column less": (lambda r: r.predict(TABLE[["waiting"]]), r"`data`.*'eruptions'"),
    "an array with a column more": (lambda r: r.predict(np.ones((3, 3))), r"`data`.*columns"),
    "an array with a column less": (lambda r: r.predict_proba(np.ones(3)), r"`data`.*columns"),
    "missing values": (lambda r: r.predict_proba(spoiled(5, 1, np.nan)), r"`data`.*missing.*row 5"),
    "infinities": (lambda r: r.log_density(spoiled(5, 1, np.inf)), r"`data`.*infinite.*row 5"),
    "masked values": (lambda r: r.predict(np.ma.masked_greater(VALUES, 90.0)), r"`data`.*(missing|mask)"),
    "words": (lambda r: r.memberships("faithful"), r"'faithful' has to end in one of"),
    "no rows": (lambda r: r.memberships(TABLE.iloc[:0]), r"`data` is empty"),
    "a scalar": (lambda r: r.predict(4.0), r"`data`.*got shape \(\)"),
    "an interval beyond one": (lambda r: r.memberships(ci_prob=1.5), "`ci_prob`"),
    "a negative interval": (lambda r: r.memberships(ci_prob=-0.1), "`ci_prob`"),
    "a missing interval": (lambda r: r.memberships(ci_prob=np.nan), "`ci_prob`"),
    "an interval in percent": (lambda r: r.summary(ci_prob=90), "`ci_prob`"),
    "an interval in words": (lambda r: r.memberships(ci_prob="90%"), "`ci_prob`"),
    "no rows to draw": (lambda r: r.sample(0), "`n`"),
    "a negative number of rows": (lambda r: r.sample(-3), "`n`"),
    "half a row": (lambda r: r.sample(2.5), "`n`"),
    "a bad seed": (lambda r: r.sample(2, seed="x"), "`seed`"),
    "an unknown relabelling": (lambda r: r.relabelled("stevens"), "`method`"),
    "labels compared on half a row": (lambda r: r.label_switching(rows=0.5), "`rows`"),
    "a comparison with nothing": (lambda r: bg.compare(r, None), "(?i)posterior"),
    "a comparison with itself": (lambda r: bg.compare(r, r), "(?i)posterior"),
    "a simulation of a grid": (lambda r: bg.simulate(r, 5), "`parameters`"),
    "a simulation of no rows": (lambda r: bg.simulate(r.parameters, 0), "`n`"),
    "a simulation of weights that are no shares": (
        lambda _: bg.simulate(mixture((3.0, -2.0)), 5), "`?parameters`?|weights",
    ),
    "a simulation of missing means": (
        lambda _: bg.simulate(mixture(means=np.full((2, 2), np.nan)), 5), "`?parameters`?|means"
    ),
    "a simulation of an indefinite covariance": (
        lambda _: bg.simulate(mixture(covariances=-np.ones((2, 2, 2))), 5), "`?parameters`?|covariance"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_QUESTIONS)
def test_a_bad_question_to_a_result_is_refused_by_name(case, point):
    call, says = BAD_QUESTIONS[case]
    with refused(says):
        call(point)


def test_refused_calls_leave_the_global_generator_and_the_settings_of_numpy_alone():
    before, errors = np.random.get_state()[1].copy(), np.geterr()  # noqa: NPY002
    for data, _ in (BAD_TABLES["an infinity"], BAD_TABLES["equal rows"]):
        with pytest.raises(bg.DataError):
            bg.fit(data, 2, engine="em", seed=1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert np.geterr() == errors


# The command line


def write_inputs(folder):
    """Write a sound table and many that are not."""
    TABLE.to_csv(folder / "good.csv", index=False)
    TABLE.to_parquet(folder / "good.parquet")
    TABLE.assign(kind="a").to_csv(folder / "text.csv", index=False)
    TABLE.assign(share=1 / N).to_csv(folder / "normalised.csv", index=False)
    TABLE.assign(share=-1).to_csv(folder / "negative.csv", index=False)
    TABLE.assign(waiting=5).to_csv(folder / "constant.csv", index=False)
    TABLE.replace({"waiting": {54: None}}).to_csv(folder / "missing.csv", index=False)
    TABLE.replace({"waiting": {54: np.inf}}).to_csv(folder / "infinite.csv", index=False)
    TABLE.iloc[:0].to_csv(folder / "headed.csv", index=False)
    pd.DataFrame({"a": list("xyzx")}).to_csv(folder / "words.csv", index=False)
    (folder / "empty.csv").write_bytes(b"")
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "ragged.csv").write_text("a,b\n1,2\n3,4,5,6\n7,8\n")
    (folder / "binary.csv").write_bytes(bytes(range(256)) * 40)
    (folder / "nul.csv").write_bytes(b"a,b\n1,\x002\n3,4\n")
    (folder / "quote.csv").write_text('a,b\n1,"2\n3,4\n')
    (folder / "garbage.parquet").write_bytes(b"PAR1" + bytes(range(200)) + b"PAR1")
    (folder / "table.xlsx").write_bytes(b"PK\x03\x04")
    (folder / "folder.csv").mkdir()
    (folder / "taken.nc").write_text("mine")
    (folder / "taken.csv").write_text("mine")


BAD_COMMANDS = {
    "no such file": ("fit nowhere.csv -k 2", "no file.*nowhere.csv"),
    "another format": ("fit table.xlsx -k 2", "table.xlsx' cannot be read as XLSX"),
    "another format still": ("fit words.doc -k 2", "has to end in"),
    "a folder": ("fit folder.csv -k 2", "folder.csv"),
    "an empty file": ("fit empty.csv -k 2", "empty.csv"),
    "an empty parquet file": ("fit empty.parquet -k 2", "empty.parquet"),
    "a broken parquet file": ("fit garbage.parquet -k 2", "garbage.parquet"),
    "a header alone": ("fit headed.csv -k 2", "headed.csv' has no rows"),
    "ragged lines": ("fit ragged.csv -k 2", "ragged.csv"),
    "binary rubbish": ("fit binary.csv -k 2", "binary.csv|`data`"),
    "an open quote": ("fit quote.csv -k 2", "quote.csv|`data`"),
    "words alone": ("fit words.csv -k 2", "`data` has no numeric column"),
    "missing values": ("fit missing.csv -k 2", "`data`.*missing.*'waiting'"),
    "infinities": ("fit infinite.csv -k 2", "`data`.*infinite.*'waiting'"),
    "a constant": ("fit constant.csv -k 2", "'waiting'.*constant"),
    "no components": ("fit good.csv -k 0", "`n_components`"),
    "negative components": ("fit good.csv -k -3", "`n_components`"),
    "too many components": ("fit good.csv -k 1000", "n_components=1000"),
    "a negative seed": ("fit good.csv -k 2 --seed -1", "`seed`"),
    "no draws": ("fit good.csv -k 2 --engine nuts --draws 0", "`draws`"),
    "no chains": ("fit good.csv -k 2 --engine nuts --chains 0", "`chains`"),
    "a flat prior to sample": ("fit good.csv -k 2 --engine nuts --prior flat", "prior='flat'"),
    "an unknown column": ("fit good.csv -k 2 --columns eruptions,height", "no column 'height'"),
    "a column of text that was asked for": ("fit text.csv -k 2 --columns eruptions,kind", "'kind'"),
    "a column asked for twice": ("fit good.csv -k 2 --columns waiting,waiting", "'waiting'"),
    "an unknown column of weights": ("fit good.csv -k 2 --weights share", "no column 'share'"),
    "weights in words": ("fit text.csv -k 2 --weights kind", "`sample_weight`"),
    "normalised weights": ("fit normalised.csv -k 2 --weights share", "`sample_weight` sums to 1"),
    "negative weights": ("fit negative.csv -k 2 --weights share", "`sample_weight`"),
    "output that exists": ("fit good.csv -k 2 --engine em -o taken.nc", "taken.nc.*exists.*--force"),
    "memberships that exist": ("fit good.csv -k 2 --engine em -m taken.csv", "taken.csv.*exists.*--force"),
    "memberships over the data": ("fit good.csv -k 2 --engine em -m good.csv", "good.csv.*exists.*--force"),
    "memberships in another format": ("fit good.csv -k 2 --engine em -m out.xlsx", "--memberships"),
    "output in no folder": ("fit good.csv -k 2 --engine em -o nowhere/out.nc", "nowhere"),
    "memberships in no folder": ("fit good.csv -k 2 --engine em -o out.nc -m nowhere/out.csv", "nowhere"),
    "two outputs of one name": ("fit good.csv -k 2 --engine em -o out.csv -m out.csv", "out.csv"),
    "output that is a folder": ("fit good.csv -k 2 --engine em --force -o folder.csv", "folder.csv"),
    "a comparison of too many": ("compare good.csv -k 1000", "n_components=1000"),
    "a comparison without draws": ("compare good.csv -k 2 --draws 0", "`draws`"),
    "a prediction from nothing": ("predict nowhere.nc good.csv", "nowhere.nc"),
    "a prediction from a table": ("predict good.csv good.csv", "good.csv.*not a result"),
    "a prediction from a text": ("predict taken.nc good.csv", "taken.nc.*not a result"),
    "a prediction for other columns": ("predict fitted.nc ragged.csv", "ragged.csv"),
    "a prediction for missing values": ("predict fitted.nc missing.csv", "`data`.*missing"),
    "a prediction over a file": ("predict fitted.nc good.csv -m taken.csv", "taken.csv.*exists"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch, point):
    write_inputs(tmp_path)
    point.save(tmp_path / "fitted.nc")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    """Return every file with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("case", BAD_COMMANDS)
def test_a_bad_command_says_one_sentence_and_writes_nothing(case, folder):
    command, says = BAD_COMMANDS[case]
    before = contents(folder)
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 2, done.exception
    first, *others = done.stderr.splitlines()
    assert all(line.startswith("  ") for line in others), done.stderr
    assert max(map(len, (first, *others))) <= 80, done.stderr
    assert re.search(says, " ".join(done.stderr.split())), done.stderr
    assert done.stderr.startswith("bayesgmm: ")
    assert "Traceback" not in done.output
    assert done.stdout == ""
    assert contents(folder) == before


@pytest.mark.parametrize(
    "command",
    ["fit", "fit good.csv", "fit good.csv -k two", "fit good.csv -k 2.5", "fit good.csv -k 2 --engine vb", "nonsense",
     "fit good.csv -k 2 --covariance-type VVV", "fit good.csv -k 2 --prior jeffreys", "fit good.csv -k 2 --colour red",
     "fit good.csv -k 2 --seed x", "fit good.csv -k 2 --draws 1.5", "predict", "compare good.csv"],
)  # fmt: skip
def test_a_command_that_cannot_be_read_ends_with_status_2_and_no_traceback(command, folder):
    before = contents(folder)
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert contents(folder) == before


def test_force_overwrites_what_exists(folder):
    done = CliRunner().invoke(
        app, ["fit", "good.csv", "-k", "2", "--engine", "em", "--seed", "1", "-o", "taken.nc", "--force"]
    )
    assert done.exit_code == 0, done.output
    assert bg.load(folder / "taken.nc").is_point


def test_the_installed_command_ends_with_status_2_and_one_line(folder):
    script = "from bayesgmm.shell.commands import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "fit", "missing.csv", "-k", "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"bayesgmm: `data` has .*missing.*\n", done.stderr, re.DOTALL)
