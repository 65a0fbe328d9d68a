"""The command line where something goes wrong: one sentence and a status, and nothing left behind."""

import decimal
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import bayesgmm as bg
from bayesgmm.data import rows_of
from bayesgmm.shell.commands import app

TOO_MANY = 10**12


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def table(tmp_path, rng):
    """A file with names that ASCII has not."""
    x = np.concatenate([rng.normal(size=(60, 2)), rng.normal(6, 1, size=(60, 2))])
    pd.DataFrame(x, columns=["größe", "→"]).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


@pytest.mark.parametrize(
    "engine",
    [bg.Gibbs(draws=TOO_MANY), bg.NUTS(draws=TOO_MANY), bg.NUTS(chains=TOO_MANY), bg.Gibbs(draws=10**30)]
    + [bg.EM(uncertainty=word, draws=TOO_MANY) for word in ("laplace", "bootstrap")],
)
@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the size of memory is not known")
def test_draws_that_no_memory_holds_are_refused_at_once(engine, faithful):
    with pytest.raises(bg.ModelError, match=r"GB, but this machine has .* fewer `draws`"):
        bg.fit(faithful, 2, engine=engine, seed=1, progress=False)


@pytest.mark.parametrize(
    "options", [("--draws", TOO_MANY), ("--chains", TOO_MANY), ("--draws", TOO_MANY, "--engine", "gibbs")]
)
def test_so_they_are_on_the_command_line(options, table):
    done = run("fit", table, "-k", 2, *options)
    assert (done.exit_code, "this machine has" in " ".join(done.output.split())) == (2, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("components = {a = 1}", "sets 'components' to a table"),
        ("[components]\na = 1", "sets 'components' to a table"),
        ("columns = ['a', 'b']", "sets 'columns' to a list"),
        ("seed = [[1]]", "sets 'seed' to a list"),
        ("[fit]\ncomponents = 2", "sets 'fit'"),
        ("components = 1979-05-27", "Invalid value for"),
        ("components = ", "cannot be read as TOML"),
    ],
)
def test_configuration_that_is_nested_or_wrong_is_named(text, says, table, tmp_path):
    (tmp_path / "c.toml").write_text(text)
    done = run("fit", table, "--config", tmp_path / "c.toml")
    assert done.exit_code == 2
    assert says in " ".join(done.output.replace("│", " ").split())


X, N = np.arange(30) % 7 / 2, 30
DECIMALS = [decimal.Decimal("0.125") * (i % 9) for i in range(N)]


def in_every_form(table, folder):
    """Yield a table as Arrow, pandas, a folder of Parquet, and a file of Feather."""
    (folder / "parts").mkdir()
    table.to_pandas().to_parquet(folder / "parts" / "a.parquet", schema=table.schema)
    with pa.ipc.new_file(folder / "t.arrow", table.schema) as file:
        file.write_table(table)
    return table, table.to_pandas(), folder / "parts", folder / "t.arrow"


@pytest.mark.parametrize("kind", [pa.decimal128(10, 3), pa.decimal256(50, 3)], ids=str)
def test_decimals_are_numbers(kind, tmp_path):
    table = pa.table({"x": X, "v": pa.array(DECIMALS, kind)})
    for form in in_every_form(table, tmp_path):
        assert np.array_equal(rows_of(form).values[:, 1], np.array(DECIMALS, float))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([{"a": 1.0, "b": 2}] * N, None),
        ([[1.0, 2.0]] * N, None),
        ([[1.0, 2.0]] * N, pa.list_(pa.float64(), 2)),
        ([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())),
    ],
)
def test_nested_columns_are_left_out_or_refused(cells, kind, tmp_path):
    nested = pa.array(cells, kind)
    for form in in_every_form(pa.table({"x": X, "v": nested}), tmp_path):
        with pytest.warns(bg.DataWarning, match=r"left out: 'v' \(lists\)"):
            assert rows_of(form).features == ("x",)
    (tmp_path / "alone").mkdir()
    for form in in_every_form(pa.table({"v": nested}), tmp_path / "alone"):
        with pytest.raises(bg.DataError, match="no numeric column"):
            rows_of(form)


def command(*arguments, **environment):
    """Run the command line in a process, with what the environment says."""
    words = [sys.executable, "-m", "bayesgmm", *map(str, arguments)]
    return subprocess.run(words, env=os.environ | environment, capture_output=True, check=False, timeout=200)


@pytest.mark.compiled
@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "cp1252"},
    ],
    ids=str,
)
def test_names_that_the_terminal_cannot_print_are_no_error(environment, table):
    done = command("fit", table, "-k", 2, "--engine", "em", "--seed", 1, **environment)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    # Of streams that are ASCII click makes some of UTF-8.
    assert rb"\u2192" in done.stdout or "→".encode() in done.stdout


@pytest.mark.compiled
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
@pytest.mark.parametrize("seconds", [0.5, 2.0, 4.0])
def test_sigterm_leaves_no_rows_behind(seconds, tmp_path, rng):
    parts, spill, out = tmp_path / "parts", tmp_path / "spill", tmp_path / "out"
    for folder in (parts, spill, out):
        folder.mkdir()
    x = pd.DataFrame(rng.normal(size=(900_000, 10))).rename(columns=str)
    x.to_parquet(parts / "a.parquet")
    words = [
        sys.executable,
        "-m",
        "bayesgmm",
        "fit",
        str(parts),
        "-k",
        "8",
        "--engine",
        "em",
        "-m",
        str(out / "m.parquet"),
    ]
    process = subprocess.Popen(words, env=os.environ | {"TMPDIR": str(spill)}, stderr=subprocess.PIPE)
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    # Before the package is imported, the system ends the process.
    assert process.returncode in (143, -signal.SIGTERM), said
    assert b"Traceback" not in said
    assert not list(spill.iterdir())
    assert not list(out.iterdir())
