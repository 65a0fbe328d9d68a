"""What the geometry of EM gives NUTS: whitened, not whitened, and a plain `pm.Mixture`, with Gibbs beside them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import bayesgmm as bg
from benchmarks.clock import interleaved, medians
from benchmarks.contest import Sampled, Task, one_fit, overlapping
from benchmarks.em_iteration import problem
from benchmarks.report import Table, installed
from benchmarks.samplers import by_nutpie, of_gibbs, of_nuts, of_pymc

#: Fits of every form but pm.Mixture; a table has their medians.
REPEATS = 5
#: Rows, number of components, and chains and draws of those that would take more than minutes.
CASES: dict[str, tuple[Callable[[], Any], int, dict[str, tuple[int, int]]]] = {
    "simulated 2,000 x 2, K = 4": (lambda: problem(2_000, 2, 4)[0], 4, {"pm.Mixture": (2, 300)}),
    "simulated 10,000 x 5, K = 5": (
        lambda: problem(10_000, 5, 5)[0], 5, {"pm.Mixture": (1, 200)},
    ),
    "overlapping 100,000 x 2, K = 3": (
        lambda: overlapping(100_000), 3, {"pm.Mixture": (1, 60), "NUTS, not whitened": (1, 200), "NUTS": (4, 300)},
    ),
}  # fmt: skip


def table(quick: bool) -> Table:
    """Sample every posterior in every form; medians of several fits; of a single chain there is no R-hat."""
    if installed("nutpie") is None:
        return Table("whitening", "", [], ["whitening is skipped: nutpie is not installed"])
    forms = {"NUTS": of_nuts, "NUTS, not whitened": of_transparent, "pm.Mixture": of_pymc, "Gibbs": of_gibbs}
    rows = []
    for name, (load, k, shorter) in CASES.items():
        data = load()
        task = Task.of(data[:: len(data) // 300] if quick else data, k)
        tasks = {form: task.sized(*((1, 40) if quick else shorter.get(form, (4, 1000)))) for form in forms}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for sample in (of_nuts, of_gibbs):
                sample(task.sized(1, 40), 0)  # Imports and caches are not part of a fit.
            contenders = {form: partial(one_fit, sample, tasks[form], count(1)) for form, sample in forms.items()}
            fits = interleaved(contenders, 1)
            del contenders["pm.Mixture"]  # It takes minutes, and is no close rival.
            more = interleaved(contenders, 0 if quick else REPEATS - 1)
        measured = {form: medians(found + more.get(form, [])) for form, found in fits.items()}
        rows += [
            {
                "data": name,
                "form": form,
                "chains": tasks[form].chains,
                "draws": tasks[form].draws,
                **{column: found[column] for column in ("sampling", "compiling", "ess", "r_hat", "ess_per_s")},
                "nuts_over_this": measured["NUTS"]["ess_per_s"] / found["ess_per_s"],
            }
            for form, found in measured.items()
        ]
    title = f"CPU seconds, and smallest bulk ESS per second of sampling, half as many to tune (NUTS: {bg.NUTS().tune})"
    return Table("whitening", title, rows)


def of_transparent(task: Task, seed: int) -> Sampled:
    """Sample the transparent model, whose likelihood is the compiled pass, by nutpie's own adaptation."""
    engine = bg.NUTS(draws=task.draws, tune=task.tune, chains=task.chains, cores=1, form="transparent")
    return by_nutpie(engine, task, seed)
