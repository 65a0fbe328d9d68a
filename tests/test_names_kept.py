"""Claims about names of rows and columns: a file gives them back, or they are refused before it is written."""

from __future__ import annotations

import datetime as dt

import h5py
import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.data.writing import CHECKSUM
from bayesgmm.results.inspection import REFERENCE

ROWS = 20
TABLE = np.concatenate([np.random.default_rng(0).normal(size=(10, 2)), np.random.default_rng(1).normal(5, 1, (10, 2))])


def since(day, unit):
    return np.array([day], f"datetime64[{unit}]") + np.arange(ROWS)


KEPT = {
    "days": pd.date_range("2020-01-01", periods=ROWS),
    "nanoseconds": pd.date_range("2020-01-01", periods=ROWS, freq="ns"),
    "days before 1678": since("1500-01-01", "D"),
    "seconds of 9999": since("9999-12-01", "s"),
    "microseconds of the year 1": since("0001-01-01", "us"),
    "no date": pd.DatetimeIndex([pd.NaT, *pd.date_range("2020-01-01", periods=ROWS - 1)]),
    "dates of a zone": pd.date_range("2020-01-01", periods=ROWS, tz="Europe/Vienna"),
    "times": pd.timedelta_range("1h", periods=ROWS),
    "long times": pd.Index((10**12 + np.arange(ROWS)).astype("timedelta64[s]")),
    "periods": pd.period_range("2020-01", periods=ROWS, freq="M"),
    "intervals": pd.interval_range(0, ROWS),
    "truths": pd.Index([True, False] * 10),
    "no number": pd.Index([np.nan, *np.arange(ROWS - 1.0)]),
    "large numbers": pd.Index(np.arange(ROWS, dtype="u8") + 2**63),
    "kinds mixed": pd.Index([1, "a", 2.5, None] * 5),
    "dates of Python": pd.Index([dt.date(2020, 1, i + 1) for i in range(ROWS)]),
    "bytes": pd.Index([b"a\0\xff%d" % i for i in range(ROWS)]),
    "tuples": pd.Index([("a", i) for i in range(ROWS)], tupleize_cols=False),
    "levels": pd.MultiIndex.from_product([["a", "b"], range(10)]),
    "categories": pd.CategoricalIndex(list("ab") * 10),
    "one name": pd.Index(["a"] * ROWS),
    "no name": pd.Index([""] * ROWS),
    "very long names": pd.Index([f"{i}" + "x" * 300_000 for i in range(ROWS)]),
    "letters of all kinds": pd.Index(["ä\u202e😀\x1b[2J"] * ROWS),
}


def named(rows):
    return bg.fit(pd.DataFrame(TABLE, index=pd.Index(rows), columns=["a", "b"]), 2, engine="em", seed=1)


@pytest.mark.parametrize("case", KEPT)
def test_names_of_rows_come_back(case, tmp_path):
    result = named(KEPT[case])
    result.save(tmp_path / "r.nc")
    before, after = (each.memberships()["observation"].values for each in (result, bg.load(tmp_path / "r.nc")))
    assert before.dtype.kind == after.dtype.kind
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("rows", [np.arange(ROWS) * 1j, since("20000-01-01", "s")], ids=["complex", "of 20000"])
def test_names_of_rows_that_no_file_can_hold_are_refused_when_saved(rows, tmp_path):
    with pytest.raises(bg.DataError, match=r"names of type .* that no file can hold.*make them text"):
        named(rows).save(tmp_path / "r.nc")
    assert list(tmp_path.iterdir()) == []


COLUMNS = {
    "levels": pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
    "dates": pd.date_range("2020", periods=2),
    "bytes": pd.Index([b"a", b"b"]),
    "none": pd.Index([None, "a"]),
    "long": pd.Index(["x" * 10**6, "y"]),
    "paths": pd.Index(["a/b", "a"]),
    "complex": pd.Index([1j, 2j]),
    "dimensions": pd.Index(["component", "feature"]),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_names_of_columns_come_back(case, tmp_path):
    table = pd.DataFrame(TABLE, columns=COLUMNS[case])
    result = bg.fit(table, 2, engine="em", seed=1)
    result.save(tmp_path / "r.nc")
    loaded = bg.load(tmp_path / "r.nc")
    assert loaded.means["feature"].values.tolist() == result.means["feature"].values.tolist()
    np.testing.assert_array_equal(loaded.predict(table), result.predict(table))


def test_names_that_share_their_place_in_a_file_are_refused_unread(tmp_path):
    """They would unfold to as much as there are rows times the longest name."""
    rows = np.random.default_rng(1).normal(size=(4000, 2))
    index = ["x" * 5_000, *map(str, range(1, len(rows)))]
    path = tmp_path / "r.nc"
    bg.fit(pd.DataFrame(rows, index=index), 1, engine="em", seed=1).save(path)
    assert len(bg.load(path).tree["observed_data"]["observation"]) == len(rows)
    with h5py.File(path, "r") as file:
        offset = file["observed_data/observation"].id.get_offset()
    content = bytearray(path.read_bytes().rsplit(CHECKSUM, 1)[0])
    written = np.frombuffer(content, REFERENCE, len(rows), offset)
    written[:] = written[0]
    path.write_bytes(content)
    with pytest.raises(bg.LoadError, match="texts share their place"):
        bg.load(path)
