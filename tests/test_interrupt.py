"""Ctrl-C: the draws so far, marked as partial; never anything that was not drawn."""

import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm import gibbs, nuts

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
