"""What commands share: files in and out, and errors in one sentence."""

from __future__ import annotations

import io
import signal
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


def end_tidily() -> None:
    """Let SIGTERM end the process as an error does: what is half written is removed; the exit status is 143."""
    from bayesgmm.kernels.interrupts import Uninterrupted

    is_heard = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN

    def stop(number: int, frame: Any) -> None:
        waiting = signal.getsignal(signal.SIGINT)
        if number == signal.SIGINT:
            if is_heard:
                raise KeyboardInterrupt
        elif isinstance(waiting, Uninterrupted):
            waiting(number, frame)
        else:
            raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def escape_what_cannot_be_printed() -> None:
    """Let characters that the terminal's encoding has not be escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what the user can mend into a sentence on stderr and exit status 2; warnings into a sentence each."""
    from bayesgmm.errors import BayesGMMError, BayesGMMWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", BayesGMMWarning)
        warnings.showwarning = lambda message, kind, *_, **__: say(message, kind)
        try:
            yield
        except (BayesGMMError, OSError) as error:
            print_sentence(f"bayesgmm: {error}")
            raise typer.Exit(2) from error


def say(message: Any, kind: type[Warning]) -> None:
    """Print a warning; what is said of the data is a note."""
    from bayesgmm.errors import DataWarning

    print_sentence(f"{'note' if issubclass(kind, DataWarning) else 'warning'}: {message}")


def print_sentence(sentence: str) -> None:
    """Print a sentence on stderr; all its lines but the first are indented."""
    from bayesgmm.results.words import wrapped

    typer.echo(wrapped(sentence, indent="  "), err=True)


def on_terminal() -> bool:
    """Whether somebody watches: progress is drawn on a terminal alone."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def check_free(force: bool, result: Path | None = None, page: Path | None = None, table: Path | None = None) -> None:
    """Refuse to overwrite, or to write a report without the packages it needs, before any work is done."""
    from bayesgmm.errors import ModelError
    from bayesgmm.extras import REPORT, need

    if page is not None:
        need("a report", "report", *REPORT)
    given = [path for path in (result, page, table) if path is not None]
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


def read_rows(path: Path, weights: str | None, scheduler: str | None, **decided: Any) -> Rows:
    """Return the rows of a file, or of what is read block by block, as the options say."""
    from bayesgmm.data import Reading, rows_of
    from bayesgmm.errors import DataError

    reading = Reading(door="terminal", **decided)
    if scheduler is None:
        return rows_of(str(path), weights or None, reading)
    if weights:
        raise DataError("--weights is not for --scheduler: its rows count once each")
    import dask.dataframe as dd

    return rows_of(dd.read_parquet(str(path)), None, reading)


def write_memberships(result: Any, table: Any, path: Path | None) -> None:
    """Write memberships as CSV or Parquet, or print them as CSV."""
    from bayesgmm.answers.tables import memberships_frame
    from bayesgmm.data import Observations
    from bayesgmm.data.writing import write_whole
    from bayesgmm.errors import DataError

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

    from bayesgmm.arguments import suggested

    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{str(path)!r} cannot be read as TOML: {error}") from error
    known = {parameter.name for parameter in context.command.params} - {"config", "help"}
    named = {name.replace("-", "_"): value for name, value in options.items()}
    unknown = sorted(set(named) - known)
    if unknown:
        close = suggested(unknown[0], known)
        raise typer.BadParameter(
            f"{str(path)!r} sets {unknown[0]!r}, which is no option{close}; there are {sorted(map(str, known))}"
        )
    nested = next((name for name, value in named.items() if isinstance(value, (dict, list))), None)
    if nested is not None:
        kind = "a table" if isinstance(named[nested], dict) else "a list"
        raise typer.BadParameter(
            f"{str(path)!r} sets {nested!r} to {kind}; write one value, as on the command line (several columns are "
            "'a,b,c')"
        )
    context.default_map = {**(context.default_map or {}), **named}
