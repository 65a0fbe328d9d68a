"""Exponentials and logarithms of a block of values, in loops that the compiler vectorises."""

import numba
import numpy as np

#: Only sums may be reordered (``reassoc``) and fused: NaN, infinity and signed zero keep their meaning.
compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
#: Compensated arithmetic must be left in the order in which it is written.
compiled_exactly = numba.njit(cache=True, nogil=True, error_model="numpy")

#: exp() of less than this is taken to be 0: products of subnormal numbers cost a hundred times those of others.
SMALLEST_EXPONENT = -640.0

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to a whole number held in the low bits
ROUND_BITS = 0x4338000000000000
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD


@compiled_exactly
def exponentiate(values, scratch, size):
    """Replace ``values[:size]`` (at most 0) by their exponentials, within 1 ulp; 0 below 1e-278.

    Cody & Waite (1980): ``exp(v) = 2**m * exp(r)`` with ``|r| <= log(2) / 2``. The exponent
    is added to the bits, for `math.exp` in a loop is not vectorised.
    """
    bits = values.view(np.int64)
    shift = scratch.view(np.int64)
    for b in range(size):
        v = values[b]
        is_zero = not v > SMALLEST_EXPONENT
        v = SMALLEST_EXPONENT if is_zero else v
        rounded = v * LOG2_E + ROUND
        m = rounded - ROUND
        r = (v - m * LN2_HIGH) - m * LN2_LOW
        scratch[b] = rounded
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        # A zero is marked by a negative value, and its exponent left alone.
        values[b] = -1.0 if is_zero else (p * r * r + r) + 1.0
    for b in range(size):
        bits[b] = 0 if bits[b] < 0 else bits[b] + ((shift[b] - ROUND_BITS) << 52)


@compiled_exactly
def logarithms(values, out, size):
    """Write the natural logarithms of ``values[:size]`` (positive, normal), within 1 ulp.

    The rational form of fdlibm's ``log``: ``log(1 + f) = f - f*f/2 + s * (f*f/2 + R(s*s))``.
    """
    bits = values.view(np.int64)
    out_bits = out.view(np.int64)
    for b in range(size):
        out_bits[b] = (bits[b] - SQRT_HALF_BITS) >> 52
    for b in range(size):
        exponent = out_bits[b]
        out[b] = float(exponent)
        bits[b] -= exponent << 52
    for b in range(size):
        f = values[b] - 1.0
        s = f / (2.0 + f)
        z = s * s
        w = z * z
        even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
        odd = z * (
            6.666666666666735130e-01
            + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
        )
        half = 0.5 * f * f
        out[b] = out[b] * LN2_HIGH - ((half - (s * (half + even + odd) + out[b] * LN2_LOW)) - f)
