"""Effective draws per CPU second: the compact form, the transparent model, and a plain `pm.Mixture`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any
from unittest.mock import patch

import bayesgmm as bg
from benchmarks.clock import cpu_seconds, interleaved, medians
from benchmarks.report import Table, installed

CASES = {
    "Old Faithful, K = 2": (bg.datasets.load_faithful, 2),
    "galaxies, K = 3": (bg.datasets.load_galaxies, 3),
    "customers, K = 2": (bg.datasets.load_customers, 2),
}
FORMS = {"bayesgmm, compact": "compact", "bayesgmm, transparent": "transparent", "pm.Mixture": "transparent"}


def table(quick: bool) -> Table:
    """Sample every data set in every form by nutpie, one chain at a time."""
    if installed("nutpie") is None:
        return Table("nuts", "", [], ["nuts is skipped: nutpie is not installed"])
    draws = 100 if quick else 1000
    rows = [row for name, (load, k) in CASES.items() for row in _rows(name, load(), k, draws, 1 if quick else 3)]
    title = f"NUTS, 4 chains x {draws} draws: CPU seconds, and smallest bulk ESS per second of sampling"
    return Table("nuts", title, rows)


def _rows(data_name: str, data: Any, k: int, draws: int, repeats: int) -> list[dict[str, Any]]:
    seeds = {form: iter(range(1, repeats + 2)) for form in FORMS}
    contenders = {form: partial(one_fit, form, data, k, draws, seeds[form]) for form in FORMS}
    # The first fit of a process pays for imports and caches that later ones share.
    one_fit("bayesgmm, compact", data, k, 20, iter([0]))
    measured = interleaved(contenders, repeats)
    plain = medians(measured["pm.Mixture"])["ess_per_s"]
    return [_row(data_name, form, fits, plain) for form, fits in measured.items()]


def _row(data_name: str, form: str, fits: list[dict[str, float]], plain: float) -> dict[str, Any]:
    """Return medians over all fits; a stuck chain ruins the effective draws of its fit, so such fits are counted."""
    numbers = medians(fits)
    stuck = f"{sum(fit['stuck'] > 0 for fit in fits)} of {len(fits)}"
    ratio = numbers["ess_per_s"] / plain
    return {"data": data_name, "form": form, **numbers, "stuck": stuck, "against_plain": ratio}


def one_fit(form: str, data: Any, k: int, draws: int, seeds: Iterator[int]) -> dict[str, float]:
    """Fit once and return where the time went and what came of it."""
    engine = bg.NUTS(draws=draws, chains=4, cores=1, form=FORMS[form])
    plain = with_plain_model() if form == "pm.Mixture" else nullcontext()
    results: list[bg.MixtureResult] = []
    with plain, timed("nutpie.sample") as sampling, timed("nutpie.compile_pymc_model") as compiling:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Diagnostics are in the table.
            whole = cpu_seconds(
                lambda: results.append(bg.fit(data, k, engine=engine, seed=next(seeds), progress=False))
            )
        spent = sum(sampling), sum(compiling)
    found = results[0].diagnostics()
    ess = float(found["ess_bulk"].min())
    return {
        "sampling": spent[0],
        "compiling": spent[1],
        "whole_fit": whole,
        "ess": ess,
        "r_hat": float(found["r_hat"].max()),
        "stuck": float(len(results[0].stuck_chains)),
        "ess_per_s": ess / spent[0],
    }


@contextmanager
def timed(name: str) -> Iterator[list[float]]:
    """Collect the CPU seconds of every call of a function while the context lasts."""
    seconds: list[float] = []
    module, _, attribute = name.rpartition(".")
    original: Callable[..., Any] = getattr(import_module(module), attribute)

    def call(*args: Any, **options: Any) -> Any:
        began = time.process_time()
        try:
            return original(*args, **options)
        finally:
            seconds.append(time.process_time() - began)

    with patch(name, call):
        yield seconds


@contextmanager
def with_plain_model() -> Iterator[None]:
    """Let the engine sample `pm.Mixture` in place of its own model: same settings and scoring, starts drawn alike."""
    from benchmarks.plain_model import build_standardised_plain_model

    with patch(
        "bayesgmm.posterior.pymc_model.build_standardised_model", side_effect=build_standardised_plain_model
    ) as build:
        yield
    if not build.called:
        raise RuntimeError("the engine did not build the plain model: what was timed is its own")
