"""Claims about files nobody should trust: loaded soundly or refused with LoadError, and never executed."""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg

#: Rows enough for two groups, few enough that a file is read in no time.
TABLE = bg.datasets.load_faithful().iloc[::5]
KINDS = ("em", "nuts")
#: Wall seconds that one file may take, counted in a process of its own.
MOST_SECONDS = 15


@pytest.fixture(scope="module")
def results():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.BayesGMMWarning)
        engine = bg.NUTS(draws=10, tune=20, chains=2)
        posterior = bg.fit(TABLE, 2, engine=engine, seed=1, progress=False)
    return {"em": bg.fit(TABLE, 2, engine="em", seed=1), "nuts": posterior}


@pytest.fixture(scope="module")
def saved(results, tmp_path_factory):
    """Files of both results."""
    folder = tmp_path_factory.mktemp("saved")
    for kind, result in results.items():
        result.save(folder / f"{kind}.nc")
    return {kind: folder / f"{kind}.nc" for kind in KINDS}


@pytest.fixture
def edited(saved, tmp_path):
    """Return a copy of a file after a change through h5py."""

    def edit(kind, change):
        path = tmp_path / "edited.nc"
        shutil.copy(saved[kind], path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return edit


def usable(result):
    """Check that everything a result can be asked is answered, and finite."""
    found = result.memberships()
    assert np.isfinite(found.probability).all()
    np.testing.assert_allclose(found.probability.sum("component"), 1, rtol=0, atol=1e-9)
    assert np.isfinite(result.log_density()).all()
    assert np.isfinite(result.sample(3, seed=1).to_numpy()).all()
    assert np.isfinite(result.summary()["mean"]).all()
    assert len(repr(result)) > 0
    result.diagnostics()
    result.relabelled("none")
    assert result.parameters.weights.shape == (result.model.n_components,)
    if result.is_point:
        assert np.isfinite(result.criteria()).all()


def loads_soundly_or_is_refused(path):
    """Return whether a file loads; anything but a sound result or a LoadError fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = bg.load(path)
        except bg.LoadError as error:
            assert str(path) in str(error) or repr(str(path))[1:-1] in str(error)  # noqa: PT017
            return False
        usable(result)
    return True


# Random damage


def damaged(content, rng):
    """Return bytes after one kind of damage."""
    content, kind = bytearray(content), rng.integers(7)
    at = int(rng.integers(len(content)))
    if kind == 0:
        return bytes(content[:at])
    if kind == 1:
        content[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        for i in rng.integers(len(content), size=int(rng.integers(1, 60))):
            content[i] = int(rng.integers(256))
    elif kind == 3:
        stop = min(len(content), at + int(rng.integers(1, 4000)))
        content[at:stop] = bytes(stop - at)
    elif kind == 4:
        del content[at : at + int(rng.integers(1, 500))]
    elif kind == 5:
        content[at:at] = rng.bytes(int(rng.integers(1, 500)))
    else:
        # The first kilobytes hold the tree; damage there reaches furthest.
        for i in rng.integers(min(len(content), 4096), size=3):
            content[i] = int(rng.integers(256))
    return bytes(content)


def judge(folder, start, stop):
    """Damage files by each seed and print what became of them; ends if one takes too long."""
    contents = {kind: Path(folder, f"{kind}.nc").read_bytes() for kind in KINDS}
    path = Path(folder, f"damaged{start}.nc")
    for seed in range(start, stop):
        faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
        path.write_bytes(damaged(contents[KINDS[seed % 2]], np.random.default_rng(seed)))
        try:
            verdict = "loaded" if loads_soundly_or_is_refused(path) else "refused"
        except BaseException as error:
            verdict = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        print(seed, verdict, flush=True)


def judged(saved, start, stop):
    """Return what became of each seed, judged in other processes: the HDF5 library itself may hang or crash."""
    found, folder = {}, str(saved["em"].parent)
    while start < stop:
        command = [sys.executable, __file__, folder, str(start), str(stop)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        found |= {int(seed): verdict for seed, verdict in (line.split(" ", 1) for line in done.stdout.splitlines())}
        start = max(found, default=start - 1) + 1
        if start < stop:
            found[start] = done.stderr.splitlines()[0] if done.stderr else f"died with status {done.returncode}"
            start += 1
    return found


def unsound(found):
    return {seed: verdict for seed, verdict in found.items() if verdict not in ("loaded", "refused")}


@pytest.mark.compiled
def test_150_damaged_files_load_soundly_or_are_refused(saved):
    found = judged(saved, 0, 150)
    assert len(found) == 150
    assert not unsound(found)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_1000_more_damaged_files_load_soundly_or_are_refused(saved, part):
    assert not unsound(judged(saved, 1000 + 100 * part, 1100 + 100 * part))


@pytest.mark.parametrize("share", [0, 0.001, 0.25, 0.5, 0.75, 0.99, 0.9999])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_is_refused(kind, share, saved, tmp_path):
    content, path = saved[kind].read_bytes(), tmp_path / "cut.nc"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(bg.LoadError):
        bg.load(path)


# Damage with a purpose


def put(name, value):
    return lambda file: file[name].__setitem__(..., value)


def put_at(name, at, value):
    return lambda file: file[name].__setitem__(at, value)


def delete(name):
    return lambda file: file.__delitem__(name)


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def no_attribute(name):
    return lambda file: file.attrs.__delitem__(name)


def model(**changes):
    """Replace parts of what the file says of its model."""
    return lambda file: file.attrs.__setitem__("model", json.dumps(json.loads(file.attrs["model"]) | changes))


def engine(**changes):
    return lambda file: file.attrs.__setitem__("engine", json.dumps(json.loads(file.attrs["engine"]) | changes))


NO_RESULTS = {
    "negative variances": put("posterior/covariances", -1.0),
    "variances of zero": put("posterior/covariances", 0.0),
    "asymmetric covariances": put_at("posterior/covariances", (..., 0, 1), 1e9),
    "missing means": put("posterior/means", np.nan),
    "infinite weights": put("posterior/weights", np.inf),
    "weights that sum to ten": put("posterior/weights", 5.0),
    "negative weights": put("posterior/weights", -1.0),
    "weights of zero": put("posterior/weights", 0.0),
    "optima with negative variances": put("optima/covariances", -1.0),
    "optima with negative weights": put("optima/weights", -1.0),
    "a unit of zero": put("constant_data/unit", 0.0),
    "a negative unit": put("constant_data/unit", -1.0),
    "negative row weights": put("constant_data/sample_weight", -1.0),
    "row weights of zero": put("constant_data/sample_weight", 0.0),
    "missing rows": put("observed_data/observations", np.nan),
    "a missing log posterior": put("sample_stats/lp", np.nan),
    "a negative degree of freedom": put("prior_hyperparameters/dof", -1.0),
    "two features of one name": put("observed_data/feature", "a"),
    "no log posterior": delete("sample_stats/lp"),
    "no log-likelihood": delete("sample_stats/log_likelihood_total"),
    "no posterior": delete("posterior"),
    "no weights": delete("posterior/weights"),
    "no optima": delete("optima"),
    "no share of an optimum": delete("optima/basin_share"),
    "no data": delete("observed_data"),
    "no unit": delete("constant_data/unit"),
    "no schema": no_attribute("schema"),
    "no schema version": no_attribute("schema_version"),
    "no model": no_attribute("model"),
    "no engine": no_attribute("engine"),
    "no time": no_attribute("seconds"),
    "no word on convergence": no_attribute("converged"),
    "a time in words": attribute("seconds", "long"),
    "another schema": attribute("schema", "other"),
    "more components than parameters": model(n_components=5),
    "no components": model(n_components=0),
    "half a component": model(n_components=1.5),
    "an unknown covariance type": model(covariance_type="VVV"),
    "an unknown prior": model(prior="os.system", default_prior=False),
    "a prior of other hyperparameters": model(prior="SeparationPrior", default_prior=False),
    "a model that is a list": attribute("model", "[]"),
    "a model that is no JSON": attribute("model", "{"),
    "a model of bytes": attribute("model", np.bytes_(b"\xff\xfe")),
    "a model nested without end": attribute("model", "[" * 30_000),
    "an engine nested without end": attribute("engine", '{"a":' * 10_000),
    "an engine that is a number": attribute("engine", 5),
    "an engine by the name of a function": engine(name="os.system"),
    "an engine by a dunder": engine(name="__import__"),
    "an engine with a setting more": engine(shell="true"),
    "a number of five thousand digits": attribute("engine", '{"name": "EM", "n_init": ' + "9" * 5000 + "}"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", NO_RESULTS)
def test_a_file_that_describes_no_result_is_refused(case, kind, edited):
    path = edited(kind, NO_RESULTS[case])
    with pytest.raises(bg.LoadError):
        bg.load(path)


def test_a_point_without_its_trace_is_refused(edited):
    with pytest.raises(bg.LoadError):
        bg.load(edited("em", delete("trace")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pivot", [-1, 99, 0.5, "a", [0, 0]])
def test_draws_that_carry_the_labels_of_no_optimum_are_refused(pivot, kind, edited):
    with pytest.raises(bg.LoadError):
        bg.load(edited(kind, lambda file: file["optima"].attrs.__setitem__("pivot", pivot)))


@pytest.mark.parametrize("method", ["os.system", 3, ["em", "em"]])
def test_labels_by_an_unknown_method_are_refused(method, edited):
    with pytest.raises(bg.LoadError):
        bg.load(edited("nuts", attribute("relabelling", method)))


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
def test_a_file_of_an_earlier_version_has_the_labels_of_the_best_optimum(edited):
    def earlier(file):
        del file.attrs["relabelling"], file["optima"].attrs["pivot"]

    loaded = bg.load(edited("nuts", earlier))
    assert loaded.relabelling == "em"
    assert np.array_equal(loaded.pivot.means, loaded.optimum.means)


def test_labels_that_are_no_permutation_are_refused(edited):
    with pytest.raises(bg.LoadError):
        bg.load(edited("nuts", put("sample_stats/label_order", 1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["seed", "versions", "data_sha256", "inference_library"])
def test_what_nothing_is_computed_from_may_be_absent(name, kind, edited):
    assert loads_soundly_or_is_refused(edited(kind, no_attribute(name)))


@pytest.mark.parametrize("version", [2, 3, 99, 10**18])
@pytest.mark.parametrize("kind", KINDS)
def test_a_later_schema_version_is_refused_with_advice(version, kind, edited):
    with pytest.raises(bg.LoadError, match=rf"schema version \D*{version}.*reads up to \d+.*upgrade"):
        bg.load(edited(kind, attribute("schema_version", version)))


@pytest.mark.parametrize("version", ["x", "", np.nan, [1, 2], -1, 0, 0.5])
def test_a_schema_version_that_never_was_is_refused(version, edited):
    with pytest.raises(bg.LoadError):
        bg.load(edited("em", attribute("schema_version", version)))


# Files that are something else


def write_text(path):
    path.write_text("eruptions,waiting\n3.6,79\n")


def write_nothing(path):
    path.write_bytes(b"")


def write_zip(path):
    path.write_bytes(b"PK\x03\x04" + bytes(200))


def write_pickle(path):
    path.write_bytes(pickle.dumps({"weights": [0.5, 0.5]}))


def write_netcdf(path):
    xr.Dataset({"t2m": ("time", np.arange(5.0))}).to_netcdf(path, engine="h5netcdf")


def write_netcdf_tree(path):
    xr.DataTree.from_dict({"/posterior": xr.Dataset({"mu": (("chain", "draw"), np.ones((2, 3)))})}).to_netcdf(path)


def write_netcdf3(path):
    xr.Dataset({"t2m": ("time", np.arange(5.0))}).to_netcdf(path, engine="scipy")


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(5)


def write_signature(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))


FOREIGN = [write_text, write_nothing, write_zip, write_pickle, write_netcdf, write_netcdf_tree, write_netcdf3,
           write_hdf5, write_signature, Path.mkdir]  # fmt: skip


@pytest.mark.parametrize("write", FOREIGN, ids=lambda f: f.__name__)
def test_a_foreign_file_is_refused_with_its_name(write, tmp_path):
    path = tmp_path / "foreign.nc"
    write(path)
    with pytest.raises(bg.LoadError, match=r"foreign\.nc"):
        bg.load(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.nc"):
        bg.load(tmp_path / "nowhere.nc")


@pytest.mark.parametrize("path", [None, 5, ["a.nc"], 1.5])
def test_a_path_that_is_none_is_a_type_error(path):
    with pytest.raises((TypeError, ValueError)):
        bg.load(path)


# Bombs and traps


def dimensions_of(file, name):
    return [dim[0].name for dim in file[name].dims]


def replaced(file, name, create):
    """Put another kind of dataset in the place of one, on the same dimensions."""
    scales, shape = dimensions_of(file, name), file[name].shape
    del file[name]
    create(shape)
    for axis, scale in enumerate(scales):
        file[name].dims[axis].attach_scale(file[scale])


def test_values_stored_in_another_file_are_refused_and_never_read(edited, tmp_path):
    """HDF5 datasets may name any file of the machine as the place of their bytes."""
    secret = tmp_path / "secret"
    secret.write_bytes(np.full(4096, 42.0).tobytes())
    name = "observed_data/observations"
    external = [(str(secret), 0, h5py.h5f.UNLIMITED)]
    path = edited(
        "em",
        lambda file: replaced(
            file, name, lambda shape: file.create_dataset(name, shape=shape, dtype="f8", external=external)
        ),
    )
    with pytest.raises(bg.LoadError):
        bg.load(path)


def test_values_that_are_a_view_of_another_file_are_refused(edited, tmp_path):
    """HDF5 virtual datasets are links that are no links."""
    secret, name = tmp_path / "secret.h5", "observed_data/observations"
    with h5py.File(secret, "w") as file:
        file["x"] = np.full((len(TABLE), 2), 42.0)

    def view(file):
        def create(shape):
            layout = h5py.VirtualLayout(shape, dtype="f8")
            layout[...] = h5py.VirtualSource(str(secret), "x", shape=shape)
            file.create_virtual_dataset(name, layout)

        replaced(file, name, create)

    with pytest.raises(bg.LoadError):
        bg.load(edited("em", view))


LINKS = {
    "another file": lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/hostname", "/")),
    "a file above": lambda file: file["posterior"].__setitem__("x", h5py.ExternalLink("../other.nc", "/posterior")),
    "a path": lambda file: file.__setitem__("x", h5py.SoftLink("/posterior")),
    "nowhere": lambda file: file["posterior"].__setitem__("x", h5py.SoftLink("/nowhere")),
    "itself": lambda file: file["posterior"].__setitem__("x", file["/"]),
}


@pytest.mark.parametrize("case", LINKS)
def test_links_inside_a_file_are_refused(case, edited):
    with pytest.raises(bg.LoadError):
        bg.load(edited("em", LINKS[case]))


@pytest.mark.parametrize("size", [10**8, 10**10, 10**12])
def test_a_small_file_that_unfolds_to_gigabytes_is_refused_unread(size, edited):
    path = edited(
        "em",
        lambda file: file["posterior"].create_dataset(
            "bomb", shape=(size,), dtype="f8", chunks=(10**6,), compression="gzip"
        ),
    )
    with pytest.raises(bg.LoadError, match="bytes"):
        bg.load(path)


def test_rows_that_unfold_to_gigabytes_are_refused_unread(edited):
    name = "observed_data/observations"
    path = edited(
        "em",
        lambda file: replaced(
            file,
            name,
            lambda _: file.create_dataset(name, shape=(10**9, 2), dtype="f8", chunks=(10**6, 2), compression="gzip"),
        ),
    )
    with pytest.raises(bg.LoadError, match="bytes"):
        bg.load(path)


def nest(file, depth):
    for _ in range(depth):
        file = file.create_group("g")


def double(file, depth):
    """Two names for each group below: 2 ** depth paths in a few kilobytes, without one cycle."""
    below = file.create_group("bottom")
    for level in range(depth):
        above = file.create_group(f"level{level}")
        above["a"], above["b"], below = below, below, above


LABYRINTHS = {
    "a thousand groups deep": lambda file: nest(file, 1000),
    "ten thousand groups deep": lambda file: nest(file, 10_000),
    "a million paths": lambda file: double(file, 20),
    "ten to the eighteen paths": lambda file: double(file, 60),
}


@pytest.mark.parametrize("case", LABYRINTHS)
def test_a_labyrinth_of_groups_is_refused_in_time(case, edited):
    """In a process of its own, for a hang or a crash of the library below must not end the tests."""
    path = edited("em", LABYRINTHS[case])
    script = (
        "import sys, bayesgmm as bg\n"
        "try: bg.load(sys.argv[1])\n"
        "except bg.LoadError: print('refused')\n"
        "else: print('loaded')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(path)],
        capture_output=True, text=True, timeout=MOST_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "refused"


# Nothing in a file is executed

SOURCES = sorted(Path(bg.__file__).parent.rglob("*.py"))
#: Ways in which a file becomes code.
FORBIDDEN = re.compile(
    r"\b(pickle|cPickle|dill|cloudpickle|joblib|marshal|shelve|yaml)\b|(?<![\w.])(eval|exec|compile|__import__)\("
    r"|allow_pickle\s*=\s*True|import_module|read_pickle|os\.system|shell\s*=\s*True"
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_no_source_of_the_package_turns_text_into_code(source):
    found = [line for line in source.read_text().splitlines() if FORBIDDEN.search(line)]
    assert not found


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_is_written_and_read_without_pickle(kind, results, saved, tmp_path, monkeypatch):
    saved_before = bg.load(saved[kind]).predict_proba()  # What numba has to compile for it, numba pickles.

    def refuse(*_, **__):
        raise AssertionError("pickle was called")

    for name in ("loads", "load", "dumps", "dump", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    results[kind].save(tmp_path / "result.nc")
    back = bg.load(tmp_path / "result.nc")
    np.testing.assert_array_equal(back.predict_proba(), saved_before)


# Writing


class HalfWrittenError(OSError):
    """A disk that filled up."""


def write_half(path, content):
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
    raise HalfWrittenError(28, "No space left on device")


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(kind, results, tmp_path, monkeypatch):
    path = tmp_path / "result.nc"
    results[kind].save(path)
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(HalfWrittenError):
        results[kind].save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.nc"]
    assert bg.load(path).is_point == results[kind].is_point


def test_a_first_write_that_is_interrupted_leaves_no_file(results, tmp_path, monkeypatch):
    def interrupt(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        results["em"].save(tmp_path / "result.nc")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_replaced_by_a_result(results, tmp_path):
    (tmp_path / "result.nc").mkdir()
    with pytest.raises(OSError, match=r"result\.nc"):
        results["em"].save(tmp_path / "result.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["result.nc"]


def test_a_missing_folder_is_named(results, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        results["em"].save(tmp_path / "nowhere" / "result.nc")


def test_a_saved_result_may_be_read_by_whom_the_mask_allows(results, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    results["em"].save(tmp_path / "result.nc")
    assert (tmp_path / "result.nc").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("kind", KINDS)
def test_saving_what_was_loaded_loses_nothing(kind, saved, tmp_path):
    first = bg.load(saved[kind])
    first.save(tmp_path / "again.nc")
    second = bg.load(tmp_path / "again.nc")
    usable(second)
    assert first.tree.identical(second.tree)
    assert (first.engine, first.model) == (second.engine, second.model)


def test_a_refusal_of_rubbish_takes_no_time(tmp_path):
    path = tmp_path / "rubbish.nc"
    path.write_bytes(np.random.default_rng(1).bytes(10**6))
    began = time.process_time()
    with pytest.raises(bg.LoadError):
        bg.load(path)
    assert time.process_time() - began < 5


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    judge(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_keeps_its_mode_and_what_a_link_leads_to_is_replaced(kind, results, tmp_path):
    path, link = tmp_path / "secret.nc", tmp_path / "link.nc"
    results[kind].save(path)
    path.chmod(0o600)
    link.symlink_to(path)
    path.write_bytes(b"old")
    results[kind].save(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    usable(bg.load(path))


def test_what_is_no_file_is_never_replaced_by_one(results, tmp_path):
    pipe = tmp_path / "pipe.nc"
    os.mkfifo(pipe)
    for target in (pipe, "/dev/null"):
        with pytest.raises(FileExistsError, match="not a file"):
            results["em"].save(target)
        with pytest.raises(FileExistsError, match="not a file"):
            bg.report(results["em"], target)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize(
    ("name", "chains", "draws"),
    [("prior", 1, 50), ("prior_predictive", 1, 50), ("posterior_predictive", 2, 5), ("log_likelihood", 2, 10)],
)
def test_groups_of_arviz_with_their_own_draws_are_saved_and_loaded(name, chains, draws, results, tmp_path):
    result = results["nuts"]
    tree = result.tree.copy()
    values = np.zeros((chains, draws, len(TABLE)))
    coords = {"chain": range(chains), "draw": range(draws)}
    tree[name] = xr.DataTree(xr.Dataset({"observations": (("chain", "draw", "observation"), values)}, coords))
    replace(result, tree=tree).save(tmp_path / "more.nc")
    loaded = bg.load(tmp_path / "more.nc")
    usable(loaded)
    assert loaded.tree[name].sizes["draw"] == draws


@pytest.mark.parametrize("seed", ['1)\nimport os; os.system("id")  #', "1) # ", "-", "", 3.5])
def test_a_seed_that_is_no_number_is_refused(seed, edited):
    with pytest.raises(bg.LoadError):
        bg.load(edited("em", attribute("seed", seed)))


def test_text_from_outside_moves_no_cursor(edited, tmp_path):
    """Neither names of columns nor the warnings of a file reach a terminal as control characters."""
    named = TABLE.set_axis(["a", "\x1b]0;owned\x07\x1b[2J"], axis=1)
    result = bg.fit(named, 2, engine="em", seed=1)
    said = attribute("warnings", json.dumps([["ConvergenceWarning", "\x1b[2Jowned\r"]]))
    for each in (result, bg.load(edited("em", said))):
        printed = repr(each)
        assert r"\x1b[2J" in printed.replace("\n", "")
        assert all(c.isprintable() or c == "\n" for c in printed)
