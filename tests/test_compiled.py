"""Compiled loops: once whatever the arrays, kept on disk where that can be, whole in processes that are forked."""

import importlib
import os
import pkgutil
import subprocess
import sys
import threading
import time
import warnings

import numba
import numpy as np
import pandas as pd
import pytest
from numba.core import caching, config

import bayesgmm as bg
from bayesgmm import kernels
from bayesgmm.errors import BayesGMMWarning
from bayesgmm.kernels import interrupts, keeping, machine

pytestmark = pytest.mark.compiled

LAYOUTS = {
    "columns first": np.asfortranarray,
    "not to be written to": lambda x: read_only(x.copy()),
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "single precision": lambda x: x.astype(np.float32),
    "whole numbers": lambda x: np.round(10 * x).astype(np.int64),
    "data frame": lambda x: pd.DataFrame(x, columns=[f"c{j}" for j in range(x.shape[1])]),
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
}


def read_only(x):
    x.flags.writeable = False
    return x


def compiled_loops():
    modules = [
        importlib.import_module(f"bayesgmm.kernels.{found.name}") for found in pkgutil.iter_modules(kernels.__path__)
    ]
    return {id(loop): loop for module in modules for loop in vars(module).values() if isinstance(loop, interrupts.Loop)}


def signatures():
    return {
        f"{loop.py_func.__module__}.{loop.py_func.__name__}": set(loop.signatures) for loop in compiled_loops().values()
    }


def fits(x):
    """Fit by EM and Gibbs, and ask for memberships of the same rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesGMMWarning)
        for engine in (bg.EM(), bg.Gibbs(draws=20, tune=20, chains=1)):
            bg.fit(x, 2, engine=engine, seed=1, progress=False).memberships(x)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_array_makes_loops_be_compiled_anew(layout, d, rng):
    x = rng.normal(size=(200, d)) + np.repeat([[0.0], [4.0]], 100, axis=0)
    fits(x)
    before = signatures()
    fits(LAYOUTS[layout](x))
    assert signatures() == before
    assert sum(map(len, before.values())) > 5


def doubled(x):
    return 2 * x


def kept():
    """Return a loop that says where it cannot be kept."""
    loop = numba.njit(lambda x: 2 * x)
    loop._cache = keeping.Kept(doubled)
    return loop


def nowhere(locator):
    raise PermissionError(13, "Permission denied")


def is_full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("kind", "name", "fails", "why"),
    [
        (caching._CacheLocator, "ensure_cache_path", nowhere, "no locator available"),
        (caching.IndexDataCacheFile, "_open_for_write", is_full, "No space left on device"),
        (caching.IndexDataCacheFile, "_load_index", nowhere, "Permission denied"),
    ],
)
def test_what_cannot_be_kept_is_compiled_and_said_once(kind, name, fails, why, monkeypatch, tmp_path):
    monkeypatch.setattr(config, "CACHE_DIR", os.fspath(tmp_path))
    monkeypatch.setattr(kind, name, fails)
    keeping._said.cache_clear()
    with pytest.warns(bg.CacheWarning, match=f"{why}.*set NUMBA_CACHE_DIR") as said:
        assert (kept()(2.0), kept()(3)) == (4.0, 6)
    assert len(said) == 1
    keeping._said.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("fails", ["_CacheLocator.ensure_cache_path", "IndexDataCacheFile._open_for_write"])
def test_a_command_without_a_place_to_keep_loops_fits_and_says_so_once(fails, tmp_path, faithful):
    """No folder can be written to, or the disk is full."""
    faithful.to_csv(tmp_path / "f.csv", index=False)
    code = (
        "import sys; from numba.core import caching\n"
        "def fails(*_): raise OSError(28, 'not here')\n"
        f"caching.{fails} = fails\n"
        "from bayesgmm.shell.commands import main\n"
        f"sys.argv = ['bayesgmm', 'fit', {str(tmp_path / 'f.csv')!r}, '-k', '2', '--engine', 'em', '--seed', '1']\n"
        "main()\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": os.fspath(tmp_path / "kept")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.count("cannot be kept") == 1
    assert "Traceback" not in done.stderr


def fork_and_fit(d):
    """Return how a forked process ends that fits data of so many features: 0 where it has found two groups."""
    process = os.fork()
    if process == 0:
        end = 1
        try:
            warnings.simplefilter("ignore")
            x = np.random.default_rng(1).normal(size=(200, d)) + np.repeat([[0.0], [4.0]], 100, axis=0)
            end = int(not np.isfinite(bg.fit(x, 2, engine=bg.EM(n_init=1), seed=1).means.values).all())
        finally:
            os._exit(end)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return "hangs"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("work", ["a step", "a loop"])
def test_a_process_forked_while_another_thread_compiles_fits(work, rng):
    ends, ready = [], threading.Event()

    def compiles():
        ready.set()
        for d in range(70, 76):
            if work == "a step":
                machine.address_of(machine.MOMENTS, d)
            else:
                numba.njit(lambda x: np.sort(x) * 2.0)(np.ones(3))

    for d in (61, 62):
        ready.clear()
        thread = threading.Thread(target=compiles)
        thread.start()
        ready.wait()
        time.sleep(0.02)
        ends.append(fork_and_fit(d))
        thread.join()
    assert ends == [0, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_process_forked_after_a_fit_fits(rng):
    many = rng.normal(size=(40_000, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesGMMWarning)
        bg.fit(many, 2, engine=bg.EM(n_init=1, max_iter=3), seed=1)
        bg.fit(many[:200], 2, engine=bg.NUTS(draws=20, tune=20, chains=2), seed=1, progress=False)
        assert [fork_and_fit(d) for d in (2, 3, 63)] == [0, 0, 0]
