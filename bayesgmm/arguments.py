"""Arguments checked at the door: numbers, words and seeds, refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

from bayesgmm.errors import ModelError


def whole_number(value: Any, name: str, least: int) -> int:
    """Return a whole number of at least ``least``, or say which argument is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ModelError(f"`{name}` has to be a whole number, got {value!r}")
    if value < least:
        raise ModelError(f"`{name}` has to be at least {least}, got {value}")
    return int(value)


def real_number(value: Any, name: str, least: float, most: float = np.inf) -> float:
    """Return a real number between two bounds, or say which argument is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ModelError(f"`{name}` has to be a number, got {value!r}")
    if not least <= value <= most:
        raise ModelError(f"`{name}` has to be between {least:g} and {most:g}, got {value}")
    return float(value)


def one_of(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Return one of several words, or say which argument is none."""
    if not isinstance(value, str) or value not in choices:
        raise ModelError(f"`{name}` has to be one of {choices}, got {value!r}")
    return value


def suggested(name: Any, names: Iterable[Any]) -> str:
    """Return which of several names may have been meant, as the middle of a sentence; empty if none is close."""
    known = {str(one).casefold().strip(): str(one) for one in names}
    close = difflib.get_close_matches(str(name).casefold().strip(), known, n=1)
    return f" (did you mean {known[close[0]]!r}?)" if close else ""


def random_generator(seed: Any) -> np.random.Generator:
    """Return a generator from None, a whole number of at least 0, or a generator (used as it is).

    Raises
    ------
    ModelError
        If the seed is anything else.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, (bool, np.bool_))
    if seed is not None and not (whole and seed >= 0):
        raise ModelError(f"`seed` has to be None, a whole number of at least 0 or a numpy Generator, got {seed!r}")
    return np.random.default_rng(seed)
