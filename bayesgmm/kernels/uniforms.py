"""Counter-based random numbers: a uniform is a function of its key and counter, so no order can change it.

SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) read by position: the uniform of row i is
the i-th number of the stream that starts at the key.
"""

import math

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR, SECOND_FACTOR = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
FIRST_SHIFT, SECOND_SHIFT, LAST_SHIFT = np.uint64(30), np.uint64(27), np.uint64(31)
#: 52 bits are kept: times any total, a uniform stays below that total.
UNUSED_BITS, UNIT = np.uint64(12), 2.0**-52
#: Mean above which a binomial number is drawn by rejection.
LARGE_MEAN = 10.0


@compiled_exactly
def mixed(bits):
    bits = (bits ^ (bits >> FIRST_SHIFT)) * FIRST_FACTOR
    bits = (bits ^ (bits >> SECOND_SHIFT)) * SECOND_FACTOR
    return bits ^ (bits >> LAST_SHIFT)


@compiled_exactly
def child_key(key, counter):
    """Return the key of the ``counter``-th stream below ``key``."""
    return mixed(mixed(key + (np.uint64(counter) + np.uint64(1)) * GOLDEN))


@compiled_exactly
def uniform(key, counter):
    """Return a number in [0, 1)."""
    return np.float64(mixed(key + (np.uint64(counter) + np.uint64(1)) * GOLDEN) >> UNUSED_BITS) * UNIT


@compiled_exactly
def binomial(trials, p, key, counter):
    """Draw a binomial number from the uniforms of ``key`` after ``counter``; return it and the next counter."""
    if trials <= 0.0 or p <= 0.0:
        return 0.0, counter
    if p >= 1.0:
        return trials, counter
    if p > 0.5:
        other, counter = binomial_of_small_p(trials, 1.0 - p, key, counter)
        return trials - other, counter
    return binomial_of_small_p(trials, p, key, counter)


@compiled_exactly
def binomial_of_small_p(trials, p, key, counter):
    if trials * p < LARGE_MEAN:
        return binomial_by_inversion(trials, p, key, counter)
    return binomial_by_rejection(trials, p, key, counter)


@compiled_exactly
def binomial_by_inversion(trials, p, key, counter):
    """Walk up the distribution function."""
    odds = p / (1.0 - p)
    mass = math.exp(trials * math.log1p(-p))
    rest = uniform(key, counter)
    drawn = 0.0
    while rest >= mass and drawn < trials:
        rest -= mass
        drawn += 1.0
        mass *= odds * (trials - drawn + 1.0) / drawn
    return drawn, counter + 1


@compiled_exactly
def binomial_by_rejection(trials, p, key, counter):
    """Draw by Hörmann's (1993, doi:10.1080/00949659308811496) transformed rejection, BTRS."""
    deviation = math.sqrt(trials * p * (1.0 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre, accept = trials * p + 0.5, 0.92 - 4.2 / b
    height = (2.83 + 5.1 / b) * deviation
    log_odds = math.log(p / (1.0 - p))
    mode = math.floor((trials + 1.0) * p)
    top = math.lgamma(mode + 1.0) + math.lgamma(trials - mode + 1.0)
    while True:
        u, v = uniform(key, counter) - 0.5, uniform(key, counter + 1)
        counter += 2
        inner = 0.5 - abs(u)
        if inner <= 0.0:
            continue
        drawn = math.floor((2.0 * a / inner + b) * u + centre)
        if inner >= 0.07 and v <= accept:
            return drawn, counter
        if drawn < 0.0 or drawn > trials or v <= 0.0:
            continue
        log_mass = top - math.lgamma(drawn + 1.0) - math.lgamma(trials - drawn + 1.0) + (drawn - mode) * log_odds
        if math.log(v * height / (a / (inner * inner) + b)) <= log_mass:
            return drawn, counter
