"""What commands share: files in and out, and errors in one sentence."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.data import Rows

#: What a spreadsheet takes for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


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


def check_free(force: bool, *paths: Path | None, table: Path | None = None) -> None:
    """Refuse to overwrite, before any work is done."""
    from bayesgmm.errors import ModelError

    given = [path for path in (*paths, table) if path is not None]
    for path in given:
        if path.is_dir() or not path.parent.is_dir():
            raise ModelError(f"{str(path)!r} cannot be written: it is a folder, or its folder does not exist")
        if path.exists() and not force:
            raise ModelError(f"{str(path)!r} exists; give another name, or --force to overwrite it")
    if len({path.resolve() for path in given}) < len(given):
        raise ModelError(f"two files to write are both {str(given[0])!r}; give each a name of its own")
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
        typer.echo(_without_formulas(frame).to_csv(), nl=False)
    elif path.suffix == ".csv":
        write_whole(path, _without_formulas(frame).to_csv)
    else:
        write_whole(path, frame.to_parquet)


def _without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with an apostrophe before names of rows that a spreadsheet would take for formulas."""

    def plain(name: Any) -> Any:
        return f"'{name}" if isinstance(name, str) and name.startswith(FORMULA) else name

    return frame.set_axis([plain(name) for name in frame.index], axis=0).rename_axis(frame.index.name)


def configured(context: typer.Context, path: Path | None) -> None:
    """Take options from a TOML file, where they are not given on the command line.

    Raises
    ------
    BadParameter
        If it cannot be read, or names what is no option.
    """
    if path is None:
        return
    import tomllib

    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{str(path)!r} cannot be read as TOML: {error}") from error
    known = {parameter.name for parameter in context.command.params} - {"config", "help"}
    named = {name.replace("-", "_"): value for name, value in options.items()}
    unknown = sorted(set(named) - known)
    if unknown:
        raise typer.BadParameter(f"{str(path)!r} sets {unknown[0]!r}, which is no option; there are {sorted(known)}")
    context.default_map = {**(context.default_map or {}), **named}
