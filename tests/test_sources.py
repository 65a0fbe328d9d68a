"""Sources: wherever rows are kept and whoever works on them, the same bits."""

import os
import re
import runpy
import signal
import time
import warnings
from pathlib import Path

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import bayesgmm as bg
import bayesgmm.data as data_module
from bayesgmm.data import Source, StoredObservations, rows_of, sources, sums
from bayesgmm.data import dask as dask_module
from bayesgmm.kernels.passes import fold
from bayesgmm.shell.commands import app

NAMES = ("x0", "x1")


class Own(Source):
    """The least that a source has to be."""

    def __init__(self, values):
        self.values, self.features = values, NAMES

    def __len__(self):
        return len(self.values)

    def read(self, start, stop):
        return self.values[start:stop].copy()

    def describe(self):
        return {"kind": "own", "path": "nowhere"}


@pytest.fixture
def values(rng):
    groups = rng.integers(2, size=1500)
    return rng.normal(size=(1500, 2)) + np.array([[-2.0, 0.0], [2.0, 1.0]])[groups]


@pytest.fixture
def small(monkeypatch):
    """Chunks of 64 rows, blocks of up to 256, starts from 300, and no source so small that it is read into memory."""
    monkeypatch.setattr("bayesgmm.engines.em.coreset.SEEDING_ROWS", 300)
    monkeypatch.setattr(sums, "CHUNK_ROWS", 64)
    monkeypatch.setattr(sums, "MOST_CHUNKS", 4)
    monkeypatch.setattr(data_module, "VALUES_IN_MEMORY", 0)


def folder_of_parquet(values, path):
    path.mkdir()
    for part, rows in enumerate(np.array_split(values, 3)):
        pd.DataFrame(rows, columns=list(NAMES)).to_parquet(path / f"part{part}.parquet")
    return path


def zarr_of(values, path):
    array = zarr.create_array(path, shape=values.shape, chunks=(200, 2), dtype="f8")
    array[:] = values
    return path


def npy_of(values, path):
    np.save(path, values)
    return path


SOURCES = {
    "npy": lambda v, at: npy_of(v, at / "x.npy"),
    "memory map": lambda v, at: np.load(npy_of(v, at / "x.npy"), mmap_mode="r"),
    "folder of Parquet": lambda v, at: folder_of_parquet(v, at / "parts"),
    "pattern of Parquet": lambda v, at: os.fspath(folder_of_parquet(v, at / "parts")) + "/*.parquet",
    "Zarr": lambda v, at: zarr_of(v, at / "x.zarr"),
    "Dask array": lambda v, at: da.from_array(v, chunks=(170, 1)),
    "Dask data frame": lambda v, at: dd.from_pandas(pd.DataFrame(v, columns=list(NAMES)), npartitions=5),
    "own": lambda v, at: Own(v),
}
ENGINES = {
    "em": bg.EM(n_init=3, max_iter=20, trace="parameters"),
    "gibbs": bg.Gibbs(draws=6, tune=4, chains=2),
    "nuts": bg.NUTS(draws=6, tune=20, chains=2),
    "laplace": bg.EM(n_init=3, uncertainty="laplace", draws=20),
}


def fitted(data, engine, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        return bg.fit(data, 2, engine=engine, seed=4, progress=False, **given)


def bits(result):
    return [v.values.tobytes() for v in (result.weights, result.means, result.covariances)] + [
        result.tree["sample_stats"]["lp"].values.tobytes(),
        result.tree["optima"]["log_posterior"].values.tobytes(),
    ]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_the_bits_of_an_array(name, engine, values, small, tmp_path):
    source = rows_of(SOURCES[name](values, tmp_path))
    assert isinstance(source, StoredObservations)
    found = fitted(source, ENGINES[engine])
    assert bits(found) == bits(fitted(pd.DataFrame(values, columns=list(NAMES)), ENGINES[engine]))
    assert found.n_rows == 1500
    assert "1,500 rows" in repr(found)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_every_covariance_type_does(kind, values, small):
    model = bg.MixtureModel(2, kind, prior=bg.SemiConjugatePrior(2, 0, 9, 5, 2))
    for engine in (bg.EM(n_init=2), bg.Gibbs(draws=5, tune=2, chains=2)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
            one, two = (bg.fit(rows, model, engine=engine, seed=1, progress=False) for rows in (values, Own(values)))
        assert bits(one) == bits(two)


def test_row_weights_count_in_sources(values, small):
    weight = 1.0 + (values[:, 0] > 0)
    engine = bg.EM(n_init=2)
    assert bits(fitted(Own(values), engine, sample_weight=weight)) == bits(fitted(values, engine, sample_weight=weight))
    with pytest.raises(bg.DataError, match="has to be positive"):
        bg.fit(Own(values), 2, engine="em", sample_weight=weight - 1)


def test_small_sources_are_read_into_memory(values, tmp_path):
    rows = rows_of(SOURCES["npy"](values, tmp_path))
    assert isinstance(rows, bg.Observations)
    assert (rows.values == values).all()


@given(number=st.integers(1, 300), power=st.integers(0, 4))
@settings(deadline=None, max_examples=60)
def test_sums_of_blocks_are_nodes_of_the_same_tree(number, power):
    """Whatever power of two of chunks a block has, the sum of all has the bits of the sum of chunks."""
    parts = np.random.default_rng(number).normal(size=(number, 2)) * 10.0 ** np.arange(number)[:, None] ** 0.5
    size = 2**power
    one_by_one = sums.summed(list(parts))
    blocks = [parts[i : i + size].copy() for i in range(0, number, size)]
    for block in blocks:
        fold(block)
    assert (sums.summed([block[0] for block in blocks]) == one_by_one).all()
    fold(parts)
    assert (parts[0] == one_by_one).all()


def test_blocks_are_powers_of_two_of_chunks_and_hold_no_more_than_they_should():
    for d in (1, 5, 50, 500, 5000):
        (start, stop), *_ = sums.block_bounds(10**7, d)
        chunks = (stop - start) // sums.CHUNK_ROWS
        assert start == 0
        assert chunks & (chunks - 1) == 0
        assert chunks == 1 or stop * d <= sums.BLOCK_VALUES


@pytest.mark.parametrize("ending", ["parquet", "zarr"])
@pytest.mark.parametrize("engine", ["em", "gibbs"])
def test_memberships_are_written_where_told(engine, ending, values, small, tmp_path):
    result = fitted(Own(values), ENGINES[engine])
    path = result.memberships(Own(values), to=tmp_path / f"m.{ending}")
    expected = result.memberships(values)
    if ending == "parquet":
        table = pd.read_parquet(path)
        assert (table.pop("observation") == np.arange(1500)).all()
    else:
        group = zarr.open_group(path, mode="r")
        table = pd.DataFrame({name: np.asarray(group[name][:]) for name in group})
    for c in range(2):
        assert (table[f"membership[{c}]"] == expected.probability[:, c].values).all()
        assert np.array_equal(table[f"lower[{c}]"], expected.lower[:, c].values, equal_nan=True)
    assert (table["label"] == expected.label.values).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"m.{ending}"]


def test_what_would_fill_memory_is_refused(values, small, tmp_path):
    result = fitted(Own(values), ENGINES["em"])
    with pytest.raises(bg.DataError, match="1,500 rows of 'nowhere' are not kept"):
        result.memberships()
    for ask in (result.memberships, result.predict, result.predict_proba, result.log_density):
        with pytest.raises(bg.DataError, match="would be held in memory; write it to a file"):
            ask(Own(values))
    with pytest.raises(bg.DataError, match=r"to a \.parquet or \.zarr path"):
        result.memberships(Own(values), to=tmp_path / "m.csv")
    with pytest.raises(bg.DataError, match="not kept"):
        result.with_log_likelihood()
    assert np.isnan(result.criteria()["icl"])
    assert result.criteria()["bic"] == pytest.approx(fitted(values, ENGINES["em"]).criteria()["bic"], rel=1e-12)
    result.save(tmp_path / "r.nc")
    assert bg.load(tmp_path / "r.nc").n_rows == 1500


def test_what_needs_rows_in_memory_says_so(values, small):
    for engine, error, says in [
        (bg.EM(uncertainty="bootstrap", draws=20), bg.ModelError, "use 'laplace'"),
        (bg.Gibbs(label_every=1), bg.DataError, "for rows in memory"),
        (bg.NUTS(form="transparent"), bg.ModelError, "needs the rows in memory"),
        (bg.NUTS(sampler="pymc"), bg.ModelError, "default sampler"),
    ]:
        with pytest.raises(error, match=says):
            fitted(Own(values), engine)
    with pytest.raises(bg.ModelError, match="cannot be labels of rows that are read block by block"):
        fitted(Own(values), bg.EM(), start=np.zeros(1500, int))


def spoilt(values, row, number):
    values = values.copy()
    values[row, 1] = number
    return values


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda v, at: Own(spoilt(v, 700, np.nan)), bg.DataError, r"1 of 1500 rows with missing .* row 700 .*'x1'"),
        (lambda v, at: Own(spoilt(v, 3, np.inf)), bg.DataError, r"infinite values, the first at row 3 "),
        (lambda v, at: Own(v[:0]), bg.DataError, "is empty"),
        (lambda v, at: Own(v * [0.0, 1.0]), bg.DataError, "column 'x0': a constant"),
        (lambda v, at: at / "none.parquet", FileNotFoundError, "no file"),
        (lambda v, at: at / "none*.parquet", FileNotFoundError, "no file"),
        (lambda v, at: at / "x.doc", bg.DataError, "has to end in one of"),
        (lambda v, at: npy_of(np.asfortranarray(v), at / "f.npy"), bg.DataError, "columns first"),
        (lambda v, at: npy_of(np.array(["a"]), at / "t.npy"), bg.DataError, "dtype <U1"),
        (lambda v, at: da.from_array(v.astype(complex)), bg.DataError, "real numbers, got"),
        (lambda v, at: dd.from_pandas(pd.DataFrame({"a": ["x", "y"]}), npartitions=1), bg.DataError, "no numeric"),
    ],
)  # fmt: skip
def test_a_bad_source_is_refused_in_a_sentence(make, error, says, values, small, tmp_path):
    with pytest.raises(error, match=says):
        bg.fit(make(values, tmp_path), 2, engine="em")


def test_damaged_files_are_named(values, small, tmp_path):
    whole = npy_of(values, tmp_path / "x.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-8])
    with pytest.raises(bg.DataError, match="ends before its 1500 rows do"):
        bg.fit(tmp_path / "short.npy", 2, engine="em")
    (tmp_path / "no.npy").write_bytes(b"nothing")
    with pytest.raises(bg.DataError, match=r"is no \.npy file"):
        bg.fit(tmp_path / "no.npy", 2, engine="em")
    (tmp_path / "no.parquet").write_bytes(b"nothing")
    with pytest.raises(bg.DataError, match="cannot be read as PARQUET"):
        bg.fit(tmp_path / "no.parquet", 2, engine="em")


def test_files_that_change_or_end_early_are_named(values, small, tmp_path):
    path = npy_of(values, tmp_path / "x.npy")
    rows = rows_of(path)
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(bg.SourceError, match="has become shorter"):
        rows.moments()
    pd.DataFrame(values, columns=list(NAMES)).to_parquet(tmp_path / "x.parquet", compression=None, use_dictionary=False)
    whole = bytearray((tmp_path / "x.parquet").read_bytes())
    whole[4:60] = b"\xff" * 56
    (tmp_path / "x.parquet").write_bytes(whole)
    with pytest.raises(bg.DataError, match="cannot be read to its end"):
        rows_of(tmp_path / "x.parquet")


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def replaced(path):
    """Put another file of the same size in its place."""
    other = path.with_name("other.npy")
    np.save(other, np.load(path)[::-1])
    os.utime(other, ns=(0, 0))
    os.replace(other, path)


def written_to(path):
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\0" * 8)
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize(
    ("change", "says"),
    [(cut, "has become shorter"), (replaced, "has changed"), (written_to, "has changed"), (os.remove, "can no longer")],
)
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_file_that_changes_while_it_is_read_is_named(
    change, says, dtype, after, values, small, tmp_path, monkeypatch
):
    """A map of a file that was cut short was a crash of the process."""
    path = tmp_path / "x.npy"
    np.save(path, values.astype(dtype))
    rows, fill, calls = rows_of(path), sources._filled, []

    def filled(*arguments):
        if len(calls) == after:
            change(path)
        calls.append(0)
        return fill(*arguments)

    monkeypatch.setattr(sources, "_filled", filled)
    with pytest.raises(bg.SourceError, match=says):  # noqa: PT012
        rows.moments()
        rows.moments()


@pytest.mark.parametrize("at", [0, 3, -1])
@pytest.mark.parametrize("layout", [{"zarr_format": 2}, {"zarr_format": 3}, {"shards": (400, 2)}], ids=str)
def test_a_chunk_of_zarr_that_is_lost_is_named(at, layout, values, small, tmp_path):
    """The fill value, 0, was fitted in its place."""
    path = tmp_path / "x.zarr"
    zarr.create_array(path, shape=values.shape, chunks=(200, 2), dtype="f8", **layout)[:] = values
    chunks = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".z", "zarr")))
    lost = chunks[at]
    lost.unlink()
    with pytest.raises(bg.DataError, match=f"has no chunk '{re.escape(str(lost.relative_to(path)))}'.*put back"):
        rows_of(path)


def test_criteria_of_rows_that_are_gone_need_a_point(values, small):
    with pytest.raises(bg.ModelError, match="need a point estimate"):
        fitted(Own(values), ENGINES["laplace"]).criteria()


def test_decoded_rows_leave_nothing_behind(values, small, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", os.fspath(tmp_path))
    rows = rows_of(SOURCES["folder of Parquet"](values, tmp_path))
    assert rows.source._rows is not None
    assert not list(tmp_path.glob("bayesgmm-*"))


def test_a_disk_too_small_to_decode_says_how_much_is_needed(values, small, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources, "_write", full)
    with pytest.raises(OSError, match="decoding needs 24,000 bytes"):
        bg.fit(SOURCES["folder of Parquet"](values, tmp_path), 2, engine="em")


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_command_line_fits_a_folder_and_writes_memberships(values, small, tmp_path):
    folder = folder_of_parquet(values, tmp_path / "parts")
    kept = "-o", tmp_path / "r.nc", "-m", tmp_path / "m.parquet", "--checkpoint", tmp_path / "c.npz"
    said = run("fit", folder, "-k", 2, "--engine", "em", "--seed", 1, *kept)
    assert said.exit_code == 0, said.output
    assert "1,500 rows" in said.output
    assert len(pd.read_parquet(tmp_path / "m.parquet")) == 1500
    said = run("predict", tmp_path / "r.nc", folder, "-m", tmp_path / "new.parquet")
    assert said.exit_code == 0, said.output
    assert (tmp_path / "new.parquet").read_bytes() == (tmp_path / "m.parquet").read_bytes()
    said = run("predict", tmp_path / "r.nc", folder)
    assert said.exit_code == 2
    assert "--memberships NAME.parquet" in " ".join(said.output.split())


def test_command_line_reads_weights_and_columns_of_a_folder(values, small, tmp_path):
    frame = pd.DataFrame(values, columns=list(NAMES)).assign(times=2.0, noise=1.0)
    (tmp_path / "parts").mkdir()
    frame.to_parquet(tmp_path / "parts" / "a.parquet")
    said = run("fit", tmp_path / "parts", "-k", 2, "--engine", "em", "--columns", "x0,x1,times", "--weights", "times")
    assert said.exit_code == 0, said.output
    assert "2 features" in said.output
    said = run("fit", tmp_path / "parts", "-k", 2, "--columns", "times", "--weights", "times")
    assert said.exit_code == 2
    assert "names no feature beside the weights" in said.output
    npy_of(values, tmp_path / "x.npy")
    said = run("fit", tmp_path / "x.npy", "-k", 2, "--columns", "height")
    assert said.exit_code == 2
    assert "no names to choose ['height'] by" in said.output
    said = run("fit", tmp_path / "parts", "-k", 2, "--columns", "x0,height")
    assert said.exit_code == 2
    assert "no numeric column 'height'" in said.output


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as found:
        yield found


@pytest.fixture
def large(rng):
    """Three blocks, at the sizes that other processes know."""
    return rng.normal(size=(1_200_000, 2)) + 2.0 * rng.integers(2, size=(1_200_000, 1))


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore")
def test_a_worker_killed_in_the_middle_changes_nothing(cluster, large, tmp_path, monkeypatch):
    """Its blocks are computed anew by the other; the command line finds the cluster by its address."""
    monkeypatch.setattr(data_module, "VALUES_IN_MEMORY", 0)
    engine = bg.EM(n_init=2, max_iter=12, tol=1e-15)
    expected = fitted(pd.DataFrame(large, columns=list(NAMES)), engine)
    folder = tmp_path / "parts"
    folder.mkdir()
    for part, rows in enumerate(np.array_split(large, 4)):
        pd.DataFrame(rows, columns=list(NAMES)).to_parquet(folder / f"{part}.parquet")
    with cluster.get_client() as client:
        victim, passes = next(iter(client.run(os.getpid).values())), 0
        before = dask_module.DaskSource.each

        def each(self, function, bounds):
            nonlocal passes
            passes += 1
            results = before(self, function, bounds)
            if passes == 8:
                os.kill(victim, signal.SIGKILL)
            yield from results

        monkeypatch.setattr(dask_module.DaskSource, "each", each)
        found = fitted(dd.read_parquet(folder), engine)
        assert passes > 8
        assert bits(found) == bits(expected)
    monkeypatch.undo()
    said = run("fit", folder, "-k", 2, "--engine", "em", "--seed", 4, "--scheduler", cluster.scheduler_address)
    assert said.exit_code == 0, said.output
    assert "1,200,000 rows" in said.output or "features" in said.output


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore")
def test_a_second_client_is_served_with_blocks_of_its_own(cluster, large):
    """Those that the workers kept for the first went with it."""
    engine = bg.EM(n_init=1, max_iter=4, tol=1e-15)
    rows, expected = dask_module.DaskSource(da.from_array(large, chunks=(300_000, 2))), bits(fitted(large, engine))
    for _ in range(2):
        with cluster.get_client():
            assert bits(fitted(rows, engine)) == expected
    assert bits(fitted(rows, engine)) == expected  # And without a client, in threads.


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_without_workers_is_an_error_soon(cluster, values, small, monkeypatch):
    monkeypatch.setattr(dask_module, "PATIENCE", 2.0)
    monkeypatch.setattr(dask_module, "LOOK", 0.5)
    with cluster.get_client():
        rows = rows_of(da.from_array(values, chunks=(300, 2)))
        cluster.scale(0)
        began = time.monotonic()
        with pytest.raises(bg.errors.SourceError, match="no worker for 2 s"):
            fitted(rows, bg.EM(n_init=2))
        assert time.monotonic() - began < 60


def test_broken_results_of_workers_are_named(values, monkeypatch):
    monkeypatch.setattr("distributed.wait", lambda futures, timeout: None)
    with pytest.raises(bg.errors.SourceError, match="rows from 64 on has missing"):
        dask_module._apply(spoilt(values, 3, np.nan), 64, len)

    class Client:
        def gather(self, futures):
            return [(3, None)]

    with pytest.raises(bg.errors.SourceError, match="gave 3 rows where 0 to 64 were asked for"):
        list(dask_module._results(Client(), [], [(0, 64)]))


def test_the_example_of_an_own_source_is_short_and_runs():
    path = Path(bg.__file__).parent.parent / "examples" / "own_source.py"
    names = runpy.run_path(os.fspath(path), run_name="example")
    source = names["Blocks"]([lambda: np.ones((3, 2)), lambda: np.zeros((4, 2))], [3, 4], ("a", "b"))
    assert (source.read(2, 5)[:, 0] == [1, 0, 0]).all()
    assert len(source) == 7


@pytest.mark.usefixtures("small")
def test_prior_and_frame_are_made_of_two_passes(values, tmp_path, monkeypatch):
    """They took seven: the frame was found anew for the prior, and its moments once more."""
    counted = []
    each = StoredObservations.each

    def counting(rows, function, *others, **named):
        counted.append(1)
        return each(rows, function, *others, **named)

    np.save(tmp_path / "rows.npy", values)
    rows, model = rows_of(str(tmp_path / "rows.npy")), bg.MixtureModel(3)
    assert isinstance(rows, StoredObservations)
    monkeypatch.setattr(StoredObservations, "each", counting)
    frame = model.frame_of(rows)
    assert len(counted) == 2
    seen, prior = model.seen(rows, frame), model.prior_for(rows, frame)
    assert len(counted) == 3  # A sample in which the steps of rounding are sought.
    monkeypatch.undo()
    in_memory = bg.HierarchicalPrior.from_data(values, 3)
    assert np.allclose(prior.scale_rate, in_memory.scale_rate, rtol=1e-12)
    assert np.allclose(seen.unit, values.std(axis=0, ddof=1), rtol=1e-12)
