"""The command line: the same words and the same numbers as in Python."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bayesgmm as bg
from bayesgmm.shell.commands import app

CUSTOMERS = Path(bg.datasets.__file__).parent / "customers.csv"


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_fit_writes_a_result_and_memberships_equal_to_those_of_python(tmp_path, customers):
    done = run(
        "fit", CUSTOMERS, "-k", 2, "--engine", "em", "--seed", 3, "-o", tmp_path / "r.nc", "-m", tmp_path / "m.csv"
    )
    assert done.exit_code == 0, done.output
    assert "EM converged" in done.output
    result = bg.fit(customers, 2, engine="em", seed=3)
    written = pd.read_csv(tmp_path / "m.csv", index_col="observation", dtype=str)
    assert list(written.index) == list(customers.index)
    assert np.array_equal(written[["membership[0]", "membership[1]"]].astype(float), result.predict_proba())
    assert np.array_equal(bg.load(tmp_path / "r.nc").predict_proba(), result.predict_proba())


def test_predict_prints_csv_or_writes_parquet(tmp_path, customers):
    run("fit", CUSTOMERS, "-k", 2, "--engine", "em", "--seed", 3, "-o", tmp_path / "r.nc")
    customers.iloc[:5].to_parquet(tmp_path / "new.parquet")
    printed = run("predict", tmp_path / "r.nc", tmp_path / "new.parquet")
    assert printed.output.splitlines()[0].startswith("observation,label,membership[0],lower[0]")
    assert len(printed.output.splitlines()) == 6
    assert run("predict", tmp_path / "r.nc", tmp_path / "new.parquet", "-m", tmp_path / "out.parquet").exit_code == 0
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert np.array_equal(written["membership[1]"], bg.load(tmp_path / "r.nc").predict_proba()[:5, 1])


def test_compare_prints_both_and_keeps_the_posterior(tmp_path):
    done = run("compare", CUSTOMERS, "-k", 2, "--seed", 1, "-o", tmp_path / "r.nc", "-m", tmp_path / "m.csv")
    assert done.exit_code == 0, done.output
    for words in (
        "EM: a point",
        "NUTS: 4",
        "Diagnostics are good",
        "Memberships that differ most",
        "sure_by_point_only",
        "Cost",
    ):
        assert words in done.output
    assert max(len(line) for line in done.output.splitlines()) <= 80
    written = pd.read_csv(tmp_path / "m.csv", index_col=0)
    assert (written["lower[1]"] <= written["upper[1]"]).all()


def test_columns_weights_prior_and_covariances_can_be_chosen(tmp_path, faithful):
    faithful.assign(often=2, note="a").to_csv(tmp_path / "f.tsv", sep="\t", index=False)
    done = run(
        "fit", tmp_path / "f.tsv", "-k", 2, "--engine", "em", "--columns", "waiting", "--weights", "often",
        "--prior", "flat", "--covariance-type", "diag",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "flat prior; 272 rows of 1 features (waiting)" in " ".join(done.output.split())
    assert "eruptions" not in done.output


def test_posterior_from_the_command_line(tmp_path):
    done = run("fit", CUSTOMERS, "-k", 2, "--seed", 1, "--draws", 300, "--chains", 2, "-o", tmp_path / "r.nc")
    assert done.exit_code == 0, done.output
    assert bg.load(tmp_path / "r.nc").weights.sizes["draw"] == 300
    again = run("fit", CUSTOMERS, "-k", 2, "-o", tmp_path / "r.nc")
    assert again.exit_code == 2
    assert "exists; give another name, or --force" in again.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fit", "absent.csv", "-k", "2"], "no file 'absent.csv'"),
        (["fit", CUSTOMERS, "-k", "0"], "`n_components` has to be at least 1"),
        (["fit", CUSTOMERS, "-k", "2", "--columns", "age"], "no column 'age'; its columns are"),
        (["fit", CUSTOMERS, "-k", "2", "--weights", "age"], "no column 'age'"),
        (["fit", CUSTOMERS, "-k", "2", "--seed", "-1"], "`seed` has to be"),
        (["fit", CUSTOMERS, "-k", "2", "-m", "out.xls"], "has to end in .csv or .parquet"),
        (["fit", CUSTOMERS, "-k", "2", "--prior", "flat"], "improper posterior"),
        (["fit", Path(__file__), "-k", "2"], "has to end in one of"),
        (["predict", CUSTOMERS, CUSTOMERS], "is not a result saved by bayesgmm"),
        (["predict", "absent.nc", CUSTOMERS], "no file 'absent.nc'"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_status_two(arguments, says):
    done = subprocess.run(
        [sys.executable, "-m", "bayesgmm", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert all(line.startswith(("  ", "note: ", "bayesgmm: ")) for line in done.stderr.splitlines())
    assert done.stdout == ""


def test_warnings_are_one_line_on_stderr(tmp_path):
    done = run("fit", CUSTOMERS, "-k", 2, "--seed", 1, "--draws", 20, "--chains", 2)
    assert done.exit_code == 0
    assert "warning: " in done.stderr
    assert "UserWarning" not in done.output


def test_version_and_help_say_what_there_is():
    assert run("--version").output.strip() == f"bayesgmm {bg.__version__}"
    assert all(word in run("--help").output for word in ("fit", "predict", "compare", "--install-completion"))


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
def test_gibbs_and_approximations_are_asked_for_by_the_words_of_python(tmp_path, customers):
    done = run("fit", CUSTOMERS, "-k", 2, "--engine", "gibbs", "--seed", 3, "--draws", 400, "-o", tmp_path / "g.nc")
    assert done.exit_code == 0, done.output
    result = bg.fit(customers, 2, engine=bg.Gibbs(draws=400), seed=3, progress=False)
    assert np.array_equal(bg.load(tmp_path / "g.nc").predict_proba(), result.predict_proba())
    options = ("--engine", "em", "--uncertainty", "laplace", "--seed", 3, "--draws", 100)
    done = run("fit", CUSTOMERS, "-k", 2, *options, "-o", tmp_path / "l.nc")
    assert "Laplace" in done.output
    assert bg.load(tmp_path / "l.nc").engine == bg.EM(uncertainty="laplace", draws=100)


def test_an_approximation_of_a_sampler_is_refused():
    done = run("fit", CUSTOMERS, "-k", 2, "--engine", "gibbs", "--uncertainty", "bootstrap")
    assert done.exit_code == 2
    assert "is for --engine em" in done.output


def test_comparison_can_take_gibbs(tmp_path):
    done = run("compare", CUSTOMERS, "-k", 2, "--seed", 1, "--engine", "gibbs")
    assert done.exit_code == 0, done.output
    assert "Gibbs: 4" in done.output


def test_names_that_a_spreadsheet_would_run_are_written_as_text(tmp_path):
    data = tmp_path / "data.csv"
    rows = "\n".join(f"=cmd()|{i},{i % 7 + i * 0.01}" for i in range(40))
    data.write_text(f"name,value\n{rows}\n")
    table = tmp_path / "memberships.csv"
    done = CliRunner().invoke(app, ["fit", str(data), "-k", "1", "--engine", "em", "--memberships", str(table)])
    assert done.exit_code == 0, done.output
    names = pd.read_csv(table, index_col=0).index
    assert all(name.startswith("'=cmd()") for name in names)
