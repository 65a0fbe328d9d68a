"""Effective draws per CPU second: both samplers beside PyMC, NumPyro and JAGS on the same posterior."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations, count
from typing import Any

import numpy as np

import bayesgmm as bg
from benchmarks import jags_model, numpyro_model
from benchmarks.clock import interleaved, medians
from benchmarks.contest import Sampled, Task, one_fit, overlapping
from benchmarks.em_iteration import problem
from benchmarks.nuts import timed, with_plain_model
from benchmarks.report import Table, installed

#: Rows, number of components and how often each contender samples them.
CASES: dict[str, tuple[Callable[[], Any], int, int]] = {
    "Old Faithful, K = 2": (bg.datasets.load_faithful, 2, 5),
    "galaxies, K = 3": (bg.datasets.load_galaxies, 3, 5),
    "simulated 2,000 x 2, K = 4": (lambda: problem(2_000, 2, 4)[0], 4, 3),
    "simulated 10,000 x 5, K = 5": (lambda: problem(10_000, 5, 5)[0], 5, 1),
    "overlapping 100,000 x 2, K = 3": (lambda: overlapping(100_000), 3, 1),
}
#: Chains and draws where four chains of 1,000 would take more than three minutes.
SHORTER = {
    ("simulated 10,000 x 5, K = 5", "NumPyro"): (1, 1000),
    ("simulated 10,000 x 5, K = 5", "pm.Mixture"): (1, 500),
    ("simulated 10,000 x 5, K = 5", "JAGS"): (1, 200),
    ("overlapping 100,000 x 2, K = 3", "NumPyro"): (1, 100),
    ("overlapping 100,000 x 2, K = 3", "pm.Mixture"): (1, 60),
}
#: Contenders that are not run but quickly, and why.
LEFT_OUT = {
    ("overlapping 100,000 x 2, K = 3", "JAGS"): "its compilation grows faster than the square of the rows",
}
#: Sampled means of the log-likelihood may be so many standard errors apart, of contenders whose R-hat is no larger
#: (of a single chain there is none).
SAME, CONVERGED = 6.0, 1.1


def table(quick: bool) -> Table:
    """Sample every posterior by every contender that is installed."""
    contenders, notes = _contenders()
    rows: list[dict[str, Any]] = []
    for name, (load, k, repeats) in CASES.items():
        task = Task.of(_fewer(load()) if quick else load(), k)
        tasks = {
            form: task.sized(*_size(name, form, quick)) for form in contenders if quick or (name, form) not in LEFT_OUT
        }
        measured = _measured(tasks, contenders, 1 if quick else repeats)
        rows += _rows(name, tasks, measured)
        left_out = [f"{name}: {form} is left out: {LEFT_OUT[name, form]}" for form in contenders if form not in tasks]
        notes += [*_shortened(name, tasks), *left_out, agreement(name, measured)]
    chains, draws = _size("", "", quick)
    notes.append(f"{draws // 2} draws go before, to tune; of bayesgmm's NUTS {bg.NUTS().tune}")
    title = f"{chains} chains x {draws} draws: CPU seconds, and smallest bulk ESS per second of sampling"
    return Table("samplers", title, rows, notes)


def _contenders() -> tuple[dict[str, Callable[[Task, int], Sampled]], list[str]]:
    """Return how each samples, and what is said of those that cannot."""
    contenders = {"bayesgmm, Gibbs": of_gibbs, "bayesgmm, NUTS": of_nuts}
    peers = {
        "pm.Mixture": (of_pymc, "nutpie", installed("nutpie")),
        "NumPyro": (numpyro_model.sample, "numpyro", installed("numpyro")),
        "JAGS": (jags_model.sample, "jags", jags_model.version()),
    }
    notes = []
    for form, (sample, program, version) in peers.items():
        if version is None:
            notes.append(f"{form} is skipped: {program} is not installed")
        else:
            contenders[form] = sample
            notes.append(f"{form}: {program} {version}")
    return contenders, notes


def _fewer(data: Any) -> Any:
    return data[:: max(1, len(data) // 300)]


def _size(name: str, form: str, quick: bool) -> tuple[int, int]:
    return (2, 100) if quick else SHORTER.get((name, form), (4, 1000))


def _measured(
    tasks: dict[str, Task], contenders: dict[str, Callable[[Task, int], Sampled]], repeats: int
) -> dict[str, list[dict[str, float]]]:
    # The first run of a process pays for imports and caches that later ones share.
    for form in ("bayesgmm, Gibbs", "bayesgmm, NUTS"):
        contenders[form](tasks[form].sized(1, 40), 0)

    fits = {form: partial(one_fit, contenders[form], task, count(1)) for form, task in tasks.items()}
    return interleaved(fits, repeats)


def _rows(name: str, tasks: dict[str, Task], measured: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Return medians over all fits; the last column is how many times as much the better of bayesgmm's two gives."""
    numbers = {form: medians(fits) for form, fits in measured.items()}
    best = max(numbers[form]["ess_per_s"] for form in ("bayesgmm, Gibbs", "bayesgmm, NUTS"))
    return [
        {
            "data": name,
            "form": form,
            "chains": tasks[form].chains,
            "draws": tasks[form].draws,
            **{column: found[column] for column in ("sampling", "compiling", "ess", "r_hat")},
            "stuck": f"{sum(fit['stuck'] > 0 for fit in measured[form])} of {len(measured[form])}",
            "ess_per_s": found["ess_per_s"],
            "bayesgmm_best_over_this": best / found["ess_per_s"],
        }
        for form, found in numbers.items()
    ]


def _shortened(name: str, tasks: dict[str, Task]) -> list[str]:
    """Say which runs are shorter than those of bayesgmm; tuning is shorter in proportion to draws."""
    full = tasks["bayesgmm, Gibbs"]
    return [
        f"{name}: {form} has {task.chains} chain(s) x {task.draws} draws after {task.tune}, for more would take minutes"
        for form, task in tasks.items()
        if (task.chains, task.draws) != (full.chains, full.draws)
    ]


def agreement(name: str, measured: dict[str, list[dict[str, float]]]) -> str:
    """Say how far the mean log-likelihoods of any two contenders are apart, loudly where too far."""
    settled = {form: fits for form, fits in measured.items() if not medians(fits)["r_hat"] > CONVERGED}
    if len(settled) < 2:
        return f"{name}: mean log-likelihoods are not compared, for no two contenders have converged"
    means = {form: np.mean([fit["log_likelihood"] for fit in fits]) for form, fits in settled.items()}
    errors = {
        form: np.hypot.reduce([fit["standard_error"] for fit in fits]) / len(fits) for form, fits in settled.items()
    }
    apart = {(a, b): abs(means[a] - means[b]) / np.hypot(errors[a], errors[b]) for a, b in combinations(settled, 2)}
    (a, b), most = max(apart.items(), key=lambda pair: pair[1])
    found = f"{a} {means[a]:.3f} +- {errors[a]:.3f}, {b} {means[b]:.3f} +- {errors[b]:.3f}: {most:.1f} standard errors"
    if not most <= SAME:
        return f"DISAGREEMENT: {name}: mean log-likelihoods are of different posteriors: {found}"
    left_out = [form for form in measured if form not in settled]
    without = f" (without {', '.join(left_out)}: R-hat)" if left_out else ""
    return f"{name}: mean log-likelihoods agree{without}; furthest apart are {found}"


def of_gibbs(task: Task, seed: int) -> Sampled:
    """Sample by bayesgmm's Gibbs sampler."""
    with (
        timed("bayesgmm.engines.gibbs.gibbs._sweep_compiled") as compiled,
        timed("bayesgmm.engines.gibbs.gibbs._sweep_chunked") as chunked,
    ):
        parameters = _drawn(bg.Gibbs(draws=task.draws, tune=task.tune, chains=task.chains), task, seed)
    return Sampled(parameters, sum(compiled) + sum(chunked), 0.0)


def of_nuts(task: Task, seed: int) -> Sampled:
    """Sample by bayesgmm's NUTS, one chain at a time, after as many draws to tune as it takes by default."""
    return by_nutpie(bg.NUTS(draws=task.draws, chains=task.chains, cores=1), task, seed)


def of_pymc(task: Task, seed: int) -> Sampled:
    """Sample a plain `pm.Mixture` by nutpie, at the acceptance that is its default and PyMC's."""
    engine = bg.NUTS(
        draws=task.draws, tune=task.tune, chains=task.chains, cores=1, form="transparent", target_accept=0.8
    )
    with with_plain_model():
        return by_nutpie(engine, task, seed)


def by_nutpie(engine: bg.NUTS, task: Task, seed: int) -> Sampled:
    """Sample by an engine that calls nutpie, and return what it took apart from EM."""
    with timed("nutpie.sample") as sampling, timed("nutpie.compile_pymc_model") as compiling:
        parameters = _drawn(engine, task, seed)
    return Sampled(parameters, sum(sampling), sum(compiling))


def _drawn(engine: Any, task: Task, seed: int) -> bg.MixtureParameters:
    return engine.run(task.data.counted(), task.prior, None, np.random.default_rng(seed)).parameters
