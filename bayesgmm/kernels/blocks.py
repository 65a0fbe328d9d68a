"""One block of rows, transposed into columns that stay in cache, and the steps of the pass over it in plain loops.

Coordinates are ``(x - origin) * inverse_unit``. A component is given by its mean and its
lower-triangular precision factor ``P`` (``inv(covariance) = P @ P.T``), so that
``y = P.T @ (x - mean)`` has the identity as covariance; a factor of shape (d,) is a diagonal.

`steps` says whether these loops are run or those of `assembly`, which they are the oracle of.
"""

import numpy as np

from bayesgmm.kernels.elementary import LOWEST, SMALLEST_EXPONENT, compiled, compiled_exactly, pasted
from bayesgmm.kernels.uniforms import uniform

#: Doubles side by side in the widest register; arrays of a block start at a multiple of it and leave one unused,
#: lest their rows fall onto the same places in the cache.
LINE = 8


@compiled
def block_array(count, rows):
    """Return an uninitialised array (count, at least rows), each of whose rows starts on a line of the cache."""
    stride = (rows + LINE - 1) // LINE * LINE + LINE
    memory = np.empty(count * stride + LINE)
    start = -(memory.ctypes.data // 8) % LINE
    return memory[start : start + count * stride].reshape((count, stride))


@compiled
def workspace(d, k, rows):
    """Return room for what the steps write of a block: see `parted`."""
    return block_array(2 * d + k + 4, rows)


@pasted
def parted(room, d, k):
    """Return columns (d), centred (d), r (k), and of the rows v, total, scale and log densities."""
    at = 2 * d + k
    return room[:d], room[d : at - k], room[at - k : at], room[at], room[at + 1], room[at + 2], room[at + 3]


@compiled
def transpose_block(x, origin, inverse_unit, start, size, columns):
    """Copy rows ``start ... start + size`` of ``x`` into ``columns``, one feature a row; then a line of zeros."""
    for j in range(x.shape[1]):
        shift, factor, column = origin[j], inverse_unit[j], columns[j]
        for b in range(size):
            column[b] = (x[start + b, j] - shift) * factor
        for b in range(size, size + LINE):
            column[b] = 0.0


@compiled
def weigh(columns, means, factors, log_constants, g, size, log_r, centred, x, following):  # noqa: ARG001
    """Write ``log(weight_k N(x | mean_k, covariance_k))`` of every row into ``log_r``, for parameter value ``g``.

    From row ``following`` on, ``x`` is read next, which a machine can be told beforehand.
    """
    d, y = means.shape[2], np.empty(size)
    for c in range(means.shape[1]):
        log_density = log_r[c]
        centre(columns, means[g, c], size, centred)
        for b in range(size):
            log_density[b] = 0.0
        for j in range(d):
            for b in range(size):
                y[b] = 0.0
            for i in range(j, d if factors.ndim == 4 else j + 1):
                p, t = factors[g, c, i, j] if factors.ndim == 4 else factors[g, c, j], centred[i]
                for b in range(size):
                    y[b] += p * t[b]
            for b in range(size):
                log_density[b] += y[b] * y[b]
        for b in range(size):
            value = log_constants[g, c] - 0.5 * log_density[b]
            # So far out that no double holds it: as far from every such component as from any other.
            log_density[b] = value if value > LOWEST else LOWEST


@compiled
def centre(columns, mean, size, centred):
    """Write rows about a mean."""
    for j in range(mean.shape[0]):
        m, column, out = mean[j], columns[j], centred[j]
        for b in range(size):
            out[b] = column[b] - m


@compiled
def soft_maximum(log_r, v, size, total, scale, log_density, only_sum):  # noqa: ARG001
    """Replace ``log_r`` by its exponential, about the row's largest, and return the sum of ``v * log_density``.

    ``total`` receives the sum of the exponentials over components, ``scale`` is ``v / total``. Where ``only_sum``,
    ``log_density`` need not be written; ``v`` is then 0 or 1 (`steps.are_zeros_and_ones`).
    """
    value = 0.0
    for b in range(size):
        largest, total[b] = LOWEST, 0.0
        for c in range(log_r.shape[0]):
            largest = max(largest, log_r[c, b])
        for c in range(log_r.shape[0]):
            below = log_r[c, b] - largest
            log_r[c, b] = np.exp(below) if below > SMALLEST_EXPONENT else 0.0
            total[b] += log_r[c, b]
        scale[b] = v[b] / total[b]
        log_density[b] = largest + np.log(total[b])
        value += v[b] * log_density[b]
    return value


@compiled_exactly
def allocate_single(r, total, key, first_row, size):
    """Replace responsibilities, not yet divided by ``total``, by 1 for the component drawn and 0 for others.

    By inversion of the distribution function: the component in which it passes the row's uniform.
    """
    last = r.shape[0] - 1
    for b in range(size):
        threshold, before, drawn = uniform(key, first_row + b) * total[b], 0.0, False
        for c in range(last + 1):
            after = before + r[c, b]
            r[c, b] = 1.0 if not drawn and (threshold < after or c == last) else 0.0
            drawn, before = drawn or r[c, b] == 1.0, after


def moments_about(x: np.ndarray, v: np.ndarray, about: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return weighted count, first and (lower triangle of) second moments of rows."""
    t = x - about
    return float(v.sum()), v @ t, np.tril((v[:, None] * t).T @ t)


@compiled
def add_moments(columns, means, r, scale, g, begin, end, size, counts, first, second, centred):
    """Add sums of 1, ``t`` and (lower triangle of) ``t t'`` about the mean, weighted by ``r * scale``.

    Of components ``begin ... end`` of parameter value ``g``, whose rows of ``r`` come one after another.
    ``second (g, k, d)`` takes the diagonals alone. ``r`` and ``centred (at least d)`` are scratch.
    """
    for c in range(begin, end):
        w = r[c - begin]
        for b in range(size):
            w[b] *= scale[b]
            counts[g, c] += w[b]
        centre(columns, means[g, c], size, centred)
        for i in range(means.shape[2]):
            ti, value = centred[i], 0.0
            for b in range(size):
                value += w[b] * ti[b]
            first[g, c, i] += value
            for j in range(0 if second.ndim == 4 else i, i + 1):
                tj, value = centred[j], 0.0
                for b in range(size):
                    value += (w[b] * ti[b]) * tj[b]
                if second.ndim == 4:
                    second[g, c, i, j] += value
                else:
                    second[g, c, i] += value
