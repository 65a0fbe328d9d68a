"""Rows of numbers: a table in memory or a file, or a source that is read block by block."""

import os
from dataclasses import replace
from typing import Any

import numpy as np

from bayesgmm.data.dask import DaskSource, is_dask
from bayesgmm.data.observations import Observations, Rows
from bayesgmm.data.options import Reading, named_columns
from bayesgmm.data.reading import say, table_of_file
from bayesgmm.data.sources import NPY, PARQUET, ZARR, Mapped, Parquet, Source, source_of
from bayesgmm.data.stored import StoredObservations
from bayesgmm.data.sums import block_bounds
from bayesgmm.errors import DataError

#: Sources of no more values than this (64 MB) are read into memory.
VALUES_IN_MEMORY = 8_000_000


def rows_of(data: Any, sample_weight: Any = None, reading: Reading | None = None) -> Rows:
    """Return the rows of a table, checked; those of a large source stay where they are.

    Parameters
    ----------
    data : table, path, Source, Dask array or data frame, or Rows
        A path is a table (.csv, .tsv, .txt, .parquet, .feather, .arrow, .xlsx, .json, each also with .gz; "-" is
        standard input), or a folder or pattern of Parquet files, .npy or .zarr.
    sample_weight : array (n,) or str, optional
        Frequency weights, or the column that has them; of a source they have to be positive.
    reading : Reading, optional
        How a table is read.

    Raises
    ------
    DataError
        If the rows or weights do not fit.
    FileNotFoundError
        If there is no such file.

    Warns
    -----
    DataWarning
        If something of the table was left out, set aside, converted or recognised.
    """
    reading = (reading or Reading()).checked()
    if isinstance(data, (str, os.PathLike)):
        return _rows_of_path(os.fspath(data), sample_weight, reading)
    if isinstance(data, StoredObservations):
        return data if sample_weight is None else StoredObservations.of(data.source, sample_weight)
    if isinstance(data, np.memmap):
        data = Mapped(data)
    elif is_dask(data):
        data = DaskSource(data, named_columns(reading.columns or reading.of_fit, []))
    return (
        _of_source(data, sample_weight, reading)
        if isinstance(data, Source)
        else Observations.of(data, sample_weight, reading)
    )


def _rows_of_path(path: str, sample_weight: Any, reading: Reading) -> Rows:
    """Return the rows of a file, or of what is read block by block."""
    from bayesgmm.data.files import ENDS, is_table

    in_blocks = os.path.isdir(path) or "*" in path or path.rstrip("/").endswith(NPY + ZARR)
    if not in_blocks and not is_table(path):
        raise DataError(
            f"{path!r} has to end in one of {', '.join((*ENDS, *NPY, *ZARR))}, or be a folder or pattern of .parquet; "
            "read another file first, and give the table"
        )
    if not in_blocks and not (path.endswith(PARQUET) and _values(path) > VALUES_IN_MEMORY):
        weights = sample_weight if isinstance(sample_weight, str) else None
        table = table_of_file(path, reading, weights)
        return Observations.of_table(table, sample_weight if weights is None else table.weights, reading)
    wanted = reading.of_fit or named_columns(reading.columns or (), [])
    if path.rstrip("/").endswith(NPY + ZARR):
        wanted = () if reading.of_fit else wanted
    if not isinstance(sample_weight, str):
        return _of_source(source_of(path, wanted), sample_weight, reading)
    return _weighted_by_column(path, wanted, sample_weight, reading)


def _weighted_by_column(path: str, wanted: tuple[str, ...], weights: str, reading: Reading) -> Rows:
    """Return rows of Parquet whose weights are a column of it."""
    if path.rstrip("/").endswith(NPY + ZARR):
        raise DataError(f"{path!r} has no names, so no column {weights!r} of weights; write a Parquet file")
    source = Parquet(path, wanted)
    kept = tuple(feature for feature in source.features if feature != weights)
    if not kept:
        raise DataError(f"{reading.option('columns')} names no feature beside the weights {weights!r}")
    chosen = Parquet(path, kept)
    chosen.said = source.said
    return _of_source(chosen, source.column(weights), reading)


def _of_source(source: Source, sample_weight: Any, reading: Reading) -> Rows:
    """Return the rows of a source: in memory if they are few."""
    n, d = len(source), len(source.features)
    few = n * d <= VALUES_IN_MEMORY
    if reading.index is not None or (reading.missing == "drop" and not few):
        option = "index" if reading.index is not None else "missing"
        raise DataError(f"{reading.option(option)} is for tables in memory, not for what is read block by block")
    if not reading.of_fit:
        say(source.said)
    if reading.missing == "drop" and n:
        values = np.concatenate(list(source.each(lambda block, _: np.array(block), block_bounds(n, d))))
        rows = Observations.of(values, sample_weight, Reading(missing="drop"))
        return replace(rows, features=source.features, named=source.named)
    stored = StoredObservations.of(source, sample_weight)
    return stored.subsample(len(stored), np.random.default_rng()) if few else stored


def _values(path: str) -> int:
    """Return how many numbers a Parquet file may hold; none if it is damaged, which its reader will say."""
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            return file.metadata.num_rows * file.metadata.num_columns
    except (ArrowInvalid, OSError):
        return 0


__all__ = ["Observations", "Reading", "Rows", "Source", "StoredObservations", "rows_of"]
