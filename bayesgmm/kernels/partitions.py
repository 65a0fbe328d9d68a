"""Partitions of rows: k-means from rows drawn far apart, and the weighted moments of the groups.

Rows come transposed: ``columns (d, n)`` has a feature in each row.
"""

import numpy as np

from bayesgmm.kernels.blocks import LINE, block_array
from bayesgmm.kernels.elementary import compiled, compiled_exactly, inlined
from bayesgmm.kernels.passes import block_rows
from bayesgmm.kernels.steps import add_moments, padded

#: Rows whose distances are held at a time.
ROWS = 256


@inlined
def measure(columns, centre, start, size, apart):
    """Write the squared distances of ``size`` rows from ``start`` on to a centre."""
    d = columns.shape[0]
    for b in range(size):
        apart[b] = 0.0
    for j in range(0, d - 1, 2):
        one, other, m, o = (
            columns[j, start : start + size],
            columns[j + 1, start : start + size],
            centre[j],
            centre[j + 1],
        )
        for b in range(size):
            apart[b] += (one[b] - m) * (one[b] - m) + (other[b] - o) * (other[b] - o)
    if d % 2:
        one, m = columns[d - 1, start : start + size], centre[d - 1]
        for b in range(size):
            apart[b] += (one[b] - m) * (one[b] - m)


@compiled
def assign(columns, centres, labels, nearest):
    """Write the nearest centre of each row and its squared distance; return how many rows changed their centre."""
    n, changed, apart, at = columns.shape[1], 0, np.empty(ROWS), np.empty(ROWS, np.int32)
    for start in range(0, n, ROWS):
        size = min(ROWS, n - start)
        near, group = nearest[start : start + size], labels[start : start + size]
        measure(columns, centres[0], start, size, near)
        for b in range(size):
            at[b] = 0
        for c in range(1, centres.shape[0]):
            measure(columns, centres[c], start, size, apart)
            for b in range(size):
                at[b] = c if apart[b] < near[b] else at[b]
                near[b] = min(apart[b], near[b])
        for b in range(size):
            changed += group[b] != at[b]
            group[b] = at[b]
    return changed


@compiled_exactly
def drawn(mass, uniform):
    """Return the entry in which a uniform falls if each has a share of its mass, evenly where there is none."""
    total = 0.0
    for i in range(mass.shape[0]):
        total += mass[i]
    if not total > 0.0:
        return min(int(uniform * mass.shape[0]), mass.shape[0] - 1)
    threshold, reached, last = uniform * total, 0.0, 0
    for i in range(mass.shape[0]):
        reached += mass[i]
        if mass[i] > 0.0:
            last = i
            if reached > threshold:
                return i
    return last


@compiled_exactly
def draw_evenly(columns, weight, uniforms, centres, mass):
    """Write centres: different rows drawn with probability proportional to their weight."""
    mass[:] = weight
    for c in range(centres.shape[0]):
        row = drawn(mass, uniforms[c, 0])
        mass[row] = 0.0
        for j in range(columns.shape[0]):
            centres[c, j] = columns[j, row]


@compiled
def draw_apart(columns, weight, uniforms, centres, trial, nearest, mass):
    """Write centres: rows drawn with probability proportional to their squared distance from those drawn before.

    Of as many as there are ``uniforms (k, trial)`` for each, that which leaves the rows nearest to a centre: greedy
    k-means++ (Arthur & Vassilvitskii 2007).
    """
    n, apart = columns.shape[1], np.empty(ROWS)
    for i in range(n):
        nearest[i], mass[i] = np.inf, weight[i]
    for c in range(centres.shape[0]):
        least, chosen = np.inf, 0
        for t in range(1 if c == 0 else uniforms.shape[1]):
            row, cost = drawn(mass, uniforms[c, t]), 0.0
            for j in range(columns.shape[0]):
                trial[t, j] = columns[j, row]
            for start in range(0, n, ROWS):
                size = min(ROWS, n - start)
                measure(columns, trial[t], start, size, apart)
                for b in range(size):
                    cost += weight[start + b] * min(apart[b], nearest[start + b])
            if cost < least:
                least, chosen = cost, t
        centres[c] = trial[chosen]
        for start in range(0, n, ROWS):
            size = min(ROWS, n - start)
            measure(columns, centres[c], start, size, apart)
            for b in range(size):
                near = min(apart[b], nearest[start + b])
                nearest[start + b], mass[start + b] = near, weight[start + b] * near


@compiled
def move_rows(columns, weight, labels, before, counts, sums):
    """Take rows whose label has changed out of the sums of the group where they were, if any, into another's."""
    for i in range(columns.shape[1]):
        to, was, w = labels[i], before[i], weight[i]
        if to != was:
            counts[to] += w
            for j in range(columns.shape[0]):
                sums[to, j] += w * columns[j, i]
            if was >= 0:
                counts[was] -= w
                for j in range(columns.shape[0]):
                    sums[was, j] -= w * columns[j, i]
            before[i] = to


@compiled
def settle(columns, weight, most, centres, labels, nearest):
    """Move centres to the means of the rows nearest to them until none changes, at most so often; return the cost.

    Lloyd's algorithm. A centre without rows stays where it is.
    """
    k, d = centres.shape
    before, counts, sums, cost = np.full(labels.shape[0], -1, np.int32), np.zeros(k), np.zeros((k, d)), 0.0
    labels[:] = -1
    for turn in range(most + 1):
        if assign(columns, centres, labels, nearest) == 0 or turn == most:
            break
        move_rows(columns, weight, labels, before, counts, sums)
        for c in range(k):
            for j in range(d):
                centres[c, j] = sums[c, j] / counts[c] if counts[c] > 0.0 else centres[c, j]
    for i in range(nearest.shape[0]):
        cost += weight[i] * nearest[i]
    return cost


@compiled_exactly
def name_in_order(labels, k):
    """Rename groups in the order of their first rows, so that equal partitions have equal labels."""
    names, number = np.full(k, -1, np.int32), 0
    for i in range(labels.shape[0]):
        if names[labels[i]] < 0:
            names[labels[i]] = number
            number += 1
        labels[i] = names[labels[i]]


@compiled
def partition_each(columns, weight, uniforms, apart, most, centres, labels, costs):
    """Partition the rows once for each of ``uniforms (number, k, trial)``: write labels and costs.

    Centres are drawn ``apart`` or evenly, and move at most so often. ``centres (k, d)`` is scratch.
    """
    n, k, trials = columns.shape[1], uniforms.shape[1], uniforms.shape[2]
    nearest, mass, trial = np.empty(n), np.empty(n), np.empty((trials, columns.shape[0]))
    for at in range(uniforms.shape[0]):
        if apart:
            draw_apart(columns, weight, uniforms[at], centres, trial, nearest, mass)
        else:
            draw_evenly(columns, weight, uniforms[at], centres, mass)
        costs[at] = settle(columns, weight, most, centres, labels[at], nearest)
        name_in_order(labels[at], k)


@compiled
def weigh_rows(columns, weight, power, along, sums):
    """Add to ``sums (d)`` the weighted sum of rows, each times a power, 2 or 3, of what it is along a direction."""
    (d, n), y = columns.shape, np.empty(ROWS)
    for start in range(0, n, ROWS):
        size = min(ROWS, n - start)
        for b in range(size):
            y[b] = 0.0
        for j in range(d):
            column, a = columns[j, start : start + size], along[j]
            for b in range(size):
                y[b] += a * column[b]
        for b in range(size):
            y[b] = weight[start + b] * (y[b] * y[b] * y[b] if power == 3 else y[b] * y[b])
        for j in range(d):
            column, total = columns[j, start : start + size], 0.0
            for b in range(size):
                total += y[b] * column[b]
            sums[j] += total


@compiled
def set_upright(direction, others, number):
    """Take out of a direction what lies along the first of some others, and give it length one; say if any is left."""
    for other in range(number):
        along = 0.0
        for j in range(direction.shape[0]):
            along += direction[j] * others[other, j]
        for j in range(direction.shape[0]):
            direction[j] -= along * others[other, j]
    length = np.sqrt(np.sum(direction * direction))
    if length > 0.0:
        direction /= length
    return length > 0.0


@compiled
def pursue(columns, weight, power, steps, directions):
    """Turn ``directions (m, d)``, one after the other, to where sphered rows have an extreme power, 2 or 3, plus one.

    The fixed-point iteration of Hyvärinen & Oja (1997): skewness for the square, kurtosis for the cube.
    """
    total, turned = np.sum(weight), np.empty(directions.shape[1])
    for m in range(directions.shape[0]):
        set_upright(directions[m], directions, m)
        for _ in range(steps):
            turned[:] = -3.0 * total * directions[m] if power == 3 else 0.0 * directions[m]
            weigh_rows(columns, weight, power, directions[m], turned)
            if set_upright(turned, directions, m):
                directions[m] = turned


@compiled
def group_means(columns, weight, labels, counts, means):
    """Write weights and means of the groups of each partition; the mean of a group without rows is 0."""
    counts[:], means[:] = 0.0, 0.0
    for g in range(labels.shape[0]):
        for i in range(labels.shape[1]):
            c = labels[g, i]
            counts[g, c] += weight[i]
            for j in range(columns.shape[0]):
                means[g, c, j] += weight[i] * columns[j, i]
        for c in range(counts.shape[1]):
            for j in range(columns.shape[0]):
                means[g, c, j] = means[g, c, j] / counts[g, c] if counts[g, c] > 0.0 else 0.0


@compiled
def group_moments(columns, weight, labels, about, counts, first, second):
    """Add weighted counts, first and second moments of each group about ``about (number, k, d)`` to the last arguments.

    Of ``second (number, k, d, d)`` the lower triangles are summed, of (number, k, d) the diagonals.
    """
    (d, n), (number, k) = columns.shape, counts.shape
    rows = block_rows(d)
    gathered, centred, r, ones = block_array(d, rows), block_array(d, rows), block_array(1, rows), np.ones(rows + LINE)
    start, order = np.empty(k + 1, np.int64), np.empty(n, np.int64)
    for g in range(number):
        start[:] = 0
        for i in range(n):
            start[labels[g, i] + 1] += 1
        for c in range(k):
            start[c + 1] += start[c]
        for i in range(n):
            order[start[labels[g, i]]] = i
            start[labels[g, i]] += 1
        begin = 0
        for c in range(k):
            for first_row in range(begin, start[c], rows):
                size = min(rows, start[c] - first_row)
                whole = padded(size)
                for b in range(whole):
                    r[0, b] = weight[order[first_row + b]] if b < size else 0.0
                for j in range(d):
                    for b in range(whole):
                        gathered[j, b] = columns[j, order[first_row + b]] if b < size else 0.0
                add_moments(gathered, about, r, ones, g, c, c + 1, whole, counts, first, second, centred)
            begin = start[c]
