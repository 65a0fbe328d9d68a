"""Sources: rows that are read block by block, from files larger than memory or from what others hold.

A source has names of `features`, a length, `read` and a description; another kind is added by writing those four
(see ``examples/own_source.py``). One that spreads work over machines also writes `each`.
"""

from __future__ import annotations

import json
import os
import re
import struct
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from bayesgmm.arguments import suggested
from bayesgmm.data.columns import names_rows
from bayesgmm.data.names import distinct
from bayesgmm.errors import DataError, SourceError

#: What reads a folder or file, by the end of its name.
PARQUET, ZARR, NPY = (".parquet", ".pq"), (".zarr",), (".npy",)
PUT_BACK = "put back what is lost, or, if all its values are {}, write the array with write_empty_chunks"


class Source(ABC):
    """Rows that can be read in blocks."""

    features: tuple[str, ...]
    #: Whether the columns have names of their own; those of others are made up, and never matched.
    named: bool = True
    #: What was left out, in sentences.
    said: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Float[np.ndarray, "rows d"]:
        """Return rows ``start ... stop`` as doubles."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what names the source in a result, in words that JSON holds."""

    def each(self, function: Callable[..., Any], bounds: list[tuple[int, int]]) -> Iterator[Any]:
        """Yield ``function(values, start)`` for the rows of each pair of bounds, in order.

        The next block is read while one is worked on.
        """
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.read, *bounds[0])
            for (start, _), following in zip(bounds, [*bounds[1:], None], strict=True):
                values = coming.result()
                if following is not None:
                    coming = pool.submit(self.read, *following)
                yield function(values, start)


class ArrayFile(Source):
    """A two-dimensional array in a ``.npy`` file, read block by block: a map of one that is cut short is a crash."""

    def __init__(self, path: str | os.PathLike[str], features: tuple[str, ...] = ()) -> None:
        self.path = os.fspath(path)
        with open(self.path, "rb") as file:
            shape, fortran, dtype = _npy_header(file, self.path)
            self._offset, self._state = file.tell(), _state(file)
        if len(shape) not in (1, 2) or fortran or dtype.kind not in "iuf":
            order = "columns first" if fortran else f"shape {shape}, dtype {dtype}"
            raise DataError(f"{self.path!r} has to hold rows of real numbers, one row after the other; it has {order}")
        self._n, self._d, self._dtype = shape[0], shape[1] if len(shape) == 2 else 1, dtype
        needed = self._offset + self._n * self._d * dtype.itemsize
        if self._state[0] < needed:
            raise DataError(f"{self.path!r} ends before its {self._n} rows do; write it again")
        self.features, self.named = features or tuple(f"x{j}" for j in range(self._d)), bool(features)

    def __len__(self) -> int:
        return self._n

    def read(self, start: int, stop: int) -> Float[np.ndarray, "rows d"]:
        """Return rows, read from the file as they are needed."""
        values, first = np.empty((stop - start, self._d), self._dtype), self._d * self._dtype.itemsize * start
        try:
            with open(self.path, "rb", buffering=0) as file:
                is_whole, now = _filled(values, file, self._offset + first), _state(file)
        except OSError as error:
            raise SourceError(f"{self.path!r} can no longer be read ({error}); fit again when it can") from error
        if not is_whole or now != self._state:
            what = "become shorter" if now[0] < self._state[0] else "changed"
            raise SourceError(f"{self.path!r} has {what} since it was opened; leave it alone while it is read")
        return values if values.dtype == np.float64 else values.astype(np.float64)

    def describe(self) -> dict[str, Any]:
        """Return the path and the size of the file."""
        return {"kind": "npy", "path": self.path, "bytes": self._state[0]}


class Mapped(Source):
    """A memory map that is there already."""

    def __init__(self, array: np.memmap) -> None:
        if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
            raise DataError(f"`data` has to hold rows of real numbers, got shape {array.shape}, dtype {array.dtype}")
        self._array = array.reshape(len(array), -1)
        self._bytes = os.path.getsize(array.filename) if array.filename is not None else 0
        self.features, self.named = tuple(f"x{j}" for j in range(self._array.shape[1])), False

    def __len__(self) -> int:
        return len(self._array)

    def read(self, start: int, stop: int) -> Float[np.ndarray, "rows d"]:
        """Return a copy of rows."""
        path = getattr(self._array, "filename", None)
        if path is not None and os.path.exists(path) and os.path.getsize(path) < self._bytes:
            raise SourceError(f"{str(path)!r} has become shorter since it was mapped; leave it alone while it is read")
        return np.array(self._array[start:stop], np.float64, order="C")

    def describe(self) -> dict[str, Any]:
        """Return the path of the file."""
        return {"kind": "memmap", "path": str(getattr(self._array, "filename", ""))}


class Decoded(Source):
    """A source whose blocks are decoded once, into a temporary file that later passes read."""

    def __init__(self) -> None:
        self._rows: IO[bytes] | None = None

    @abstractmethod
    def decoded(self) -> Iterator[np.ndarray]:
        """Yield all rows as doubles, in order, some at a time."""

    def read(self, start: int, stop: int) -> Float[np.ndarray, "rows d"]:
        """Return rows from the temporary file, which the first call writes."""
        if self._rows is None:
            self._rows = self._decode()
        values = np.empty((stop - start, len(self.features)))
        if not _filled(values, self._rows, start * values.itemsize * values.shape[1]):
            raise SourceError(f"the decoded rows of {self.describe()['path']!r} have become shorter in their file")
        return values

    def _decode(self) -> IO[bytes]:
        """Write all rows to a file without a name, which ends with the process however that ends."""
        n, written = len(self), 0
        try:
            with ExitStack() as closing:
                file = closing.enter_context(tempfile.TemporaryFile(prefix="bayesgmm-", buffering=0))
                for values in self._sound_rows():
                    _write(file, np.ascontiguousarray(values, np.float64))
                    written += len(values)
                if written != n:
                    raise DataError(f"{self.describe()} gave {written} rows where it had promised {n}; it has changed")
                closing.pop_all()
            weakref.finalize(self, file.close)
            return file
        except OSError as error:
            needed = n * len(self.features) * 8
            raise OSError(
                error.errno, f"decoding needs {needed:,} bytes in {tempfile.gettempdir()!r} (TMPDIR chooses where)"
            ) from error

    def _sound_rows(self) -> Iterator[np.ndarray]:
        """Yield the rows, or say that the files cannot be read: not that they cannot be written."""
        try:
            yield from self.decoded()
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(f"{self.describe()['path']!r} cannot be read to its end ({error})") from error

    def __getstate__(self) -> dict[str, Any]:
        """Leave the temporary file behind: another process writes its own."""
        return self.__dict__ | {"_rows": None}


class Parquet(Decoded):
    """A Parquet file, a folder of them, or a pattern such as ``data/*.parquet``."""

    def __init__(self, path: str | os.PathLike[str], columns: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.path = os.fspath(path)
        found = self._dataset()
        kinds = {field.name: _kind(field.type) for field in found.schema}
        numeric = [name for name, kind in kinds.items() if not kind]
        unknown = [name for name in columns if name not in numeric]
        if unknown:
            raise DataError(
                f"{self.path!r} has no numeric column {unknown[0]!r}{suggested(unknown[0], numeric)}; it has {numeric}"
            )
        aside = {name: "called like a name of rows" for name in numeric if names_rows(name) and not columns}
        features = tuple(columns or (name for name in numeric if name not in aside))
        if not features:
            raise DataError(f"{self.path!r} has no numeric column among {list(kinds)}; convert some to numbers")
        self.features = distinct(features)
        left = {name: aside.get(name) or kind for name, kind in kinds.items() if name not in features}
        if left and not columns:
            listed = ", ".join(f"{name!r} ({why})" for name, why in left.items())
            self.said = (f"columns left out: {listed}",)
        self._n = found.count_rows()

    def _dataset(self) -> Any:
        from glob import glob

        from pyarrow import ArrowInvalid, dataset

        paths = sorted(glob(self.path)) if "*" in self.path else self.path
        if not paths or (isinstance(paths, str) and not os.path.exists(paths)):
            raise FileNotFoundError(f"no file is called {self.path!r}")
        try:
            return dataset.dataset(paths, format="parquet")
        except (ArrowInvalid, OSError) as error:
            raise DataError(f"{self.path!r} is no Parquet file, or a folder with others ({error})") from error

    def __len__(self) -> int:
        return self._n

    def decoded(self) -> Iterator[np.ndarray]:
        """Yield record batches; what is missing becomes NaN."""
        from pyarrow.dataset import ParquetFragmentScanOptions

        # Else whole files are read ahead.
        options = ParquetFragmentScanOptions(pre_buffer=False)
        ahead = {"batch_readahead": 1, "fragment_readahead": 1, "fragment_scan_options": options, "use_threads": False}
        for batch in self._dataset().to_batches(columns=list(self.features), batch_size=65_536, **ahead):
            columns = [_as_float(column).to_numpy(zero_copy_only=False) for column in batch.columns]
            yield np.column_stack(columns).astype(np.float64, copy=False)

    def column(self, name: str) -> Float[np.ndarray, " n"]:
        """Return one column of numbers, whole."""
        found = self._dataset()
        if name not in found.schema.names:
            raise DataError(f"{self.path!r} has no column {name!r}; its columns are {found.schema.names}")
        return found.to_table(columns=[name]).column(0).to_numpy().astype(np.float64)

    def describe(self) -> dict[str, Any]:
        """Return the path."""
        return {"kind": "parquet", "path": self.path}


class Zarr(Decoded):
    """A two-dimensional Zarr array in a folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = os.fspath(path)
        array = self._array()
        if getattr(array, "ndim", 0) not in (1, 2) or array.dtype.kind not in "iuf":
            raise DataError(f"{self.path!r} has to hold one array of rows of real numbers")
        self._n, d = array.shape[0], array.shape[1] if array.ndim == 2 else 1
        self.features, self.named = tuple(f"x{j}" for j in range(d)), False

    def _array(self) -> Any:
        try:
            import zarr
        except ImportError as error:
            raise DataError("reading Zarr needs the package zarr; install bayesgmm[dask]") from error
        with zarr.config.set({"array.read_missing_chunks": False}):
            return zarr.open_array(self.path, mode="r")

    def __len__(self) -> int:
        return self._n

    def decoded(self) -> Iterator[np.ndarray]:
        """Yield chunks of the array, a few thousand rows at least."""
        array = self._array()
        rows = max(array.chunks[0], 65_536 // array.chunks[0] * array.chunks[0])
        for start in range(0, self._n, rows):
            with self._whole(array):
                values = np.asarray(array[start : start + rows], np.float64)
            yield values.reshape(-1, len(self.features))
        # Releases of zarr that do not know `read_missing_chunks` have filled them in silence.
        if (found := array.nchunks_initialized) < array.nchunks:
            why = f"has {found} of its {array.nchunks} chunks"
            raise DataError(f"{self.path!r} {why}; {PUT_BACK.format(array.fill_value)}")

    @contextmanager
    def _whole(self, array: Any) -> Iterator[None]:
        """Name the chunks that are not there, in whose place zarr puts its fill value."""
        try:
            yield
        except ValueError as error:
            lost = re.findall("chunk '([^']+)'", str(error))
            if not lost:
                raise
            named = ", ".join(map(repr, lost[:3])) + (", ..." if len(lost) > 3 else "")
            raise DataError(f"{self.path!r} has no chunk {named}; {PUT_BACK.format(array.fill_value)}") from error

    def describe(self) -> dict[str, Any]:
        """Return the path."""
        return {"kind": "zarr", "path": self.path}


def source_of(path: str | os.PathLike[str], columns: tuple[str, ...] = ()) -> Source:
    """Return the source that a path names.

    Raises
    ------
    DataError
        If nothing reads it.
    FileNotFoundError
        If there is nothing.
    """
    name = os.fspath(path).rstrip("/")
    if name.endswith(ZARR + NPY):
        array = Zarr(name) if name.endswith(ZARR) else ArrayFile(name)
        if columns and columns != array.features:
            raise DataError(
                f"{name!r} has no names to choose {list(columns)} by: its columns are {list(array.features)}"
            )
        return array
    return Parquet(name, columns)


def _kind(type_: Any) -> str:
    """Return what a column of Parquet holds, where it is no numbers."""
    from pyarrow import types

    if types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_):
        return ""
    if types.is_boolean(type_):
        return "yes or no"
    return "dates or times" if types.is_temporal(type_) else "lists" if types.is_nested(type_) else "text"


def _as_float(column: Any) -> Any:
    """Return a column of decimals as doubles, and others as they are."""
    import pyarrow as pa

    return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column


def _state(file: IO[bytes]) -> tuple[int, int]:
    """Return what changes with the content of a file: its size and when it was written."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _filled(values: np.ndarray, file: IO[bytes], offset: int) -> bool:
    """Fill an array with the bytes of an unbuffered file from a place on; return whether there were as many."""
    rest = memoryview(values).cast("B")
    while rest:
        if hasattr(os, "preadv"):  # Processes that were forked share the place in a file.
            found = os.preadv(file.fileno(), [rest], offset)
        else:
            file.seek(offset)
            found = file.readinto(rest)  # pyright: ignore[reportAttributeAccessIssue]
        if not found:
            return False
        rest, offset = rest[found:], offset + found
    return True


def _write(file: IO[bytes], values: np.ndarray) -> None:
    """Write all of an array to an unbuffered file, which may take less at a time."""
    rest = memoryview(values).cast("B")
    while rest:
        rest = rest[file.write(rest) :]


def _npy_header(file: Any, path: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)
    except (ValueError, struct.error, json.JSONDecodeError) as error:
        raise DataError(f"{path!r} is no .npy file ({error})") from error
