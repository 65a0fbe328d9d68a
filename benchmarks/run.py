"""Run benchmarks by name: ``python -m benchmarks.run [NAME ...] [--quick]``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from benchmarks import (
    answers,
    calibration,
    default_prior,
    doubts,
    em_iteration,
    em_search,
    first_answer,
    gibbs_sweep,
    model_gradient,
    nuts,
    out_of_core,
    relabelling,
    report,
    samplers,
    whitening,
)
from benchmarks.clock import one_thread

#: Each returns its table; quick runs are small and few, and say only that everything works.
TABLES = {
    "em_iteration": em_iteration.table,
    "whole_fit": em_iteration.whole_fit,
    "threads": em_iteration.threads,
    "em_optima": em_search.optima,
    "em_fits": em_search.whole_fits,
    "model_gradient": model_gradient.table,
    "first_answer": first_answer.table,
    "nuts": nuts.table,
    "samplers": samplers.table,
    "whitening": whitening.table,
    "converged": answers.converged,
    "fits": answers.fits,
    "scaling": answers.scaling,
    "default_prior": default_prior.simulated,
    "known_classes": default_prior.known_classes,
    "doubts": doubts.table,
    "gibbs_sweep": gibbs_sweep.table,
    "relabelling": relabelling.table,
    "out_of_core": out_of_core.table,
    "memberships": out_of_core.memberships,
    "dask_overhead": out_of_core.dask_overhead,
    "sbc": calibration.sbc,
    "sbc_default": calibration.sbc_default,
    "membership_calibration": calibration.membership_calibration,
    "few_draws": calibration.few_draws,
}


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Among {', '.join(TABLES)}; all if none.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small and few; nothing is written.")] = False,
) -> None:
    """Print tables of CPU seconds and write them to benchmarks/results."""
    unknown = set(names or ()) - set(TABLES)
    if unknown:
        raise typer.BadParameter(f"no table is called {sorted(unknown)}; there are {list(TABLES)}")
    console = Console(width=max(Console().width, 120))
    with one_thread() as unpinned:
        if unpinned:
            console.print(unpinned)
        for name in names or TABLES:
            table = TABLES[name](quick)
            report.show(table, console)
            if not quick and table.rows:
                report.write(table)


if __name__ == "__main__":
    typer.run(main)
