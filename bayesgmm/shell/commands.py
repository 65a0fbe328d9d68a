"""The command line: arguments in, files and tables out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from bayesgmm.shell.terminal import (
    check_free,
    configured,
    dask_client,
    end_tidily,
    escape_what_cannot_be_printed,
    on_terminal,
    plain_errors,
    read_rows,
    write_memberships,
)

app = typer.Typer(
    name="bayesgmm",
    help="Bayesian Gaussian mixtures: soft memberships, and how sure they are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class EngineName(StrEnum):
    """Engines by name."""

    em = "em"
    gibbs = "gibbs"
    nuts = "nuts"


class SamplerName(StrEnum):
    """Engines that draw from the posterior."""

    gibbs = "gibbs"
    nuts = "nuts"


class UncertaintyName(StrEnum):
    """Approximate uncertainty of a point."""

    none = "none"
    laplace = "laplace"
    bootstrap = "bootstrap"


class CovarianceName(StrEnum):
    """Covariance types by name."""

    full = "full"
    tied = "tied"
    diag = "diag"
    spherical = "spherical"


class PriorName(StrEnum):
    """Priors that need no numbers."""

    default = "default"
    flat = "flat"


class MissingName(StrEnum):
    """What becomes of rows with missing values."""

    refuse = "refuse"
    drop = "drop"


DATA_HELP = (
    "A table: .csv, .tsv, .txt, .parquet, .feather, .arrow, .xlsx, .json, also with .gz; - is standard input. Or what "
    "may be larger than memory: a folder or 'pattern' of Parquet files, .npy or .zarr. Columns of numbers become "
    "features; what is set aside, left out or converted is said."
)
Data = Annotated[Path, typer.Argument(help=DATA_HELP)]
Scheduler = Annotated[str | None, typer.Option("--scheduler", help="Dask scheduler that reads Parquet, as tcp://...")]
CheckpointFile = Annotated[
    Path | None, typer.Option("--checkpoint", help="Keep progress here; the same command, with --seed, goes on.")
]
Components = Annotated[int, typer.Option("--components", "-k", help="Number of groups.")]
Covariance = Annotated[CovarianceName, typer.Option("--covariance-type", help="Shape of the groups.")]
PriorOption = Annotated[PriorName, typer.Option("--prior", help="flat is maximum likelihood, for em alone.")]
COLUMNS_HELP = "Features, as a,b,c; all columns of numbers if not given, but those that number or name the rows."
Columns = Annotated[str | None, typer.Option("--columns", help=COLUMNS_HELP)]
Index = Annotated[str | None, typer.Option("--index", help="Column that names the rows.")]
Missing = Annotated[MissingName, typer.Option("--missing", help="What becomes of rows with missing values.")]
Separator = Annotated[
    str | None, typer.Option("--separator", help="Between the cells of a text file: a character, tab or blanks.")
]
Decimal = Annotated[str | None, typer.Option("--decimal", help="Decimal mark of a text file: . or ,")]
Encoding = Annotated[str | None, typer.Option("--encoding", help="Of a text file, such as utf-16.")]
Header = Annotated[
    bool | None, typer.Option("--header/--no-header", help="Whether the first line of a text file has names.")
]
Weights = Annotated[str | None, typer.Option("--weights", help="Column of row weights: how often each row counts.")]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same numbers.")]
ENGINE_HELP = "em: a point; gibbs, nuts: a posterior."
Uncertainty = Annotated[UncertaintyName, typer.Option("--uncertainty", help="Approximate intervals, for em alone.")]
Draws = Annotated[int, typer.Option("--draws", help="Draws kept of each chain.")]
Chains = Annotated[int, typer.Option("--chains", help="Number of chains.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the result here (NetCDF).")]
Table = Annotated[Path | None, typer.Option("--memberships", "-m", help="Write memberships here (.csv or .parquet).")]
Report = Annotated[Path | None, typer.Option("--report", help="Write a self-contained HTML page here.")]
CONFIG_HELP = "TOML file with options by their names, such as components = 3; those given here come first."
Config = Annotated[
    Path | None, typer.Option("--config", help=CONFIG_HELP, is_eager=True, callback=configured, expose_value=False)
]
ResultFile = Annotated[Path, typer.Argument(help="A result written by `bayesgmm fit --output`.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]


def main() -> None:
    """Run the command line."""
    end_tidily()
    escape_what_cannot_be_printed()
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"bayesgmm {version('bayesgmm')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Bayesian Gaussian mixtures: soft memberships, and how sure they are."""


def _reading(
    *,
    index: Index = None,
    missing: Missing = MissingName.refuse,
    separator: Separator = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    header: Header = None,
) -> dict[str, Any]:
    """Return how a table is read."""
    text = {"separator": separator, "decimal": decimal, "encoding": encoding, "header": header}
    return {"index": index, "missing": missing.value, **text}


def reads_tables(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_reading` in the place of its argument ``reading``, which they make."""
    own, options = (inspect.signature(each, eval_str=True) for each in (command, _reading))

    @wraps(command)
    def with_options(**given: Any) -> None:
        decided = {name: given.pop(name) for name in options.parameters}
        command(**given, reading=_reading(**decided))

    taken = {name: [parameter] for name, parameter in own.parameters.items()}
    taken["reading"] = list(options.parameters.values())
    with_options.__signature__ = own.replace(parameters=[one for each in taken.values() for one in each])  # pyright: ignore[reportAttributeAccessIssue]
    return with_options


@app.command("fit")
@reads_tables
def fit_command(
    data: Data,
    *,
    components: Components,
    engine: Annotated[EngineName, typer.Option("--engine", help=ENGINE_HELP)] = EngineName.nuts,
    uncertainty: Uncertainty = UncertaintyName.none,
    covariance_type: Covariance = CovarianceName.full,
    prior: PriorOption = PriorName.default,
    columns: Columns = None,
    reading: Any,
    weights: Weights = None,
    seed: Seed = None,
    draws: Draws = 1000,
    chains: Chains = 4,
    output: Output = None,
    memberships: Table = None,
    report: Report = None,
    checkpoint: CheckpointFile = None,
    scheduler: Scheduler = None,
    force: Force = False,
    config: Config = None,  # noqa: ARG001, read before all others
) -> None:
    """Fit a mixture; print its parameters, write the result and the memberships."""
    with plain_errors():
        import bayesgmm as bg

        check_free(force, output, report, memberships)
        model = bg.MixtureModel(components, covariance_type.value, "flat" if prior == PriorName.flat else None)
        settings = replace(engine_settings(engine, uncertainty, draws, chains), checkpoint=checkpoint)
        with dask_client(scheduler):
            rows = read_rows(data, weights, scheduler, columns=columns, **reading)
            result = bg.fit(rows, model, engine=settings, seed=seed, progress=on_terminal())
            typer.echo(repr(result))
            if output is not None:
                result.save(output)
            if report is not None:
                bg.report(result, report)
            if memberships is not None:
                write_memberships(result, rows, memberships)


@app.command("predict")
@reads_tables
def predict_command(
    result: ResultFile,
    data: Data,
    *,
    reading: Any,
    memberships: Table = None,
    scheduler: Scheduler = None,
    force: Force = False,
) -> None:
    """Write the memberships of new rows, or print them as CSV."""
    with plain_errors():
        import bayesgmm as bg

        check_free(force, table=memberships)
        fitted = bg.load(result)
        with dask_client(scheduler):
            of_fit = fitted.data.features if fitted.data.named else ()
            rows = read_rows(data, None, scheduler, of_fit=of_fit, **reading)
            write_memberships(fitted, rows, memberships)


@app.command("compare")
@reads_tables
def compare_command(
    data: Data,
    *,
    components: Components,
    covariance_type: Covariance = CovarianceName.full,
    columns: Columns = None,
    reading: Any,
    weights: Weights = None,
    seed: Seed = None,
    engine: Annotated[SamplerName, typer.Option("--engine", help="The sampler beside EM.")] = SamplerName.nuts,
    draws: Draws = 1000,
    chains: Chains = 4,
    output: Output = None,
    memberships: Table = None,
    report: Report = None,
    force: Force = False,
) -> None:
    """Fit by EM and by a sampler, and print where they agree and where they do not."""
    with plain_errors():
        import bayesgmm as bg

        check_free(force, output, report, memberships)
        rows = read_rows(data, weights, None, columns=columns, **reading)
        model = bg.MixtureModel(components, covariance_type.value)
        point = bg.fit(rows, model, engine="em", seed=seed)
        sampler = engine_settings(EngineName(engine.value), UncertaintyName.none, draws, chains)
        posterior = bg.fit(rows, model, engine=sampler, seed=seed, progress=on_terminal())
        typer.echo(repr(bg.compare(point, posterior)))
        if output is not None:
            posterior.save(output)
        if report is not None:
            bg.report(posterior, report, point=point)
        if memberships is not None:
            write_memberships(posterior, rows, memberships)


@app.command("report")
def report_command(
    result: ResultFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, .html.")] = Path("report.html"),
    title: Annotated[str, typer.Option("--title", help="Of the page.")] = "",
    force: Force = False,
) -> None:
    """Write a result as one self-contained HTML page."""
    with plain_errors():
        import bayesgmm as bg

        check_free(force, page=output)
        typer.echo(bg.report(bg.load(result), output, title=title))


class PlotName(StrEnum):
    """Figures of a result by name."""

    memberships = "memberships"
    entropy = "entropy"
    coclustering = "coclustering"
    density = "density"
    components = "components"
    pairs = "pairs"
    em_trace = "em_trace"
    animate_em = "animate_em"
    animate_posterior = "animate_posterior"


@app.command("plot")
def plot_command(
    result: ResultFile,
    kind: Annotated[PlotName, typer.Argument(help="What to draw.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="fig.png, .svg, .pdf or .html; animations: .gif, .mp4.")
    ],
    force: Force = False,
) -> None:
    """Draw a figure of a result."""
    with plain_errors():
        import bayesgmm as bg

        check_free(force, output)
        draw = getattr(bg.plots, kind.value)
        if kind in (PlotName.animate_em, PlotName.animate_posterior):
            draw(bg.load(result), to=output)
        elif output.suffix in (".png", ".svg", ".pdf", ".html"):
            draw(bg.load(result), backend="plotly" if output.suffix == ".html" else "matplotlib").savefig(output)
        else:
            raise bg.ModelError(f"--output has to end in .png, .svg, .pdf or .html, got {str(output)!r}")
        typer.echo(output)


@app.command("demo")
def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, .html.")] = Path("demo.html"),
    force: Force = False,
) -> None:
    """Fit customers between premium and discount by EM and NUTS, compare both, and write a report."""
    with plain_errors():
        import bayesgmm as bg

        check_free(force, page=output)
        customers = bg.datasets.load_customers()
        point = bg.fit(customers, 2, engine="em", seed=1)
        posterior = bg.fit(customers, 2, seed=1, progress=on_terminal())
        typer.echo(repr(bg.compare(point, posterior)))
        typer.echo(bg.report(posterior, output, point=point, title="Customers between premium and discount"))


def engine_settings(engine: EngineName, uncertainty: UncertaintyName, draws: int, chains: int) -> Any:
    """Return the engine that the options ask for."""
    import bayesgmm as bg

    if engine == EngineName.em:
        return bg.EM() if uncertainty == UncertaintyName.none else bg.EM(uncertainty=uncertainty.value, draws=draws)
    if uncertainty != UncertaintyName.none:
        raise bg.ModelError(f"--uncertainty is for --engine em: {engine} draws from the posterior itself")
    return (bg.Gibbs if engine == EngineName.gibbs else bg.NUTS)(draws=draws, chains=chains)
