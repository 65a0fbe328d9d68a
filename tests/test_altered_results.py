"""Claims about saved results that were altered, checksum and all: loaded soundly, or refused in a sentence."""

from __future__ import annotations

import faulthandler
import json
import resource
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.data.writing import CHECKSUM
from tests.test_altered_checkpoints import WILD, every_number, one_number, sealed
from tests.test_hostile_files import usable

TABLE = bg.datasets.load_faithful().iloc[::5].set_axis([f"row {i}" for i in range(55)])
ENGINES = {
    "em": bg.EM(n_init=3),
    "gibbs": bg.Gibbs(draws=20, tune=10, chains=2, label_every=5),
    "nuts": bg.NUTS(draws=10, tune=20, chains=2),
}
MOST_SECONDS, MOST_BYTES = 5, 2**30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A result of each engine."""
    folder = tmp_path_factory.mktemp("results")
    for name, engine in ENGINES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bg.BayesGMMWarning)
            bg.fit(TABLE, 2, engine=engine, seed=1, progress=False).save(folder / f"{name}.nc")
    return folder


# What is altered


def arrays_of(file):
    return [f"{group}/{name}" for group in file for name in file[group]]


def remade(file, name, **how):
    """Put another array in the place of one, on no dimensions."""
    del file[name]
    return file.create_dataset(name, **how)


def values(file, name, rng):
    array = file[name]
    if array.dtype.kind == "O":
        array[int(rng.integers(len(array)))] = rng.choice(["", "x" * 1000, "\u202e", "row 1", "a\x00b", "\x1b[2J"])
    elif array.size:
        array[...] = (one_number if rng.random() < 0.6 else every_number)(array[...], rng)


def shape(file, name, rng):
    old = file[name][...]
    new = (old[None], old.ravel(), np.concatenate([np.atleast_1d(old)] * 2), np.atleast_1d(old)[:0])[
        int(rng.integers(4))
    ]
    remade(file, name, data=new)


def kind(file, name, rng):
    old, types = file[name], ["f4", "i8", "S3", "c16", "?", h5py.ref_dtype, h5py.regionref_dtype, "V8",
                              h5py.vlen_dtype(float), np.dtype([("a", "f8")]), h5py.string_dtype()]  # fmt: skip
    remade(file, name, shape=old.shape, dtype=types[int(rng.integers(len(types)))])


def bomb(file, name, rng):
    """Claim far more than there is: numbers that were never written, or one text many times."""
    number = int(10 ** rng.integers(4, 12))
    if rng.random() < 0.5:
        remade(file, name, shape=(number,), dtype="f8", chunks=(min(number, 10**6),), fillvalue=rng.choice(WILD))
    else:
        remade(file, name, shape=(min(number, 10**5),), dtype=h5py.string_dtype(), fillvalue=b"x" * 10_000)


def attribute(file, name, rng):
    member = (file, file[name], file[name].parent)[int(rng.integers(3))]
    known = [*member.attrs] or ["units"]
    key = rng.choice([*known, "units", "scale_factor", "_FillValue", "dtype", "calendar", "coordinates"])
    odd = [np.nan, -1, 10**18, "", "x", "days since 1-1-1", "[" * 2000, "{}", "null", b"\xff", [1.0, 2.0],
           np.zeros(5000), "9" * 5000, np.array(["a"] * 50, dtype=object)]  # fmt: skip
    if rng.random() < 0.2 and key in member.attrs:
        del member.attrs[key]
    else:
        member.attrs[key] = odd[int(rng.integers(len(odd)))]


def settings(file, name, rng):
    """Change a part of what the file says of model, engine or facts."""
    key = rng.choice([name for name in ("model", "engine", "facts", "warnings", "versions") if name in file.attrs])
    said = json.loads(file.attrs[key])
    if isinstance(said, dict) and said:
        odd = [None, -1, 0, 1e308, "x", [], {}, True, 10**30, "full", "diag", 3, float("nan")]
        said[rng.choice([*said, "more"])] = odd[int(rng.integers(len(odd)))]
    else:
        said = [["ConvergenceWarning", 3], ["os.system", "x"], 5]
    file.attrs[key] = json.dumps(said)


def removed(file, name, rng):
    del file[name if rng.random() < 0.8 else name.split("/")[0]]


def swapped(file, name, rng):
    other = rng.choice(arrays_of(file))
    file.move(name, "held")
    if other in file:
        file.move(other, name)
    file.move("held", other)


HOW = [values] * 8 + [shape, kind, bomb, attribute, attribute, settings, settings, removed, swapped]


def altered(path, rng):
    """Alter a file in one way or two, and make its checksum anew."""
    with h5py.File(path, "r+") as file:
        for how in rng.choice(len(HOW), size=int(rng.integers(1, 3))):
            names = arrays_of(file)
            try:
                HOW[how](file, names[int(rng.integers(len(names)))], rng)
            except (TypeError, ValueError, KeyError, OSError, RuntimeError, AttributeError):
                continue  # HDF5 does not let everything be written.
    content = path.read_bytes()
    path.write_bytes(sealed(content[: content.rfind(CHECKSUM)] if rng.random() < 0.5 else content))


# What becomes of it


def judge(folder, start, stop):
    """Alter files by each seed, load them, and print what became of them."""
    path, before = Path(folder, f"altered{start}.nc"), 0
    for seed in range(start, stop):
        shutil.copy(Path(folder, f"{list(ENGINES)[seed % 3]}.nc"), path)
        altered(path, np.random.default_rng(seed))
        faulthandler.dump_traceback_later(4 * MOST_SECONDS, exit=True)
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            result = bg.load(path)
            taken = time.process_time() - began
            usable(result)
            verdict = "loaded"
        except bg.LoadError as error:
            taken = time.process_time() - began
            verdict = "refused" if str(path) in str(error) else f"says nothing: {error}"
        except BaseException as error:
            taken, verdict = 0.0, f"{type(error).__name__}: {error}".strip().splitlines()[0]
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        late = " late" * (taken > MOST_SECONDS and seed > start) + " large" * (grown > MOST_BYTES)
        print(seed, verdict + late, flush=True)


def judged(folder, start, stop):
    """Return what became of each seed, judged in other processes: the HDF5 library itself may crash."""
    found = {}
    while start < stop:
        command = [sys.executable, "-m", "tests.test_altered_results", str(folder), str(start), str(stop)]
        root = Path(__file__).parent.parent
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, cwd=root)
        found |= {int(seed): verdict for seed, verdict in (line.split(" ", 1) for line in done.stdout.splitlines())}
        start = max(found, default=start - 1) + 1
        if start < stop:
            found[start] = f"died with status {done.returncode}: {done.stderr[-300:]}"
            start += 1
    return {seed: verdict for seed, verdict in found.items() if verdict not in ("loaded", "refused")}


@pytest.mark.compiled
def test_60_altered_results_load_soundly_or_are_refused(folder):
    assert not judged(folder, 0, 60)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_1000_more_altered_results_load_soundly_or_are_refused(part, folder):
    assert not judged(folder, 1000 + 100 * part, 1100 + 100 * part)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    judge(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
