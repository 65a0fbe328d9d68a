"""Tables as people have them: what is read, set aside, left out, converted and refused is what is said."""

from __future__ import annotations

import datetime
import decimal
import gzip
import io
import re
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
import xarray as xr
from typer.testing import CliRunner

import bayesgmm as bg
from bayesgmm.data import Reading, rows_of
from bayesgmm.shell.commands import app

# Of so few rows, EM says that it is not sure: that is not asked here.
pytestmark = pytest.mark.filterwarnings("ignore::bayesgmm.errors.ConvergenceWarning")

TABLE = bg.datasets.load_faithful().iloc[:60].reset_index(drop=True)
VALUES = np.ascontiguousarray(TABLE.to_numpy())


def read(data, sample_weight=None, **decided):
    """Return rows, and what was said about them."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rows = rows_of(data, sample_weight, Reading(**decided))
    assert all(one.category is bg.DataWarning for one in said)
    return rows, " | ".join(str(one.message) for one in said)


def run(*arguments, given=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=given)


def fit(*arguments, given=None):
    return run("fit", *arguments, "-k", 2, "--engine", "em", "--seed", 1, given=given)


def written(frame, path, **options):
    frame.to_csv(path, **({"index": False} | options))
    return path


def comma(number):
    return str(number).replace(".", ",")


# Text files: separators, marks, headers, encodings

COMMAS = TABLE.map(comma)
SAME_FILES = {
    "commas": (TABLE.to_csv(index=False), ""),
    "semicolons": (TABLE.to_csv(index=False, sep=";"), "';' between columns"),
    "tabs": (TABLE.to_csv(index=False, sep="\t"), "tabs between columns"),
    "bars": (TABLE.to_csv(index=False, sep="|"), "'|' between columns"),
    "blanks": (TABLE.to_csv(index=False, sep=" "), "blanks between columns"),
    "runs of blanks": (TABLE.to_string(index=False), "blanks between columns"),
    "semicolons and decimal commas": (COMMAS.to_csv(index=False, sep=";"), "';' between columns and decimal commas"),
    "tabs and decimal commas": (COMMAS.to_csv(index=False, sep="\t"), "tabs between columns and decimal commas"),
    "bars and decimal commas": (COMMAS.to_csv(index=False, sep="|"), "'|' between columns and decimal commas"),
    "quoted decimal commas": (COMMAS.to_csv(index=False), "decimal commas"),
    "blanks after commas": (TABLE.to_csv(index=False).replace(",", ", "), ""),
    "lines of Windows": (TABLE.to_csv(index=False, lineterminator="\r\n"), ""),
    "lines of an old Mac": (TABLE.to_csv(index=False, lineterminator="\r"), ""),
    "no last line end": (TABLE.to_csv(index=False).rstrip(), ""),
    "empty lines": (TABLE.to_csv(index=False).replace("\n", "\n\n"), ""),
    "quotes about everything": (TABLE.to_csv(index=False, quoting=1), ""),
    "a hint for Excel": ("sep=;\n" + TABLE.to_csv(index=False, sep=";"), ""),
    "row numbers": (TABLE.to_csv(), "'Unnamed: 0' names the rows"),
    "row numbers with a name": (TABLE.rename_axis("nr").to_csv(), "'nr' names the rows"),
    "a column of dates": (TABLE.assign(day="2024-01-05").to_csv(index=False), "'day' (dates or times)"),
    "an empty last column": (TABLE.assign(**{"": ""}).to_csv(index=False), "'Unnamed: 2' (empty)"),
}


@pytest.mark.parametrize("case", SAME_FILES)
@pytest.mark.parametrize("ending", [".csv", ".txt"])
def test_the_same_table_written_otherwise_is_the_same_and_what_differs_is_said(case, ending, tmp_path):
    text, says = SAME_FILES[case]
    (tmp_path / f"table{ending}").write_text(text, newline="")
    rows, said = read(tmp_path / f"table{ending}")
    assert rows.features == ("eruptions", "waiting")
    np.testing.assert_array_equal(rows.values, VALUES)
    assert says in said
    assert said == "" or says


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_and_compression_are_recognised(encoding, packed, tmp_path):
    content = TABLE.set_axis(["größe", "Zeit"], axis=1).to_csv(index=False).encode(encoding)
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    rows, said = read(path)
    assert rows.features == ("größe", "Zeit")
    np.testing.assert_array_equal(rows.values, VALUES)
    assert ("Latin-1" in said) == (encoding == "latin-1")


def test_an_encoding_can_be_named(tmp_path):
    (tmp_path / "t.csv").write_bytes("ширина,x\n1,2.5\n2,3.25\n4,1\n".encode("cp1251"))
    assert read(tmp_path / "t.csv", encoding="cp1251")[0].features == ("ширина", "x")
    with pytest.raises(bg.DataError, match="`encoding` names no encoding: 'klingon'"):
        read(tmp_path / "t.csv", encoding="klingon")
    with pytest.raises(bg.DataError, match="is not encoded as utf-8"):
        read(tmp_path / "t.csv", encoding="utf-8")


FILES = {
    ".parquet": lambda frame, path: frame.to_parquet(path),
    ".pq": lambda frame, path: frame.to_parquet(path),
    ".feather": lambda frame, path: frame.to_feather(path),
    ".arrow": lambda frame, path: pa.feather.write_feather(frame, path, compression="uncompressed"),
    ".xlsx": lambda frame, path: frame.to_excel(path, index=False),
    ".json": lambda frame, path: frame.to_json(path, orient="records"),
    ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    ".json.gz": lambda frame, path: path.write_bytes(gzip.compress(frame.to_json(orient="records").encode())),
}


@pytest.mark.parametrize("ending", FILES)
def test_every_kind_of_file_holds_the_same_table_for_python_and_the_command_line(ending, tmp_path):
    if ending == ".xlsx":
        pytest.importorskip("openpyxl")
    path = tmp_path / f"table{ending}"
    FILES[ending](TABLE.assign(paid="yes"), path)
    rows, said = read(path)
    np.testing.assert_array_equal(rows.values, VALUES)
    assert "'paid' (yes or no)" in said
    done = fit(path)
    assert done.exit_code == 0, done.output
    assert "60 rows of 2 features (eruptions, waiting)" in " ".join(done.stdout.split())
    assert "note: columns left out: 'paid' (yes or no); --columns decides" in " ".join(done.stderr.split())
    assert max(map(len, done.output.splitlines())) <= 80


@pytest.mark.parametrize(
    "content",
    [TABLE.to_csv(index=False).encode(), TABLE.to_csv(index=False, sep=";").encode("utf-16"),
     gzip.compress(TABLE.to_csv(index=False).encode()), TABLE.to_json(orient="records").encode()],
)  # fmt: skip
def test_standard_input_is_a_file_like_others(content):
    done = fit("-", given=content)
    assert done.exit_code == 0, done.output
    assert "60 rows of 2 features (eruptions, waiting)" in " ".join(done.stdout.split())


def test_a_file_is_one_door_for_python_and_the_command_line(tmp_path):
    path = written(COMMAS.assign(id=range(100, 160), kind="a"), tmp_path / "t.csv", sep=";")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = bg.fit(path, 2, engine="em", seed=1)
    sentences = " | ".join(str(one.message) for one in said if one.category is bg.DataWarning)
    for words in ("';' between columns and decimal commas", "'id' names the rows", "columns left out: 'kind' (text)"):
        assert words in sentences
    assert list(result.data.index) == list(range(100, 160))
    done = fit(path, "-m", tmp_path / "m.csv")
    assert done.exit_code == 0, done.output
    memberships = pd.read_csv(tmp_path / "m.csv", index_col=0)
    assert list(memberships.index) == list(range(100, 160))
    np.testing.assert_array_equal(memberships["label"], result.predict())


UNHEADED = {
    "commas": "1.5,2\n2.5,3\n3.5,1\n",
    "semicolons": "1,5;2\n2,5;3\n3,5;1\n",
    "tabs": "1.5\t2\n2.5\t3\n3.5\t1\n",
    "blanks": "1.5 2\n2.5 3\n3.5 1\n",
    "currency": "$1.50,2\n$2.50,3\n$3.50,1\n",
    "per cent": "1.5 %;2\n2.5 %;3\n3.5 %;1\n",
    "quotes": '"1.5","2"\n"2.5","3"\n"3.5","1"\n',
    "negative numbers first": "-1.5,2\n2.5,3\n3.5,1\n",
    "exponents": "1.5e0,2\n2.5e0,3\n3.5e0,1\n",
    "text that recurs": "a,1.5,2\nb,2.5,3\na,3.5,1\n",
    "dates": "2024-01-02,1.5,2\n2024-01-03,2.5,3\n2024-01-09,3.5,1\n",
}


@pytest.mark.parametrize("case", UNHEADED)
def test_a_file_without_names_loses_no_row(case, tmp_path):
    (tmp_path / "t.csv").write_text(UNHEADED[case])
    rows, said = read(tmp_path / "t.csv")
    first = -1.5 if "negative" in case else 1.5
    np.testing.assert_array_equal(rows.values, [[first, 2.0], [2.5, 3.0], [3.5, 1.0]])
    assert "has no line of names: its first line is numbers" in said
    assert not rows.named
    assert read(tmp_path / "t.csv", header=True)[0].values.shape == (2, 2)


@pytest.mark.parametrize("names", [["0", "1"], ["1", "2"], ["a1", "5"], ["1st", "2nd"], ["%", "x"], ["C001", "n"]])
def test_names_that_hold_digits_are_names(names, tmp_path):
    rows, _ = read(written(TABLE.set_axis(names, axis=1), tmp_path / "t.csv"))
    assert rows.features == tuple(names)
    np.testing.assert_array_equal(rows.values, VALUES)


def test_years_beside_numbers_of_the_rows_are_names(tmp_path):
    rows, _ = read(written(TABLE.set_axis(["2019", "2020"], axis=1), tmp_path / "t.csv", index=True))
    assert rows.features == ("2019", "2020")
    np.testing.assert_array_equal(rows.values, VALUES)


#: Files that are refused, with what the sentence names.
REFUSED_FILES = {
    "a cell too many": ("a,b\n1,2\n3,4,5\n6,7\n", r"3 cells in line 3 \(row 1\) where the header has 2: '3,4,5'"),
    "two cells too many": ("a,b\n1,2\n3,4\n6,7,8,9\n", r"4 cells in line 4 \(row 2\)"),
    "a cell too few": ("a,b\n1,2\n3\n6,7\n", r"1 cells in line 3 \(row 1\) where the header has 2"),
    "decimal commas between commas": ("a,b\n1,5,2,5\n3,5,4,5\n", r"4 cells in line 2 .*`decimal` ,"),
    "every row with a cell more": ("a,b\nx,1,2\ny,3,4\n", r"3 cells in line 2 \(row 0\)"),
    "names of rows as R writes them": ('"a" "b"\n"1" 5.1 3.5\n"2" 4.9 3.0\n', r"3 cells in line 2.*name in the header"),
    "a separator that is no blank": ("a|b\n1|2\n3|4|5\n", r"3 cells in line 3"),
    "a header alone": ("a,b\n", "has no rows: it has the columns 'a', 'b' alone"),
    "a header of one column": ("spend\n", "has no rows"),
    "a header with semicolons": ("a;b;c\r\n", "has no rows.*'a', 'b', 'c'"),
    "nothing": ("", "is empty"),
    "blanks": ("  \n \n", "is empty"),
    "an open quote": ('a,b\n1,"2\n3,4\n', "quotation mark that is not closed"),
    "points and commas": ("a;b\n1,5;1.5\n2,5;2.5\n", "decimal commas in column 'a' and decimal points in column 'b'"),
    "commas of decimals or thousands": ("a;b\n1,500;2\n2,500;3\n", r"'1,500' in column 'a'.*`decimal`"),
    "points of decimals or thousands": ("a;b\n1.500;2\n2.500;3\n", r"'1.500' in column 'a'.*`decimal`"),
    "two cells or one number": ("1,5\n2,5\n3,7\n", r"'1,5'.*may be two cells or a number.*`separator` ,"),
    "names or a row": ("p,1,2\nq,3.5,4\n", r"'p, 1, 2', which may be names of columns or a row"),
    "two names that are one": ("a,a\n1,2\n3,4\n", "same name, more than once.*'a'"),
    "bytes": ("a,b\n1,\0002\n3,4\n", "is no text"),
}


@pytest.mark.parametrize("case", REFUSED_FILES)
def test_a_file_that_is_no_table_is_refused_by_place(case, tmp_path):
    text, says = REFUSED_FILES[case]
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    with pytest.raises(bg.DataError, match=says):
        read(path)
    done = fit(path)
    assert done.exit_code == 2, done.output
    assert "`" not in done.stderr.replace("`data`", ""), "the terminal has no keyword arguments"
    assert max(map(len, done.stderr.splitlines())) <= 80


@pytest.mark.parametrize(
    ("text", "options", "values"),
    [
        ("a;b\n1,500;2\n2,500;3\n", {"decimal": ","}, [[1.5, 2], [2.5, 3]]),
        ("a;b\n1,500;2\n2,500;3\n", {"decimal": "."}, [[1500, 2], [2500, 3]]),
        ("a;b\n1.500;2\n2.500;3\n", {"decimal": ","}, [[1500, 2], [2500, 3]]),
        ("a;b\n1.500;2\n2.500;3\n", {"decimal": "."}, [[1.5, 2], [2.5, 3]]),
        ("1,5\n4,5\n3,7\n", {"decimal": ","}, [[1.5], [4.5], [3.7]]),
        ("1,5\n4,5\n3,7\n", {"separator": ","}, [[1, 5], [4, 5], [3, 7]]),
        ("a:b\n1:2\n5:3\n", {"separator": ":"}, [[1, 2], [5, 3]]),
        ("a\tb\n1\t2\n5\t3\n", {"separator": "tab"}, [[1, 2], [5, 3]]),
        ("a  b\n1 2\n5   3\n", {"separator": "blanks"}, [[1, 2], [5, 3]]),
        ("p,1,2\nq,3.5,4\n", {"header": False}, [[1, 2], [3.5, 4]]),
        ("p,1,2\nq,3.5,4\n", {"header": True}, [[3.5, 4]]),
    ],
)
def test_options_decide_what_nobody_can_know(text, options, values, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    rows, _ = read(tmp_path / "t.csv", **options)
    np.testing.assert_array_equal(rows.values, values)


# Columns: numbers of every type and form


def cells_of(column):
    return pd.DataFrame({"a": VALUES[: len(column), 0], "b": column})


NUMBERS = VALUES[:, 1]
SAME_COLUMNS = {
    "objects": NUMBERS.astype(object),
    "whole objects": NUMBERS.astype(int).astype(object),
    "Decimal": [decimal.Decimal(str(v)) for v in NUMBERS],
    "Fraction": [Fraction(int(v)) for v in NUMBERS],
    "text": [str(v) for v in NUMBERS],
    "text of whole numbers": [str(int(v)) for v in NUMBERS],
    "text with blanks": [f" {v} " for v in NUMBERS],
    "text of arrow": pd.array([str(v) for v in NUMBERS], dtype="string[pyarrow]"),
    "text and numbers": [str(v) if at % 2 else v for at, v in enumerate(NUMBERS)],
    "nullable": pd.array(NUMBERS, dtype="Float64"),
    "nullable whole": pd.array(NUMBERS.astype(int), dtype="Int16"),
    "arrow": pd.array(NUMBERS, dtype="double[pyarrow]"),
    "arrow decimals": pd.array([decimal.Decimal(str(v)) for v in NUMBERS], dtype=pd.ArrowDtype(pa.decimal128(9, 2))),
    "sparse": pd.arrays.SparseArray(NUMBERS, fill_value=0.0),
    "sparse whole": pd.arrays.SparseArray(NUMBERS.astype(int), fill_value=0),
    "categories of numbers": pd.Categorical(NUMBERS),
    "categories of text": pd.Categorical([str(v) for v in NUMBERS]),
    "float16": NUMBERS.astype(np.float16),
    "unsigned": NUMBERS.astype(np.uint8),
    "numpy scalars": [np.float32(v) for v in NUMBERS],
}


@pytest.mark.parametrize("case", SAME_COLUMNS)
def test_numbers_of_every_type_are_the_same_numbers_and_nothing_is_said(case):
    rows, said = read(pd.DataFrame({"a": VALUES[:, 0], "b": SAME_COLUMNS[case]}))
    np.testing.assert_array_equal(rows.values, VALUES)
    assert said == ""


CONVERTED = {
    "thousands": (["1,234.50", "999.00", "12,000.25"], [1234.5, 999, 12000.25]),
    "dollars": (["$12.50", "$3.00", "$1,200.00"], [12.5, 3, 1200]),
    "dollars before signs": (["$-12.50", "$3", "$7.25"], [-12.5, 3, 7.25]),
    "signs before dollars": (["-$12.50", "$3", "$7.25"], [-12.5, 3, 7.25]),
    "euros behind": (["12.50 €", "3.00 €", "8 €"], [12.5, 3, 8]),
    "pounds": (["£12.50", "£3", "£8"], [12.5, 3, 8]),
    "codes": (["USD 12.50", "USD 3", "USD 8"], [12.5, 3, 8]),
    "per cent": (["45 %", "3%", "100 %"], [45, 3, 100]),
    "Swiss thousands": (["1'234.50", "999.00", "12'000.25"], [1234.5, 999, 12000.25]),
    "thousands with hard blanks": (["1\u00a0234.5", "999", "12\u00a0000"], [1234.5, 999, 12000]),
    "an accountant's minus": (["(12.50)", "3.00", "8.00"], [-12.5, 3, 8]),
    "a printer's minus": (["\u22125", "3", "8"], [-5, 3, 8]),
    "whole thousands": (["1,234", "23,000", "999"], [1234, 23000, 999]),
    "millions": (["1,234,567", "2,000,000", "17"], [1234567, 2000000, 17]),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_numbers_with_ornament_are_converted_and_it_is_said(case):
    cells, values = CONVERTED[case]
    if case == "whole thousands":
        cells, values = cells * 2, values * 2
    rows, said = read(cells_of(cells))
    np.testing.assert_array_equal(rows.values[:, 1], values)
    assert "columns were converted to numbers: 'b' (" in said


#: One cell that is no number of the form of the others.
ODD_CELLS = ["?", "-", "8O", "1,234", "12,5", "n/k", "$5", "45 %", "1.2.3", "yes", "2024-01-01", "unknown", "#DIV/0!",
             "0x1F", "1 2", "3..4", "--", "5 kg"]  # fmt: skip


@pytest.mark.parametrize("cell", ODD_CELLS)
def test_one_cell_that_is_no_number_is_named_and_refused(cell, tmp_path):
    frame = TABLE.astype(str)
    frame.loc[7, "waiting"] = cell
    says = f"'waiting' that are no numbers of the form of the others: {cell!r} at row 7"
    for data in (frame, pl.from_pandas(frame), written(frame, tmp_path / "t.csv")):
        with pytest.raises(bg.DataError, match=re.escape(says)):
            read(data)
    objects = TABLE.astype(object)
    objects.loc[7, "waiting"] = cell
    with pytest.raises(bg.DataError, match=re.escape(says)):
        read(objects)
    with pytest.raises(bg.DataError, match=r"at row 7|'waiting'"):
        read(frame, columns="eruptions, waiting")
    assert read(frame, columns=["eruptions"])[1] == ""


LEFT_OUT = {
    "text": ([f"w{at % 7}" for at in range(60)], "text"),
    "yes and no": (["yes", "no"] * 30, "yes or no"),
    "truth values": ([True, False] * 30, "yes or no"),
    "truth values of arrow": (pd.array([True, False] * 30, dtype="bool[pyarrow]"), "yes or no"),
    "truth values as objects": (np.array([True, False] * 30, dtype=object), "yes or no"),
    "dates": (pd.date_range("2024-01-01", periods=60), "dates or times"),
    "dates as text": (["2024-01-05", "2024-02-07"] * 30, "dates or times"),
    "German dates": (["05.01.2024", "17.02.2024"] * 30, "dates or times"),
    "times": (["12:30", "7:45"] * 30, "dates or times"),
    "dates as objects": ([datetime.date(2024, 1, 5)] * 60, "dates or times"),
    "dates as numbers": ([20240105, 20240217] * 30, "dates written as whole numbers"),
    "durations": (pd.to_timedelta(np.arange(60), unit="s"), "dates or times"),
    "codes": (["01234", "90210"] * 30, "codes with leading zeros"),
    "units": (["12 kg", "15 kg"] * 30, "numbers with a unit, such as '12 kg'"),
    "lists": ([[1, 2]] * 60, "lists"),
    "nothing": ([None] * 60, "empty"),
    "missing numbers alone": ([np.nan] * 60, "empty"),
    "complex numbers": ([1j] * 60, "complex numbers"),
    "categories": (pd.Categorical(["a", "b"] * 30), "text"),
    "ids that recur": (list(range(30)) * 2, "is called like an id"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_left_out_is_listed_with_the_reason(case):
    cells, reason = LEFT_OUT[case]
    name = "customer_id" if "ids" in case else "extra"
    rows, said = read(TABLE.assign(**{name: cells}))
    np.testing.assert_array_equal(rows.values, VALUES)
    assert f"columns left out: {name!r} ({reason})" in said


ROW_NAMES = {
    "Unnamed: 0": range(60),
    "": range(60),
    "nr": range(1, 61),
    "id": np.random.default_rng(1).permutation(60) + 1000,
    "ID": range(60),
    "customer_id": np.random.default_rng(1).permutation(60),
    "CustomerID": [f"C{at}" for at in range(60)],
    "customerId": np.random.default_rng(1).permutation(60),
    "patient id": [f"p{at}" for at in range(60)],
    "id_customer": np.random.default_rng(1).permutation(60),
    "row": range(60),
    "index": np.random.default_rng(1).permutation(60),
    "uuid": [f"{at:08x}-aa" for at in range(60)],
    "first": [f"name {at}" for at in range(60)],
    "counter": range(17, 77),
    "id with zeros": [f"{at:04}" for at in range(60)],
}


@pytest.mark.parametrize("name", ROW_NAMES)
def test_names_and_numbers_of_rows_are_set_aside_and_said(name, tmp_path):
    frame = TABLE.copy()
    frame.insert(0, name, list(ROW_NAMES[name]))
    for data in (frame, pl.from_pandas(frame), written(frame, tmp_path / "t.csv")):
        rows, said = read(data)
        np.testing.assert_array_equal(rows.values, VALUES)
        assert "names the rows and is no feature" in said
        assert list(map(str, rows.index)) == list(map(str, ROW_NAMES[name]))


@pytest.mark.parametrize("name", ["nr", "id", "customer_id", "row", "counter", "index", "id with zeros"])
def test_a_column_that_numbers_the_rows_is_a_feature_if_asked_for(name, tmp_path):
    frame = TABLE.assign(**{name: list(ROW_NAMES[name])})
    for data in (frame, written(frame, tmp_path / "t.csv")):
        rows, said = read(data, columns=["waiting", name])
        assert rows.features == ("waiting", name)
        np.testing.assert_array_equal(rows.values[:, 1], np.array(list(ROW_NAMES[name]), float))
        assert said == ""


def test_numbers_in_order_are_a_feature_if_there_is_no_other():
    rows, said = read(pd.DataFrame({"step": np.arange(30), "who": ["a", "b"] * 15}))
    assert rows.features == ("step",)
    assert "'who' (text)" in said
    assert read(pd.Series(np.arange(30), name="id"))[0].features == ("id",)
    assert read(np.column_stack([np.arange(30), np.arange(30) ** 2]))[0].n_features == 2


def test_a_frame_that_names_its_rows_keeps_these_names():
    frame = TABLE.assign(id=range(7, 67)).set_index(pd.Index([f"r{at}" for at in range(60)]))
    rows, said = read(frame)
    assert rows.index[0] == "r0"
    assert "columns left out: 'id' (is called like a name of rows and differs in each)" in said


# Choices: columns, index, missing values


@pytest.mark.parametrize(
    "columns",
    ["waiting,eruptions", "waiting, eruptions", " waiting ,eruptions ", '"waiting",eruptions', ["waiting", "eruptions"],
     ("waiting", "eruptions"), pd.Index(["waiting", "eruptions"]), np.array(["waiting", "eruptions"]),
     "waiting,,eruptions", "waiting,eruptions,"],
)  # fmt: skip
def test_columns_are_chosen_in_their_order(columns, tmp_path):
    for data in (TABLE.assign(kind="a"), written(TABLE.assign(kind="a"), tmp_path / "t.csv")):
        rows, said = read(data, columns=columns)
        assert rows.features == ("waiting", "eruptions")
        np.testing.assert_array_equal(rows.values, VALUES[:, ::-1])
        assert said == ""


def test_a_name_with_a_comma_can_be_chosen():
    frame = TABLE.set_axis(["a, b", "c"], axis=1)
    assert read(frame, columns="a, b")[0].features == ("a, b",)
    assert read(frame, columns='"a, b",c')[0].features == ("a, b", "c")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("wating", "waiting"), ("Waiting", "waiting"), ("waiting ", "waiting"), ("waitings", "waiting"),
     ("eruption", "eruptions"), ("ERUPTIONS", "eruptions"), ("erruptions", "eruptions"), ("waitng", "waiting"),
     ("wait ing", "waiting"), ("eruptoins", "eruptions")],
)  # fmt: skip
def test_a_name_that_is_close_to_a_column_is_suggested(given, meant, tmp_path):
    path = written(TABLE, tmp_path / "t.csv")
    for option in ("columns", "index"):
        with pytest.raises(bg.DataError, match=rf"no column {given!r} \(did you mean '{meant}'\?\)"):
            read(TABLE, **{option: [given] if option == "columns" else given})
    done = fit(path, "--weights", given)
    assert f"did you mean '{meant}'?" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("option", "meant"),
    [("--colums", "--columns"), ("--column", "--columns"), ("--seperator", "--separator"), ("--indx", "--index"),
     ("--weight", "--weights"), ("--component", "--components"), ("--decimals", "--decimal"), ("--sed", "--seed"),
     ("--missings", "--missing"), ("--outputs", "--output"), ("--encodings", "--encoding")],
)  # fmt: skip
def test_a_name_that_is_close_to_an_option_is_suggested(option, meant, tmp_path):
    done = run("fit", written(TABLE, tmp_path / "t.csv"), "-k", 2, option, "x")
    assert done.exit_code == 2
    assert meant in done.stderr


def test_a_name_that_is_close_is_suggested_for_a_command_a_file_and_a_setting(tmp_path):
    assert "fit" in run("fitt", "x").stderr
    path = written(TABLE, tmp_path / "table.csv")
    assert "did you mean 'table.csv'?" in " ".join(fit(tmp_path / "tabel.csv").stderr.split())
    (tmp_path / "run.toml").write_text("colums = 'waiting'\n")
    done = run("fit", path, "--config", tmp_path / "run.toml")
    assert "did you mean 'columns'?" in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize("gap", [np.nan, None, "", "NA", "N/A", "NaN", "null", "None", "<NA>", "#N/A", "n/a", " "])
def test_rows_with_missing_values_are_refused_or_dropped(gap, tmp_path):
    frame = TABLE.astype(object).assign(often=2)
    frame.loc[[7, 30], "waiting"] = gap
    kept = np.delete(np.arange(60), [7, 30])
    for data in (frame, written(frame, tmp_path / "t.csv")):
        with pytest.raises(bg.DataError, match=r"2 of 60 rows with missing.*first at row 7.*'waiting'.*`missing` drop"):
            read(data, "often")
        rows, said = read(data, "often", missing="drop")
        np.testing.assert_array_equal(rows.values, VALUES[kept])
        np.testing.assert_array_equal(rows.sample_weight, np.full(58, 2.0))
        np.testing.assert_array_equal(rows.index, kept)
        assert "2 of 60 rows were dropped, for they have missing values: rows 7, 30" in said
    done = fit(tmp_path / "t.csv", "--missing", "drop", "--columns", "eruptions,waiting")
    assert done.exit_code == 0, done.output
    assert "58 rows of 2 features" in done.stdout


def test_rows_of_nothing_are_not_fitted_and_infinity_is_not_missing():
    with pytest.raises(bg.DataError, match="missing value in each of its 3 rows"):
        read(np.full((3, 2), np.nan), missing="drop")
    with pytest.raises(bg.DataError, match="infinite"):
        read([[1.0, np.inf], [2.0, np.nan], [3.0, 4.0]], missing="drop")


@pytest.mark.parametrize(
    ("options", "says"),
    [({"missing": "fill"}, "`missing` has to be refuse or drop"), ({"decimal": ";"}, "`decimal` has to be"),
     ({"separator": "::"}, "`separator` has to be one character"), ({"columns": []}, "`columns` names no column"),
     ({"separator": ",", "decimal": ","}, "are both ','"), ({"columns": 3}, "`columns` has to be names"),
     ({"columns": ["waiting", "waiting"]}, "'waiting' is named twice"), ({"index": "who"}, "no column 'who'"),
     ({"columns": ["kind"]}, "'kind' cannot be a feature, for it is text")],
)  # fmt: skip
def test_a_choice_that_is_none_is_refused_by_name(options, says):
    with pytest.raises(bg.DataError, match=says):
        bg.fit(TABLE.assign(kind="a"), 2, engine="em", **options)


def test_choices_are_made_in_python_and_on_the_command_line_alike(tmp_path):
    frame = TABLE.assign(who=[f"w{at}" for at in range(60)], often=2)
    path = written(frame, tmp_path / "t.csv", sep=";")
    options = {"columns": ["waiting"], "index": "who", "separator": ";"}
    result = bg.fit(path, 2, engine="em", seed=1, sample_weight="often", **options)
    assert result.data.features == ("waiting",)
    assert result.data.index[3] == "w3"
    assert result.data.total_weight == 120
    done = fit(path, "--columns", "waiting", "--index", "who", "--weights", "often", "--separator", ";",
               "-m", tmp_path / "m.csv")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert list(pd.read_csv(tmp_path / "m.csv", index_col=0).index) == list(result.data.index)


@pytest.mark.parametrize("command", ["fit", "compare", "predict"])
def test_the_command_line_speaks_of_no_option_that_was_not_given(command, tmp_path):
    path = written(TABLE, tmp_path / "t.csv")
    assert fit(path, "-o", tmp_path / "r.nc").exit_code == 0
    other = written(TABLE.rename(columns={"waiting": "wait"}).assign(kind="a"), tmp_path / "o.csv")
    if command == "predict":
        done = run("predict", tmp_path / "r.nc", other)
        assert "has to have the columns ['eruptions', 'waiting'] of the fit" in " ".join(done.stderr.split())
        assert "--columns" not in done.stderr
        other = written(TABLE.astype({"waiting": str}).assign(waiting="a"), tmp_path / "o.csv")
        done = run("predict", tmp_path / "r.nc", other)
        assert "'waiting' cannot be a feature, for it is text" in " ".join(done.stderr.split())
        assert "--columns" not in done.stderr
    else:
        done = run(command, other, "-k", 2, "--weights", "kind")
        assert "`sample_weight` has to hold real numbers" in " ".join(done.stderr.split())
    assert done.exit_code == 2


# Names and positions


@pytest.mark.parametrize("names", [["x1", "x0"], ["x0", "x1"], ["x1", "x2"], ["b", "a"], ["1", "0"], ["x0", "a"],
                                   ["waiting", "eruptions"], ["X1", "X0"], ["x2", "x1"], ["a", "x0"]])  # fmt: skip
def test_arrays_are_matched_by_position_and_frames_by_name(names):
    frame = pd.DataFrame(VALUES, columns=names)
    result = bg.fit(frame, 2, engine="em", seed=1)
    expected = result.predict_proba()
    for array in (VALUES, VALUES.tolist(), np.asfortranarray(VALUES), xr.DataArray(VALUES)):
        np.testing.assert_array_equal(result.predict_proba(array), expected)
    np.testing.assert_array_equal(result.predict_proba(frame[names[::-1]].assign(more="a")), expected)
    for wide in (np.column_stack([VALUES, VALUES]), VALUES[:, :1], VALUES[:, 0]):
        with pytest.raises(bg.DataError, match="columns without names"):
            result.predict(wide)


def test_a_fit_without_names_takes_no_names(tmp_path):
    result = bg.fit(VALUES, 2, engine="em", seed=1)
    np.testing.assert_array_equal(result.predict(VALUES), result.predict())
    result.save(tmp_path / "r.nc")
    for one in (result, bg.load(tmp_path / "r.nc")):
        assert not one.data.named
        assert one.predict(one.sample(9, seed=1)).shape == (9,)
        for names in (["x1", "x0"], ["a", "b"]):
            with pytest.raises(bg.DataError, match="what was fitted had none of its own"):
                one.predict(pd.DataFrame(VALUES, columns=names))


def test_files_of_arrays_are_matched_by_position(tmp_path):
    np.save(tmp_path / "x.npy", VALUES)
    result = bg.fit(pd.DataFrame(VALUES, columns=["x1", "x0"]), 2, engine="em", seed=1)
    np.testing.assert_array_equal(result.predict(tmp_path / "x.npy"), result.predict())
    result.save(tmp_path / "r.nc")
    done = run("predict", tmp_path / "r.nc", tmp_path / "x.npy")
    assert done.exit_code == 0, done.output
    labels = pd.read_csv(io.StringIO(done.stdout))["label"]
    np.testing.assert_array_equal(labels, result.predict())


def test_prediction_says_nothing_of_columns_that_were_not_fitted():
    result = bg.fit(TABLE, 2, engine="em", seed=1)
    np.testing.assert_array_equal(result.predict(TABLE.assign(id=range(60), kind="a")), result.predict())


# Masks


def masked_tables():
    mask = np.zeros(VALUES.shape, bool)
    mask[7, 1] = True
    whole = np.ma.masked_array(VALUES, mask)
    yield "an array", whole
    yield "whole numbers", np.ma.masked_array(VALUES.astype(int), mask)
    yield "objects", np.ma.masked_array(VALUES.astype(object), mask)
    yield "a list of rows", list(whole)
    yield "a tuple of rows", tuple(whole)
    yield "a list of lists", [list(row) for row in whole]
    yield "rows of objects", list(np.ma.masked_array(VALUES.astype(object), mask))
    yield "rows of whole numbers", list(np.ma.masked_array(VALUES.astype(int), mask))
    yield "plain rows and a masked one", [row if row.mask.any() else row.data for row in whole]
    yield "an array of objects that holds the mask", np.array([[1.0, np.ma.masked]] + [[2.0, 3.0]] * 8, dtype=object)
    yield "a list of values", [[1.0, np.ma.masked], [2.0, 3.0]]
    yield "float32", np.ma.masked_array(VALUES.astype(np.float32), mask)


@pytest.mark.parametrize(("case", "data"), [*masked_tables()])
def test_a_masked_value_is_a_missing_one(case, data):
    with pytest.raises(bg.DataError, match=r"1 of \d+ rows with missing.*'x1'"):
        read(data)
    rows, _ = read(data, missing="drop")
    assert len(rows) == len(data) - 1


# The result's own


@pytest.mark.parametrize(
    "data", [VALUES.copy(), VALUES[:, ::-1].copy(), np.asfortranarray(VALUES), VALUES[:, 1].copy(),
             np.repeat(VALUES, 2, axis=1)[:, ::2], xr.DataArray(VALUES.copy()), pd.DataFrame(VALUES.copy()),
             pd.Series(VALUES[:, 1].copy()), np.ma.masked_array(VALUES.copy()), VALUES.astype(object),
             VALUES.astype(np.float32)],
)  # fmt: skip
def test_what_is_written_to_the_data_later_changes_nothing(data):
    weight = np.full(60, 2.0)
    result = bg.fit(data, 2, engine="em", seed=1, sample_weight=weight)
    before = result.criteria()["log_likelihood"], result.data.values.copy()
    data[:] = 3
    weight[:] = 1
    assert result.criteria()["log_likelihood"] == before[0]
    np.testing.assert_array_equal(result.data.values, before[1])


def test_many_rows_are_not_copied_and_a_change_is_found(monkeypatch, tmp_path):
    from bayesgmm.data import observations
    from bayesgmm.results import result as result_module

    data = VALUES.copy()
    for module in (result_module, observations):
        monkeypatch.setattr(module, "COPIED_VALUES", 100)
    result = bg.fit(data, 2, engine="em", seed=1)
    assert np.shares_memory(result.data.values, data)
    result.predict()
    data[3, 1] += 1
    for use in (lambda: result.data, result.predict, lambda: result.save(tmp_path / "r.nc"), result.memberships):
        with pytest.raises(bg.DataError, match="have been written to since; fit again"):
            use()
    assert result.predict(VALUES).shape == (60,)


def test_arrays_that_are_handed_out_cannot_be_written_to():
    result = bg.fit(TABLE, 2, engine="gibbs", seed=1, progress=False)
    handed = [*result.parameters.arrays, *result.optimum.arrays, *result.pivot.arrays, *result.draws().arrays,
              result.weights.values, result.means.values, result.covariances.values, result.data.values,
              result.data.sample_weight]  # fmt: skip
    for array in handed:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    np.testing.assert_array_equal(result.predict(result.data), result.predict())
    assert bg.fit(result.data, 2, engine="em", seed=1, start=result.parameters).is_point
