"""Tables in files: CSV and other text, Parquet, Feather, Excel, JSON, and what standard input gives."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from bayesgmm.arguments import suggested
from bayesgmm.data.cells import Column, series_column, text_column
from bayesgmm.data.delimited import text_table, unpacked
from bayesgmm.data.names import distinct, joined_name
from bayesgmm.data.options import Reading
from bayesgmm.errors import DataError

#: Standard input.
STDIN = "-"
#: Text files by the end of their names, with the separator that this says.
TEXT = {".csv": None, ".tsv": "\t", ".tab": "\t", ".txt": None, ".dat": None}
#: How files begin that are no text.
BEGINNINGS = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"PK\x03\x04": ".xlsx"}


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The columns of a table, and what is known beside them.

    Attributes
    ----------
    columns : list of Column
        All of them.
    named : bool
        Whether their names are the table's own.
    index : array (n,), or None
        Names of the rows that are no column.
    said : tuple of str
        What was recognised.
    """

    columns: list[Column]
    named: bool = True
    index: np.ndarray | None = None
    said: tuple[str, ...] = ()


def columns_of(frame: Any) -> Columns:
    """Return the columns of a data frame, as narwhals sees it."""
    columns = [series_column(joined_name(name), frame.get_column(name)) for name in frame.columns]
    index = getattr(nw.to_native(frame), "index", None)
    return Columns(columns, index=None if index is None else np.asarray(index))


def is_table(path: str) -> bool:
    """Return whether a path is of a table that is read whole."""
    return path == STDIN or _kind(path) in READERS or _kind(path) in TEXT


def read_file(path: str, reading: Reading) -> Columns:
    """Return the columns of a file.

    Raises
    ------
    DataError
        If it holds no table.
    FileNotFoundError
        If there is none.
    """
    name = "standard input" if path == STDIN else repr(path)
    content, kind = (sys.stdin.buffer.read(), "") if path == STDIN else (_content(path), _kind(path))
    content = unpacked(content, name)
    kind = next((kind for beginning, kind in BEGINNINGS.items() if content.startswith(beginning)), kind)
    if not kind:
        kind = ".json" if content.lstrip()[:1] in (b"[", b"{") else ".csv"
    if kind in TEXT:
        table = text_table(content, reading, name, TEXT[kind])
        distinct(table.names)
        cells = zip(table.names, table.columns, strict=True)
        columns = [text_column(column, text, table.decimal) for column, text in cells]
        return Columns(columns, table.named, said=tuple(f"{name} {sentence}" for sentence in table.said))
    return _of_frame(*_framed(READERS[kind], content, name, kind))


def _kind(path: str) -> str:
    """Return the end of a name, but for that of compression."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")


def _content(path: str) -> bytes:
    """Return the bytes of a file that is there."""
    file = Path(path)
    if not file.exists():
        beside = os.listdir(file.parent) if file.parent.is_dir() else []
        raise FileNotFoundError(f"no file {path!r}{suggested(file.name, beside)}")
    if not file.is_file() and not file.is_fifo():
        raise DataError(f"{path!r} is no file of a table")
    return file.read_bytes()


def _framed(read: Callable[[bytes], tuple[Any, str]], content: bytes, name: str, kind: str) -> tuple[Any, str]:
    """Return the data frame that a reader makes of bytes, and what it says."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Of other packages, about their own insides.
            frame, said = read(content)
    except ImportError as error:
        raise DataError(f"reading {kind} needs another package; install bayesgmm[excel] ({error})") from error
    except DataError as error:
        raise DataError(f"{name} {error}") from error
    # Readers of Arrow and of spreadsheets raise nearly anything on bytes that are wrong.
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise DataError(f"{name} cannot be read as {kind[1:].upper()} ({why})") from error
    return frame, f"{name} {said}" if said else ""


def _of_frame(frame: Any, said: str) -> Columns:
    distinct(tuple(joined_name(name) for name in frame.columns))
    return replace(columns_of(nw.from_native(frame)), said=(said,) if said else ())


def _parquet(content: bytes) -> tuple[Any, str]:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(content)), ""


def _feather(content: bytes) -> tuple[Any, str]:
    import pyarrow as pa

    with pa.ipc.open_file(io.BytesIO(content)) if content[:6] == b"ARROW1" else pa.ipc.open_stream(content) as file:
        return file.read_all().to_pandas(), ""


def _excel(content: bytes) -> tuple[Any, str]:
    import pandas as pd

    with pd.ExcelFile(io.BytesIO(content), engine="openpyxl") as book:
        sheets = book.sheet_names
        frame: Any = book.parse(sheets[0], dtype=object)
    if len(frame.columns) and all(isinstance(name, (int, float)) for name in frame.columns):
        raise DataError("has no line of names: its first line is numbers; write names above the columns")
    said = f"has {len(sheets)} sheets, of which the first, {str(sheets[0])!r}, was read" if len(sheets) > 1 else ""
    return frame, said


def _json(content: bytes) -> tuple[Any, str]:
    import pandas as pd

    text = content.decode("utf-8-sig")
    try:
        records = json.loads(text)
    except json.JSONDecodeError:
        # One record a line.
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(records, dict) and len(records) == 1 and isinstance(next(iter(records.values())), list):
        records = next(iter(records.values()))
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise DataError('has to hold records, as [{"a": 1, "b": 2}, ...]')
    return pd.DataFrame.from_records(records).astype(object), ""


#: Readers of files that are no delimited text, by the end of their names.
READERS: dict[str, Callable[[bytes], tuple[Any, str]]] = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".feather": _feather,
    ".arrow": _feather,
    ".xlsx": _excel,
    ".json": _json,
    ".jsonl": _json,
    ".ndjson": _json,
}
#: Ends of the names of all files that are read.
ENDS = (*TEXT, *READERS)
