"""The command line: arguments in, files and tables out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.data import Rows

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


DATA_HELP = (
    "CSV, TSV or Parquet; a first column of unique text names the rows. Or what may be larger than memory: a folder or "
    "'pattern' of Parquet files, .npy or .zarr."
)
Data = Annotated[Path, typer.Argument(help=DATA_HELP)]
Scheduler = Annotated[str | None, typer.Option("--scheduler", help="Dask scheduler that reads Parquet, as tcp://...")]
CheckpointFile = Annotated[
    Path | None, typer.Option("--checkpoint", help="Keep progress here; the same command, with --seed, goes on.")
]
Components = Annotated[int, typer.Option("--components", "-k", help="Number of groups.")]
Covariance = Annotated[CovarianceName, typer.Option("--covariance-type", help="Shape of the groups.")]
PriorOption = Annotated[PriorName, typer.Option("--prior", help="flat is maximum likelihood, for em alone.")]
Columns = Annotated[str | None, typer.Option("--columns", help="Features, as a,b,c; all numeric columns if not given.")]
Weights = Annotated[str | None, typer.Option("--weights", help="Column of row weights: how often each row counts.")]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same numbers.")]
ENGINE_HELP = "em: a point; gibbs, nuts: a posterior."
Uncertainty = Annotated[UncertaintyName, typer.Option("--uncertainty", help="Approximate intervals, for em alone.")]
Draws = Annotated[int, typer.Option("--draws", help="Draws kept of each chain.")]
Chains = Annotated[int, typer.Option("--chains", help="Number of chains.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the result here (NetCDF).")]
Table = Annotated[Path | None, typer.Option("--memberships", "-m", help="Write memberships here (.csv or .parquet).")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]


def main() -> None:
    """Run the command line."""
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


@app.command("fit")
def fit_command(
    data: Data,
    *,
    components: Components,
    engine: Annotated[EngineName, typer.Option("--engine", help=ENGINE_HELP)] = EngineName.nuts,
    uncertainty: Uncertainty = UncertaintyName.none,
    covariance_type: Covariance = CovarianceName.full,
    prior: PriorOption = PriorName.default,
    columns: Columns = None,
    weights: Weights = None,
    seed: Seed = None,
    draws: Draws = 1000,
    chains: Chains = 4,
    output: Output = None,
    memberships: Table = None,
    checkpoint: CheckpointFile = None,
    scheduler: Scheduler = None,
    force: Force = False,
) -> None:
    """Fit a mixture; print its parameters, write the result and the memberships."""
    with plain_errors():
        import bayesgmm as bg

        check_free(force, output, memberships)
        model = bg.MixtureModel(components, covariance_type.value, "flat" if prior == PriorName.flat else None)
        settings = replace(engine_settings(engine, uncertainty, draws, chains), checkpoint=checkpoint)
        with dask_client(scheduler):
            rows = read_rows(data, columns, weights, scheduler)
            result = bg.fit(rows, model, engine=settings, seed=seed, progress=on_terminal())
            typer.echo(repr(result))
            if output is not None:
                result.save(output)
            if memberships is not None:
                write_memberships(result, rows, memberships)


@app.command("predict")
def predict_command(
    result: Annotated[Path, typer.Argument(help="A result written by `bayesgmm fit --output`.")],
    data: Data,
    memberships: Table = None,
    scheduler: Scheduler = None,
    force: Force = False,
) -> None:
    """Write the memberships of new rows, or print them as CSV."""
    with plain_errors():
        import bayesgmm as bg

        check_free(force, memberships)
        fitted = bg.load(result)
        with dask_client(scheduler):
            rows = read_rows(data, ",".join(fitted.data.features), None, scheduler)
            write_memberships(fitted, rows, memberships)


@app.command("compare")
def compare_command(
    data: Data,
    *,
    components: Components,
    covariance_type: Covariance = CovarianceName.full,
    columns: Columns = None,
    weights: Weights = None,
    seed: Seed = None,
    engine: Annotated[SamplerName, typer.Option("--engine", help="The sampler beside EM.")] = SamplerName.nuts,
    draws: Draws = 1000,
    chains: Chains = 4,
    output: Output = None,
    memberships: Table = None,
    force: Force = False,
) -> None:
    """Fit by EM and by a sampler, and print where they agree and where they do not."""
    with plain_errors():
        import bayesgmm as bg

        check_free(force, output, memberships)
        table, sample_weight = read_table(data, columns, weights)
        model = bg.MixtureModel(components, covariance_type.value)
        shared: dict[str, Any] = {"sample_weight": sample_weight, "seed": seed}
        point = bg.fit(table, model, engine="em", **shared)
        sampler = engine_settings(EngineName(engine.value), UncertaintyName.none, draws, chains)
        posterior = bg.fit(table, model, engine=sampler, progress=on_terminal(), **shared)
        typer.echo(repr(bg.compare(point, posterior)))
        if output is not None:
            posterior.save(output)
        if memberships is not None:
            write_memberships(posterior, posterior.data, memberships)


def engine_settings(engine: EngineName, uncertainty: UncertaintyName, draws: int, chains: int) -> Any:
    """Return the engine that the options ask for."""
    import bayesgmm as bg

    if engine == EngineName.em:
        return bg.EM() if uncertainty == UncertaintyName.none else bg.EM(uncertainty=uncertainty.value, draws=draws)
    if uncertainty != UncertaintyName.none:
        raise bg.ModelError(f"--uncertainty is for --engine em: {engine} draws from the posterior itself")
    return (bg.Gibbs if engine == EngineName.gibbs else bg.NUTS)(draws=draws, chains=chains)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what the user can mend into one sentence on stderr and exit status 2; warnings into one line each."""
    from bayesgmm.errors import BayesGMMError, BayesGMMWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", BayesGMMWarning)
        warnings.showwarning = lambda message, *_, **__: typer.echo(f"warning: {message}", err=True)
        try:
            yield
        except (BayesGMMError, OSError) as error:
            typer.echo(f"bayesgmm: {error}", err=True)
            raise typer.Exit(2) from error


def on_terminal() -> bool:
    """Whether somebody watches: progress is drawn on a terminal alone."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def check_free(force: bool, *paths: Path | None) -> None:
    """Refuse to overwrite, before any work is done."""
    from bayesgmm.errors import ModelError

    given = [path for path in paths if path is not None]
    for path in given:
        if path.is_dir() or not path.parent.is_dir():
            raise ModelError(f"{str(path)!r} cannot be written: it is a folder, or its folder does not exist")
        if path.exists() and not force:
            raise ModelError(f"{str(path)!r} exists; give another name, or --force to overwrite it")
    if len({path.resolve() for path in given}) < len(given):
        raise ModelError(f"--output and --memberships are both {str(given[0])!r}; give two names")
    table = paths[-1]
    if table is not None and table.suffix not in (".csv", ".parquet"):
        raise ModelError(f"--memberships has to end in .csv or .parquet, got {str(table)!r}")


@contextmanager
def dask_client(address: str | None) -> Iterator[None]:
    """Be a client of a Dask scheduler, if there is one to be a client of."""
    if address is None:
        yield
        return
    from bayesgmm.errors import ModelError

    try:
        from distributed import Client
    except ImportError as error:
        raise ModelError("--scheduler needs the package distributed; install bayesgmm[dask]") from error
    with Client(address):
        yield


def read_rows(path: Path, columns: str | None, weights: str | None, scheduler: str | None) -> Rows:
    """Return the rows of a file, or of what is read block by block."""
    from bayesgmm.data import VALUES_IN_MEMORY, rows_of
    from bayesgmm.data.sources import NPY, PARQUET, ZARR, Parquet, source_of
    from bayesgmm.errors import DataError

    name = str(path)
    wanted = tuple(column for column in (columns or "").split(",") if column)
    in_blocks = path.is_dir() or "*" in name or name.endswith(NPY + ZARR)
    if not in_blocks and scheduler is None:
        in_blocks = name.endswith(PARQUET) and path.exists() and _values(path) > VALUES_IN_MEMORY
    if scheduler is not None:
        if weights:
            raise DataError("--weights is not for --scheduler: its rows count once each")
        import dask.dataframe as dd

        frame = dd.read_parquet(name)
        return rows_of(frame[list(wanted)] if wanted else frame)
    if not in_blocks:
        return rows_of(*read_table(path, columns, weights))
    if not weights:
        return rows_of(source_of(name, wanted))
    if name.endswith(NPY + ZARR):
        raise DataError(f"{name!r} has no names, so no column {weights!r} of weights; write a Parquet file")
    source = Parquet(name, wanted)
    kept = tuple(feature for feature in source.features if feature != weights)
    if not kept:
        raise DataError(f"--columns {columns} names no feature beside the weights {weights!r}")
    return rows_of(Parquet(name, kept), source.column(weights))


def _values(path: Path) -> int:
    """Return how many numbers a Parquet file may hold; none if it is damaged, which its reader will say."""
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            return file.metadata.num_rows * file.metadata.num_columns
    except (ArrowInvalid, OSError):
        return 0


def read_table(path: Path, columns: str | None, weights: str | None) -> tuple[pd.DataFrame, pd.Series | None]:
    """Return the features, and the row weights, of a CSV, TSV or Parquet file."""
    import pandas as pd

    from bayesgmm.errors import DataError

    frame: Any = _read(path)
    wanted = [name for name in (columns or "").split(",") if name]
    missing = [name for name in [*wanted, *([weights] if weights else [])] if name not in frame.columns]
    if missing:
        raise DataError(f"{str(path)!r} has no column {missing[0]!r}; its columns are {list(frame.columns)}")
    text = [name for name in wanted if not pd.api.types.is_numeric_dtype(frame[name])]
    if text or len(set(wanted)) < len(wanted):
        twice = [name for name in wanted if wanted.count(name) > 1]
        why = f"{text[0]!r} is not numeric" if text else f"{twice[0]!r} is named twice"
        raise DataError(f"--columns {columns} cannot be features: {why}")
    sample_weight = frame.pop(weights) if weights else None
    return (frame[wanted] if wanted else frame), sample_weight


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    from bayesgmm.errors import DataError

    readers = {
        ".csv": pd.read_csv,
        ".tsv": lambda p: pd.read_csv(p, sep="\t"),
        ".parquet": pd.read_parquet,
        ".pq": pd.read_parquet,
    }
    if not path.exists():
        raise DataError(f"no file {str(path)!r}")
    if path.suffix.lower() not in readers:
        raise DataError(f"{str(path)!r} has to end in one of {list(readers)}")
    try:
        frame = readers[path.suffix.lower()](path)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read as {path.suffix[1:].upper()}: {error}") from error
    first = frame.columns[0] if len(frame.columns) else None
    if first is not None and not pd.api.types.is_numeric_dtype(frame[first]) and frame[first].is_unique:
        frame = frame.set_index(first)
    return frame


def write_memberships(result: Any, table: Any, path: Path | None) -> None:
    """Write memberships as CSV or Parquet, or print them as CSV."""
    from bayesgmm.data import Observations
    from bayesgmm.errors import DataError
    from bayesgmm.storage import write_whole
    from bayesgmm.tables import memberships_frame

    if not isinstance(table, Observations):
        if path is None or path.suffix != ".parquet":
            raise DataError(f"memberships of {len(table):,} rows are written to a file: --memberships NAME.parquet")
        result.memberships(table, to=path)
        return
    frame = memberships_frame(result.memberships(table))
    if path is None:
        typer.echo(frame.to_csv(), nl=False)
    elif path.suffix == ".csv":
        write_whole(path, frame.to_csv)
    else:
        write_whole(path, frame.to_parquet)
