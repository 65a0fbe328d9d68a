"""Seeds: what users give at the door becomes one generator, passed on explicitly."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesgmm.errors import ModelError


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
