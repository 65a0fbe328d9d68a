"""Memberships of rows that are too many for memory: computed where the rows are, written block by block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesgmm.answers.memberships import memberships
from bayesgmm.answers.tables import memberships_frame
from bayesgmm.data import Observations, Rows
from bayesgmm.data.writing import write_whole
from bayesgmm.errors import DataError
from bayesgmm.model.parameters import CovarianceType, MixtureParameters

if TYPE_CHECKING:
    import pandas as pd


def write_memberships(
    path: str | os.PathLike[str], draws: MixtureParameters, data: Rows, kind: CovarianceType, ci_prob: float
) -> Path:
    """Write the memberships of every row to a ``.parquet`` file or a ``.zarr`` group, whole or not at all.

    The columns are those of `memberships_frame`, under the number or name of the row.

    Raises
    ------
    DataError
        If the path ends in neither.
    """
    target = Path(path)
    if target.suffix not in (".parquet", ".zarr"):
        raise DataError(f"memberships are written to a .parquet or .zarr path, got {str(path)!r}")

    def fill(temporary: str) -> None:
        with (_parquet if target.suffix == ".parquet" else _zarr)(temporary, len(data)) as sink:
            data.map_blocks(frame_of, draws, kind, ci_prob, sink=sink)

    write_whole(target, fill)
    return target


def frame_of(
    block: Observations, start: int, draws: MixtureParameters, kind: CovarianceType, ci_prob: float
) -> pd.DataFrame:
    """Return the memberships of one block of rows."""
    del start
    return memberships_frame(memberships(draws, block, kind, ci_prob))


@contextmanager
def _parquet(path: str, rows: int) -> Iterator[Callable[[int, Any], None]]:
    """Yield a sink that appends to a Parquet file."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    del rows
    writer: Any = None

    def sink(start: int, frame: pd.DataFrame) -> None:
        nonlocal writer
        del start
        table = pa.Table.from_pandas(frame.reset_index(), preserve_index=False)
        writer = writer or ParquetWriter(path, table.schema)
        writer.write_table(table)

    try:
        yield sink
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _zarr(path: str, rows: int) -> Iterator[Callable[[int, Any], None]]:
    """Yield a sink that fills arrays of a Zarr group, one a column."""
    try:
        import zarr
    except ImportError as error:
        raise DataError("writing Zarr needs the package zarr; install bayesgmm[dask]") from error
    group: Any = zarr.open_group(path, mode="w")

    def sink(start: int, frame: pd.DataFrame) -> None:
        for name, column in frame.items():
            if name not in group:
                group.create_array(str(name), shape=(rows,), chunks=(min(rows, 1 << 19),), dtype=column.dtype)
            group[str(name)][start : start + len(frame)] = column.to_numpy()

    yield sink
