"""Whether the engines are calibrated: ranks of the truth, coverage of intervals, and memberships called sure."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console

import bayesgmm as bg
from benchmarks.report import Table

#: Components, features, rows and covariance type of each study of ranks.
CASES = [
    (2, 1, 50, "full"),
    (2, 2, 50, "full"),
    (2, 2, 50, "diag"),
    (2, 2, 50, "tied"),
    (2, 2, 50, "spherical"),
    (3, 1, 40, "full"),
    (3, 2, 40, "full"),
]
SAMPLERS = ("gibbs", "nuts")
#: How many data sets each way to fit gets; the bootstrap refits each of them 200 times.
STUDIES = {("em-ml", "em", "laplace", "gibbs", "nuts"): 1000, ("bootstrap",): 200}


def prior_of(family: str, d: int) -> Any:
    """Return a prior under which groups overlap in many data sets and are apart in others."""
    if family == "conjugate":
        return bg.ConjugatePrior(concentration=2, loc=np.zeros(d), shrinkage=0.2, dof=d + 4, scale=3)
    if family == "hierarchical":
        return bg.HierarchicalPrior(2, np.zeros(d), 4, dof=2 * d + 4, scale_dof=d + 2, scale_rate=0.5, floor=0.1)
    return bg.SemiConjugatePrior(concentration=2, loc=np.zeros(d), loc_covariance=4, dof=d + 4, scale=3)


def sbc(quick: bool) -> Table:
    """Rank the truth among the draws of both samplers (simulation-based calibration), for the priors chosen by name."""
    return _studied("sbc", ("conjugate", "semi-conjugate"), quick)


def sbc_default(quick: bool) -> Table:
    """Rank the truth among the draws of both samplers, for the default prior."""
    return _studied("sbc_default", ("hierarchical",), quick)


def _studied(name: str, families: tuple[str, ...], quick: bool) -> Table:
    replicates, rows, console = (20 if quick else 1000), [], Console()
    for k, d, n, kind in CASES[:1] if quick else CASES:
        for family in families:
            model = bg.MixtureModel(k, kind, prior_of(family, d))
            found = bg.calibrate(model, n, engines=SAMPLERS, replicates=replicates, seed=1)
            rows += [_ranks(f"{family}, K = {k}, D = {d}, {kind}", engine, found) for engine in SAMPLERS]
            console.print(rows[-2:])
    title = f"Simulation-based calibration, {replicates} data sets each: quantities outside their 99 % bands"
    return Table(name, title, rows)


def _ranks(data: str, name: str, found: bg.Calibration) -> dict[str, Any]:
    tests = found.uniformity.loc[name]
    return {
        "data": data,
        "form": name,
        "quantities": len(tests),
        "outside": int((~tests["inside"]).sum()),
        "smallest_p": float(tests["p_value"].min()),
        "memberships": float(found.coverage.loc[name, "memberships"]),
        "parameters": float(found.coverage.loc[name, "parameters"]),
        "cpu_seconds": float(found.cost.loc[name, "cpu_seconds"]),
    }


def membership_calibration(quick: bool) -> Table:
    """Count how often memberships and their intervals are right, for every way to fit."""
    rows, console = [], Console()
    model = bg.MixtureModel(2, prior=prior_of("hierarchical", 1))
    for n in (30,) if quick else (30, 100, 300):
        for engines, replicates in STUDIES.items():
            found = bg.calibrate(model, n, engines=engines, replicates=10 if quick else replicates, seed=2)
            rows += [_scores(n, name, found) for name in found.memberships.index]
            console.print(found)
            console.print(found.reliability.unstack(0).to_string())
    title = "Memberships in data sets of n rows drawn from the default prior (K = 2, D = 1), 90 % intervals"
    return Table("membership_calibration", title, rows)


def few_draws(quick: bool) -> Table:
    """Show what single, short chains do to the coverage of intervals."""
    model = bg.MixtureModel(2, prior=prior_of("conjugate", 1))
    chains = {f"1 chain x {draws}": bg.Gibbs(draws=draws, tune=250, chains=1) for draws in (50, 200)}
    number = 10 if quick else 500
    found = bg.calibrate(model, 100, engines=chains | {"4 chains x 250, thinned": "gibbs"}, replicates=number, seed=3)
    columns = ("memberships", "memberships_se", "parameters", "parameters_se")
    rows = [{"form": name, **{c: float(row[c]) for c in columns}} for name, row in found.coverage.iterrows()]
    return Table("few_draws", f"Coverage of 90 % intervals by Gibbs, {number} data sets of 100 rows", rows)


def _scores(n: int, name: str, found: bg.Calibration) -> dict[str, Any]:
    said, apart = found.memberships.loc[name], found.reliability.loc[name]
    covered = found.coverage.loc[name] if name in found.coverage.index else {}
    columns = ("memberships", "memberships_se", "parameters", "parameters_se")
    return {
        "data": f"n = {n}",
        "form": name,
        "data_sets": int(found.cost.loc[name, "data_sets"]),
        **{column: float(said[column]) for column in said.index},
        **{column: float(covered[column]) if column in covered else None for column in columns},
        "off_by": float((apart["said"] - apart["happened"]).abs().max()),
        "cpu_seconds": float(found.cost.loc[name, "cpu_seconds"]),
    }
