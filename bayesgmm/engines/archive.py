"""Archives: plain arrays in one ``.npz`` file, sealed with a checksum and read without trust."""

from __future__ import annotations

import hashlib
import io
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayesgmm.data.writing import CHECKSUM, check_bytes, write_whole
from bayesgmm.errors import LoadError

#: Kinds of numbers and text that an array may hold: none has a pointer in it.
KINDS = "biufU"
#: What is advised of a file that cannot be gone on from.
ADVICE = "remove it, and the fit begins anew, or give another path"


@dataclass(frozen=True, slots=True)
class Expected:
    """What an array has to be before it is read.

    Attributes
    ----------
    dtypes : tuple of str
        Any of these, as numpy writes them.
    shape : tuple of int or None
        Length of each axis; any where None.
    low, high : float, optional
        Bounds of its numbers, which no NaN meets; none are looked at where not given.
    """

    dtypes: tuple[str, ...]
    shape: tuple[int | None, ...]
    low: float | None = -np.finfo(float).max
    high: float = np.finfo(float).max

    def complaint(self, array: np.ndarray) -> str:
        """Return what is wrong with an array, as the end of a sentence; empty if nothing is."""
        if array.dtype not in [np.dtype(name) for name in self.dtypes]:
            return f"holds {array.dtype}, not {' or '.join(self.dtypes)}"
        fits = len(self.shape) == array.ndim and all(
            length in (None, own) for length, own in zip(self.shape, array.shape, strict=True)
        )
        if not fits:
            return f"has shape {array.shape}, not {self.shape}"
        if array.dtype == bool and (array.view(np.uint8) > 1).any():
            return "holds bytes that are neither true nor false"
        if self.low is not None and array.size and not (self.low <= array.min() and array.max() <= self.high):
            return f"has numbers that are missing, or not between {self.low:.4g} and {self.high:.4g}"
        return ""


def complaint(arrays: Mapping[str, np.ndarray], expected: Mapping[str, Expected]) -> str:
    """Return what is wrong with arrays of which exactly these are expected; empty if nothing is."""
    if set(arrays) != set(expected):
        return f"it has the arrays {sorted(arrays)}, not {sorted(expected)}"
    found = ((name, each.complaint(arrays[name])) for name, each in expected.items())
    return next((f"{name!r} {wrong}" for name, wrong in found if wrong), "")


def write_archive(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays whole or not at all, with a checksum after their end, where no reader of ``.npz`` looks."""

    def fill(temporary: str) -> None:
        with open(temporary, "w+b") as file:
            np.savez(file, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0, os.SEEK_END)
            file.write(CHECKSUM + digest.encode())

    write_whole(path, fill)


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive whose bytes are those that were written, or made to look so: each array is checked as it is read.

    Attributes
    ----------
    path : Path
        The file.
    file : ZipFile
        In memory.
    """

    path: Path
    file: zipfile.ZipFile

    @classmethod
    def opened(cls, path: Path) -> Archive:
        """Open an archive.

        Raises
        ------
        LoadError
            If it is none, is damaged, or unfolds to more than its bytes.
        """
        if not path.is_file():
            raise LoadError(f"{str(path)!r} is no file, and so no checkpoint; give another path")
        content = path.read_bytes()
        with _refused(path):
            check_bytes(content, required=True)
            file = zipfile.ZipFile(io.BytesIO(content))
            members = file.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise LoadError("it is compressed, which no checkpoint is")
            if sum(member.file_size for member in members) > len(content):
                raise LoadError("it claims more bytes than it has")
            if len({member.filename for member in members}) < len(members):
                raise LoadError("it has two arrays of one name")
        return cls(path, file)

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return [name.removesuffix(".npy") for name in self.file.namelist()]

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an array, which cannot be written to: no more bytes than the file has are ever asked for."""
        with _refused(self.path):
            content = self.file.read(f"{name}.npy")
            begins = io.BytesIO(content)
            shape, dtype = _header(begins)
            held = memoryview(content)[begins.tell() :]
            if dtype.kind not in KINDS or math.prod(shape) * dtype.itemsize != len(held):
                raise LoadError(f"{name!r} has {len(held)} bytes, which are no {dtype} of shape {shape}")
            return np.ndarray(shape, dtype, held)


def _header(content: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of an array whose header comes next."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, is_fortran, dtype = read[np.lib.format.read_magic(content)](content)
    if is_fortran:
        raise LoadError("it has an array in the order of Fortran, which no checkpoint has")
    return shape, dtype


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong on bytes that are wrong that the file is no checkpoint."""
    try:
        yield
    # zipfile and numpy raise nearly anything on such bytes; all of it means one thing here.
    except Exception as error:
        raise LoadError(f"{str(path)!r} is no checkpoint, or damaged ({error}); {ADVICE}") from error
