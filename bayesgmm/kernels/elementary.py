"""How loops are compiled, and the numbers that exponentials and logarithms are computed with."""

import hashlib
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import config
from numba.core.ccallback import CFunc
from numba.core.options import DefaultOptions

from bayesgmm.kernels.interrupts import Loop, heard_between, uninterrupted
from bayesgmm.kernels.keeping import Kept

#: Of the sources of all compiled loops: what numba keeps on disk of one holds those that it calls as well, but is taken
#: to be good as long as its own file is the same.
DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()
_LOCK = threading.Lock()


def _cache_of(function: Callable[..., Any]) -> Kept:
    """Return what is kept of a function, under a name that changes with any of the sources."""
    with _LOCK:
        name = function.__qualname__
        function.__qualname__ = f"{name}.{DIGEST[:12]}"
        try:
            return Kept(function)
        finally:
            function.__qualname__ = name


def _cached(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles when first called."""
    decorator = numba.njit(nogil=True, error_model="numpy", **options)

    def decorated(function: Callable[..., Any]) -> Any:
        loop: Any = decorator(function)
        if COMPILES:
            loop._cache, loop.compile = _cache_of(function), heard_between(loop.compile)
        return loop

    return decorated


def _called(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return such a decorator of loops that Python calls."""
    decorator = _cached(**options)
    return (lambda function: Loop(decorator(function))) if COMPILES else decorator


def called_from_c(*signature: Any) -> Callable[[Callable[..., Any]], Callable[[], Any]]:
    """Return a decorator that makes a function return itself, compiled for C: the types of its result and arguments."""
    options: dict[str, Any] = {"error_model": "numpy", **COUNTED}

    def made(function: Callable[..., Any]) -> Any:
        loop: Any = CFunc(function, (signature[1:], signature[0]), {}, options)
        loop._cache = _cache_of(function)
        loop.compile()
        return loop

    return lambda function: cache(uninterrupted(lambda: made(function)))


#: Whether loops are compiled, and not run as Python for a debugger or a measure of coverage.
COMPILES = not config.DISABLE_JIT  # pyright: ignore[reportAttributeAccessIssue]
#: numba counts references to every array at every call, which takes as long as some ten rows of a pass.
COUNTED, UNCOUNTED = ({"_nrt": on} if hasattr(DefaultOptions, "_nrt") else {} for on in (True, False))
#: Only sums may be reordered (``reassoc``) and fused: NaN, infinity and signed zero keep their meaning.
SUMS: dict[str, Any] = {"fastmath": {"reassoc", "contract"}}

compiled = _called(**SUMS, **COUNTED)
#: Of loops that are written out where they are called. They neither make arrays nor return any, for want of a count.
inlined = _cached(**SUMS, **UNCOUNTED, forceinline=True)
#: Compensated arithmetic must be left in the order in which it is written.
compiled_exactly = _called(**COUNTED)
inlined_exactly = _cached(**UNCOUNTED, forceinline=True)
#: Of what any of these calls as if its text stood there: it is compiled once less, and counts as its caller does.
pasted = _cached(inline="always")

#: Below every log density of a row that a double can hold.
LOWEST = -1.7976931348623157e308
#: exp() of less than this is taken to be 0: products of subnormal numbers cost a hundred times those of others.
SMALLEST_EXPONENT = -640.0

LN2_HIGH = 6.93147180369123816490e-01  # its last 32 bits are 0: times a small whole number it is exact
LN2_LOW = 1.90821492927058770002e-10
ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to a whole number held in the low bits
ROUND_BITS = 0x4338000000000000
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
#: Coefficients of ``R(s * s)`` in fdlibm's logarithm: of even and of odd powers, lowest first.
LOG_EVEN = 3.999999999940941908e-01, 2.222219843214978396e-01, 1.531383769920937332e-01
LOG_ODD = 6.666666666666735130e-01, 2.857142874366239149e-01, 1.818357216161805012e-01, 1.479819860510658591e-01


def exponential_series(reach: float, degree: int) -> list[float]:
    """Return ``q``, lowest power first, of ``exp(r) = 1 + r + r**2 * q(r)`` for ``|r| <= reach``.

    By Chebyshev interpolation of a series without cancellation.
    """
    powers = np.arange(20)
    taylor = np.polynomial.Polynomial(1 / np.cumprod(powers + 1.0) / (powers + 2))
    near = np.polynomial.Chebyshev.interpolate(taylor, degree, domain=[-reach, reach])
    return [float(c) for c in near.convert(kind=np.polynomial.Polynomial).coef]
