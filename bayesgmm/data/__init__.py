"""Rows of numbers: a table in memory, or a source that is read block by block."""

import os
from typing import Any

import numpy as np

from bayesgmm.data.dask import DaskSource, is_dask
from bayesgmm.data.observations import Observations, Rows
from bayesgmm.data.sources import Mapped, Source, source_of
from bayesgmm.data.stored import StoredObservations

#: Sources of no more values than this (64 MB) are read into memory.
VALUES_IN_MEMORY = 8_000_000


def rows_of(data: Any, sample_weight: Any = None) -> Rows:
    """Return the rows of a table, checked; those of a large source stay where they are.

    Parameters
    ----------
    data : table, path, Source, Dask array or data frame, or Rows
        A path ends in .parquet (or is a folder or pattern of those), .npy or .zarr.
    sample_weight : array (n,), optional
        Frequency weights; of a source they have to be positive.

    Raises
    ------
    DataError
        If the rows or weights do not fit.
    """
    if isinstance(data, (str, os.PathLike)):
        data = source_of(data)
    elif isinstance(data, np.memmap):
        data = Mapped(data)
    elif is_dask(data):
        data = DaskSource(data)
    if isinstance(data, StoredObservations):
        return data if sample_weight is None else StoredObservations.of(data.source, sample_weight)
    if not isinstance(data, Source):
        return Observations.of(data, sample_weight)
    stored = StoredObservations.of(data, sample_weight)
    few = len(stored) * stored.n_features <= VALUES_IN_MEMORY
    return stored.subsample(len(stored), np.random.default_rng()) if few else stored


__all__ = ["Observations", "Rows", "Source", "StoredObservations", "rows_of"]
