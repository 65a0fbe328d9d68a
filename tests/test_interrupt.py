"""Ctrl-C: the draws so far, marked as partial; never anything that was not drawn."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import event

import bayesgmm as bg
from bayesgmm.engines.gibbs import gibbs
from bayesgmm.engines.nuts import nuts
from bayesgmm.kernels import interrupts, machine

PARTIAL = r"sampling was interrupted after [\d,]+ of [\d,]+ draws"


@pytest.fixture
def heard():
    """Ctrl-C is heard: a shell that starts tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(monkeypatch, module, name, seconds):
    """Send what Ctrl-C sends so many seconds after a function is called; return when, and when it ended."""
    original, times = getattr(module, name), []

    def call(*arguments):
        times.append(time.monotonic() + seconds)
        threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            return original(*arguments)
        finally:
            times.append(time.monotonic())

    monkeypatch.setattr(module, name, call)
    return times


@pytest.mark.parametrize("cores", [1, 2])
def test_nuts_returns_the_draws_so_far(cores, monkeypatch, faithful, heard):
    times = interrupting(monkeypatch, nuts, "_run_nutpie", 0.4)
    with pytest.warns(bg.ConvergenceWarning, match=PARTIAL):
        result = bg.fit(faithful, 2, engine=bg.NUTS(draws=100_000, cores=cores, chains=2), seed=1, progress=False)
    assert times[1] - times[0] < 1
    assert 4 <= result.weights.sizes["draw"] < 100_000
    whole = bg.fit(faithful, 2, engine="em", seed=1)
    # What was not drawn is no small thing: memory that nobody wrote to.
    assert np.isfinite(result.tree["sample_stats"]["lp"]).all()
    assert np.abs(result.means.mean(("chain", "draw")) - whole.means[0, 0]).max() < 2
    assert (result.weights.sum("component") - 1 < 1e-12).all()


@pytest.mark.filterwarnings("ignore:Found chain dimension to be longer")
def test_an_interrupt_while_nuts_tunes_is_an_interrupt(monkeypatch, faithful, heard):
    interrupting(monkeypatch, nuts, "_run_nutpie", 0.1)
    with pytest.raises(KeyboardInterrupt, match="before there were draws"):
        bg.fit(faithful, 2, engine=bg.NUTS(tune=100_000), seed=1, progress=False)


def test_gibbs_returns_the_draws_so_far(monkeypatch, faithful):
    """They are those of a run that was not interrupted."""
    whole = bg.fit(faithful, 2, engine=bg.Gibbs(draws=400, tune=500, label_every=100), seed=1, progress=False)
    sweep, calls = gibbs._sweep_compiled, []

    def interrupted(*arguments):
        calls.append(0)
        if len(calls) == 14:
            raise KeyboardInterrupt
        return sweep(*arguments)

    monkeypatch.setattr(gibbs, "_sweep_compiled", interrupted)
    with pytest.warns(bg.ConvergenceWarning, match=PARTIAL):
        result = bg.fit(faithful, 2, engine=bg.Gibbs(draws=400, tune=500, label_every=100), seed=1, progress=False)
    drawn = result.weights.sizes["draw"]
    assert 4 <= drawn < 400
    raw, other = result.relabelled("none"), whole.relabelled("none")
    assert np.array_equal(raw.means.values, other.means.values[:, :drawn])
    assert result.tree["allocation"].sizes["kept_draw"] == drawn // 100


@pytest.mark.parametrize("engine", [bg.Gibbs(), bg.NUTS()])
def test_an_interrupt_before_there_are_draws_is_an_interrupt(engine, monkeypatch, faithful):
    module, name = (gibbs, "_sweep_compiled") if isinstance(engine, bg.Gibbs) else (nuts, "_run_nutpie")

    def at_once(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, at_once)
    with pytest.raises(KeyboardInterrupt):
        bg.fit(faithful, 2, engine=engine, seed=1, progress=False)


def test_chains_that_were_interrupted_are_cut_to_the_most_draws_in_all():
    def chain(draws):
        return {"theta": np.arange(draws, dtype=float)}

    assert nuts._stacked({0: chain(100), 1: chain(90), 2: chain(10), 3: chain(0)})["theta"].shape == (2, 90)
    assert nuts._stacked({0: chain(10), 1: chain(90), 2: chain(10)})["theta"].shape == (1, 90)
    assert nuts._stacked({2: chain(5), 0: chain(5)})["theta"].shape == (2, 5)
    with pytest.raises(KeyboardInterrupt):
        nuts._stacked({0: chain(3), 1: chain(0)})


def test_a_chain_that_a_checkpoint_keeps_is_whole(tmp_path, monkeypatch, faithful):
    """One that was interrupted is not kept, those before it are."""
    run, calls = nuts._run_nutpie, []

    def second_is_interrupted(*arguments):
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(nuts, "_run_nutpie", second_is_interrupted)
    engine = bg.NUTS(draws=200, tune=100, chains=2, cores=1, checkpoint=tmp_path / "c.npz")
    with pytest.raises(KeyboardInterrupt):
        bg.fit(faithful, 2, engine=engine, seed=1, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        result = bg.fit(faithful, 2, engine=engine, seed=1, progress=False)
    assert len(calls) == 3
    assert result.weights.sizes["chain"] == 2


def spin(rounds):
    """Take a while, then return what numba has to make an array of."""
    total = np.zeros(3)
    for i in range(rounds):
        total[i % 3] += np.sin(i)
    return total


def loops_of_two():
    """Return a loop, not kept on disk, that calls another."""

    def loop(function):
        dispatcher = numba.njit(function, nogil=True)
        dispatcher.compile = interrupts.heard_between(dispatcher.compile)
        return interrupts.Loop(dispatcher)

    inner = loop(spin)
    return loop(lambda rounds: inner(rounds) + 1.0), inner


class Interrupting(event.Listener):
    """Send what Ctrl-C sends when numba begins or ends to compile for the n-th time."""

    def __init__(self, at, first):
        self.at, self.count, self.first = at, 0, first

    def on_start(self, event):
        self.count += self.first == "begins"
        if self.first == "begins" and self.count == self.at:
            signal.raise_signal(signal.SIGINT)

    def on_end(self, event):
        self.count += self.first == "ends"
        if self.first == "ends" and self.count == self.at:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.compiled
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("when", ["begins", "ends"])
def test_an_interrupt_while_numba_compiles_is_one_and_the_next_call_works(at, when, heard):
    outer, inner = loops_of_two()
    with event.install_listener("numba:compile", Interrupting(at, when)), pytest.raises(KeyboardInterrupt):
        outer(5)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert np.array_equal(outer(5), spin(5) + 1)
    assert len(inner.signatures) == 1


@pytest.mark.compiled
def test_an_interrupt_while_a_loop_runs_is_one_where_an_array_is_returned(heard):
    """numba took no notice of the exception, and Python spoke of a result with an exception set."""
    outer, _ = loops_of_two()
    outer(5)
    for _ in range(3):
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            outer(20_000_000)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_who_ignores_interrupts_goes_on_doing_so(handler, heard):
    signal.signal(signal.SIGINT, handler)
    with interrupts.Uninterrupted():
        assert signal.getsignal(signal.SIGINT) is handler
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_handler_of_ones_own_is_called_once_and_afterwards(heard):
    heard_at, order = [], []
    signal.signal(signal.SIGINT, lambda number, frame: heard_at.append(len(order)))
    with interrupts.Uninterrupted(), interrupts.Uninterrupted():
        signal.raise_signal(signal.SIGINT)
        order.append("worked")
    assert heard_at == [1]


@pytest.mark.compiled
@pytest.mark.parametrize(("d", "error", "becomes"), [(57, MemoryError(), MemoryError), (58, OSError(), RuntimeError)])
def test_what_fails_while_a_step_is_compiled_is_raised(d, error, becomes, monkeypatch, rng, capsys):
    """It was the address 0, which was called."""

    def fail(step, d):
        raise error

    x = rng.normal(size=(100, d))
    with monkeypatch.context() as patched:
        patched.setattr(machine, "address_of", fail)
        with pytest.raises(becomes, match="number of features"):
            bg.e_step(parameters_at(x), bg.Observations.of(x))
    assert ("OSError" in capsys.readouterr().err) is (becomes is RuntimeError)
    assert np.isfinite(bg.e_step(parameters_at(x), bg.Observations.of(x)).log_likelihood)


def parameters_at(x):
    return bg.MixtureParameters(np.full(2, 0.5), x[:2], np.tile(np.eye(x.shape[1]), (2, 1, 1)))


def ends_of(interrupts, seconds, kind, folder):
    """Return how so many interrupted fits end; see ``interrupted_fits.py``."""
    environment = os.environ | ({"NUMBA_CACHE_DIR": str(folder)} if kind == "empty" else {})
    script = Path(__file__).with_name("interrupted_fits.py")
    command = [sys.executable, str(script), str(interrupts), str(seconds), kind]
    done = subprocess.run(
        command, env=environment, cwd=script.parent.parent, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    ("number", "seconds", "kind"),
    [
        (6, 0.25, "kept"),
        pytest.param(200, 0.35, "kept", marks=pytest.mark.slow),
        pytest.param(200, 8.0, "empty", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_of_a_first_fit_is_an_interrupt_or_comes_too_late(number, seconds, kind, tmp_path):
    ends = ends_of(number, seconds, kind, tmp_path)
    assert set(ends) <= {"interrupted", "finished"}
    assert sum(ends.values()) == number
