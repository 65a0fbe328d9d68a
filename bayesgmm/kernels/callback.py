"""The whitened log posterior as a function of C, for a sampler whose steps then call no Python.

What it is computed from lies in one array of doubles: where each part begins and the last ends, then the parts.
"""

from typing import Any

import numpy as np
from numba import types
from numba.np.numpy_support import carray

from bayesgmm.kernels.elementary import called_from_c, pasted
from bayesgmm.kernels.posterior import whitened_log_posterior

NUMBERS = types.CPointer(types.double)
#: What a sampler takes for a point that it cannot go to.
NO_DENSITY = 1


def laid_out(centre: np.ndarray, spread: np.ndarray, arguments: tuple[Any, ...]) -> np.ndarray:
    """Return what `log_posterior_in_c` reads; ``arguments`` are those of `log_posterior` after the vector."""
    parts = [np.ravel(part) for part in (centre, spread, *arguments)]
    bounds = np.cumsum([len(parts) + 1, *(part.size for part in parts)])
    return np.concatenate([bounds, *parts], dtype=float)


@pasted
def part(given, n):
    """Return the n-th part, flat."""
    return carray(given, (int(given[n + 1]),))[int(given[n]) :]


@called_from_c(types.int64, types.uint64, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def log_posterior_in_c(size, eta, gradient, value, given):
    """Write value and gradient at ``eta``; return 0 where all are finite."""
    value[0] = np.nan  # numba returns 0 after an exception, too.
    origin, concentration, kind = part(given, 4), part(given, 7), int(part(given, 6)[0])
    p, d, k = int(size), origin.size, concentration.size
    of_block = 1 if kind >= 2 else d
    # In the order, and with the shapes, of what `log_posterior` takes after the vector.
    arguments = (
        part(given, 2).reshape((-1, d)),
        part(given, 3),
        origin,
        part(given, 5),
        kind,
        concentration,
        part(given, 8).reshape((k, d)),
        part(given, 9),
        part(given, 10).reshape((k, d, d)),
        part(given, 11).reshape((-1, of_block, of_block)),
        part(given, 12).reshape((-1, of_block)),
        part(given, 13).reshape((-1, of_block)),
        part(given, 14)[0],
        part(given, 15)[0],
        part(given, 16).reshape((-1, d)),
        part(given, 17),
    )
    found, slope = whitened_log_posterior(carray(eta, (p,)), part(given, 0), part(given, 1).reshape((p, p)), arguments)
    value[0] = found
    is_finite = np.isfinite(found)
    for i in range(p):
        gradient[i] = slope[i]
        is_finite &= np.isfinite(slope[i])
    return 0 if is_finite else NO_DENSITY


@called_from_c(types.int64, types.uint64, types.uint64, NUMBERS, NUMBERS, NUMBERS)
def copied_in_c(size, _, eta, kept, given):  # noqa: ARG001
    """Keep the vector of a draw as it is."""
    for i in range(size):
        kept[i] = eta[i]
    return 0
