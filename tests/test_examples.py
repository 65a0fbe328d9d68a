"""Every example runs as it stands, in an empty folder, and says something."""

import runpy
import warnings
from pathlib import Path

import pytest

#: That of a source of one's own is run by `test_sources`, beside a fit in memory.
EXAMPLES = [
    path for path in sorted((Path(__file__).parent.parent / "examples").glob("*.py")) if path.stem != "own_source"
]
WRITTEN = {
    "memberships_to_csv": "memberships.csv",
    "new_customers": "customers.nc",
    "em_and_mcmc": "customers.html",
    "saved_and_loaded": "faithful.nc",
}


#: PyTensor compiles a likelihood that is written out for half a minute and more.
SLOW = {"weights_by_covariate"}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW)) for path in EXAMPLES],
)
def test_example_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        runpy.run_path(str(path), run_name="__main__")
    assert len(capsys.readouterr().out) > 50
    if path.stem in WRITTEN:
        assert (tmp_path / WRITTEN[path.stem]).stat().st_size > 1000
