"""What a NetCDF file unfolds to, told before a value of it is read: plain arrays in groups, of sane size."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesgmm.errors import LoadError

#: A file may unfold to so many bytes; so many times its size, but no more than four times that; or twice its size.
MOST_BYTES, MOST_EXPANSION = 64 * 2**20, 20
#: Most members of one group, attributes of one member, numbers of one attribute, and texts or lists of one.
MOST_MEMBERS, MOST_NUMBERS, MOST_TEXTS = 64, 1000, 8
#: Attributes with which numbers are read as others, of eight bytes at most.
DECODED = {"scale_factor", "add_offset", "units", "calendar", "dtype", "_FillValue", "missing_value", "_Unsigned"}
#: What a text in a file is written as: its length, where the heap is that holds it, and its number there.
REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])


def check_plain(file: Any, content: bytes) -> None:
    """Refuse an open HDF5 file of these bytes that is no table of groups of arrays, or unfolds to far more.

    Raises
    ------
    LoadError
        If it does.
    """
    import h5py

    size, unfolded = len(content), _attribute_bytes(file)
    most = max(MOST_BYTES, min(MOST_EXPANSION * size, 4 * MOST_BYTES), 2 * size)
    for name in _names(file):
        group = _member(file, name, h5py.Group)
        unfolded += _attribute_bytes(group)
        for array in (_member(group, each, h5py.Dataset) for each in _names(group)):
            unfolded += _attribute_bytes(array) + _array_bytes(array, content)
            if unfolded > most:
                raise LoadError(f"claims {unfolded} bytes of values in {size} bytes: damaged or hostile")


def _names(group: Any) -> list[str]:
    if len(group) > MOST_MEMBERS:
        raise LoadError(f"has {len(group)} members in one group, more than any result")
    return list(group)


def _member(group: Any, name: str, kind: type) -> Any:
    """Return a member, refused if it is a link to elsewhere or of another kind."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise LoadError("holds links to elsewhere, which no result does")
    if group.get(name, getclass=True) is not kind:
        raise LoadError(f"holds {name!r}, which is no {kind.__name__.lower()}: a result has groups of arrays alone")
    return group[name]


def _attribute_bytes(member: Any) -> int:
    """Return the bytes that attributes unfold to; each alone is no larger than the file, or a few times as large."""
    names = _names(member.attrs)
    found = [member.attrs.get_id(name) for name in names]
    for attribute in found:
        number = int(np.prod(attribute.shape or ()))
        if number > (MOST_TEXTS if attribute.dtype.kind == "O" else MOST_NUMBERS):
            raise LoadError(f"has an attribute of {number} values, which no result has")
    return sum(_bytes_of(member.attrs[name]) for name in names)


def _bytes_of(value: Any) -> int:
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return sum(map(_bytes_of, value.ravel()))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.nbytes
    return len(value) if isinstance(value, (str, bytes)) else REFERENCE.itemsize


def _array_bytes(array: Any, content: bytes) -> int:
    """Return the bytes that an array unfolds to, refused if it lies in another file or is no plain one."""
    import h5py

    if array.is_virtual or array.external:
        raise LoadError("holds arrays that lie in other files, which no result does")
    if array.shape is None:
        raise LoadError(f"holds {array.name!r}, which has no values")
    if array.dtype.kind in "biufS":
        is_decoded = not DECODED.isdisjoint(array.attrs)
        return array.size * max(array.dtype.itemsize, 8 if is_decoded else 1)
    if h5py.check_string_dtype(array.dtype) is None:
        raise LoadError(f"holds {array.name!r}, which is neither numbers nor text")
    return _text_bytes(array, content)


def _text_bytes(array: Any, content: bytes) -> int:
    """Return the bytes that texts unfold to, of which no two may lie in one place."""
    if array.size * len(content) <= MOST_BYTES:
        return array.size
    offset = array.id.get_offset()
    if offset is None:
        raise LoadError(f"holds {array.name!r}, texts in pieces, which may unfold to any size")
    written = np.frombuffer(content, REFERENCE, array.size, offset)
    places = (written["heap"] << np.uint64(16)) + written["number"]
    places = places[written["length"] > 0]
    if len(np.unique(places)) < len(places):
        raise LoadError(f"holds {array.name!r}, in which texts share their place: they unfold to any size")
    return int(written["length"].sum(dtype=np.uint64))
