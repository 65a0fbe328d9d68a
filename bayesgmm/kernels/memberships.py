"""Responsibilities over draws: their mean, quantiles and mean entropy for each row, a few rows at a time."""

import numpy as np

from bayesgmm.kernels.blocks import LINE, block_array, parted, workspace
from bayesgmm.kernels.elementary import compiled, compiled_exactly
from bayesgmm.kernels.steps import padded, read_weights, soft_maximum, transpose_block, weigh

#: Responsibilities of a block that are held at a time: 1 MB.
BLOCK_VALUES = 131_072
#: Draws that set the bounds beyond which quantiles are sought.
SAMPLE = 64


@compiled_exactly
def select(values, low, high, rank):
    """Permute ``values[low:high]`` so that the one of this rank stands where it would if all were sorted.

    Hoare's (1961) quickselect, the pivot the median of three; those before are no larger, those after no smaller.
    """
    last = high - 1
    while low < last:
        middle = (low + last) // 2
        a, b, c = values[low], values[middle], values[last]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            last = j
        elif rank >= i:
            low = i
        else:
            return


@compiled_exactly
def interpolated(values, number, at):
    """Return the value at the fractional rank ``at`` among the first ``number``, interpolated as NumPy does."""
    rank = min(int(at), number - 1)
    select(values, 0, number, rank)
    if rank == number - 1:
        return values[rank]
    above = values[rank + 1]
    for i in range(rank + 2, number):
        above = min(above, values[i])
    share, gap = at - rank, above - values[rank]
    return values[rank] + gap * share if share < 0.5 else above - gap * (1.0 - share)


@compiled_exactly
def bounds(values, tail, sample, low, high):
    """Return the quantiles ``tail`` and ``1 - tail``, interpolated as NumPy does.

    Ranks are sought among the few values beyond bounds that a sample sets, which are picked out without branches
    (Floyd & Rivest 1975, doi:10.1145/360680.360691); among all where those turn out too few.
    """
    g, number = values.shape[0], sample.shape[0]
    at, step = tail * (g - 1), max(g // number, 1)
    reach = int(number * (tail + 2.0 * np.sqrt(tail * (1.0 - tail) / number))) + 1
    if step > 3 and reach < number // 2:
        for i in range(number):
            sample[i] = values[i * step]
        select(sample, 0, number, reach)
        below = sample[reach]
        select(sample, reach, number, number - 1 - reach)
        above = sample[number - 1 - reach]
        small, large = 0, 0
        for i in range(g):
            value = values[i]
            low[small], high[large] = value, -value
            small += value < below
            large += value > above
        if small > at + 1.0 and large > at + 1.0:
            return interpolated(low, small, at), -interpolated(high, large, at)
    for i in range(g):
        low[i], high[i] = values[i], -values[i]
    return interpolated(low, g, at), -interpolated(high, g, at)


@compiled
def average_rows(
    x, origin, inverse_unit, log_constants, means, factors, tail, start, stop, probability, lower, upper, overlap
):
    """Write mean, quantiles ``tail`` and ``1 - tail`` (rows, k) and mean entropy (rows) of responsibilities.

    Quantiles are left out where ``lower`` is empty.
    """
    g, k, d = means.shape
    rows = min(max(BLOCK_VALUES // (g * k) // LINE * LINE, LINE), 512, stop - start)
    columns, centred, r, v, total, scale, log_density = parted(workspace(d, k, rows), d, k)
    below, one, values = block_array(k, rows), np.ones((1, 1)), np.empty((k, rows, g))
    sample, low, high = np.empty(SAMPLE), np.empty(g), np.empty(g)
    for first_row in range(start, stop, rows):
        size, at = min(rows, stop - first_row), first_row - start
        whole = padded(size)
        read_weights(one, 0, 0, size, v)
        transpose_block(x, origin, inverse_unit, first_row, size, columns)
        for b in range(size):
            overlap[at + b] = 0.0
        for draw in range(g):
            weigh(columns, means, factors, log_constants, draw, whole, r, centred, x, first_row + rows)
            below[:, :whole] = r[:, :whole]
            soft_maximum(r, v, whole, total, scale, log_density, False)
            for c in range(k):
                for b in range(size):
                    share = r[c, b] * scale[b]
                    values[c, b, draw] = share
                    # Not 0 times minus infinity.
                    overlap[at + b] += share * (log_density[b] - below[c, b]) if share > 0.0 else 0.0
        for b in range(size):
            overlap[at + b] /= g
            for c in range(k):
                each, mean = values[c, b], 0.0
                for draw in range(g):
                    mean += each[draw]
                probability[at + b, c] = mean / g
                if lower.shape[0] > 0:
                    lower[at + b, c], upper[at + b, c] = bounds(each, tail, sample, low, high)
