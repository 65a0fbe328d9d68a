"""Checkpoints: a process killed at any moment loses little, and goes on to the same bits."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.data import Observations, sums
from bayesgmm.engines import checkpoint as module
from bayesgmm.engines.em.climbs import Stopping, climb
from bayesgmm.engines.em.starting_values import candidates
from bayesgmm.posterior.compact import Whitening

#: Fits whose passes are slowed, so that they can be killed at any moment of the way.
SCRIPT = """
import sys, time
import numpy as np
import bayesgmm as bg
from bayesgmm.engines import checkpoint
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.data import sums
sums.CHUNK_ROWS = 64
checkpoint.SECONDS = 0.0
checkpoint.TIMES = 0.0
slow = estep.folded
def slowed(*arguments):
    time.sleep(float(sys.argv[3]))
    return slow(*arguments)
estep.folded = slowed
x = bg.datasets.load_faithful()
engine = {"em": bg.EM(n_init=3, max_iter=40, checkpoint=sys.argv[2]),
          "gibbs": bg.Gibbs(draws=30, tune=10, chains=2, checkpoint=sys.argv[2]),
          "nuts": bg.NUTS(draws=20, tune=20, chains=2, checkpoint=sys.argv[2])}[sys.argv[1]]
import warnings
warnings.simplefilter("ignore")
print("begin", flush=True)
result = bg.fit(x, 2, engine=engine, seed=3, progress=False)
bits = [a.tobytes() for a in (result.weights.values, result.covariances.values)]
import hashlib
print(hashlib.sha256(b"".join(bits)).hexdigest(), flush=True)
"""


def run(engine, path, pause, kill_after=None):
    """Run a fit in a process of its own; return what it printed.

    It is killed so many seconds after it begins or, where there is no checkpoint yet, after the first is written: on a
    busy machine that is late.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, engine, os.fspath(path), str(pause)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(bg.__file__).parent.parent,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "begin", process.communicate()[1]
    if kill_after is not None:
        while not path.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    out, errors = process.communicate(timeout=300)
    assert kill_after is not None or process.returncode == 0, errors
    return out.strip()


@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("engine", ["em", "gibbs", "nuts"])
def test_a_fit_killed_at_random_moments_ends_at_the_same_bits(engine, kills, tmp_path, rng):
    whole = run(engine, tmp_path / "whole.npz", 0)
    path, sizes = tmp_path / "killed.npz", []
    for moment in rng.uniform(0.1, 2.5, size=kills):
        ended = run(engine, path, 0.01, kill_after=moment)
        sizes.append(len(np.load(path).files) if path.exists() else 0)
        if ended:  # It was over before the kill: the next begins anew.
            assert ended == whole
            path.unlink()
    assert max(sizes) > 0, "no kill came after the first checkpoint"
    assert run(engine, path, 0) == whole


@pytest.fixture
def chunked(monkeypatch):
    monkeypatch.setattr(sums, "CHUNK_ROWS", 64)
    monkeypatch.setattr(module, "SECONDS", 0.0)
    monkeypatch.setattr(module, "TIMES", 0.0)


ENGINES = {
    "em": lambda path: bg.EM(n_init=3, max_iter=25, tol=1e-14, trace="parameters", checkpoint=path),
    "gibbs": lambda path: bg.Gibbs(draws=20, tune=10, chains=2, label_every=5, checkpoint=path),
    "nuts": lambda path: bg.NUTS(draws=20, tune=30, chains=3, checkpoint=path),
}


class Killed(BaseException):
    """What no one catches, other than Ctrl-C."""


def bits(result):
    return [v.values.tobytes() for v in (result.weights, result.means, result.tree["sample_stats"]["lp"])]


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
@pytest.mark.parametrize("name", ENGINES)
def test_interrupted_at_every_write_it_goes_on_to_the_same_bits(name, faithful, chunked, tmp_path, monkeypatch):
    """Each run is stopped right after its next write; the last comes to the end."""
    whole = bg.fit(faithful, 2, engine=ENGINES[name](tmp_path / "a.npz"), seed=5, progress=False)
    path, written = tmp_path / "b.npz", module.Checkpoint._write

    runs = 0
    while runs < 400:
        runs += 1
        number = min(runs, 6)
        seen = iter(range(number))

        def stop_later(self, seen=seen):
            written(self)
            in_chain = threading.current_thread() is not threading.main_thread()
            if not in_chain and next(seen, None) is None:
                raise Killed

        monkeypatch.setattr(module.Checkpoint, "_write", stop_later)
        try:
            found = bg.fit(faithful, 2, engine=ENGINES[name](path), seed=5, progress=False)
            break
        except Killed:
            continue
    assert runs > 1
    assert bits(found) == bits(whole)
    again = bg.fit(faithful, 2, engine=ENGINES[name](path), seed=5, progress=False)
    assert bits(again) == bits(whole)


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
def test_a_chain_of_nuts_goes_on_without_the_passes_that_were_kept(faithful, chunked, tmp_path, monkeypatch):
    """As if it had been killed in the middle of its chains, and given again: no kept pass is made twice."""
    path, then, compute = tmp_path / "a.npz", tmp_path / "then.npz", Whitening.value_and_gradient
    engine = bg.NUTS(draws=20, tune=30, chains=2, cores=2, checkpoint=path)
    asked, middle = [], [np.inf]

    def counted(self, eta):
        asked.append(eta)
        if len(asked) == middle[0]:
            shutil.copy(path, then)
        return compute(self, eta)

    monkeypatch.setattr(Whitening, "value_and_gradient", counted)
    whole = bg.fit(faithful, 2, engine=engine, seed=5, progress=False)
    passes = len(asked)
    path.unlink()
    asked.clear()
    middle[0] = 2 * passes // 3
    bg.fit(faithful, 2, engine=engine, seed=5, progress=False)
    kept = np.load(then)
    known = [len(kept[name]) for name in kept.files if name.endswith("/asked")]
    assert len(known) == 2, "both chains were under way"
    assert sum(known) > passes // 2
    then.replace(path)
    asked.clear()
    found = bg.fit(faithful, 2, engine=engine, seed=5, progress=False)
    assert bits(found) == bits(whole)
    assert len(asked) == passes - sum(known) + sum(-(-number // module.MADE_AGAIN) for number in known)
    assert not any(name.endswith("/asked") for name in np.load(path).files)


def test_no_more_is_kept_of_passes_than_there_is_room_for(tmp_path, monkeypatch):
    """What is kept is the beginning, which can be given again."""
    saved, made = module.Checkpoint(tmp_path / "a.npz", "of this fit", {}), []
    monkeypatch.setattr(module, "MOST_KEPT", 100 * 8 * 3)

    def function(point):
        made.append(point)
        return -0.5 * point @ point, -point

    points = np.random.default_rng(1).normal(size=(150, 2))
    for expected in (150, 50 + 5):
        evaluations = module.Evaluations(function, 2, saved, "passes")
        for point in points:
            value, slope = evaluations(point)
            assert value == -0.5 * point @ point
            assert (slope == -point).all()
        assert len(made) == expected
        assert len(saved.sections["passes"]["asked"]) == 100
        made.clear()


def test_what_was_kept_of_other_passes_is_not_believed(tmp_path):
    """Points are compared: from the first that differs on, all is computed."""
    saved = module.Checkpoint(tmp_path / "a.npz", "of this fit", {})
    points, made = np.arange(10.0).reshape(5, 2), []

    def function(point):
        made.append(point.copy())
        return -0.5 * point @ point, -point

    first = module.Evaluations(function, 2, saved, "passes")
    for point in points:
        first(point)
    points[2] += 1
    made.clear()
    again = module.Evaluations(function, 2, saved, "passes")
    for point in points:
        value, slope = again(point)
        assert value == -0.5 * point @ point
        assert (slope == -point).all()
    assert len(made) == 1 + 3, "the first is made again, to see that it gives the same"


def test_what_is_kept_does_not_climb_on(faithful, tmp_path):
    """The section of the climb stays as it was when the best start is polished, whose section is the next."""
    data, prior = Observations.of(faithful), bg.ConjugatePrior.from_data(faithful, 2)
    first = candidates(data, prior, "k-means++", 3, np.random.default_rng(1))
    checkpoint = module.Checkpoint(tmp_path / "a.npz", "same", {})
    climbs = climb(first, data, prior, Stopping(5, 0.0), saved=(checkpoint, "climb"))
    kept = checkpoint.get("climb")["state"].copy()
    climbs.state[:] = 0.0
    assert (checkpoint.get("climb")["state"] == kept).all()


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
@pytest.mark.parametrize("name", ["em", "gibbs"])
def test_a_checkpoint_changes_no_bit(name, faithful, chunked, tmp_path):
    kept = bg.fit(faithful, 2, engine=ENGINES[name](tmp_path / "a.npz"), seed=5, progress=False)
    assert bits(bg.fit(faithful, 2, engine=ENGINES[name](None), seed=5, progress=False)) == bits(kept)


@pytest.mark.parametrize("change", ["data", "seed", "settings", "model"])
def test_the_checkpoint_of_another_fit_is_refused(change, faithful, tmp_path):
    path = tmp_path / "a.npz"
    bg.fit(faithful, 2, engine=bg.EM(checkpoint=path), seed=5)
    data = faithful * 2 if change == "data" else faithful
    engine = bg.EM(n_init=4 if change == "settings" else 10, checkpoint=path)
    with pytest.raises(bg.ModelError, match="checkpoint of another fit"):
        bg.fit(data, 3 if change == "model" else 2, engine=engine, seed=6 if change == "seed" else 5)


def test_bad_checkpoints_are_named(faithful, tmp_path):
    with pytest.raises(bg.ModelError, match="give a seed"):
        bg.fit(faithful, 2, engine=bg.EM(checkpoint=tmp_path / "a.npz"))
    with pytest.raises(bg.ModelError, match="in one that does not exist"):
        bg.EM(checkpoint=tmp_path / "no" / "a.npz")
    with pytest.raises(bg.ModelError, match="has to be a path"):
        bg.Gibbs(checkpoint=3)
    np.save(tmp_path / "c.npy", np.zeros(3))
    with pytest.raises(bg.LoadError, match="no checkpoint, or damaged"):
        bg.fit(faithful, 2, engine=bg.EM(checkpoint=tmp_path / "c.npy"), seed=1)
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(bg.LoadError, match="no checkpoint, or damaged"):
        bg.fit(faithful, 2, engine=bg.EM(checkpoint=tmp_path / "b.npz"), seed=1)


@pytest.mark.filterwarnings("ignore::bayesgmm.errors.BayesGMMWarning")
def test_a_checkpoint_that_cannot_be_written_says_where_and_how_large(faithful, tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    bg.fit(faithful, 2, engine=bg.Gibbs(draws=8, tune=4, chains=2, checkpoint=path), seed=1, progress=False)
    before = path.read_bytes()

    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    kept = module.Checkpoint(path, "other", {})
    with pytest.raises(OSError, match=r"a\.npz' of 80 bytes cannot be written: No space"):
        kept.put("s", {"a": np.zeros(10)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_does_not_ask_for_the_folder_of_its_checkpoint(faithful, tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    result = bg.fit(faithful, 2, engine=bg.EM(checkpoint=folder / "a.npz"), seed=1)
    result.save(tmp_path / "r.nc")
    (folder / "a.npz").unlink()
    folder.rmdir()
    assert bg.load(tmp_path / "r.nc").engine.checkpoint is None


def test_a_start_that_is_lost_at_once_is_kept_with_the_others(chunked, tmp_path, rng):
    """One start of no width beside a sound one: climbed together, saved, and gone on from."""
    data = bg.Observations.of(rng.normal(size=(200, 1))).standardised()
    prior = bg.ConjugatePrior.flat(2, 1, "full")
    covariances = np.array([[[[1.0]], [[1e-24]]], [[[1.0]], [[1.0]]]])
    first = bg.MixtureParameters(np.full((2, 2), 0.5), np.array([[[0.0], [0.1]], [[-1.0], [1.0]]]), covariances)
    for _ in range(2):
        saved = module.Checkpoint(tmp_path / "a.npz", "same", {})
        if saved.path.exists():
            saved.sections = module._sections(saved.path, "same")
        climbs = climb(first, data, prior, bg.EM(max_iter=5).stopping, saved=(saved, "climb"))
        assert climbs.collapsed.tolist() == [True, False]
        assert len(climbs.trace(0)["log_posterior"]) == 0
        assert np.isfinite(climbs.log_posterior[1])
    with pytest.raises(bg.DegenerateComponentError):
        bg.fit(np.arange(200.0), bg.MixtureModel(2, prior="flat"), start=first[0], engine=bg.EM(), seed=1)


@pytest.fixture
def full_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("disks can be mounted by root alone")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_and_what_was_there_stays(full_disk):
    """In a process of its own: HDF5 once crashed at its end, after the error was said."""
    script = (
        "import sys, bayesgmm as bg; x = bg.datasets.load_faithful(); p = sys.argv[1]\n"
        "small = bg.fit(x, 2, engine='em', seed=1); small.save(p + '/r.nc'); kept = open(p + '/r.nc', 'rb').read()\n"
        "large = bg.fit(x, 2, engine=bg.Gibbs(draws=20_000), seed=1, progress=False)\n"
        "try: large.save(p + '/r.nc')\n"
        "except OSError as error: print(error)\n"
        "assert open(p + '/r.nc', 'rb').read() == kept\n"
        "engine = bg.Gibbs(draws=20_000, checkpoint=p + '/c.npz')\n"
        "try: bg.fit(x, 2, engine=engine, seed=1, progress=False)\n"
        "except OSError as error: print(error)\n"
        "print(large.means.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, full_disk], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    saved, checkpoint, shape = done.stdout.splitlines()
    assert "bytes cannot be written to" in saved
    assert "r.nc" in saved
    assert "No space left on device" in saved
    assert "the checkpoint" in checkpoint
    assert "No space left on device" in checkpoint
    assert shape == "(4, 20000, 2, 2)"
    assert not list(full_disk.glob("*.partial"))
