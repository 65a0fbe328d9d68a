"""Arrays of doubles, or the sentence that says why values are none."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesgmm.data.names import shown
from bayesgmm.errors import DataError


def as_doubles(values: Any, name: str) -> np.ndarray:
    """Return an array of doubles, missing ones NaN, or say why it is none."""
    try:
        array = np.asarray(unmasked(values))
    except ValueError as error:
        raise DataError(f"`{name}` is ragged: its rows differ in length ({error})") from error
    if array.dtype == object:
        array = _objects_as_numbers(array, name)
    if array.dtype.kind not in "iuf":
        raise DataError(f"`{name}` has to hold real numbers, got dtype {array.dtype}; convert or encode it first")
    with np.errstate(over="ignore"):
        # One copy at most: to another order and type at once.
        return array.astype(np.float64, order="C", copy=False)


def unmasked(values: Any) -> Any:
    """Return masked arrays, and lists that hold some, with NaN or None where a value is masked."""
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "iufO":
        filled = np.where(np.ma.getmaskarray(values), np.nan, values.data)
        return filled if filled.ndim else filled.item()
    nested = (list, tuple, np.ma.MaskedArray)
    if isinstance(values, (list, tuple)) and any(isinstance(value, nested) for value in values):
        return [unmasked(value) for value in values]
    return values


def _objects_as_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """Convert an object array whose every element is a real number or missing."""
    numbers = np.empty(array.shape)
    for position, value in np.ndenumerate(array):
        missing = value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType")
        if not missing and (isinstance(value, (bool, str, bytes, complex)) or not hasattr(value, "__float__")):
            raise DataError(
                f"`{name}` has to hold real numbers, got {shown(value, 60)} ({type(value).__name__}) at {position}; "
                "convert or encode it first"
            )
        try:
            numbers[position] = np.nan if missing else float(value)  # pyright: ignore[reportArgumentType]
        except (OverflowError, TypeError, ValueError) as error:
            raise DataError(f"`{name}` has a value at {position} that no double holds ({error})") from error
    return numbers


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view of an array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
